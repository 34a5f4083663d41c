//! What the manuals say of each component whatever the CPU: its length, and the CPUID bits of the
//! feature it belongs to (SDM 1, 13.5; SDM 1, chapters 13 to 18 for the features).

use core::fmt;

use fpstate_arch::{Component, CpuidRegisters};

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

/// Hybrid processor: the CPUs of one package differ.
pub(crate) const HYBRID: FeatureBit = bit(7, 0, Edx, 15);

impl FeatureBit {
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

/// Length in bytes of the registers the manuals put into the component; `None` where they leave it
/// to CPUID, and for x87 and SSE, which have no sub-leaf. The tiles are those of palette 1.
#[must_use]
pub const fn len_of_registers(component: Component) -> Option<u32> {
    Some(match component {
        Component::X87 | Component::Sse | Component::Unnamed(_) => return None,
        Component::Avx => 256,
        Component::BndRegs | Component::BndCsr | Component::Opmask | Component::TileConfig => 64,
        Component::ZmmHi256 => 512,
        Component::Hi16Zmm => 1024,
        Component::Pt | Component::Apx => 128,
        Component::Pkru | Component::Pasid | Component::Hdc | Component::Hwp => 8,
        Component::CetU => 16,
        Component::CetS => 24,
        Component::Uintr => 48,
        Component::Lbr => 808,
        Component::TileData => 8192,
    })
}
