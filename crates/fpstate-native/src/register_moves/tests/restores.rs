//! Restores by moves beside XRSTOR.

use fpstate_arch::{Fault, Moved};

use super::*;
use crate::random_image::assert_same;
use crate::register_moves::{MovePlan, Outcome, restore_by_moves};

/// `image`, in a format, as an instruction has it.
fn in_some_format(bench: &mut Bench<'_>, image: Area) -> Area {
    if !bench.one_in(2) {
        return image;
    }
    let room = bench.rfbm().union(SSE);
    bench.load(&image);
    let mut compacted = bench.area();
    compacted.bytes_mut()[..512].fill(0xa5);
    compacted.bytes_mut()[576..].fill(0xa5);
    bench.cpu.xsavec(compacted.bytes_mut(), room).unwrap();
    compacted
}

/// Whether moves cover a restore, by the rules of the module.
fn is_covered(image: &Area, rfbm: ComponentSet, in_use: ComponentSet) -> bool {
    let loaded = image.header().xstate_bv.intersection(rfbm);
    let replaced = in_use.intersection(rfbm);
    let not_asked = in_use.intersection(MOVABLE).difference(rfbm);
    // FXRSTOR loads XMM whatever XSTATE_BV says.
    let legacy = loaded.intersection(ComponentSet::LEGACY);
    let without_sse = legacy == ComponentSet::only(Component::X87);
    let x87_initialised = replaced.difference(loaded).contains(Component::X87);
    rfbm.contains(Component::Sse)
        && COVERED.contains_all(loaded.union(replaced))
        && not_asked.is_empty()
        && !without_sse
        && (!x87_initialised || crate::cpuid(0, 0).ecx.to_le_bytes() == *b"cAMD")
}

#[test]
fn a_restore_by_moves_leaves_the_registers_as_xrstor_does() {
    let mut done = 0;
    for_each_case(|bench| {
        let (image, prior) = (bench.image(), bench.image());
        let image = in_some_format(bench, image);
        let rfbm = bench.rfbm();
        bench.load(&prior);
        let (before, in_use) = bench.registers();
        let known = bench.one_in(2).then_some(in_use);
        let moved = bench.cpu.restore_by_moves(image.bytes(), rfbm, known);
        let moved = moved.unwrap();
        let (found, found_in_use) = bench.registers();
        let what = std::format!("{:?}, {rfbm}: {moved:?}", image.header());
        let in_use = moved.in_use().unwrap_or(in_use);
        let Moved::Done { .. } = moved else {
            assert!(!is_covered(&image, rfbm, in_use), "{what}");
            assert_same(&bench.on, &found, &before, bench.tried);
            return;
        };
        done += 1;
        assert!(is_covered(&image, rfbm, in_use), "{what}");
        bench.load(&prior);
        bench.cpu.xrstor(image.bytes(), rfbm).unwrap();
        let (expected, expected_in_use) = bench.registers();
        assert_same(&bench.on, &found, &expected, bench.tried);
        // Zero idioms take a component out of use on a Zen 4, as the initial configuration does; but
        // it counts one as in use that is a part of a register with others in use, or not, by turns.
        let zeroed = found_in_use.difference(expected_in_use);
        let own_registers = ComponentSet::only(Component::Opmask)
            .with(Component::Hi16Zmm)
            .with(Component::X87);
        if is_zen_4() && zeroed.intersects(own_registers) {
            panic!("{what}: {zeroed} are in use and zero");
        }
    });
    assert!(done * 4 > cases(), "only {done} cases were covered");
}

