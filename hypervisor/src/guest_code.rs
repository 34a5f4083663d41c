//! Programs of guests: machine code that runs wherever it is put, copied into a guest's memory.
//!
//! At the beginning R15 is where `hypercall; ret` is, and the memory is as [`guest_memory`](crate::guest_memory)
//! says. A program reports by hypercalls: [`STEP`] and [`END`] in RAX, a value in RBX.

use core::arch::global_asm;

/// The program has come to a point where the host may do what it likes; RBX says which.
pub const STEP: u64 = 1;
/// The program has ended; RBX is 0 if it found everything right, else what it found.
pub const END: u64 = 2;

/// A program's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    start: *const u8,
    end: *const u8,
}

impl Program {
    /// The bytes.
    pub fn bytes(self) -> &'static [u8] {
        let len = self.end.addr() - self.start.addr();
        // SAFETY: both are labels of one section that nobody writes.
        unsafe { core::slice::from_raw_parts(self.start, len) }
    }
}

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident $start:ident $end:ident;)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }
        $($(#[$doc])*
        pub fn $name() -> Program {
            Program { start: &raw const $start, end: &raw const $end }
        })*
    };
}

programs! {
    /// A step with 17, then HLT.
    hello guest_hello guest_hello_end;
}

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl guest_hello, guest_hello_end",
    "guest_hello:",
    "mov eax, 1",
    "mov ebx, 17",
    "call r15",
    "hlt",
    "guest_hello_end:",
    ".popsection",
);
