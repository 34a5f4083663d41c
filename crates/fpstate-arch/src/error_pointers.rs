//! What a restore does with FIP, FDP and FOP (AMD APM 2, 11.5; CVE-2006-1056).

use crate::cpuid::CpuidSource;

/// FIP, FDP and FOP after XRSTOR, XRSTORS or FXRSTOR of an image without a pending x87 exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ErrorPointers {
    /// What the image has, or 0: nothing of the previous owner.
    #[default]
    Restored,
    /// What they were: the previous owner's. AMD and Hygon processors without `XSaveErPtr`,
    /// CPUID.80000008H:EBX\[2\].
    LeftAlone,
}

const VENDOR: u32 = 0;
const EXTENDED_MAX: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0008;
const XSAVE_ER_PTR: u32 = 1 << 2;
/// The first four letters of the vendors, CPUID.0:EBX.
const AMD: u32 = u32::from_le_bytes(*b"Auth");
const HYGON: u32 = u32::from_le_bytes(*b"Hygo");

impl ErrorPointers {
    pub(crate) fn read(source: &mut impl CpuidSource) -> Self {
        let vendor = source.cpuid(VENDOR, 0).ebx;
        if vendor != AMD && vendor != HYGON {
            return Self::Restored;
        }
        let has_leaf = source.cpuid(EXTENDED_MAX, 0).eax >= EXTENDED_FEATURES;
        if has_leaf && source.cpuid(EXTENDED_FEATURES, 0).ebx & XSAVE_ER_PTR != 0 {
            Self::Restored
        } else {
            Self::LeftAlone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpuid::CpuidRegisters;

    fn cpu(vendor: u32, max: u32, features: u32) -> ErrorPointers {
        ErrorPointers::read(&mut |leaf: u32, _: u32| {
            let mut registers = CpuidRegisters::default();
            match leaf {
                0 => registers.ebx = vendor,
                0x8000_0000 => registers.eax = max,
                0x8000_0008 => registers.ebx = features,
                _ => {}
            }
            registers
        })
    }

    #[test]
    fn amd_without_xsave_er_ptr_leaves_the_pointers_alone() {
        use ErrorPointers::{LeftAlone, Restored};
        let intel = u32::from_le_bytes(*b"Genu");
        assert_eq!(cpu(AMD, 0x8000_0008, 0), LeftAlone);
        assert_eq!(cpu(AMD, 0x8000_0008, 1 << 2), Restored);
        assert_eq!(cpu(AMD, 0x8000_0007, 1 << 2), LeftAlone);
        assert_eq!(cpu(HYGON, 0x8000_0008, 0), LeftAlone);
        assert_eq!(cpu(intel, 0x8000_0008, 0), Restored);
    }
}
