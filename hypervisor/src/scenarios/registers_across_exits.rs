//! Between two runs of a guest something else uses the registers.

use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::workbench::{Workbench, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-keeps-its-registers-across-exits",
    run: |twin| outcome(run(twin)),
    left_out: "the word that the registers were taken",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_holder(1, 3)?;
    for _ in 0..3 {
        bench.run_to_step(&mut guest)?;
        if twin == Twin::Whole {
            bench.cpu.registers_taken().map_err(failed)?;
        }
        bench.overwrite_registers()?;
    }
    bench.run_to_end(&mut guest)
}
