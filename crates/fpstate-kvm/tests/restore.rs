//! A restore that is refused: with every reason, and nothing changed.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fpstate::ImageError;
use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{Host, Parts, Permitted, Reason, RestoreError, VcpuExtendedState, VcpuXsave};
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
        let permitted = Permitted::without_asking(&kvm);
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

    fn capture(&self) -> VcpuExtendedState {
        VcpuExtendedState::capture(&self.xsave()).unwrap()
    }

    /// The reasons, after a look that nothing changed.
    fn refused(&self, edit: impl FnOnce(&mut Parts)) -> Vec<Reason> {
        let before = self.capture();
        let mut parts = before.clone().into_parts();
        // What would be seen if it were restored in part.
        parts.xcr0 = ComponentSet::LEGACY;
        parts.xsave[512] |= 1;
        edit(&mut parts);
        let refused = VcpuExtendedState::from_parts(parts).restore(&self.xsave());
        assert_eq!(self.capture(), before);
        let Err(RestoreError::Reasons(reasons)) = refused else {
            panic!("{refused:?}");
        };
        reasons
    }
}

#[test]
fn a_fresh_vcpu_takes_back_what_it_gave_even_msrs_that_it_lacks() {
    let Some(bench) = Bench::new() else { return };
    let fresh = bench.capture();
    assert_eq!(fresh.xcr0(), ComponentSet::only(Component::X87));
    fresh.restore(&bench.xsave()).unwrap();
    assert_eq!(bench.capture(), fresh);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_nothing_is_changed() {
    let Some(bench) = Bench::new() else { return };
    let reasons = bench.refused(|parts| {
        parts.xsave[520] = 1;
        parts.xsave[575] = 9;
        parts.xsave[519] = 0x40;
        parts.xcr0 = ComponentSet::only(Component::Sse);
        parts.xss = ComponentSet::only(Component::Lbr);
        parts.xfd = ComponentSet::only(Component::Sse);
    });
    for reason in &reasons {
        eprintln!("{reason}");
    }
    let (offset, value) = (575, 9);
    let reserved = ImageError::ReservedHeaderByte { offset, value };
    assert!(reasons.contains(&Reason::Image(reserved)));
    assert_eq!(reasons.len(), 6, "{reasons:?}");
}

#[test]
fn a_vcpu_whose_cpuid_offers_nothing_has_no_xcr0_but_the_first() {
    let Some(bench) = Bench::new() else { return };
    bench
        .vcpu
        .set_cpuid2(&kvm_bindings::CpuId::new(0).unwrap())
        .unwrap();
    let reasons = bench.refused(|_| ());
    assert!(matches!(reasons[..], [Reason::Xcr0(_)]), "{reasons:?}");
    let fresh = bench.capture();
    fresh.restore(&bench.xsave()).unwrap();
}
