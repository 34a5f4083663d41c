//! Why a switch is refused.

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::fault::Fault;
use fpstate_arch::xsave_header::Format;

use crate::ownership::{CpuId, StateId};
use crate::switch::RegisterContent;

/// Why a switch cannot be decided, or was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwitchError {
    /// The only copy of the state is in another CPU's registers.
    InRegistersOf {
        /// The state.
        state: StateId,
        /// The CPU that holds it.
        cpu: CpuId,
        /// The CPU asked to switch.
        here: CpuId,
    },
    /// The state should be in this CPU's registers, and another one is.
    NotInRegisters {
        /// The state.
        state: StateId,
        /// The CPU.
        cpu: CpuId,
        /// What its registers hold.
        found: RegisterContent,
    },
    /// The registers hold the only copy of another state, which would be lost (invariant I6).
    WouldDiscard {
        /// The state that would be lost.
        state: StateId,
        /// The CPU.
        cpu: CpuId,
    },
    /// The state has room for components this CPU does not have enabled: its image would be laid
    /// out differently here.
    NotEnabled {
        /// The CPU.
        cpu: CpuId,
        /// The state's components.
        found: ComponentSet,
        /// The components the CPU switches.
        enabled: ComponentSet,
    },
    /// The kernel is using this CPU's registers itself.
    KernelSection {
        /// The CPU.
        cpu: CpuId,
    },
    /// The state's area is not in the format that this CPU's instruction writes.
    OtherFormat {
        /// The CPU.
        cpu: CpuId,
        /// The area's format.
        found: Format,
        /// The format the CPU writes.
        needed: Format,
    },
    /// The state has no room for components that are enabled on this CPU and that its IA32_XFD does
    /// not disable.
    NoRoom {
        /// The CPU.
        cpu: CpuId,
        /// The state's components.
        found: ComponentSet,
        /// The components without room.
        missing: ComponentSet,
    },
    /// A guest's XCR0 and IA32_XSS are loaded on this CPU (invariant I29).
    GuestControl {
        /// The CPU.
        cpu: CpuId,
    },
    /// A decision was committed that is not what the states call for now, or that was made for
    /// other states or another CPU.
    Stale,
    /// The processor refused an instruction. The state that was to be saved is where it was; the
    /// registers belong to nobody if it was the restore that failed. A ring-0 processor refuses
    /// only what it can see beforehand: the #GP of a bad image goes to the kernel's handler.
    Fault(Fault),
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRegistersOf { state, cpu, here } => {
                write!(
                    f,
                    "{state} is in the registers of {cpu}; asked to switch it on {here}"
                )
            }
            Self::NotInRegisters { state, cpu, found } => {
                write!(
                    f,
                    "{state} should be in the registers of {cpu}, which hold {found:?}"
                )
            }
            Self::WouldDiscard { state, cpu } => {
                write!(f, "the registers of {cpu} hold the only copy of {state}")
            }
            Self::NotEnabled {
                cpu,
                found,
                enabled,
            } => {
                write!(f, "the state has {found}; enabled on {cpu}: {enabled}")
            }
            Self::KernelSection { cpu } => {
                write!(f, "the kernel is using the registers of {cpu}")
            }
            Self::OtherFormat { cpu, found, needed } => {
                write!(
                    f,
                    "an area of {found} format; {cpu} switches with {needed} ones"
                )
            }
            Self::NoRoom {
                cpu,
                found,
                missing,
            } => {
                write!(f, "the state has {found}; {cpu} has {missing} enabled too")
            }
            Self::GuestControl { cpu } => {
                write!(f, "XCR0 and IA32_XSS of {cpu} are a guest's")
            }
            Self::Stale => f.write_str("the decision is not what the states call for now"),
            Self::Fault(fault) => write!(f, "the processor refused: {fault}"),
        }
    }
}

impl core::error::Error for SwitchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::InRegistersOf { .. }
            | Self::NotInRegisters { .. }
            | Self::WouldDiscard { .. }
            | Self::NotEnabled { .. }
            | Self::KernelSection { .. }
            | Self::OtherFormat { .. }
            | Self::NoRoom { .. }
            | Self::GuestControl { .. }
            | Self::Stale => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use fpstate_arch::Component;
    use std::string::ToString;

    #[test]
    fn a_refused_switch_names_state_cpu_and_components() {
        static IDENTITIES: Identities = Identities::new();
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        let first = IDENTITIES.state();
        let _second = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        let here = IDENTITIES.cpu(9);
        for (shown, sentence) in [
            (
                SwitchError::InRegistersOf {
                    state: first,
                    cpu,
                    here,
                }
                .to_string(),
                "state 1 is in the registers of CPU 7; asked to switch it on CPU 9",
            ),
            (
                SwitchError::WouldDiscard { state: first, cpu }.to_string(),
                "the registers of CPU 7 hold the only copy of state 1",
            ),
            (
                SwitchError::NotEnabled {
                    cpu,
                    found: TILES,
                    enabled: AVX,
                }
                .to_string(),
                "the state has XTILECFG+XTILEDATA; enabled on CPU 7: AVX",
            ),
            (
                SwitchError::KernelSection { cpu }.to_string(),
                "the kernel is using the registers of CPU 7",
            ),
            (
                SwitchError::OtherFormat {
                    cpu,
                    found: Format::Standard,
                    needed: Format::Compacted,
                }
                .to_string(),
                "an area of standard format; CPU 7 switches with compacted ones",
            ),
            (
                SwitchError::NoRoom {
                    cpu,
                    found: AVX,
                    missing: TILES,
                }
                .to_string(),
                "the state has AVX; CPU 7 has XTILECFG+XTILEDATA enabled too",
            ),
            (
                SwitchError::GuestControl { cpu }.to_string(),
                "XCR0 and IA32_XSS of CPU 7 are a guest's",
            ),
            (
                SwitchError::Stale.to_string(),
                "the decision is not what the states call for now",
            ),
            (
                SwitchError::Fault(Fault::GeneralProtection).to_string(),
                "the processor refused: #GP(0)",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_processors_fault_is_the_source_of_a_refused_switch() {
        use core::error::Error as _;
        let refused = SwitchError::Fault(Fault::GeneralProtection);
        assert_eq!(
            refused.source().map(ToString::to_string),
            Some("#GP(0)".to_string())
        );
        assert!(SwitchError::Stale.source().is_none());
    }
}
