//! What a guest does between VM entry and exit, on the registers that the host loaded for it.

use fpstate::{Interception, VmExit};
use fpstate_arch::{Component, ComponentSet, Fault, Pkru, Processor, Xfd};
use fpstate_model::{Osxsave, Pke, TaskSwitched};

use super::kind::{Kind, Registers};
use super::program::{Code, Conditions};
use super::reference::{Expected, GuestReference, View};
use super::{Hardware, TILE_DATA};

/// What the guest does next.
#[derive(Debug)]
pub(super) enum Doing {
    Code(Code),
    /// WRMSR of IA32_XFD.
    WriteXfd(ComponentSet),
    /// RDMSR of IA32_XFD_ERR, which does not exit.
    ReadXfdErr,
    Wrpkru(Pkru),
}

/// Why it exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Interrupt,
    /// An intercepted WRMSR of IA32_XFD.
    WriteXfd(ComponentSet),
    NotAvailable(NotAvailable),
}

/// What a #NM is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAvailable {
    /// CR0.TS.
    TaskSwitched,
    /// The guest's own IA32_XFD.
    ByGuest,
    /// The host's arming alone.
    ByHost,
}

/// The guest's control registers during one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) osxsave: Osxsave,
    pub(super) pke: Pke,
    pub(super) ts: TaskSwitched,
    /// Of IA32_XFD.
    pub(super) interception: Interception,
}

impl Control {
    /// What XSAVE instructions and AMX see of XCR0.
    pub(super) const fn enabled(self, guest: &GuestReference) -> ComponentSet {
        match self.osxsave {
            Osxsave::Clear => ComponentSet::EMPTY,
            Osxsave::Set => guest.xcr0,
        }
    }

    pub(super) const fn vm_exit(self, exit: Exit) -> VmExit {
        let guest_cr0 = match self.ts {
            TaskSwitched::Clear => 0,
            TaskSwitched::Set => 1 << 3,
        };
        match exit {
            Exit::NotAvailable(_) => VmExit::DeviceNotAvailable { guest_cr0 },
            Exit::Interrupt | Exit::WriteXfd(_) => VmExit::Other,
        }
    }
}

/// A guest between entry and exit.
pub(super) struct Run<'r, P> {
    pub(super) processor: &'r mut P,
    /// Every component of states.
    pub(super) all: ComponentSet,
    pub(super) kind: Kind,
    pub(super) control: Control,
    pub(super) guest: &'r mut GuestReference,
    pub(super) expected: &'r mut Expected,
    /// How often the guest used tile data, wrote IA32_XFD without exit, and raised #UD.
    pub(super) uses: [u64; 3],
}

impl<P: Hardware> Run<'_, P> {
    /// The VM entry, the guest's instructions, the VM exit.
    pub(super) fn run(&mut self, program: &[Doing]) -> Result<Exit, String> {
        self.check_registers()?;
        let Control {
            osxsave, pke, ts, ..
        } = self.control;
        let model = self.processor.model();
        model.set_cr4_osxsave(osxsave);
        model.set_cr4_pke(pke);
        model.set_cr0_ts(ts);
        let mut exit = Ok(Exit::Interrupt);
        for doing in program {
            exit = self.execute(doing);
            if exit != Ok(Exit::Interrupt) {
                break;
            }
        }
        let model = self.processor.model();
        model.set_cr4_osxsave(self.kind.osxsave());
        model.set_cr4_pke(Pke::Set);
        model.set_cr0_ts(TaskSwitched::Clear);
        exit
    }

    /// The guest finds its own registers.
    fn check_registers(&mut self) -> Result<(), String> {
        let expected = Registers {
            xcr0: self.guest.xcr0,
            xss: self.guest.xss,
            xfd: self.expected.register_xfd(),
            xfd_err: self.guest.xfd_err,
            pkru: self.guest.pkru,
        };
        let found = self.kind.read(self.processor, expected);
        if found == Ok(expected) {
            Ok(())
        } else {
            Err(format!("at entry {found:?} instead of {expected:?}"))
        }
    }

    fn execute(&mut self, doing: &Doing) -> Result<Exit, String> {
        match doing {
            Doing::Code(code) => self.execute_code(code),
            Doing::WriteXfd(value) => self.write_xfd(*value),
            Doing::ReadXfdErr => {
                let found = self.processor.read_xfd_err().map(|err| err.components());
                let expected = Ok(self.guest.xfd_err);
                // Without the register #GP, which the guest's handler skips.
                if found == expected || found.is_err() && !self.kind.has_xfd() {
                    Ok(Exit::Interrupt)
                } else {
                    Err(format!("IA32_XFD_ERR of the guest: {found:?}"))
                }
            }
            Doing::Wrpkru(pkru) => {
                let written = self.processor.wrpkru(*pkru);
                written.map_err(|fault| fault.to_string())?;
                self.guest.pkru = *pkru;
                Ok(Exit::Interrupt)
            }
        }
    }

    fn execute_code(&mut self, code: &Code) -> Result<Exit, String> {
        let conditions = Conditions {
            enabled: self.control.enabled(self.guest),
            disabled: self.expected.register_xfd(),
            ts: self.control.ts,
        };
        let outcome = code.outcome(conditions, &self.expected.values);
        let result = code.execute(self.processor.model());
        if result != outcome {
            return Err(format!("the guest: {result:?} instead of {outcome:?}"));
        }
        match result {
            Ok(()) => {
                let found = self.processor.contents(self.all);
                self.expected.wrote(code.written(), &found);
                self.uses[0] += u64::from(code.written().contains(Component::TileData));
                Ok(Exit::Interrupt)
            }
            Err(Fault::DeviceNotAvailable) => Ok(Exit::NotAvailable(self.not_available())),
            // The guest's own handler skips it.
            Err(_) => {
                self.uses[2] += 1;
                Ok(Exit::Interrupt)
            }
        }
    }

    fn not_available(&mut self) -> NotAvailable {
        if self.control.ts == TaskSwitched::Set {
            NotAvailable::TaskSwitched
        } else if self.expected.xfd.intersects(TILE_DATA) {
            self.guest.xfd_err = TILE_DATA;
            NotAvailable::ByGuest
        } else {
            NotAvailable::ByHost
        }
    }

    fn write_xfd(&mut self, value: ComponentSet) -> Result<Exit, String> {
        if self.control.interception == Interception::Intercepted {
            return Ok(Exit::WriteXfd(value));
        }
        // WRMSR raises #GP for any other component.
        if let Ok(xfd) = Xfd::new(value, TILE_DATA) {
            let written = self.processor.model().write_xfd(xfd);
            written.map_err(|fault| fault.to_string())?;
            self.expected.wrote_xfd_while_running(value);
            self.uses[1] += 1;
        }
        // What it had and had disabled it may see again.
        let found = self.processor.contents(self.all);
        let view = if self.expected.xfd.is_empty() {
            View::Enabled
        } else {
            View::DisabledInRegisters
        };
        match self.expected.difference(&found, view) {
            Some(difference) => Err(format!("the guest sees {difference}")),
            None => Ok(Exit::Interrupt),
        }
    }
}
