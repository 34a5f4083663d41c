//! What happens between the load of a pattern and its store.

#![expect(
    unsafe_code,
    reason = "names the conditions under which assembly may call a function pointer"
)]

use std::ffi::c_void;
use std::fmt;
use std::mem::offset_of;
use std::ptr;

/// What [`RegisterMoves::hold`](super::RegisterMoves::hold) calls while the pattern is in the registers: the engine's exit to
/// the host, which comes back here.
pub type ExitFunction = unsafe extern "sysv64" fn(*mut c_void);

/// What happens between load and store.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HoldControl {
    pub(super) spins: u64,
    pub(super) exit: Option<ExitFunction>,
    pub(super) context: *mut c_void,
}

// The assembly in `moves` addresses the fields by these offsets, and takes 0 for no exit function.
const _: () = assert!(offset_of!(HoldControl, spins) == 0 && size_of::<HoldControl>() == 24);
const _: () = assert!(offset_of!(HoldControl, exit) == 8 && size_of::<Option<ExitFunction>>() == 8);
const _: () = assert!(offset_of!(HoldControl, context) == 16);

impl HoldControl {
    /// Wait `spins` turns of a loop of two instructions, to be preempted in; 0 is no wait.
    #[must_use]
    pub const fn spin(spins: u64) -> Self {
        Self {
            spins,
            exit: None,
            context: ptr::null_mut(),
        }
    }

    /// After `spins` turns, call `exit` with `context`. General-purpose registers follow the
    /// System V ABI; the stack is aligned for a call.
    ///
    /// # Safety
    /// As long as the value is used:
    /// 1. `exit` may be called with `context` on the stack that `hold` was called on.
    /// 2. It copes with a full x87 stack and with any rounding in FCW and MXCSR, with DAZ and FTZ.
    ///    (It may change all of these: that is what the comparison is there to find.)
    #[must_use]
    pub const unsafe fn exit(spins: u64, exit: ExitFunction, context: *mut c_void) -> Self {
        Self {
            spins,
            exit: Some(exit),
            context,
        }
    }
}

impl fmt::Debug for HoldControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldControl")
            .field("spins", &self.spins)
            .field("exits", &self.exit.is_some())
            .finish_non_exhaustive()
    }
}
