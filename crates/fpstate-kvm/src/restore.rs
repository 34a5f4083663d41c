//! A vCPU gets a stored extended state.

use std::fmt;

use fpstate_arch::ComponentSet;
use kvm_ioctls::Error;

use crate::check::{Target, check};
use crate::guest_cpuid::{supervisor_components, user_components};
use crate::permission::SystemError;
use crate::reason::Reason;
use crate::restore_order::{Msr, Step, restore_order};
use crate::snapshot::VcpuExtendedState;
use crate::vcpu_registers::{Written, read_msr, write_msr, write_xcr0};
use crate::xsave2::{SetXsaveError, VcpuXsave, without};

impl VcpuExtendedState {
    /// Every reason why this state cannot be restored on `vcpu`. Its CPUID must be set already: it says
    /// what the guest is offered.
    ///
    /// # Errors
    /// KVM's, to `KVM_GET_CPUID2`.
    pub fn reasons_against(&self, vcpu: &VcpuXsave<'_>) -> Result<Vec<Reason>, Error> {
        let (host, cpuid) = (vcpu.host(), vcpu.cpuid()?);
        // What lacks permission has that reason, and not that KVM lacks it.
        let not_permitted = host
            .offered()
            .intersection(host.enumeration().xfd_components())
            .difference(host.permitted());
        let target = Target {
            enumeration: host.enumeration(),
            in_image: vcpu.allowed()?.union(not_permitted),
            in_xcr0: user_components(&cpuid).intersection(host.offered()),
            in_xss: supervisor_components(&cpuid).intersection(host.offered_supervisor()),
            permitted: host.permitted(),
            mxcsr_mask: host.mxcsr_mask(),
        };
        Ok(check(self, &target))
    }

    /// Gives `vcpu` this state. Its CPUID must be set already, and it must not run.
    ///
    /// The order is [`restore_order`]'s, which no kernel minds. An MSR that the vCPU lacks is no error if
    /// its value is the one after RESET.
    ///
    /// # Errors
    /// [`RestoreError::Reasons`], and nothing is changed then. After another error the vCPU has a part
    /// of the state and should not run.
    pub fn restore(&self, vcpu: &VcpuXsave<'_>) -> Result<(), RestoreError> {
        let reasons = self.reasons_against(vcpu).map_err(RestoreError::kvm)?;
        if !reasons.is_empty() {
            return Err(RestoreError::Reasons(reasons));
        }
        for step in restore_order(self) {
            self.take(step, vcpu)?;
        }
        Ok(())
    }

    fn take(&self, step: Step, vcpu: &VcpuXsave<'_>) -> Result<(), RestoreError> {
        match step {
            Step::Xcr0(found) => {
                write_xcr0(vcpu.vcpu(), found).map_err(|error| RestoreError::Xcr0 {
                    found,
                    error: SystemError::from_number(error.errno()),
                })
            }
            Step::Msr(msr, value) => Self::restore_msr(vcpu, msr, value),
            Step::ImageWithout(components) => {
                let image = without(self.xsave(), components);
                vcpu.set_xsave(&image).map_err(RestoreError::Image)
            }
        }
    }

    fn restore_msr(
        vcpu: &VcpuXsave<'_>,
        msr: Msr,
        value: ComponentSet,
    ) -> Result<(), RestoreError> {
        let fd = vcpu.vcpu();
        match write_msr(fd, msr, value).map_err(RestoreError::kvm)? {
            Written::Yes => Ok(()),
            // KVM refuses even 0 where the guest's CPUID lacks the MSR.
            Written::Refused if read_msr(fd, msr).map_err(RestoreError::kvm)? == value => Ok(()),
            Written::Refused => Err(RestoreError::Msr { msr, value }),
        }
    }
}

/// Why a state was not restored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// It cannot be restored here; nothing was changed.
    Reasons(Vec<Reason>),
    /// KVM refused XCR0, which the check had let pass.
    Xcr0 {
        /// The value.
        found: ComponentSet,
        /// The answer.
        error: SystemError,
    },
    /// KVM refused an MSR: the guest's CPUID, or the host, lacks it or this value.
    Msr {
        /// Which.
        msr: Msr,
        /// The value.
        value: ComponentSet,
    },
    /// The image was refused.
    Image(SetXsaveError),
    /// KVM failed for a reason that is none of the state's.
    Kvm(SystemError),
}

impl RestoreError {
    fn kvm(error: Error) -> Self {
        Self::Kvm(SystemError::from_number(error.errno()))
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reasons(reasons) => {
                let mut separator = "";
                for reason in reasons {
                    write!(f, "{separator}{reason}")?;
                    separator = "; ";
                }
                Ok(())
            }
            Self::Xcr0 { found, error } => {
                write!(
                    f,
                    "XCR0 {:#x} ({found}): KVM answered {error}",
                    found.bits()
                )
            }
            Self::Msr { msr, value } => {
                let name = msr.name();
                write!(f, "{name} {:#x} ({value}): KVM refused it", value.bits())
            }
            Self::Image(error) => error.fmt(f),
            Self::Kvm(error) => write!(f, "KVM answered {error}"),
        }
    }
}

impl std::error::Error for RestoreError {}
