//! How an instruction refuses.

use core::fmt;

/// Why a [`Processor`](crate::Processor) did not complete an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// #UD: the CPU lacks the instruction, or CR4.OSXSAVE (CR4.OSFXSR) is 0.
    InvalidOpcode,
    /// #NM: CR0.TS is 1, or a component that IA32_XFD disables is needed.
    DeviceNotAvailable,
    /// #GP(0): one of the instruction's other conditions is not met.
    GeneralProtection,
    /// Not an exception: the processor refused, because the instruction would touch bytes beyond
    /// the end of the area it was given.
    OutsideArea {
        /// Bytes, from byte 0 of the area, that the instruction reaches.
        reach: usize,
        /// Bytes the area has.
        len: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOpcode => f.write_str("#UD: instruction not available"),
            Self::DeviceNotAvailable => f.write_str("#NM: component disabled"),
            Self::GeneralProtection => f.write_str("#GP(0)"),
            Self::OutsideArea { reach, len } => {
                write!(
                    f,
                    "the instruction reaches {reach} bytes into an area of {len}"
                )
            }
        }
    }
}

impl core::error::Error for Fault {}
