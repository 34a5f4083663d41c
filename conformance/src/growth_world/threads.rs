//! User code, its #NM, and growth and release of a thread's states.

use fpstate::{
    AreaError, DeviceNotAvailable, DeviceNotAvailableError, Expansion, MoveError, ResizeError,
    Restore, StateId,
};
use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xfd, XfdErr};
use fpstate_model::{Privilege, TaskSwitched};

use super::program::{Code, Conditions};
use super::{GrowthEvent, GrowthNegligence, GrowthWorld, Hardware, Lent, Mode, Step, TILE_DATA};
use crate::user_code::UserCode;

/// Which of a thread's states an expansion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Guests,
}

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// The current thread of `cpu` goes on in user mode, or its guest can be entered.
    pub(super) fn use_registers(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        if on.mode == Mode::Kernel {
            let switch = current
                .fpu
                .restore_before_use(&mut on.fpu)
                .map_err(|error| format!("refused: {error}"))?;
            self.restored(cpu, thread, switch.restore)?;
        }
        self.check_visible(cpu)
    }

    /// `thread`'s active state is in `cpu`'s registers now.
    pub(super) fn restored(&mut self, cpu: usize, thread: usize, restore: Restore) -> Step {
        self.cpus[cpu].mode = Mode::User;
        let id = self.thread(thread).fpu.active().id();
        match restore {
            Restore::Area { .. } => self.expected(id).loaded(),
            Restore::AlreadyInRegisters if self.expected[&id].is_set_aside() => {
                return Err(format!("I4: {id} was edited in memory and is not loaded"));
            }
            Restore::AlreadyInRegisters => self.count(GrowthEvent::RestoreSkipped),
            Restore::Deferred | Restore::Nothing => {}
        }
        Ok(())
    }

    /// User code writes registers, with tiles often.
    pub(super) fn user_code(&mut self, cpu: usize, thread: usize) -> Step {
        self.use_registers(cpu, thread)?;
        let id = self.thread(thread).fpu.own().id();
        let (user, supervisor) = (self.offer.user_components(), self.supervisor_of_threads());
        let code = self.some_code(id, user, supervisor);
        let expected = &self.expected[&id];
        let conditions = Conditions {
            enabled: self.kind.xcr0(self.offer.user_components()),
            disabled: expected.register_xfd(),
            ts: TaskSwitched::Clear,
        };
        let outcome = code.outcome(conditions, &expected.values);
        let model = self.cpus[cpu].fpu.processor().model();
        model.set_cpl(Privilege::Ring3);
        let result = code.execute(model);
        model.set_cpl(Privilege::Ring0);
        if result != outcome {
            return Err(format!("{id}: {result:?} instead of {outcome:?}"));
        }
        let written = code.written();
        self.tell(format_args!("CPU {cpu}: {id} writes {written}: {result:?}"));
        match result {
            Ok(()) => {
                let found = self.cpus[cpu].fpu.processor().contents(self.all);
                self.expected(id).wrote(written, &found);
                if written.contains(Component::TileData) {
                    self.count(GrowthEvent::TileDataUsed);
                }
                Ok(())
            }
            Err(Fault::DeviceNotAvailable) => self.device_not_available(cpu, thread),
            // SIGILL, which the program ignores.
            Err(_) => Ok(()),
        }
    }

    /// Code for the owner of `id`, which may use `user` and `supervisor` components.
    pub(super) fn some_code(
        &mut self,
        id: StateId,
        user: ComponentSet,
        supervisor: ComponentSet,
    ) -> Code {
        let enumeration = self.offer.enumeration();
        let (initial, pointers) = (&self.initial, self.kind.error_pointers);
        let user = user.intersection(self.all);
        match self.random.u8(0..10) {
            3..5 if self.kind.has_xsave() => {
                Code::restore(enumeration, user, initial, pointers, &mut self.random)
            }
            0..3 | 5..9 if self.offer.on_demand().is_empty() => {
                self.plain_code(user.union(supervisor))
            }
            0..5 => self.plain_code(user.union(supervisor)),
            _ => Code::tiles(&self.expected[&id].values, &mut self.random),
        }
    }

    /// SSE needs no XCR0.
    fn plain_code(&mut self, components: ComponentSet) -> Code {
        let plain = components.with(Component::Sse);
        let plain = plain.difference(ComponentSet::TILES);
        Code::fill(
            plain,
            &self.initial,
            self.kind.error_pointers,
            &mut self.random,
        )
    }

    fn supervisor_of_threads(&self) -> ComponentSet {
        let supervisor = self.offer.enumeration().supervisor_components();
        self.offer.default_components().intersection(supervisor)
    }

    fn device_not_available(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        on.mode = Mode::Kernel;
        let current = self.threads[thread].as_mut().expect("a thread");
        let process = &self.processes[current.process];
        let id = current.fpu.own().id();
        let mut permissions = process.permissions.fork();
        let mut granted = process.threads;
        if self.negligence == GrowthNegligence::GrowsWithoutPermission {
            granted = TILE_DATA;
            let stacks = fpstate::SignalStacks::none();
            let grantee = fpstate::Grantee::Threads;
            permissions
                .request(&self.offer, grantee, 18, stacks)
                .map_err(|error| error.to_string())?;
        }
        if self.negligence == GrowthNegligence::EnablesWithoutRoom {
            let processor = on.fpu.processor();
            processor
                .write_xfd_err(XfdErr::NOTHING)
                .and_then(|()| processor.write_xfd(Xfd::NOTHING))
                .map_err(|fault| fault.to_string())?;
            return Ok(());
        }
        match current.fpu.device_not_available(&mut on.fpu, &permissions) {
            Ok(DeviceNotAvailable::Expand(expansion))
                if granted.contains_all(TILE_DATA) && expansion.state() == id =>
            {
                current.pending = Some(expansion);
                self.count(GrowthEvent::ThreadNeedsRoom);
                Ok(())
            }
            Err(DeviceNotAvailableError::NotPermitted(_)) if granted.is_empty() => {
                self.count(GrowthEvent::NotPermitted);
                Ok(())
            }
            other => Err(format!("#NM of {id}, granted {granted}: {other:?}")),
        }
    }

    /// Memory for what the current thread, or the guest it runs, needs.
    pub(super) fn grow(&mut self, cpu: usize, thread: usize) -> Step {
        let guest = self.thread(thread).guest;
        let of_guest = guest.and_then(|slot| self.guests[slot].as_ref()?.pending);
        let pending = match (self.thread(thread).pending, of_guest) {
            (Some(own), None) => Some((own, Whose::Own)),
            (None, Some(guests)) => Some((guests, Whose::Guests)),
            (Some(own), Some(_)) if self.random.bool() => Some((own, Whose::Own)),
            (Some(_), Some(guests)) => Some((guests, Whose::Guests)),
            (None, None) => None,
        };
        let Some((expansion, whose)) = pending else {
            return if guest.is_some() {
                self.run_guest(cpu, thread)
            } else {
                self.user_code(cpu, thread)
            };
        };
        let Some(memory) = self.memory_for_growth(&expansion) else {
            if self.random.bool() {
                // SIGSEGV, which the program handles; or the VMM gives up.
                self.drop_pending(thread, whose);
            }
            return Ok(());
        };
        let current = self.threads[thread].as_mut().expect("a thread");
        let is_parked = whose == Whose::Own && guest.is_some();
        let grown = current
            .fpu
            .expand(expansion, &mut self.cpus[cpu].fpu, memory);
        self.tell(format_args!("CPU {cpu}: {} grows", expansion.state()));
        self.drop_pending(thread, whose);
        let event = match (whose, is_parked) {
            (Whose::Guests, _) => GrowthEvent::RunningGuestGrew,
            (Whose::Own, false) => GrowthEvent::ThreadGrew,
            (Whose::Own, true) => GrowthEvent::ThreadGrewInMemory,
        };
        self.grew(&expansion, grown, event)
    }

    fn drop_pending(&mut self, thread: usize, whose: Whose) {
        let thread = self.threads[thread].as_mut().expect("a thread");
        match (whose, thread.guest) {
            (Whose::Own, _) => thread.pending = None,
            (Whose::Guests, Some(slot)) => {
                self.guests[slot].as_mut().expect("a guest").pending = None;
            }
            (Whose::Guests, None) => {}
        }
    }

    pub(super) fn memory_for_growth(&mut self, expansion: &Expansion<'_>) -> Option<Lent> {
        let len = match self.random.u8(0..24) {
            // A kernel with the wrong figure.
            0 => self.offer.thread_layout().area_len(),
            _ => expansion.layout().area_len(),
        };
        let memory = self.lender.lend(len);
        if memory.is_none() {
            self.tell(format_args!("no memory for {} to grow", expansion.state()));
            self.count(GrowthEvent::GrowthFailed);
        }
        memory
    }

    /// A growth was done, or refused, which it must not be.
    pub(super) fn grew(
        &mut self,
        expansion: &Expansion<'e>,
        grown: Result<Lent, (ResizeError, Lent)>,
        event: GrowthEvent,
    ) -> Step {
        let id = expansion.state();
        let former = match grown {
            Ok(former) => former,
            Err((ResizeError::Move(MoveError::Area(AreaError::TooShort { .. })), memory))
                if !memory.reaches(expansion.layout().area_len()) =>
            {
                self.count(GrowthEvent::ShortMemoryRefused);
                return self.lender.take_back(memory);
            }
            Err((ResizeError::Outgrown { .. }, memory)) if self.expected(id).grown == TILE_DATA => {
                self.count(GrowthEvent::OutdatedExpansionRefused);
                return self.lender.take_back(memory);
            }
            Err((error, _)) => return Err(format!("{id} does not grow: {error}")),
        };
        self.take_back_former(former)?;
        self.expected(id).grown = TILE_DATA;
        self.count(event);
        if self.negligence == GrowthNegligence::ForgetsSupervisorState {
            self.forget_supervisor_state(id);
        }
        Ok(())
    }

    /// A thread that runs nowhere grows on any CPU; one that is in another CPU's registers does not.
    pub(super) fn grow_a_waiting_thread(&mut self, cpu: usize) -> Step {
        let waits = |world: &Self, slot: usize| {
            let thread = world.threads[slot].as_ref();
            thread.is_some_and(|t| t.pending.is_some() && t.on_cpu != Some(cpu))
        };
        let Some(slot) = self.any_thread(waits) else {
            return Ok(());
        };
        let expansion = self.thread(slot).pending.expect("an expansion");
        let Some(memory) = self.memory_for_growth(&expansion) else {
            return Ok(());
        };
        let waiting = self.threads[slot].as_mut().expect("a thread");
        let in_registers = waiting.fpu.own().in_memory().is_err();
        let grown = waiting
            .fpu
            .expand(expansion, &mut self.cpus[cpu].fpu, memory);
        match (grown, in_registers) {
            (Err((ResizeError::Switch(_), memory)), true) => {
                self.count(GrowthEvent::GrowthElsewhereRefused);
                self.lender.take_back(memory)
            }
            (Ok(_), true) => Err("a growth in another CPU's registers was not refused".into()),
            (grown, false) => {
                waiting.pending = None;
                self.grew(&expansion, grown, GrowthEvent::ThreadGrewInMemory)
            }
            (Err((error, _)), true) => Err(format!("refused in another way: {error}")),
        }
    }

    /// The current thread gives back what it grew into, unless it is in use.
    pub(super) fn release_thread(&mut self, cpu: usize, thread: usize) -> Step {
        let current = self.threads[thread].as_mut().expect("a thread");
        let id = current.fpu.own().id();
        let layout = current.fpu.own().released_layout().expect("a layout");
        let Some(memory) = self.lender.lend(layout.area_len()) else {
            return Ok(());
        };
        if current.guest.is_none() {
            self.cpus[cpu].mode = Mode::Kernel;
        }
        let released = current.fpu.release(&mut self.cpus[cpu].fpu, memory);
        let live = current.fpu.own().in_memory().map(|area| area.xstate_bv());
        let live = live.is_ok_and(|live| live.intersects(TILE_DATA));
        self.tell(format_args!("CPU {cpu}: release of {id}"));
        let grown = self.expected(id).grown;
        match released {
            Ok(former) if !grown.is_empty() => {
                self.expected(id).released()?;
                self.count(GrowthEvent::ThreadReleased);
                self.take_back_former(former)
            }
            Err((ResizeError::NotGrown, memory)) if grown.is_empty() => {
                self.lender.take_back(memory)
            }
            Err((ResizeError::Move(MoveError::Live { .. }), memory)) if live => {
                self.count(GrowthEvent::ReleaseRefused);
                self.lender.take_back(memory)
            }
            Ok(_) => Err(format!("{id} gave back what it had not")),
            Err((error, _)) => Err(format!("release of {id}: {error}")),
        }
    }
}
