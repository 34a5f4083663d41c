//! FIP, FDP and FOP, which XSAVE does not show on an AMD CPU and FNSTENV does.

use core::arch::asm;

use super::*;
use crate::register_moves::MovePlan;
use crate::register_moves::plans::MovePlans;
use crate::register_moves::restore_by_moves;

/// What FLDENV loads: x87 initial, but for the pointers.
const SECRET: [u32; 7] = [
    0xffff_037f,
    0xffff_0000,
    0xffff_ffff,
    0x1234_5678,
    0x0123_0000,
    0x0765_4321,
    0xffff_0000,
];

/// XGETBV(1) with an owner's pointers in the registers, and FIP, FOP and FDP after the next owner's
/// restore by `plan`.
fn after_a_restore(plan: &MovePlan, image: &Area) -> (u32, [u32; 3]) {
    let mut environment = SECRET;
    let in_use: u64;
    // SAFETY: the environment is written and read; the plan is for this CPU and the image has what
    // it touches; x87 is initial at the end but for the pointers, as at the beginning, and MXCSR is
    // the image's, which is initial.
    unsafe {
        asm!(
            "fninit",
            "fldenv [r12]",
            "xor edx, edx",
            "xor ecx, ecx",
            "call {restore}",
            "fnstenv [r12]",
            "fninit",
            restore = sym restore_by_moves,
            in("rdi") image.bytes().as_ptr(),
            in("rsi") core::ptr::from_ref(plan),
            in("r12") environment.as_mut_ptr(),
            lateout("rax") in_use,
            clobber_abi("sysv64"),
        );
    }
    let [_, _, _, fip, fop, fdp, _] = environment;
    (u32::try_from(in_use).unwrap(), [fip, fop >> 16, fdp])
}

#[test]
fn the_next_owner_does_not_see_the_last_ones_error_pointers() {
    for_each_case(|bench| {
        let mut image = bench.area();
        image.set_legacy(&LegacyRegion::INITIAL);
        let rfbm = bench.tried;
        let plan = |error_pointers| {
            let cpu = MovingCpu {
                error_pointers: ErrorPointersLeft::on_this_cpu(error_pointers),
                counted_when_zeroed: MovingCpu::counted_when_zeroed(),
                ..bench.moving()
            };
            MovePlan::for_saves(cpu, &bench.on, Format::Standard, rfbm).unwrap()
        };
        let (in_use, left) = after_a_restore(&plan(ErrorPointersLeft::Zeroed), &image);
        if in_use & 1 == 0 {
            assert_eq!(left, [0; 3]);
        }
        let (in_use, [fip, fop, fdp]) = after_a_restore(&plan(ErrorPointersLeft::Replaced), &image);
        if in_use & 1 == 0 {
            assert!(fip != SECRET[3] && fop != SECRET[4] >> 16 && fdp != SECRET[5]);
        }
    });
}

/// What a restore by instruction may leave out: x87 only where moves leave the pointers too.
#[test]
fn x87_is_told_by_xinuse_where_nobody_minds_the_error_pointers() {
    let is_intel = crate::cpuid(0, 0).ebx.to_le_bytes() == *b"Genu";
    for (left, told) in [
        (ErrorPointersLeft::Initial, true),
        (ErrorPointersLeft::Kept, true),
        (ErrorPointersLeft::Zeroed, is_intel),
        (ErrorPointersLeft::Replaced, is_intel),
    ] {
        let found = MovePlans::new(0xffff, left).told_by_xinuse();
        assert_eq!(found.contains(Component::X87), told, "{left:?}");
        assert!(!found.contains(Component::Sse));
    }
}
