//! Saves by moves beside XSAVEC, XSAVE and XSAVEOPT.

use core::ops::Range;

use fpstate_arch::{Fault, Instruction, Moved, XsaveHeader};

use super::*;
use crate::register_moves::{MovePlan, Outcome, save_by_moves};

const UNTOUCHED: u8 = 0xa5;

/// No part of an area is what the registers have, but for XSTATE_BV and XCOMP_BV.
fn marked(bench: &Bench<'_>, xstate_bv: ComponentSet) -> Area {
    let mut area = bench.area();
    area.bytes_mut().fill(UNTOUCHED);
    area.bytes_mut()[512..520].copy_from_slice(&xstate_bv.bits().to_le_bytes());
    area.bytes_mut()[520..576].fill(0);
    area
}

/// Where a component lies: `room` is empty for the standard format.
fn places(bench: &Bench<'_>, room: ComponentSet, component: Component) -> [Range<usize>; 2] {
    const NOWHERE: Range<usize> = 0..0;
    if component == Component::X87 {
        return [0..24, 32..160];
    }
    if component == Component::Sse {
        return [160..416, NOWHERE];
    }
    if room.is_empty() {
        return [standard_place(&bench.on, component), NOWHERE];
    }
    let start = crate::reach::compacted_offset(&bench.on, room, component);
    let len = bench.on.entry(component).unwrap().len;
    let place = start.try_into().unwrap()..(start + len).try_into().unwrap();
    [place, NOWHERE]
}

/// What an image says of a component: its bytes, or that it is initial.
fn contents<'a>(
    area: &'a Area,
    component: Component,
    place: Range<usize>,
) -> impl Iterator<Item = u8> + 'a {
    let live = area.header().xstate_bv.contains(component);
    let bytes = area.bytes()[place].iter();
    bytes.map(move |byte| if live { *byte } else { 0 })
}

fn saves_what(instruction: Instruction, format: Format) {
    for_each_case(|bench| {
        let (rfbm, image) = (bench.rfbm(), bench.image());
        bench.load(&image);
        // The standard format's saves keep the bits that they were not asked for.
        let others = bench.some().difference(rfbm).without(Component::X87);
        let (mut by_moves, mut by_instruction) = (marked(bench, others), marked(bench, others));
        let mut untouched = marked(bench, others);
        let area = by_moves.bytes_mut();
        let moved = bench.cpu.save_by_moves(area, format, rfbm).unwrap();
        let what = std::format!("{rfbm}: {moved:?}");
        let Moved::Done { in_use } = moved else {
            let found = moved.in_use();
            assert_eq!(found.is_none(), !rfbm.contains(Component::Sse), "{what}");
            let refused = found.map(|found| !COVERED.contains_all(found.intersection(rfbm)));
            assert!(refused != Some(false), "{what}");
            assert!(by_moves.bytes() == untouched.bytes(), "{what}");
            return;
        };
        let saved = in_use.intersection(rfbm);
        assert!(COVERED.contains_all(saved), "{what}");
        let area = by_instruction.bytes_mut();
        let executed = match instruction {
            Instruction::Xsave => bench.cpu.xsave(area, rfbm),
            Instruction::Xsavec => bench.cpu.xsavec(area, rfbm),
            Instruction::Xsaveopt => bench.cpu.xsaveopt(area, rfbm),
            other @ (Instruction::Fxsave
            | Instruction::XgetbvInUse
            | Instruction::Xsaves
            | Instruction::Xfd) => panic!("{other} is not compared"),
        };
        executed.unwrap();
        let room = match format {
            Format::Compacted => rfbm,
            Format::Standard | Format::Fxsave => ComponentSet::EMPTY,
        };
        // XGETBV(1) may answer otherwise a moment later, and XSAVE does not count MXCSR as SSE: what
        // one of the two leaves out the other has as initial.
        for component in rfbm.intersection(COVERED).iter() {
            for place in places(bench, room, component) {
                let (mine, its) = (&by_moves, &by_instruction);
                let mine = contents(mine, component, place.clone());
                assert!(
                    mine.eq(contents(its, component, place)),
                    "{component}: {what}"
                );
            }
        }
        let header = by_moves.header();
        assert_eq!(header.xcomp_bv, by_instruction.header().xcomp_bv);
        assert_eq!(header.xstate_bv.intersection(rfbm), saved, "{what}");
        if format == Format::Standard {
            assert_eq!(header.xstate_bv.difference(rfbm), others, "{what}");
        }
        let both = saved.intersection(by_instruction.header().xstate_bv);
        if format == Format::Standard || both.contains(Component::Sse) {
            assert_eq!(by_moves.bytes()[24..32], by_instruction.bytes()[24..32]);
        }
        // FXSAVE stores XMM as well, of which XSTATE_BV then says nothing.
        let with_x87 = saved.contains(Component::X87);
        let written = if with_x87 { saved.union(SSE) } else { saved };
        for written in written
            .iter()
            .flat_map(|component| places(bench, room, component))
        {
            untouched.bytes_mut()[written.clone()].copy_from_slice(&by_moves.bytes()[written]);
        }
        for written in [24..32, 512..528] {
            untouched.bytes_mut()[written.clone()].copy_from_slice(&by_moves.bytes()[written]);
        }
        assert!(by_moves.bytes() == untouched.bytes(), "{what}");
        bench.cpu.xrstor(by_moves.bytes(), rfbm).unwrap();
    });
}

