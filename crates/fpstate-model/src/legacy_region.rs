//! x87 and SSE in bytes 0 to 511 of an area, in the form of REX.W (SDM 1, 13.5.1 and 13.5.2).
//!
//! Bytes 511:416 are never written: 511:464 belong to software, and Zen 4 leaves the reserved bytes
//! below them alone.

use fpstate_arch::{LegacyRegion, Mxcsr};

use crate::register_file::{EXCEPTIONS, RegisterFile, X87};
use crate::vendor::{VendorDifferences, X87Pointers};

const ES: u16 = 1 << 7;
const B: u16 = 1 << 15;
const FCW_EXISTING: u16 = 0x1f7f;
const FCW_ALWAYS_1: u16 = 0x0040;
const FOP_EXISTING: u16 = 0x07ff;

/// Bytes 23:0 and 159:32.
pub(crate) fn save_x87(region: &mut LegacyRegion, x87: &X87, pointers: X87Pointers) {
    let X87 {
        fcw,
        fsw,
        ftw,
        fop,
        fip,
        fdp,
        st,
    } = x87;
    region.fcw = *fcw;
    region.fsw = *fsw;
    region.ftw = *ftw;
    region.reserved_5 = 0;
    (region.fop, region.fip, region.fdp) = match pointers {
        X87Pointers::WhileExceptionPending if !x87.has_pending_exception() => (0, 0, 0),
        X87Pointers::WhileExceptionPending | X87Pointers::Always => (*fop, *fip, *fdp),
    };
    for (to, value) in region.st.iter_mut().zip(st) {
        // The six bytes above each value are reserved; they are written as 0.
        *to = [0; 16];
        for (to, from) in to.iter_mut().zip(value) {
            *to = *from;
        }
    }
}

/// What x87 holds after it was loaded from `region`. The manual says nothing of the reserved bits;
/// Zen 4 drops them and derives FSW.ES and FSW.B from the flags and masks it loads.
pub(crate) fn restored_x87(region: &LegacyRegion, vendor: VendorDifferences) -> X87 {
    let mut x87 = X87 {
        fcw: region.fcw & FCW_EXISTING | FCW_ALWAYS_1,
        fsw: region.fsw & !(ES | B),
        ftw: region.ftw,
        fop: region.fop & FOP_EXISTING,
        fip: vendor.x87_pointer_width.held(region.fip),
        fdp: vendor.x87_pointer_width.held(region.fdp),
        st: [[0; 10]; 8],
    };
    for (to, from) in x87.st.iter_mut().zip(&region.st) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
    if x87.has_pending_exception() {
        x87.fsw |= ES | B;
    } else if vendor.x87_pointers == X87Pointers::WhileExceptionPending {
        (x87.fop, x87.fip, x87.fdp) = (0, 0, 0);
    }
    x87
}

const _: () = assert!(EXCEPTIONS & (ES | B) == 0);

/// Bytes 31:24.
pub(crate) fn save_mxcsr(
    region: &mut LegacyRegion,
    registers: &RegisterFile,
    vendor: VendorDifferences,
) {
    region.mxcsr = registers.sse.mxcsr;
    region.mxcsr_mask = vendor.mxcsr_mask;
}

/// Whether loading `mxcsr` raises #GP(0); MXCSR_MASK in memory plays no part in it.
pub(crate) const fn is_loadable(mxcsr: Mxcsr, vendor: VendorDifferences) -> bool {
    mxcsr.is_valid_under(vendor.mxcsr_mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::AbridgedTagWord;

    /// FCW masks no exception and FSW has the invalid-operation flag; ES and B are left 0.
    const PENDING: X87 = X87 {
        fcw: 0x0340,
        fsw: 0x0001,
        ftw: AbridgedTagWord::from_bits(0x81),
        fop: 0x07ff,
        fip: 0x1234,
        fdp: 0x5678,
        st: [[9; 10]; 8],
    };

    fn through_memory(x87: &X87, vendor: VendorDifferences) -> X87 {
        let mut region = LegacyRegion {
            st: [[0xaa; 16]; 8],
            ..LegacyRegion::INITIAL
        };
        region.reserved_5 = 0xaa;
        save_x87(&mut region, x87, vendor.x87_pointers);
        // Reserved bytes beside x87 fields are written as 0: seen on Zen 4.
        assert_eq!((&region.st[7][10..], region.reserved_5), (&[0; 6][..], 0));
        restored_x87(&region, vendor)
    }

    #[test]
    fn error_pointers_are_kept_always_or_only_with_a_pending_exception() {
        let masked = X87 {
            fcw: 0x037f,
            ..PENDING
        };
        let kept = through_memory(&masked, VendorDifferences::INTEL);
        assert_eq!(kept, masked);
        let lost = through_memory(&masked, VendorDifferences::AMD);
        assert_eq!((lost.fop, lost.fip, lost.fdp), (0, 0, 0));
        let pending = through_memory(&PENDING, VendorDifferences::AMD);
        assert_eq!((pending.fop, pending.fip), (0x07ff, 0x1234));
    }

    /// As seen on Zen 4: FCW and FSW loaded with these values were stored as those.
    #[test]
    fn reserved_bits_are_dropped_and_the_summary_bits_follow_the_flags() {
        for (fcw, fsw, stored_fcw, stored_fsw) in [
            (0xffff, 0xffff, 0x1f7f, 0x7f7f),
            (0x0000, 0x8080, 0x0040, 0x0000),
            (0x037e, 0x0001, 0x037e, 0x8081),
            (0x037f, 0x8081, 0x037f, 0x0001),
        ] {
            let region = LegacyRegion {
                fcw,
                fsw,
                fop: 0xffff,
                ..LegacyRegion::INITIAL
            };
            let x87 = restored_x87(&region, VendorDifferences::INTEL);
            assert_eq!((x87.fcw, x87.fsw), (stored_fcw, stored_fsw));
            assert_eq!(x87.fop, 0x07ff);
        }
    }

    /// As seen on Zen 4, by XRSTOR64 and by FXRSTOR64.
    #[test]
    fn error_pointers_lose_the_bits_that_no_linear_address_has() {
        for (pointer, held) in [
            (0x1234_5678_9abc_def0, 0x0034_5678_9abc_def0),
            (0x0100_0000_0000_0000, 0xff00_0000_0000_0000),
            (0xfe00_0000_0000_0000, 0x0000_0000_0000_0000),
            (0x0000_8000_0000_0000, 0x0000_8000_0000_0000),
        ] {
            let x87 = X87 {
                fip: pointer,
                fdp: pointer,
                ..PENDING
            };
            let amd = through_memory(&x87, VendorDifferences::AMD);
            assert_eq!((amd.fip, amd.fdp), (held, held));
            let intel = through_memory(&x87, VendorDifferences::INTEL);
            assert_eq!((intel.fip, intel.fdp), (pointer, pointer));
        }
    }
}
