//! A guest computes with vector registers while others use them between its steps; the host computes
//! the same in plain Rust.

use alloc::format;
use alloc::vec::Vec;

use fpstate::KernelUse;
use fpstate_arch::Component;
use fpstate_native::cpuid;

use crate::guest_code::{self, parameter};
use crate::guest_memory::{FOUND_IMAGE, GIVEN_IMAGE};
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{enter, leave, run_entered};
use crate::workbench::{Guest, Workbench, outcome, require_end, require_step, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-computes-a-known-answer",
    run: |twin| outcome(run(twin)),
    left_out: "the beginning of the kernel's section",
};

const LANES: u32 = 32;
const STEPS: u64 = 5;
const ROUNDS_A_STEP: u64 = 1000;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    require_avx2(&bench)?;
    let mut guest = bench.new_guest(guest_code::compute())?;
    give(&guest, STEPS);

    enter(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    for _ in 0..STEPS {
        let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
        require_step(stop)?;
        if twin == Twin::Whole {
            let (section, _) = bench
                .cpu
                .begin_kernel_section(&mut bench.thread, KernelUse::IntegerVectors)
                .map_err(failed)?;
            bench.overwrite_registers()?;
            bench.cpu.end_kernel_section(section).map_err(failed)?;
        } else {
            bench.overwrite_registers()?;
        }
    }
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_end(stop)?;
    leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;

    check(&guest, STEPS)
}

/// Whether guests can run the program.
pub(super) fn require_avx2(bench: &Workbench) -> Result<(), Outcome> {
    if bench.features.user().contains(Component::Avx) && cpuid(7, 0).ebx & 1 << 5 != 0 {
        Ok(())
    } else {
        Err(skipped("no AVX2"))
    }
}

/// Lanes, and how many steps are to be taken.
pub(super) fn give(guest: &Guest, steps: u64) {
    let bytes: Vec<u8> = given().flat_map(u32::to_le_bytes).collect();
    guest.memory.write(GIVEN_IMAGE, &bytes);
    guest.set(parameter::STEPS, steps);
}

fn given() -> impl Iterator<Item = u32> {
    (1..=LANES).map(|lane| lane.wrapping_mul(0x9e37_79b9))
}

/// The lanes are what they should be after so many steps.
pub(super) fn check(guest: &Guest, steps: u64) -> Result<(), Outcome> {
    for (lane, at) in given().zip(0..) {
        let expected = (0..steps * ROUNDS_A_STEP).fold(lane, |lane, _| xorshift(lane));
        let mut found = [0; 4];
        guest.memory.read(FOUND_IMAGE + 4 * at, &mut found);
        let found = u32::from_le_bytes(found);
        if found != expected {
            return Err(failed(format!(
                "lane {at} is {found:#x}, not {expected:#x}"
            )));
        }
    }
    Ok(())
}

const fn xorshift(mut lane: u32) -> u32 {
    lane ^= lane << 13;
    lane ^= lane >> 17;
    lane ^ lane << 5
}
