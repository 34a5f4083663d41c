//! CPUs, threads, guests; how a world is copied.

use fpstate::{CpuFpu, Expansion, Fpstate, Grantee, GuestFpu, ThreadFpu};
use fpstate_arch::{ComponentSet, Processor};
use fpstate_model::ModelCpu;

use super::action::Action;
use super::piece::Piece;
use super::reference::{Expected, GuestRegisters};
use super::scope::{Boot, Negligence, Offered, Role, Scope};
use super::search::Explored;
use super::small_cpu::{HOST_PKRU, Machine, TILE_DATA};
use super::witness::Witness;

/// A small kernel and all that it runs.
#[derive(Debug)]
pub struct World<'e> {
    pub(super) machine: &'e Machine<'e>,
    pub(super) scope: Scope,
    pub(super) negligence: Negligence,
    pub(super) cpus: Vec<Cpu>,
    pub(super) threads: Vec<Option<Thread<'e>>>,
    pub(super) guests: Vec<Guest<'e>>,
    /// Memory that is not lent; the last is lent first.
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
    /// The guest it runs.
    pub(super) guest: Option<usize>,
    /// On-demand components that its process was granted.
    pub(super) granted: ComponentSet,
    /// What it needs memory for.
    pub(super) pending: Option<Expansion<'e>>,
}

#[derive(Debug)]
pub(super) struct Guest<'e> {
    pub(super) fpu: GuestFpu<'e, Piece>,
    pub(super) expected: Expected,
    pub(super) registers: GuestRegisters,
    pub(super) pending: Option<Expansion<'e>>,
}

/// Whose state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Thread(usize),
    Guest(usize),
}

/// What a step finds wrong.
pub(super) type Step = Result<(), String>;

impl<'e> World<'e> {
    /// The world of `scope` at its beginning.
    ///
    /// # Panics
    /// If the library refuses to begin.
    #[must_use]
    pub fn new(machine: &'e Machine<'e>, scope: Scope, negligence: Negligence) -> Self {
        let pieces = u8::try_from(scope.pieces()).expect("few pieces");
        let mut world = Self {
            machine,
            scope,
            negligence,
            cpus: Vec::new(),
            threads: Vec::new(),
            guests: Vec::new(),
            free: (0..pieces).map(Piece::new).collect(),
        };
        for number in 0..scope.cpus {
            let fpu = Some(world.bring_up(number));
            let (current, mode) = (None, Mode::Kernel);
            world.cpus.push(Cpu { fpu, current, mode });
        }
        for role in scope.threads {
            let thread = (*role != Role::Unborn).then(|| world.new_thread(*role));
            world.threads.push(thread);
        }
        for offered in scope.guests {
            let guest = world.new_guest(*offered);
            world.guests.push(guest);
        }
        world.overwrite_what_is_dead();
        world
    }

