//! A guest with a pattern in every register, stopped in the middle.

#![expect(
    clippy::unwrap_used,
    reason = "a machine that cannot be made fails the test that wants it"
)]

pub(crate) mod code;
pub(crate) mod machine;

use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{Host, Permitted};
use kvm_bindings::CpuId;
use kvm_ioctls::Kvm;

use code::{FCW, LEN, MXCSR, OPMASKS, Vectors, X87, XCR0};
use machine::{Machine, Stop, components, cpuid_for_vectors};

/// This machine's KVM and the widest vectors a guest can have here.
pub(crate) struct Bench<'k> {
    pub(crate) permitted: Permitted<'k>,
    pub(crate) host: Host,
    pub(crate) cpuid: CpuId,
    pub(crate) vectors: Vectors,
    /// What a guest gets with `KVM_SET_XCRS`.
    pub(crate) xcr0: ComponentSet,
    /// What XGETBV tells it: on some KVMs the host's XCR0.
    seen_xcr0: ComponentSet,
}

/// /dev/kvm, or a line that says why the test is not run.
pub(crate) fn kvm() -> Option<Kvm> {
    match Kvm::new() {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            eprintln!("SKIPPED, nothing was tested: /dev/kvm: {error}");
            None
        }
    }
}

impl<'k> Bench<'k> {
    /// `None`, with a line that says why, where guests have no AVX.
    pub(crate) fn new(kvm: &'k Kvm) -> Option<Self> {
        let permitted = Permitted::ask(kvm, ComponentSet::only(Component::TileData));
        let cpuid = cpuid_for_vectors(&permitted);
        let host = Host::read(&permitted).unwrap();
        let offered = components(&cpuid);
        let avx = ComponentSet::LEGACY.with(Component::Avx);
        // KMOVQ is of AVX512BW.
        let (vectors, xcr0) = if offered.contains_all(avx.union(ComponentSet::AVX512))
            && is_x86_feature_detected!("avx512bw")
        {
            (Vectors::Avx512, avx.union(ComponentSet::AVX512))
        } else if offered.contains_all(avx) {
            (Vectors::Avx, avx)
        } else {
            eprintln!("SKIPPED, nothing was tested: KVM offers guests {offered}, no AVX");
            return None;
        };
        let mut bench = Self {
            permitted,
            host,
            cpuid,
            vectors,
            xcr0,
            seen_xcr0: xcr0,
        };
        bench.seen_xcr0 = bench.xcr0_seen_by_a_guest_that_stays();
        eprintln!("guest with {xcr0}; XGETBV tells it {}", bench.seen_xcr0);
        Some(bench)
    }

    /// The control: a guest that is not moved has every register right to its end.
    fn xcr0_seen_by_a_guest_that_stays(&self) -> ComponentSet {
        let patterns = self.patterns();
        let mut machine = self.stopped(&patterns);
        let wrong = self.wrong_registers(&mut machine, &patterns).unwrap();
        assert!(wrong.iter().all(|name| name == "xcr0"), "{wrong:?}");
        let xcr0 = machine.results();
        ComponentSet::from_bits(u64::from_le_bytes(*xcr0[XCR0..].first_chunk().unwrap()))
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::new(&self.permitted, &self.cpuid)
    }

    /// A guest that stopped with these patterns in its registers.
    pub(crate) fn stopped(&self, patterns: &[u8]) -> Machine {
        let mut machine = self.machine();
        machine.boot(self.vectors, self.xcr0, patterns);
        assert_eq!(machine.run(), Stop::Holds);
        machine
    }

    /// Lets the copy run to its end: the names of the registers that are wrong, or how it died.
    pub(crate) fn wrong_registers(
        &self,
        copy: &mut Machine,
        patterns: &[u8],
    ) -> Result<Vec<String>, Stop> {
        match copy.run() {
            Stop::Wrote => {
                let mut wrong = self.differences(patterns, &copy.results());
                // Beside what XGETBV told the guest: some KVMs run guests with the host's XCR0.
                if copy.vcpu.get_xcrs().unwrap().xcrs[0].value != self.xcr0.bits() {
                    wrong.push("KVM_GET_XCRS".into());
                }
                Ok(wrong)
            }
            stop @ (Stop::Holds | Stop::Died(_)) => Err(stop),
        }
    }

    fn differences(&self, patterns: &[u8], results: &[u8]) -> Vec<String> {
        let (count, width) = self.vectors.registers();
        let vector = |i| (format!("vector {i}"), 64 * i, width);
        let mut fields: Vec<(String, usize, usize)> = (0..count).map(vector).collect();
        if self.vectors == Vectors::Avx512 {
            fields.extend((0..8).map(|i| (format!("k{i}"), OPMASKS + 8 * i, 8)));
        }
        fields.extend((0..8).map(|i| (format!("st{i}"), X87 + 16 * i, 10)));
        fields.push(("mxcsr".into(), MXCSR, 4));
        fields.push(("fcw".into(), FCW, 2));
        fields.push(("xcr0".into(), XCR0, 8));
        let differ = |&(_, at, len): &(String, usize, usize)| {
            patterns[at..at + len] != results[at..at + len]
        };
        fields
            .into_iter()
            .filter(differ)
            .map(|(name, ..)| name)
            .collect()
    }

    /// Another pattern for every register, from the seed that is printed.
    pub(crate) fn patterns(&self) -> Vec<u8> {
        let seed = std::env::var("FPSTATE_SEED").map_or_else(
            |_| fastrand::u64(..),
            |seed| seed.parse().expect("FPSTATE_SEED is a number"),
        );
        eprintln!("seed {seed}: FPSTATE_SEED={seed} repeats this");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut patterns = vec![0; LEN];
        random.fill(&mut patterns);
        for number in patterns[X87..MXCSR].as_chunks_mut::<16>().0 {
            // A normal number: an exponent around that of 1, and the integer bit.
            number[7] |= 0x80;
            (number[8], number[9]) = (random.u8(..), 0x3f);
        }
        // Rounding, flush-to-zero; all exceptions masked.
        patterns[MXCSR..FCW].copy_from_slice(&0xffa0_u32.to_le_bytes());
        patterns[FCW..XCR0].copy_from_slice(&0x0f7f_u32.to_le_bytes());
        patterns[XCR0..].copy_from_slice(&self.seen_xcr0.bits().to_le_bytes());
        patterns
    }
}
