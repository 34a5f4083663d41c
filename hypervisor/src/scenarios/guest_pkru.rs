//! A guest's protection keys are not the host's.

use alloc::format;

use fpstate_arch::{Component, Pkru, Processor};

use crate::guest_code::{self, parameter};
use crate::host_registers::faulted;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::workbench::{Workbench, outcome, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "guest-pkru-is-not-the-hosts",
    run: |twin| outcome(run(twin)),
    left_out: "set_pkru",
};

const HOSTS: u32 = 0x5555_5554;
const GIVEN: u32 = 0x1234_5670;
const WRITTEN: u32 = 0x0abc_def0;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    if !bench.features.user().contains(Component::Pkru) {
        return Err(skipped("no PKRU"));
    }
    let mut guest = bench.new_guest(guest_code::write_pkru())?;
    guest.set(parameter::PKRU_FOUND, GIVEN.into());
    guest.set(parameter::PKRU_WRITTEN, WRITTEN.into());
    set_hosts(&mut bench, HOSTS)?;
    if twin == Twin::Whole {
        guest.vcpu.fpu.set_pkru(Pkru::from_bits(GIVEN));
    }
    bench.run_to_step(&mut guest)?;
    require("the host's", hosts(&mut bench)?, HOSTS)?;
    require("the guest's", guest.vcpu.fpu.pkru().bits(), WRITTEN)?;
    set_hosts(&mut bench, 0)?;
    bench.run_to_end(&mut guest)?;
    require("the host's", hosts(&mut bench)?, 0)
}

fn set_hosts(bench: &mut Workbench, pkru: u32) -> Result<(), Outcome> {
    let written = bench.cpu.processor().wrpkru(Pkru::from_bits(pkru));
    written.map_err(faulted)
}

fn hosts(bench: &mut Workbench) -> Result<u32, Outcome> {
    let found = bench.cpu.processor().rdpkru();
    found.map(Pkru::bits).map_err(faulted)
}

fn require(whose: &str, found: u32, expected: u32) -> Result<(), Outcome> {
    if found == expected {
        Ok(())
    } else {
        Err(failed(format!(
            "PKRU, {whose}, is {found:#x}, not {expected:#x}"
        )))
    }
}
