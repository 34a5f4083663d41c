//! The CPUs that an input chooses from.

use std::sync::LazyLock;

use fpstate::Layout;
use fpstate_arch::{ComponentSet, Enumeration, Instruction, Processor, Xcr0, Xss};
use fpstate_model::{ModelCpu, Profile};

use super::input::Input;
use crate::cpus::{self, RecordedCpu};

/// A CPU, read once.
#[derive(Debug)]
pub(super) struct Cpu {
    pub(super) kind: RecordedCpu,
    pub(super) enumeration: Enumeration,
    /// What XSETBV takes.
    pub(super) xcr0s: Vec<Xcr0>,
    /// What IA32_XSS takes.
    pub(super) xsss: Vec<Xss>,
    /// As after RESET.
    model: ModelCpu,
}

/// All profiles, and three that have less.
static CPUS: LazyLock<Vec<Cpu>> = LazyLock::new(|| {
    let less = [
        cpus::FXSAVE_ONLY,
        cpus::XSAVE_ONLY,
        cpus::GENOA_WITHOUT_XSAVES,
    ];
    let profiles = Profile::ALL.iter().copied().map(RecordedCpu::of);
    profiles.chain(less).map(Cpu::new).collect()
});

impl Cpu {
    fn new(kind: RecordedCpu) -> Self {
        let enumeration = kind.enumeration();
        Self {
            kind,
            xcr0s: cpus::legal_xcr0s(&enumeration),
            xsss: cpus::legal_xsss(&enumeration),
            model: kind.model(),
            enumeration,
        }
    }

    /// One of them.
    pub(super) fn chosen(input: &mut Input<'_>) -> &'static Self {
        input.choose(&CPUS)
    }

    /// One with XSAVE.
    pub(super) fn chosen_with_xsave(input: &mut Input<'_>) -> &'static Self {
        let cpu = Self::chosen(input);
        if cpu.has_xsave() { cpu } else { &CPUS[0] }
    }

    /// One of the three recorded ones with AMX and IA32_XFD.
    pub(super) fn with_amx(input: &mut Input<'_>) -> &'static Self {
        let wanted = *input.choose(&[
            Profile::SAPPHIRE_RAPIDS,
            Profile::GRANITE_RAPIDS,
            Profile::EMERALD_RAPIDS,
        ]);
        let found = CPUS.iter().find(|cpu| cpu.kind.name == wanted.name());
        found.expect("a profile")
    }

    pub(super) fn has_xsave(&self) -> bool {
        self.enumeration.has(Instruction::Xsave)
    }

    pub(super) fn has_compacted(&self) -> bool {
        self.enumeration.has(Instruction::Xsavec)
    }

    pub(super) fn has_xsaves(&self) -> bool {
        self.enumeration.has(Instruction::Xsaves)
    }

    pub(super) const fn mxcsr_mask(&self) -> u32 {
        self.model.vendor_differences().mxcsr_mask
    }

    /// A legal XCR0; x87 and SSE without XSAVE.
    pub(super) fn user_room(&self, input: &mut Input<'_>) -> ComponentSet {
        if !self.has_xsave() {
            return ComponentSet::LEGACY;
        }
        // The largest is the simplest.
        let index = usize::from(input.byte()) % self.xcr0s.len();
        self.xcr0s[self.xcr0s.len() - 1 - index].components()
    }

    /// A legal IA32_XSS; nothing without XSAVES.
    pub(super) fn supervisor_room(&self, input: &mut Input<'_>) -> ComponentSet {
        let index = usize::from(input.byte());
        if self.has_xsaves() {
            self.xsss[index % self.xsss.len()].components()
        } else {
            ComponentSet::EMPTY
        }
    }

    /// The standard format, or FXSAVE's where there is no XSAVE.
    pub(super) fn image_layout(&self, room: ComponentSet) -> Layout<'_> {
        if self.has_xsave() {
            Layout::standard(&self.enumeration, room).expect("a legal XCR0")
        } else {
            Layout::fxsave(&self.enumeration).expect("FXSAVE")
        }
    }

    /// The compacted format, or the other where there is none.
    pub(super) fn kernels_layout(&self, room: ComponentSet) -> Layout<'_> {
        if self.has_compacted() {
            Layout::compacted(&self.enumeration, room).expect("a legal XCR0 and IA32_XSS")
        } else {
            self.image_layout(room.intersection(self.enumeration.user_components()))
        }
    }

    /// In software, with `room` enabled and something else in every register; `None` if no XCR0 has
    /// all of `room`.
    pub(super) fn with_enabled(&self, room: ComponentSet) -> Option<ModelCpu> {
        let mut model = self.model.clone();
        let user = room.intersection(self.enumeration.user_components());
        if self.has_xsave() {
            let enough = |xcr0: &&Xcr0| xcr0.components().contains_all(user);
            model
                .xsetbv(*self.xcr0s.iter().find(enough)?)
                .expect("a legal XCR0");
        }
        if self.has_xsaves() {
            let supervisor = room.intersection(self.enumeration.supervisor_components());
            let xss = Xss::new(supervisor, supervisor).expect("a legal IA32_XSS");
            model.write_xss(xss).expect("IA32_XSS");
        }
        let everything = model.registers().components();
        model
            .registers_mut()
            .fill(everything, || 0x5a5a_a5a5_1234_8765);
        Some(model)
    }
}
