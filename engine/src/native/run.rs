//! All of it: tenants made, CPUs started, counts added up.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fpstate::{CpuFpu, GuestFpu, Identities, Layout, LayoutError, SwitchInstructions, ThreadFpu};
use fpstate_arch::component::Component;
use fpstate_arch::{ComponentSet, Enumeration};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::host_task::{HostTask, TaskValues};
use super::preemption::{self, PreemptedImage, Preemption};
use super::script::Script;
use super::tenant::Tenant;
use super::vcpu::{GuestKind, Vcpu};
use super::worker::{MOST_REPORTED, Machine, SliceError, Worker};
use crate::config::RunConfig;
use crate::fault_injection::Injector;
use crate::footprint::{Footprint, LiveHeapBytes};
use crate::host::{HandOver, HostCpu, HostError};
use crate::known_answer::{KnownAnswer, Verdict, warm_up};
use crate::pattern::{Patterns, RegisterMoves, RegisterWidth};
use crate::report::{Corruption, Counts, Progress, RunReport};

/// Every state and CPU of this process, run after run.
static IDENTITIES: Identities = Identities::new();
/// How often whoever watches is told.
const PROGRESS_PERIOD: Duration = Duration::from_millis(50);
/// Of the vCPUs, one in this many computes known answers; the others hold patterns.
const KNOWN_ANSWER_ONE_IN: u32 = 4;

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
    let mut machine = machine(&host)?;
    let footprint =
        Footprint::measure(machine.layout, live_heap_bytes).ok_or(SliceError::NoMemory)?;
    let queue = (0..config.vcpus() + config.plain_tasks())
        .map(|number| tenant(&machine, config, number).map(Box::new))
        .collect::<Result<VecDeque<_>, SliceError>>()?;
    machine.queue = Mutex::new(queue);
    preemption::install_handler().map_err(SliceError::Os)?;

    let began = Instant::now();
    let (counts, corruptions) = run_cpus(&machine, config, &mut watch)?;
    let instructions = SwitchInstructions::for_user_mode(host.enumeration());
    Ok(RunReport {
        engine: "native",
        cpu: host.name(),
        components: machine
            .layout
            .components()
            .iter()
            .map(|c| c.to_string())
            .collect(),
        save_instruction: instructions.save().to_string(),
        restore_instruction: instructions.restore().to_string(),
        vcpus: config.vcpus(),
        host_tasks: config.vcpus() + config.plain_tasks(),
        threads: config.threads(),
        seconds: began.elapsed().as_secs_f64(),
        seed: config.seed(),
        inject: config.inject().map(|fault| fault.to_string()),
        counts,
        bytes_per_vcpu: footprint.one_state,
        bytes_per_vcpu_two_buffers: footprint.two_buffers,
        area_len: machine.layout.area_len(),
        corruption_reports: corruptions,
    })
}

/// Also brings the crates' CPU detection to rest, which must not happen inside a guest.
fn check_known_answers() -> Result<(), RunError> {
    match warm_up()
        .into_iter()
        .find(|(_, verdict)| *verdict == Verdict::Wrong)
    {
        Some((answer, _)) => Err(RunError::KnownAnswer { answer }),
        None => Ok(()),
    }
}

fn machine(host: &HostCpu) -> Result<Machine<'_>, RunError> {
    let enumeration = host.enumeration();
    // Tile data needs a permission that no guest here asks for; PKRU is the kernel's to switch.
    let not_ours = ComponentSet::only(Component::Pkru).union(enumeration.xfd_components());
    let instructions = SwitchInstructions::for_user_mode(enumeration);
    let components = host.xcr0().difference(not_ours);
    let layout = Layout::for_instructions(enumeration, instructions, components)?;
    let width = RegisterWidth::of(host.xcr0());
    Ok(Machine {
        enumeration,
        layout,
        identities: &IDENTITIES,
        patterns: Patterns::new(width, host.mxcsr_mask()),
        moves: RegisterMoves::for_width(width).ok_or(HostError::WithoutXsave)?,
        mxcsr_mask: host.mxcsr_mask(),
        kept_elsewhere: ComponentSet::only(Component::Pkru),
        queue: Mutex::new(VecDeque::new()),
        stop: AtomicBool::new(false),
        entries: AtomicU64::new(0),
        corruptions: AtomicU64::new(0),
    })
}

