//! IN and OUT.

use x86_64::instructions::port::Port;

/// Writes a byte.
///
/// # Safety
/// 1. CPL is 0.
/// 2. The device at `port` does with `byte` nothing that the kernel does not expect.
pub unsafe fn write_byte(port: u16, byte: u8) {
    let mut port = Port::new(port);
    // SAFETY: 1, 2: the caller's.
    unsafe { port.write(byte) }
}

/// Writes four bytes.
///
/// # Safety
/// As [`write_byte`].
pub unsafe fn write_dword(port: u16, dword: u32) {
    let mut port = Port::new(port);
    // SAFETY: 1, 2: the caller's.
    unsafe { port.write(dword) }
}

/// Reads a byte.
///
/// # Safety
/// 1. CPL is 0.
/// 2. Reading `port` does nothing that the kernel does not expect.
#[must_use]
pub unsafe fn read_byte(port: u16) -> u8 {
    let mut port = Port::new(port);
    // SAFETY: 1, 2: the caller's.
    unsafe { port.read() }
}