#[test]
fn an_image_that_xrstor_refuses_is_not_loaded_by_moves() {
    for_each_case(|bench| {
        let mut image = bench.image();
        if bench.one_in(2) {
            bench.load(&image);
            let tried = bench.tried;
            bench.cpu.xsavec(image.bytes_mut(), tried).unwrap();
        }
        let prior = bench.image();
        // One bit of what XRSTOR judges: the header, or a bit of MXCSR that no CPU has.
        let bit = usize::try_from(bench.random.u64() >> 17).unwrap() % (64 * 8 + 16);
        match bit.checked_sub(512) {
            None => image.bytes_mut()[512 + bit / 8] ^= 1 << (bit % 8),
            Some(bit) => image.bytes_mut()[26 + bit / 8] ^= 1 << (bit % 8),
        }
        bench.load(&prior);
        let (before, _) = bench.registers();
        let tried = bench.tried;
        let moved = bench.cpu.restore_by_moves(image.bytes(), tried, None);
        let (found, _) = bench.registers();
        if let Ok(Moved::Done { .. }) = moved {
            bench.load(&prior);
            assert_eq!(bench.cpu.xrstor(image.bytes(), tried), Ok(()));
            let (expected, _) = bench.registers();
            assert_same(&bench.on, &found, &expected, tried);
        } else {
            assert_same(&bench.on, &found, &before, tried);
        }
    });
}

#[test]
fn an_area_at_the_wrong_place_is_refused_and_a_short_one_is_the_instructions() {
    for_each_case(|bench| {
        let image = bench.image();
        let tried = bench.tried;
        let misplaced = bench
            .cpu
            .restore_by_moves(&image.bytes()[16..], tried, None);
        assert_eq!(misplaced, Err(Fault::GeneralProtection));
        let short = &image.bytes()[..image.bytes().len() - 1];
        let moved = bench.cpu.restore_by_moves(short, tried, None);
        assert_eq!(moved, Ok(Moved::NOTHING));
        let header = bench
            .cpu
            .restore_by_moves(&image.bytes()[..575], tried, None);
        let (reach, len) = (576, 575);
        assert_eq!(header, Err(Fault::OutsideArea { reach, len }));
    });
}

#[test]
fn what_is_in_use_that_xcr0_does_not_have_is_an_instructions() {
    for_each_case(|bench| {
        let image = bench.image();
        let tried = bench.tried;
        let in_use = ComponentSet::from_bits(1 << 62);
        let moved = bench
            .cpu
            .restore_by_moves(image.bytes(), tried, Some(in_use));
        let in_use = Some(in_use);
        assert_eq!(moved, Ok(Moved::NotCovered { in_use }));
    });
}

#[test]
fn the_routine_itself_judges_the_format() {
    for_each_case(|bench| {
        let (image, prior) = (bench.image(), bench.image());
        let cpu = bench.moving();
        let compacted = Format::Compacted;
        let Some(plan) = MovePlan::for_saves(cpu, &bench.on, compacted, bench.tried) else {
            return;
        };
        bench.load(&prior);
        let in_use = bench.in_use().bits();
        // SAFETY: 1 to 3: the plan is for this CPU, the image as long as any. 4, 5: nothing is loaded.
        let outcome =
            unsafe { restore_by_moves(image.bytes().as_ptr(), &raw const plan, in_use, 1) };
        assert_eq!(outcome.status, Outcome::NOT_COVERED);
        assert_eq!(outcome.in_use, in_use);
        // SAFETY: as above.
        let outcome = unsafe { restore_by_moves(image.bytes().as_ptr(), &raw const plan, 0, 0) };
        assert_eq!(outcome.status, Outcome::UNKNOWN);
    });
}

#[test]
fn x87_that_would_go_on_counting_as_in_use_is_initialised_by_an_instruction() {
    for_each_case(|bench| {
        let mut image = bench.area();
        image.set_legacy(&LegacyRegion::INITIAL);
        let cpu = MovingCpu {
            counted_when_zeroed: ComponentSet::only(Component::X87),
            ..bench.moving()
        };
        let standard = Format::Standard;
        let Some(plan) = MovePlan::for_saves(cpu, &bench.on, standard, bench.tried) else {
            return;
        };
        let in_use = bench.some().union(ComponentSet::LEGACY).bits();
        // SAFETY: 1 to 3: the plan is for this CPU, the image as long as any. 4, 5: nothing is loaded.
        let outcome =
            unsafe { restore_by_moves(image.bytes().as_ptr(), &raw const plan, in_use, 1) };
        assert_eq!(outcome.status, Outcome::NOT_COVERED);
        assert_eq!(outcome.in_use, in_use);
    });
}
