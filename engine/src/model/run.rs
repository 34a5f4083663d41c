//! All of it: one thread, on which the CPUs take turns at single steps.

use std::time::Instant;

use fpstate::{ControlRegisters, CpuFpu, Identities, Layout, SwitchInstructions};
use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, Enumeration, Instruction, Processor, Xcr0, Xfd, Xss,
};
use fpstate_model::ModelCpu;

use super::backend::{Model, Stepped};
use super::guest::ModelGuest;
use crate::config::RunConfig;
use crate::footprint::{Footprint, LiveHeapBytes};
use crate::report::{Counts, Progress, RunReport, RunSubject};
use crate::run_error::RunError;
use crate::schedule::SliceError;
use crate::schedule::backend::Backend;
use crate::schedule::script::Outcome;
use crate::schedule::tenant::Tenant;
use crate::schedule::worker::{MOST_REPORTED, Machine, Plan, Worker};

/// Every state and CPU of this process, run after run.
static IDENTITIES: Identities = Identities::new();
/// Steps between two looks at the clock.
const STEPS_AT_A_TIME: u32 = 1000;
/// "Auth", the first part of AMD's vendor string, in CPUID.0:EBX.
const AMD_EBX: u32 = 0x6874_7541;

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
    let reset = ModelCpu::new(modelled.leaves);
    let enumeration = reset.enumeration().clone();
    let instructions = SwitchInstructions::for_ring0(&enumeration);
    let registers = control_registers(&enumeration, instructions)?;
    let switched = registers
        .xcr0
        .components()
        .union(registers.xss.components());
    let components = switched
        .without(Component::Pkru)
        .difference(registers.xfd.components());
    let layout = Layout::for_instructions(&enumeration, instructions, components)?;
    let footprint = Footprint::measure(layout, live_heap_bytes).ok_or(SliceError::NoMemory)?;
    let pkru = switched.intersection(ComponentSet::only(Component::Pkru));
    let backend = Model {
        keeps_x87_pointers: !is_amd(reset.clone()),
        reset,
        components: components.union(pkru),
        random: fastrand::Rng::with_seed(config.seed()),
    };
    let machine = Machine::new(layout, &IDENTITIES);
    machine.admit(&backend, config, |kind| {
        Ok(ModelGuest::new(
            kind,
            backend.components,
            backend.initial_values(),
        ))
    })?;

    let began = Instant::now();
    let mut cpus = (0..config.threads())
        .map(|number| worker(&machine, &backend, config, number, registers))
        .collect::<Result<Vec<_>, RunError>>()?;
    take_turns(&mut cpus, config, began, &mut watch)?;
    let results = retire(cpus)?;
    let subject = RunSubject {
        engine: "model",
        cpu: modelled.name.to_owned(),
        layout,
        switched_apart: pkru,
        instructions,
    };
    Ok(RunReport::new(
        &subject,
        config,
        began.elapsed(),
        results,
        footprint,
    ))
}

fn is_amd(mut cpu: ModelCpu) -> bool {
    cpu.cpuid(0, 0).ebx == AMD_EBX
}

/// Everything the CPU has that an operating system switches: all user components (APX rather than
/// MPX, which exclude each other), CET, PASID and UINTR; what can be disabled on demand is.
fn control_registers(
    cpu: &Enumeration,
    instructions: SwitchInstructions,
) -> Result<ControlRegisters, RunError> {
    let mut user = cpu.user_components();
    if user.contains(Component::Apx) {
        user = user.difference(ComponentSet::MPX);
    }
    let xcr0 = if cpu.has(Instruction::Xsave) {
        Xcr0::new(user, cpu.user_components())?
    } else {
        Xcr0::AFTER_RESET
    };
    let tasks_own = [
        Component::CetU,
        Component::CetS,
        Component::Pasid,
        Component::Uintr,
    ]
    .into_iter()
    .fold(ComponentSet::EMPTY, ComponentSet::with);
    let supervisor = cpu.supervisor_components().intersection(tasks_own);
    let xss = if instructions.reaches_xss() {
        Xss::new(supervisor, supervisor).unwrap_or_default()
    } else {
        Xss::AFTER_RESET
    };
    let xfd = if instructions.has_xfd() {
        Xfd::new(cpu.xfd_components(), cpu.xfd_components()).unwrap_or_default()
    } else {
        Xfd::NOTHING
    };
    Ok(ControlRegisters { xcr0, xss, xfd })
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

fn worker<'w, 'e>(
    machine: &'w Machine<'e, Model>,
    backend: &Model,
    config: &RunConfig,
    number: u32,
    registers: ControlRegisters,
) -> Result<Cpu<'w, 'e>, RunError> {
    let seed = config.seed() ^ u64::from(number);
    let processor = backend.reset.clone();
    let instructions = SwitchInstructions::for_ring0(processor.enumeration());
    let cpu = CpuFpu::bring_up(
        processor,
        number,
        machine.identities,
        instructions,
        registers,
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
            Some(step) => {
                let operands = slice.tenant.operands(&mut worker.kernel_values);
                match worker
                    .backend
                    .step(worker.cpu.processor(), *step, operands)?
                {
                    Stepped::Unfinished => None,
                    Stepped::Preempted => Some(Outcome::Preempted),
                    Stepped::Done => {
                        slice.next_step += 1;
                        None
                    }
                }
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
