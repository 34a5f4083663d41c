//! One thread runs two vCPUs in turn.

use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{enter, leave, run_entered};
use crate::workbench::{Workbench, outcome, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "two-vcpus-on-one-thread",
    run: |twin| outcome(run(twin)),
    left_out: "leave_guest before the other is entered",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guests = [bench.new_holder(41, 4)?, bench.new_holder(42, 4)?];
    bench.user_writes(43)?;
    for _ in 0..4 {
        for guest in &mut guests {
            enter(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
            let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
            require_step(stop)?;
            if twin == Twin::Whole {
                leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
            }
        }
    }
    for guest in &mut guests {
        bench.run_to_end(guest)?;
    }
    bench.user_finds(43)
}
