//! Around a VM entry: the guest's XCR0, IA32_XSS, IA32_XFD_ERR and PKRU, and back.
//!
//! While they are loaded the host saves and restores nothing on that CPU (invariant I29): the
//! [`GuestEntry`] borrows the CPU, and a CPU whose entry was lost refuses. Interrupts are off
//! meanwhile.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::fault::Fault;
use fpstate_arch::pkru::Pkru;
use fpstate_arch::processor::Processor;
use fpstate_arch::xfd::XfdErr;
use fpstate_arch::xsave_header::Format;

use crate::cpu::CpuFpu;
use crate::growth::Expansion;
use crate::guest::GuestFpu;
use crate::guest_control::expansion_of;
use crate::guest_registers::Interception;
use crate::ownership::{Residence, StateId};
use crate::storage::AreaStorage;
use crate::switch::{ControlOwner, RegisterContent};
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

/// Why the guest exited, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmExit {
    /// #NM, intercepted.
    DeviceNotAvailable {
        /// The guest's CR0: with TS (bit 3) set the exception is not about IA32_XFD, and
        /// IA32_XFD_ERR is what it was (SDM 1, 13.14).
        guest_cr0: u64,
    },
    /// Anything else.
    Other,
}

/// What the VMM has to do about the exit.
#[derive(Clone, Copy, Debug)]
#[must_use = "an exit by #NM is either the host's or the guest's"]
pub enum AfterExit<'e> {
    /// Nothing about the extended state.
    Nothing,
    /// The #NM is the guest's: inject it. The guest reads its IA32_XFD_ERR as on bare metal.
    InjectDeviceNotAvailable,
    /// The #NM is the host's: the guest uses a component for which its state has no room. Lend
    /// memory to [`ThreadFpu::expand`] and enter again; the guest never learns of it. Without
    /// memory nothing is lost: the instruction exits again.
    Expand(Expansion<'e>),
}

/// A guest's registers are loaded: execute the VM entry, then
/// [`load_host_registers`](Self::load_host_registers).
///
/// Meanwhile the CPU, the thread and the guest cannot be used otherwise:
///
/// ```compile_fail,E0499
/// # use fpstate::*; use fpstate_arch::Processor;
/// # fn f<'e>(thread: &mut ThreadFpu<'e, BoxedArea>, guest: &mut GuestFpu<'e, BoxedArea>,
/// #     cpu: &mut CpuFpu<impl Processor>) {
/// let entry = thread.load_guest_registers(guest, cpu).unwrap();
/// cpu.release_tiles().unwrap(); // host code that uses the CPU
/// entry.load_host_registers(VmExit::Other).unwrap();
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the guest's XCR0 stays loaded until the host's is loaded again"]
pub struct GuestEntry<'c, 'e, P, S> {
    cpu: &'c mut CpuFpu<P>,
    thread: &'c mut ThreadFpu<'e, S>,
    guest: &'c mut GuestFpu<'e, S>,
    loaded: Loaded,
}

/// What is in the registers instead of the host's.
#[derive(Clone, Copy, Debug, Default)]
struct Loaded {
    xcr0: Register,
    xss: Register,
    /// The host's PKRU, where the guest can change the register.
    host_pkru: Option<Pkru>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Register {
    #[default]
    Hosts,
    Guests,
}

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// Just before the VM entry, interrupts off: IA32_XFD_ERR, XCR0, IA32_XSS and PKRU become the
    /// guest's where they differ. PKRU last: from there on user pages are the guest's.
    ///
    /// XCR0 and PKRU whatever the guest's CR4 says of OSXSAVE and PKE now: it may change without an
    /// exit, and XRSTOR changes PKRU with CR4.PKE = 0 (Linux commit 37486135d3a7).
    ///
    /// # Errors
    /// [`GuestEntryError`]; the registers are the host's then.
    pub fn load_guest_registers<'c, P: Processor>(
        &'c mut self,
        guest: &'c mut GuestFpu<'e, S>,
        cpu: &'c mut CpuFpu<P>,
    ) -> Result<GuestEntry<'c, 'e, P, S>, GuestEntryError> {
        let (asked, running) = (guest.id(), self.running_guest());
        if running != Some(asked) {
            return Err(GuestEntryError::NotRunning { asked, running });
        }
        if cpu.facts().control == ControlOwner::Guest {
            let error = SwitchError::GuestControl { cpu: cpu.id() };
            return Err(GuestEntryError::Switch(error));
        }
        if !self.may_run_on(cpu) {
            return Err(GuestEntryError::NotInRegisters { guest: asked });
        }
        let mut entry = GuestEntry {
            cpu,
            thread: self,
            guest,
            loaded: Loaded::default(),
        };
        match entry.load() {
            Ok(()) => Ok(entry),
            Err(fault) => {
                entry.unload().map_err(GuestEntryError::fault)?;
                entry.clear_xfd_err().map_err(GuestEntryError::fault)?;
                entry.cpu.set_control(ControlOwner::Host);
                Err(GuestEntryError::fault(fault))
            }
        }
    }

    /// The active state is in the registers, or the hardware puts it there itself, all but its
    /// IA32_XFD.
    fn may_run_on(&self, cpu: &CpuFpu<impl Processor>) -> bool {
        let has_its_xfd = !cpu.instructions().has_xfd() || cpu.facts().xfd == self.active().xfd();
        match self.active().residence() {
            Residence::Sealed => cpu.registers() == RegisterContent::Nobody && has_its_xfd,
            Residence::Memory | Residence::MemoryAndRegisters(_) | Residence::Registers(_) => {
                self.is_in_registers_of(cpu)
            }
        }
    }
}

