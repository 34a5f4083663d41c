//! The growth world: a small kernel whose states grow on demand, out of memory that may run out.
//!
//! It is a [`world`](crate::world) of CPUs of any kind, most of all of those with AMX, brought up with [`Offer::for_ring0`]. User code
//! and guests execute real instructions of the model; a #NM goes the way it goes in a kernel:
//! [`device_not_available`](fpstate::device_not_available), or the exit of a VM entry, says what the
//! state needs, and some time later, here or on another CPU, memory is lent, or there is none.
//! Guests and their VMM write XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR and PKRU in any order.
//!
//! All memory is one lender's: what is lent and not returned must be what live states lie in, at
//! every step. The reference has one value per state and component, each guest's registers and each
//! process's grants. After every step they are held against CPUs, areas and bookkeeping (invariants
//! I1-I3, I6, I7, I10-I14, I16, I17, I19-I21, I23-I26, I29, I30, I37, I39, I40, I42, I44).
//!
//! Tile data is as certain as the architecture makes it. A guest that disables its own loses it at the
//! next save; disabled by the VMM while the guest does not run, it is lost at the next load. In
//! between it may be its own or initial, and never anybody else's.
//!
//! * `lender` - the allocator
//! * `hardware` - processors
//! * `kind` - what such a processor has
//! * `program` - instructions of user code and guests
//! * `reference` - what should be
//! * [`GrowthEvent`] - what can happen
//! * [`Action`] - what is done
//! * `schedule` - which comes next
//! * `touched` - what the check after it looks at
//! * [`Totals`] - what memory went through
//! * `threads` - user code, #NM, growth and release
//! * `scheduling` - switches, kernel sections, idle, sleep, hotplug
//! * `signals` - frames and handlers
//! * `misuse` - what must be refused
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
mod kind;
mod program;
mod reference;
mod events;
mod actions;
mod schedule;
mod touched;
mod totals;
mod threads;
mod scheduling;
mod signals;
mod misuse;
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

pub use actions::{Action, ActionError, Deed, Performed};
pub use events::GrowthEvent;
pub use hardware::Hardware;
pub use lender::Failing;
pub use totals::Totals;

use crate::contents::Contents;
use hardware::Watched;
use kind::Kind;
use lender::{Lender, Lent};
use reference::{Expected, GuestReference, Process};
use signals::Frame;
use touched::Touched;

const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
const REMEMBERED_STEPS: usize = 24;

/// How many there may be at a time. Three quarters of the threads and all guests are there from the
/// beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Threads.
    pub threads: usize,
    /// Guests.
    pub guests: usize,
}

impl Room {
    /// The small world: most of what can happen happens to the same few.
    pub const SMALL: Self = Self {
        threads: 4,
        guests: 3,
    };
}

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
    kind: Kind,
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
    /// Chooses actions.
    schedule: Rng,
    /// Of the action that is done.
    random: Rng,
    /// What that action had to do with.
    touched: Touched,
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
    /// While a signal's handler runs.
    frame: Option<Frame>,
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
        Self::with_room(Room::SMALL, offer, processors, seed, failing)
    }

    /// The same with room for more threads and guests, or fewer.
    ///
    /// # Panics
    /// With fewer than two processors, one thread and one guest, or if a processor refuses to start.
    #[must_use]
    pub fn with_room(
        room: Room,
        offer: Offer<'e>,
        processors: Vec<P>,
        seed: u64,
        failing: Failing,
    ) -> Self {
        let mut random = Rng::with_seed(seed);
        let identities = Identities::new();
        let mut processors = processors;
        let mut reader = processors.pop().expect("a processor");
        let pristine = reader.model().clone();
        let all = offer.default_components().union(offer.on_demand());
        let all = all.union(offer.guest_only());
        let kind = Kind::of(&offer, &pristine);
        let reader = start(&kind, &offer, &identities, reader, u32::MAX, Pkru::INITIAL);
        let mut reader = reader.fpu.into_processor().into_inner();
        if kind.has_xfd() {
            reader.write_xfd(Xfd::NOTHING).expect("IA32_XFD");
        }
        let mut world = Self {
            all,
            initial: Contents::initial(offer.enumeration(), all),
            cpus: (0..)
                .zip(processors)
                .map(|(number, processor)| {
                    let pkru = Pkru::from_bits(random.u32(..));
                    start(&kind, &offer, &identities, processor, number, pkru)
                })
                .collect(),
            offer,
            kind,
            identities,
            reader,
            pristine,
            threads: (0..room.threads).map(|_| None).collect(),
            guests: (0..room.guests).map(|_| None).collect(),
            processes: Vec::new(),
            lender: Lender::new(failing, random.fork()),
            expected: BTreeMap::new(),
            schedule: random.fork(),
            random,
            touched: Touched::default(),
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
        self.end().map_err(|what| self.report(steps, 0, &what))
    }

    fn run_steps(&mut self, steps: usize) -> Result<(), String> {
        for number in 0..steps {
            let action = self.choose();
            let found = self.perform(action).and_then(|_| self.check());
            found.map_err(|what| self.report(number, action.cpu, &what))?;
        }
        Ok(())
    }

    fn report(&mut self, number: usize, cpu: u16, what: &str) -> String {
        let history: Vec<_> = self.history.drain(..).collect();
        let history = history.join("\n  ");
        format!("step {number} on CPU {cpu}: {what}\nthe last steps:\n  {history}")
    }

    /// How often `event` happened.
    #[must_use]
    pub fn count_of(&self, event: GrowthEvent) -> u64 {
        self.tally.get(&event).copied().unwrap_or(0)
    }

    /// How many states there are.
    #[must_use]
    pub fn states(&self) -> usize {
        self.threads.iter().flatten().count() + self.guests.iter().flatten().count()
    }

    /// What the last actions did.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.history.iter().cloned().collect()
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
    kind: &Kind,
    offer: &Offer<'_>,
    identities: &Identities,
    mut processor: P,
    number: u32,
    pkru: Pkru,
) -> Cpu<P> {
    processor.model().set_cr4_pke(Pke::Set);
    let (instructions, registers) = (offer.instructions(), offer.control_registers());
    let processor = Watched::new(processor);
    let fpu = CpuFpu::bring_up(processor, number, identities, instructions, registers);
    let mut fpu = fpu.expect("the CPU starts");
    kind.write_pkru(fpu.processor(), pkru);
    Cpu {
        fpu,
        current: None,
        mode: Mode::Kernel,
        pkru,
    }
}
