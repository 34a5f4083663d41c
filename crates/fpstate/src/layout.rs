//! Where each state component lies in an area (SDM 1, 13.4.3): the only offset arithmetic.

use core::fmt;
use core::ops::Range;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::{ComponentEntry, Enumeration, Instruction};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::{EXTENDED_REGION_OFFSET, Format};

/// The places of a set of components in an area of one format, on one CPU.
///
/// It is small and `Copy`; the figures stay in the [`Enumeration`]. It holds no size that could
/// disagree with another: [`area_len`](Self::area_len) is computed once, from the walk.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'e> {
    enumeration: &'e Enumeration,
    components: ComponentSet,
    /// From the enumeration, which would walk all components for it at every switch.
    xfd_components: ComponentSet,
    area_len: usize,
    format: Format,
}

/// One component's place in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    component: Component,
    offset: usize,
    end: usize,
}

impl Placed {
    /// The component.
    #[must_use]
    pub const fn component(&self) -> Component {
        self.component
    }

    /// Offset from byte 0 of the area, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Its bytes in the area.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.end
    }
}

impl<'e> Layout<'e> {
    /// 512 bytes for FXSAVE: x87 and SSE.
    ///
    /// # Errors
    /// [`LayoutError::FormatNotAvailable`] on a CPU without FXSAVE.
    pub fn fxsave(enumeration: &'e Enumeration) -> Result<Self, LayoutError> {
        require(enumeration, Format::Fxsave)?;
        Ok(Self::of_last_resort(enumeration))
    }

    /// The same for a CPU whose CPUID is not to be trusted: one that runs 64-bit code has FXSAVE
    /// (it is in the x86-64 baseline), whatever CPUID hides.
    pub(crate) const fn of_last_resort(enumeration: &'e Enumeration) -> Self {
        Self {
            enumeration,
            components: ComponentSet::LEGACY,
            xfd_components: ComponentSet::EMPTY,
            area_len: LEGACY_REGION_LEN,
            format: Format::Fxsave,
        }
    }

    /// The standard format with room for `components`: each at the offset CPUID gives it.
    ///
    /// # Errors
    /// Any [`LayoutError`]; CPUID may contradict itself.
    pub fn standard(
        enumeration: &'e Enumeration,
        components: ComponentSet,
    ) -> Result<Self, LayoutError> {
        let supervisor = components.intersection(enumeration.supervisor_components());
        if !supervisor.is_empty() {
            return Err(LayoutError::SupervisorInStandardFormat { found: supervisor });
        }
        Self::checked(enumeration, components, Format::Standard)
    }

    /// The compacted format with room for `components`: one after the other in the order of their
    /// numbers, aligned where CPUID asks for it. XCOMP_BV is `components` and bit 63.
    ///
    /// # Errors
    /// Any [`LayoutError`]; CPUID may contradict itself.
    pub fn compacted(
        enumeration: &'e Enumeration,
        components: ComponentSet,
    ) -> Result<Self, LayoutError> {
        Self::checked(enumeration, components, Format::Compacted)
    }

    /// The layout with room for `components` too.
    ///
    /// # Errors
    /// As the constructor for the format.
    pub fn with(self, components: ComponentSet) -> Result<Self, LayoutError> {
        self.resized(self.components.union(components))
    }

    /// The layout without room for `components`.
    ///
    /// # Errors
    /// As the constructor for the format.
    pub fn without(self, components: ComponentSet) -> Result<Self, LayoutError> {
        self.resized(self.components.difference(components))
    }

    fn resized(self, components: ComponentSet) -> Result<Self, LayoutError> {
        match self.format {
            Format::Fxsave if components == self.components => Ok(self),
            Format::Fxsave => Err(LayoutError::NotEnumerated {
                missing: components.difference(self.components),
            }),
            Format::Standard => Self::standard(self.enumeration, components),
            Format::Compacted => Self::compacted(self.enumeration, components),
        }
    }