impl<'e, P: Processor, S: AreaStorage> GuestEntry<'_, 'e, P, S> {
    /// The processor, for the VM entry.
    pub const fn processor(&mut self) -> &mut P {
        self.cpu.processor()
    }

    fn load(&mut self) -> Result<(), Fault> {
        let registers = self.guest.registers;
        self.cpu.set_control(ControlOwner::Guest);
        if registers.xfd_err != XfdErr::NOTHING {
            self.cpu.processor().write_xfd_err(registers.xfd_err)?;
        }
        if self.is_sealed() {
            return self.expect_changes();
        }
        if self.reaches_xcr0() && registers.xcr0 != self.cpu.host_xcr0() {
            self.cpu.processor().xsetbv(registers.xcr0)?;
            self.loaded.xcr0 = Register::Guests;
        }
        if self.cpu.instructions().reaches_xss() && registers.xss != self.cpu.host_xss() {
            self.cpu.processor().write_xss(registers.xss)?;
            self.loaded.xss = Register::Guests;
        }
        if self.cpu.host_xcr0().components().contains(Component::Pkru) {
            self.loaded.host_pkru = Some(self.cpu.processor().rdpkru()?);
            if self.loaded.host_pkru != Some(registers.pkru) {
                self.cpu.processor().wrpkru(registers.pkru)?;
            }
        }
        Ok(())
    }

    /// With FXSAVE alone CR4.OSXSAVE is 0, and XSETBV raises #UD.
    const fn reaches_xcr0(&self) -> bool {
        !matches!(self.cpu.instructions().save().format(), Format::Fxsave)
    }

    fn is_sealed(&self) -> bool {
        self.thread.active().residence() == Residence::Sealed
    }

    /// The hardware loads a confidential guest's registers itself, and does not put all of the
    /// host's back (TDX; Linux `tdx_load_host_xsave_state()`): they are written whatever they are.
    fn expect_changes(&mut self) -> Result<(), Fault> {
        let host_xcr0 = self.cpu.host_xcr0().components();
        if self.reaches_xcr0() {
            self.loaded.xcr0 = Register::Guests;
        }
        if self.cpu.instructions().reaches_xss() {
            self.loaded.xss = Register::Guests;
        }
        if host_xcr0.contains(Component::Pkru) {
            self.loaded.host_pkru = Some(self.cpu.processor().rdpkru()?);
        }
        Ok(())
    }

    /// PKRU first: nothing may touch user pages before.
    fn unload(&mut self) -> Result<(), Fault> {
        if let Some(host) = self.loaded.host_pkru.take() {
            let guests = self.cpu.processor().rdpkru()?;
            if !self.is_sealed() {
                self.guest.set_pkru(guests);
            }
            if guests != host {
                self.cpu.processor().wrpkru(host)?;
            }
        }
        if self.loaded.xcr0 == Register::Guests {
            let host = self.cpu.host_xcr0();
            self.cpu.processor().xsetbv(host)?;
        }
        if self.loaded.xss == Register::Guests {
            let host = self.cpu.host_xss();
            self.cpu.processor().write_xss(host)?;
        }
        Ok(())
    }

    /// Right after the VM exit, interrupts off: the host's registers, what the guest did to an
    /// IA32_XFD that was passed through, and IA32_XFD_ERR, which is 0 from here on (invariant I14).
    ///
    /// # Errors
    /// The processor's fault; the CPU refuses switches then.
    pub fn load_host_registers(mut self, exit: VmExit) -> Result<AfterExit<'e>, GuestEntryError> {
        self.unload().map_err(GuestEntryError::fault)?;
        self.take_over_xfd().map_err(GuestEntryError::fault)?;
        let after = self.take_xfd_err(exit).map_err(GuestEntryError::fault)?;
        self.cpu.set_control(ControlOwner::Host);
        Ok(after)
    }

    /// The shadow, and what the guest's state says, follow the register (invariant I10).
    fn take_over_xfd(&mut self) -> Result<(), Fault> {
        let registers = self.guest.registers;
        if registers.interception(self.thread.active()) == Interception::PassedThrough {
            self.cpu.read_xfd_back()?;
            let xfd = self.cpu.facts().xfd;
            if xfd != self.thread.active().own_xfd() {
                self.thread.active_mut().set_own_xfd(xfd);
            }
        }
        Ok(())
    }

    /// IA32_XFD_ERR is 0 again if the guest's was loaded.
    fn clear_xfd_err(&mut self) -> Result<(), Fault> {
        if self.guest.registers.xfd_err != XfdErr::NOTHING {
            self.cpu.processor().write_xfd_err(XfdErr::NOTHING)?;
        }
        Ok(())
    }

    fn take_xfd_err(&mut self, exit: VmExit) -> Result<AfterExit<'e>, Fault> {
        let VmExit::DeviceNotAvailable { guest_cr0 } = exit else {
            self.clear_xfd_err()?;
            return Ok(AfterExit::Nothing);
        };
        if !self.cpu.instructions().has_xfd() {
            return Ok(AfterExit::InjectDeviceNotAvailable);
        }
        let found = self.cpu.processor().read_xfd_err()?;
        if found != XfdErr::NOTHING {
            self.cpu.processor().write_xfd_err(XfdErr::NOTHING)?;
        }
        if guest_cr0 & CR0_TS != 0 {
            return Ok(AfterExit::InjectDeviceNotAvailable);
        }
        let hosts = self.armed_by_host(found.components());
        if !hosts.is_empty()
            && let Ok(expansion) = expansion_of(&self.guest.registers, self.thread.active(), hosts)
        {
            return Ok(AfterExit::Expand(expansion));
        }
        // What is left is what the guest's own IA32_XFD disables.
        self.guest.registers.xfd_err = found;
        Ok(AfterExit::InjectDeviceNotAvailable)
    }

    /// Of `needed`, what only the host disables. It comes first: once there is room, the instruction
    /// raises #NM again for the rest, if there is any.
    fn armed_by_host(&self, needed: ComponentSet) -> ComponentSet {
        let fpstate = self.thread.active();
        let guests = fpstate.own_xfd().components();
        needed
            .intersection(fpstate.without_room())
            .difference(guests)
    }
}

