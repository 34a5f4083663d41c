//! A failing case made small.

use fpstate_arch::{ComponentSet, Mxcsr};

use super::case::{Case, LoadedFrom, header_of, legacy_of, set_header, set_legacy};
use super::comparison::{Comparison, Difference};
use super::instruction::Between;

/// The smallest case found, by leaving out one thing after the other, that still differs.
pub fn shrink(difference: Difference, comparison: &mut Comparison) -> Difference {
    let mut smallest = difference;
    while let Some(smaller) = simpler_than(&smallest.case)
        .into_iter()
        .find_map(|case| comparison.compare(&case).err())
    {
        smallest = smaller;
    }
    smallest
}

/// Cases each with one thing less.
fn simpler_than(case: &Case) -> Vec<Case> {
    let mut simpler = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Case)| {
        let mut changed = case.clone();
        change(&mut changed);
        if changed != *case {
            simpler.push(changed);
        }
    };
    offer(&|case| case.between = Between::Nothing);
    offer(&|case| case.loaded_from = LoadedFrom::Elsewhere);
    offer(&|case| case.misalignment = 0);
    for bit in 0..64 {
        let bit = ComponentSet::from_bits(1 << bit);
        offer(&|case| case.rfbm = case.rfbm.difference(bit));
    }
    for component in header_of(&case.registers).xstate_bv.iter() {
        offer(&|case| {
            let mut header = header_of(&case.registers);
            header.xstate_bv = header.xstate_bv.without(component);
            set_header(&mut case.registers, &header);
        });
    }
    offer(&|case| reset_mxcsr(&mut case.registers));
    offer(&|case| reset_mxcsr(&mut case.area));
    for bit in 0..64 {
        let kept = !(1 << bit);
        offer(&|case| {
            let mut header = header_of(&case.area);
            header.xstate_bv = ComponentSet::from_bits(header.xstate_bv.bits() & kept);
            set_header(&mut case.area, &header);
        });
        offer(&|case| {
            let mut header = header_of(&case.area);
            header.xcomp_bv &= kept;
            set_header(&mut case.area, &header);
        });
    }
    for range in [
        0..24,
        28..32,
        32..160,
        160..416,
        416..512,
        528..536,
        536..576,
    ] {
        offer(&|case| case.area[range.clone()].fill(0));
        offer(&|case| case.registers[range.clone()].fill(0));
    }
    offer(&|case| case.area[576..].fill(0));
    simpler
}

fn reset_mxcsr(area: &mut [u8]) {
    let mut legacy = legacy_of(area);
    legacy.mxcsr = Mxcsr::INITIAL;
    set_legacy(area, &legacy);
}
