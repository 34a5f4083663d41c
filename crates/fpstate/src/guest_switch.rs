//! `enter_guest` and `leave_guest`: thread's and guest's state change places.
//!
//! What moves is the [`Fpstate`] value - a pointer to the area and the few words that belong to it.
//! No byte of an area is copied. Registers are saved only if they hold the only copy, and the
//! incoming state is restored at once or at the last moment before it is used.
//!
//! An entry that is deferred touches no register: the thread's own state, though parked, stays in them
//! until the guest's is restored, the thread is switched away from, or the kernel needs them. Whoever
//! leaves before that has swapped two pointers and swapped them back.

use core::fmt;
use core::mem;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::processor::Processor;

use crate::cpu::CpuFpu;
use crate::decision::{Decided, decide_entry, decide_exchange};
use crate::guest::GuestFpu;
use crate::host_side::sealed::Sealed;
use crate::host_side::{HostSide, LiveRegisters};
use crate::ownership::StateId;
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch::{Restoring, Save, StateFacts, Switch};
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// Entering `vcpu_run`: the guest's state becomes the thread's active one and the thread's own
    /// is parked. Returns what was done.
    ///
    /// # Errors
    /// [`EnterError`]; thread and guest are as they were, except that a restore that faulted has
    /// left the registers to nobody and the thread's state in memory.
    #[inline]
    pub fn enter_guest(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<Switch, EnterError> {
        self.enter_guest_as::<LiveRegisters>(guest, cpu, restoring)
    }

    /// The same for a host that keeps in registers what its type says. Deferred, nothing is saved;
    /// [`restore_before_use_as`](Self::restore_before_use_as) is for that.
    ///
    /// # Errors
    /// As [`enter_guest`](Self::enter_guest).
    #[inline]
    pub fn enter_guest_as<H: HostSide>(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<Switch, EnterError> {
        match restoring {
            Restoring::Deferred => self.enter_deferred(guest, cpu),
            Restoring::Now => self.enter_now::<H>(guest, cpu),
        }
    }

    #[inline(always)]
    fn enter_now<H: HostSide>(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, EnterError> {
        let how = (Restoring::Now, H::VOLATILE);
        let Ok((switch, _)) = self.plan_entry(guest, cpu, how) else {
            return Err(self.refused_entry(guest, cpu, how));
        };
        // The state moves before its fields are written: a wide load of what narrow stores have just
        // written waits for them.
        self.take_in(guest);
        match cpu.carry_out(switch, Some(&mut self.own), self.guest.as_mut()) {
            Ok(()) => Ok(switch),
            Err(error) => {
                self.give_back(guest);
                Err(EnterError::Switch(error))
            }
        }
    }

    /// Nothing is carried out: no state is saved or restored, IA32_XFD stays.
    #[inline(always)]
    fn enter_deferred(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &CpuFpu<impl Processor>,
    ) -> Result<Switch, EnterError> {
        let how = (Restoring::Deferred, LiveRegisters::VOLATILE);
        let Ok((switch, _)) = self.plan_entry(guest, cpu, how) else {
            return Err(self.refused_entry(guest, cpu, how));
        };
        self.take_in(guest);
        Ok(switch)
    }

    #[inline(always)]
    fn plan_entry(
        &self,
        guest: &GuestFpu<'e, S>,
        cpu: &CpuFpu<impl Processor>,
        how: (Restoring, ComponentSet),
    ) -> Result<(Switch, StateFacts), EnterError> {
        if let Some(running) = self.running_guest() {
            return Err(EnterError::AlreadyInGuest { running });
        }
        let Some(incoming) = &guest.fpstate else {
            return Err(EnterError::GuestInUse { guest: guest.id() });
        };
        let incoming = incoming.facts();
        decide_entry(self.own.facts(), incoming, cpu.facts(), how)
            .map(|switch| (switch, incoming))
            .map_err(EnterError::Switch)
    }

    /// Why an entry is refused, asked again: an entry that is not refused does not put it together.
    #[cold]
    #[inline(never)]
    fn refused_entry(
        &self,
        guest: &GuestFpu<'e, S>,
        cpu: &CpuFpu<impl Processor>,
        how: (Restoring, ComponentSet),
    ) -> EnterError {
        match self.plan_entry(guest, cpu, how) {
            Err(error) => error,
            Ok(_) => EnterError::Switch(SwitchError::Stale),
        }
    }

    /// What [`enter_guest`](Self::enter_guest) would do.
    ///
    /// # Errors
    /// As there.
    pub fn decide_enter_guest(
        &self,
        guest: &GuestFpu<'e, S>,
        cpu: &CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<Decided, EnterError> {
        let live = (restoring, LiveRegisters::VOLATILE);
        let (switch, incoming) = self.plan_entry(guest, cpu, live)?;
        Ok(Decided::new(
            switch,
            Some(self.own.facts()),
            Some(incoming),
            (cpu.id(), cpu.uses()),
        ))
    }

    /// Notes that somebody else carried out what
    /// [`decide_enter_guest`](Self::decide_enter_guest) decided with the same `restoring`, and lets
    /// the states change places.
    ///
    /// # Errors
    /// As [`enter_guest`](Self::enter_guest), and [`SwitchError::Stale`] if that is not what the
    /// states call for now.
    pub fn commit_enter_guest(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        restoring: Restoring,
        decided: Decided,
    ) -> Result<(), EnterError> {
        decided
            .require_current(self.decide_enter_guest(guest, cpu, restoring)?)
            .map_err(EnterError::Switch)?;
        cpu.note(
            decided.switch(),
            Some(&mut self.own),
            guest.fpstate.as_mut(),
        );
        self.take_in(guest);
        Ok(())
    }

    /// The guest's state becomes active.
    #[inline(always)]
    fn take_in(&mut self, guest: &mut GuestFpu<'e, S>) {
        move_to_empty(&mut guest.fpstate, &mut self.guest);
    }

    /// The guest has its state back.
    #[inline(always)]
    fn give_back(&mut self, guest: &mut GuestFpu<'e, S>) {
        move_to_empty(&mut self.guest, &mut guest.fpstate);
    }

    /// Leaving `vcpu_run`: the guest's state moves back into `guest` and the thread's own is active
    /// again. Returns what was done.
    ///
    /// # Errors
    /// [`LeaveError`]; the thread is still in the guest then.
    #[inline]
    pub fn leave_guest(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<Switch, LeaveError> {
        match restoring {
            Restoring::Deferred => self.leave_deferred(guest, cpu),
            Restoring::Now => self.leave_now(guest, cpu),
        }
    }

    #[inline(always)]
    fn leave_now(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, LeaveError> {
        let Ok((switch, _)) = self.plan_leave(guest.id(), cpu, Restoring::Now) else {
            return Err(self.refused_leave(guest.id(), cpu, Restoring::Now));
        };
        self.give_back(guest);
        match cpu.carry_out(switch, guest.fpstate.as_mut(), Some(&mut self.own)) {
            Ok(()) => {
                guest.unused_exits = guest.unused_exits_with(guest.fpstate.as_ref());
                Ok(switch)
            }
            Err(error) => {
                self.take_in(guest);
                Err(LeaveError::Switch(error))
            }
        }
    }

    /// At most the guest's state is saved.
    #[inline(always)]
    fn leave_deferred(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, LeaveError> {
        let Ok((switch, _)) = self.plan_leave(guest.id(), cpu, Restoring::Deferred) else {
            return Err(self.refused_leave(guest.id(), cpu, Restoring::Deferred));
        };
        if let Save::Registers { .. } = switch.save {
            cpu.carry_out(switch, self.guest.as_mut(), None)
                .map_err(LeaveError::Switch)?;
        }
        guest.unused_exits = guest.unused_exits_with(self.guest.as_ref());
        self.give_back(guest);
        Ok(switch)
    }

    #[inline(always)]
    fn plan_leave(
        &self,
        asked: StateId,
        cpu: &CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<(Switch, StateFacts), LeaveError> {
        let guest: &Fpstate<'e, S> = self.guest.as_ref().ok_or(LeaveError::NotInGuest)?;
        let running = guest.id();
        if running != asked {
            return Err(LeaveError::OtherGuest { running, asked });
        }
        decide_exchange(guest.facts(), self.own.facts(), cpu.facts(), restoring)
            .map(|switch| (switch, guest.facts()))
            .map_err(LeaveError::Switch)
    }

    /// As [`refused_entry`](Self::refused_entry).
    #[cold]
    #[inline(never)]
    fn refused_leave(
        &self,
        asked: StateId,
        cpu: &CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> LeaveError {
        match self.plan_leave(asked, cpu, restoring) {
            Err(error) => error,
            Ok(_) => LeaveError::Switch(SwitchError::Stale),
        }
    }

    /// What [`leave_guest`](Self::leave_guest) would do.
    ///
    /// # Errors
    /// As there.
    pub fn decide_leave_guest(
        &self,
        guest: &GuestFpu<'e, S>,
        cpu: &CpuFpu<impl Processor>,
        restoring: Restoring,
    ) -> Result<Decided, LeaveError> {
        let (switch, outgoing) = self.plan_leave(guest.id(), cpu, restoring)?;
        Ok(Decided::new(
            switch,
            Some(outgoing),
            Some(self.own.facts()),
            (cpu.id(), cpu.uses()),
        ))
    }

    /// Notes that somebody else carried out what
    /// [`decide_leave_guest`](Self::decide_leave_guest) decided with the same `restoring`, and lets
    /// the states change places.
    ///
    /// # Errors
    /// As [`leave_guest`](Self::leave_guest), and [`SwitchError::Stale`] if that is not what the
    /// states call for now.
    pub fn commit_leave_guest(
        &mut self,
        guest: &mut GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        restoring: Restoring,
        decided: Decided,
    ) -> Result<(), LeaveError> {
        decided
            .require_current(self.decide_leave_guest(guest, cpu, restoring)?)
            .map_err(LeaveError::Switch)?;
        cpu.note(decided.switch(), self.guest.as_mut(), Some(&mut self.own));
        guest.unused_exits = guest.unused_exits_with(self.guest.as_ref());
        self.give_back(guest);
        Ok(())
    }

    /// Leaves a guest whose `GuestFpu` is gone: the guest's state is saved if need be and given to
    /// the caller in a new one, the thread's own is active again and not restored yet.
    ///
    /// # Errors
    /// [`LeaveError`]; the thread is still in the guest then.
    pub fn abandon_guest(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<GuestFpu<'e, S>, LeaveError> {
        let switch = self
            .plan_leave(self.active().id(), cpu, Restoring::Deferred)?
            .0;
        cpu.carry_out(switch, self.guest.as_mut(), Some(&mut self.own))
            .map_err(LeaveError::Switch)?;
        let guest = self.guest.take().ok_or(LeaveError::NotInGuest)?;
        Ok(GuestFpu::new(guest))
    }
}

/// Moves a state to a place that is empty.
///
/// An assignment would drop what it replaces. The compiler does not see that this is nothing, and puts
/// the state aside for the time of it, which is a second copy that a switch waits for.
#[inline(always)]
fn move_to_empty<T>(from: &mut Option<T>, to: &mut Option<T>) {
    if let Some(state) = from.take() {
        mem::forget(to.replace(state));
    }
}

/// Why a guest cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnterError {
    /// The thread is running a guest already.
    AlreadyInGuest {
        /// That guest's state.
        running: StateId,
    },
    /// Another thread runs the vCPU.
    GuestInUse {
        /// The guest's state.
        guest: StateId,
    },
    /// The switch itself.
    Switch(SwitchError),
}

impl From<SwitchError> for EnterError {
    fn from(error: SwitchError) -> Self {
        Self::Switch(error)
    }
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInGuest { running } => {
                write!(f, "the thread is running the guest of {running} already")
            }
            Self::GuestInUse { guest } => write!(f, "another thread runs the guest of {guest}"),
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EnterError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // Displayed as it is: what it says of its source goes on.
            Self::Switch(error) => error.source(),
            Self::AlreadyInGuest { .. } | Self::GuestInUse { .. } => None,
        }
    }
}

/// Why a guest cannot be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveError {
    /// The thread is not running a guest.
    NotInGuest,
    /// The thread is running another guest.
    OtherGuest {
        /// The state of the guest it runs.
        running: StateId,
        /// The state of the guest given.
        asked: StateId,
    },
    /// The switch itself.
    Switch(SwitchError),
}

impl From<SwitchError> for LeaveError {
    fn from(error: SwitchError) -> Self {
        Self::Switch(error)
    }
}

impl fmt::Display for LeaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInGuest => f.write_str("the thread is not running a guest"),
            Self::OtherGuest { running, asked } => {
                write!(
                    f,
                    "the thread is running the guest of {running}, not that of {asked}"
                )
            }
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LeaveError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // Displayed as it is: what it says of its source goes on.
            Self::Switch(error) => error.source(),
            Self::NotInGuest | Self::OtherGuest { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_refused_entry_or_exit_names_the_guests() {
        static IDENTITIES: Identities = Identities::new();
        let first = IDENTITIES.state();
        let second = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        for (shown, sentence) in [
            (
                EnterError::AlreadyInGuest { running: first }.to_string(),
                "the thread is running the guest of state 1 already",
            ),
            (
                EnterError::GuestInUse { guest: second }.to_string(),
                "another thread runs the guest of state 2",
            ),
            (
                EnterError::Switch(SwitchError::Stale).to_string(),
                "the decision is not what the states call for now",
            ),
            (
                LeaveError::NotInGuest.to_string(),
                "the thread is not running a guest",
            ),
            (
                LeaveError::OtherGuest {
                    running: first,
                    asked: second,
                }
                .to_string(),
                "the thread is running the guest of state 1, not that of state 2",
            ),
            (
                LeaveError::Switch(SwitchError::KernelSection { cpu }).to_string(),
                "the kernel is using the registers of CPU 7",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_source_of_a_refused_switch_is_that_of_the_entry_or_exit() {
        use core::error::Error as _;
        let switch = SwitchError::Fault(fpstate_arch::Fault::GeneralProtection);
        let (entry, exit) = (EnterError::Switch(switch), LeaveError::Switch(switch));
        assert_eq!(
            entry.source().map(ToString::to_string),
            Some("#GP(0)".to_string())
        );
        assert_eq!(
            exit.source().map(ToString::to_string),
            Some("#GP(0)".to_string())
        );
        assert!(LeaveError::NotInGuest.source().is_none());
    }
}
