//! A host task uses tiles: its own #NM, its permission, and the growth of its state.

use fpstate::{BoxedArea, CpuFpu, DeviceNotAvailable, DeviceNotAvailableError, Restore};
use fpstate_arch::{Fault, Processor};
use fpstate_model::{ModelCpu, RegisterFile};

use super::backend::Model;
use super::tile_shape::TILES;
use super::tile_values;
use crate::report::Counts;
use crate::schedule::SliceError;
use crate::schedule::backend::Backend;
use crate::schedule::tenant::HostTask;

/// Of a task's slices, one in this many begins with code that does something with tiles.
const USE_ONE_IN: u32 = 8;

/// A task's code that uses tiles.
struct TileUse<'a, 'e> {
    model: &'a mut Model,
    task: &'a mut HostTask<'e, Model>,
    cpu: &'a mut CpuFpu<ModelCpu>,
    counts: &'a mut Counts,
}

/// What the kernel did about a #NM.
enum Handled {
    Retry,
    /// SIGILL.
    Refused,
}

/// Now and then `task` loads tiles, or releases those it has.
pub(super) fn use_tiles(
    model: &mut Model,
    task: &mut HostTask<'_, Model>,
    cpu: &mut CpuFpu<ModelCpu>,
    counts: &mut Counts,
) -> Result<(), SliceError> {
    if model.processes.is_none() || model.random.u32(..USE_ONE_IN) != 0 {
        return Ok(());
    }
    let choice = model.random.u32(..4);
    let mut code = TileUse {
        model,
        task,
        cpu,
        counts,
    };
    match choice {
        0 => code.release_tiles(),
        _ => code.load_tiles(),
    }
}

impl TileUse<'_, '_> {
    /// The task's code has the registers. The kernel restores its PKRU too.
    fn enter_user_mode(&mut self) -> Result<(), SliceError> {
        let switch = self.task.thread.restore_before_use(self.cpu)?;
        if let Restore::Area { .. } = switch.restore {
            self.counts.restores += 1;
            self.task.values.kept.write(self.cpu.processor());
        } else {
            self.counts.restores_skipped += 1;
        }
        Ok(())
    }

    /// TILERELEASE; then the kernel takes the memory back.
    fn release_tiles(&mut self) -> Result<(), SliceError> {
        self.enter_user_mode()?;
        self.end_tiles()?;
        let own = self.task.thread.own();
        if own.grown_by().is_empty() {
            return Ok(());
        }
        let memory = BoxedArea::for_layout(&own.released_layout()?);
        let memory = memory.map_err(|_| SliceError::NoMemory)?;
        let former = self.task.thread.release(self.cpu, memory);
        former.map(drop).map_err(|(error, _)| error)?;
        self.counts.releases += 1;
        Ok(())
    }

    fn end_tiles(&mut self) -> Result<(), SliceError> {
        let processor = self.cpu.processor();
        processor.tilerelease().map_err(SliceError::Step)?;
        self.hold(&self.model.initial_values());
        Ok(())
    }

    fn load_tiles(&mut self) -> Result<(), SliceError> {
        self.enter_user_mode()?;
        let mut wanted = self.model.initial_values();
        tile_values::fill(&mut wanted, &mut self.model.random);
        tile_values::configure(self.cpu.processor(), &wanted).map_err(SliceError::Step)?;
        let mut tile = 0;
        while tile < TILES {
            match tile_values::load(self.cpu.processor(), &wanted, tile) {
                Ok(()) => tile += 1,
                Err(Fault::DeviceNotAvailable) => match self.device_not_available()? {
                    Handled::Retry => self.enter_user_mode()?,
                    // The signal's handler gives up tiles.
                    Handled::Refused => return self.end_tiles(),
                },
                Err(fault) => return Err(SliceError::Step(fault)),
            }
        }
        self.hold(&wanted);
        Ok(())
    }

    /// From here on the task's tiles are those of `values`.
    fn hold(&mut self, values: &RegisterFile) {
        let held = &mut self.task.values.held;
        *held = tile_values::with_tiles_of(held.clone(), values);
    }

    /// The kernel at the #NM. Half of the tasks belong to a process that never asked for tiles.
    fn device_not_available(&mut self) -> Result<Handled, SliceError> {
        self.counts.xfd_faults += 1;
        let Some(processes) = &self.model.processes else {
            return Ok(Handled::Refused);
        };
        let asked = self.task.number.is_multiple_of(2);
        let permissions = if asked {
            &processes.asked
        } else {
            &processes.did_not_ask
        };
        let thread = &mut self.task.thread;
        let expansion = match thread.device_not_available(self.cpu, permissions) {
            Ok(DeviceNotAvailable::Expand(expansion)) if asked => expansion,
            Ok(DeviceNotAvailable::Expand(_)) => return Err(SliceError::GrowthWithoutPermission),
            Ok(DeviceNotAvailable::Retry) => return Ok(Handled::Retry),
            Ok(DeviceNotAvailable::OtherCause) => return Err(SliceError::OtherDeviceNotAvailable),
            Err(DeviceNotAvailableError::NotPermitted(_)) => {
                self.counts.denied += 1;
                return Ok(Handled::Refused);
            }
            Err(error) => return Err(error.into()),
        };
        match self.model.random.u32(..4) {
            // As if the allocator had refused and the program had tried again.
            0 => return Ok(Handled::Retry),
            // The thread was switched away from before the memory was there.
            1 => drop(thread.save_before_switch(self.cpu)?),
            _ => {}
        }
        let memory = BoxedArea::for_layout(expansion.layout()).map_err(|_| SliceError::NoMemory)?;
        let former = thread.expand(expansion, self.cpu, memory);
        former.map(drop).map_err(|(error, _)| error)?;
        self.counts.expansions += 1;
        Ok(Handled::Retry)
    }
}
