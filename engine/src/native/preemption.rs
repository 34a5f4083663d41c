//! A timer signal takes a guest off at any instruction.
//!
//! The handler does as little as it can: it copies the guest's general-purpose registers and the
//! extended-state image from the signal frame, and returns into the unit instead of the guest. The
//! image becomes the guest's state later, in ordinary code.

#![expect(
    unsafe_code,
    reason = "a signal handler that changes where its thread continues"
)]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::Duration;

use fpstate::SignalFrame;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use nix::libc::{self, c_int, siginfo_t, ucontext_t};
use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use super::unit::{self, GuestBlock, Interrupted, Resume};

/// Its default action is to ignore it, so one that is late harms nobody.
const PREEMPT: Signal = Signal::SIGURG;
/// How often a CPU's guest is interrupted.
pub(super) const PERIOD: Duration = Duration::from_micros(100);
/// Room for a signal frame with every component there is, and the handler.
const ALTERNATE_STACK_LEN: usize = 128 * 1024;
/// Interrupts on, nothing else: direction flag clear, no trap.
const RFLAGS_OF_HOST: i64 = 0x202;

/// What the handler may take off, while a script with a guest is carried out.
#[derive(Debug)]
pub(super) struct Preemptible {
    block: *mut GuestBlock,
    image: *mut u8,
    capacity: usize,
    len: usize,
}

thread_local! {
    static RUNNING: Cell<*mut Preemptible> = const { Cell::new(ptr::null_mut()) };
}

/// Where the handler puts extended-state images: one per CPU.
#[derive(Debug)]
pub(super) struct PreemptedImage {
    bytes: Vec<u8>,
    len: usize,
}

impl PreemptedImage {
    /// Room for the largest frame the kernel writes: the standard-format area of all components
    /// XCR0 may get, and the magic number behind it.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            len: 0,
        }
    }

    /// The image of the last guest taken off.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Runs `script` with the guest of `block` open to preemption; the image of a guest taken off
    /// is in [`bytes`](Self::bytes) then.
    pub(super) fn while_preemptible<T>(
        &mut self,
        block: *mut GuestBlock,
        script: impl FnOnce() -> T,
    ) -> T {
        let mut running = Preemptible {
            block,
            image: self.bytes.as_mut_ptr(),
            capacity: self.bytes.len(),
            len: 0,
        };
        let published = Published::new(&raw mut running);
        let result = script();
        drop(published);
        self.len = running.len;
        result
    }
}

/// RUNNING is set as long as this lives, whatever way the script ends.
struct Published;

impl Published {
    fn new(running: *mut Preemptible) -> Self {
        RUNNING.set(running);
        // The handler runs on this thread: the compiler alone could let it see half of this.
        compiler_fence(Ordering::SeqCst);
        Self
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        RUNNING.set(ptr::null_mut());
    }
}

/// Installs the handler for the whole process.
///
/// # Errors
/// The system's refusal.
pub(super) fn install_handler() -> nix::Result<()> {
    let handler = SigHandler::SigAction(on_timer);
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handler only reads its arguments and what `RUNNING` points to, which is valid
    // whenever it is not null; it allocates nothing and takes no lock.
    unsafe { nix::sys::signal::sigaction(PREEMPT, &action) }.map(drop)
}

/// Interrupts this thread every [`PERIOD`] on an alternate stack, until dropped.
#[derive(Debug)]
pub(super) struct Preemption {
    // Dropped first: no signal may come when the stack is gone.
    timer: Timer,
    stack: Box<[u8]>,
}

impl Preemption {
    /// Starts the timer of this thread.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn start() -> nix::Result<Self> {
        let mut stack = vec![0; ALTERNATE_STACK_LEN].into_boxed_slice();
        set_alternate_stack(libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        })?;
        let notify = SigevNotify::SigevThreadId {
            signal: PREEMPT,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        let period = TimeSpec::from_duration(PERIOD);
        timer.set(Expiration::Interval(period), TimerSetTimeFlags::empty())?;
        Ok(Self { timer, stack })
    }
}