    fn checked(
        enumeration: &'e Enumeration,
        components: ComponentSet,
        format: Format,
    ) -> Result<Self, LayoutError> {
        require(enumeration, format)?;
        let missing = components.difference(enumeration.components());
        if !missing.is_empty() {
            return Err(LayoutError::NotEnumerated { missing });
        }
        let mut layout = Self {
            enumeration,
            components,
            xfd_components: enumeration.xfd_components(),
            area_len: EXTENDED_REGION_OFFSET,
            format,
        };
        let mut places = layout.extended_components();
        for component in components.difference(ComponentSet::LEGACY).iter() {
            let placed = places
                .next()
                .filter(|placed| placed.component == component)
                .ok_or(LayoutError::WithoutLength { component })?;
            if placed.offset < EXTENDED_REGION_OFFSET {
                return Err(LayoutError::InsideHeader {
                    component,
                    offset: placed.offset,
                });
            }
            // By the largest end, not by the highest bit: APX (19) lies below PKRU (9).
            layout.area_len = layout.area_len.max(placed.end);
        }
        layout.refuse_overlaps()?;
        Ok(layout)
    }

    fn refuse_overlaps(&self) -> Result<(), LayoutError> {
        match self.format {
            Format::Standard => {}
            // One component starts where another ends.
            Format::Fxsave | Format::Compacted => return Ok(()),
        }
        let mut places = self.extended_components();
        while let Some(first) = places.next() {
            let overlaps = |second: &Placed| second.offset < first.end && first.offset < second.end;
            if let Some(second) = places.clone().find(overlaps) {
                let (first, second) = (first.component, second.component);
                return Err(LayoutError::Overlap { first, second });
            }
        }
        Ok(())
    }

    /// The layout in the same format of those of its components that are in `components`; FXSAVE
    /// always has room for x87 and SSE. It cannot fail: what was checked of all of them holds for
    /// fewer.
    #[must_use]
    pub fn narrowed_to(self, components: ComponentSet) -> Self {
        if self.format == Format::Fxsave {
            return self;
        }
        let mut narrowed = Self {
            components: self.components.intersection(components),
            ..self
        };
        narrowed.area_len = narrowed
            .extended_components()
            .fold(EXTENDED_REGION_OFFSET, |len, placed| len.max(placed.end));
        narrowed
    }

    /// The components that have room.
    #[must_use]
    #[inline]
    pub const fn components(&self) -> ComponentSet {
        self.components
    }

    /// The components of the CPU that IA32_XFD can disable, with room here or not.
    #[must_use]
    #[inline]
    pub const fn xfd_components(&self) -> ComponentSet {
        self.xfd_components
    }

    /// The format.
    #[must_use]
    #[inline]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Length of an area in bytes, from byte 0 to the end of the component that ends last.
    #[must_use]
    #[inline]
    pub const fn area_len(&self) -> usize {
        self.area_len
    }

    /// The CPU figures this layout was made from.
    #[must_use]
    pub const fn enumeration(&self) -> &'e Enumeration {
        self.enumeration
    }

    /// The place of an extended component; `None` for x87 and SSE, whose places are fixed
    /// ([`fpstate_arch::LegacyRegion`]), and for components without room.
    #[must_use]
    pub fn place_of(&self, component: Component) -> Option<Placed> {
        let decisive = match self.format {
            // Where one lies there says nothing of another.
            Format::Standard => self.components.intersection(ComponentSet::only(component)),
            Format::Fxsave | Format::Compacted => self.components,
        };
        self.places_of(decisive)
            .find(|placed| placed.component == component)
    }

    /// Length of an extended component in bytes, wherever it lies; `None` as for
    /// [`place_of`](Self::place_of).
    pub(crate) fn len_of(&self, component: Component) -> Option<usize> {
        if !self.components.contains(component) {
            return None;
        }
        usize::try_from(self.enumeration.entry(component)?.len).ok()
    }

    /// The walk: every extended component with its place, in the order of their numbers.
    pub fn extended_components(&self) -> impl Iterator<Item = Placed> + Clone + use<'e> {
        self.places_of(self.components)
    }

    /// Of a compacted area, `components` are all that lie before those of interest.
    fn places_of(
        &self,
        components: ComponentSet,
    ) -> impl Iterator<Item = Placed> + Clone + use<'e> {
        let (enumeration, format) = (self.enumeration, self.format);
        let mut compacted_end = EXTENDED_REGION_OFFSET;
        components
            .difference(ComponentSet::LEGACY)
            .iter()
            .filter_map(move |component| {
                let entry = enumeration.entry(component)?;
                let offset = match format {
                    Format::Fxsave => return None,
                    Format::Standard => usize::try_from(entry.standard_offset).ok()?,
                    Format::Compacted => compacted_offset(compacted_end, entry)?,
                };
                let end = offset.checked_add(usize::try_from(entry.len).ok()?)?;
                compacted_end = end;
                Some(Placed {
                    component,
                    offset,
                    end,
                })
            })
    }
}

