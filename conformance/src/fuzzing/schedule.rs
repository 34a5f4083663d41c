//! Target `schedule`: what happens in a small kernel whose states grow, action by action, as the
//! simulator writes them down: what, on which CPU, and the seed of what the action decides itself.

use fpstate::Offer;
use fpstate_model::{InUseTracking, Optimisation, VendorDifferences, XfdErrUpdate};

use super::cpu::Cpu;
use super::input::Input;
use crate::growth_world::{Action, Deed, Failing, GrowthWorld};

/// Enough for every event; more take too long.
const MOST_ACTIONS: usize = 200;

/// The next action. Two bytes of seed are enough for every branch and few enough to be found.
fn action(input: &mut Input<'_>, cpus: u8) -> Action {
    Action {
        deed: *input.choose(Deed::ALL),
        cpu: (input.byte() % cpus).into(),
        seed: input.word().into(),
    }
}

/// No register is lost or seen by another, nothing leaks; the world checks that after each step.
pub(super) fn schedule(data: &[u8]) {
    let mut input = Input::new(data);
    let cpu = Cpu::with_amx(&mut input);
    let failing = match input.byte() {
        0 => Failing::Never,
        nth @ 1..128 => Failing::Nth(nth.into()),
        one_in => Failing::OneIn(u32::from(one_in) - 125),
    };
    let mut processor = cpu.kind.model();
    processor.set_optimisation(*input.choose(&[
        Optimisation::InitialAndModified,
        Optimisation::None,
        Optimisation::Initial,
        Optimisation::Poisoning,
    ]));
    processor.set_vendor_differences(VendorDifferences {
        xfd_err_update: *input.choose(&[XfdErrUpdate::Loaded, XfdErrUpdate::Accumulated]),
        in_use: *input.choose(&[InUseTracking::SinceWritten, InUseTracking::ByContents]),
        ..processor.vendor_differences()
    });
    // One more reads areas for the checks.
    let cpus = 2 + input.byte() % 2;
    let processors = vec![processor; usize::from(cpus) + 1];
    let offer = Offer::for_ring0(&cpu.enumeration);
    let mut world = GrowthWorld::new(offer, processors, input.byte().into(), failing);
    let mut actions = Vec::new();
    while !input.is_empty() && actions.len() < MOST_ACTIONS {
        actions.push(action(&mut input, cpus));
    }
    if let Err(what) = world.run_chosen(&actions) {
        panic!("{}, {failing:?}: {what}", cpu.kind.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_are_what_is_done_where_and_the_seed_of_the_rest() {
        let mut input = Input::new(&[17, 4, 0x34, 0x12]);
        let (deed, cpu, seed) = (Deed::Grow, 1, 0x1234);
        assert_eq!(action(&mut input, 3), Action { deed, cpu, seed });
        assert!(input.is_empty());
    }
}
