//! Two threads run a guest each, with different tiles, and take turns on one CPU.

use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::tile_bench::TileBench;
use crate::vcpu_run::{Host, enter, leave, run_entered};
use crate::workbench::{outcome, require_end, require_step};

const TURNS: u64 = 4;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "two-guests-with-different-tiles",
    run: |twin| outcome(run(twin)),
    left_out: "the save before the switch to the other thread",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut vcpus = [
        (tiles.new_thread()?, tiles.new_holder(31, TURNS)?),
        (tiles.new_thread()?, tiles.new_holder(32, TURNS)?),
    ];
    let enumeration = tiles.bench.offer.enumeration();
    let cpu = &mut tiles.bench.cpu;
    for turn in 0..=TURNS {
        for (thread, guest) in &mut vcpus {
            let mut host = Host {
                thread,
                cpu,
                enumeration,
            };
            if turn == 0 {
                enter(&mut host, &mut guest.vcpu).map_err(failed)?;
            }
            let stop = run_entered(&mut host, &mut guest.vcpu).map_err(failed)?;
            if turn == TURNS {
                require_end(stop)?;
                leave(&mut host, &mut guest.vcpu).map_err(failed)?;
            } else {
                require_step(stop)?;
            }
            if twin == Twin::Whole {
                thread.save_before_switch(cpu).map_err(failed)?;
            }
        }
    }
    Ok(())
}
