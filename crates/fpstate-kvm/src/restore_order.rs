//! In which order a vCPU gets its registers: a list, so that it can be tried on kernels that are not at
//! hand.
//!
//! Before Linux 7.0 KVM keeps in memory whatever image and IA32_XFD it is given. If a component is live
//! in the one and disabled by the other, the host faults when it loads them (CVE-2026-23005). So the two
//! may never meet, whatever the vCPU held before.

use fpstate_arch::ComponentSet;

use crate::snapshot::VcpuExtendedState;

/// An MSR of extended state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Msr {
    /// IA32_XSS.
    Xss,
    /// IA32_XFD.
    Xfd,
    /// IA32_XFD_ERR.
    XfdErr,
}

impl Msr {
    /// Its number (SDM 4, table 2-2).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Xss => 0xda0,
            Self::Xfd => 0x1c4,
            Self::XfdErr => 0x1c5,
        }
    }

    /// Its name in the manual.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xss => "IA32_XSS",
            Self::Xfd => "IA32_XFD",
            Self::XfdErr => "IA32_XFD_ERR",
        }
    }
}

/// One thing that a vCPU is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `KVM_SET_XCRS`.
    Xcr0(ComponentSet),
    /// `KVM_SET_MSRS`.
    Msr(Msr, ComponentSet),
    /// `KVM_SET_XSAVE` of the image, less these components and those that the vCPU's IA32_XFD disables
    /// at this moment.
    ImageWithout(ComponentSet),
}

/// What a vCPU is given for `state`, in this order.
///
/// The image comes twice: first without what the new IA32_XFD disables, to take the old state of these
/// components out of the vCPU before they are disabled; then as it is, with what the old IA32_XFD had
/// kept out.
#[must_use]
pub const fn restore_order(state: &VcpuExtendedState) -> [Step; 6] {
    [
        Step::Xcr0(state.xcr0()),
        Step::Msr(Msr::Xss, state.xss()),
        Step::ImageWithout(state.xfd()),
        Step::Msr(Msr::Xfd, state.xfd()),
        Step::ImageWithout(ComponentSet::EMPTY),
        Step::Msr(Msr::XfdErr, state.xfd_err()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_record::CpuRecord;
    use crate::snapshot::{Parts, xstate_bv};

    const TILE_DATA: u64 = 1 << 18;

    fn snapshot(live: u64, xfd: u64) -> VcpuExtendedState {
        let mut xsave = vec![0; 4096];
        xsave[512..520].copy_from_slice(&live.to_le_bytes());
        let nothing = |_: u32, _: u32| fpstate_arch::CpuidRegisters::default();
        VcpuExtendedState::from_parts(Parts {
            cpu: CpuRecord::read(nothing).0,
            xcr0: ComponentSet::from_bits(0x602e7),
            xss: ComponentSet::EMPTY,
            xfd: ComponentSet::from_bits(xfd),
            xfd_err: ComponentSet::EMPTY,
            xsave,
        })
    }

    /// A vCPU of a kernel before 7.0: what it is given, it keeps.
    #[derive(Clone, Copy)]
    struct OldVcpu {
        live: ComponentSet,
        xfd: ComponentSet,
    }

    impl OldVcpu {
        fn take(&mut self, step: Step, image: &[u8]) {
            match step {
                Step::Msr(Msr::Xfd, value) => self.xfd = value,
                Step::ImageWithout(left_out) => {
                    self.live = xstate_bv(image).difference(left_out).difference(self.xfd);
                }
                Step::Xcr0(_) | Step::Msr(Msr::Xss | Msr::XfdErr, _) => {}
            }
            // Loading this, the host takes #NM in ring 0.
            assert!(!self.live.intersects(self.xfd), "after {step:?}");
        }
    }

    #[test]
    fn no_step_leaves_a_live_component_disabled_whatever_the_vcpu_held() {
        let values = [0, TILE_DATA].map(ComponentSet::from_bits);
        for (live, xfd) in values.iter().flat_map(|&l| values.map(|x| (l, x))) {
            if live.intersects(xfd) {
                continue; // no vCPU is like that before
            }
            for (image, new_xfd) in [
                (0, 0),
                (TILE_DATA, 0),
                (0, TILE_DATA),
                (TILE_DATA, TILE_DATA),
            ] {
                let mut vcpu = OldVcpu { live, xfd };
                let snapshot = snapshot(image, new_xfd);
                for step in restore_order(&snapshot) {
                    vcpu.take(step, snapshot.xsave());
                }
                assert_eq!(vcpu.xfd, snapshot.xfd());
                assert_eq!(
                    vcpu.live,
                    snapshot.live(),
                    "all that the snapshot has is there"
                );
            }
        }
    }
}
