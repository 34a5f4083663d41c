//! CPUs, threads, guests; how a world is copied.

use fpstate::{CpuFpu, Fpstate, ThreadFpu};
use fpstate_arch::Processor;
use fpstate_model::ModelCpu;

use super::action::Action;
use super::piece::Piece;
use super::reference::Expected;
use super::scope::{Negligence, Scope};
use super::search::Explored;
use super::small_cpu::{HOST_PKRU, Machine};
use super::values::{ALL, INITIAL, TORN, Values, value};
use super::witness::Witness;

/// A small kernel and all that it runs.
#[derive(Debug)]
pub struct World<'e> {
    pub(super) machine: &'e Machine<'e>,
    pub(super) scope: Scope,
    pub(super) negligence: Negligence,
    pub(super) cpus: Vec<Cpu>,
    pub(super) threads: Vec<Option<Thread<'e>>>,
    /// Memory that is not lent.
    pub(super) free: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Cpu {
    /// `None` while it is offline.
    pub(super) fpu: Option<CpuFpu<Witness<ModelCpu>>>,
    pub(super) current: Option<usize>,
    pub(super) mode: Mode,
}

/// What may happen next on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The kernel runs: the registers need not be the current thread's.
    Kernel,
    /// The current thread's code, or its guest's, may run.
    User,
}

#[derive(Debug)]
pub(super) struct Thread<'e> {
    pub(super) fpu: ThreadFpu<'e, Piece>,
    pub(super) expected: Expected,
    pub(super) on_cpu: Option<usize>,
}

/// Whose state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Thread(usize),
}

/// What a step finds wrong.
pub(super) type Step = Result<(), String>;

impl<'e> World<'e> {
    /// The world of `scope` at its beginning.
    #[must_use]
    pub fn new(machine: &'e Machine<'e>, scope: Scope, negligence: Negligence) -> Self {
        let states = u8::try_from(scope.threads.len()).expect("few states");
        let mut pieces = (0..states).map(Piece::new);
        let mut thread = || Thread {
            fpu: ThreadFpu::new(machine.state(pieces.next().expect("a piece"))),
            expected: Expected::INITIAL,
            on_cpu: None,
        };
        let threads = scope.threads.iter().map(|_| Some(thread())).collect();
        let mut world = Self {
            machine,
            scope,
            negligence,
            cpus: Vec::new(),
            threads,
            free: pieces.collect(),
        };
        for number in 0..scope.cpus {
            let fpu = Some(world.bring_up(number));
            let (current, mode) = (None, Mode::Kernel);
            world.cpus.push(Cpu { fpu, current, mode });
        }
        world
    }

    pub(super) fn bring_up(&self, number: usize) -> CpuFpu<Witness<ModelCpu>> {
        let number = u32::try_from(number).expect("few CPUs");
        let offer = &self.machine.offer;
        let mut processor = Witness::new(self.machine.pristine.clone());
        processor.wrpkru(HOST_PKRU).expect("protection keys");
        let (identities, instructions) = (self.machine.identities, offer.instructions());
        let registers = offer.control_registers();
        CpuFpu::bring_up(processor, number, identities, instructions, registers)
            .expect("a CPU like the others")
    }

