//! The local APIC: interrupts between CPUs, and a timer for each.

use core::ptr;

use crate::{port, trap};

/// Every CPU finds its own here.
const BASE: usize = 0xfee0_0000;
const EOI: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const COMMAND_LOW: usize = 0x300;
const COMMAND_HIGH: usize = 0x310;
const TIMER: usize = 0x320;
const INITIAL_COUNT: usize = 0x380;
const DIVIDE: usize = 0x3e0;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_16: u32 = 3;
const BUSY: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;
const ALL_BUT_SELF: u32 = 3 << 18;

/// The vector of an interrupt that is none.
const SPURIOUS_VECTOR: u8 = 0xff;
/// The vector that wakes a CPU; it may come after what it was sent for.
pub const WAKE_VECTOR: u8 = 0xf0;
/// The vector of the timer.
pub const TIMER_VECTOR: u8 = 0x20;

/// Masks the interrupt controllers of old and says what happens at this module's vectors. Once.
pub fn initialise() {
    for data in [0x21, 0xa1] {
        // SAFETY: 1: the kernel. 2: no interrupt comes from them any more.
        unsafe { port::write_byte(data, 0xff) };
    }
    trap::handle(SPURIOUS_VECTOR, |_| {});
    trap::handle(WAKE_VECTOR, |_| end_of_interrupt());
}

/// Switches this CPU's on.
pub fn enable() {
    write(SPURIOUS, ENABLED | u32::from(SPURIOUS_VECTOR));
    write(TIMER, MASKED);
}

/// Tells it that the interrupt is dealt with.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Interrupts this CPU again and again, each time after `count` times 16 cycles of its bus.
pub fn start_timer(count: u32) {
    write(DIVIDE, DIVIDE_BY_16);
    write(TIMER, PERIODIC | u32::from(TIMER_VECTOR));
    write(INITIAL_COUNT, count);
}

/// No more. One interrupt may still be pending.
pub fn stop_timer() {
    write(TIMER, MASKED);
    write(INITIAL_COUNT, 0);
}

/// Wakes another CPU.
pub fn wake(number: usize) {
    command_to(number, ASSERT | u32::from(WAKE_VECTOR));
}

/// Puts another CPU where it is after RESET, waiting for [`start`].
pub fn reset(number: usize) {
    command_to(number, ASSERT | INIT);
}

/// Lets another CPU that waits begin at `page` times 4 KB.
pub fn start(number: usize, page: u8) {
    command_to(number, ASSERT | STARTUP | u32::from(page));
}

/// Puts all others where they are after RESET.
pub fn reset_others() {
    command(ALL_BUT_SELF | ASSERT | INIT);
}

/// Lets all others that wait begin at `page` times 4 KB.
pub fn start_others(page: u8) {
    command(ALL_BUT_SELF | ASSERT | STARTUP | u32::from(page));
}

fn command_to(number: usize, low: u32) {
    let Ok(number) = u8::try_from(number) else {
        return;
    };
    x86_64::instructions::interrupts::without_interrupts(|| {
        write(COMMAND_HIGH, u32::from(number) << 24);
        command(low);
    });
}

fn command(low: u32) {
    write(COMMAND_LOW, low);
    while read(COMMAND_LOW) & BUSY != 0 {
        core::hint::spin_loop();
    }
}

fn read(register: usize) -> u32 {
    let address = ptr::with_exposed_provenance::<u32>(BASE + register);
    // SAFETY: mapped one to one, and a register of this CPU's local APIC.
    unsafe { address.read_volatile() }
}

fn write(register: usize, value: u32) {
    let address = ptr::with_exposed_provenance_mut::<u32>(BASE + register);
    // SAFETY: as above; what this module writes concerns no memory.
    unsafe { address.write_volatile(value) };
}
