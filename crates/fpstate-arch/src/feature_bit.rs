//! The CPUID bits of the feature that a component belongs to (SDM 1, chapters 13 to 18; SDM 2,
//! CPUID).
//!
//! Leaf 0DH says which components XSAVE manages. Whether the CPU has the feature that uses them is
//! said elsewhere, and a hypervisor or firmware may hide one and not the other.

use core::fmt;

use crate::component::Component;
use crate::cpuid::CpuidRegisters;

/// A bit of CPUID that announces a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureBit {
    leaf: u32,
    subleaf: u32,
    register: Register,
    bit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

const fn bit(leaf: u32, subleaf: u32, register: Register, bit: u32) -> FeatureBit {
    FeatureBit {
        leaf,
        subleaf,
        register,
        bit,
    }
}

impl FeatureBit {
    /// Hybrid processor: the CPUs of one package differ.
    pub const HYBRID: Self = bit(7, 0, Edx, 15);

    /// Leaf and sub-leaf.
    #[must_use]
    pub const fn leaf(self) -> (u32, u32) {
        (self.leaf, self.subleaf)
    }

    /// Whether the bit is 1 in its leaf.
    #[must_use]
    pub const fn is_set(self, leaf: CpuidRegisters) -> bool {
        let register = match self.register {
            Eax => leaf.eax,
            Ebx => leaf.ebx,
            Ecx => leaf.ecx,
            Edx => leaf.edx,
        };
        register.wrapping_shr(self.bit) & 1 == 1
    }
}

impl fmt::Display for FeatureBit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let register = match self.register {
            Eax => "EAX",
            Ebx => "EBX",
            Ecx => "ECX",
            Edx => "EDX",
        };
        let (leaf, subleaf, bit) = (self.leaf, self.subleaf, self.bit);
        write!(f, "CPUID.({leaf:02X}H,{subleaf}):{register}[{bit}]")
    }
}

/// The bits of which a CPU with the component has at least one. Empty where the component's own
/// sub-leaf is all there is.
#[must_use]
pub const fn features(component: Component) -> &'static [FeatureBit] {
    match component {
        Component::X87 | Component::Sse | Component::Unnamed(_) => &[],
        Component::Avx => const { &[bit(1, 0, Ecx, 28)] },
        Component::BndRegs | Component::BndCsr => const { &[bit(7, 0, Ebx, 14)] },
        Component::Opmask | Component::ZmmHi256 | Component::Hi16Zmm => {
            const { &[bit(7, 0, Ebx, 16)] }
        }
        Component::Pt => const { &[bit(7, 0, Ebx, 25)] },
        Component::Pkru => const { &[bit(7, 0, Ecx, 3)] },
        Component::Pasid => const { &[bit(7, 0, Ecx, 29)] },
        // Shadow stacks, indirect-branch tracking.
        Component::CetU | Component::CetS => const { &[bit(7, 0, Ecx, 7), bit(7, 0, Edx, 20)] },
        Component::Hdc => const { &[bit(6, 0, Eax, 13)] },
        Component::Uintr => const { &[bit(7, 0, Edx, 5)] },
        Component::Lbr => const { &[bit(7, 0, Edx, 19)] },
        Component::Hwp => const { &[bit(6, 0, Eax, 7)] },
        Component::TileConfig | Component::TileData => const { &[bit(7, 0, Edx, 24)] },
        Component::Apx => const { &[bit(7, 1, Edx, 21)] },
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_bit_is_read_from_its_own_register_and_shown_as_the_manual_writes_it() {
        let [shadow_stacks, branch_tracking] = features(Component::CetU) else {
            panic!("CET_U has two bits");
        };
        let with_ecx = CpuidRegisters {
            ecx: 1 << 7,
            ..Default::default()
        };
        assert!(shadow_stacks.is_set(with_ecx) && !branch_tracking.is_set(with_ecx));
        assert_eq!(shadow_stacks.to_string(), "CPUID.(07H,0):ECX[7]");
        assert_eq!(features(Component::Apx)[0].leaf(), (7, 1));
    }

    #[test]
    fn a_bit_is_where_it_was_put() {
        assert_eq!(FeatureBit::HYBRID.leaf(), (7, 0));
        assert_eq!(FeatureBit::HYBRID.to_string(), "CPUID.(07H,0):EDX[15]");
        assert!(features(Component::Sse).is_empty());
        let avx = features(Component::Avx);
        assert_eq!((avx.len(), avx[0].leaf()), (1, (1, 0)));
    }
}
