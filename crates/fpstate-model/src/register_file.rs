//! The contents of every state component, without any layout (SDM 1, 13.5 and 13.6).

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use fpstate_arch::legacy_region::INITIAL_FCW;
use fpstate_arch::{AbridgedTagWord, Component, ComponentSet, Mxcsr};

/// State component 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X87 {
    /// Control word.
    pub fcw: u16,
    /// Status word.
    pub fsw: u16,
    /// Tag word, one bit per physical register.
    pub ftw: AbridgedTagWord,
    /// Last opcode, 11 bits.
    pub fop: u16,
    /// Last instruction pointer.
    pub fip: u64,
    /// Last data pointer.
    pub fdp: u64,
    /// ST0 to ST7.
    pub st: [[u8; 10]; 8],
}

impl X87 {
    /// The initial configuration (SDM 1, 13.6).
    pub const INITIAL: Self = Self {
        fcw: INITIAL_FCW,
        fsw: 0,
        ftw: AbridgedTagWord::ALL_EMPTY,
        fop: 0,
        fip: 0,
        fdp: 0,
        st: [[0; 10]; 8],
    };

    /// FSW.TOP: the physical register that is ST0.
    const fn top(&self) -> u16 {
        self.fsw.wrapping_shr(11) & 7
    }

    /// FNINIT: everything but the data registers becomes initial. TOP becomes 0, so each data
    /// register, which stays what it is, gets another name.
    pub(crate) fn initialise_control(&mut self) {
        let mut physical = self.st;
        physical.rotate_right(usize::from(self.top()));
        *self = Self {
            st: physical,
            ..Self::INITIAL
        };
    }

    /// FNCLEX: the exception flags, the stack fault and the summary bits.
    pub(crate) const fn clear_exceptions(&mut self) {
        self.fsw &= !CLEARED_BY_FNCLEX;
    }

    /// EMMS, then FILD of 0: one register is in use, the new ST0.
    pub(crate) fn push_zero_on_empty_stack(&mut self) {
        let top = self.top().wrapping_sub(1) & 7;
        self.fsw = self.fsw & !(TOP | C1) | top.wrapping_shl(11);
        self.st.rotate_right(1);
        let [st0, ..] = &mut self.st;
        *st0 = [0; 10];
        self.ftw = AbridgedTagWord::from_bits(1_u8.wrapping_shl(u32::from(top)));
    }

    /// FSW.ES: an exception is pending that FCW does not mask.
    #[must_use]
    pub const fn has_pending_exception(&self) -> bool {
        self.fsw & !self.fcw & EXCEPTIONS != 0
    }

    fn fill(&mut self, generator: &mut impl FnMut() -> u64) {
        let [control, status, tags, opcode, ..] = generator().to_le_bytes();
        let [rounding, conditions, opcode_high, ..] = generator().to_le_bytes();
        // Every value here is one that the CPU could have put there itself: reserved bits as they
        // always read, no exception flag that FCW does not mask (so ES and B are 0), an 11-bit
        // opcode and canonical pointers. Anything else changes on its way through an area.
        self.fcw = u16::from_le_bytes([control & 0x3f | 0x40, rounding & 0x1f]);
        self.fsw = u16::from_le_bytes([status & control & 0x3f, conditions & 0x7f]);
        self.ftw = AbridgedTagWord::from_bits(tags);
        self.fop = u16::from_le_bytes([opcode, opcode_high & 0x07]);
        self.fip = generator() & LOWER_CANONICAL_HALF;
        self.fdp = generator() & LOWER_CANONICAL_HALF;
        fill_bytes(self.st.as_flattened_mut(), generator);
    }
}

/// The six exception flags of FSW and, at the same places, the six masks of FCW.
pub(crate) const EXCEPTIONS: u16 = 0x3f;
/// Of FSW.
const CLEARED_BY_FNCLEX: u16 = 0x80ff;
const TOP: u16 = 0x3800;
const C1: u16 = 0x0200;
const LOWER_CANONICAL_HALF: u64 = 0x7fff_ffff_ffff;

/// State component 1, and MXCSR, which XSAVE stores with it but does not count to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sse {
    /// Control and status.
    pub mxcsr: Mxcsr,
    /// XMM0 to XMM15.
    pub xmm: [[u8; 16]; 16],
}

impl Sse {
    /// The initial configuration, and MXCSR after RESET.
    pub const INITIAL: Self = Self {
        mxcsr: Mxcsr::INITIAL,
        xmm: [[0; 16]; 16],
    };
}

/// What the registers of a processor hold: x87 and SSE by field, every other component as the
/// bytes that an area would hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterFile {
    /// State component 0.
    pub x87: X87,
    /// State component 1 and MXCSR.
    pub sse: Sse,
    extended: BTreeMap<Component, Vec<u8>>,
}

impl RegisterFile {
    /// All components in their initial configuration; `lengths` are those beyond the legacy ones.
    pub(crate) fn initial(lengths: impl Iterator<Item = (Component, usize)>) -> Self {
        Self {
            x87: X87::INITIAL,
            sse: Sse::INITIAL,
            extended: lengths
                .map(|(component, len)| (component, initial_configuration(component, len)))
                .collect(),
        }
    }

    /// The components that have registers.
    #[must_use]
    pub fn components(&self) -> ComponentSet {
        self.extended
            .keys()
            .copied()
            .fold(ComponentSet::LEGACY, ComponentSet::with)
    }

