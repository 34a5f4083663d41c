//! State components and state-component bitmaps (SDM 1, 13.1).

use core::fmt;

/// One state component of the XSAVE feature set, by the name the manuals give it.
///
/// The list is complete for SDM 1, table 13-1 and the APX specification; every other number below
/// 63 is an [`Unnamed`](Component::Unnamed) component, kept as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// 0: the x87 FPU, and the MMX registers that alias it.
    X87,
    /// 1: XMM0 to XMM15; MXCSR is stored with it.
    Sse,
    /// 2: bits 255:128 of YMM0 to YMM15.
    Avx,
    /// 3: MPX bounds registers.
    BndRegs,
    /// 4: MPX configuration and status, BNDCFGU and BNDSTATUS.
    BndCsr,
    /// 5: AVX-512 opmask registers K0 to K7.
    Opmask,
    /// 6: bits 511:256 of ZMM0 to ZMM15.
    ZmmHi256,
    /// 7: ZMM16 to ZMM31, whole.
    Hi16Zmm,
    /// 8: Processor Trace MSRs; supervisor.
    Pt,
    /// 9: the protection-key rights register of user pages.
    Pkru,
    /// 10: `IA32_PASID`; supervisor.
    Pasid,
    /// 11: user-mode control-flow enforcement, `IA32_U_CET` and `IA32_PL3_SSP`; supervisor.
    CetU,
    /// 12: supervisor-mode shadow-stack pointers, `IA32_PL0_SSP` to `IA32_PL2_SSP`; supervisor.
    CetS,
    /// 13: hardware duty cycling; supervisor.
    Hdc,
    /// 14: user interrupts; supervisor.
    Uintr,
    /// 15: last-branch records; supervisor.
    Lbr,
    /// 16: hardware P-states; supervisor.
    Hwp,
    /// 17: the AMX tile configuration, TILECFG.
    TileConfig,
    /// 18: the AMX tiles, TILEDATA.
    TileData,
    /// 19: the extended general-purpose registers R16 to R31.
    Apx,
    /// A number that neither manual names.
    Unnamed(UnnamedComponent),
}

/// The number of a component that has no name here; only [`Component::from_number`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnnamedComponent(u8);

impl Component {
    /// The component with this number, or `None` above 62: bit 63 of a bitmap never names a
    /// component (it is reserved in XCR0 and marks the compacted format in XCOMP_BV).
    #[must_use]
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::X87,
            1 => Self::Sse,
            2 => Self::Avx,
            3 => Self::BndRegs,
            4 => Self::BndCsr,
            5 => Self::Opmask,
            6 => Self::ZmmHi256,
            7 => Self::Hi16Zmm,
            8 => Self::Pt,
            9 => Self::Pkru,
            10 => Self::Pasid,
            11 => Self::CetU,
            12 => Self::CetS,
            13 => Self::Hdc,
            14 => Self::Uintr,
            15 => Self::Lbr,
            16 => Self::Hwp,
            17 => Self::TileConfig,
            18 => Self::TileData,
            19 => Self::Apx,
            20..=62 => Self::Unnamed(UnnamedComponent(number)),
            63..=u8::MAX => return None,
        })
    }

    /// The component's number, 0 to 62: its bit in every bitmap and its sub-leaf of CPUID leaf 0DH.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u8 {
        match self {
            Self::X87 => 0,
            Self::Sse => 1,
            Self::Avx => 2,
            Self::BndRegs => 3,
            Self::BndCsr => 4,
            Self::Opmask => 5,
            Self::ZmmHi256 => 6,
            Self::Hi16Zmm => 7,
            Self::Pt => 8,
            Self::Pkru => 9,
            Self::Pasid => 10,
            Self::CetU => 11,
            Self::CetS => 12,
            Self::Hdc => 13,
            Self::Uintr => 14,
            Self::Lbr => 15,
            Self::Hwp => 16,
            Self::TileConfig => 17,
            Self::TileData => 18,
            Self::Apx => 19,
            Self::Unnamed(UnnamedComponent(number)) => number,
        }
    }

    /// Whether the component lives in the legacy region, whatever the area's format.
    #[must_use]
    #[inline]
    pub const fn is_legacy(self) -> bool {
        ComponentSet::LEGACY.contains(self)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::X87 => "x87",
            Self::Sse => "SSE",
            Self::Avx => "AVX",
            Self::BndRegs => "BNDREGS",
            Self::BndCsr => "BNDCSR",
            Self::Opmask => "opmask",
            Self::ZmmHi256 => "ZMM_Hi256",
            Self::Hi16Zmm => "Hi16_ZMM",
            Self::Pt => "PT",
            Self::Pkru => "PKRU",
            Self::Pasid => "PASID",
            Self::CetU => "CET_U",
            Self::CetS => "CET_S",
            Self::Hdc => "HDC",
            Self::Uintr => "UINTR",
            Self::Lbr => "LBR",
            Self::Hwp => "HWP",
            Self::TileConfig => "XTILECFG",
            Self::TileData => "XTILEDATA",
            Self::Apx => "APX",
            Self::Unnamed(UnnamedComponent(number)) => return write!(f, "component {number}"),
        };
        f.pad(name)
    }
}

