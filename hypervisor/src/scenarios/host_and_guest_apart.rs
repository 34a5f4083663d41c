//! The thread that runs a guest has registers of its own.

use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{enter, leave, run_entered};
use crate::workbench::{Workbench, outcome, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "host-and-guest-do-not-see-each-others-registers",
    run: |twin| outcome(run(twin)),
    left_out: "leave_guest",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_holder(2, 4)?;
    for seed in 100..104 {
        bench.user_writes(seed)?;
        enter(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
        require_step(run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?)?;
        if twin == Twin::Whole {
            leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
        }
        bench.user_finds(seed)?;
    }
    bench.run_to_end(&mut guest)
}
