//! What became of an image that was handed over.

use std::fmt;

/// Whether the image was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it is.
    Taken,
    /// With this error number; the state is what it was.
    Refused(i32),
    /// With SIGSEGV; the state is initial.
    Killed,
}

impl Verdict {
    /// The kernel's EINVAL.
    pub const EINVAL: Self = Self::Refused(22);
    /// The kernel's EFAULT.
    pub const EFAULT: Self = Self::Refused(14);
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("taken"),
            Self::Refused(22) => f.write_str("EINVAL"),
            Self::Refused(14) => f.write_str("EFAULT"),
            Self::Refused(number) => write!(f, "error {number}"),
            Self::Killed => f.write_str("SIGSEGV"),
        }
    }
}

/// The verdict, and the whole state after it, as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the image was taken.
    pub verdict: Verdict,
    /// The state as an image.
    pub after: Vec<u8>,
}

/// One who takes images or refuses them: the kernel, or the library.
pub trait Side {
    /// Puts a state in place, whatever was there: that of a legal standard-format image with every
    /// component live.
    fn begin(&mut self, image: &[u8]);
    /// Hands `image` over.
    fn put(&mut self, image: &[u8]) -> Answer;
}

/// How two answers to the same image differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In the verdict.
    Verdict {
        /// The kernel's.
        kernel: Verdict,
        /// The library's.
        library: Verdict,
    },
    /// In the length of what is handed out.
    Length {
        /// The kernel's, in bytes.
        kernel: usize,
        /// The library's, in bytes.
        library: usize,
    },
    /// In a byte of the state after it; the first one.
    Byte {
        /// Offset from byte 0 of what is handed out.
        offset: usize,
        /// The kernel's.
        kernel: u8,
        /// The library's.
        library: u8,
        /// The verdict of both.
        verdict: Verdict,
    },
}

impl Difference {
    /// The first difference, if there is one.
    #[must_use]
    pub fn between(kernel: &Answer, library: &Answer) -> Option<Self> {
        if kernel.verdict != library.verdict {
            return Some(Self::Verdict {
                kernel: kernel.verdict,
                library: library.verdict,
            });
        }
        if kernel.after.len() != library.after.len() {
            return Some(Self::Length {
                kernel: kernel.after.len(),
                library: library.after.len(),
            });
        }
        if kernel.after == library.after {
            return None;
        }
        let pairs = kernel.after.iter().zip(&library.after).enumerate();
        pairs
            .filter(|(_, (kernel, library))| kernel != library)
            .map(|(offset, (&of_kernel, &of_library))| Self::Byte {
                offset,
                kernel: of_kernel,
                library: of_library,
                verdict: kernel.verdict,
            })
            .next()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict { kernel, library } => {
                write!(f, "the kernel says {kernel}, the library {library}")
            }
            Self::Length { kernel, library } => {
                write!(
                    f,
                    "the kernel hands out {kernel} bytes, the library {library}"
                )
            }
            Self::Byte {
                offset,
                kernel,
                library,
                verdict,
            } => write!(
                f,
                "both say {verdict}; byte {offset} is {kernel:#04x} from the kernel and \
                 {library:#04x} from the library"
            ),
        }
    }
}