    /// A copy in which every area lies elsewhere, and each processor knows where.
    fn duplicate(&self) -> Self {
        let duplicate_thread = |thread: &Thread<'e>| Thread {
            fpu: thread.fpu.duplicate(),
            ..*thread
        };
        let duplicate_cpu = |cpu: &Cpu| Cpu {
            fpu: cpu.fpu.as_ref().map(CpuFpu::duplicate),
            ..*cpu
        };
        let threads = self.threads.iter();
        let mut copy = Self {
            cpus: self.cpus.iter().map(duplicate_cpu).collect(),
            threads: threads.map(|t| t.as_ref().map(duplicate_thread)).collect(),
            free: self.free.clone(),
            ..*self
        };
        for cpu in 0..self.cpus.len() {
            let Some((address, _)) = self.restored_from(cpu) else {
                continue;
            };
            let index = self.pieces().position(|piece| piece.address() == address);
            let index = index.expect("no restore is from other memory");
            let address = copy.pieces().nth(index).expect("as many").address();
            if let Some(fpu) = &mut copy.cpus[cpu].fpu {
                fpu.processor().inner.relocate_restored_area(address);
            }
        }
        copy
    }

    /// XRSTOR_INFO of `cpu`.
    pub(super) fn restored_from(&self, cpu: usize) -> Option<(usize, u64)> {
        let fpu = self.cpus[cpu].fpu.as_ref()?;
        fpu.observed().inner.tracked().restored_from
    }

    /// All memory there is, that of states first.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.everybody()
            .map(|whose| self.state(whose).storage())
            .chain(&self.free)
    }

    /// Whose states there are.
    pub(super) fn everybody(&self) -> impl Iterator<Item = Whose> {
        let threads = self.threads.iter().enumerate();
        threads.filter_map(|(slot, thread)| thread.as_ref().map(|_| Whose::Thread(slot)))
    }

    pub(super) fn thread(&self, slot: usize) -> &Thread<'e> {
        self.threads[slot].as_ref().expect("a thread")
    }

    pub(super) fn state(&self, whose: Whose) -> &Fpstate<'e, Piece> {
        match whose {
            Whose::Thread(slot) => self.thread(slot).fpu.own(),
        }
    }

    pub(super) fn expected(&self, whose: Whose) -> &Expected {
        match whose {
            Whose::Thread(slot) => &self.thread(slot).expected,
        }
    }

    pub(super) fn expected_mut(&mut self, whose: Whose) -> &mut Expected {
        match whose {
            Whose::Thread(slot) => &mut self.threads[slot].as_mut().expect("a thread").expected,
        }
    }

    /// Whose state is the active one of the thread in `slot`.
    pub(super) fn active(&self, slot: usize) -> Whose {
        Whose::Thread(slot)
    }

    /// What the registers of `cpu` hold; nothing while it is offline.
    pub(super) fn registers(&self, cpu: usize) -> Values {
        self.cpus[cpu].fpu.as_ref().map_or([INITIAL; 5], |fpu| {
            let registers = fpu.observed().inner.registers();
            self.machine.alphabet.in_registers(registers)
        })
    }

    /// What the area of `whose` holds, live or stale.
    pub(super) fn area(&self, whose: Whose) -> Values {
        let state = self.state(whose);
        let area = fpstate::AreaStorage::bytes(state.storage());
        self.machine.alphabet.in_area(area, |component| {
            let place = self.machine.place(component)?;
            state.components().contains(component).then_some(place)
        })
    }

    /// A value that nothing holds: no copy of a value of `whose`, however old, can be taken for the one
    /// that it writes now.
    pub(super) fn fresh(&self, whose: Whose) -> u8 {
        let owner = match whose {
            Whose::Thread(slot) => slot + 1,
        };
        let owner = u8::try_from(owner).expect("few states");
        let mut letters = 0_u16;
        let mut see = |values: Values| {
            for held in values {
                if held >> 4 == owner && held != TORN {
                    letters |= 1 << (held & 0xf);
                }
            }
        };
        (0..self.cpus.len()).for_each(|cpu| see(self.registers(cpu)));
        for other in self.everybody() {
            see(self.area(other));
            see(self.expected(other).values);
        }
        let letter = (1..15).find(|letter| letters & 1 << letter == 0);
        value(owner, letter.expect("more letters than copies"))
    }

    /// Writes every register of a processor.
    pub(super) fn scribble(&mut self, cpu: usize, value: u8) {
        let machine = self.machine;
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        machine
            .alphabet
            .write(&mut fpu.processor().inner, ALL, value);
    }
}

impl Explored for World<'_> {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        self.enabled()
    }

    fn after(&self, action: Action) -> Result<Self, String> {
        let mut next = self.duplicate();
        next.perform(action)?;
        next.check()?;
        Ok(next)
    }

    fn fingerprint(&self) -> u128 {
        self.canonical_hash()
    }
}
