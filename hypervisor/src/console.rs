//! Lines to the first serial port, which QEMU shows, and to port E9H, which Bochs shows.

use core::fmt::{self, Write};

use spin::Mutex;
use uart_16550::SerialPort;

use crate::port;

const COM1: u16 = 0x3f8;
const DEBUG: u16 = 0xe9;
const LINE_STATUS: u16 = 5;
const TRANSMITTER_EMPTY: u8 = 1 << 6;

struct Console {
    // SAFETY: an emulated PC has this port at this place.
    serial: SerialPort,
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.serial.send_raw(byte);
            // SAFETY: 1: the kernel. 2: the port shows the byte or does not exist.
            unsafe { port::write_byte(DEBUG, byte) };
        }
        Ok(())
    }
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

/// Prepares the serial port.
pub fn initialise() {
    // SAFETY: a PC has a UART at this address, and nobody else uses it.
    let mut serial = unsafe { SerialPort::new(COM1) };
    serial.init();
    *CONSOLE.lock() = Some(Console { serial });
}

/// Prints. Interrupts that print while a line is under way would wait for ever, so they do not.
pub fn print(arguments: fmt::Arguments<'_>) {
    if let Some(console) = &mut *CONSOLE.lock() {
        // The console takes every byte.
        let _ = console.write_fmt(arguments);
    }
}

/// Waits until the last byte has left the serial port: an emulator that ends before would lose it.
pub fn drain() {
    // A byte takes 87 us at 115200 Bd; a machine without this port must not wait for ever.
    for _ in 0..1_000_000 {
        // SAFETY: 1: the kernel. 2: the transmitter's bits stay as they are when they are read.
        let status = unsafe { port::read_byte(COM1 + LINE_STATUS) };
        if status & TRANSMITTER_EMPTY != 0 {
            return;
        }
    }
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
