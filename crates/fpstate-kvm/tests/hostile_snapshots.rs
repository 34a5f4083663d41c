//! Snapshots from nowhere: a check answers, and does not panic, whatever CPU, registers and image they
//! claim.

use fpstate_arch::cpuid::{CpuidRegisters, RecordedLeaves};
use fpstate_arch::{ComponentSet, Enumeration};
use fpstate_kvm::{CpuRecord, Parts, Target, VcpuExtendedState, check};
use fpstate_model::Profile;

struct Hostile(fastrand::Rng);

impl Hostile {
    /// A register: 0, all ones, a few bits, or anything.
    fn register(&mut self) -> u32 {
        match self.0.u8(..4) {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << self.0.u32(..32) | 1 << self.0.u32(..32),
            _ => self.0.u32(..),
        }
    }

    fn set(&mut self) -> ComponentSet {
        ComponentSet::from_halves(self.register(), self.register())
    }

    /// A profile with some leaves made up.
    fn cpu(&mut self) -> CpuRecord {
        let profile = Profile::ALL[self.0.usize(..Profile::ALL.len())];
        let leaves = profile.leaves();
        let made_up = self.0.u8(..3) * 40;
        let read = |leaf: u32, subleaf: u32| {
            use fpstate_arch::CpuidSource;
            let mut registers = RecordedLeaves(&leaves).cpuid(leaf, subleaf);
            if self.0.u8(..100) < made_up {
                let [eax, ebx, ecx, edx] = [(); 4].map(|()| self.register());
                registers = CpuidRegisters { eax, ebx, ecx, edx };
            }
            registers
        };
        CpuRecord::read(read).0
    }

    fn snapshot(&mut self) -> VcpuExtendedState {
        let len = [0, 500, 576, 832, 2696, 4096, 11_008][self.0.usize(..7)];
        let mut xsave = vec![0; len];
        self.0.fill(&mut xsave);
        VcpuExtendedState::from_parts(Parts {
            cpu: self.cpu(),
            xcr0: self.set(),
            xss: self.set(),
            xfd: self.set(),
            xfd_err: self.set(),
            xsave,
        })
    }
}

#[test]
fn a_check_answers_whatever_a_snapshot_claims() {
    let seed = std::env::var("FPSTATE_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("FPSTATE_SEED is a number"),
    );
    eprintln!("seed {seed}: FPSTATE_SEED={seed} repeats this");
    let mut hostile = Hostile(fastrand::Rng::with_seed(seed));
    let targets: Vec<Enumeration> = Profile::ALL
        .iter()
        .map(|profile| Enumeration::read(RecordedLeaves(&profile.leaves())))
        .collect();
    for _ in 0..3000 {
        let snapshot = hostile.snapshot();
        let target = &targets[hostile.0.usize(..targets.len())];
        let reasons = check(&snapshot, &Target::of_cpu(target, 0xffff));
        // Random bytes are no image.
        assert!(!reasons.is_empty());
        for reason in reasons {
            assert!(!reason.to_string().contains('\n'));
        }
    }
}
