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
    /// No such device: the CPU lacks it.
    Enodev,
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
            Self::Enodev => 19,
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
            Self::Enodev => "ENODEV",
            Self::Einval => "EINVAL",
            Self::Enospc => "ENOSPC",
            Self::Eopnotsupp => "EOPNOTSUPP",
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn each_error_has_the_number_and_the_name_of_errno_3() {
        for (errno, number, name) in [
            (Errno::Eperm, 1, "EPERM"),
            (Errno::Enomem, 12, "ENOMEM"),
            (Errno::Efault, 14, "EFAULT"),
            (Errno::Ebusy, 16, "EBUSY"),
            (Errno::Enodev, 19, "ENODEV"),
            (Errno::Einval, 22, "EINVAL"),
            (Errno::Enospc, 28, "ENOSPC"),
            (Errno::Eopnotsupp, 95, "EOPNOTSUPP"),
        ] {
            assert_eq!((errno.number(), errno.to_string()), (number, name.into()));
        }
    }
}
