//! `ThreadFpu`: the life of a thread's extended state - create, switch, fork, exec, exit.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::processor::Processor;

use crate::area::XsaveArea;
use crate::cpu::CpuFpu;
use crate::decision::{Decided, decide_entry, decide_restore, decide_save};
use crate::host_side::sealed::Sealed;
use crate::host_side::{HostSide, LiveRegisters};
use crate::image::StandardImage;
use crate::import::{ImportError, NotInMemory};
use crate::life_error::{ForkError, LifeError};
use crate::ownership::{CpuId, Residence, StateId};
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch::{RegisterContent, Restoring, Save, Switch};
use crate::switch_error::SwitchError;

/// A thread's extended state: the active one, and its own one parked while a guest's is active.
///
/// Kernel threads have none; they use the registers in a
/// [kernel section](crate::CpuFpu::begin_kernel_section).
#[derive(Debug)]
pub struct ThreadFpu<'e, S> {
    /// Never moves; parked while a guest's is active: Linux's `__task_fpstate`.
    pub(crate) own: Fpstate<'e, S>,
    /// The state of the guest that the thread runs, which is active then.
    pub(crate) guest: Option<Fpstate<'e, S>>,
}

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// A thread with `own` as its state, not loaded anywhere.
    #[must_use]
    pub const fn new(own: Fpstate<'e, S>) -> Self {
        Self { own, guest: None }
    }

    /// The state that the thread uses now: its own, or the guest's it is running.
    #[must_use]
    #[inline]
    pub const fn active(&self) -> &Fpstate<'e, S> {
        match &self.guest {
            Some(guest) => guest,
            None => &self.own,
        }
    }

    /// As [`active`](Self::active).
    pub(crate) const fn active_mut(&mut self) -> &mut Fpstate<'e, S> {
        match &mut self.guest {
            Some(guest) => guest,
            None => &mut self.own,
        }
    }

    /// The thread's own state.
    #[must_use]
    pub const fn own(&self) -> &Fpstate<'e, S> {
        &self.own
    }

    /// The guest state that is active, while one is.
    #[must_use]
    pub const fn running_guest(&self) -> Option<StateId> {
        match &self.guest {
            Some(guest) => Some(guest.id()),
            None => None,
        }
    }

    /// The state of this thread whose only copy registers hold: the active one, or its own while an entry
    /// into a guest is deferred.
    #[must_use]
    pub const fn only_in_registers(&self) -> Option<&Fpstate<'e, S>> {
        let state = self.to_save();
        match state.residence() {
            Residence::Registers(_) => Some(state),
            Residence::Memory | Residence::MemoryAndRegisters(_) | Residence::Sealed => None,
        }
    }

    /// The thread's own state while it is parked and yet in registers: an entry into a guest was
    /// deferred, and nobody has needed the registers since.
    pub(crate) const fn put_off(&self) -> Option<&Fpstate<'e, S>> {
        match (&self.guest, self.own.residence()) {
            (Some(_), Residence::Registers(_)) => Some(&self.own),
            (Some(_) | None, _) => None,
        }
    }

    /// What [`put_off`](Self::put_off) gives, and the active state.
    const fn own_and_active(&mut self) -> (Option<&mut Fpstate<'e, S>>, &mut Fpstate<'e, S>) {
        let Self { own, guest } = self;
        match (guest, own.residence()) {
            (Some(guest), Residence::Registers(_)) => (Some(own), guest),
            (Some(guest), _) => (None, guest),
            (None, _) => (None, own),
        }
    }

    /// The state whose only copy registers may hold.
    pub(crate) const fn to_save(&self) -> &Fpstate<'e, S> {
        match self.put_off() {
            Some(own) => own,
            None => self.active(),
        }
    }

    /// As [`to_save`](Self::to_save).
    pub(crate) const fn to_save_mut(&mut self) -> &mut Fpstate<'e, S> {
        match &mut self.guest {
            Some(guest) if !matches!(self.own.residence(), Residence::Registers(_)) => guest,
            Some(_) | None => &mut self.own,
        }
    }

    /// Whether `cpu`'s registers hold the active state, so that user code or the guest may run.
    #[must_use]
    pub fn is_in_registers_of(&self, cpu: &CpuFpu<impl Processor>) -> bool {
        let active = self.active();
        active.residence() == Residence::Registers(cpu.id())
            && cpu.registers() == RegisterContent::OnlyCopyOf(active.id())
    }

    /// The bytes of the area of the thread's own state and, while one is active, of its guest's, for
    /// whoever carries out a [`Decided`] switch itself. From a decision until its steps are carried
    /// out they are the instructions' to read and write, nobody else's.
    pub fn areas(&mut self) -> (&mut [u8], Option<&mut [u8]>) {
        let guest = self.guest.as_mut().map(Fpstate::save_target);
        (self.own.save_target(), guest)
    }

    /// The thread's own state, to edit in memory: `ptrace`, a signal frame. Whatever registers still
    /// hold of it is void.
    ///
    /// # Errors
    /// [`NotInMemory`]; save it first.
    pub fn edit_own(&mut self) -> Result<&mut XsaveArea<'e, S>, NotInMemory> {
        self.own.edit()
    }

    /// Before the thread leaves this CPU: saves the active state if the registers hold the only
    /// copy, or the own one while an entry into a guest is deferred. They keep holding a copy, so a return to an untouched CPU restores nothing.
    ///
    /// # Errors
    /// [`SwitchError`]; the state is where it was.
    pub fn save_before_switch(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, SwitchError> {
        let switch = self.plan_save(cpu)?;
        cpu.carry_out(switch, Some(self.to_save_mut()), None)?;
        Ok(switch)
    }

    pub(crate) fn plan_save(&self, cpu: &CpuFpu<impl Processor>) -> Result<Switch, SwitchError> {
        let save = decide_save(self.to_save().facts(), cpu.facts())?;
        Ok(Switch {
            save,
            ..Switch::NOTHING
        })
    }

    /// What [`save_before_switch`](Self::save_before_switch) would do.
    ///
    /// # Errors
    /// As there.
    pub fn decide_save_before_switch(
        &self,
        cpu: &CpuFpu<impl Processor>,
    ) -> Result<Decided, SwitchError> {
        let switch = self.plan_save(cpu)?;
        Ok(Decided::new(
            switch,
            Some(self.to_save().facts()),
            None,
            (cpu.id(), cpu.uses()),
        ))
    }

    /// Notes that somebody else carried out what
    /// [`decide_save_before_switch`](Self::decide_save_before_switch) decided.
    ///
    /// # Errors
    /// [`SwitchError::Stale`] if that is not what the states call for now.
    pub fn commit_save_before_switch(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        decided: Decided,
    ) -> Result<(), SwitchError> {
        decided.require_current(self.decide_save_before_switch(cpu)?)?;
        cpu.note(decided.switch(), Some(self.to_save_mut()), None);
        Ok(())
    }

    /// At the last moment before user code or a guest uses the registers: restores the active state
    /// unless they hold it. Linux's `switch_fpu_return()`. While an entry into a guest is deferred, the
    /// own state is saved first.
    ///
    /// # Errors
    /// [`SwitchError`]; the state stays in memory.
    pub fn restore_before_use(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, SwitchError> {
        self.restore_before_use_as::<LiveRegisters>(cpu)
    }

    /// The same for a host that keeps in registers what its type says, while an entry into a guest is
    /// deferred; at other times there is no difference.
    ///
    /// # Errors
    /// As [`restore_before_use`](Self::restore_before_use).
    pub fn restore_before_use_as<H: HostSide>(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Switch, SwitchError> {
        let switch = self.plan_restore(cpu, H::VOLATILE)?;
        let (own, active) = self.own_and_active();
        cpu.carry_out(switch, own, Some(active))?;
        Ok(switch)
    }

    fn plan_restore(
        &self,
        cpu: &CpuFpu<impl Processor>,
        volatile: ComponentSet,
    ) -> Result<Switch, SwitchError> {
        if let Some(own) = self.put_off() {
            let (own, guest) = (own.facts(), self.active().facts());
            return decide_entry(own, guest, cpu.facts(), (Restoring::Now, volatile));
        }
        let (xfd, restore) = decide_restore(self.active().facts(), cpu.facts(), Restoring::Now)?;
        Ok(Switch {
            save: Save::Nothing,
            xfd,
            restore,
        })
    }

    /// What [`restore_before_use`](Self::restore_before_use) would do.
    ///
    /// # Errors
    /// As there.
    pub fn decide_restore_before_use(
        &self,
        cpu: &CpuFpu<impl Processor>,
    ) -> Result<Decided, SwitchError> {
        let switch = self.plan_restore(cpu, LiveRegisters::VOLATILE)?;
        Ok(Decided::new(
            switch,
            self.put_off().map(Fpstate::facts),
            Some(self.active().facts()),
            (cpu.id(), cpu.uses()),
        ))
    }

    /// Notes that somebody else carried out what
    /// [`decide_restore_before_use`](Self::decide_restore_before_use) decided.
    ///
    /// # Errors
    /// [`SwitchError::Stale`] if that is not what the states call for now.
    pub fn commit_restore_before_use(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        decided: Decided,
    ) -> Result<(), SwitchError> {
        decided.require_current(self.decide_restore_before_use(cpu)?)?;
        let (own, active) = self.own_and_active();
        cpu.note(decided.switch(), own, Some(active));
        Ok(())
    }

    /// The active state is in `cpu`'s registers, and instead of a save somebody else made `image` of
    /// them: the kernel below this process a signal frame. The registers are nobody's then.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is changed then.
    pub fn import_instead_of_saving(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        image: &StandardImage<'_>,
        kept_elsewhere: ComponentSet,
    ) -> Result<(), ImportError> {
        let active = self.active_mut();
        active.import_instead_of_saving(cpu.id(), image, kept_elsewhere)?;
        cpu.forget(active.id());
        Ok(())
    }

    /// Drops the content of the active state, wherever it is: it takes its initial configuration
    /// (unless the hardware keeps it). For a state whose only copy was lost, with a CPU that went
    /// offline or by [`CpuFpu::discard_registers`]. A CPU other than `cpu` that still holds the only
    /// copy needs that call, too. While an entry into a guest is deferred, what was lost is the own
    /// state: [`discard_own`](Self::discard_own).
    pub fn discard_active(&mut self, cpu: &mut CpuFpu<impl Processor>) {
        let active = self.active_mut();
        cpu.forget(active.id());
        active.reset();
    }

    /// The same for the thread's own state, active or parked.
    pub fn discard_own(&mut self, cpu: &mut CpuFpu<impl Processor>) {
        cpu.forget(self.own.id());
        self.own.reset();
    }

    /// A new thread with a copy of this one's own state, in `child`'s memory. Components without
    /// room in `child`, PASID, and on-demand components start in their initial configuration.
    ///
    /// # Errors
    /// [`ForkError`], with `child` given back.
    pub fn fork(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        mut child: Fpstate<'e, S>,
    ) -> Result<Self, (ForkError, Fpstate<'e, S>)> {
        if self.guest.is_none() || self.put_off().is_some() {
            // The parent goes on using its registers: after the save they hold a copy, and the
            // restore before its next use is skipped.
            if let Err(error) = self.save_before_switch(cpu) {
                return Err((ForkError::Save(error), child));
            }
        }
        // A PASID belongs to the thread that asked for it, and what is in an on-demand component to
        // the function that put it there (Linux: `fpu_clone()`).
        let own = self.own();
        let inherited = own.components().without(Component::Pasid);
        let inherited = inherited.difference(own.grown_by());
        let own = self.own().in_memory().map_err(ImportError::NotInMemory);
        match own.and_then(|area| child.take_over(area, inherited)) {
            Ok(()) => Ok(Self::new(child)),
            Err(error) => Err((ForkError::TakeOver(error), child)),
        }
    }

    /// The thread starts a new program: its state takes the initial configuration, and what any
    /// register still holds of the old one is void (Linux commit 1f69383b203e).
    ///
    /// # Errors
    /// [`LifeError`]; nothing is changed then. A state that has grown needs
    /// [`exec_and_release`](Self::exec_and_release).
    pub fn exec(&mut self, cpu: &mut CpuFpu<impl Processor>) -> Result<(), LifeError> {
        self.require_own_state_within_reach(cpu.id())?;
        let components = self.own.grown_by();
        if !components.is_empty() {
            return Err(LifeError::Grown { components });
        }
        cpu.forget(self.own.id());
        self.own.reset();
        Ok(())
    }

    /// The same for a thread whose state has grown: it goes on in `storage`, without on-demand
    /// components, and the larger memory is given back (Linux leaks it: hazard H3).
    ///
    /// # Errors
    /// [`LifeError`], with `storage` given back; nothing is changed then.
    pub fn exec_and_release(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        storage: S,
    ) -> Result<S, (LifeError, S)> {
        if let Err(error) = self.require_own_state_within_reach(cpu.id()) {
            return Err((error, storage));
        }
        let layout = match self.own.released_layout() {
            Ok(layout) => layout,
            Err(error) => return Err((LifeError::Layout(error), storage)),
        };
        match self.own.renew(layout, storage) {
            Ok(former) => {
                cpu.forget(self.own.id());
                Ok(former)
            }
            Err((error, storage)) => Err((LifeError::Area(error), storage)),
        }
    }

    /// The thread ends on `cpu`; nothing is saved. Gives the memory back.
    ///
    /// # Errors
    /// [`LifeError`], with the thread given back.
    pub fn exit(self, cpu: &mut CpuFpu<impl Processor>) -> Result<S, (LifeError, Self)> {
        if let Err(error) = self.require_own_state_within_reach(cpu.id()) {
            return Err((error, self));
        }
        cpu.forget(self.own.id());
        Ok(self.own.into_storage())
    }

    /// The thread's own state is active, and not in the registers of a CPU other than `here`, which
    /// would go on believing that it holds the only copy.
    fn require_own_state_within_reach(&self, here: CpuId) -> Result<(), LifeError> {
        if let Some(guest) = self.running_guest() {
            return Err(LifeError::InGuest { guest });
        }
        match self.own.residence() {
            Residence::Registers(cpu) if cpu != here => Err(LifeError::InRegistersOf { cpu, here }),
            Residence::Registers(_)
            | Residence::MemoryAndRegisters(_)
            | Residence::Memory
            | Residence::Sealed => Ok(()),
        }
    }
}

#[cfg(feature = "explore")]
impl<S: AreaStorage + Clone> ThreadFpu<'_, S> {
    /// A copy for a copy of the whole world that it is in.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            own: self.own.duplicate(),
            guest: self.guest.as_ref().map(Fpstate::duplicate),
        }
    }
}
