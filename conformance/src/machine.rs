//! What all CPUs of one machine have in common.

use fpstate::{
    BoxedArea, BringUpError, ControlRegisters, CpuFpu, Fpstate, Identities, Layout, LifeError,
    Offer, RegisterMoves, SwitchInstructions, ThreadFpu,
};
use fpstate_arch::{
    Component, ComponentSet, Enumeration, Format, Instruction, Processor, Xcr0, Xfd, Xss,
};

use crate::contents::Contents;
use crate::cpus::{CET, RecordedCpu};
use crate::generators::ErrorPointers;

/// How a machine's CPUs become a [`CpuFpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// As a kernel does, in ring 0.
    BringUp(ControlRegisters),
    /// As a process does, at CPL 3.
    Adopt,
}

/// The CPUs of a machine are of one kind and enable the same components (invariant I49). States and
/// CPUs of two machines never meet.
#[derive(Debug)]
pub struct Machine {
    /// What the CPUs enumerate.
    pub enumeration: Enumeration,
    /// Whether the x87 error pointers outlive a switch.
    pub error_pointers: ErrorPointers,
    instructions: SwitchInstructions,
    components: ComponentSet,
    start: Start,
    identities: Identities,
}

impl Machine {
    /// A kernel's machine of `cpu`s: all user components enabled, but not APX beside MPX, and CET
    /// where there is XSAVES; IA32_XFD disables what it can.
    ///
    /// # Panics
    /// If the recorded figures are not those of a CPU.
    #[must_use]
    pub fn ring0(cpu: &RecordedCpu) -> Self {
        let enumeration = cpu.enumeration();
        let mut user = enumeration.user_components();
        if user.intersects(ComponentSet::MPX) {
            user = user.without(Component::Apx);
        }
        let xcr0 = if enumeration.has(Instruction::Xsave) {
            Xcr0::new(user, user).expect("a legal XCR0")
        } else {
            Xcr0::AFTER_RESET
        };
        let xss = enumeration.supervisor_components().intersection(CET);
        let xss = Xss::new(xss, xss).expect("a legal IA32_XSS");
        Self::ring0_with(cpu, xcr0, xss)
    }

    /// A kernel's machine of `cpu`s that enables less, or more; IA32_XFD disables what it can.
    /// Without SSE in XCR0 nobody's code uses it.
    ///
    /// # Panics
    /// If the recorded figures are not those of a CPU.
    #[must_use]
    pub fn ring0_with(cpu: &RecordedCpu, xcr0: Xcr0, xss: Xss) -> Self {
        let enumeration = cpu.enumeration();
        let instructions = SwitchInstructions::for_ring0(&enumeration);
        let user = match instructions.save().format() {
            Format::Fxsave => ComponentSet::LEGACY,
            Format::Standard | Format::Compacted => xcr0.components(),
        };
        let xfd = enumeration.xfd_components();
        let xfd = Xfd::new(xfd, xfd).expect("a legal IA32_XFD");
        let components = user.union(xss.components()).without(Component::Pkru);
        Self {
            error_pointers: cpu.error_pointers(),
            enumeration,
            instructions,
            components,
            start: Start::BringUp(ControlRegisters { xcr0, xss, xfd }),
            identities: Identities::new(),
        }
    }

    /// A kernel's machine of `cpu`s that enables what the library offers.
    #[must_use]
    pub fn offered(cpu: &RecordedCpu) -> Self {
        Self::offered_of(cpu, ComponentSet::from_bits(u64::MAX))
    }

    /// The same where only `visible` is offered.
    #[must_use]
    pub fn offered_of(cpu: &RecordedCpu, visible: ComponentSet) -> Self {
        let enumeration = cpu.enumeration();
        let offer = Offer::limited_to(&enumeration, visible);
        let components = offer
            .default_components()
            .union(offer.guest_only())
            .union(offer.on_demand());
        Self {
            error_pointers: cpu.error_pointers(),
            instructions: offer.instructions(),
            components,
            start: Start::BringUp(offer.control_registers()),
            identities: Identities::new(),
            enumeration,
        }
    }

    /// The same machine, whose CPUs switch with `instructions`.
    #[must_use]
    pub fn switching_with(self, instructions: SwitchInstructions) -> Self {
        Self {
            instructions,
            ..self
        }
    }

