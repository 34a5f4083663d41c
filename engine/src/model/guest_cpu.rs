//! The CPU as a guest has it: instructions, some of which exit.

use fpstate::Interception;
use fpstate_arch::{ComponentSet, Fault, Processor, Xfd};
use fpstate_model::ModelCpu;

/// Why the guest exits in the middle of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// #NM.
    DeviceNotAvailable,
    /// RDMSR of `IA32_XFD`.
    ReadXfd,
    /// WRMSR of `IA32_XFD`.
    WriteXfd(ComponentSet),
    /// WRMSR of `IA32_XFD_ERR`.
    WriteXfdErr(ComponentSet),
    /// XSETBV with ECX = 0.
    Xsetbv(ComponentSet),
}

/// What the guest finds when it goes on after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The instruction was carried out for it.
    Done,
    /// And this is what it read.
    Read(ComponentSet),
    /// #GP(0).
    GeneralProtection,
    /// #NM, which is the guest's to handle.
    DeviceNotAvailable,
}

/// The CPU as a guest has it.
#[derive(Debug)]
pub(super) struct GuestCpu<'a> {
    /// What executes directly.
    pub(super) direct: &'a mut ModelCpu,
    xfd: Interception,
}

impl<'a> GuestCpu<'a> {
    pub(super) const fn new(direct: &'a mut ModelCpu, xfd: Interception) -> Self {
        Self { direct, xfd }
    }

    /// RDMSR of `IA32_XFD`.
    pub(super) fn read_xfd(&mut self) -> Result<ComponentSet, Exit> {
        match self.xfd {
            Interception::Intercepted => Err(Exit::ReadXfd),
            Interception::PassedThrough => Ok(self.direct.read_xfd().unwrap_or_default()),
        }
    }

    /// WRMSR of `IA32_XFD`.
    pub(super) fn write_xfd(&mut self, value: ComponentSet) -> Result<Result<(), Fault>, Exit> {
        match (self.xfd, Xfd::new(value, value)) {
            (Interception::PassedThrough, Ok(value)) => Ok(self.direct.write_xfd(value)),
            (Interception::Intercepted | Interception::PassedThrough, _) => {
                Err(Exit::WriteXfd(value))
            }
        }
    }
}
