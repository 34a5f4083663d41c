//! XMM registers go to a state in memory and come back, in ring 0.

use alloc::format;
use core::arch::asm;

use fpstate::{BoxedArea, CpuFpu, Fpstate, Identities, Offer, ThreadFpu};
use fpstate_arch::Enumeration;
use fpstate_native::{Ring0Processor, cpuid};

use crate::scenario::{Outcome, Scenario, Twin};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-state-that-was-saved-in-ring-0-comes-back",
    run,
    left_out: "the save before the switch",
};

static IDENTITIES: Identities = Identities::new();

fn run(twin: Twin) -> Outcome {
    match attempt(twin) {
        Ok(()) => Outcome::Passed,
        Err(reason) => Outcome::Failed(reason),
    }
}

fn attempt(twin: Twin) -> Result<(), alloc::string::String> {
    let enumeration = Enumeration::read(cpuid);
    let offer = Offer::for_ring0(&enumeration);
    // SAFETY: 1 to 4: this kernel. 5: `trap` has both. 6, 7: no shadow stacks, no user pages.
    let processor = unsafe { Ring0Processor::assume_ring0() };
    let (instructions, registers) = (offer.instructions(), offer.control_registers());
    let mut cpu = CpuFpu::bring_up(processor, 0, &IDENTITIES, instructions, registers)
        .map_err(|error| format!("{error}"))?;
    let layout = offer.thread_layout();
    let memory = || BoxedArea::for_layout(&layout).map_err(|error| format!("{error}"));
    let state = |memory| {
        Fpstate::new(layout, memory, &IDENTITIES).map_err(|refused| format!("{}", refused.error))
    };
    let mut first = ThreadFpu::new(state(memory()?)?);
    let mut second = ThreadFpu::new(state(memory()?)?);
    let error = |error: fpstate::SwitchError| format!("{error}");
    first.restore_before_use(&mut cpu).map_err(error)?;
    write_xmm7(0x1111);
    match twin {
        Twin::Whole => drop(first.save_before_switch(&mut cpu).map_err(error)?),
        Twin::Broken => drop(cpu.discard_registers()),
    }
    second.restore_before_use(&mut cpu).map_err(error)?;
    if read_xmm7() != 0 {
        return Err(format!("XMM7 of a new thread is {:#x}", read_xmm7()));
    }
    write_xmm7(0x2222);
    second.save_before_switch(&mut cpu).map_err(error)?;
    if twin == Twin::Broken {
        first.discard_active(&mut cpu);
    }
    first.restore_before_use(&mut cpu).map_err(error)?;
    match read_xmm7() {
        0x1111 => Ok(()),
        found => Err(format!("XMM7 is {found:#x}, not 0x1111")),
    }
}

#[inline(never)]
#[unsafe(link_section = ".user_code")]
fn write_xmm7(value: u64) {
    // SAFETY: user code's instruction; the kernel is soft-float and has nothing in XMM7.
    unsafe { asm!("movq xmm7, {}", in(reg) value, options(nomem, nostack)) };
}

#[inline(never)]
#[unsafe(link_section = ".user_code")]
fn read_xmm7() -> u64 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("movq {}, xmm7", out(reg) value, options(nomem, nostack)) };
    value
}