impl Layout<'_> {
    /// Copies `components`, in the order of their numbers, each to its place in `area`. One without
    /// room is left out; every one that has room has its length.
    pub(crate) fn put<'b>(
        &self,
        components: impl Iterator<Item = (Component, &'b [u8])>,
        area: &mut [u8],
    ) {
        let mut places = self.extended_components();
        for (component, source) in components.filter(|(c, _)| self.components.contains(*c)) {
            let place = places.find(|placed| placed.component == component);
            let target = place.and_then(|placed| area.get_mut(placed.range()));
            if let Some(target) = target.filter(|target| target.len() == source.len()) {
                target.copy_from_slice(source);
            }
        }
    }
}

/// Where a component starts when the one before it ends at `end`.
fn compacted_offset(end: usize, entry: ComponentEntry) -> Option<usize> {
    if entry.is_aligned_64() {
        end.checked_next_multiple_of(64)
    } else {
        Some(end)
    }
}

fn require(enumeration: &Enumeration, format: Format) -> Result<(), LayoutError> {
    let needed = match format {
        Format::Fxsave => Instruction::Fxsave,
        Format::Standard => Instruction::Xsave,
        Format::Compacted if enumeration.has(Instruction::Xsaves) => Instruction::Xsaves,
        Format::Compacted => Instruction::Xsavec,
    };
    if enumeration.has(needed) {
        Ok(())
    } else {
        Err(LayoutError::FormatNotAvailable { format, needed })
    }
}

