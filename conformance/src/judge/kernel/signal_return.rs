//! `rt_sigreturn` with a frame of one's own: a signal handler points its context to another image and
//! returns, and the thread goes on with what the kernel made of it.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{ComponentSet, LegacyRegion, XsaveHeader};
use nix::libc::{c_int, siginfo_t, ucontext_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{getpid, gettid};

use super::guarded::Guarded;
use super::unit::{self, Frame};
use crate::judge::answer::{Answer, Side, Verdict};
use crate::memory::Memory;

/// Its handler points the context to the image.
const EXCHANGE: Signal = Signal::SIGUSR2;
/// Longest frame, in bytes.
const LONGEST: usize = 16 * 1024;

/// What the handlers know of the exchange in progress.
#[derive(Debug)]
struct Exchange {
    /// What the context is to point to.
    image: *mut u8,
    /// What the kernel wrote is copied here.
    written: [u8; LONGEST],
    written_len: usize,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    NoSignalYet,
    /// The handler has set the context's pointer.
    Exchanged,
    /// The kernel refused the context.
    Refused,
}

thread_local! {
    static IN_PROGRESS: Cell<*mut Exchange> = const { Cell::new(ptr::null_mut()) };
}

/// What SIGSEGV did before.
static PREVIOUS: OnceLock<SigAction> = OnceLock::new();

/// This thread, which returns from signals into whatever state it is given.
#[derive(Debug)]
pub struct SignalReturn {
    own: ComponentSet,
    registers: Memory,
    initial: Memory,
    after: Memory,
    image: Guarded,
    exchange: Box<Exchange>,
}

/// What the context's pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer<'b> {
    /// To a copy of these bytes, at a multiple of 64 if their number is one; what lies behind them
    /// cannot be read.
    To(&'b [u8]),
    /// To a copy, so many bytes further than a multiple of 64; as many bytes as the copy's length and
    /// a multiple of 64 differ by can be read behind it.
    Misaligned(&'b [u8], usize),
    /// 0.
    Null,
}

impl SignalReturn {
    /// This thread; `own` are the registers it loads and looks at, and standard-format areas of them have
    /// `area_len` bytes.
    #[must_use]
    pub fn new(own: ComponentSet, area_len: usize) -> Self {
        install_handlers();
        let mut initial = Memory::zeroed(area_len);
        let legacy = initial.bytes_mut().first_chunk_mut();
        LegacyRegion::INITIAL.write_to(legacy.expect("a legacy region"));
        Self {
            own,
            registers: Memory::zeroed(area_len),
            initial,
            after: Memory::zeroed(area_len),
            image: Guarded::with_room_for(LONGEST),
            exchange: Box::new(Exchange {
                image: ptr::null_mut(),
                written: [0; LONGEST],
                written_len: 0,
                progress: Progress::NoSignalYet,
            }),
        }
    }

    /// The registers from now on hold `image`, a standard-format one, before each signal.
    ///
    /// # Panics
    /// If XRSTOR would not take it.
    pub fn begin_with(&mut self, image: &[u8]) {
        let header = image[LEGACY_REGION_LEN..].first_chunk();
        let header = XsaveHeader::from_bytes(header.expect("a header"));
        assert_eq!(header, XsaveHeader::standard(header.xstate_bv));
        let legacy = LegacyRegion::from_bytes(image.first_chunk().expect("a legacy region"));
        // SAFETY: x86-64 Linux: CR0.TS and CR0.EM read as 0, CR4.OSFXSR is set.
        let mxcsr_mask = unsafe { fpstate_native::fxsave::mxcsr_mask() };
        assert!(legacy.mxcsr.is_valid_under(mxcsr_mask));
        self.registers.bytes_mut().copy_from_slice(image);
    }

    /// What the registers hold after the image of [`begin_with`](Self::begin_with) was loaded: XSAVE's
    /// image, but for XSTATE_BV, which is 0.
    pub fn loaded(&mut self) -> Vec<u8> {
        self.execute(None)
    }

    /// Returns from a signal with the context's pointer replaced.
    ///
    /// # Panics
    /// If the frame is longer than 16 KiB.
    pub fn return_with(&mut self, pointer: Pointer<'_>) -> Answer {
        let image = match pointer {
            Pointer::To(bytes) => self.image.hold(bytes).as_ptr(),
            Pointer::Misaligned(bytes, by) => {
                let mut moved = vec![0; by];
                moved.extend(bytes);
                moved.resize(moved.len().next_multiple_of(64), 0);
                self.image.hold(&moved).as_ptr().wrapping_add(by)
            }
            Pointer::Null => ptr::null_mut(),
        };
        self.exchange.image = image;
        self.exchange.progress = Progress::NoSignalYet;
        let exchange: *mut Exchange = &raw mut *self.exchange;
        IN_PROGRESS.set(exchange);
        // The handlers run on this thread: the compiler alone could let them see half of this.
        compiler_fence(Ordering::SeqCst);
        let after = self.execute(Some(EXCHANGE));
        compiler_fence(Ordering::SeqCst);
        IN_PROGRESS.set(ptr::null_mut());
        // SAFETY: the box is there; the handlers have written it by this pointer.
        let progress = unsafe { (*exchange).progress };
        let verdict = match progress {
            Progress::Exchanged => Verdict::Taken,
            Progress::Refused => Verdict::Killed,
            Progress::NoSignalYet => panic!("the signal did not come"),
        };
        Answer { verdict, after }
    }

    /// The image of the last frame as the kernel wrote it.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.exchange.written[..self.exchange.written_len]
    }

    fn execute(&mut self, signal: Option<Signal>) -> Vec<u8> {
        let after = self.after.bytes_mut();
        after.fill(0);
        let mut frame = Frame {
            registers: self.registers.bytes().as_ptr(),
            initial: self.initial.bytes().as_ptr(),
            after: after.as_mut_ptr(),
            own: self.own.halves().into(),
            process: getpid().as_raw().into(),
            thread: gettid().as_raw().into(),
            signal: signal.map_or(0, |signal| signal as c_int).into(),
            mxcsr: 0,
            fcw: 0,
        };
        // SAFETY:
        // 1. Areas have room for `own`; `begin_with` has looked at header and MXCSR, the initial
        //    ones are legal.
        // 2. The handlers change nothing but the pointer to the extended state.
        unsafe { unit::execute(&mut frame) };
        let mut after = self.after.bytes().to_vec();
        // Whether a component in its initial configuration is in use is the CPU's to say.
        after[LEGACY_REGION_LEN..][..8].fill(0);
        after
    }
}

impl Side for SignalReturn {
    fn begin(&mut self, image: &[u8]) {
        self.begin_with(image);
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        self.return_with(Pointer::To(image))
    }
}

fn install_handlers() {
    PREVIOUS.get_or_init(|| {
        install(EXCHANGE, on_exchange);
        install(Signal::SIGSEGV, on_refusal)
    });
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn install(signal: Signal, handler: Handler) -> SigAction {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::SigAction(handler), flags, SigSet::empty());
    // SAFETY: the handlers read their arguments, `PREVIOUS` and what `IN_PROGRESS` points to, which
    // is valid whenever it is not null; they allocate nothing and take no lock.
    unsafe { sigaction(signal, &action) }.expect("sigaction")
}

extern "C" fn on_exchange(_signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    let exchange = IN_PROGRESS.get();
    // SAFETY: if it is not null, `return_with` waits for this signal and touches nothing of it.
    let Some(exchange) = (unsafe { exchange.as_mut() }) else {
        return;
    };
    // SAFETY: the kernel passes a valid context, which belongs to the handler until it returns.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let written = context.uc_mcontext.fpregs.cast::<u8>();
    exchange.written_len = copy_written(written, &mut exchange.written);
    context.uc_mcontext.fpregs = exchange.image.cast();
    exchange.progress = Progress::Exchanged;
}

/// Copies the frame that the kernel wrote; its length.
fn copy_written(frame: *const u8, to: &mut [u8; LONGEST]) -> usize {
    /// Offset of `extended_size` in the legacy region.
    const EXTENDED_SIZE: usize = 468;
    let size = frame.wrapping_add(EXTENDED_SIZE).cast::<u32>();
    // SAFETY: the kernel's frame has a legacy region at least.
    let size = unsafe { size.read_unaligned() };
    let len = usize::try_from(size).unwrap_or(0).min(LONGEST);
    // SAFETY: the frame has `extended_size` bytes, as the kernel says.
    unsafe { frame.copy_to_nonoverlapping(to.as_mut_ptr(), len) };
    len
}

extern "C" fn on_refusal(signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    let exchange = NonNull::new(IN_PROGRESS.get());
    // SAFETY: as in `on_exchange`.
    match exchange.map(|mut exchange| unsafe { exchange.as_mut() }) {
        Some(exchange) if exchange.progress == Progress::Exchanged => {
            exchange.progress = Progress::Refused;
        }
        Some(_) | None => take_previous_action(signal),
    }
}

/// The fault is none of ours: the instruction faults once more, and the previous handler has it.
fn take_previous_action(signal: c_int) {
    debug_assert_eq!(signal, Signal::SIGSEGV as c_int);
    if let Some(action) = PREVIOUS.get() {
        // SAFETY: an action that was in force before, with whatever it needs.
        let _ = unsafe { sigaction(Signal::SIGSEGV, action) };
    }
}
