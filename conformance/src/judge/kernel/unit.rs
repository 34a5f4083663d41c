//! The assembly: load registers, send this thread a signal, look at what came back.
//!
//! It is one `asm!`: nothing that is compiled comes in between.

use std::arch::asm;
use std::mem::offset_of;

use nix::libc;

/// What the unit works on; R12 points to it from its first instruction to its last.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Frame {
    /// A standard-format image of `own`.
    pub(super) registers: *const u8,
    /// The same in its initial configuration.
    pub(super) initial: *const u8,
    /// A standard-format area for `own`.
    pub(super) after: *mut u8,
    /// Low half first.
    pub(super) own: [u32; 2],
    pub(super) process: i64,
    pub(super) thread: i64,
    /// 0 sends nothing.
    pub(super) signal: i64,
    /// The compiler's MXCSR and x87 control word, while the unit runs.
    pub(super) mxcsr: u32,
    pub(super) fcw: u16,
}

/// Loads `registers`, sends `signal` and stores what the registers then are in `after`.
///
/// # Safety
/// 1. `registers` and `initial` are images that XRSTOR64 of `own` takes without an exception;
///    `after` is memory that XSAVE64 of `own` can write.
/// 2. `process` and `thread` are this thread's. The handler of `signal` returns, and leaves all
///    registers but the extended state as they are.
// Not inlined: for the caller it is a function, which by the ABI keeps no vector register.
#[inline(never)]
pub(super) unsafe fn execute(frame: &mut Frame) {
    // SAFETY:
    // Memory: condition 1; the stack is not used but by the kernel, for the signal, below the red
    // zone.
    // Registers: every register a component has is clobbered (`sysv64` preserves no vector, mask or
    // x87 register), and so are RCX and R11, which SYSCALL writes. The x87 stack is empty at the end,
    // by the initial image; that image also has no pending exception, so FLDCW raises none. MXCSR and
    // the x87 control word are the compiler's again.
    unsafe {
        asm!(
            "stmxcsr [r12 + {mxcsr}]",
            "fnstcw [r12 + {fcw}]",
            "mov rsi, [r12 + {registers}]",
            "mov eax, [r12 + {own}]",
            "mov edx, [r12 + {own} + 4]",
            "xrstor64 [rsi]",
            "mov rdi, [r12 + {process}]",
            "mov rsi, [r12 + {thread}]",
            "mov rdx, [r12 + {signal}]",
            "mov eax, {tgkill}",
            "syscall",
            "mov rsi, [r12 + {after}]",
            "mov eax, [r12 + {own}]",
            "mov edx, [r12 + {own} + 4]",
            "xsave64 [rsi]",
            "mov rsi, [r12 + {initial}]",
            "xrstor64 [rsi]",
            "ldmxcsr [r12 + {mxcsr}]",
            "fldcw [r12 + {fcw}]",
            in("r12") frame,
            registers = const offset_of!(Frame, registers),
            initial = const offset_of!(Frame, initial),
            after = const offset_of!(Frame, after),
            own = const offset_of!(Frame, own),
            process = const offset_of!(Frame, process),
            thread = const offset_of!(Frame, thread),
            signal = const offset_of!(Frame, signal),
            mxcsr = const offset_of!(Frame, mxcsr),
            fcw = const offset_of!(Frame, fcw),
            tgkill = const libc::SYS_tgkill,
            clobber_abi("sysv64"),
            options(nostack),
        );
    }
}
