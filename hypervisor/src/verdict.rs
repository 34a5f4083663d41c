//! The end: the emulator stops with a status.

use crate::{console, port};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every scenario passed.
    Passed,
    /// Something failed.
    Failed,
}

/// QEMU's isa-debug-exit at port F4H ends with status 2 * value + 1.
const QEMU_EXIT: u16 = 0xf4;
/// Bochs ends when it reads "Shutdown" here.
const BOCHS_EXIT: u16 = 0x8900;

/// Ends the emulator: QEMU with status 1 or 3. Bochs has no status; whoever reads the output
/// decides.
pub fn end(verdict: Verdict) -> ! {
    let value = match verdict {
        Verdict::Passed => 0,
        Verdict::Failed => 1,
    };
    console::drain();
    // SAFETY: 1: the kernel. 2: the device is there, or nothing is.
    unsafe { port::write_dword(QEMU_EXIT, value) };
    for &byte in b"Shutdown" {
        // SAFETY: as above.
        unsafe { port::write_byte(BOCHS_EXIT, byte) };
    }
    loop {
        x86_64::instructions::hlt();
    }
}
