//! A guest switches its own x87 state lazily, by CR0.TS. Its #NM exits, because the host wants those that are
//! about IA32_XFD, and is the guest's.

use alloc::boxed::Box;

use crate::guest_code::parameter;
use crate::guest_faults;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::without_injection::WithoutInjection;
use crate::workbench::{Workbench, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-that-switches-lazily-gets-its-own-nm",
    run: |twin| outcome(run(twin)),
    left_out: "the injection of #NM",
};

const STEPS: u64 = 3;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_guest(guest_faults::lazy())?;
    guest.set(parameter::STEPS, STEPS);
    if twin == Twin::Broken {
        let inner = guest.vcpu.hardware;
        guest.vcpu.hardware = Box::new(WithoutInjection(inner));
    }
    bench.user_writes(14)?;
    for _ in 0..STEPS {
        bench.run_to_step(&mut guest)?;
        if !guest.vcpu.fpu.xfd_err().components().is_empty() {
            return Err(failed("the guest's IA32_XFD_ERR was changed"));
        }
        bench.user_finds(14)?;
    }
    bench.run_to_end(&mut guest)
}
