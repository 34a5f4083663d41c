//! After a guest with tiles another one begins: in another vCPU, and in the same after RESET.

use alloc::format;

use fpstate_arch::ComponentSet;
use fpstate_arch::tile_config::TILE_CONFIG_LEN;

use crate::guest_code::parameter;
use crate::guest_tiles::{TILE_CONFIG_FOUND, TILE_FOUND, examine_tiles};
use crate::scenario::{Outcome, Scenario, Twin};
use crate::tile_bench::TileBench;
use crate::workbench::{Guest, failed, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "tiles-of-a-guest-are-not-seen-by-the-next",
    run: |twin| outcome(run(twin)),
    left_out: "the RESET of the vCPU that is used again",
};

/// XSTATE_BV in an area.
const IN_USE: u64 = TILE_FOUND + 512;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut former = tiles.new_holder(41, 1)?;
    tiles.bench.run_to_step(&mut former)?;
    let mut next = tiles.new_guest(examine_tiles())?;
    tiles.bench.run_to_end(&mut next)?;
    require_no_tiles(&next)?;

    tiles.bench.run_to_end(&mut former)?;
    let mut fpu = former.vcpu.fpu;
    if twin == Twin::Whole {
        fpu.reset().map_err(failed)?;
    }
    let enabled = fpu.features().user();
    let mut again = tiles.bench.guest(examine_tiles(), fpu);
    again.set(parameter::XCR0, enabled.bits());
    tiles.bench.run_to_end(&mut again)?;
    require_no_tiles(&again)
}

fn require_no_tiles(guest: &Guest) -> Result<(), Outcome> {
    let mut config = [0; TILE_CONFIG_LEN];
    guest.memory.read(TILE_CONFIG_FOUND, &mut config);
    if config != [0; TILE_CONFIG_LEN] {
        return Err(failed(format!("a tile configuration: {config:x?}")));
    }
    let in_use = ComponentSet::from_bits(guest.memory.read_word(IN_USE));
    if in_use.intersection(ComponentSet::TILES).is_empty() {
        Ok(())
    } else {
        Err(failed(format!("in use: {in_use}")))
    }
}
