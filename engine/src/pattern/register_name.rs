//! One register of a pattern, by the name the manual gives it.

use std::fmt;

use super::register_width::RegisterWidth;

/// A register that a comparison checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterName {
    /// XMM0 to XMM15, 128 bits.
    Xmm(u8),
    /// YMM0 to YMM15, 256 bits.
    Ymm(u8),
    /// ZMM0 to ZMM31, 512 bits.
    Zmm(u8),
    /// The opmask registers K0 to K7.
    K(u8),
    /// The x87 registers by their place on the stack, ST0 the top.
    St(u8),
    /// The x87 control word.
    Fcw,
    /// The x87 status word, TOP and the sticky flags in it.
    Fsw,
    /// The x87 tag word in its abridged form: which registers are occupied.
    Ftw,
    /// The SSE control and status register.
    Mxcsr,
}

impl RegisterName {
    /// Every register of `width`, in the order in which they are compared.
    pub fn every(width: RegisterWidth) -> impl Iterator<Item = Self> {
        let vector = match width {
            RegisterWidth::Xmm => Self::Xmm,
            RegisterWidth::Ymm => Self::Ymm,
            RegisterWidth::ZmmShortOpmasks | RegisterWidth::Zmm => Self::Zmm,
        };
        (0..width.vector_count())
            .map(vector)
            .chain((0..width.opmask_count()).map(Self::K))
            .chain((0..8).map(Self::St))
            .chain([Self::Fcw, Self::Fsw, Self::Ftw, Self::Mxcsr])
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xmm(number) => write!(f, "XMM{number}"),
            Self::Ymm(number) => write!(f, "YMM{number}"),
            Self::Zmm(number) => write!(f, "ZMM{number}"),
            Self::K(number) => write!(f, "K{number}"),
            Self::St(number) => write!(f, "ST{number}"),
            Self::Fcw => f.write_str("FCW"),
            Self::Fsw => f.write_str("FSW"),
            Self::Ftw => f.write_str("FTW"),
            Self::Mxcsr => f.write_str("MXCSR"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_width_names_as_many_different_registers_as_a_check_counts() {
        for width in RegisterWidth::ALL {
            let names: HashSet<String> = RegisterName::every(width)
                .map(|name| name.to_string())
                .collect();
            assert_eq!(
                u32::try_from(names.len()).unwrap(),
                width.registers_per_check()
            );
        }
    }

    #[test]
    fn registers_are_shown_by_the_manuals_names() {
        let names: Vec<String> = RegisterName::every(RegisterWidth::Zmm)
            .map(|name| name.to_string())
            .collect();
        for name in [
            "ZMM0", "ZMM31", "K0", "K7", "ST0", "ST7", "FCW", "FSW", "FTW", "MXCSR",
        ] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
        assert_eq!(RegisterName::Ymm(7).to_string(), "YMM7");
        assert_eq!(RegisterName::Xmm(15).to_string(), "XMM15");
    }
}
