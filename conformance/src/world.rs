//! The world: a small kernel on the library, and a reference that knows only what was written.
//!
//! K CPUs, some threads and guests. [`World::run`] takes random steps: user code writes registers,
//! threads are switched, migrated, forked and ended, guests are entered and left, the kernel and the
//! hardware use the registers, states are edited in memory. The reference has one value per state
//! and component, changed when a thread or guest writes and by nothing else. After every step each
//! thread that may run user code must see its own values and only those in *all* registers, every
//! state in memory must load as the reference has it, and the bookkeeping must be in accord with
//! itself (invariants I1-I3, I6, I7, I9, I16-I18, I24-I28).
//!
//! Nothing here comes from the library's own arithmetic: registers are read as user code reads
//! them, and what an area holds is found by restoring it on a CPU of its own.
//!
//! * [`Event`] - what can happen
//! * `steps` - what user code, the scheduler and the hypervisor do
//! * `misuse` - what must be refused
//! * `lives` - creation, fork, exec, exit
//! * `edits` - edits of states in memory, images that take the place of a save
//! * `checks` - what must hold after every step

mod events;
mod steps;
mod misuse;
mod lives;
mod edits;
mod checks;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use fastrand::Rng;
use fpstate::{BoxedArea, CpuFpu, Fpstate, GuestFpu, Residence, StateId, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Mxcsr};

pub use events::Event;

use crate::contents::Contents;
use crate::machine::Machine;
use crate::user_code::UserCode;

const MOST_THREADS: usize = 6;
const GUESTS: usize = 3;
const REMEMBERED_STEPS: usize = 24;

/// What the kernel of a world does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negligence {
    /// Nothing.
    None,
    /// It uses registers without saying so (breaks I5).
    ClobbersInSilence,
    /// It returns to user code and enters guests without `restore_before_use` (breaks I9).
    ForgetsToRestore,
    /// It hands over an image instead of saving and then lets the hardware save once more.
    EditsBehindTheLibrary,
}

/// The small kernel.
#[derive(Debug)]
pub struct World<'e, P> {
    machine: &'e Machine,
    cpus: Vec<Cpu<P>>,
    /// A CPU that nobody runs on: it finds out what areas hold.
    reader: P,
    threads: Vec<Option<Thread<'e>>>,
    guests: Vec<Option<Guest<'e>>>,
    /// Memory of states that ended; used again first.
    freed: Vec<BoxedArea>,
    reference: BTreeMap<StateId, Contents>,
    /// What the areas of sealed states held when they began.
    sealed: BTreeMap<StateId, Vec<u8>>,
    random: Rng,
    negligence: Negligence,
    disturbance: Option<fn(&mut P, &mut Rng)>,
    history: VecDeque<String>,
    tally: BTreeMap<Event, u64>,
}

#[derive(Debug)]
struct Cpu<P> {
    fpu: CpuFpu<P>,
    /// The thread that runs here.
    current: Option<usize>,
    mode: Mode,
    /// PKRU and what is not enabled: never changed by a switch (invariant I32).
    unswitched: Contents,
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
    fpu: ThreadFpu<'e, BoxedArea>,
    guest: Option<usize>,
    on_cpu: Option<usize>,
    last_cpu: Option<usize>,
}

#[derive(Debug)]
struct Guest<'e> {
    fpu: GuestFpu<'e, BoxedArea>,
}

/// What went wrong, and the steps that led there.
#[derive(Debug)]
pub struct Discrepancy {
    what: String,
    history: Vec<String>,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "the last steps:")?;
        self.history
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl std::error::Error for Discrepancy {}

/// What a step finds wrong; the history is added where the step was chosen.
type Step = Result<(), String>;

impl<'e, P: UserCode> World<'e, P> {
    /// A world on `processors`, the last of which only reads areas.
    ///
    /// # Panics
    /// With fewer than two processors, or if one refuses to start.
    #[must_use]
    pub fn new(machine: &'e Machine, processors: Vec<P>, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut processors = processors;
        let reader = machine.reader(processors.pop().expect("a processor"));
        let cpus: Vec<_> = (0..)
            .zip(processors)
            .map(|(number, processor)| start(machine, processor, number, &mut random))
            .collect();
        assert!(!cpus.is_empty(), "a second processor");
        let mut world = Self {
            machine,
            cpus,
            reader,
            threads: (0..MOST_THREADS).map(|_| None).collect(),
            guests: (0..GUESTS).map(|_| None).collect(),
            freed: Vec::new(),
            reference: BTreeMap::new(),
            sealed: BTreeMap::new(),
            random,
            negligence: Negligence::None,
            disturbance: None,
            history: VecDeque::new(),
            tally: BTreeMap::new(),
        };
        for slot in 0..GUESTS {
            world.new_guest(slot);
        }
        for slot in 0..MOST_THREADS / 2 {
            world.new_thread(slot);
        }
        world
    }