#[test]
fn a_compacted_save_by_moves_is_that_of_xsavec() {
    saves_what(Instruction::Xsavec, Format::Compacted);
}

#[test]
fn a_standard_save_by_moves_is_that_of_xsave() {
    saves_what(Instruction::Xsave, Format::Standard);
}

#[test]
fn a_standard_save_by_moves_is_that_of_xsaveopt() {
    saves_what(Instruction::Xsaveopt, Format::Standard);
}

#[test]
fn a_save_by_moves_writes_nothing_beyond_its_reach() {
    for_each_case(|bench| {
        let image = bench.image();
        bench.load(&image);
        let rfbm = bench.rfbm().union(SSE);
        for format in [Format::Compacted, Format::Standard] {
            let mut area = marked(bench, ComponentSet::EMPTY);
            let refused = bench
                .cpu
                .save_by_moves(&mut area.bytes_mut()[..0], format, rfbm);
            let Err(Fault::OutsideArea { reach, len: 0 }) = refused else {
                panic!("{refused:?}");
            };
            let within = &mut area.bytes_mut()[..reach];
            _ = bench.cpu.save_by_moves(within, format, rfbm).unwrap();
            assert!(area.bytes()[reach..].iter().all(|b| *b == UNTOUCHED));
        }
    });
}

#[test]
fn a_state_with_what_moves_do_not_cover_is_the_instructions_without_a_question() {
    for_each_case(|bench| {
        let cpu = MovingCpu {
            movable: MOVABLE.intersection(MovingCpu::movable()),
            ..bench.moving()
        };
        let compacted = Format::Compacted;
        let Some(plan) = MovePlan::for_saves(cpu, &bench.on, compacted, bench.tried) else {
            return;
        };
        let had_x87 = bench.one_in(2);
        let x87 = ComponentSet::only(Component::X87);
        let had = if had_x87 { x87 } else { SSE };
        let mut area = marked(bench, had);
        area.set_header(&XsaveHeader::compacted(had, bench.tried));
        let before = area.clone();
        // SAFETY: 1 to 3: the plan is for this CPU, and the area as long as any.
        let outcome = unsafe { save_by_moves(area.bytes_mut().as_mut_ptr(), &raw const plan) };
        assert_eq!(outcome.status == Outcome::UNKNOWN, had_x87);
        assert!(!had_x87 || area.bytes() == before.bytes());
        // Of another format the header says nothing.
        area.set_header(&XsaveHeader::standard(had));
        // SAFETY: as above.
        let outcome = unsafe { save_by_moves(area.bytes_mut().as_mut_ptr(), &raw const plan) };
        assert_ne!(outcome.status, Outcome::UNKNOWN);
    });
}
