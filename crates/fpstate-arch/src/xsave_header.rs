//! Bytes 512 to 575 of an XSAVE area: the XSAVE header (SDM 1, 13.4.2).

use crate::component::ComponentSet;
use crate::legacy_region::{LEGACY_REGION_LEN, Writer};

/// Length of the header in bytes.
pub const XSAVE_HEADER_LEN: usize = 64;
/// Offset from byte 0 of an area at which the extended region begins.
pub const EXTENDED_REGION_OFFSET: usize = LEGACY_REGION_LEN + XSAVE_HEADER_LEN;
/// XCOMP_BV\[63\]: the area is in the compacted format.
pub const COMPACTED_BIT: u64 = 1 << 63;

/// How an area is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 512 bytes for FXSAVE: no header, no extended region.
    Fxsave,
    /// Each component at the offset CPUID gives it; no supervisor component.
    Standard,
    /// Components one after the other as XCOMP_BV lists them.
    Compacted,
}

impl core::fmt::Display for Format {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Fxsave => "FXSAVE",
            Self::Standard => "standard",
            Self::Compacted => "compacted",
        })
    }
}

/// The header as it stands in memory; any content can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XsaveHeader {
    /// Bytes 519:512: components that are not in their initial configuration.
    pub xstate_bv: ComponentSet,
    /// Bytes 527:520: bit 63 and the components that have room, or 0 in the standard format.
    pub xcomp_bv: u64,
    /// Bytes 575:528: must be zero for XRSTOR.
    pub reserved: [u8; 48],
}

impl XsaveHeader {
    /// The header of a standard-format area, nothing else set.
    #[must_use]
    pub const fn standard(xstate_bv: ComponentSet) -> Self {
        Self {
            xstate_bv,
            xcomp_bv: 0,
            reserved: [0; 48],
        }
    }

    /// The header of a compacted area with room for `components`.
    #[must_use]
    pub const fn compacted(xstate_bv: ComponentSet, components: ComponentSet) -> Self {
        Self {
            xstate_bv,
            xcomp_bv: components.bits() | COMPACTED_BIT,
            reserved: [0; 48],
        }
    }

    /// XCOMP_BV\[63\].
    #[must_use]
    pub const fn format(&self) -> Format {
        if self.xcomp_bv & COMPACTED_BIT != 0 {
            Format::Compacted
        } else {
            Format::Standard
        }
    }

    /// XCOMP_BV\[62:0\].
    #[must_use]
    pub const fn xcomp_bv_components(&self) -> ComponentSet {
        ComponentSet::from_bits(self.xcomp_bv & !COMPACTED_BIT)
    }

    /// Reads the header's 64 bytes.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: &[u8; XSAVE_HEADER_LEN]) -> Self {
        let [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i,
            j,
            k,
            l,
            m,
            n,
            o,
            p,
            reserved @ ..,
        ] = *bytes;
        Self {
            xstate_bv: ComponentSet::from_bits(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            xcomp_bv: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            reserved,
        }
    }

    /// The header's 64 bytes.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; XSAVE_HEADER_LEN] {
        let Self {
            xstate_bv,
            xcomp_bv,
            reserved,
        } = self;
        let mut bytes = [0; XSAVE_HEADER_LEN];
        let mut writer = Writer(&mut bytes);
        writer.put(&xstate_bv.bits().to_le_bytes());
        writer.put(&xcomp_bv.to_le_bytes());
        writer.put(reserved);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_keeps_every_byte() {
        let bytes: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let header = XsaveHeader::from_bytes(&bytes);
        assert_eq!(header.xstate_bv.bits(), 0x0706_0504_0302_0100);
        assert_eq!(header.xcomp_bv, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(header.reserved[0], 16);
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn bit_63_of_xcomp_bv_is_the_format() {
        let header = XsaveHeader::compacted(ComponentSet::EMPTY, ComponentSet::LEGACY);
        assert_eq!(header.xcomp_bv, 0x8000_0000_0000_0003);
        assert_eq!(header.format(), Format::Compacted);
        assert_eq!(header.xcomp_bv_components(), ComponentSet::LEGACY);
        assert_eq!(
            XsaveHeader::standard(ComponentSet::LEGACY).format(),
            Format::Standard
        );
    }

    #[test]
    fn a_format_is_shown_by_its_name() {
        extern crate alloc;
        for (format, name) in [
            (Format::Fxsave, "FXSAVE"),
            (Format::Standard, "standard"),
            (Format::Compacted, "compacted"),
        ] {
            assert_eq!(alloc::string::ToString::to_string(&format), name);
        }
    }

    #[test]
    fn the_extended_region_begins_behind_the_header() {
        // SDM 1, 13.4: 512 bytes, then 64.
        assert_eq!(EXTENDED_REGION_OFFSET, 576);
    }

    #[test]
    fn a_set_with_bit_63_makes_a_compacted_header_no_other_format() {
        let foreign = ComponentSet::from_bits(1 << 63 | 3);
        let header = XsaveHeader::compacted(ComponentSet::EMPTY, foreign);
        assert_eq!(header.format(), Format::Compacted);
        assert_eq!(header.xcomp_bv_components(), ComponentSet::LEGACY);
    }
}
