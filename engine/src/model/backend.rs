//! The schedule's steps on a model CPU.

use std::sync::Arc;

use fpstate::{BoxedArea, CpuFpu, Permissions, Switch, SwitchInstructions, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Processor};
use fpstate_model::{ModelCpu, RegisterFile};

use super::guest::ModelGuest;
use super::{task_tiles, tile_values, values};
use crate::report::Counts;
use crate::schedule::SliceError;
use crate::schedule::backend::{Backend, Comparison, Filler, GuestKind};
use crate::schedule::script::{Area, Image, Step};
use crate::schedule::tenant::{HostTask, Operands};

/// A guest that uses tiles does so for this many patterns, then for as many not.
const TILE_SPELL: u64 = 12;

/// A software CPU and what code on it may use.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// A CPU after RESET, whose registers are the initial configuration.
    pub(super) reset: ModelCpu,
    /// Everything that is switched, PKRU and tiles too.
    pub(super) components: ComponentSet,
    /// What tasks fill with vector moves and the like: all but tiles.
    pub(super) task_components: ComponentSet,
    /// What guests do.
    pub(super) guest_components: ComponentSet,
    /// Where the CPU has tiles.
    pub(super) processes: Option<Arc<Processes>>,
    /// What the CPUs switch with: the script names the instruction, and this the moves before it.
    pub(super) instructions: SwitchInstructions,
    /// AMD keeps FIP, FDP and FOP only with an exception pending, and no pattern has one pending.
    pub(super) keeps_x87_pointers: bool,
    pub(super) random: fastrand::Rng,
}

/// What the processes that tasks belong to may do with tiles.
#[derive(Debug)]
pub(super) struct Processes {
    /// One that asked for the permission.
    pub(super) asked: Permissions,
    /// One that did not.
    pub(super) did_not_ask: Permissions,
}

/// The kernel switches a task's PKRU on its own, with RDPKRU and WRPKRU; a guest's is loaded where it
/// is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pkru([u8; 4]);

impl Pkru {
    /// RDPKRU.
    fn read(cpu: &ModelCpu) -> Self {
        let register = cpu.registers().component(Component::Pkru);
        Self(
            register
                .and_then(<[u8]>::first_chunk)
                .copied()
                .unwrap_or_default(),
        )
    }

    /// WRPKRU.
    pub(super) fn write(self, cpu: &mut ModelCpu) {
        let register = cpu.registers_mut().component(Component::Pkru);
        if let Some(register) = register.and_then(<[u8]>::first_chunk_mut) {
            *register = self.0;
        }
    }
}

impl Model {
    /// One step of a script, but for the guest's.
    pub(super) fn step(
        &mut self,
        cpu: &mut ModelCpu,
        step: Step,
        operands: Operands<'_, Self>,
    ) -> Result<(), SliceError> {
        let Operands {
            own,
            guest,
            former,
            values,
            kernel_values,
            code: _,
        } = operands;
        let own_pkru = &mut values.kept;
        match step {
            Step::Save {
                instruction: _,
                rfbm,
                area,
            } => {
                let (bytes, pkru) = match (area, guest) {
                    (Area::Guest, Some(guest)) => (guest, None),
                    (Area::Own | Area::Guest | Area::Former, _) => (own, Some(own_pkru)),
                };
                self.instructions
                    .save_registers(cpu, bytes, rfbm)
                    .map_err(SliceError::Step)?;
                if let Some(pkru) = pkru {
                    *pkru = Pkru::read(cpu);
                }
            }
            Step::Restore {
                instruction: _,
                rfbm,
                area,
            } => {
                let (bytes, pkru) = match (area, guest, former) {
                    (Area::Guest, Some(guest), _) => (guest, None),
                    (Area::Former, _, Some(former)) => (former, None),
                    (Area::Own | Area::Guest | Area::Former, _, _) => (own, Some(own_pkru)),
                };
                self.instructions
                    .restore_registers(cpu, bytes, rfbm, None)
                    .map_err(SliceError::Step)?;
                if let Some(pkru) = pkru {
                    pkru.write(cpu);
                }
            }
            Step::OverwriteErrorPointers => {
                cpu.overwrite_error_pointers().map_err(SliceError::Step)?;
            }
            Step::WriteXfd(xfd) => cpu.write_xfd(xfd).map_err(SliceError::Step)?,
            Step::Load(Image::Next) => self.load(cpu, &values.next, self.task_components),
            Step::Load(Image::Kernel) => {
                let vectors = self.task_components.without(Component::Pkru);
                self.load(cpu, kernel_values, vectors);
            }
            Step::Load(Image::Found(_))
            | Step::Store(Image::Next | Image::Kernel)
            | Step::Guest => {}
            Step::Store(Image::Found(slot)) => {
                if let Some(found) = values.found.get_mut(slot) {
                    *found = values::read(cpu);
                }
            }
        }
        Ok(())
    }

