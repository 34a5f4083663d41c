//! Between `enter_guest` and the VM entry the thread is preempted: another thread runs, or the kernel
//! computes. The guest's state was restored already.

use fpstate::Restoring;

use crate::host_registers::{user_finds, user_writes};
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{leave, run_entered};
use crate::workbench::{Workbench, outcome, require_end, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-preemption-inside-the-swap",
    run: |twin| outcome(run(twin)),
    left_out: "the save before the switch",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut other = bench.new_thread()?;
    let mut guest = bench.new_holder(3, 2)?;
    bench.user_writes(31)?;
    bench.run_to_step(&mut guest)?;

    bench
        .thread
        .enter_guest(&mut guest.vcpu.fpu, &mut bench.cpu, Restoring::Now)
        .map_err(failed)?;
    if twin == Twin::Whole {
        bench
            .thread
            .save_before_switch(&mut bench.cpu)
            .map_err(failed)?;
    } else {
        bench.cpu.discard_registers();
    }
    user_writes(&mut other, &mut bench.cpu, 32)?;
    other.save_before_switch(&mut bench.cpu).map_err(failed)?;
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_step(stop)?;

    bench.kernel_section()?;
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_end(stop)?;
    leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    bench.user_finds(31)?;
    bench
        .thread
        .save_before_switch(&mut bench.cpu)
        .map_err(failed)?;
    user_finds(&mut other, &mut bench.cpu, 32)
}
