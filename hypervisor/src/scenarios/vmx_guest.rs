//! A guest by VMX calls its host and halts.

use alloc::alloc::{Layout, alloc_zeroed};
use alloc::format;

use crate::scenario::{Outcome, Scenario, Twin};
use crate::vcpu::{Exit, GeneralRegisters, Hardware};
use crate::vmx::guest_state::Start;
use crate::vmx::vcpu::Vcpu;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-by-vmx-calls-its-host-and-halts",
    run,
    left_out: "the step over VMCALL",
};

fn run(twin: Twin) -> Outcome {
    let layout = Layout::from_size_align(2 << 20, 2 << 20).unwrap();
    // SAFETY: not of length 0.
    let memory = unsafe { alloc_zeroed(layout) };
    let put = |at: usize, value: u64| {
        // SAFETY: inside.
        unsafe { memory.add(at).cast::<u64>().write(value) };
    };
    put(0x1000, 0x2003);
    put(0x2000, 0x3003);
    put(0x3000, 0x83);
    put(
        0x4000,
        u64::from_le_bytes([0xb8, 7, 0, 0, 0, 0x0f, 0x01, 0xc1]),
    );
    put(0x4008, 0xf4);
    let start = Start {
        cr3: 0x1000,
        rip: 0x4000,
        rsp: 0x8000,
    };
    // SAFETY: leaked.
    let mut vcpu = match unsafe { Vcpu::new(memory.addr() as u64, 2 << 20, start) } {
        Ok(vcpu) => vcpu,
        Err(reason) => return Outcome::Skipped(format!("{reason}")),
    };
    let mut registers = GeneralRegisters::default();
    let first = vcpu.enter(&mut registers);
    if (first, registers.rax) != (Exit::Hypercall, 7) {
        return Outcome::Failed(format!("{first:x?}, {registers:x?}, {vcpu:x?}"));
    }
    match twin {
        Twin::Whole => vcpu.skip_instruction(),
        Twin::Broken => {}
    }
    match vcpu.enter(&mut registers) {
        Exit::Halt => Outcome::Passed,
        other => Outcome::Failed(format!("{other:x?}")),
    }
}
