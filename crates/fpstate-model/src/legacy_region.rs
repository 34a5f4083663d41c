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
        X87Pointers::LeftAlone if !x87.has_pending_exception() => {
            (region.fop, region.fip, region.fdp)
        }
        X87Pointers::LeftAlone | X87Pointers::WhileExceptionPending | X87Pointers::Always => {
            (*fop, *fip, *fdp)
        }
    };
    for (to, value) in region.st.iter_mut().zip(st) {
        // The six bytes above each value are reserved; they are written as 0.
        *to = [0; 16];
        for (to, from) in to.iter_mut().zip(value) {
            *to = *from;
        }
    }
}

/// What x87, which holds `before`, holds after it was loaded from `region`. The manual says nothing of the reserved bits;
/// Zen 4 drops them and derives FSW.ES and FSW.B from the flags and masks it loads.
pub(crate) fn restored_x87(region: &LegacyRegion, before: &X87, vendor: VendorDifferences) -> X87 {
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
        return x87;
    }
    (x87.fop, x87.fip, x87.fdp) = match vendor.x87_pointers {
        X87Pointers::Always => (x87.fop, x87.fip, x87.fdp),
        X87Pointers::WhileExceptionPending => (0, 0, 0),
        X87Pointers::LeftAlone => (before.fop, before.fip, before.fdp),
    };
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
    use crate::cpu::ModelCpu;
    use crate::profile::Profile;
    use crate::recorded_cpus::{ALL, Area, GENOA, cpu_with_everything_enabled};
    use fpstate_arch::{AbridgedTagWord, Component, Fault, Processor};

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
        restored_x87(&region, &X87::INITIAL, vendor)
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
            let x87 = restored_x87(&region, &X87::INITIAL, VendorDifferences::INTEL);
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

    const LEFT_ALONE: VendorDifferences = VendorDifferences {
        x87_pointers: X87Pointers::LeftAlone,
        ..VendorDifferences::AMD
    };

    const fn pointers(x87: &X87) -> (u16, u64, u64) {
        (x87.fop, x87.fip, x87.fdp)
    }

    /// CVE-2006-1056: as if one thread had executed x87 instructions before the other is restored.
    #[test]
    fn old_amd_processors_leave_error_pointers_alone_unless_an_exception_is_pending() {
        let masked = X87 {
            fcw: 0x037f,
            ..PENDING
        };
        let other = X87 {
            fop: 0x0111,
            fip: 0x2222,
            fdp: 0x3333,
            ..X87::INITIAL
        };
        for (saved, comes_back) in [(&masked, false), (&PENDING, true)] {
            let mut region = LegacyRegion {
                fop: 0x0444,
                fip: 0x5555,
                fdp: 0x6666,
                ..LegacyRegion::INITIAL
            };
            save_x87(&mut region, saved, LEFT_ALONE.x87_pointers);
            let in_memory = (region.fop, region.fip, region.fdp);
            let restored = restored_x87(&region, &other, LEFT_ALONE);
            if comes_back {
                assert_eq!(in_memory, pointers(saved));
                assert_eq!(pointers(&restored), pointers(saved));
            } else {
                assert_eq!(in_memory, (0x0444, 0x5555, 0x6666));
                assert_eq!(pointers(&restored), pointers(&other));
            }
            assert_eq!((restored.fcw, restored.st), (saved.fcw, saved.st));
        }
    }

    #[test]
    fn every_save_and_restore_leaves_them_alone_and_initialising_x87_does_not() {
        type Save = fn(&mut ModelCpu, &mut [u8]) -> Result<(), Fault>;
        type Restore = fn(&mut ModelCpu, &[u8]) -> Result<(), Fault>;
        type Initialise = fn(&mut ModelCpu) -> Result<(), Fault>;
        let pairs: [(Save, Restore); 3] = [
            (ModelCpu::fxsave, ModelCpu::fxrstor),
            (
                |cpu, area| cpu.xsave(area, ALL),
                |cpu, area| cpu.xrstor(area, ALL),
            ),
            (
                |cpu, area| cpu.xsaves(area, ALL),
                |cpu, area| cpu.xrstors(area, ALL),
            ),
        ];
        for (save, restore) in pairs {
            let mut cpu = cpu_with_everything_enabled(&GENOA);
            cpu.set_vendor_differences(LEFT_ALONE);
            cpu.registers_mut().fnclex_emms_fild(0x1111, 0x2222, 0x333);
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0).unwrap();
            assert_eq!((area.u64_at(8), area.u64_at(16)), (0, 0));
            cpu.registers_mut().fnclex_emms_fild(0x4444, 0x5555, 0x666);
            restore(&mut cpu, &area.0).unwrap();
            let seen = pointers(&cpu.registers().x87);
            assert_eq!(seen, (0x666, 0x4444, 0x5555));
        }
        let initialise: [Initialise; 3] = [
            |cpu| cpu.xrstor(&Area::standard(0).0, ALL),
            |cpu| cpu.xrstors(&Area::compacted(0, 0x7).0, ALL),
            ModelCpu::fninit,
        ];
        for instruction in initialise {
            let mut cpu = cpu_with_everything_enabled(&GENOA);
            cpu.set_vendor_differences(LEFT_ALONE);
            cpu.registers_mut().fnclex_emms_fild(0x4444, 0x5555, 0x666);
            instruction(&mut cpu).unwrap();
            assert_eq!(pointers(&cpu.registers().x87), (0, 0, 0));
        }
    }

    #[test]
    fn fnclex_emms_fild_ends_exceptions_and_leaves_one_register_in_use() {
        let mut cpu = cpu_with_everything_enabled(&GENOA);
        let x87 = cpu.registers_mut().x87();
        *x87 = PENDING;
        // TOP is 3; C3 to C0, the stack fault, ES, B and all flags are 1.
        x87.fsw = 3 << 11 | 0xc7ff;
        x87.st = core::array::from_fn(|i| [u8::try_from(i).unwrap(); 10]);
        cpu.registers_mut().fnclex_emms_fild(0x4444, 0x5555, 0x666);
        let x87 = &cpu.registers().x87;
        // TOP is 2, C1 is 0 after a push (SDM 2, FILD); FNCLEX leaves the other codes.
        assert_eq!(x87.fsw, 2 << 11 | 0x4500);
        assert_eq!(x87.ftw.bits(), 1 << 2);
        assert_eq!(x87.st.map(|register| register[0]), [0, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pointers(x87), (0x666, 0x4444, 0x5555));
        assert!(cpu.in_use().contains(Component::X87));
    }

    /// `XSaveErPtr` is CPUID.80000008H:EBX\[2\].
    #[test]
    fn the_recorded_amd_processors_have_xsaveerptr_and_one_without_it_is_an_old_one() {
        for profile in [
            Profile::ROME,
            Profile::MILAN,
            Profile::GENOA,
            Profile::TURIN,
        ] {
            let vendor = profile.cpu().vendor_differences();
            assert_eq!(vendor.x87_pointers, X87Pointers::WhileExceptionPending);
        }
        let mut old = GENOA;
        for (leaf, _, registers) in &mut old {
            if *leaf == 0x8000_0008 {
                registers.ebx &= !(1 << 2);
            }
        }
        let without_the_leaf = &GENOA[..12];
        assert!(
            without_the_leaf
                .iter()
                .all(|(leaf, ..)| *leaf < 0x8000_0000)
        );
        for leaves in [&old[..], without_the_leaf] {
            let vendor = ModelCpu::new(leaves).vendor_differences();
            assert_eq!(vendor, LEFT_ALONE);
        }
        let intel = Profile::HASWELL_EP.cpu().vendor_differences();
        assert_eq!(intel.x87_pointers, X87Pointers::Always);
    }
}