/// A state-component bitmap: the form of XCR0, IA32_XSS, XSTATE_BV, RFBM and XINUSE.
///
/// Any 64 bits are a valid value; whether they are allowed somewhere is decided where they are used
/// ([`Xcr0`](crate::Xcr0), a layout, an image), so a foreign bitmap can always be held and shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ComponentSet(u64);

impl ComponentSet {
    /// No component.
    pub const EMPTY: Self = Self(0);
    /// x87 and SSE: what the legacy region holds and FXSAVE covers.
    pub const LEGACY: Self = Self::EMPTY.with(Component::X87).with(Component::Sse);
    /// MPX: both or neither.
    pub const MPX: Self = Self::EMPTY.with(Component::BndRegs).with(Component::BndCsr);
    /// AVX-512: all three or none.
    pub const AVX512: Self = Self::EMPTY
        .with(Component::Opmask)
        .with(Component::ZmmHi256)
        .with(Component::Hi16Zmm);
    /// AMX: both or neither.
    pub const TILES: Self = Self::EMPTY
        .with(Component::TileConfig)
        .with(Component::TileData);

    /// The set with exactly these bits.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as the bitmap of the manual.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// EDX:EAX, as the instructions take a bitmap; low half first.
    #[must_use]
    #[inline]
    pub const fn halves(self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.0.to_le_bytes();
        (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )
    }

    /// The bitmap whose low half was in EAX (or ECX) and whose high half was in EDX.
    #[must_use]
    #[inline]
    pub const fn from_halves(low: u32, high: u32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (low.to_le_bytes(), high.to_le_bytes());
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Only `component`.
    #[must_use]
    #[inline]
    pub const fn only(component: Component) -> Self {
        // A component's number is at most 62, so the shift keeps its bit.
        Self(1u64.wrapping_shl(number_as_shift(component)))
    }

    /// This set and `component`.
    #[must_use]
    #[inline]
    pub const fn with(self, component: Component) -> Self {
        self.union(Self::only(component))
    }

    /// This set without `component`.
    #[must_use]
    #[inline]
    pub const fn without(self, component: Component) -> Self {
        self.difference(Self::only(component))
    }

    /// Components in either set.
    #[must_use]
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Components in both sets.
    #[must_use]
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Components in this set and not in `other`.
    #[must_use]
    #[inline]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `component` is in the set.
    #[must_use]
    #[inline]
    pub const fn contains(self, component: Component) -> bool {
        self.intersects(Self::only(component))
    }

    /// Whether all of `other` is in the set.
    #[must_use]
    #[inline]
    pub const fn contains_all(self, other: Self) -> bool {
        other.difference(self).is_empty()
    }

    /// Whether the sets share a component.
    #[must_use]
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Whether no bit is set.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The components of the set in the order of their numbers. Bit 63 names none and is not among
    /// them; [`bits`](Self::bits) still has it.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Component> + Clone {
        let mut left = self.0;
        core::iter::from_fn(move || {
            // The lowest bit left; 63, which names no component, comes last, and 64 means none.
            let component = u8::try_from(left.trailing_zeros())
                .ok()
                .and_then(Component::from_number)?;
            left &= left.wrapping_sub(1);
            Some(component)
        })
    }
}

