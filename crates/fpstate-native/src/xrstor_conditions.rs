//! What makes XRSTOR, FXRSTOR and LDMXCSR raise #GP (SDM 1, 13.8; SDM 2, XRSTOR).
//!
//! For a processor whose exceptions are not its own: in an ordinary process #GP is a signal, so
//! the image is judged before the instruction sees it.

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Component, ComponentSet, Fault, Format, Mxcsr, XsaveHeader};

/// What the verdict depends on besides the image and RFBM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XrstorConditions {
    pub(crate) xcr0: ComponentSet,
    pub(crate) mxcsr_mask: u32,
    pub(crate) formats: &'static [Format],
}

/// A CPU with XSAVEC.
pub(crate) const BOTH_FORMATS: &[Format] = &[Format::Standard, Format::Compacted];
/// A CPU without.
pub(crate) const STANDARD_ONLY: &[Format] = &[Format::Standard];

impl XrstorConditions {
    /// XRSTOR of `rfbm` from an area that begins with `legacy` and `header`.
    #[inline]
    pub(crate) fn check(
        &self,
        legacy: &[u8; LEGACY_REGION_LEN],
        header: &XsaveHeader,
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.check_header(header)?;
        if self.takes_mxcsr(header, rfbm) {
            self.check_mxcsr(mxcsr_in(legacy))?;
        }
        Ok(())
    }

    /// The header alone.
    pub(crate) fn check_header(&self, header: &XsaveHeader) -> Result<(), Fault> {
        let format = header.format();
        let room = self.room(header);
        let reserved_are_zero = match format {
            Format::Standard | Format::Fxsave => header.reserved.first_chunk() == Some(&[0; 8]),
            Format::Compacted => header.reserved == [0; 48],
        };
        let legal = self.formats.contains(&format)
            // XCOMP_BV with any bit below 63 is a header of no format.
            && (format == Format::Compacted || header.xcomp_bv == 0)
            && self.xcr0.contains_all(room)
            && room.contains_all(header.xstate_bv)
            && reserved_are_zero;
        if legal {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }

    /// The components that XSTATE_BV may have.
    pub(crate) fn room(&self, header: &XsaveHeader) -> ComponentSet {
        match header.format() {
            Format::Standard | Format::Fxsave => self.xcr0,
            Format::Compacted => header.xcomp_bv_components(),
        }
    }

    /// FXRSTOR and LDMXCSR, and XRSTOR where it takes MXCSR from the area.
    pub(crate) const fn check_mxcsr(&self, mxcsr: Mxcsr) -> Result<(), Fault> {
        if mxcsr.is_valid_under(self.mxcsr_mask) {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }

    /// The standard form takes MXCSR from memory for SSE and for AVX, whatever XSTATE_BV says; the
    /// compacted form takes it with SSE (SDM 1, 13.8.1 and 13.8.2).
    fn takes_mxcsr(&self, header: &XsaveHeader, rfbm: ComponentSet) -> bool {
        let restored = rfbm.intersection(self.xcr0);
        match header.format() {
            Format::Standard | Format::Fxsave => restored.intersects(SSE_AND_AVX),
            Format::Compacted => restored
                .intersection(header.xstate_bv)
                .contains(Component::Sse),
        }
    }
}

/// Bytes 27:24.
#[inline]
pub(crate) const fn mxcsr_in(legacy: &[u8; LEGACY_REGION_LEN]) -> Mxcsr {
    match legacy.first_chunk::<28>() {
        Some([.., a, b, c, d]) => Mxcsr::from_bits(u32::from_le_bytes([*a, *b, *c, *d])),
        None => Mxcsr::INITIAL,
    }
}

const SSE_AND_AVX: ComponentSet = ComponentSet::EMPTY
    .with(Component::Sse)
    .with(Component::Avx);

#[cfg(test)]
mod tests {
    use super::*;

    const SKYLAKE: XrstorConditions = XrstorConditions {
        xcr0: ComponentSet::from_bits(0x2e7),
        mxcsr_mask: 0xffff,
        formats: BOTH_FORMATS,
    };
    const ALL: ComponentSet = ComponentSet::from_bits(!0);

    fn legacy(mxcsr: u32) -> [u8; LEGACY_REGION_LEN] {
        let mut bytes = [0; LEGACY_REGION_LEN];
        bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        bytes
    }

    fn header(xstate_bv: u64, xcomp_bv: u64, reserved_byte: Option<usize>) -> XsaveHeader {
        let mut reserved = [0; 48];
        if let Some(n) = reserved_byte {
            reserved[n - 16] = 1;
        }
        XsaveHeader {
            xstate_bv: ComponentSet::from_bits(xstate_bv),
            xcomp_bv,
            reserved,
        }
    }

    #[test]
    fn headers_are_judged_by_the_rules_of_their_format() {
        const COMPACTED: u64 = 1 << 63;
        for (xstate_bv, xcomp_bv, reserved_byte, legal) in [
            (0x0, 0, None, true),
            (0x2e7, 0, None, true),
            (0x2ef, 0, None, false),
            (COMPACTED, 0, None, false),
            (0x7, 0x7, None, false),
            (0x7, 0, Some(16), false),
            (0x7, 0, Some(23), false),
            (0x7, 0, Some(24), true),
            (0x7, 0, Some(63), true),
            (0x7, COMPACTED | 0x2e7, None, true),
            (0x0, COMPACTED, None, true),
            (0x7, COMPACTED | 0x3, None, false),
            (0x7, COMPACTED | 0xf, None, false),
            (COMPACTED | 7, COMPACTED | 7, None, false),
            (0x7, COMPACTED | 0x7, Some(16), false),
            (0x7, COMPACTED | 0x7, Some(24), false),
            (0x7, COMPACTED | 0x7, Some(63), false),
        ] {
            let header = header(xstate_bv, xcomp_bv, reserved_byte);
            let verdict = SKYLAKE.check(&legacy(0x1f80), &header, ALL);
            assert_eq!(verdict.is_ok(), legal, "{header:x?}");
        }
    }

    #[test]
    fn without_xsavec_the_compacted_format_is_refused() {
        let haswell = XrstorConditions {
            formats: STANDARD_ONLY,
            ..SKYLAKE
        };
        let header = XsaveHeader::compacted(ComponentSet::LEGACY, ComponentSet::LEGACY);
        assert_eq!(SKYLAKE.check(&legacy(0x1f80), &header, ALL), Ok(()));
        assert_eq!(
            haswell.check(&legacy(0x1f80), &header, ALL),
            Err(Fault::GeneralProtection)
        );
    }

    #[test]
    fn reserved_bits_of_mxcsr_matter_where_mxcsr_is_taken() {
        const COMPACTED: u64 = 1 << 63 | 0x7;
        for (xstate_bv, xcomp_bv, rfbm, taken) in [
            (0x0, 0, 0x2, true),
            (0x0, 0, 0x4, true),
            (0x7, 0, 0x1, false),
            (0x7, COMPACTED, 0x2, true),
            (0x5, COMPACTED, 0x2, false),
            (0x7, COMPACTED, 0x5, false),
        ] {
            let verdict = SKYLAKE.check(
                &legacy(0x1_1f80),
                &header(xstate_bv, xcomp_bv, None),
                ComponentSet::from_bits(rfbm),
            );
            assert_eq!(
                verdict.is_err(),
                taken,
                "{xstate_bv:#x} {xcomp_bv:#x} {rfbm:#x}"
            );
        }
    }
}
