//! How many bytes, from byte 0 of an area, an instruction can touch.
//!
//! The check that makes the methods of [`Processor`](fpstate_arch::Processor) sound for any slice.
//! It comes from the CPU's own leaf 0DH and from nothing that the library computed: the crates do
//! not know each other. Beside the library's layout and the model's it is a third opinion; if the
//! library's were wrong, the processor refuses rather than corrupt memory.

use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Format, XsaveHeader};

use crate::recent::Recent;

/// The reach of a set of components.
type Known = Recent<ComponentSet, usize>;

/// True in both formats: the legacy region and the header are always touched.
const NOTHING: Known = Recent::starting_with(ComponentSet::EMPTY, EXTENDED_REGION_OFFSET);

/// The enumeration of the CPU that executes, and the last answers in each format: where a caller
/// comes with the same set again, the check is a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    enumeration: Enumeration,
    standard: Known,
    compacted: Known,
}

impl Reach {
    pub(crate) const fn new(enumeration: Enumeration) -> Self {
        Self {
            enumeration,
            standard: NOTHING,
            compacted: NOTHING,
        }
    }

    pub(crate) const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// XSAVE and XSAVEOPT of no more than `set`. It may hold components that XCR0 does not: the
    /// reach only grows with the set.
    #[inline]
    pub(crate) fn require_standard(&mut self, set: ComponentSet, len: usize) -> Result<(), Fault> {
        within(self.standard(set), len)
    }

    /// XSAVEC and XSAVES of no more than `set`. A larger set pushes no component towards byte 0, so
    /// here too the reach only grows with it.
    #[inline]
    pub(crate) fn require_compacted(&mut self, set: ComponentSet, len: usize) -> Result<(), Fault> {
        within(self.compacted(set), len)
    }

