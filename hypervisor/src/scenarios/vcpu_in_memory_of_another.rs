//! A vCPU ends, and another begins in the memory it had: it finds the initial configuration.

use alloc::format;
use alloc::vec;

use fpstate::Layout;
use fpstate_arch::{Component, Mxcsr};

use crate::guest_code;
use crate::guest_memory::FOUND_IMAGE;
use crate::host_registers::enumeration;
use crate::mxcsr_probe;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::workbench::{Workbench, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-vcpu-ends-and-another-begins-in-its-memory",
    run: |twin| outcome(run(twin)),
    left_out: "the end of the first",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut first = bench.new_holder(9, 1)?;
    bench.run_to_step(&mut first)?;
    let state = if twin == Twin::Whole {
        let memory = first.vcpu.fpu.into_storage();
        bench.new_guest_state_in(memory.map_err(|_| failed("it is in use"))?)?
    } else {
        first.vcpu.fpu
    };
    let mut second = bench.guest(guest_code::examine(), state);
    bench.run_to_end(&mut second)?;

    let components = bench.guest_components();
    let layout = Layout::standard(enumeration(), components).map_err(failed)?;
    let mut found = vec![0; layout.area_len()];
    second.memory.read(FOUND_IMAGE, &mut found);
    if found[..2] != [0x7f, 0x03] {
        return Err(failed(format!("FCW: {:x?}", &found[..2])));
    }
    let mxcsr = &found[24..28];
    if mxcsr_probe::is_initialised() && mxcsr != Mxcsr::INITIAL.bits().to_le_bytes() {
        return Err(failed(format!("MXCSR: {mxcsr:x?}")));
    }
    let registers = found[32..416].iter().zip(32..);
    let extended = layout
        .extended_components()
        .filter(|placed| placed.component() != Component::Pkru)
        .flat_map(|placed| found[placed.range()].iter().zip(placed.range()));
    match registers.chain(extended).find(|&(&byte, _)| byte != 0) {
        None => Ok(()),
        Some((byte, at)) => Err(failed(format!("byte {at} is {byte:#x}"))),
    }
}
