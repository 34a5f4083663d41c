//! INIT of a vCPU makes MPX and CET components initial and keeps all others.

use alloc::format;
use alloc::vec;

use fpstate::Layout;
use fpstate_arch::ComponentSet;

use crate::guest_code;
use crate::guest_memory::FOUND_IMAGE;
use crate::host_registers::enumeration;
use crate::random_image;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{enter, leave};
use crate::workbench::{Workbench, outcome, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "init-of-a-vcpu-keeps-what-init-keeps",
    run: |twin| outcome(run(twin)),
    left_out: "init_guest",
};

const SEED: u64 = 5;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let components = bench.guest_components();
    if !components.contains_all(ComponentSet::MPX) {
        return Err(skipped("no MPX"));
    }
    let mut guest = bench.new_holder(SEED, 1)?;
    bench.run_to_step(&mut guest)?;
    enter(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    if twin == Twin::Whole {
        bench
            .thread
            .init_guest(&guest.vcpu.fpu, &mut bench.cpu)
            .map_err(failed)?;
    }
    leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;

    // What the VMM does about all other registers: the vCPU begins anew.
    let mut guest = bench.guest(guest_code::examine(), guest.vcpu.fpu);
    bench.run_to_end(&mut guest)?;
    let layout = Layout::standard(enumeration(), components).map_err(failed)?;
    let mut expected = random_image::image(enumeration(), components, SEED).map_err(failed)?;
    for placed in layout.extended_components() {
        if ComponentSet::MPX.contains(placed.component()) {
            expected[placed.range()].fill(0);
        }
    }
    let mut found = vec![0; expected.len()];
    guest.memory.read(FOUND_IMAGE, &mut found);
    match random_image::first_difference(&expected, &found) {
        None => Ok(()),
        Some(at) => Err(failed(format!("after INIT byte {at} is {:#x}", found[at]))),
    }
}
