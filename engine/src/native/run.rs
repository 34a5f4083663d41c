//! All of it: tenants made, CPUs started, counts added up.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fpstate::{CpuFpu, Identities, Layout, SwitchInstructions};
use fpstate_arch::{Component, ComponentSet};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::backend::{Native, SwitchPlan};
use super::guest::NativeGuest;
use super::preemption::{self, Preemption};
use super::tile_permission::ask_for_tiles;
use crate::config::{GuestMix, RunConfig};
use crate::footprint::{Footprint, LiveHeapBytes};
use crate::host::{HandOver, HostCpu, HostError};
use crate::known_answer::{Verdict, warm_up};
use crate::pattern::{RegisterMoves as PatternMoves, RegisterWidth};
use crate::report::{Corruption, Counts, Progress, RunReport, RunSubject};
use crate::run_error::RunError;
use crate::schedule::SliceError;
use crate::schedule::backend::Backend;
use crate::schedule::worker::{Layouts, MOST_REPORTED, Machine, Worker};

/// Every state and CPU of this process, run after run.
static IDENTITIES: Identities = Identities::new();
/// How often whoever watches is told.
const PROGRESS_PERIOD: Duration = Duration::from_millis(10);

/// Runs `config` on the real CPU. `live_heap_bytes` reads what the process's allocator has
/// allocated; `watch` is called now and then.
///
/// # Errors
/// [`RunError`]. A corruption is none: it is in the report.
pub fn run(
    config: &RunConfig,
    live_heap_bytes: LiveHeapBytes,
    mut watch: impl FnMut(Progress),
) -> Result<RunReport, RunError> {
    let host = HostCpu::read()?;
    check_known_answers()?;
    let moves = PatternMoves::for_width(RegisterWidth::of(host.xcr0()))
        .ok_or(RunError::Host(HostError::WithoutXsave))?;
    let chosen = config.switch_by().on(&host)?;
    // Tile data needs a permission that no guest here asks for; PKRU is the kernel's to switch.
    let not_ours = ComponentSet::only(Component::Pkru).union(host.enumeration().xfd_components());
    let components = host.xcr0().difference(not_ours);
    let tiles = ask_for_tiles(host.enumeration());
    if let Some(fault) = config.inject()
        && fault.needs_growth()
    {
        return Err(RunError::NothingGrows { fault, tiles });
    }
    let layout = Layout::for_instructions(host.enumeration(), chosen.instructions, components)?;
    let footprint = Footprint::measure(layout, live_heap_bytes).ok_or(SliceError::NoMemory)?;
    let mut hand_overs: Vec<_> = (0..config.threads()).map(|_| HandOver::new()).collect();
    let layouts = Layouts {
        thread: layout,
        guest: layout,
    };
    let machine = Machine::new(layouts, &IDENTITIES);
    let plan = SwitchPlan::new(&host, chosen.instructions, &layout);
    let backend = Native::new(host.enumeration(), host.mxcsr_mask(), moves, plan);
    machine.admit(&backend, config, GuestMix::WithoutTiles, |kind| {
        let guest = NativeGuest::new(kind, moves).map_err(os)?;
        Ok((guest, None))
    })?;
    preemption::install_handler().map_err(os)?;

    let began = Instant::now();
    let results = run_cpus(
        &machine,
        &mut hand_overs,
        (&host, chosen.instructions),
        (moves, plan),
        config,
        &mut watch,
    )?;
    let subject = RunSubject {
        engine: "native",
        cpu: host.name().to_owned(),
        layout,
        switched_apart: ComponentSet::EMPTY,
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

/// Also brings the crates' CPU detection to rest, which must not happen inside a guest.
fn check_known_answers() -> Result<(), RunError> {
    match warm_up()
        .into_iter()
        .find(|(_, verdict)| *verdict == Verdict::Wrong)
    {
        Some((answer, _)) => Err(RunError::KnownAnswer {
            answer: answer.to_string(),
        }),
        None => Ok(()),
    }
}

fn run_cpus<'w>(
    machine: &Machine<'_, Native<'w>>,
    hand_overs: &'w mut [HandOver],
    (host, instructions): (&'w HostCpu, SwitchInstructions),
    (moves, plan): (PatternMoves, Option<SwitchPlan>),
    config: &RunConfig,
    watch: &mut impl FnMut(Progress),
) -> Result<(Counts, Vec<Corruption>), RunError> {
    let allowed = allowed_cpus()?;
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let cpus: Vec<_> = hand_overs
            .iter_mut()
            .zip(0..)
            .zip(allowed.iter().cycle())
            .map(|((hand_over, number), pin)| {
                scope.spawn(move || {
                    let backend = Native::new(host.enumeration(), host.mxcsr_mask(), moves, plan);
                    let done = run_cpu(
                        (machine, stop),
                        (config, instructions),
                        backend,
                        hand_over,
                        (number, *pin),
                    );
                    // One CPU that failed stops the others.
                    if done.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done
                })
            })
            .collect();
        watch_until_done(machine, config, stop, watch);
        stop.store(true, Ordering::Relaxed);
        let (mut counts, mut corruptions) = (Counts::default(), Vec::new());
        for cpu in cpus {
            let done = cpu.join().map_err(|_| RunError::CpuPanicked)??;
            counts.add(&done.0);
            corruptions.extend(done.1);
        }
        corruptions.truncate(MOST_REPORTED);
        Ok((counts, corruptions))
    })
}

