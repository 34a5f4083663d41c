//! The error numbers of a Linux-compatible kernel.

use core::fmt;

/// What a Linux-compatible kernel answers when it refuses a request (errno(3)).
///
/// The errors of this crate that such a kernel passes on have an `errno()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Errno {
    /// Operation not permitted.
    Eperm,
    /// Out of memory; also an alternate signal stack that is too small.
    Enomem,
    /// Bad address.
    Efault,
    /// Resource busy.
    Ebusy,
    /// Invalid argument.
    Einval,
    /// No space left.
    Enospc,
    /// Operation not supported.
    Eopnotsupp,
}

impl Errno {
    /// Its number in the x86 system-call ABI; a system call returns it negated.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Eperm => 1,
            Self::Enomem => 12,
            Self::Efault => 14,
            Self::Ebusy => 16,
            Self::Einval => 22,
            Self::Enospc => 28,
            Self::Eopnotsupp => 95,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eperm => "EPERM",
            Self::Enomem => "ENOMEM",
            Self::Efault => "EFAULT",
            Self::Ebusy => "EBUSY",
            Self::Einval => "EINVAL",
            Self::Enospc => "ENOSPC",
            Self::Eopnotsupp => "EOPNOTSUPP",
        })
    }
}
