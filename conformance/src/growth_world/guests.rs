//! Entering and leaving guests, growth and release outside a run.

use fpstate::{MoveError, ResizeError, Restoring};
use fpstate_arch::ComponentSet;

use super::{GrowthEvent, GrowthWorld, Hardware, Mode, Step, TILE_DATA};

/// Leaves without use after which this VMM would give memory back.
const UNUSED_EXITS: u32 = 2;

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    fn some_restoring(&mut self) -> Restoring {
        self.random
            .choice([Restoring::Now, Restoring::Deferred])
            .expect("two")
    }

    pub(super) fn enter_guest(&mut self, cpu: usize, thread: usize) -> Step {
        let process = self.thread(thread).process;
        let free = |world: &Self, slot: usize| {
            let guest = world.guests[slot].as_ref();
            guest.is_some_and(|g| g.fpu.fpstate().is_some() && g.process == process)
        };
        let Some(slot) = self.any_guest(free) else {
            return self.create_vcpu(process);
        };
        let restoring = self.some_restoring();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} enters guest {slot}, {restoring:?}"
        ));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_mut().expect("a guest");
        on.mode = Mode::Kernel;
        let switch = current
            .fpu
            .enter_guest(&mut guest.fpu, &mut on.fpu, restoring)
            .map_err(|error| format!("refused: {error}"))?;
        current.guest = Some(slot);
        if restoring == Restoring::Now {
            self.restored(cpu, thread, switch.restore)?;
        }
        Ok(())
    }

    pub(super) fn leave_guest(&mut self, cpu: usize, thread: usize) -> Step {
        let slot = self.thread(thread).guest.expect("a guest");
        let restoring = self.some_restoring();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} leaves guest {slot}, {restoring:?}"
        ));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_mut().expect("a guest");
        on.mode = Mode::Kernel;
        let switch = current
            .fpu
            .leave_guest(&mut guest.fpu, &mut on.fpu, restoring)
            .map_err(|error| format!("refused: {error}"))?;
        current.guest = None;
        if restoring == Restoring::Now {
            self.restored(cpu, thread, switch.restore)?;
        }
        self.check_unused_exits(slot)?;
        if restoring == Restoring::Deferred && self.random.u8(0..3) == 0 {
            // The VMM writes an MSR between two runs; the registers may still have a copy.
            self.write_xfd(slot)?;
            return self.enter_guest(cpu, thread);
        }
        Ok(())
    }

    /// The guest counts leaves without use of what it has room for, and no others.
    fn check_unused_exits(&mut self, slot: usize) -> Step {
        let guest = self.guests[slot].as_mut().expect("a guest");
        let state = guest.fpu.fpstate().ok_or("I24: left, and not back")?;
        let area = state.in_memory().map_err(|error| error.to_string())?;
        let expected = &self.expected[&state.id()];
        let in_use = area.xstate_bv().intersects(TILE_DATA);
        let set_aside = expected.xfd.intersects(TILE_DATA);
        let counted = guest.fpu.unused_exits();
        let next = guest.reference.unused_exits + 1;
        let right = if expected.grown.is_empty() || in_use {
            counted == 0
        } else {
            counted == next || set_aside && counted == 0
        };
        guest.reference.unused_exits = counted;
        if right {
            Ok(())
        } else {
            Err(format!(
                "{counted} unused exits, room for {}, in use {}",
                expected.grown,
                area.xstate_bv()
            ))
        }
    }

    /// A guest that no thread runs grows for what its last run needed.
    pub(super) fn grow_idle_guest(&mut self) -> Step {
        let waits = |world: &Self, slot: usize| {
            let guest = world.guests[slot].as_ref();
            guest.is_some_and(|guest| guest.pending.is_some())
        };
        let Some(slot) = self.any_guest(waits) else {
            return self.grow_ahead();
        };
        let guest = self.guests[slot].as_ref().expect("a guest");
        let expansion = guest.pending.expect("an expansion");
        let Some(memory) = self.memory_for_growth(&expansion) else {
            return Ok(());
        };
        self.tell(format_args!("guest {slot} grows"));
        let guest = self.guests[slot].as_mut().expect("a guest");
        let runs = guest.fpu.fpstate().is_none();
        match guest.fpu.expand(expansion, memory) {
            Err((ResizeError::Running { .. }, memory)) if runs => self.lender.take_back(memory),
            Ok(_) if runs => Err("I24: a guest that runs grew outside its thread".into()),
            grown => {
                guest.pending = None;
                self.grew(&expansion, grown, GrowthEvent::IdleGuestGrew)
            }
        }
    }

    /// A guest that no thread runs grows before it needs to, or has grown already.
    fn grow_ahead(&mut self) -> Step {
        let offered = |world: &Self, slot: usize| {
            let guest = world.guests[slot].as_ref();
            guest.is_some_and(|guest| {
                let offered = guest.reference.features.on_demand();
                guest.fpu.fpstate().is_some() && !offered.is_empty()
            })
        };
        let Some(slot) = self.any_guest(offered) else {
            return self.vmm();
        };
        let guest = self.guests[slot].as_ref().expect("a guest");
        let expansion = guest.fpu.expansion(TILE_DATA);
        let expansion = expansion.map_err(|error| error.to_string())?;
        let Some(memory) = self.memory_for_growth(&expansion) else {
            return Ok(());
        };
        self.tell(format_args!("guest {slot} grows ahead"));
        let guest = self.guests[slot].as_mut().expect("a guest");
        let grown = guest.fpu.expand(expansion, memory);
        self.grew(&expansion, grown, GrowthEvent::IdleGuestGrew)
    }

    /// A guest gives memory back: because it did not use it, or on request.
    pub(super) fn release_guest(&mut self) -> Step {
        let grown = |world: &Self, slot: usize| {
            let guest = world.guests[slot].as_ref();
            guest.is_some_and(|guest| !world.expected[&guest.fpu.id()].grown.is_empty())
        };
        let Some(slot) = self.any_guest(grown) else {
            return Ok(());
        };
        let unused = self.guests[slot].as_ref().expect("a guest");
        let unused = unused.fpu.unused_exits() >= UNUSED_EXITS;
        if !unused && self.random.bool() {
            return Ok(());
        }
        let Some(memory) = self.lender.lend(self.offer.guest_layout().area_len()) else {
            return Ok(());
        };
        self.tell(format_args!("release of guest {slot}"));
        let guest = self.guests[slot].as_mut().expect("a guest");
        let (id, runs) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        let live = guest
            .fpu
            .fpstate()
            .and_then(|state| state.in_memory().ok())
            .map_or(ComponentSet::EMPTY, fpstate::XsaveArea::xstate_bv);
        match guest.fpu.release(memory) {
            Ok(former) if !runs && !live.intersects(TILE_DATA) => {
                guest.reference.unused_exits = 0;
                self.expected(id).released()?;
                self.count(GrowthEvent::GuestReleased);
                if unused {
                    self.count(GrowthEvent::GuestReleasedUnused);
                }
                self.take_back_former(former)
            }
            Err((ResizeError::Running { .. }, memory)) if runs => self.lender.take_back(memory),
            Err((ResizeError::Move(MoveError::Live { .. }), memory))
                if live.intersects(TILE_DATA) || !self.expected[&id].xfd.is_empty() =>
            {
                self.count(GrowthEvent::ReleaseRefused);
                self.lender.take_back(memory)
            }
            Ok(_) => Err(format!("{id} gave back what it uses")),
            Err((error, _)) => Err(format!("release of {id}: {error}")),
        }
    }
}
