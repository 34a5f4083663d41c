//! Ring 3, seen like a guest: `run` enters it and comes back at the next exception, interrupt or system
//! call, with the thread's registers in its own frame.

use core::arch::global_asm;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::trap::{self, MOST_CPUS, TrapFrame, cpu_number};

/// The vector of a system call.
pub const SYSTEM_CALL: u64 = 0x80;

const USER_DATA: u64 = 0x1b;
const USER_CODE: u64 = 0x23;
/// Interrupts on, and the bit that is always 1.
const RFLAGS: u64 = 0x202;

struct Run {
    /// Where the registers of the thread go.
    frame: AtomicPtr<TrapFrame>,
    /// Where the kernel goes on.
    kernel_rsp: AtomicU64,
}

static RUNS: [Run; MOST_CPUS] = [const {
    Run {
        frame: AtomicPtr::new(ptr::null_mut()),
        kernel_rsp: AtomicU64::new(0),
    }
}; MOST_CPUS];

/// Exceptions and interrupts in ring 3 end [`run`] from here on.
pub fn initialise() {
    trap::handle_from_user(left);
}

/// A frame that begins at `rip`, with `rsp` as its stack.
#[must_use]
pub const fn frame_at(rip: u64, rsp: u64) -> TrapFrame {
    TrapFrame {
        rip,
        rsp,
        cs: USER_CODE,
        ss: USER_DATA,
        rflags: RFLAGS,
        ..TrapFrame::ZERO
    }
}

/// Runs what `frame` says until it traps; `frame.vector` is why. The caller has interrupts off, and has them
/// off again when this returns; the registers hold the thread's extended state.
pub fn run(frame: &mut TrapFrame) {
    let run = &RUNS[cpu_number()];
    // Whatever it says, it is ring 3, and it can be interrupted.
    (frame.cs, frame.ss) = (USER_CODE, USER_DATA);
    frame.rflags |= RFLAGS;
    let frame = ptr::from_mut(frame);
    run.frame.store(frame, Ordering::Relaxed);
    // SAFETY: the kernel goes on behind this call when `left` says so, on the stack that this CPU has
    // now; the frame lives until then.
    unsafe { user_mode_enter(frame, run.kernel_rsp.as_ptr()) };
}

/// Called by the trap entry with what the CPU and the entry pushed.
fn left(found: &mut TrapFrame) {
    let run = &RUNS[cpu_number()];
    let frame = run.frame.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: `run` has it borrowed and waits.
    if let Some(frame) = unsafe { frame.as_mut() } {
        frame.clone_from(found);
        // SAFETY: `user_mode_enter` kept it and has not returned.
        unsafe { user_mode_left(run.kernel_rsp.load(Ordering::Relaxed)) };
    }
}

unsafe extern "C" {
    fn user_mode_enter(frame: *mut TrapFrame, kernel_rsp: *mut u64);
    fn user_mode_left(kernel_rsp: u64) -> !;
}

global_asm!(
    ".pushsection .text.user_mode, \"ax\", @progbits",
    ".globl user_mode_enter",
    "user_mode_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rsi], rsp",
    "mov rsp, rdi",
    "jmp trap_return",
    ".globl user_mode_left",
    "user_mode_left:",
    "mov rsp, rdi",
    "mov eax, 16", // the CPU leaves SS null
    "mov ss, eax",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
);
