//! Guests have ZMM and opmask registers while the host fills them with AVX-512 instructions.

use fpstate_arch::ComponentSet;

use crate::host_vectors;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::workbench::{Workbench, outcome, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "avx512-guests-keep-zmm-and-opmask",
    run: |twin| outcome(run(twin)),
    left_out: "the word that the registers were taken",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    if !bench.features.user().contains_all(ComponentSet::AVX512) {
        return Err(skipped("no AVX-512"));
    }
    let mut guests = [bench.new_holder(51, 2)?, bench.new_holder(52, 2)?];
    for guest in &mut guests {
        for value in [0, !0] {
            bench.run_to_step(guest)?;
            if twin == Twin::Whole {
                bench.cpu.registers_taken().map_err(failed)?;
            }
            // SAFETY: 1: checked above. 2: the guest was left, and its state is in memory.
            unsafe { host_vectors::fill(value) };
        }
    }
    for guest in &mut guests {
        bench.run_to_end(guest)?;
    }
    Ok(())
}
