//! #NM in user mode: a thread used a component for which its state has no room.
//!
//! `#NM -> permission -> memory -> the state is preserved -> retry`.

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::processor::Processor;
use fpstate_arch::xfd::XfdErr;

use crate::cpu::CpuFpu;
use crate::decision::require_host_control;
use crate::growth::{Expansion, ResizeError};
use crate::offer::Grantee;
use crate::ownership::StateId;
use crate::permission_error::NotPermitted;
use crate::permissions::Permissions;
use crate::storage::AreaStorage;
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

/// What the kernel has to do about a #NM.
#[derive(Clone, Copy, Debug)]
#[must_use = "the thread raises the same #NM until its state has grown"]
pub enum DeviceNotAvailable<'e> {
    /// It is not about IA32_XFD, but about CR0.TS or CR0.EM.
    OtherCause,
    /// Lend memory to [`ThreadFpu::expand`] and return to user mode; without memory the thread gets
    /// SIGSEGV from Linux.
    Expand(Expansion<'e>),
    /// The state has room: return to user mode.
    Retry,
}

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// At the #NM, interrupts off: takes IA32_XFD_ERR, which is 0 from here on (invariant I14), and
    /// says what to do. What allocates comes later, with interrupts on.
    ///
    /// # Errors
    /// [`DeviceNotAvailableError`].
    pub fn device_not_available(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        permissions: &Permissions,
    ) -> Result<DeviceNotAvailable<'e>, DeviceNotAvailableError> {
        // Another guest's IA32_XFD_ERR may be in the register.
        require_host_control(cpu.facts()).map_err(DeviceNotAvailableError::Switch)?;
        let fault = |fault| DeviceNotAvailableError::Switch(SwitchError::Fault(fault));
        if !cpu.instructions().has_xfd() {
            return Ok(DeviceNotAvailable::OtherCause);
        }
        let needed = cpu.processor().read_xfd_err().map_err(fault)?;
        if needed == XfdErr::NOTHING {
            return Ok(DeviceNotAvailable::OtherCause);
        }
        cpu.processor()
            .write_xfd_err(XfdErr::NOTHING)
            .map_err(fault)?;
        if let Some(guest) = self.running_guest() {
            return Err(DeviceNotAvailableError::InGuest { guest });
        }
        self.expansion_for(needed.components(), cpu, permissions)
    }

    /// What the thread's own state would need to have room for `components`: before a tracer writes an
    /// image with them. The thread itself grows by using them.
    ///
    /// # Errors
    /// [`DeviceNotAvailableError::NotPermitted`] and [`DeviceNotAvailableError::Resize`].
    pub fn expansion(
        &self,
        components: ComponentSet,
        permissions: &Permissions,
    ) -> Result<Expansion<'e>, DeviceNotAvailableError> {
        permissions
            .require(Grantee::Threads, components)
            .map_err(DeviceNotAvailableError::NotPermitted)?;
        self.own()
            .expansion(components)
            .map_err(DeviceNotAvailableError::Resize)
    }

    fn expansion_for(
        &mut self,
        needed: ComponentSet,
        cpu: &mut CpuFpu<impl Processor>,
        permissions: &Permissions,
    ) -> Result<DeviceNotAvailable<'e>, DeviceNotAvailableError> {
        if self.own().components().contains_all(needed) {
            // Register and state disagree, which should not be; writing it ends the #NM (I15).
            if self.is_in_registers_of(cpu) {
                cpu.rewrite_xfd(self.own().xfd())
                    .map_err(|fault| DeviceNotAvailableError::Switch(SwitchError::Fault(fault)))?;
            }
            return Ok(DeviceNotAvailable::Retry);
        }
        self.expansion(needed, permissions)
            .map(DeviceNotAvailable::Expand)
    }
}

/// Why a #NM has no remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceNotAvailableError {
    /// The process has no permission: SIGILL, as for an instruction that the CPU lacks.
    NotPermitted(NotPermitted),
    /// A guest's state is active: the #NM is the kernel's own, or exited and is not this one's.
    InGuest {
        /// The guest's state.
        guest: StateId,
    },
    /// The state cannot have the components.
    Resize(ResizeError),
    /// The processor refused.
    Switch(SwitchError),
}

impl fmt::Display for DeviceNotAvailableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(error) => error.fmt(f),
            Self::InGuest { guest } => {
                write!(f, "#NM while the guest of {guest} is in the registers")
            }
            Self::Resize(error) => error.fmt(f),
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DeviceNotAvailableError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_refused_exception_says_why() {
        static IDENTITIES: Identities = Identities::new();
        let first = IDENTITIES.state();
        let _second = IDENTITIES.state();
        let _cpu = IDENTITIES.cpu(7);
        let _here = IDENTITIES.cpu(9);
        for (shown, sentence) in [
            (
                DeviceNotAvailableError::InGuest { guest: first }.to_string(),
                "#NM while the guest of state 1 is in the registers",
            ),
            (
                DeviceNotAvailableError::Resize(ResizeError::NotGrown).to_string(),
                "no on-demand component has room",
            ),
            (
                DeviceNotAvailableError::Switch(SwitchError::Stale).to_string(),
                "the decision is not what the states call for now",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