const CR0_TS: u64 = 1 << 3;

/// Why a guest cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestEntryError {
    /// The thread does not run this guest.
    NotRunning {
        /// The guest's state.
        asked: StateId,
        /// The state of the guest that it runs.
        running: Option<StateId>,
    },
    /// The guest's state is not in this CPU's registers (invariant I9):
    /// [`ThreadFpu::restore_before_use`] first.
    NotInRegisters {
        /// The guest's state.
        guest: StateId,
    },
    /// The CPU cannot be used.
    Switch(SwitchError),
}

impl GuestEntryError {
    const fn fault(fault: Fault) -> Self {
        Self::Switch(SwitchError::Fault(fault))
    }
}

impl fmt::Display for GuestEntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning {
                asked,
                running: None,
            } => {
                write!(f, "the thread runs no guest, not that of {asked}")
            }
            Self::NotRunning {
                asked,
                running: Some(running),
            } => write!(
                f,
                "the thread runs the guest of {running}, not that of {asked}"
            ),
            Self::NotInRegisters { guest } => {
                write!(f, "{guest} is not in the registers; restore it before use")
            }
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestEntryError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_refused_entry_names_both_guests() {
        static IDENTITIES: Identities = Identities::new();
        let first = IDENTITIES.state();
        let second = IDENTITIES.state();
        for (shown, sentence) in [
            (
                GuestEntryError::NotRunning {
                    asked: first,
                    running: None,
                }
                .to_string(),
                "the thread runs no guest, not that of state 1",
            ),
            (
                GuestEntryError::NotRunning {
                    asked: first,
                    running: Some(second),
                }
                .to_string(),
                "the thread runs the guest of state 2, not that of state 1",
            ),
            (
                GuestEntryError::NotInRegisters { guest: first }.to_string(),
                "state 1 is not in the registers; restore it before use",
            ),
            (
                GuestEntryError::Switch(SwitchError::Stale).to_string(),
                "the decision is not what the states call for now",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
