//! Which emulator this is, and the model of the CPU that it emulates.

use alloc::vec::Vec;

use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Enumeration, Instruction, Xcr0, Xss};
use fpstate_model::{
    InUseTracking, ModelCpu, Optimisation, ReportedInUse, VendorDifferences, X87PointerWidth,
    X87Pointers, XfdErrUpdate,
};
use fpstate_native::cpuid;

use crate::port;

/// An emulator that has been compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU 10.0, TCG.
    Qemu,
    /// Bochs 3.0.
    Bochs,
}

/// The emulated CPU.
#[derive(Clone, Debug)]
pub struct ThisEmulator {
    emulator: Emulator,
    leaves: Vec<(u32, u32, CpuidRegisters)>,
    enumeration: Enumeration,
}

/// CPUID.40000000H:EBX of QEMU's own code generator, "TCGT".
const TCG: u32 = u32::from_le_bytes(*b"TCGT");
/// Bochs answers a read of port E9H with the port's number.
const BOCHS_PORT: u16 = 0xe9;

impl ThisEmulator {
    /// `None` on an emulator that has not been compared, on silicon, and without XSAVE.
    #[must_use]
    pub fn find() -> Option<Self> {
        let enumeration = Enumeration::read(cpuid);
        // SAFETY: 1: the kernel. 2: the port shows what is written to it, or is not there.
        let echo = unsafe { port::read_byte(BOCHS_PORT) };
        let emulator = if cpuid(0x4000_0000, 0).ebx == TCG {
            Emulator::Qemu
        } else if u16::from(echo) == BOCHS_PORT {
            Emulator::Bochs
        } else {
            return None;
        };
        enumeration.has(Instruction::Xsave).then(|| Self {
            emulator,
            leaves: recorded_leaves(&enumeration),
            enumeration,
        })
    }

    /// Which one.
    #[must_use]
    pub const fn emulator(&self) -> Emulator {
        self.emulator
    }

    /// What its CPU enumerates.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// XCR0 with everything.
    ///
    /// # Panics
    /// If the CPU enumerates user components that do not go together.
    #[must_use]
    pub fn full_xcr0(&self) -> Xcr0 {
        let user = self.enumeration.user_components();
        Xcr0::new(user, user).expect("XCR0 takes what CPUID enumerates")
    }

    /// IA32_XSS with everything, where the CPU has the register.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn full_xss(&self) -> Option<Xss> {
        let supervisor = self.enumeration.supervisor_components();
        self.enumeration
            .has(Instruction::Xsaves)
            .then(|| Xss::new(supervisor, supervisor).expect("what CPUID enumerates"))
    }

    /// The same CPU in software.
    #[must_use]
    pub fn model(&self) -> ModelCpu {
        let mut model = ModelCpu::new(&self.leaves);
        model.set_vendor_differences(self.vendor_differences());
        // Neither has the modified optimisation; both leave initial components out.
        model.set_optimisation(Optimisation::Initial);
        model
    }

    /// How the emulator fills what architecture and vendors leave open.
    #[must_use]
    pub const fn vendor_differences(&self) -> VendorDifferences {
        match self.emulator {
            Emulator::Qemu => VendorDifferences {
                // BNDREGS from a restore with its XSTATE_BV bit on; the others always, see
                // `always_in_use`.
                in_use: InUseTracking::SinceWritten,
                // XGETBV(1) is XCR0 & XINUSE.
                reported_in_use: ReportedInUse::Xinuse,
                // It keeps none at all; `explained_qemu` has that.
                x87_pointers: X87Pointers::Always,
                x87_pointer_width: X87PointerWidth::Whole,
                xfd_err_update: XfdErrUpdate::Loaded,
                // What FXSAVE writes, whatever the vendor in leaf 0.
                mxcsr_mask: 0xffff,
            },
            Emulator::Bochs => VendorDifferences {
                // It compares the registers with the initial configuration.
                in_use: InUseTracking::ByContents,
                // It counts an MXCSR that is not 1F80H to SSE.
                reported_in_use: ReportedInUse::XinuseOrMxcsr,
                // Intel's.
                x87_pointers: X87Pointers::Always,
                // 64 bits as they come.
                x87_pointer_width: X87PointerWidth::Whole,
                xfd_err_update: XfdErrUpdate::Loaded,
                mxcsr_mask: 0xffff,
            },
        }
    }

    /// Components with XINUSE = 1 whatever they hold; SDM 1, 13.6 lets a processor do that.
    #[must_use]
    pub fn always_in_use(&self) -> ComponentSet {
        match self.emulator {
            // "For the most part, we don't track XINUSE" (QEMU): all but BNDREGS.
            Emulator::Qemu => self
                .enumeration
                .user_components()
                .without(Component::BndRegs),
            Emulator::Bochs => ComponentSet::EMPTY,
        }
    }
}

fn recorded_leaves(enumeration: &Enumeration) -> Vec<(u32, u32, CpuidRegisters)> {
    let components = enumeration.components().iter();
    let extended = components.map(|component| (0xd, u32::from(component.number())));
    [
        (0, 0),
        (1, 0),
        (7, 0),
        (0xd, 0),
        (0xd, 1),
        (0x1d, 0),
        (0x1d, 1),
        (0x1e, 0),
        (0x8000_0000, 0),
        (0x8000_0008, 0),
    ]
    .into_iter()
    .chain(extended.filter(|&(_, subleaf)| subleaf > 1))
    .map(|(leaf, subleaf)| (leaf, subleaf, cpuid(leaf, subleaf)))
    .collect()
}
