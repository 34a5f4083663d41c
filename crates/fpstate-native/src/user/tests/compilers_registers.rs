//! The registers that compiled code relies on.

use super::*;

#[test]
fn the_compilers_own_registers_are_as_before() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let value = black_box(2.0f64);
        for _ in 0..ROUNDS {
            let image = random(&mut seeded, &cpu, tried);
            let before = compilers_registers();
            call_everything(&mut cpu, &image, &mut area);
            let after = compilers_registers();
            assert_eq!(after, before);
            assert_eq!(after.1[2], 0xffff, "the x87 stack is empty");
            assert_eq!(black_box(value).sqrt(), core::f64::consts::SQRT_2);
        }
    });
}

#[test]
fn a_caller_with_its_own_rounding_keeps_it() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let image = random(&mut seeded, &cpu, tried);
        let (before, after);
        let (flush_to_zero, single_precision, usual_mxcsr, usual_fcw) =
            (0x9f80u32, 0x007fu16, 0x1f80u32, 0x037fu16);
        // SAFETY: masks stay set; what the program expects is put back below.
        unsafe {
            core::arch::asm!(
                "ldmxcsr [{}]", "fldcw [{}]",
                in(reg) &raw const flush_to_zero, in(reg) &raw const single_precision,
            );
        }
        before = compilers_registers();
        call_everything(&mut cpu, &image, &mut area);
        after = compilers_registers();
        // SAFETY: these are the values a program starts with.
        unsafe {
            core::arch::asm!(
                "ldmxcsr [{}]", "fldcw [{}]",
                in(reg) &raw const usual_mxcsr, in(reg) &raw const usual_fcw,
            );
        }
        assert_eq!((before.0, before.1[0]), (flush_to_zero, single_precision));
        assert_eq!(after, before);
    });
}

#[test]
fn a_pending_unmasked_x87_exception_stays_in_the_image() {
    with_xsave(|mut cpu, mut area, _| {
        let mut image = area.clone();
        let pending = LegacyRegion {
            fcw: 0x0340,
            fsw: 0x8081,
            ftw: AbridgedTagWord::from_bits(0xff),
            ..LegacyRegion::INITIAL
        };
        image.set_legacy(&pending);
        image.set_header(&XsaveHeader::standard(ComponentSet::LEGACY));
        let before = compilers_registers();
        call_everything(&mut cpu, &image, &mut area);
        assert_eq!(compilers_registers(), before);
        cpu.fxrstor(image.bytes()).unwrap();
        cpu.xsave(area.bytes_mut(), ALL).unwrap();
        assert_eq!((area.legacy().fcw, area.legacy().fsw), (0x0340, 0x8081));
        cpu.fninit().unwrap();
        cpu.xsave(area.bytes_mut(), ALL).unwrap();
        assert_eq!((area.legacy().fcw, area.legacy().fsw), (0x037f, 0));
    });
}
