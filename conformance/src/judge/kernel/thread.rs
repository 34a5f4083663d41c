//! `PTRACE_SETREGSET` and `PTRACE_GETREGSET` on a thread that is stopped for good: its state stays in
//! the kernel's memory.

use std::ffi::c_void;
use std::io;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::libc::{self, c_int, iovec};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::guarded::Guarded;
use crate::judge::answer::{Answer, Side, Verdict};

/// A register set: a note type of ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterSet {
    /// `NT_PRFPREG`: FXSAVE's 512 bytes.
    Prfpreg,
    /// `NT_X86_XSTATE`.
    X86Xstate,
}

impl RegisterSet {
    const fn note_type(self) -> c_int {
        match self {
            Self::Prfpreg => libc::NT_PRFPREG,
            Self::X86Xstate => 0x202,
        }
    }
}

/// Longest register set that is read, in bytes.
const LONGEST: usize = 16 * 1024;

/// A process of one thread, traced by the thread that made it.
#[derive(Debug)]
pub struct StoppedThread {
    child: Child,
    pid: Pid,
    image: Guarded,
}

impl StoppedThread {
    /// Starts a process and stops it.
    ///
    /// # Errors
    /// There is no ptrace here, or no `cat`.
    pub fn new() -> io::Result<Self> {
        // It waits for its input, and ends with it, should the tracer be killed before it attached.
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let raw = child.id().cast_signed();
        let thread = Self {
            child,
            pid: Pid::from_raw(raw),
            image: Guarded::with_room_for(LONGEST),
        };
        ptrace::seize(thread.pid, Options::PTRACE_O_EXITKILL)?;
        ptrace::interrupt(thread.pid)?;
        waitpid(thread.pid, None)?;
        Ok(thread)
    }

    /// `PTRACE_SETREGSET`. The memory behind `image` cannot be read.
    ///
    /// # Panics
    /// If `image` is longer than 16 KiB.
    pub fn set(&mut self, set: RegisterSet, image: &[u8]) -> Verdict {
        let mut vector = iovec {
            iov_base: self.image.hold(image).cast().as_ptr(),
            iov_len: image.len(),
        };
        // SAFETY: the kernel reads `iov_len` bytes from `iov_base`, which are there.
        match unsafe { self.request(libc::PTRACE_SETREGSET, set, &mut vector) } {
            Ok(()) => Verdict::Taken,
            Err(errno) => Verdict::Refused(errno as i32),
        }
    }

    /// `PTRACE_GETREGSET`, all of it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn get(&self, set: RegisterSet) -> Result<Vec<u8>, Errno> {
        // Not zeros: the kernel is to write every byte.
        let mut bytes = vec![0xcc; LONGEST];
        let mut vector = iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: the kernel writes at most `iov_len` bytes to `iov_base`.
        unsafe { self.request(libc::PTRACE_GETREGSET, set, &mut vector) }?;
        bytes.truncate(vector.iov_len);
        Ok(bytes)
    }

    /// # Safety
    /// `vector` describes memory that the kernel may access as `request` does.
    unsafe fn request(
        &self,
        request: libc::c_uint,
        set: RegisterSet,
        vector: &mut iovec,
    ) -> Result<(), Errno> {
        let note_type = set.note_type() as *mut c_void;
        let vector: *mut iovec = vector;
        // SAFETY: the caller's; `vector` itself is written by the kernel.
        let answer = unsafe { libc::ptrace(request, self.pid.as_raw(), note_type, vector) };
        Errno::result(answer).map(drop)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        debug_assert!(ended.is_ok());
    }
}

/// One of the register sets of a stopped thread; what is read back are both, `NT_X86_XSTATE` first.
#[derive(Debug)]
pub struct Regset {
    thread: StoppedThread,
    set: RegisterSet,
}

impl Regset {
    /// `set` of `thread`.
    #[must_use]
    pub const fn new(thread: StoppedThread, set: RegisterSet) -> Self {
        Self { thread, set }
    }
}

impl Side for Regset {
    fn begin(&mut self, image: &[u8]) {
        let verdict = self.thread.set(RegisterSet::X86Xstate, image);
        assert_eq!(verdict, Verdict::Taken);
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let verdict = self.thread.set(self.set, image);
        let both = [RegisterSet::X86Xstate, RegisterSet::Prfpreg];
        let after = both.map(|set| self.thread.get(set).expect("PTRACE_GETREGSET"));
        let after = after.concat();
        Answer { verdict, after }
    }
}