    /// The bytes of a component beyond x87 and SSE, which are fields. `None` for those two and for
    /// what the CPU lacks.
    #[must_use]
    pub fn component(&self, component: Component) -> Option<&[u8]> {
        self.extended.get(&component).map(Vec::as_slice)
    }

    /// As [`component`](Self::component), to write. On a register file taken out of a CPU this
    /// changes only the copy: to act as user code does, use
    /// [`ModelCpu::registers_mut`](crate::ModelCpu::registers_mut).
    pub fn component_mut(&mut self, component: Component) -> Option<&mut [u8]> {
        self.extended.get_mut(&component).map(Vec::as_mut_slice)
    }

    /// Puts `components` into their initial configuration. MXCSR is not part of SSE's (SDM 1,
    /// 13.6) and stays.
    pub fn initialise(&mut self, components: ComponentSet) {
        if components.contains(Component::X87) {
            self.x87 = X87::INITIAL;
        }
        if components.contains(Component::Sse) {
            self.sse.xmm = Sse::INITIAL.xmm;
        }
        for (component, bytes) in &mut self.extended {
            if components.contains(*component) {
                *bytes = initial_configuration(*component, bytes.len());
            }
        }
    }

    /// Whether `component` is in its initial configuration; so is one that has no registers.
    #[must_use]
    pub fn is_initial(&self, component: Component) -> bool {
        if component == Component::X87 {
            self.x87 == X87::INITIAL
        } else if component == Component::Sse {
            self.sse.xmm == Sse::INITIAL.xmm
        } else {
            self.component(component)
                .is_none_or(|bytes| *bytes == *initial_configuration(component, bytes.len()))
        }
    }

    /// Fills `components` with values from `generator`; SSE includes MXCSR. The values survive a
    /// save and a restore unchanged on every processor, so reserved bits are left as they always
    /// read.
    pub fn fill(&mut self, components: ComponentSet, mut generator: impl FnMut() -> u64) {
        if components.contains(Component::X87) {
            self.x87.fill(&mut generator);
        }
        if components.contains(Component::Sse) {
            let [a, b, c, d, ..] = generator().to_le_bytes();
            let mxcsr = u32::from_le_bytes([a, b, c, d]) & Mxcsr::DEFAULT_MASK;
            self.sse.mxcsr = Mxcsr::from_bits(mxcsr);
            fill_bytes(self.sse.xmm.as_flattened_mut(), &mut generator);
        }
        for (component, bytes) in &mut self.extended {
            if components.contains(*component) {
                fill_bytes(bytes, &mut generator);
            }
        }
    }
}

/// The bytes of an extended component in its initial configuration (SDM 1, 13.6).
pub(crate) fn initial_configuration(component: Component, len: usize) -> Vec<u8> {
    let first: u64 = match component {
        // IA32_PM_CTL1 = 1: hardware duty cycling allowed.
        Component::Hdc => 1,
        // IA32_HWP_REQUEST.
        Component::Hwp => 0x8000_ff01,
        Component::X87
        | Component::Sse
        | Component::Avx
        | Component::BndRegs
        | Component::BndCsr
        | Component::Opmask
        | Component::ZmmHi256
        | Component::Hi16Zmm
        | Component::Pt
        | Component::Pkru
        | Component::Pasid
        | Component::CetU
        | Component::CetS
        | Component::Uintr
        | Component::Lbr
        | Component::TileConfig
        | Component::TileData
        | Component::Apx
        | Component::Unnamed(_) => 0,
    };
    let mut bytes = vec![0; len];
    for (to, from) in bytes.iter_mut().zip(first.to_le_bytes()) {
        *to = from;
    }
    bytes
}

fn fill_bytes(bytes: &mut [u8], generator: &mut impl FnMut() -> u64) {
    for chunk in bytes.chunks_mut(8) {
        for (to, from) in chunk.iter_mut().zip(generator().to_le_bytes()) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpus::generator;

    fn registers() -> RegisterFile {
        RegisterFile::initial([(Component::Avx, 256), (Component::Hwp, 8)].into_iter())
    }

    #[test]
    fn initial_configurations_are_those_of_the_manual() {
        let registers = registers();
        // SDM 1, 13.6: FCW 037FH; IA32_HWP_REQUEST 8000FF01H, IA32_PM_CTL1 1; the rest is zero.
        assert_eq!(registers.x87.fcw, 0x037f);
        assert_eq!(
            registers.component(Component::Hwp).unwrap(),
            [0x01, 0xff, 0, 0x80, 0, 0, 0, 0]
        );
        assert_eq!(initial_configuration(Component::Hdc, 8)[0], 1);
        assert_eq!(registers.component(Component::Avx).unwrap(), [0; 256]);
    }

    #[test]
    fn filling_touches_the_named_components_and_initialising_undoes_it() {
        let mut registers = registers();
        registers.fill(ComponentSet::LEGACY, generator(5));
        assert!(!registers.is_initial(Component::X87) && !registers.is_initial(Component::Sse));
        assert!(registers.is_initial(Component::Avx));
        let mxcsr = registers.sse.mxcsr;
        registers.initialise(ComponentSet::LEGACY);
        assert_eq!(registers.sse.mxcsr, mxcsr); // not part of SSE's: SDM 1, 13.6
        registers.sse.mxcsr = Mxcsr::INITIAL;
        assert_eq!(registers, self::registers());
    }

    #[test]
    fn x87_and_sse_are_fields_and_not_bytes() {
        assert_eq!(registers().component(Component::X87), None);
        assert_eq!(registers().component(Component::Sse), None);
        assert_eq!(registers().components().bits(), 1 | 2 | 4 | 1 << 16);
    }
}
