//! The instructions that are compared, on the emulator and on the model.

use core::fmt;

use fpstate_arch::{ComponentSet, Enumeration, Fault, Instruction, Processor};
use fpstate_model::ModelCpu;
use fpstate_native::extended_control::{XgetbvOperand, xgetbv};
use fpstate_native::fxsave::{fxrstor64, fxsave64};
use fpstate_native::xsave_family::{xrstor64, xrstors64, xsave64, xsavec64, xsaveopt64, xsaves64};

use crate::trap::{Exception, attempt};

/// An instruction under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// XSAVE64.
    Xsave,
    /// XSAVEOPT64.
    Xsaveopt,
    /// XSAVEC64.
    Xsavec,
    /// XSAVES64.
    Xsaves,
    /// XRSTOR64.
    Xrstor,
    /// XRSTORS64.
    Xrstors,
    /// FXSAVE64.
    Fxsave,
    /// FXRSTOR64.
    Fxrstor,
    /// XGETBV with ECX = 1.
    XgetbvInUse,
}

/// What an instruction does with its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// It writes an XSAVE area.
    Saved,
    /// It reads an XSAVE area.
    Restored,
    /// It writes 512 bytes.
    Fxsaved,
    /// It reads 512 bytes.
    Fxrestored,
    /// It has none.
    None,
}

impl Tested {
    /// What CPUID announces it by.
    #[must_use]
    pub const fn announced_by(self) -> Instruction {
        match self {
            Self::Xsave | Self::Xrstor => Instruction::Xsave,
            Self::Xsaveopt => Instruction::Xsaveopt,
            Self::Xsavec => Instruction::Xsavec,
            Self::Xsaves | Self::Xrstors => Instruction::Xsaves,
            Self::Fxsave | Self::Fxrstor => Instruction::Fxsave,
            Self::XgetbvInUse => Instruction::XgetbvInUse,
        }
    }

    /// Its operand.
    #[must_use]
    pub const fn operand(self) -> Operand {
        match self {
            Self::Xsave | Self::Xsaveopt | Self::Xsavec | Self::Xsaves => Operand::Saved,
            Self::Xrstor | Self::Xrstors => Operand::Restored,
            Self::Fxsave => Operand::Fxsaved,
            Self::Fxrstor => Operand::Fxrestored,
            Self::XgetbvInUse => Operand::None,
        }
    }

    /// Whether it takes IA32_XSS into account.
    #[must_use]
    pub const fn is_for_supervisors(self) -> bool {
        matches!(self, Self::Xsaves | Self::Xrstors)
    }

    /// The instruction on the model; EDX:EAX afterwards.
    ///
    /// # Errors
    /// Its fault.
    pub fn on_model(
        self,
        model: &mut ModelCpu,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<ComponentSet, Fault> {
        match self {
            Self::Xsave => model.xsave(area, rfbm)?,
            Self::Xsaveopt => model.xsaveopt(area, rfbm)?,
            Self::Xsavec => model.xsavec(area, rfbm)?,
            Self::Xsaves => model.xsaves(area, rfbm)?,
            Self::Xrstor => model.xrstor(area, rfbm)?,
            Self::Xrstors => model.xrstors(area, rfbm)?,
            Self::Fxsave => model.fxsave(area)?,
            Self::Fxrstor => model.fxrstor(area)?,
            Self::XgetbvInUse => return model.xgetbv_in_use(),
        }
        Ok(rfbm)
    }

    /// The instruction on the emulated CPU; EDX:EAX afterwards.
    ///
    /// # Errors
    /// The exception that it raised.
    ///
    /// # Safety
    /// 1. `area` is longer than every area of this CPU.
    /// 2. `enumeration` is this CPU's; CPL is 0, CR4.OSXSAVE and CR4.OSFXSR are 1.
    /// 3. Nobody expects anything of the extended registers, and supervisor components are not used.
    pub unsafe fn on_emulator(
        self,
        enumeration: &Enumeration,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<ComponentSet, Exception> {
        assert!(enumeration.has(self.announced_by()), "{self} is missing");
        let mut call = Call {
            tested: self,
            area: area.as_mut_ptr(),
            rfbm,
            result: rfbm,
        };
        // SAFETY: 1: `execute` owns nothing. It is given a `Call` that lives until it is back, and
        // what `Call` demands is the caller's 1 to 3.
        unsafe { attempt(execute, (&raw mut call).expose_provenance() as u64)? };
        Ok(call.result)
    }
}

/// What `execute` is given: an instruction that the CPU has, and an area long enough for it.
struct Call {
    tested: Tested,
    area: *mut u8,
    rfbm: ComponentSet,
    result: ComponentSet,
}

extern "C" fn execute(argument: u64) {
    let address = usize::try_from(argument).unwrap_or(0);
    let call = core::ptr::with_exposed_provenance_mut::<Call>(address);
    // SAFETY: `on_emulator` gave it, and waits.
    let call = unsafe { &mut *call };
    let (area, rfbm) = (call.area, call.rfbm);
    // Whatever condition of the instruction is broken on purpose, its exception goes to `attempt`.
    match call.tested {
        // SAFETY: the area is long enough; the CPU has the instruction.
        Tested::Xsave => unsafe { xsave64(area, rfbm) },
        // SAFETY: as above.
        Tested::Xsaveopt => unsafe { xsaveopt64(area, rfbm) },
        // SAFETY: as above.
        Tested::Xsavec => unsafe { xsavec64(area, rfbm) },
        // SAFETY: as above, at CPL 0.
        Tested::Xsaves => unsafe { xsaves64(area, rfbm) },
        // SAFETY: as above; nobody expects anything of the registers.
        Tested::Xrstor => unsafe { xrstor64(area, rfbm) },
        // SAFETY: as above; no supervisor component is used.
        Tested::Xrstors => unsafe { xrstors64(area, rfbm) },
        // SAFETY: as above.
        Tested::Fxsave => unsafe { fxsave64(area) },
        // SAFETY: as above.
        Tested::Fxrstor => unsafe { fxrstor64(area) },
        // SAFETY: the CPU has it.
        Tested::XgetbvInUse => call.result = unsafe { xgetbv(XgetbvOperand::InUse) },
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xsave => "XSAVE",
            Self::Xsaveopt => "XSAVEOPT",
            Self::Xsavec => "XSAVEC",
            Self::Xsaves => "XSAVES",
            Self::Xrstor => "XRSTOR",
            Self::Xrstors => "XRSTORS",
            Self::Fxsave => "FXSAVE",
            Self::Fxrstor => "FXRSTOR",
            Self::XgetbvInUse => "XGETBV(1)",
        })
    }
}