    /// The same world with a kernel that does something wrong.
    #[must_use]
    pub fn with_negligence(self, negligence: Negligence) -> Self {
        Self { negligence, ..self }
    }

    /// The same world with something done to every CPU before each step. Instructions may fault in
    /// such a world; what is asked for is then simply not done.
    #[must_use]
    pub fn with_disturbance(self, disturbance: fn(&mut P, &mut Rng)) -> Self {
        Self {
            disturbance: Some(disturbance),
            ..self
        }
    }

    /// Takes `steps` random steps.
    ///
    /// # Errors
    /// The first [`Discrepancy`].
    pub fn run(&mut self, steps: usize) -> Result<(), Discrepancy> {
        for number in 0..steps {
            let cpu = self.random.usize(0..self.cpus.len());
            if let Some(disturbance) = self.disturbance {
                disturbance(self.cpus[cpu].fpu.processor(), &mut self.random);
            }
            let found = self.step(cpu).and_then(|()| self.check());
            if let Err(what) = found {
                let what = format!("step {number} on CPU {cpu}: {what}");
                let history = self.history.drain(..).collect();
                return Err(Discrepancy { what, history });
            }
        }
        Ok(())
    }

    /// How often `event` happened.
    #[must_use]
    pub fn count_of(&self, event: Event) -> u64 {
        self.tally.get(&event).copied().unwrap_or(0)
    }

    fn count(&mut self, event: Event) {
        *self.tally.entry(event).or_default() += 1;
    }

    /// Notes a step for the history.
    fn tell(&mut self, step: fmt::Arguments<'_>) {
        if self.history.len() == REMEMBERED_STEPS {
            self.history.pop_front();
        }
        self.history.push_back(step.to_string());
    }

    /// The thread in a slot that is known to be taken.
    fn thread(&self, slot: usize) -> &Thread<'e> {
        self.threads[slot].as_ref().expect("a thread")
    }

    /// A slot of `slots` for which `wanted` holds.
    fn any_slot(&mut self, slots: usize, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..slots).filter(|&slot| wanted(self, slot)).collect();
        self.random.choice(found)
    }

    /// Every state there is.
    fn states(&self) -> impl Iterator<Item = &Fpstate<'e, BoxedArea>> {
        states_of(&self.threads, &self.guests)
    }

    /// Components for a new state: mostly all; sometimes those that XFD can disable have no room.
    fn some_components(&mut self) -> ComponentSet {
        match self.random.u8(0..3) {
            0 => self.machine.least_components(),
            _ => self.machine.components(),
        }
    }

    fn memory(&mut self) -> BoxedArea {
        match self.freed.pop() {
            Some(memory) => {
                self.count(Event::MemoryUsedAgain);
                memory
            }
            None => self.machine.memory(),
        }
    }
}

/// The active states of threads, the parked ones, and those of guests that do not run.
fn states_of<'w, 'e>(
    threads: &'w [Option<Thread<'e>>],
    guests: &'w [Option<Guest<'e>>],
) -> impl Iterator<Item = &'w Fpstate<'e, BoxedArea>> {
    let parked = threads.iter().flatten().filter(|t| t.guest.is_some());
    let guests = guests.iter().flatten();
    threads
        .iter()
        .flatten()
        .map(|t| t.fpu.active())
        .chain(parked.map(|t| t.fpu.own()))
        .chain(guests.filter_map(|g| g.fpu.fpstate()))
}

fn start<P: UserCode>(
    machine: &Machine,
    mut processor: P,
    number: u32,
    random: &mut Rng,
) -> Cpu<P> {
    let unswitched = processor.components().difference(machine.components());
    let mut values = processor.contents(unswitched);
    for component in unswitched.iter() {
        values.write(component, random, machine.error_pointers);
        processor.write(component, &values);
    }
    let mut fpu = machine.start(processor, number).expect("the CPU starts");
    Cpu {
        unswitched: contents_of(fpu.processor(), unswitched),
        fpu,
        current: None,
        mode: Mode::Kernel,
    }
}

/// What the registers of `components` hold, and of no others: x87 and SSE, which every [`Contents`]
/// has, are initial there if they are not among them.
fn contents_of<P: UserCode>(processor: &mut P, components: ComponentSet) -> Contents {
    let mut contents = processor.contents(components);
    contents.initialise(ComponentSet::LEGACY.difference(components));
    if !components.contains(Component::Sse) {
        contents.set_mxcsr(Mxcsr::INITIAL);
    }
    contents
}

/// Whether the hardware keeps the state.
fn is_sealed(state: &Fpstate<'_, BoxedArea>) -> bool {
    state.residence() == Residence::Sealed
}