    /// A process's machine: `components` are what its processor hands over.
    #[must_use]
    pub fn user_mode(enumeration: Enumeration, components: ComponentSet) -> Self {
        Self {
            error_pointers: ErrorPointers::OnlyWithException,
            instructions: SwitchInstructions::for_user_mode(&enumeration),
            enumeration,
            components,
            start: Start::Adopt,
            identities: Identities::new(),
        }
    }

    /// The same machine, whose CPUs try register moves or do not.
    #[must_use]
    pub const fn with_moves(mut self, moves: RegisterMoves) -> Self {
        self.instructions = self.instructions.with_moves(moves);
        self
    }

    /// What its CPUs switch with.
    #[must_use]
    pub const fn instructions(&self) -> SwitchInstructions {
        self.instructions
    }

    /// The components that threads and guests use.
    #[must_use]
    pub const fn components(&self) -> ComponentSet {
        self.components
    }

    /// The fewest components that a state may have room for: all but those that its IA32_XFD
    /// disables instead.
    #[must_use]
    pub fn least_components(&self) -> ComponentSet {
        if self.instructions.has_xfd() {
            self.components
                .difference(self.enumeration.xfd_components())
        } else {
            self.components
        }
    }

    /// Those of them that IA32_XFD can disable.
    #[must_use]
    pub fn on_demand_components(&self) -> ComponentSet {
        self.components.difference(self.least_components())
    }

    /// Those of them that a standard-format image can hold.
    #[must_use]
    pub fn user_components(&self) -> ComponentSet {
        self.components
            .difference(self.enumeration.supervisor_components())
    }

    /// Where its states and CPUs get their identities.
    #[must_use]
    pub const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Starts CPU `number`.
    ///
    /// # Errors
    /// The processor's fault.
    pub fn start<P: Processor>(
        &self,
        processor: P,
        number: u32,
    ) -> Result<CpuFpu<P>, BringUpError> {
        let (identities, instructions) = (&self.identities, self.instructions);
        match self.start {
            Start::BringUp(registers) => {
                CpuFpu::bring_up(processor, number, identities, instructions, registers)
            }
            Start::Adopt => CpuFpu::adopt(processor, number, identities, instructions)
                .map_err(BringUpError::Fault),
        }
    }

    /// A processor of this machine on which nothing is disabled, for finding out what an area holds.
    ///
    /// # Panics
    /// If the processor refuses to start.
    #[must_use]
    pub fn reader<P: Processor>(&self, processor: P) -> P {
        let cpu = self.start(processor, u32::MAX).expect("the CPU starts");
        let mut processor = cpu.into_processor();
        if self.instructions.has_xfd() {
            processor.write_xfd(Xfd::NOTHING).expect("IA32_XFD");
        }
        processor
    }

    /// The layout of a state with room for `components`.
    ///
    /// # Panics
    /// If the machine has no such layout.
    #[must_use]
    pub fn layout(&self, components: ComponentSet) -> Layout<'_> {
        Layout::for_instructions(&self.enumeration, self.instructions, components)
            .expect("the machine's own components")
    }

    /// Memory for any state of this machine.
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn memory(&self) -> BoxedArea {
        BoxedArea::for_layout(&self.layout(self.components)).expect("memory")
    }

    /// A state with room for `components`, in `memory`.
    ///
    /// # Panics
    /// If the memory does not do.
    #[must_use]
    pub fn state(&self, components: ComponentSet, memory: BoxedArea) -> Fpstate<'_, BoxedArea> {
        Fpstate::new(self.layout(components), memory, &self.identities)
            .expect("memory of this machine")
    }

    /// `thread` starts a new program; gives the memory back that it had grown into.
    ///
    /// # Errors
    /// The library's refusal.
    pub fn exec<'e>(
        &'e self,
        thread: &mut ThreadFpu<'e, BoxedArea>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<Option<BoxedArea>, LifeError> {
        match thread.exec(cpu) {
            Err(LifeError::Grown { .. }) => thread
                .exec_and_release(cpu, self.memory())
                .map(Some)
                .map_err(|(error, _)| error),
            executed => executed.map(|()| None),
        }
    }

    /// The initial configuration of what threads and guests use.
    #[must_use]
    pub fn initial_contents(&self) -> Contents {
        Contents::initial(&self.enumeration, self.components)
    }

    /// What XCOMP_BV of a state with `components` must always be (invariant I17).
    #[must_use]
    pub const fn xcomp_bv(&self, components: ComponentSet) -> Option<u64> {
        match self.instructions.save().format() {
            Format::Fxsave => None,
            Format::Standard => Some(0),
            Format::Compacted => Some(components.bits() | 1 << 63),
        }
    }
}
