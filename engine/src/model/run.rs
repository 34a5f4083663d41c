//! All of it: one thread, on which the CPUs take turns at single steps.

use std::time::Instant;

use fpstate::{CpuFpu, Identities, Layout, Offer, Strategies};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Enumeration};
use fpstate_model::{ModelCpu, X87Pointers};

use super::backend::Model;
use super::guest::ModelGuest;
use super::hypervisor::{Stepped, step_guest};
use super::tile_shape::PALETTE;
use super::world::World;
use crate::config::RunConfig;
use crate::footprint::{Footprint, LiveHeapBytes};
use crate::report::{Counts, Progress, RunReport, RunSubject, TileGuests};
use crate::run_error::RunError;
use crate::schedule::SliceError;
use crate::schedule::backend::{Backend, GuestKind};
use crate::schedule::script::{Outcome, Step};
use crate::schedule::tenant::Tenant;
use crate::schedule::worker::{Layouts, MOST_REPORTED, Machine, Plan, Worker};
use crate::switch_by::{Chosen, SwitchBy, SwitchByError};

/// Every state and CPU of this process, run after run.
static IDENTITIES: Identities = Identities::new();
/// Steps between two looks at the clock.
const STEPS_AT_A_TIME: u32 = 1000;
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

/// A CPU to model: its name and its CPUID leaves.
#[derive(Clone, Copy, Debug)]
pub struct ModelledCpu<'a> {
    /// Its name.
    pub name: &'a str,
    /// `(leaf, sub-leaf, registers)`.
    pub leaves: &'a [(u32, u32, CpuidRegisters)],
}

/// Runs `config` on software CPUs of one kind. `live_heap_bytes` reads what the process's allocator
/// has allocated; `watch` is called now and then.
///
/// # Errors
/// [`RunError`]. A corruption is none: it is in the report.
pub fn run(
    modelled: ModelledCpu<'_>,
    config: &RunConfig,
    live_heap_bytes: LiveHeapBytes,
    mut watch: impl FnMut(Progress),
) -> Result<RunReport, RunError> {
    let reset = after_reset(modelled, config.switch_by())?;
    let enumeration = reset.enumeration().clone();
    let offer = Offer::for_ring0(&enumeration);
    let chosen = config.switch_by().of(&Strategies::for_ring0(&offer));
    let chosen = chosen.map_err(SwitchByError::Strategy)?;
    let tiles = tile_guests(&offer);
    if let Some(fault) = config.inject()
        && fault.needs_growth()
        && tiles != TileGuests::Run
    {
        return Err(RunError::NothingGrows { fault, tiles });
    }
    let world = World::new(&offer, tiles)?;
    let footprint = match tiles {
        TileGuests::Run => {
            Footprint::measure_growth(offer.guest_layout(), world.offered, live_heap_bytes)
        }
        TileGuests::NoAmx | TileGuests::ModelOnly | TileGuests::Refused { .. } => {
            Footprint::measure(offer.guest_layout(), live_heap_bytes)
        }
    };
    let footprint = footprint.ok_or(SliceError::NoMemory)?;
    let backend = model(&offer, reset, &world, (config, chosen));
    let layouts = Layouts {
        thread: offer.thread_layout(),
        guest: offer.guest_layout(),
    };
    let machine = Machine::new(layouts, &IDENTITIES);
    let mut denied = 0;
    machine.admit(&backend, config, world.guests, |kind| {
        let features = match kind {
            GuestKind::Denied => {
                denied += 1;
                world.offered_without_permission
            }
            GuestKind::Pattern
            | GuestKind::KnownAnswer
            | GuestKind::TilePattern
            | GuestKind::TileProduct
            | GuestKind::TogglesXfd => world.offered,
        };
        let initial = backend.initial_values();
        let code = ModelGuest::new(kind, backend.guest_components, initial);
        Ok((code, Some(features)))
    })?;

    let began = Instant::now();
    let mut cpus = (0..config.threads())
        .map(|number| worker(&machine, (&backend, chosen), config, number, &offer))
        .collect::<Result<Vec<_>, RunError>>()?;
    take_turns(&mut cpus, config, began, &mut watch)?;
    let mut results = retire(cpus)?;
    results.0.denied += denied;
    let subject = RunSubject {
        engine: "model",
        cpu: modelled.name.to_owned(),
        layout: offer.guest_layout(),
        switched_apart: backend
            .components
            .difference(offer.guest_layout().components()),
        tiles,
        chosen,
    };
    Ok(RunReport::new(
        &subject,
        config,
        began.elapsed(),
        results,
        footprint,
    ))
}

/// A CPU as the kernel on it sees it.
fn after_reset(modelled: ModelledCpu<'_>, by: SwitchBy) -> Result<ModelCpu, SwitchByError> {
    let cpu = Enumeration::read(RecordedLeaves(modelled.leaves));
    Ok(ModelCpu::new(&by.hide_better(modelled.leaves, &cpu)?))
}

/// Tile guests load palette 1 as it has been so far.
fn tile_guests(offer: &Offer<'_>) -> TileGuests {
    let palette = offer.enumeration().tiles().palette_1();
    if offer.on_demand().contains(Component::TileData) && palette == Some(PALETTE) {
        TileGuests::Run
    } else {
        TileGuests::NoAmx
    }
}

