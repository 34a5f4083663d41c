//! CPUs by name: recorded CPUID dumps, one text file each in `profiles/`.

use alloc::vec::Vec;

use fpstate_arch::CpuidRegisters;

use crate::cpu::ModelCpu;
use crate::dump::Dump;

/// One CPU, known by its CPUID registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    name: &'static str,
    text: &'static str,
}

macro_rules! profiles {
    ($($constant:ident $name:literal,)*) => {
        impl Profile {
            $(
                #[doc = concat!("`", $name, "`: the first line of its file says what CPU it is.")]
                pub const $constant: Self = Self {
                    name: $name,
                    text: include_str!(concat!("../profiles/", $name, ".txt")),
                };
            )*

            /// All of them: Intel's and then AMD's from old to new, and one that is synthetic.
            pub const ALL: &'static [Self] = &[$(Self::$constant,)*];
        }
    };
}

profiles! {
    HASWELL_EP "haswell-ep",
    SKYLAKE_SP "skylake-sp",
    CASCADE_LAKE_SP "cascade-lake-sp",
    ICE_LAKE_CLIENT "ice-lake-client",
    SAPPHIRE_RAPIDS "sapphire-rapids",
    EMERALD_RAPIDS "emerald-rapids",
    GRANITE_RAPIDS "granite-rapids",
    LUNAR_LAKE "lunar-lake",
    PANTHER_LAKE "panther-lake",
    ROME "rome",
    MILAN "milan",
    GENOA "genoa",
    TURIN "turin",
    APX_SYNTHETIC "apx-synthetic",
}

impl Profile {
    /// The profile with this name, in whatever case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|profile| profile.name.eq_ignore_ascii_case(name))
            .copied()
    }

    /// The name: lower case, words joined by `-`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What CPU it is, in words.
    #[must_use]
    pub fn description(&self) -> &'static str {
        let first = self.text.lines().next();
        first.map_or("", |line| line.trim_start_matches(['#', ' ']))
    }

    /// The file.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// `(leaf, sub-leaf, registers)`, what [`ModelCpu::new`] takes.
    #[must_use]
    pub fn leaves(&self) -> Vec<(u32, u32, CpuidRegisters)> {
        // A test reads each file, so there is no error to be lost here.
        Dump::parse(self.text.as_bytes()).map_or_else(|_| Vec::new(), |dump| dump.leaves().to_vec())
    }

    /// A processor of this kind after RESET.
    #[must_use]
    pub fn cpu(&self) -> ModelCpu {
        ModelCpu::new(&self.leaves())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xcr0, Xcr0Error};

    #[test]
    fn every_file_is_a_dump_of_one_cpu_with_all_of_leaf_0dh() {
        for profile in Profile::ALL {
            let dump = Dump::parse(profile.text().as_bytes()).unwrap();
            assert_eq!(dump.cpus(), 1, "{}", profile.name());
            assert_eq!(profile.leaves(), dump.leaves());
            assert!(profile.description().len() > 10, "{}", profile.name());
            let cpu = profile.cpu();
            let enumeration = cpu.enumeration();
            for component in enumeration.components().iter().filter(|c| !c.is_legacy()) {
                assert!(enumeration.entry(component).is_some(), "{component}");
            }
        }
    }

    #[test]
    fn a_profile_is_found_by_its_name_in_whatever_case() {
        assert_eq!(
            Profile::by_name("Sapphire-Rapids"),
            Some(Profile::SAPPHIRE_RAPIDS)
        );
        assert_eq!(Profile::by_name("sapphire"), None);
        for profile in Profile::ALL {
            assert_eq!(Profile::by_name(profile.name()), Some(*profile));
        }
    }

    #[test]
    fn the_model_takes_the_vendor_from_the_profile() {
        // AMD's MXCSR_MASK has bit 17.
        use crate::vendor::VendorDifferences;
        assert_eq!(Profile::GENOA.cpu().vendor, VendorDifferences::AMD);
        assert_eq!(Profile::HASWELL_EP.cpu().vendor, VendorDifferences::INTEL);
    }

    #[test]
    fn the_synthetic_profile_has_apx_where_mpx_was_and_says_that_it_is_synthetic() {
        let profile = Profile::APX_SYNTHETIC;
        assert!(profile.description().starts_with("SYNTHETIC"));
        let cpu = profile.cpu();
        // APX specification, 355828, 3.1.4.
        let apx = cpu.enumeration().entry(Component::Apx).unwrap();
        assert_eq!((apx.len, apx.standard_offset, apx.flags), (128, 960, 0));
        // x87, SSE, AVX, AVX-512, PKRU, the tiles and APX.
        assert_eq!(cpu.enumeration().user_components().bits(), 0xe_02e7);
    }

    /// The dumps have both leaves; they are passed on as they are.
    #[test]
    fn processors_with_amx_answer_the_leaves_that_describe_it() {
        for profile in [
            Profile::SAPPHIRE_RAPIDS,
            Profile::EMERALD_RAPIDS,
            Profile::GRANITE_RAPIDS,
        ] {
            let mut cpu = profile.cpu();
            assert_eq!(cpu.cpuid(0xd, 1).eax & 1 << 4, 1 << 4); // XFD
            assert_eq!(cpu.cpuid(0x1d, 0).eax, 1); // palettes
            let CpuidRegisters { eax, ebx, ecx, .. } = cpu.cpuid(0x1d, 1);
            // 8 tiles of 16 rows of 64 bytes: SDM 1, 18.
            assert_eq!((eax & 0xffff, eax >> 16), (8 * 16 * 64, 16 * 64));
            assert_eq!((ebx & 0xffff, ebx >> 16, ecx & 0xffff), (64, 8, 16));
            // TMUL: 16 rows or dwords, 64 bytes.
            assert_eq!(cpu.cpuid(0x1e, 0).ebx, 64 << 8 | 16);
            let tile_data = cpu.enumeration().entry(Component::TileData).unwrap();
            assert_eq!((tile_data.len, tile_data.has_xfd()), (eax & 0xffff, true));
        }
    }

    /// APX specification, 355828, 3.1.4: both at once are refused, and each CPU has at most one.
    #[test]
    fn the_synthetic_processor_takes_apx_and_refuses_mpx_beside_it_or_alone() {
        let everything = ComponentSet::from_bits(!(1 << 63));
        let avx = ComponentSet::from_bits(0x7);
        let (apx, mpx) = (avx.with(Component::Apx), avx.union(ComponentSet::MPX));
        assert_eq!(
            Xcr0::new(apx.union(mpx), everything),
            Err(Xcr0Error::ApxWithMpx {
                found: apx.union(mpx)
            })
        );
        let mut cpu = Profile::APX_SYNTHETIC.cpu();
        cpu.xsetbv(Xcr0::new(apx, everything).unwrap()).unwrap();
        let elsewhere = Xcr0::new(mpx, everything).unwrap();
        assert_eq!(cpu.xsetbv(elsewhere), Err(Fault::GeneralProtection));
        assert_eq!(cpu.xgetbv(), Ok(apx));
        // A CPU with MPX, in turn.
        let mut skylake = Profile::SKYLAKE_SP.cpu();
        skylake.xsetbv(elsewhere).unwrap();
        let refused = skylake.xsetbv(Xcr0::new(apx, everything).unwrap());
        assert_eq!(refused, Err(Fault::GeneralProtection));
        assert_eq!(skylake.xgetbv(), Ok(mpx));
    }
}
