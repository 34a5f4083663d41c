//! The MSRs of extended state exist for a guest if its CPUID announces them.

use alloc::boxed::Box;

use crate::guest_faults;
use crate::scenario::{Outcome, Scenario, Twin};
use crate::without_injection::WithoutInjection;
use crate::workbench::{Workbench, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-has-the-msrs-that-its-cpuid-announces",
    run: |twin| outcome(run(twin)),
    left_out: "the injection of #GP",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_guest(guest_faults::read_msrs())?;
    if twin == Twin::Broken {
        let inner = guest.vcpu.hardware;
        guest.vcpu.hardware = Box::new(WithoutInjection(inner));
    }
    bench.run_to_end(&mut guest)
}
