//! The growth world: a small kernel whose states grow on demand, out of memory that may run out.
//!
//! It is a [`world`](crate::world) of CPUs with AMX, brought up with [`Offer::for_ring0`]. User code
//! and guests execute real instructions of the model; a #NM goes the way it goes in a kernel:
//! [`device_not_available`](fpstate::device_not_available), or the exit of a VM entry, says what the
//! state needs, and some time later, here or on another CPU, memory is lent, or there is none.
//! Guests and their VMM write XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR and PKRU in any order.
//!
//! All memory is one lender's: what is lent and not returned must be what live states lie in, at
//! every step. The reference has one value per state and component, each guest's registers and each
//! process's grants. After every step they are held against CPUs, areas and bookkeeping (invariants
//! I1-I3, I6, I7, I10-I14, I16, I17, I19-I21, I23-I26, I29, I30, I39, I40, I42, I44).
//!
//! Tile data is as certain as the architecture makes it. A guest that disables its own loses it at the
//! next save; disabled by the VMM while the guest does not run, it is lost at the next load. In
//! between it may be its own or initial, and never anybody else's.
//!
//! * `lender` - the allocator
//! * `hardware` - processors
//! * `program` - instructions of user code and guests
//! * `reference` - what should be
//! * [`GrowthEvent`] - what can happen
//! * [`Totals`] - what memory went through
//! * `threads` - user code, #NM, growth and release
//! * `scheduling` - switches, kernel sections, idle, sleep, hotplug
//! * `guests` - entering and leaving, growth outside a run
//! * `guest_code` - what a guest does between VM entry and exit
//! * `guest_run` - a VM entry and what comes of it
//! * `vmm` - the VMM writes a guest's registers and image
//! * `lives` - creation, permissions, fork, exec, exit
//! * `areas` - the bytes of states
//! * `checks` - what must hold after every step
//! * `chosen` - steps that someone else chooses

mod lender;
mod hardware;
mod program;
mod reference;
mod events;
mod totals;
mod threads;
mod scheduling;
mod guests;
mod guest_code;
mod guest_run;
mod vmm;
mod lives;
mod areas;
mod checks;
mod chosen;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use fastrand::Rng;
use fpstate::{CpuFpu, Expansion, GuestFpu, Identities, Offer, StateId, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Pkru, Xfd};
use fpstate_model::{ModelCpu, Pke};

pub use events::GrowthEvent;
pub use hardware::Hardware;
pub use lender::Failing;
pub use totals::Totals;

use crate::contents::Contents;
use hardware::Watched;
use lender::{Lender, Lent};
use reference::{Expected, GuestReference, Process};

const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
const THREADS: usize = 4;
const GUESTS: usize = 3;
const REMEMBERED_STEPS: usize = 24;

/// What the kernel of a world does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthNegligence {
    /// Nothing.
    None,
    /// It forgets the memory that a state has grown out of (Linux's hazard H3).
    LosesFormerMemory,
    /// It gives that memory back twice.
    ReturnsFormerMemoryTwice,
    /// Its growth forgets supervisor state.
    ForgetsSupervisorState,
    /// It answers #NM by enabling the component, without memory.
    EnablesWithoutRoom,
    /// It never asks what a process was granted.
    GrowsWithoutPermission,
    /// It keeps an expansion for the next program.
    KeepsExpansionAtExec,
    /// It wakes a CPU and writes none of its registers (hazard H4).
    WakesWithoutResume,
}

/// The small kernel.
#[derive(Debug)]
pub struct GrowthWorld<'e, P> {
    offer: Offer<'e>,
    identities: Identities,
    /// Every component that some state has.
    all: ComponentSet,
    initial: Contents,
    cpus: Vec<Cpu<P>>,
    /// A CPU that nobody runs on: it finds out what areas hold.
    reader: P,
    /// As a CPU is after RESET.
    pristine: ModelCpu,
    threads: Vec<Option<Thread<'e>>>,
    guests: Vec<Option<Guest<'e>>>,
    processes: Vec<Process>,
    lender: Lender,
    expected: BTreeMap<StateId, Expected>,
    random: Rng,
    negligence: GrowthNegligence,
    history: VecDeque<String>,
    tally: BTreeMap<GrowthEvent, u64>,
}

