//! A guest has tiles and vectors in registers while the host's kernel computes with AVX-512.

use fpstate::KernelUse;
use fpstate_arch::ComponentSet;

use crate::host_vectors;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::tile_bench::TileBench;
use crate::vcpu_run::{enter, leave, run_entered};
use crate::workbench::{outcome, require_end, require_step, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "guest-tiles-survive-while-the-host-uses-avx512",
    run: |twin| outcome(run(twin)),
    left_out: "the kernel section",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut guest = tiles.new_holder(21, 1)?;
    let bench = &mut tiles.bench;
    if !bench.features.user().contains_all(ComponentSet::AVX512) {
        return Err(skipped("no AVX-512"));
    }
    enter(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_step(stop)?;
    let section = match twin {
        Twin::Whole => {
            let begun = bench
                .cpu
                .begin_kernel_section(&mut bench.thread, KernelUse::FloatVectors);
            Some(begun.map_err(failed)?.0)
        }
        Twin::Broken => None,
    };
    // SAFETY: 1: checked above. 2: they were saved, or that is the mistake.
    unsafe { host_vectors::fill(0x0123_4567_89ab_cdef) };
    if let Some(section) = section {
        bench.cpu.end_kernel_section(section).map_err(failed)?;
    }
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_end(stop)
}
