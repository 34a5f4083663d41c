//! Two guests have different user-mode CET registers, which XSAVES keeps; a third has none.

use fpstate_arch::{Component, ComponentSet};
use x86_64::registers::model_specific::Msr;

use crate::guest_tiles::{CET_PARAMETERS, examine_cet, write_cet};
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu::{Hardware, MsrAccess};
use crate::workbench::{Guest, Workbench, outcome, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "guests-keep-their-user-shadow-stacks",
    run: |twin| outcome(run(twin)),
    left_out: "the word that the registers were taken",
};

const IA32_U_CET: u32 = 0x6a0;
const IA32_PL3_SSP: u32 = 0x6a7;
/// `SH_STK_EN`, `WR_SHSTK_EN`, `ENDBR_EN`.
const ENABLED: u64 = 7;
const CET: ComponentSet = ComponentSet::EMPTY
    .with(Component::CetU)
    .with(Component::CetS);

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    if !bench.features.supervisor().contains_all(CET) {
        return Err(skipped("no shadow stacks for guests"));
    }
    let mut guests = [bench.new_guest(write_cet())?, bench.new_guest(write_cet())?];
    let [first, second] = &mut guests;
    prepare(first, 0x7000);
    prepare(second, 0x1234_5000);
    bench.run_to_step(first)?;
    let mut third = bench.new_guest(examine_cet())?;
    prepare(&mut third, 0);
    bench.run_to_end(&mut third)?;
    bench.run_to_step(second)?;
    if twin == Twin::Whole {
        bench.cpu.registers_taken().map_err(failed)?;
    }
    let mut register = Msr::new(IA32_PL3_SSP);
    // SAFETY: the kernel; the CPU has it, and user mode, where it counts, is not entered before the
    // next restore.
    unsafe { register.write(0x8000) };
    bench.run_to_end(second)?;
    bench.run_to_end(first)
}

/// Accesses to the registers do not exit: XSAVES keeps them.
fn prepare(guest: &mut Guest, stack: u64) {
    for msr in [IA32_U_CET, IA32_PL3_SSP] {
        guest
            .vcpu
            .hardware
            .intercept_msr(msr, MsrAccess::PassedThrough);
    }
    guest.set(CET_PARAMETERS, CET.bits());
    guest.set(CET_PARAMETERS + 1, ENABLED);
    guest.set(CET_PARAMETERS + 2, stack);
}