fn model(
    offer: &Offer<'_>,
    reset: ModelCpu,
    world: &World,
    (config, chosen): (&RunConfig, Chosen),
) -> Model {
    let own = |layout: Layout<'_>| {
        let pkru = offer.user_components().intersection(PKRU);
        layout.components().union(pkru)
    };
    let offered = world.offered_without_permission;
    let (task, guest) = (own(offer.thread_layout()), own(offer.guest_layout()));
    Model {
        keeps_x87_pointers: reset.vendor_differences().x87_pointers == X87Pointers::Always,
        reset,
        components: guest.union(offer.on_demand()),
        task_components: task.difference(ComponentSet::TILES),
        guest_components: offered.user().union(offered.supervisor()),
        processes: world.processes.clone(),
        instructions: chosen.instructions,
        random: fastrand::Rng::with_seed(config.seed()),
    }
}

/// A CPU, and the slice it is in the middle of.
struct Cpu<'w, 'e> {
    worker: Worker<'w, 'e, Model>,
    under_way: Option<UnderWay<'e>>,
}

struct UnderWay<'e> {
    tenant: Box<Tenant<'e, Model>>,
    plan: Plan,
    next_step: usize,
}

impl<'e> UnderWay<'e> {
    /// After a step of the guest, which is the next step of the script still.
    fn keep_way_back_current(
        &mut self,
        worker: &mut Worker<'_, 'e, Model>,
    ) -> Result<(), SliceError> {
        let Tenant { task, vcpu, .. } = &*self.tenant;
        match vcpu {
            Some(vcpu) => {
                worker.keep_way_back_current((task, vcpu), &mut self.plan, self.next_step)
            }
            None => Ok(()),
        }
    }
}

fn worker<'w, 'e>(
    machine: &'w Machine<'e, Model>,
    (backend, chosen): (&Model, Chosen),
    config: &RunConfig,
    number: u32,
    offer: &Offer<'_>,
) -> Result<Cpu<'w, 'e>, RunError> {
    let seed = config.seed() ^ u64::from(number);
    let processor = backend.reset.clone();
    let cpu = CpuFpu::bring_up(
        processor,
        number,
        machine.identities,
        chosen.instructions,
        offer.control_registers(),
    )?;
    let backend = Model {
        random: fastrand::Rng::with_seed(!seed),
        ..backend.clone()
    };
    let worker = Worker::new(machine, backend, cpu, config, seed);
    Ok(Cpu {
        worker,
        under_way: None,
    })
}

/// CPUs take turns in random order until the run is over.
fn take_turns(
    cpus: &mut [Cpu<'_, '_>],
    config: &RunConfig,
    began: Instant,
    watch: &mut impl FnMut(Progress),
) -> Result<(), SliceError> {
    let mut random = fastrand::Rng::with_seed(config.seed());
    loop {
        let sum = |count: fn(&Counts) -> u64| cpus.iter().map(|c| count(&c.worker.counts)).sum();
        let entries = sum(|counts| counts.entries);
        let done = config.length().part_done(began.elapsed(), entries);
        watch(Progress {
            done,
            entries,
            corruptions: sum(|counts| counts.corruptions),
        });
        if done >= 1.0 {
            return Ok(());
        }
        for _ in 0..STEPS_AT_A_TIME {
            let turn = random.usize(..cpus.len().max(1));
            if let Some(cpu) = cpus.get_mut(turn) {
                cpu.step()?;
            }
        }
    }
}

impl Cpu<'_, '_> {
    /// One step: of the slice under way, or the beginning of another.
    fn step(&mut self) -> Result<(), SliceError> {
        let worker = &mut self.worker;
        let Some(mut slice) = self.under_way.take() else {
            if let Some(mut tenant) = worker.machine.take_tenant(&mut worker.random) {
                let plan = worker.begin(&mut tenant)?;
                self.under_way = Some(UnderWay {
                    tenant,
                    plan,
                    next_step: 0,
                });
            }
            return Ok(());
        };
        let outcome = match worker.script.steps().get(slice.next_step) {
            None => Some(Outcome::Completed),
            Some(Step::Guest) => match step_guest(worker, &mut slice.tenant)? {
                Stepped::TakenOff => Some(Outcome::Preempted),
                stepped @ (Stepped::Called | Stepped::GoesOn) => {
                    slice.keep_way_back_current(worker)?;
                    slice.next_step += usize::from(stepped == Stepped::Called);
                    None
                }
            },
            Some(step) => {
                let operands = slice.tenant.operands(&mut worker.kernel_values);
                worker
                    .backend
                    .step(worker.cpu.processor(), *step, operands)?;
                slice.next_step += 1;
                None
            }
        };
        match outcome {
            None => self.under_way = Some(slice),
            Some(outcome) => {
                worker.finish(&mut slice.tenant, slice.plan, outcome)?;
                worker.machine.put_back(slice.tenant);
            }
        }
        Ok(())
    }
}

/// Ends what is under way, then all tenants.
fn retire(
    mut cpus: Vec<Cpu<'_, '_>>,
) -> Result<(Counts, Vec<crate::report::Corruption>), SliceError> {
    let (mut counts, mut corruptions) = (Counts::default(), Vec::new());
    for cpu in &mut cpus {
        while cpu.under_way.is_some() {
            cpu.step()?;
        }
    }
    for mut cpu in cpus {
        let worker = &mut cpu.worker;
        worker.counts.faults_injected = worker.injector.injected();
        counts.add(&worker.counts);
        corruptions.append(&mut worker.corruptions);
        while let Some(tenant) = worker.machine.take_tenant(&mut worker.random) {
            worker.retire(*tenant)?;
        }
    }
    corruptions.truncate(MOST_REPORTED);
    Ok((counts, corruptions))
}
