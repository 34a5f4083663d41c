//! The timer interrupt of a CPU, which may use extended registers itself.

use core::arch::x86_64::_rdtsc;

use fpstate::{KernelUse, SwitchError};
use x86_64::instructions::interrupts;

use crate::percpu::{self, InterruptWork, PerCpu};
use crate::user_code::{self, Width};
use crate::{lapic, trap};

/// Bus cycles, by 16, between two interrupts, at least.
const PERIOD: u32 = 6000;
/// So much more, now and then, so that no loop falls into step.
const VARIATION: u32 = 0x3fff;

/// The interrupt is dealt with also where it comes in the kernel.
pub fn initialise() {
    trap::handle(lapic::TIMER_VECTOR, |_| on_interrupt());
}

/// From here on this CPU is interrupted.
pub fn start() {
    lapic::start_timer(PERIOD);
}

/// No more, and nothing is pending any more. Interrupts are off before and after.
pub fn stop() {
    lapic::stop_timer();
    let_in();
    // An interrupt that was pending has started it again.
    lapic::stop_timer();
}

/// Lets in what interrupts are pending. Interrupts are off before and after.
pub fn let_in() {
    interrupts::enable();
    for _ in 0..4 {
        core::hint::spin_loop();
    }
    interrupts::disable();
}

/// Halts until the next interrupt; interrupts are on after it.
pub fn wait() {
    interrupts::enable_and_hlt();
}

/// What the kernel does at each, with interrupts off, whatever was interrupted.
pub fn on_interrupt() {
    lapic::end_of_interrupt();
    lapic::start_timer(PERIOD + (low_of_time() & VARIATION));
    percpu::with(|cpu| {
        let done = match cpu.work {
            InterruptWork::Nothing => Ok(()),
            InterruptWork::KernelSection => use_registers(cpu),
            InterruptWork::WithoutSection => {
                user_code::smash(Width::of(percpu::offer()));
                Ok(())
            }
        };
        cpu.refused = cpu.refused.or(done.err());
    });
}

/// The kernel computes with extended registers on this CPU, in a section.
///
/// # Errors
/// The library's.
pub fn use_registers(cpu: &mut PerCpu) -> Result<(), SwitchError> {
    let section = match &mut cpu.current {
        Some(thread) => cpu.fpu.begin_kernel_section(thread, KernelUse::X87)?.0,
        None => cpu.fpu.begin_kernel_thread_section(KernelUse::X87)?,
    };
    user_code::smash(Width::of(percpu::offer()));
    // It was begun here a moment ago.
    let _ = cpu.fpu.end_kernel_section(section);
    Ok(())
}

fn low_of_time() -> u32 {
    // SAFETY: every CPU with 64-bit mode has it.
    let time = unsafe { _rdtsc() };
    let [first, second, third, ..] = time.to_le_bytes();
    u32::from_le_bytes([first, second, third, 0])
}