    /// XRSTOR and XRSTORS of `rfbm` from `area`, whose header is the answer.
    ///
    /// The components that have room are looked at first, for they seldom change; only where they
    /// do not fit is it asked which of them the instruction would operate on (SDM 1, 13.13): those
    /// in `rfbm` and in XSTATE_BV.
    #[inline]
    pub(crate) fn require_restore(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<XsaveHeader, Fault> {
        let len = area.len();
        let header = header_of(area)?;
        if self.of_restore(&header, rfbm) > len {
            within(restored_reach(&self.enumeration, &header, rfbm), len)?;
        }
        Ok(header)
    }

    /// The most that XRSTOR of `rfbm` can touch of an image with `header`, whatever its XSTATE_BV.
    #[inline]
    pub(crate) fn of_restore(&mut self, header: &XsaveHeader, rfbm: ComponentSet) -> usize {
        match header.format() {
            Format::Compacted => self.compacted(header.xcomp_bv_components()),
            Format::Standard | Format::Fxsave => self.standard(rfbm),
        }
    }

    #[inline]
    fn standard(&mut self, set: ComponentSet) -> usize {
        *self
            .standard
            .get(set, || standard_reach(&self.enumeration, set))
    }

    #[inline]
    fn compacted(&mut self, set: ComponentSet) -> usize {
        *self
            .compacted
            .get(set, || compacted_reach(&self.enumeration, set, set))
    }
}

/// FXSAVE and FXRSTOR.
#[inline]
pub(crate) const fn require_legacy_region(len: usize) -> Result<(), Fault> {
    within(LEGACY_REGION_LEN, len)
}

/// Byte 0 at a multiple of `alignment`, a power of two; the instructions raise #GP otherwise.
#[inline]
pub(crate) fn require_alignment(area: &[u8], alignment: usize) -> Result<(), Fault> {
    if area.as_ptr().addr() & alignment.wrapping_sub(1) == 0 {
        Ok(())
    } else {
        Err(Fault::GeneralProtection)
    }
}

#[inline]
const fn within(reach: usize, len: usize) -> Result<(), Fault> {
    if reach <= len {
        Ok(())
    } else {
        Err(Fault::OutsideArea { reach, len })
    }
}

#[inline]
fn header_of(area: &[u8]) -> Result<XsaveHeader, Fault> {
    area.get(LEGACY_REGION_LEN..)
        .and_then(<[u8]>::first_chunk)
        .map(XsaveHeader::from_bytes)
        .ok_or(Fault::OutsideArea {
            reach: EXTENDED_REGION_OFFSET,
            len: area.len(),
        })
}

/// XSTATE_BV and XCOMP_BV.
#[inline]
pub(crate) fn header_words(area: &[u8]) -> Result<(u64, u64), Fault> {
    let words = area
        .get(LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET)
        .map(<[u8]>::as_chunks::<8>);
    match words {
        Some(([xstate_bv, xcomp_bv, ..], _)) => Ok((
            u64::from_le_bytes(*xstate_bv),
            u64::from_le_bytes(*xcomp_bv),
        )),
        _ => Err(Fault::OutsideArea {
            reach: EXTENDED_REGION_OFFSET,
            len: area.len(),
        }),
    }
}

/// What XRSTOR and XRSTORS read: the components in RFBM and XSTATE_BV, each where the header's
/// format puts it.
fn restored_reach(enumeration: &Enumeration, header: &XsaveHeader, rfbm: ComponentSet) -> usize {
    let read = rfbm.intersection(header.xstate_bv);
    match header.format() {
        Format::Compacted => compacted_reach(enumeration, header.xcomp_bv_components(), read),
        Format::Standard | Format::Fxsave => standard_reach(enumeration, read),
    }
}

/// The largest end among `set`. A component that the CPU does not have, or that the standard format
/// does not hold, is never touched.
pub(crate) fn standard_reach(enumeration: &Enumeration, set: ComponentSet) -> usize {
    set.iter()
        .filter_map(|component| enumeration.entry(component))
        .filter(|entry| !entry.is_supervisor())
        .map(|entry| bytes(entry.standard_offset).saturating_add(bytes(entry.len)))
        .fold(EXTENDED_REGION_OFFSET, usize::max)
}

/// One after the other from byte 576 on (SDM 1, 13.4.3): the end of the last of `touched` in an
/// area that has room for `room`.
pub(crate) fn compacted_reach(
    enumeration: &Enumeration,
    room: ComponentSet,
    touched: ComponentSet,
) -> usize {
    let (_, reach) = room
        .iter()
        .filter_map(|component| Some((component, enumeration.entry(component)?)))
        .fold(
            (EXTENDED_REGION_OFFSET, EXTENDED_REGION_OFFSET),
            |(end, reach), (component, entry)| {
                let end = end_after(end, entry);
                (
                    end,
                    if touched.contains(component) {
                        end
                    } else {
                        reach
                    },
                )
            },
        );
    reach
}

/// Where `component` begins in a compacted area with `room`; 0 if it is not there.
pub(crate) fn compacted_offset(
    enumeration: &Enumeration,
    room: ComponentSet,
    component: Component,
) -> u32 {
    let Some(entry) = enumeration.entry(component) else {
        return 0;
    };
    let end = compacted_reach(enumeration, room, ComponentSet::only(component));
    u32::try_from(end.saturating_sub(bytes(entry.len))).unwrap_or(0)
}

const ALIGNED: usize = 64;

fn end_after(previous_end: usize, entry: ComponentEntry) -> usize {
    let start = if entry.is_aligned_64() {
        previous_end
            .checked_next_multiple_of(ALIGNED)
            .unwrap_or(usize::MAX)
    } else {
        previous_end
    };
    start.saturating_add(bytes(entry.len))
}

/// A figure of CPUID; `usize` has 64 bits wherever this crate has code.
fn bytes(figure: u32) -> usize {
    usize::try_from(figure).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::cpuid::RecordedLeaves;
    use fpstate_arch::{Component, CpuidRegisters};

    const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
        CpuidRegisters { eax, ebx, ecx, edx }
    }

    /// Figures in the manner of a Sapphire Rapids, and component 40 with the largest that CPUID can
    /// say.
    const LEAVES: [(u32, u32, CpuidRegisters); 10] = [
        (0x1, 0, leaf(0, 0, 1 << 26, 1 << 24)),
        (0xd, 0, leaf(0x6_0207, 0, 0, 0x100)),
        (0xd, 1, leaf(0x1f, 0, 0x8800, 0)),
        (0xd, 2, leaf(256, 576, 0, 0)),
        (0xd, 9, leaf(8, 2688, 0, 0)),
        (0xd, 11, leaf(16, 0, 1, 0)),
        (0xd, 15, leaf(808, 0, 1, 0)),
        (0xd, 17, leaf(64, 2752, 2, 0)),
        (0xd, 18, leaf(8192, 2816, 6, 0)),
        (0xd, 40, leaf(u32::MAX, u32::MAX, 2, 0)),
    ];