/// Why a set of components has no layout on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// No instruction of the CPU writes areas of this format.
    FormatNotAvailable {
        /// The format asked for.
        format: Format,
        /// The instruction the CPU would need.
        needed: Instruction,
    },
    /// The CPU does not have these components.
    NotEnumerated {
        /// The components it lacks.
        missing: ComponentSet,
    },
    /// CPUID lists the component and gives it no length.
    WithoutLength {
        /// The component.
        component: Component,
    },
    /// The standard format has no place for supervisor components.
    SupervisorInStandardFormat {
        /// The supervisor components asked for.
        found: ComponentSet,
    },
    /// CPUID puts the component into the legacy region or the header.
    InsideHeader {
        /// The component.
        component: Component,
        /// Its offset, which is below 576.
        offset: usize,
    },
    /// CPUID gives two components the same bytes, as APX and MPX would.
    Overlap {
        /// The component with the lower number.
        first: Component,
        /// The other one.
        second: Component,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormatNotAvailable { format, needed } => {
                write!(f, "no {format} format on this CPU: it lacks {needed}")
            }
            Self::NotEnumerated { missing } => write!(f, "this CPU lacks {missing}"),
            Self::WithoutLength { component } => {
                write!(f, "CPUID lists {component} with a length of 0 bytes")
            }
            Self::SupervisorInStandardFormat { found } => {
                write!(
                    f,
                    "the standard format has no place for supervisor state: {found}"
                )
            }
            Self::InsideHeader { component, offset } => {
                write!(
                    f,
                    "CPUID puts {component} at offset {offset}; allowed: 576 and above"
                )
            }
            Self::Overlap { first, second } => {
                write!(f, "CPUID gives {first} and {second} the same bytes")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use fpstate_arch::cpuid::CpuidRegisters;
    use std::string::ToString;
    use std::vec::Vec;

    /// A CPU with these (number, length, standard offset, flags), XSAVEC and XSAVES.
    fn cpu(figures: &[(u8, u32, u32, u32)]) -> Enumeration {
        let figures: Vec<_> = figures.to_vec();
        let bits = |supervisor: u32| {
            figures
                .iter()
                .filter(|f| f.3 & 1 == supervisor)
                .fold(0, |bits, f| bits | 1 << f.0)
        };
        let (user, supervisor): (u32, u32) = (bits(0) | 3, bits(1));
        Enumeration::read(move |leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                edx: 1 << 24,
                ..Default::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: user,
                ..Default::default()
            },
            (0xd, 1) => CpuidRegisters {
                eax: 0xf,
                ecx: supervisor,
                ..Default::default()
            },
            (0xd, n) => figures.iter().find(|f| u32::from(f.0) == n).map_or_else(
                CpuidRegisters::default,
                |f| CpuidRegisters {
                    eax: f.1,
                    ebx: f.2,
                    ecx: f.3,
                    edx: 0,
                },
            ),
            _ => CpuidRegisters::default(),
        })
    }

    fn offsets(layout: &Layout<'_>) -> Vec<(u8, usize)> {
        layout
            .extended_components()
            .map(|p| (p.component().number(), p.offset()))
            .collect()
    }

    /// Sapphire Rapids: tile data is aligned to 64 in the compacted format.
    const SAPPHIRE_RAPIDS: [(u8, u32, u32, u32); 9] = [
        (2, 0x100, 0x240, 0),
        (5, 0x40, 0x440, 0),
        (6, 0x200, 0x480, 0),
        (7, 0x400, 0x680, 0),
        (9, 8, 0xa80, 0),
        (11, 16, 0, 1),
        (12, 24, 0, 1),
        (17, 0x40, 0xac0, 2),
        (18, 0x2000, 0xb00, 6),
    ];

    #[test]
    fn the_compacted_format_aligns_only_what_cpuid_says() {
        let cpu = cpu(&SAPPHIRE_RAPIDS);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        // 576 + 256 = 832, + 64 = 896, + 512 = 1408, + 1024 = 2432, + 8 = 2440, + 16 = 2456,
        // + 24 = 2480, up to 2496, + 64 = 2560, + 8192 = 10752.
        let expected = [
            (2, 576),
            (5, 832),
            (6, 896),
            (7, 1408),
            (9, 2432),
            (11, 2440),
            (12, 2456),
            (17, 2496),
            (18, 2560),
        ];
        assert_eq!(offsets(&layout), expected);
        assert_eq!(layout.area_len(), 10752);
    }

    #[test]
    fn a_compacted_area_has_no_holes_for_components_left_out() {
        let cpu = cpu(&SAPPHIRE_RAPIDS);
        let layout = Layout::compacted(&cpu, ComponentSet::from_bits(0x203)).unwrap();
        assert_eq!(offsets(&layout), [(9, 576)]);
        assert_eq!(layout.area_len(), 584);
    }

    /// C13 · peers · delve, rr, older QEMU · offsets of Intel CPUs were used on AMD
    #[test]
    fn the_standard_format_takes_the_offsets_of_this_vendor() {
        let intel = cpu(&SAPPHIRE_RAPIDS);
        let layout = Layout::standard(&intel, ComponentSet::from_bits(0x2e7)).unwrap();
        assert_eq!(
            offsets(&layout),
            [(2, 576), (5, 1088), (6, 1152), (7, 1664), (9, 2688)]
        );
        let amd = cpu(&[(2, 0x100, 0x240, 0), (9, 8, 0x980, 0)]);
        assert_eq!(
            Layout::standard(&amd, amd.components()).unwrap().area_len(),
            0x988
        );
    }

    /// L51 · 2025 · 15d51a2f6f3f, a758ae2885ea, cbe8e4dab16c, 031b33ef1a6a · the component with the highest number was taken for the last one; APX lies before others
    #[test]
    fn the_area_ends_with_the_largest_end_and_not_with_the_highest_bit() {
        let apx = cpu(&[(2, 0x100, 0x240, 0), (9, 8, 0xa80, 0), (19, 128, 960, 0)]);
        let layout = Layout::standard(&apx, apx.components()).unwrap();
        assert_eq!(layout.place_of(Component::Apx).unwrap().range(), 960..1088);
        assert_eq!(layout.area_len(), 0xa88);
    }

    #[test]
    fn contradictions_of_cpuid_are_refused_with_their_figures() {
        let both = cpu(&[(3, 64, 960, 0), (19, 128, 960, 0)]);
        let (first, second) = (Component::BndRegs, Component::Apx);
        let refused = |cpu: &Enumeration| Layout::standard(cpu, cpu.components()).unwrap_err();
        assert_eq!(refused(&both), LayoutError::Overlap { first, second });
        let low = cpu(&[(2, 0x100, 0x200, 0)]);
        let component = Component::Avx;
        assert_eq!(
            refused(&low),
            LayoutError::InsideHeader {
                component,
                offset: 512
            }
        );
        let none = cpu(&[(2, 0, 0x240, 0)]);
        assert_eq!(refused(&none), LayoutError::WithoutLength { component });
        let huge = cpu(&[(2, u32::MAX, u32::MAX, 0)]);
        assert_eq!(
            Layout::standard(&huge, huge.components())
                .unwrap()
                .area_len(),
            0x1_ffff_fffe,
            "two 32-bit figures fit a 64-bit usize"
        );
    }

    #[test]
    fn what_the_cpu_or_the_format_lacks_is_refused() {
        let cpu = cpu(&SAPPHIRE_RAPIDS);
        let missing = ComponentSet::only(Component::Apx);
        assert_eq!(
            Layout::compacted(&cpu, missing).unwrap_err(),
            LayoutError::NotEnumerated { missing }
        );
        let found = ComponentSet::only(Component::CetU);
        assert_eq!(
            Layout::standard(&cpu, found).unwrap_err(),
            LayoutError::SupervisorInStandardFormat { found }
        );
        let old = Enumeration::read(|_, _| CpuidRegisters::default());
        assert!(matches!(
            Layout::standard(&old, ComponentSet::LEGACY),
            Err(LayoutError::FormatNotAvailable {
                needed: Instruction::Xsave,
                ..
            })
        ));
    }

    #[test]
    fn a_refused_layout_says_what_cpuid_gave() {
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                LayoutError::FormatNotAvailable {
                    format: Format::Compacted,
                    needed: Instruction::Xsavec,
                }
                .to_string(),
                "no compacted format on this CPU: it lacks XSAVEC",
            ),
            (
                LayoutError::NotEnumerated { missing: TILES }.to_string(),
                "this CPU lacks XTILECFG+XTILEDATA",
            ),
            (
                LayoutError::WithoutLength {
                    component: Component::Avx,
                }
                .to_string(),
                "CPUID lists AVX with a length of 0 bytes",
            ),
            (
                LayoutError::SupervisorInStandardFormat {
                    found: ComponentSet::only(Component::CetU),
                }
                .to_string(),
                "the standard format has no place for supervisor state: CET_U",
            ),
            (
                LayoutError::InsideHeader {
                    component: Component::Avx,
                    offset: 575,
                }
                .to_string(),
                "CPUID puts AVX at offset 575; allowed: 576 and above",
            ),
            (
                LayoutError::Overlap {
                    first: Component::Avx,
                    second: Component::Opmask,
                }
                .to_string(),
                "CPUID gives AVX and opmask the same bytes",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_512_bytes_of_fxsave_have_no_room_for_more_or_less() {
        let cpu = cpu(&SAPPHIRE_RAPIDS);
        let fxsave = Layout::fxsave(&cpu).unwrap();
        let same = fxsave.with(ComponentSet::LEGACY).unwrap();
        assert_eq!(
            (same.format(), same.components()),
            (Format::Fxsave, ComponentSet::LEGACY)
        );
        let missing = ComponentSet::only(Component::Avx);
        assert_eq!(
            fxsave.with(missing).unwrap_err(),
            LayoutError::NotEnumerated { missing }
        );
    }

    #[test]
    fn either_instruction_that_compacts_gives_the_compacted_format() {
        let cpu = |eax| {
            Enumeration::read(move |leaf, subleaf| {
                let mut registers = CpuidRegisters::default();
                match (leaf, subleaf) {
                    (1, _) => registers.ecx = 1 << 26,
                    (0xd, 0) => registers.eax = 3,
                    (0xd, 1) => registers.eax = eax,
                    _ => {}
                }
                registers
            })
        };
        let (xsavec, xsaves) = (1 << 1, 1 << 3);
        assert!(Layout::compacted(&cpu(xsavec), ComponentSet::LEGACY).is_ok());
        assert!(Layout::compacted(&cpu(xsaves), ComponentSet::LEGACY).is_ok());
        assert_eq!(
            Layout::compacted(&cpu(0), ComponentSet::LEGACY).unwrap_err(),
            LayoutError::FormatNotAvailable {
                format: Format::Compacted,
                needed: Instruction::Xsavec
            }
        );
    }
}