#[derive(Debug)]
struct Cpu<P> {
    fpu: CpuFpu<Watched<P>>,
    current: Option<usize>,
    mode: Mode,
    /// The host's PKRU.
    pkru: Pkru,
}

/// What may happen next on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The kernel runs: the registers need not be the current thread's.
    Kernel,
    /// The current thread's code, or its guest's, runs.
    User,
}

#[derive(Debug)]
struct Thread<'e> {
    fpu: ThreadFpu<'e, Lent>,
    process: usize,
    /// The guest it runs.
    guest: Option<usize>,
    on_cpu: Option<usize>,
    last_cpu: Option<usize>,
    /// What it needs memory for.
    pending: Option<Expansion<'e>>,
}

#[derive(Debug)]
struct Guest<'e> {
    fpu: GuestFpu<'e, Lent>,
    reference: GuestReference,
    process: usize,
    /// What it needs memory for.
    pending: Option<Expansion<'e>>,
}

/// What a step finds wrong; the history is added where the step was chosen.
type Step = Result<(), String>;

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// A world on `processors`, which are as after RESET; the last only reads areas.
    ///
    /// # Panics
    /// With fewer than two processors, or if one refuses to start.
    #[must_use]
    pub fn new(offer: Offer<'e>, processors: Vec<P>, seed: u64, failing: Failing) -> Self {
        let mut random = Rng::with_seed(seed);
        let identities = Identities::new();
        let mut processors = processors;
        let mut reader = processors.pop().expect("a processor");
        let pristine = reader.model().clone();
        let all = offer.default_components().union(offer.on_demand());
        let all = all.union(offer.guest_only());
        let reader = start(&offer, &identities, reader, u32::MAX, Pkru::INITIAL);
        let mut reader = reader.fpu.into_processor().into_inner();
        reader.write_xfd(Xfd::NOTHING).expect("IA32_XFD");
        let mut world = Self {
            all,
            initial: Contents::initial(offer.enumeration(), all),
            cpus: (0..)
                .zip(processors)
                .map(|(number, processor)| {
                    let pkru = Pkru::from_bits(random.u32(..));
                    start(&offer, &identities, processor, number, pkru)
                })
                .collect(),
            offer,
            identities,
            reader,
            pristine,
            threads: (0..THREADS).map(|_| None).collect(),
            guests: (0..GUESTS).map(|_| None).collect(),
            processes: Vec::new(),
            lender: Lender::new(failing, random.fork()),
            expected: BTreeMap::new(),
            random,
            negligence: GrowthNegligence::None,
            history: VecDeque::new(),
            tally: BTreeMap::new(),
        };
        assert!(!world.cpus.is_empty(), "a second processor");
        world.begin();
        world
    }

    /// The same world with a kernel that does something wrong.
    #[must_use]
    pub fn with_negligence(self, negligence: GrowthNegligence) -> Self {
        Self { negligence, ..self }
    }

    /// Takes `steps` random steps, and then ends every thread and guest.
    ///
    /// # Errors
    /// What is wrong, and the steps that led there.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        self.run_steps(steps)?;
        let ended = self.end().and_then(|()| self.check());
        ended.map_err(|what| self.report(steps, 0, &what))
    }

    fn run_steps(&mut self, steps: usize) -> Result<(), String> {
        for number in 0..steps {
            let cpu = self.random.usize(0..self.cpus.len());
            let found = self.step(cpu).and_then(|()| self.check());
            found.map_err(|what| self.report(number, cpu, &what))?;
        }
        Ok(())
    }

    fn report(&mut self, number: usize, cpu: usize, what: &str) -> String {
        let history: Vec<_> = self.history.drain(..).collect();
        let history = history.join("\n  ");
        format!("step {number} on CPU {cpu}: {what}\nthe last steps:\n  {history}")
    }

    /// One random step on `cpu`.
    fn step(&mut self, cpu: usize) -> Step {
        let dice = self.random.u8(0..100);
        let Some(thread) = self.cpus[cpu].current else {
            return match dice {
                0..50 => self.schedule(cpu),
                50..56 => self.kernel_section(cpu),
                56..66 => self.idle(cpu),
                66..70 => self.sleep(cpu),
                70..73 => self.restart(cpu),
                73..76 => self.create(),
                76..84 => self.grow_idle_guest(),
                84..86 => self.release_guest(),
                86..90 => self.grow_a_waiting_thread(cpu),
                _ => self.vmm(),
            };
        };
        let in_guest = self.thread(thread).guest.is_some();
        match dice {
            0..10 => self.switch_away(cpu, thread),
            10..18 if in_guest => self.leave_guest(cpu, thread),
            18..58 if in_guest => self.run_guest(cpu, thread),
            10..22 => self.enter_guest(cpu, thread),
            22..58 => self.user_code(cpu, thread),
            58..72 => self.grow(cpu, thread),
            72..77 => self.kernel_section(cpu),
            77..80 => self.release_thread(cpu, thread),
            80..83 => self.request(cpu, thread),
            83..86 => self.fork(cpu, thread),
            86 => self.exec(cpu, thread),
            87 => self.exit(cpu, thread),
            88..90 => self.release_guest(),
            90..94 => self.vmm(),
            94..96 => self.release_guest(),
            96 if self.random.bool() => self.grow_idle_guest(),
            96 => self.grow_a_waiting_thread(cpu),
            97 => self.init_running_guest(cpu, thread),
            _ => self.misuse(cpu, thread),
        }
    }

    /// How often `event` happened.
    #[must_use]
    pub fn count_of(&self, event: GrowthEvent) -> u64 {
        self.tally.get(&event).copied().unwrap_or(0)
    }

    fn count(&mut self, event: GrowthEvent) {
        *self.tally.entry(event).or_default() += 1;
    }

    /// Notes a step for the history.
    fn tell(&mut self, step: fmt::Arguments<'_>) {
        if self.history.len() == REMEMBERED_STEPS {
            self.history.pop_front();
        }
        self.history.push_back(step.to_string());
    }

    fn thread(&self, slot: usize) -> &Thread<'e> {
        self.threads[slot].as_ref().expect("a thread")
    }

    /// A slot of `slots` for which `wanted` holds.
    fn any_slot(&mut self, slots: usize, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..slots).filter(|&slot| wanted(self, slot)).collect();
        self.random.choice(found)
    }

    fn expected(&mut self, id: StateId) -> &mut Expected {
        self.expected.get_mut(&id).expect("a reference")
    }

    /// The memory that a state had before.
    fn take_back_former(&mut self, former: Lent) -> Step {
        match self.negligence {
            GrowthNegligence::LosesFormerMemory => {
                drop(former);
                Ok(())
            }
            GrowthNegligence::ReturnsFormerMemoryTwice => self.lender.take_back_twice(former),
            GrowthNegligence::None
            | GrowthNegligence::ForgetsSupervisorState
            | GrowthNegligence::EnablesWithoutRoom
            | GrowthNegligence::GrowsWithoutPermission
            | GrowthNegligence::KeepsExpansionAtExec
            | GrowthNegligence::WakesWithoutResume => self.lender.take_back(former),
        }
    }
}

fn start<P: Hardware>(
    offer: &Offer<'_>,
    identities: &Identities,
    mut processor: P,
    number: u32,
    pkru: Pkru,
) -> Cpu<P> {
    processor.model().set_cr4_pke(Pke::Set);
    processor.wrpkru(pkru).expect("PKRU");
    let (instructions, registers) = (offer.instructions(), offer.control_registers());
    let processor = Watched::new(processor);
    let fpu = CpuFpu::bring_up(processor, number, identities, instructions, registers);
    Cpu {
        fpu: fpu.expect("the CPU starts"),
        current: None,
        mode: Mode::Kernel,
        pkru,
    }
}