fn watch_until_done<B: Backend>(
    machine: &Machine<'_, B>,
    config: &RunConfig,
    stop: &AtomicBool,
    watch: &mut impl FnMut(Progress),
) {
    let (began, length) = (Instant::now(), config.length());
    while !stop.load(Ordering::Relaxed) {
        let entries = machine.entries.load(Ordering::Relaxed);
        let done = length.part_done(began.elapsed(), entries);
        watch(Progress {
            done,
            entries,
            corruptions: machine.corruptions.load(Ordering::Relaxed),
        });
        if done >= 1.0 {
            return;
        }
        thread::sleep(PROGRESS_PERIOD);
    }
}

fn run_cpu<'w>(
    (machine, stop): (&Machine<'_, Native<'w>>, &AtomicBool),
    (config, instructions): (&RunConfig, SwitchInstructions),
    backend: Native<'w>,
    hand_over: &'w mut HandOver,
    (number, pin): (u32, usize),
) -> Result<(Counts, Vec<Corruption>), RunError> {
    let mut set = CpuSet::new();
    set.set(pin).map_err(os)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(os)?;
    let processor = hand_over.processor()?;
    let seed = config.seed() ^ u64::from(number);
    let cpu = CpuFpu::adopt(processor, number, machine.identities, instructions)
        .map_err(HostError::Processor)?;
    let mut worker = Worker::new(machine, backend, cpu, config, seed);
    let preemption = Preemption::start().map_err(os)?;
    let done = work(&mut worker, stop);
    drop(preemption);
    done?;
    Ok((worker.counts, worker.corruptions))
}

/// Runs slices until the machine stops, then ends the tenants that are left.
fn work(worker: &mut Worker<'_, '_, Native<'_>>, stop: &AtomicBool) -> Result<(), SliceError> {
    while !stop.load(Ordering::Relaxed) {
        let Some(mut tenant) = worker.machine.take_tenant(&mut worker.random) else {
            thread::yield_now();
            continue;
        };
        let plan = worker.begin(&mut tenant)?;
        let operands = tenant.operands(&mut worker.kernel_values);
        let outcome = worker.backend.carry_out(&worker.script, operands);
        worker.finish(&mut tenant, plan, outcome)?;
        worker.machine.put_back(tenant);
    }
    worker.counts.faults_injected = worker.injector.injected();
    while let Some(tenant) = worker.machine.take_tenant(&mut worker.random) {
        worker.retire(*tenant)?;
    }
    Ok(())
}

fn allowed_cpus() -> Result<Vec<usize>, RunError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(os)?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

fn os(errno: nix::errno::Errno) -> SliceError {
    SliceError::Os(io::Error::from(errno))
}
