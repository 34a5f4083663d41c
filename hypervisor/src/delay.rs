//! Waiting, by channel 2 of the interval timer, whose frequency every PC agrees about.

use crate::port;

/// Hertz.
const FREQUENCY: u32 = 1_193_182;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;
/// Channel 2, both bytes, mode 0: the output rises at the end.
const COUNT_ONCE: u8 = 0xb0;

/// Waits so many milliseconds. One CPU at a time.
pub fn milliseconds(count: u32) {
    for _ in 0..count {
        one_millisecond();
    }
}

fn one_millisecond() {
    let [low, high, _, _] = (FREQUENCY / 1000).to_le_bytes();
    // SAFETY: 1: the kernel. 2: reading port 61H changes nothing.
    let gate = unsafe { port::read_byte(GATE) };
    // Counting on, speaker off.
    write(GATE, gate & !2 | 1);
    write(COMMAND, COUNT_ONCE);
    write(CHANNEL_2, low);
    write(CHANNEL_2, high);
    // SAFETY: as above.
    while unsafe { port::read_byte(GATE) } & 0x20 == 0 {
        core::hint::spin_loop();
    }
}

fn write(port: u16, byte: u8) {
    // SAFETY: 1: the kernel. 2: the interval timer and its gate, which nothing else uses.
    unsafe { port::write_byte(port, byte) };
}
