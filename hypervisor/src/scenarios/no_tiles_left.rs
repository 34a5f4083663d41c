//! After a guest with tiles another one begins: in another vCPU, and in the same after RESET.

use alloc::format;
use alloc::vec;
use core::ops::Range;

use fpstate_arch::Component;

use crate::guest_code::examine;
use crate::guest_memory::FOUND_IMAGE;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::tile_bench::TileBench;
use crate::workbench::{Guest, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "tiles-of-a-guest-are-not-seen-by-the-next",
    run: |twin| outcome(run(twin)),
    left_out: "the RESET of the vCPU that is used again",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut former = tiles.new_holder(41, 1)?;
    tiles.bench.run_to_step(&mut former)?;
    let places = [
        tiles.place_in_image(Component::TileConfig)?,
        tiles.place_in_image(Component::TileData)?,
    ];
    let mut next = tiles.new_guest(examine())?;
    tiles.bench.run_to_end(&mut next)?;
    require_zeros(&next, &places)?;

    tiles.bench.run_to_end(&mut former)?;
    let mut fpu = former.vcpu.fpu;
    if twin == Twin::Whole {
        fpu.reset().map_err(failed)?;
    }
    let mut again = tiles.guest(examine(), fpu);
    tiles.bench.run_to_end(&mut again)?;
    require_zeros(&again, &places)
}

/// What is not in use XSAVE leaves as it was: zeros.
fn require_zeros(guest: &Guest, places: &[Range<usize>]) -> Result<(), Outcome> {
    for place in places {
        let mut bytes = vec![0; place.len()];
        guest
            .memory
            .read(FOUND_IMAGE + place.start as u64, &mut bytes);
        if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
            return Err(failed(format!("byte {at} of {place:?} is {}", bytes[at])));
        }
    }
    Ok(())
}
