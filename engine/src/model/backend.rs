//! The schedule's steps on a model CPU.

use fpstate::{BoxedArea, CpuFpu, Switch, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Processor};
use fpstate_model::{ModelCpu, RegisterFile};

use super::guest::{GuestStep, ModelGuest};
use super::values;
use crate::schedule::SliceError;
use crate::schedule::backend::{Backend, Comparison};
use crate::schedule::script::{Area, Image, Step};
use crate::schedule::tenant::Operands;

/// Of a guest's steps, one in this many is followed by a timer interrupt.
const INTERRUPT_ONE_IN: u32 = 96;

/// A software CPU and what code on it may use.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// A CPU after RESET, whose registers are the initial configuration.
    pub(super) reset: ModelCpu,
    /// What guests and tasks fill: the areas' components, and PKRU.
    pub(super) components: ComponentSet,
    /// AMD keeps FIP, FDP and FOP only with an exception pending, and no pattern has one pending.
    pub(super) keeps_x87_pointers: bool,
    pub(super) random: fastrand::Rng,
}

/// The kernel switches PKRU on its own, with RDPKRU and WRPKRU.
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
    fn write(self, cpu: &mut ModelCpu) {
        let register = cpu.registers_mut().component(Component::Pkru);
        if let Some(register) = register.and_then(<[u8]>::first_chunk_mut) {
            *register = self.0;
        }
    }
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// The next step of the script follows.
    Done,
    /// The same one again: the guest goes on.
    Unfinished,
    /// The guest was taken off.
    Preempted,
}

impl Model {
    /// One step of a script, or one of the guest's.
    pub(super) fn step(
        &mut self,
        cpu: &mut ModelCpu,
        step: Step,
        operands: Operands<'_, Self>,
    ) -> Result<Stepped, SliceError> {
        let Operands {
            own,
            guest,
            former,
            values,
            kernel_values,
            code,
        } = operands;
        let mut own_pkru = &mut values.kept;
        match step {
            Step::Save {
                instruction,
                rfbm,
                area,
            } => {
                let (bytes, pkru) = match (area, guest, code) {
                    (Area::Guest, Some(guest), Some((_, pkru))) => (guest, pkru),
                    (Area::Own | Area::Guest | Area::Former, _, _) => (own, own_pkru),
                };
                instruction
                    .execute(cpu, bytes, rfbm)
                    .map_err(SliceError::Step)?;
                *pkru = Pkru::read(cpu);
            }
            Step::Restore {
                instruction,
                rfbm,
                area,
            } => {
                let (bytes, pkru) = match (area, guest, former, code) {
                    (Area::Guest, Some(guest), _, Some((_, pkru))) => (guest, *pkru),
                    (Area::Former, _, Some(former), Some((_, pkru))) => (former, *pkru),
                    (Area::Own | Area::Guest | Area::Former, _, _, _) => (own, *own_pkru),
                };
                instruction
                    .execute(cpu, bytes, rfbm)
                    .map_err(SliceError::Step)?;
                pkru.write(cpu);
            }
            Step::WriteXfd(xfd) => cpu.write_xfd(xfd).map_err(SliceError::Step)?,
            Step::Load(Image::Next) => self.load(cpu, &values.next, self.components),
            Step::Load(Image::Kernel) => {
                let vectors = self.components.without(Component::Pkru);
                self.load(cpu, kernel_values, vectors);
            }
            Step::Load(Image::Found(_)) | Step::Store(Image::Next | Image::Kernel) => {}
            Step::Store(Image::Found(slot)) => {
                if let Some(found) = values.found.get_mut(slot) {
                    *found = values::read(cpu);
                }
            }
            Step::Guest => {
                if let Some((code, pkru)) = code {
                    own_pkru = pkru;
                    return Ok(self.guest_step(cpu, code, own_pkru));
                }
            }
        }
        Ok(Stepped::Done)
    }

    fn guest_step(
        &mut self,
        cpu: &mut ModelCpu,
        code: &mut ModelGuest,
        pkru: &mut Pkru,
    ) -> Stepped {
        match code.step(cpu) {
            GuestStep::CalledHost => Stepped::Done,
            GuestStep::GoesOn if self.random.u32(..INTERRUPT_ONE_IN) != 0 => Stepped::Unfinished,
            GuestStep::GoesOn => {
                code.taken_off();
                *pkru = Pkru::read(cpu);
                Stepped::Preempted
            }
        }
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

    fn pattern(&self, seed: u64, generation: u64) -> RegisterFile {
        let mut random = fastrand::Rng::with_seed(seed ^ generation.rotate_left(32));
        // Now and then a component is left in its initial configuration.
        let components = self
            .components
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
        values
    }

    /// A PASID belongs to the thread that asked for it.
    fn inherited(&self, mut values: RegisterFile) -> RegisterFile {
        values.initialise(ComponentSet::only(Component::Pasid));
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
