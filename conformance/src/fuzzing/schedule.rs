//! Target `schedule`: what happens in a small kernel whose states grow, by the bytes.

use fpstate::Offer;
use fpstate_model::{InUseTracking, Optimisation, VendorDifferences, XfdErrUpdate};

use super::cpu::Cpu;
use super::input::Input;
use crate::growth_world::{Failing, GrowthWorld};

/// Enough for every event; more take too long.
const MOST_STEPS: usize = 200;

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
    let processors = vec![processor; 3 + usize::from(input.byte() % 2)];
    let offer = Offer::for_ring0(&cpu.enumeration);
    let mut world = GrowthWorld::new(offer, processors, input.byte().into(), failing);
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < MOST_STEPS {
        steps.push(input.word());
    }
    if let Err(what) = world.run_chosen(&steps) {
        panic!("{}, {failing:?}: {what}", cpu.kind.name);
    }
}