/// `Component::number` in the width that shifts take; const, where `u32::from` is not.
#[inline]
const fn number_as_shift(component: Component) -> u32 {
    u32::from_le_bytes([component.number(), 0, 0, 0])
}

const _: () = assert!(ComponentSet::LEGACY.bits() == 0x3); // SDM 1, 13.1: bits 1:0
const _: () = assert!(ComponentSet::MPX.bits() == 0x18); // bits 4:3
const _: () = assert!(ComponentSet::AVX512.bits() == 0xe0); // bits 7:5
const _: () = assert!(ComponentSet::TILES.bits() == 0x6_0000); // bits 18:17

impl fmt::Display for ComponentSet {
    /// The names joined by `+`; `none` for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for component in self.iter() {
            write!(f, "{separator}{component}")?;
            separator = "+";
        }
        if self.0 >> 63 == 1 {
            write!(f, "{separator}bit 63")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ComponentSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentSet({:#x}: {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn every_number_below_63_is_a_component_and_keeps_its_number() {
        for number in 0..=62 {
            assert_eq!(Component::from_number(number).unwrap().number(), number);
        }
        assert_eq!(Component::from_number(63), None);
        assert_eq!(Component::from_number(255), None);
    }

    /// C16 · peers · barevisor, the crates x86 and raw-cpuid · a component newer than the code was refused, or dropped
    #[test]
    fn unknown_bits_survive_every_set_operation_and_are_shown() {
        let foreign = ComponentSet::from_bits(1 << 63 | 1 << 62 | 1 << 40 | 1);
        assert_eq!(
            foreign.union(ComponentSet::EMPTY).bits(),
            1 << 63 | 1 << 62 | 1 << 40 | 1
        );
        assert_eq!(
            foreign.difference(ComponentSet::LEGACY).bits(),
            1 << 63 | 1 << 62 | 1 << 40
        );
        assert_eq!(foreign.to_string(), "x87+component 40+component 62+bit 63");
        let numbers: Vec<u8> = foreign.iter().map(Component::number).collect();
        assert_eq!(numbers, [0, 40, 62]);
    }

    /// C17 · peers · `OpenVMM` #3307, illumos, Hedron · a bitmap was assembled from EDX and EAX, or shifted, in 32 bits
    #[test]
    fn halves_are_edx_eax() {
        let set = ComponentSet::from_bits(0x0123_4567_89ab_cdef);
        assert_eq!(set.halves(), (0x89ab_cdef, 0x0123_4567));
        assert_eq!(ComponentSet::from_halves(0x89ab_cdef, 0x0123_4567), set);
    }

    #[test]
    fn a_set_says_what_is_in_it_and_what_it_shares_with_another() {
        let (low, high) = (
            ComponentSet::from_bits(0b011),
            ComponentSet::from_bits(0b110),
        );
        assert_eq!(low.union(high).bits(), 0b111);
        assert_eq!(low.intersection(high).bits(), 0b010);
        assert_eq!(low.difference(high).bits(), 0b001);
        assert_eq!(low.with(Component::Avx).bits(), 0b111);
        assert_eq!(high.without(Component::Avx).bits(), 0b010);
        assert_eq!(ComponentSet::only(Component::Apx).bits(), 1 << 19);
        assert!(low.contains(Component::X87) && !high.contains(Component::X87));
        assert!(low.union(high).contains_all(low) && !low.contains_all(high));
        assert!(low.intersects(high) && !low.intersects(ComponentSet::only(Component::Avx)));
        assert!(ComponentSet::EMPTY.is_empty() && !low.is_empty());
    }

    #[test]
    fn a_set_is_shown_by_its_names_and_for_debugging_by_its_bits_too() {
        assert_eq!(ComponentSet::EMPTY.to_string(), "none");
        assert_eq!(ComponentSet::from_bits(1 << 63).to_string(), "bit 63");
        assert_eq!(
            alloc::format!("{:?}", ComponentSet::LEGACY),
            "ComponentSet(0x3: x87+SSE)"
        );
    }

    #[test]
    fn only_x87_and_sse_are_in_the_legacy_region() {
        let legacy: Vec<Component> = ComponentSet::from_bits(!0)
            .iter()
            .filter(|component| component.is_legacy())
            .collect();
        assert_eq!(legacy, [Component::X87, Component::Sse]);
    }
}