    fn reach() -> Reach {
        Reach::new(Enumeration::read(RecordedLeaves(&LEAVES)))
    }

    fn set(bits: u64) -> ComponentSet {
        ComponentSet::from_bits(bits)
    }

    fn refused(reach: usize, len: usize) -> Result<(), Fault> {
        Err(Fault::OutsideArea { reach, len })
    }

    #[test]
    fn a_standard_save_reaches_the_largest_end() {
        let mut reach = reach();
        for (rfbm, end) in [
            (0x0, 576),
            (0x3, 576),
            (0x7, 832),
            (0x207, 2696),
            (0x4, 832),
            // Opmask is not enumerated; CET_U and LBR have no place in this format.
            (0x827, 832),
            (0x8003, 576),
            (0x6_0003, 2816 + 8192),
            (1 << 40, 2 * 0xffff_ffff),
        ] {
            assert_eq!(reach.require_standard(set(rfbm), end), Ok(()));
            let short = reach.require_standard(set(rfbm), end - 1);
            assert_eq!(short, refused(end, end - 1), "{rfbm:#x}");
        }
    }

    #[test]
    fn a_compacted_save_reaches_the_end_of_the_walk() {
        let mut reach = reach();
        for (rfbm, end) in [
            (0x3, 576),
            (0x7, 832),
            (0x207, 840),
            // CET_U has 16 bytes and no alignment; the tiles are aligned.
            (0x0a07, 856),
            (0x2_0207, 896 + 64),
            (0x6_0207, 896 + 64 + 8192),
            (0x4_0207, 896 + 8192),
            (1 << 40, 576 + 0xffff_ffff),
        ] {
            assert_eq!(reach.require_compacted(set(rfbm), end), Ok(()));
            let short = reach.require_compacted(set(rfbm), end - 1);
            assert_eq!(short, refused(end, end - 1), "{rfbm:#x}");
        }
    }

    #[test]
    fn a_larger_set_never_reaches_less() {
        let mut reach = reach();
        for bits in (0..0x8_0000u64).step_by(0x1fd) {
            let larger = set(bits | 0x2_0200);
            assert!(reach.compacted(set(bits)) <= reach.compacted(larger));
            assert!(reach.standard(set(bits)) <= reach.standard(larger));
        }
    }

    fn area(header: &XsaveHeader) -> [u8; 832] {
        let mut area = [0; 832];
        area[512..576].copy_from_slice(&header.to_bytes());
        area
    }

    #[test]
    fn a_restore_reaches_only_the_components_it_reads() {
        let mut reach = reach();
        let (avx, tiles, all) = (set(0x4), set(0x6_0000), set(0x6_0207));
        // The tiles have no room here and no bit in XSTATE_BV.
        let header = XsaveHeader::standard(avx);
        assert_eq!(reach.require_restore(&area(&header), all), Ok(header));
        // They have a bit; the caller does not ask for them; the caller does.
        let header = XsaveHeader::standard(avx.union(tiles));
        assert_eq!(reach.require_restore(&area(&header), avx), Ok(header));
        let asked = reach.require_restore(&area(&header), all).map(drop);
        assert_eq!(asked, refused(2816 + 8192, 832));
    }

    #[test]
    fn a_compacted_restore_is_walked_by_the_header() {
        let mut reach = reach();
        let (avx, pkru) = (set(0x4), ComponentSet::only(Component::Pkru));
        let header = XsaveHeader::compacted(avx, avx.union(pkru));
        assert_eq!(reach.require_restore(&area(&header), set(!0)), Ok(header));
        let header = XsaveHeader::compacted(pkru, avx.union(pkru));
        let result = reach.require_restore(&area(&header), set(!0)).map(drop);
        assert_eq!(result, refused(840, 832));
        // Alone, PKRU lies at byte 576.
        let header = XsaveHeader::compacted(pkru, pkru);
        assert_eq!(reach.require_restore(&area(&header), set(!0)), Ok(header));
    }

    #[test]
    fn an_area_without_a_whole_header_is_refused() {
        let area = area(&XsaveHeader::standard(ComponentSet::EMPTY));
        for len in [0, 512, 575] {
            let result = reach().require_restore(&area[..len], ComponentSet::EMPTY);
            assert_eq!(result.map(drop), refused(576, len));
        }
    }
}