    fn new_thread(&mut self, role: Role) -> Thread<'e> {
        let piece = self.free.pop().expect("memory");
        let granted = match role {
            Role::Tiles | Role::VcpuTiles => TILE_DATA,
            Role::Plain | Role::Vcpu | Role::Unborn => ComponentSet::EMPTY,
        };
        let fpu = ThreadFpu::new(self.machine.state(Grantee::Threads, piece));
        Thread::new(fpu, Expected::INITIAL, granted)
    }

    pub(super) fn new_guest(&mut self, offered: Offered) -> Guest<'e> {
        let piece = self.free.pop().expect("memory");
        let features = match offered {
            Offered::WithoutTiles | Offered::Confidential => self.machine.without_tiles,
            Offered::Tiles => self.machine.with_tiles,
        };
        let fpu = GuestFpu::offered(self.machine.state(Grantee::Guests, piece), features);
        let mut fpu = fpu.expect("a state with room");
        let mut registers = GuestRegisters::after_reset(features);
        fpu.set_pkru(registers.pkru);
        if self.scope.boot == Boot::Everything {
            registers.xcr0 = features.user();
            registers.xss = features.supervisor();
            fpu.write_xcr0(registers.xcr0).expect("a legal XCR0");
            fpu.write_xss(registers.xss).expect("a legal IA32_XSS");
        }
        if offered == Offered::Confidential {
            fpu.seal().expect("a guest that does not run");
        }
        Guest {
            fpu,
            expected: Expected::INITIAL,
            registers,
            pending: None,
        }
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
    fn copy(&self) -> Self {
        let threads = self
            .threads
            .iter()
            .map(|t| t.as_ref().map(Thread::duplicate));
        let mut copy = Self {
            cpus: self.cpus.iter().map(Cpu::duplicate).collect(),
            threads: threads.collect(),
            guests: self.guests.iter().map(Guest::duplicate).collect(),
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
        threads
            .filter_map(|(slot, thread)| thread.as_ref().map(|_| Whose::Thread(slot)))
            .chain((0..self.guests.len()).map(Whose::Guest))
    }

    pub(super) fn thread(&self, slot: usize) -> &Thread<'e> {
        self.threads[slot].as_ref().expect("a thread")
    }

    pub(super) fn thread_mut(&mut self, slot: usize) -> &mut Thread<'e> {
        self.threads[slot].as_mut().expect("a thread")
    }

    pub(super) fn state(&self, whose: Whose) -> &Fpstate<'e, Piece> {
        match whose {
            Whose::Thread(slot) => self.thread(slot).fpu.own(),
            Whose::Guest(slot) => match self.guests[slot].fpu.fpstate() {
                Some(state) => state,
                None => self.running(slot).expect("its thread").fpu.active(),
            },
        }
    }

    /// The thread that runs a guest.
    pub(super) fn running(&self, guest: usize) -> Option<&Thread<'e>> {
        let mut threads = self.threads.iter().flatten();
        threads.find(|thread| thread.guest == Some(guest))
    }

    pub(super) fn expected(&self, whose: Whose) -> &Expected {
        match whose {
            Whose::Thread(slot) => &self.thread(slot).expected,
            Whose::Guest(slot) => &self.guests[slot].expected,
        }
    }

    pub(super) fn expected_mut(&mut self, whose: Whose) -> &mut Expected {
        match whose {
            Whose::Thread(slot) => &mut self.thread_mut(slot).expected,
            Whose::Guest(slot) => &mut self.guests[slot].expected,
        }
    }

    /// Whose state is the active one of the current thread of `cpu`.
    pub(super) fn active_on(&self, cpu: usize) -> Whose {
        let slot = self.current(cpu);
        match self.thread(slot).guest {
            None => Whose::Thread(slot),
            Some(guest) => Whose::Guest(guest),
        }
    }

    pub(super) fn current(&self, cpu: usize) -> usize {
        self.cpus[cpu].current.expect("a current thread")
    }

    /// The guest that the current thread of `cpu` runs.
    pub(super) fn guest_on(&self, cpu: usize) -> Option<usize> {
        self.thread(self.cpus[cpu].current?).guest
    }
}

impl<'e> Thread<'e> {
    pub(super) const fn new(
        fpu: ThreadFpu<'e, Piece>,
        expected: Expected,
        granted: ComponentSet,
    ) -> Self {
        Self {
            fpu,
            expected,
            on_cpu: None,
            guest: None,
            granted,
            pending: None,
        }
    }

    fn duplicate(&self) -> Self {
        let fpu = self.fpu.duplicate();
        Self { fpu, ..*self }
    }
}

impl Guest<'_> {
    fn duplicate(&self) -> Self {
        let fpu = self.fpu.duplicate();
        Self { fpu, ..*self }
    }
}

impl Cpu {
    fn duplicate(&self) -> Self {
        let fpu = self.fpu.as_ref().map(CpuFpu::duplicate);
        Self { fpu, ..*self }
    }
}

impl Explored for World<'_> {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        self.enabled()
    }

    fn duplicate(&self) -> Self {
        self.copy()
    }

    fn advance(&mut self, action: Action) -> Result<(), String> {
        self.perform(action)?;
        self.check()?;
        self.overwrite_what_is_dead();
        Ok(())
    }

    fn fingerprint(&self) -> u128 {
        self.canonical_hash()
    }
}
