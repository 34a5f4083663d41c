//! A guest executes, calls the host and halts.

use alloc::format;

use crate::guest_code::{self, STEP};
use crate::guest_memory;
use crate::scenario::{Outcome, Scenario, Twin};
use crate::tick;
use crate::vcpu::{Exit, GeneralRegisters, Hardware};
use crate::virtualization::Virtualization;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-calls-the-host-and-halts",
    run,
    left_out: "the step behind the hypercall",
};

fn run(twin: Twin) -> Outcome {
    let Some(virtualization) = Virtualization::of_this_cpu() else {
        return Outcome::Skipped("no hardware for guests".into());
    };
    let memory = virtualization.memory(guest_code::hello());
    let mut vcpu = virtualization.vcpu(&memory);
    let mut registers = GeneralRegisters::default();
    registers.r8_to_r15[7] = guest_memory::HYPERCALL;
    let exit = enter(&mut vcpu, &mut registers);
    if (exit, registers.rax, registers.rbx) != (Exit::Hypercall, STEP, 17) {
        return Outcome::Failed(format!("{exit:x?} with {registers:x?}"));
    }
    if twin == Twin::Whole {
        vcpu.skip_instruction();
    }
    let exit = enter(&mut vcpu, &mut registers);
    if exit == Exit::Halt {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{exit:x?}, not HLT"))
    }
}

/// Enters until the exit is not an interrupt's.
fn enter(vcpu: &mut impl Hardware, registers: &mut GeneralRegisters) -> Exit {
    const MOST: u32 = 1000;
    for _ in 0..MOST {
        let exit = vcpu.enter(registers);
        if exit != Exit::Interrupt {
            return exit;
        }
        tick::let_in();
    }
    Exit::Interrupt
}