    fn load(&self, cpu: &mut ModelCpu, values: &RegisterFile, components: ComponentSet) {
        for component in components.iter() {
            values::write(cpu, values, component);
        }
    }
}

impl Backend for Model {
    type Processor = ModelCpu;
    type Values = RegisterFile;
    type KeptByKernel = Pkru;
    type Guest = ModelGuest;

    const LONGEST_HOLD: u64 = 192;

    fn initial_values(&self) -> RegisterFile {
        values::read(&self.reset)
    }

    fn pattern(&self, filler: Filler, seed: u64, generation: u64) -> RegisterFile {
        let mut random = fastrand::Rng::with_seed(seed ^ generation.rotate_left(32));
        // Now and then a component is left in its initial configuration.
        let components = match filler {
            Filler::Host => self.task_components,
            Filler::Guest(_) => self.guest_components,
        };
        let components = components
            .iter()
            .filter(|_| random.u32(..8) != 0)
            .fold(ComponentSet::EMPTY, ComponentSet::with);
        let mut cpu = self.reset.clone();
        cpu.registers_mut().fill(components, || random.u64(..));
        let mut values = values::read(&cpu);
        if !self.keeps_x87_pointers {
            (values.x87.fop, values.x87.fip, values.x87.fdp) = (0, 0, 0);
        }
        if let Some(pkru) = values.component_mut(Component::Pkru) {
            // The register has 32 bits; the other four bytes of the component are reserved.
            pkru.iter_mut().skip(4).for_each(|byte| *byte = 0);
        }
        let uses_tiles = (generation / TILE_SPELL).is_multiple_of(2);
        if filler == Filler::Guest(GuestKind::TilePattern) && uses_tiles {
            tile_values::fill(&mut values, &mut random);
        }
        values
    }

    fn with_on_demand_of(&self, values: RegisterFile, held: &RegisterFile) -> RegisterFile {
        tile_values::with_tiles_of(values, held)
    }

    fn use_on_demand(
        &mut self,
        task: &mut HostTask<'_, Self>,
        cpu: &mut CpuFpu<ModelCpu>,
        counts: &mut Counts,
    ) -> Result<(), SliceError> {
        task_tiles::use_tiles(self, task, cpu, counts)
    }

    /// A PASID belongs to the thread that asked for it, and tile data to the function that loaded it.
    fn inherited(&self, mut values: RegisterFile) -> RegisterFile {
        let not_inherited = ComponentSet::only(Component::Pasid).with(Component::TileData);
        values.initialise(not_inherited);
        values
    }

    fn compare(&self, expected: &RegisterFile, found: &RegisterFile) -> Comparison {
        values::compare(self.components, expected, found)
    }

    /// Its registers hold it still.
    fn guest_taken_off(
        &mut self,
        thread: &mut ThreadFpu<'_, BoxedArea>,
        cpu: &mut CpuFpu<ModelCpu>,
    ) -> Result<Switch, SliceError> {
        Ok(thread.save_before_switch(cpu)?)
    }
}
