//! The CPU that a snapshot came from: the CPUID leaves that lay out an image.

use fpstate_arch::cpuid::{CpuidRegisters, CpuidSource};
use fpstate_arch::{ComponentSet, Enumeration};

/// One CPUID leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RecordedLeaf {
    /// EAX that CPUID was executed with.
    pub leaf: u32,
    /// ECX that CPUID was executed with.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX that it returned.
    pub registers: [u32; 4],
}

/// The leaves of one CPU that say how it lays out XSAVE areas, and whose it is: 0, 1, 7, 0DH, 1DH, 1EH
/// and, on AMD, 80000008H.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct CpuRecord(Vec<RecordedLeaf>);

const FEATURES: u32 = 1;

impl CpuRecord {
    /// Records the leaves that [`Enumeration::read`] reads, and what they amount to.
    pub fn read(mut source: impl CpuidSource) -> (Self, Enumeration) {
        let mut leaves: Vec<RecordedLeaf> = Vec::new();
        let enumeration = Enumeration::read(|leaf, subleaf| {
            let mut registers = source.cpuid(leaf, subleaf);
            if leaf == FEATURES {
                // The APIC identifier: another on every CPU of the host, and no matter of layout.
                registers.ebx = 0;
            }
            let known = |known: &RecordedLeaf| (known.leaf, known.subleaf) == (leaf, subleaf);
            if !leaves.iter().any(known) {
                let CpuidRegisters { eax, ebx, ecx, edx } = registers;
                leaves.push(RecordedLeaf {
                    leaf,
                    subleaf,
                    registers: [eax, ebx, ecx, edx],
                });
            }
            registers
        });
        (Self(leaves), enumeration)
    }

    /// The leaves, in the order they were read.
    #[must_use]
    pub fn leaves(&self) -> &[RecordedLeaf] {
        &self.0
    }

    /// What they amount to. They may come from a file: nothing in them is believed, and a layout made
    /// from them is checked.
    #[must_use]
    pub fn enumeration(&self) -> Enumeration {
        Enumeration::read(self)
    }

    /// The twelve letters of CPUID.0, `GenuineIntel` or `AuthenticAMD`; what is no letter is a `?`.
    #[must_use]
    pub fn vendor(&self) -> String {
        let CpuidRegisters { ebx, ecx, edx, .. } = self.registers(0, 0);
        let letters = [ebx, edx, ecx].map(u32::to_le_bytes);
        let letters = letters.as_flattened().iter();
        letters
            .map(|&byte| {
                if byte.is_ascii_graphic() {
                    char::from(byte)
                } else {
                    '?'
                }
            })
            .collect()
    }

    /// User components that the CPU has.
    #[must_use]
    pub fn user_components(&self) -> ComponentSet {
        let CpuidRegisters { eax, edx, .. } = self.registers(0xd, 0);
        ComponentSet::from_halves(eax, edx)
    }

    /// MXCSR_MASK, which only FXSAVE tells: AMD's CPUs, and Hygon's, have bit 17, the mask of misaligned
    /// exceptions (APM 2, 11.5.9), Intel's have bits 15:0 (SDM 1, 10.2.3).
    #[must_use]
    pub fn mxcsr_mask(&self) -> u32 {
        match self.vendor().as_str() {
            "AuthenticAMD" | "HygonGenuine" => 0x2_ffff,
            _ => 0xffff,
        }
    }

    fn registers(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        let found = self
            .0
            .iter()
            .find(|known| (known.leaf, known.subleaf) == (leaf, subleaf));
        found.map_or(CpuidRegisters::default(), |known| {
            let [eax, ebx, ecx, edx] = known.registers;
            CpuidRegisters { eax, ebx, ecx, edx }
        })
    }
}

impl CpuidSource for &CpuRecord {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        self.registers(leaf, subleaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::cpuid::RecordedLeaves;
    use fpstate_model::Profile;

    #[test]
    fn a_record_lays_areas_out_as_the_cpu_does() {
        for profile in Profile::ALL {
            let leaves = profile.leaves();
            let (record, enumeration) = CpuRecord::read(RecordedLeaves(&leaves));
            assert_eq!(enumeration, Enumeration::read(RecordedLeaves(&leaves)));
            assert_eq!(record.enumeration(), enumeration, "{}", profile.name());
            assert_eq!(record.user_components(), enumeration.user_components());
            assert!(record.leaves().len() < 80);
        }
    }

    #[test]
    fn cpus_of_one_host_have_one_record() {
        let leaves = Profile::GENOA.leaves();
        let (record, _) = CpuRecord::read(RecordedLeaves(&leaves));
        let (other, _) = CpuRecord::read(|leaf: u32, subleaf: u32| {
            let mut registers = RecordedLeaves(&leaves).cpuid(leaf, subleaf);
            if leaf == 1 {
                registers.ebx ^= 0x0100_0000;
            }
            registers
        });
        assert_eq!(record, other);
        assert_eq!(record.vendor(), "AuthenticAMD");
    }
}
