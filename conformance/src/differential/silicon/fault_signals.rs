//! The fault of an instruction under test arrives as a signal; the handler notes its vector and lets
//! the thread go on behind the instruction.
//!
//! On return the kernel gives the thread the extended state that it had at the fault.

#![expect(
    unsafe_code,
    reason = "a signal handler that changes where its thread continues"
)]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

use nix::libc::{self, c_int, siginfo_t, ucontext_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What the handler knows of the execution in progress.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Attempt {
    /// Address of the instruction under test, as the unit writes it.
    pub(super) tested: i64,
    /// Where to go on.
    pub(super) landing: i64,
    /// The exception's vector, or [`NO_FAULT`].
    pub(super) vector: i64,
}

pub(super) const NO_FAULT: i64 = -1;

/// The signals by which Linux reports #UD, #GP, #AC and #PF.
const SIGNALS: [Signal; 3] = [Signal::SIGSEGV, Signal::SIGILL, Signal::SIGBUS];

thread_local! {
    static IN_PROGRESS: Cell<*mut Attempt> = const { Cell::new(ptr::null_mut()) };
}

/// What the signals did before.
static PREVIOUS: OnceLock<[SigAction; SIGNALS.len()]> = OnceLock::new();

/// Lets `execute` run with `attempt` known to the handler. The handler is installed for the whole
/// process, once; faults of everything else have the effect they had before.
pub(super) fn with_faults_noted(attempt: *mut Attempt, execute: impl FnOnce()) {
    PREVIOUS.get_or_init(|| SIGNALS.map(install));
    IN_PROGRESS.set(attempt);
    // The handler runs on this thread: the compiler alone could let it see half of this.
    compiler_fence(Ordering::SeqCst);
    execute();
    compiler_fence(Ordering::SeqCst);
    IN_PROGRESS.set(ptr::null_mut());
}

fn install(signal: Signal) -> SigAction {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_fault), flags, SigSet::empty());
    // SAFETY: the handler reads its arguments, `PREVIOUS` and what `IN_PROGRESS` points to, which is
    // valid whenever it is not null; it allocates nothing and takes no lock.
    unsafe { sigaction(signal, &action) }.expect("sigaction")
}

extern "C" fn on_fault(signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid context, which belongs to the handler until it returns.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let rip = &mut registers[libc::REG_RIP as usize];
    let attempt = IN_PROGRESS.get();
    // SAFETY: if it is not null, `with_faults_noted` was given it by a caller who waits, on this
    // thread, inside the unit or in the few instructions around it.
    let attempt = unsafe { attempt.as_mut() };
    match attempt {
        Some(attempt) if attempt.tested == *rip => {
            *rip = attempt.landing;
            attempt.vector = registers[libc::REG_TRAPNO as usize];
        }
        Some(_) | None => take_previous_action(signal),
    }
}

/// The fault is none of ours: the instruction faults once more, and the previous handler has it.
fn take_previous_action(signal: c_int) {
    let previous = PREVIOUS.get().into_iter().flatten().zip(SIGNALS);
    for (action, this) in previous {
        if this as c_int == signal {
            // SAFETY: an action that was in force before, with whatever it needs.
            let _ = unsafe { sigaction(this, action) };
        }
    }
}