impl Drop for Preemption {
    fn drop(&mut self) {
        // A signal already on its way finds RUNNING null, and needs a stack all the same: the
        // timer is stopped before the stack is taken away.
        let never = Expiration::OneShot(TimeSpec::from_duration(Duration::ZERO));
        let stopped = self.timer.set(never, TimerSetTimeFlags::empty());
        let disabled = set_alternate_stack(libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: self.stack.len(),
        });
        debug_assert!(stopped.is_ok() && disabled.is_ok());
    }
}

fn set_alternate_stack(stack: libc::stack_t) -> nix::Result<()> {
    // SAFETY: the memory is owned by `Preemption`, which disables the stack before it frees it.
    nix::errno::Errno::result(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) })
        .map(drop)
}

/// Takes the guest off that runs on this thread, unless none does.
extern "C" fn on_timer(_signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    let running = RUNNING.get();
    if running.is_null() {
        return;
    }
    // SAFETY: the kernel passes a valid context, which belongs to the handler until it returns.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let rip = context.uc_mcontext.gregs[libc::REG_RIP as usize];
    if unit::contains(rip.cast_unsigned()) || !runs_guest(running) {
        return;
    }
    // A guest was interrupted, not the unit and not Rust code: nobody else uses these now.
    // SAFETY: `while_preemptible` keeps what RUNNING points to alive.
    let running = unsafe { &mut *running };
    // SAFETY: the block lives as long as the vCPU, which the script's caller borrows.
    let block = unsafe { &mut *running.block };
    let Some(len) = copy_image(context, running.image, running.capacity) else {
        return;
    };
    running.len = len;
    block.interrupted = general_purpose_registers(&context.uc_mcontext.gregs);
    block.resume = Resume::Interrupted;
    block.in_guest = 0;
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = unit::preempted().cast_signed();
    registers[libc::REG_RSP as usize] = block.host_rsp.cast_signed();
    registers[libc::REG_EFL as usize] = RFLAGS_OF_HOST;
}

/// Whether a guest is between its first and its last instruction. Reads through pointers: what was
/// interrupted may be the unit, or Rust code around it, at work on these.
fn runs_guest(running: *const Preemptible) -> bool {
    // SAFETY: `while_preemptible` keeps what RUNNING points to alive.
    let block = unsafe { (*running).block };
    // SAFETY: the block lives as long as the vCPU, which the script's caller borrows.
    unsafe { (*block).in_guest != 0 }
}

/// Copies the frame's extended state; `None`, and the guest goes on, if it is not understood or
/// does not fit.
fn copy_image(context: &ucontext_t, image: *mut u8, capacity: usize) -> Option<usize> {
    let frame = context.uc_mcontext.fpregs.cast::<u8>();
    if frame.is_null() {
        return None;
    }
    // SAFETY: the kernel's pointer is to the frame's image, which has at least the legacy region.
    let legacy = unsafe { &*frame.cast::<[u8; LEGACY_REGION_LEN]>() };
    let len = SignalFrame::from_legacy_region(legacy)
        .ok()?
        .extended_size();
    if len > capacity {
        return None;
    }
    // SAFETY: the frame has `extended_size` bytes, as the kernel wrote it there; the image has room
    // for them and is not part of the frame.
    unsafe { ptr::copy_nonoverlapping(frame, image, len) };
    Some(len)
}

fn general_purpose_registers(registers: &[i64; 23]) -> Interrupted {
    let register = |number: c_int| registers[number as usize];
    // REG_CSGSFS: CS, GS, FS and SS, 16 bits each from the low end.
    let selectors = register(libc::REG_CSGSFS);
    Interrupted {
        r15: register(libc::REG_R15),
        r14: register(libc::REG_R14),
        r13: register(libc::REG_R13),
        r12: register(libc::REG_R12),
        rbp: register(libc::REG_RBP),
        rbx: register(libc::REG_RBX),
        r11: register(libc::REG_R11),
        r10: register(libc::REG_R10),
        r9: register(libc::REG_R9),
        r8: register(libc::REG_R8),
        rax: register(libc::REG_RAX),
        rcx: register(libc::REG_RCX),
        rdx: register(libc::REG_RDX),
        rsi: register(libc::REG_RSI),
        rdi: register(libc::REG_RDI),
        rip: register(libc::REG_RIP),
        cs: selectors & 0xffff,
        rflags: register(libc::REG_EFL),
        rsp: register(libc::REG_RSP),
        ss: selectors >> 48 & 0xffff,
    }
}
