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
    /// #PF: memory that the instruction reads or writes is not present (SDM 2, the exceptions of the
    /// XSAVE and XRSTOR families, FXSAVE and FXRSTOR). Restarting the instruction once the memory is
    /// there completes it; until then registers and area may be changed in part.
    PageFault {
        /// Where the first such byte lies, from byte 0 of the area.
        offset: usize,
    },
    /// #AC: the area is misaligned, at CPL 3 with CR0.AM and EFLAGS.AC both 1, on a processor that
    /// signals this instead of #GP(0).
    AlignmentCheck,
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
            Self::PageFault { offset } => {
                write!(f, "#PF: byte {offset} of the area is not present")
            }
            Self::AlignmentCheck => f.write_str("#AC: misaligned area"),
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

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn each_exception_is_shown_by_its_mnemonic() {
        for (fault, shown) in [
            (Fault::InvalidOpcode, "#UD: instruction not available"),
            (Fault::DeviceNotAvailable, "#NM: component disabled"),
            (Fault::GeneralProtection, "#GP(0)"),
            (
                Fault::PageFault { offset: 64 },
                "#PF: byte 64 of the area is not present",
            ),
            (Fault::AlignmentCheck, "#AC: misaligned area"),
            (
                Fault::OutsideArea {
                    reach: 832,
                    len: 576,
                },
                "the instruction reaches 832 bytes into an area of 576",
            ),
        ] {
            assert_eq!(fault.to_string(), shown);
        }
    }
}