fn tenant<'e>(
    machine: &Machine<'e>,
    config: &RunConfig,
    number: u32,
) -> Result<Tenant<'e>, SliceError> {
    let seed = config.seed() ^ (u64::from(number) << 32 | 0xF5);
    let values = Box::new(TaskValues::new(seed));
    let task = HostTask {
        number,
        thread: ThreadFpu::new(machine.new_state()?),
        values,
    };
    let vcpu = if number < config.vcpus() {
        let kind = if number % KNOWN_ANSWER_ONE_IN == KNOWN_ANSWER_ONE_IN - 1 {
            GuestKind::KnownAnswer
        } else {
            GuestKind::Pattern
        };
        Some(Vcpu::new(
            number,
            kind,
            GuestFpu::new(machine.new_state()?),
            machine.moves,
        )?)
    } else {
        None
    };
    Ok(Tenant {
        task,
        vcpu,
        last_cpu: None,
    })
}

fn run_cpus(
    machine: &Machine<'_>,
    config: &RunConfig,
    watch: &mut impl FnMut(Progress),
) -> Result<(Counts, Vec<Corruption>), RunError> {
    let allowed = allowed_cpus()?;
    thread::scope(|scope| {
        let cpus: Vec<_> = (0..config.threads())
            .map(|number| {
                let index = usize::try_from(number).unwrap_or(0) % allowed.len().max(1);
                let pin = allowed.get(index).copied();
                scope.spawn(move || {
                    let done = run_cpu(machine, config, number, pin);
                    // One CPU that failed stops the others.
                    if done.is_err() {
                        machine.stop.store(true, Ordering::Relaxed);
                    }
                    done
                })
            })
            .collect();
        watch_until_done(machine, config, watch);
        machine.stop.store(true, Ordering::Relaxed);
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

fn watch_until_done(machine: &Machine<'_>, config: &RunConfig, watch: &mut impl FnMut(Progress)) {
    let began = Instant::now();
    while !machine.stop.load(Ordering::Relaxed) {
        let entries = machine.entries.load(Ordering::Relaxed);
        let done = config.length().part_done(began.elapsed(), entries);
        let corruptions = machine.corruptions.load(Ordering::Relaxed);
        watch(Progress {
            done,
            entries,
            corruptions,
        });
        if done >= 1.0 {
            return;
        }
        thread::sleep(
            config
                .length()
                .left_of(began.elapsed())
                .min(PROGRESS_PERIOD),
        );
    }
}

fn run_cpu(
    machine: &Machine<'_>,
    config: &RunConfig,
    number: u32,
    pin: Option<usize>,
) -> Result<(Counts, Vec<Corruption>), RunError> {
    if let Some(cpu) = pin {
        let mut set = CpuSet::new();
        set.set(cpu).map_err(SliceError::Os)?;
        sched_setaffinity(Pid::from_raw(0), &set).map_err(SliceError::Os)?;
    }
    let mut memory = HandOver::new();
    let processor = memory.processor()?;
    let instructions = SwitchInstructions::for_user_mode(machine.enumeration);
    let seed = config.seed() ^ u64::from(number);
    let mut worker = Worker {
        machine,
        cpu: CpuFpu::adopt(processor, number, machine.identities, instructions)
            .map_err(HostError::Processor)?,
        section: None,
        script: Script::default(),
        image: PreemptedImage::with_capacity(frame_len(machine.enumeration)),
        random: fastrand::Rng::with_seed(seed),
        injector: Injector::new(config.inject(), config.fault_odds(), seed),
        counts: Counts::default(),
        corruptions: Vec::new(),
        kernel_values: Box::new(machine.patterns.pattern(seed, u64::MAX)),
    };
    let preemption = Preemption::start().map_err(SliceError::Os)?;
    let done = worker.work();
    drop(preemption);
    done?;
    Ok((worker.counts, worker.corruptions))
}

/// The longest image in a signal frame, and the magic number behind it.
fn frame_len(enumeration: &Enumeration) -> usize {
    usize::try_from(enumeration.standard_len()).unwrap_or(0) + 64
}

fn allowed_cpus() -> Result<Vec<usize>, RunError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(SliceError::Os)?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Why a run did not happen, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This CPU will not do.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The CPU's figures contradict each other.
    #[error("CPUID leaf 0DH: {0}")]
    Layout(#[from] LayoutError),
    /// A known answer is wrong before any guest ran.
    #[error("{answer} computes a wrong answer on this machine before any guest runs")]
    KnownAnswer {
        /// The answer.
        answer: KnownAnswer,
    },
    /// A slice was refused.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// An OS thread panicked.
    #[error("an OS thread that acted as a CPU panicked")]
    CpuPanicked,
}
