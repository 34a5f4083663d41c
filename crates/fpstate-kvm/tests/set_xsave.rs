//! Safe `get_xsave` and `set_xsave` against the kernel of this machine: the reason the library gives, and
//! what the kernel answers to the same image.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fpstate::ImageError;
use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{Host, Permitted, SetXsaveError, VcpuXsave};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

struct Bench {
    host: Host,
    vm: VmFd,
    vcpu: VcpuFd,
}

impl Bench {
    fn new() -> Option<Self> {
        let kvm = Kvm::new().map_err(|error| {
            eprintln!("SKIPPED, nothing was tested: /dev/kvm: {error}");
        });
        let kvm = kvm.ok()?;
        let permitted = Permitted::ask(&kvm, ComponentSet::only(Component::TileData));
        let host = Host::read(&permitted).unwrap();
        let vm = permitted.create_vm().unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        vcpu.set_cpuid2(&permitted.supported_cpuid().unwrap())
            .unwrap();
        Some(Self { host, vm, vcpu })
    }

    fn xsave(&self) -> VcpuXsave<'_> {
        VcpuXsave::of(&self.host, &self.vm, &self.vcpu)
    }
}

/// The offset of MXCSR, XSTATE_BV, XCOMP_BV, the reserved bytes and AVX.
const MXCSR: usize = 24;
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
const RESERVED: usize = 528;

#[test]
fn what_a_vcpu_gives_it_takes_back() {
    let Some(bench) = Bench::new() else { return };
    let xsave = bench.xsave();
    let mut image = xsave.get_xsave().unwrap();
    assert_eq!(image.len(), xsave.len());
    image[XSTATE_BV] = 3;
    image[160..176].copy_from_slice(b"XMM0 has 16 byte");
    xsave.set_xsave(&image).unwrap();
    assert_eq!(xsave.get_xsave().unwrap()[..XSTATE_BV], image[..XSTATE_BV]);
}

#[test]
fn an_image_that_the_kernel_answers_with_einval_has_a_reason() {
    let Some(bench) = Bench::new() else { return };
    let xsave = bench.xsave();
    let good = xsave.get_xsave().unwrap();
    type Edit = fn(&mut Vec<u8>);
    let edits: [(&str, Edit); 9] = [
        ("CET_U, a supervisor component", |i| {
            i[XSTATE_BV + 1] |= 1 << 3
        }),
        ("component 62", |i| i[XSTATE_BV + 7] |= 1 << 6),
        ("bit 63 of XCOMP_BV", |i| i[XCOMP_BV + 7] = 0x80),
        ("the first reserved byte", |i| i[RESERVED] = 1),
        ("the last reserved byte", |i| i[575] = 1),
        ("a bit of MXCSR that no CPU has, with SSE", |i| {
            (i[XSTATE_BV], i[MXCSR + 3]) = (2, 0x80);
        }),
        ("the same with AVX alone", |i| {
            (i[XSTATE_BV], i[MXCSR + 3]) = (4, 0x80);
        }),
        ("the same with x87 alone, which does not load it", |i| {
            (i[XSTATE_BV], i[MXCSR + 3]) = (1, 0x80);
        }),
        ("all of them", |i| i[XSTATE_BV..576].fill(0xff)),
    ];
    for (name, edit) in edits {
        let mut image = good.clone();
        edit(&mut image);
        let refused = xsave.set_xsave(&image).unwrap_err();
        eprintln!("{name}: {refused}");
        assert!(
            matches!(refused, SetXsaveError::Image(_)),
            "{name}: {refused:?}"
        );
        let kernel = xsave.set_xsave_unjudged(&image).unwrap_err();
        assert_eq!(kernel.errno(), 22, "{name}");
        assert_eq!(xsave.get_xsave().unwrap(), good, "{name} changed something");
    }
}

#[test]
fn an_mxcsr_beside_an_initial_state_is_accepted_by_both() {
    let Some(bench) = Bench::new() else { return };
    let xsave = bench.xsave();
    let mut image = xsave.get_xsave().unwrap();
    (image[XSTATE_BV], image[MXCSR + 3]) = (0, 0x80);
    xsave.set_xsave(&image).unwrap();
}

#[test]
fn a_shorter_image_is_filled_up_and_one_that_lacks_what_it_announces_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let xsave = bench.xsave();
    let whole = xsave.get_xsave().unwrap();
    xsave.set_xsave(&whole[..576]).unwrap();
    let mut cut = whole[..576].to_vec();
    cut[XSTATE_BV] = 4;
    let refused = xsave.set_xsave(&cut).unwrap_err();
    let needed = 576 + 256;
    let expected = ImageError::TooShort { found: 576, needed };
    assert!(
        matches!(refused, SetXsaveError::Image(error) if error == expected),
        "{refused}"
    );
    for len in [0, 511, 512, 575] {
        let refused = xsave.set_xsave(&whole[..len]).unwrap_err();
        assert!(matches!(
            refused,
            SetXsaveError::Image(ImageError::TooShort { .. })
        ));
    }
}

#[test]
fn zeros_beyond_the_vcpus_image_are_no_state_and_anything_else_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let xsave = bench.xsave();
    let mut long = xsave.get_xsave().unwrap();
    let len = long.len();
    long.resize(len + 8192, 0);
    xsave.set_xsave(&long).unwrap();
    long[len + 4097] = 7;
    let refused = xsave.set_xsave(&long).unwrap_err();
    let SetXsaveError::Beyond { offset, value, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!((offset, value), (len + 4097, 7));
}

/// A change somewhere that matters: header, MXCSR, any byte of a component.
fn mutate(image: &mut [u8], random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        match random.u8(..6) {
            0 => image[XSTATE_BV] = random.u8(..),
            1 => image[XSTATE_BV + random.usize(..8)] ^= 1 << random.u8(..8),
            2 => image[MXCSR + random.usize(..4)] ^= 1 << random.u8(..8),
            3 => image[XCOMP_BV + random.usize(..8)] ^= 1 << random.u8(..8),
            4 => image[RESERVED + random.usize(..48)] ^= 1 << random.u8(..8),
            _ => image[random.usize(..4096)] = random.u8(..),
        }
    }
}

#[test]
fn library_and_kernel_judge_random_images_alike() {
    let Some(bench) = Bench::new() else { return };
    let seed = std::env::var("FPSTATE_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("FPSTATE_SEED is a number"),
    );
    eprintln!("seed {seed}: FPSTATE_SEED={seed} repeats this");
    let mut random = fastrand::Rng::with_seed(seed);
    let xsave = bench.xsave();
    let good = xsave.get_xsave().unwrap();
    let mut accepted = 0;
    for case in 0..5000 {
        let mut image = good.clone();
        mutate(&mut image, &mut random);
        let kernel = xsave.set_xsave_unjudged(&image);
        match xsave.set_xsave(&image) {
            Ok(()) => {
                accepted += 1;
                assert!(kernel.is_ok(), "case {case}: the kernel answers {kernel:?}");
            }
            Err(SetXsaveError::Image(error)) => {
                assert!(kernel.is_err(), "case {case}: the kernel takes it: {error}");
            }
            Err(other) => panic!("case {case}: {other}"),
        }
    }
    assert!((500..4500).contains(&accepted), "{accepted} accepted");
}
