//! User code that uses tiles, its #NM, growth and release.

use fpstate::{DeviceNotAvailable, DeviceNotAvailableError, MoveError, ResizeError};
use fpstate_arch::{ComponentSet, Fault, Processor};
use fpstate_model::ModelCpu;

use super::piece::Piece;
use super::reference::Certainty;
use super::small_cpu::{Machine, TILE_DATA};
use super::values::{INITIAL, TILES};
use super::world::{Mode, Step, Whose, World};

/// What comes before a use of tile data: where that is disabled, an XRSTOR of it, which faults.
pub(super) fn need_tiles(machine: &Machine<'_>, model: &mut ModelCpu) -> Result<(), Fault> {
    if model.read_xfd()?.intersects(TILE_DATA) {
        model.xrstor(machine.tile_image.bytes(), TILE_DATA)
    } else {
        Ok(())
    }
}

impl World<'_> {
    pub(super) fn use_tiles(&mut self, cpu: usize) -> Step {
        let (machine, whose) = (self.machine, self.active_on(cpu));
        let model = &mut self.fpu(cpu).processor().inner;
        let found = need_tiles(machine, model);
        let disabled = self.expected(whose).register_xfd().intersects(TILE_DATA);
        match (found, disabled) {
            (Ok(()), false) => self.write_as(cpu, whose, TILE_DATA),
            (Err(Fault::DeviceNotAvailable), true) => self.device_not_available(cpu),
            (found, _) => Err(format!("I15: a use of tile data: {found:?}")),
        }
    }

    fn device_not_available(&mut self, cpu: usize) -> Step {
        let slot = self.current(cpu);
        let permissions = self.machine.permissions(self.thread(slot).granted);
        self.cpus[cpu].mode = Mode::Kernel;
        let (fpu, thread) = self.parts(cpu);
        let granted = thread.granted;
        match thread.fpu.device_not_available(fpu, &permissions) {
            Ok(DeviceNotAvailable::Expand(expansion))
                if !granted.is_empty() && expansion.state() == thread.fpu.own().id() =>
            {
                thread.pending = Some(expansion);
                Ok(())
            }
            // SIGILL, which the program ignores.
            Err(DeviceNotAvailableError::NotPermitted(_)) if granted.is_empty() => Ok(()),
            other => Err(format!("I15: #NM, granted {granted}: {other:?}")),
        }
    }

    pub(super) fn release_tiles(&mut self, cpu: usize) -> Step {
        let whose = self.active_on(cpu);
        let released = self.fpu(cpu).processor().inner.tilerelease();
        released.map_err(|fault| fault.to_string())?;
        self.expected_mut(whose).wrote(ComponentSet::TILES, INITIAL);
        Ok(())
    }

    /// No memory for the current thread or its guest.
    pub(super) fn give_up(&mut self, cpu: usize) -> Step {
        self.parts(cpu).1.pending = None;
        Ok(())
    }

    pub(super) fn grow(&mut self, cpu: usize) -> Step {
        let (piece, slot) = (self.lend(), self.current(cpu));
        let (fpu, thread) = self.parts(cpu);
        let expansion = thread.pending.take().expect("an expansion");
        let grown = thread.fpu.expand(expansion, fpu, piece);
        self.grew(Whose::Thread(slot), grown)
    }

    pub(super) fn grow_waiting(&mut self, cpu: usize, slot: usize) -> Step {
        let piece = self.lend();
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        let thread = self.threads[slot].as_mut().expect("a thread");
        let expansion = thread.pending.take().expect("an expansion");
        let grown = thread.fpu.expand(expansion, fpu, piece);
        self.grew(Whose::Thread(slot), grown)
    }

    /// A growth was done, or refused because there is room already.
    pub(super) fn grew(
        &mut self,
        whose: Whose,
        grown: Result<Piece, (ResizeError, Piece)>,
    ) -> Step {
        let had_room = !self.expected(whose).grown.is_empty();
        match grown {
            Ok(former) if !had_room => {
                self.free.push(former);
                self.expected_mut(whose).grown = TILE_DATA;
                Ok(())
            }
            Err((ResizeError::Outgrown { .. }, piece)) if had_room => {
                self.free.push(piece);
                Ok(())
            }
            other => Err(format!("growth of {whose:?}: {other:?}")),
        }
    }

    pub(super) fn shrink(&mut self, cpu: usize) -> Step {
        let (piece, slot) = (self.lend(), self.current(cpu));
        let in_guest = self.thread(slot).guest.is_some();
        if !in_guest {
            self.cpus[cpu].mode = Mode::Kernel;
        }
        let (fpu, thread) = self.parts(cpu);
        let released = thread.fpu.release(fpu, piece);
        self.shrunk(Whose::Thread(slot), released)
    }

    /// A release was done, or refused because what it would lose is in use.
    pub(super) fn shrunk(
        &mut self,
        whose: Whose,
        released: Result<Piece, (ResizeError, Piece)>,
    ) -> Step {
        self.check_moves()?;
        let expected = self.expected_mut(whose);
        let may_be_live = expected.values[TILES] != INITIAL;
        let is_live = may_be_live && expected.certainty == Certainty::Exact;
        match released {
            Ok(former) if !is_live => {
                expected.wrote(TILE_DATA, INITIAL);
                expected.grown = ComponentSet::EMPTY;
                self.free.push(former);
                Ok(())
            }
            Err((ResizeError::Move(MoveError::Live { .. }), piece)) if may_be_live => {
                self.free.push(piece);
                Ok(())
            }
            other => Err(format!(
                "I23: release of {whose:?}, live: {is_live}: {other:?}"
            )),
        }
    }
}
