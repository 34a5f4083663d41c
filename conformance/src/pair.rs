//! One thread and one guest, for the tests of single behaviours.

use fastrand::Rng;
use fpstate::{BoxedArea, CpuFpu, Fpstate, GuestFpu, SwitchError, ThreadFpu};
use fpstate_arch::ComponentSet;
use fpstate_model::ModelCpu;

use crate::contents::Contents;
use crate::cpus::RecordedCpu;
use crate::faulting::Faulting;
use crate::machine::Machine;
use crate::traced::Traced;
use crate::user_code::UserCode;

/// A processor in software whose instructions are recorded and can be made to fault.
pub type Observed = Traced<Faulting<ModelCpu>>;

/// A thread and a guest on a machine, and values for them.
#[derive(Debug)]
pub struct Pair<'e> {
    /// The machine.
    pub machine: &'e Machine,
    /// Nothing in it yet.
    pub thread: ThreadFpu<'e, BoxedArea>,
    /// Nothing in it yet.
    pub guest: GuestFpu<'e, BoxedArea>,
    random: Rng,
}

impl<'e> Pair<'e> {
    /// Both in the initial configuration, with room for everything.
    #[must_use]
    pub fn new(machine: &'e Machine) -> Self {
        let everything = machine.components();
        let state = || machine.state(everything, machine.memory());
        Self {
            thread: ThreadFpu::new(state()),
            guest: GuestFpu::new(state()),
            machine,
            random: Rng::with_seed(1),
        }
    }

    /// A new state with room for everything.
    #[must_use]
    pub fn new_state(&self) -> Fpstate<'e, BoxedArea> {
        self.new_state_for(self.machine.components())
    }

    /// A new state with room for `components`.
    #[must_use]
    pub fn new_state_for(&self, components: ComponentSet) -> Fpstate<'e, BoxedArea> {
        let memory = self.machine.memory();
        self.machine.state(components, memory)
    }

    /// A new state in `memory`.
    #[must_use]
    pub fn new_state_in(&self, memory: BoxedArea) -> Fpstate<'e, BoxedArea> {
        let everything = self.machine.components();
        self.machine.state(everything, memory)
    }

    /// Values for every component, unlike any before.
    pub fn new_values(&mut self) -> Contents {
        self.new_values_for(self.machine.components())
    }

    /// Values for `components`, unlike any before; the others are initial.
    pub fn new_values_for(&mut self, components: ComponentSet) -> Contents {
        let mut values = self.machine.initial_contents();
        while values.not_initial() != components {
            values.write_all(components, &mut self.random, self.machine.error_pointers);
        }
        values
    }

    /// The thread, or its guest, uses the registers: they are restored if need be, and every
    /// component gets a new value, which is returned.
    ///
    /// # Errors
    /// The library's refusal.
    pub fn use_registers<P: UserCode>(
        &mut self,
        cpu: &mut CpuFpu<P>,
    ) -> Result<Contents, SwitchError> {
        let _ = self.thread.restore_before_use(cpu)?;
        let values = self.new_values();
        write(cpu, &values);
        Ok(values)
    }

    /// The guest runs once on `cpu` and leaves these values behind; the thread's registers are
    /// restored after it.
    ///
    /// # Panics
    /// If the library refuses.
    pub fn run_guest<P: UserCode>(&mut self, cpu: &mut CpuFpu<P>) -> Contents {
        let now = fpstate::Restoring::Now;
        self.thread
            .enter_guest(&mut self.guest, cpu, now)
            .expect("entry");
        let values = self.use_registers(cpu).expect("the guest's registers");
        self.thread
            .leave_guest(&mut self.guest, cpu, now)
            .expect("leaving");
        values
    }
}

/// User code writes every register.
pub fn write<P: UserCode>(cpu: &mut CpuFpu<P>, values: &Contents) {
    cpu.processor().write_all(values.components(), values);
}

/// What user code would see on `cpu` now.
#[must_use]
pub fn visible<P: UserCode>(cpu: &mut CpuFpu<P>, machine: &Machine) -> Contents {
    cpu.processor().contents(machine.components())
}

/// What `state`, which is in memory, would be in the registers of a CPU of its own.
///
/// # Panics
/// If the CPU refuses it.
#[must_use]
pub fn in_memory(
    kind: &RecordedCpu,
    machine: &Machine,
    state: &Fpstate<'_, BoxedArea>,
) -> Contents {
    let mut processor = machine.reader(kind.model());
    let area = state.in_memory().expect("a state in memory");
    let restore = machine.instructions().restore();
    restore
        .execute(&mut processor, area.bytes(), machine.components())
        .expect("an image that can be restored");
    processor.contents(machine.components())
}

/// CPU `number` of a machine of `kind`s, started; nothing recorded yet.
///
/// # Panics
/// If it refuses to start.
#[must_use]
pub fn observed(kind: &RecordedCpu, machine: &Machine, number: u32) -> CpuFpu<Observed> {
    let processor = Traced::new(Faulting::new(kind.model()));
    let mut cpu = machine.start(processor, number).expect("the CPU starts");
    cpu.processor().take_trace();
    cpu
}

/// The bytes of the area of the state that `thread` uses now.
pub fn active_area<'a>(thread: &'a mut ThreadFpu<'_, BoxedArea>) -> &'a mut [u8] {
    let (own, guest) = thread.areas();
    guest.unwrap_or(own)
}
