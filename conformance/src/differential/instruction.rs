//! What is executed.

use std::fmt;

use fpstate_arch::{Component, ComponentSet, Enumeration, Instruction};

/// An instruction under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tested {
    /// XSAVE64.
    Xsave,
    /// XSAVEOPT64.
    Xsaveopt,
    /// XSAVEC64.
    Xsavec,
    /// XSAVES64, which CPL 3 may not execute.
    Xsaves,
    /// XRSTOR64.
    Xrstor,
    /// XRSTORS64, which CPL 3 may not execute.
    Xrstors,
    /// FXSAVE64.
    Fxsave,
    /// FXRSTOR64.
    Fxrstor,
    /// STMXCSR.
    Stmxcsr,
    /// LDMXCSR.
    Ldmxcsr,
    /// FNINIT.
    Fninit,
    /// XGETBV with ECX = 0.
    Xgetbv,
    /// XGETBV with ECX = 1.
    XgetbvInUse,
    /// XSETBV, which CPL 3 may not execute.
    Xsetbv,
    /// RDMSR of IA32_XSS, which CPL 3 may not execute.
    ReadXss,
    /// WRMSR of IA32_XSS, which CPL 3 may not execute.
    WriteXss,
    /// RDMSR of IA32_XFD, which CPL 3 may not execute.
    ReadXfd,
    /// WRMSR of IA32_XFD, which CPL 3 may not execute.
    WriteXfd,
    /// RDMSR of IA32_XFD_ERR, which CPL 3 may not execute.
    ReadXfdErr,
    /// WRMSR of IA32_XFD_ERR, which CPL 3 may not execute.
    WriteXfdErr,
}

/// What an instruction has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An XSAVE area that is written.
    SavedArea,
    /// An XSAVE area that is read.
    RestoredArea,
    /// 512 bytes of FXSAVE or FXRSTOR.
    FxsaveArea,
    /// MXCSR.
    Mxcsr,
    /// Nothing.
    None,
}

impl Tested {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Xsave,
        Self::Xsaveopt,
        Self::Xsavec,
        Self::Xsaves,
        Self::Xrstor,
        Self::Xrstors,
        Self::Fxsave,
        Self::Fxrstor,
        Self::Stmxcsr,
        Self::Ldmxcsr,
        Self::Fninit,
        Self::Xgetbv,
        Self::XgetbvInUse,
        Self::Xsetbv,
        Self::ReadXss,
        Self::WriteXss,
        Self::ReadXfd,
        Self::WriteXfd,
        Self::ReadXfdErr,
        Self::WriteXfdErr,
    ];

    /// Its operand in memory.
    #[must_use]
    pub const fn operand(self) -> Operand {
        match self {
            Self::Xsave | Self::Xsaveopt | Self::Xsavec | Self::Xsaves => Operand::SavedArea,
            Self::Xrstor | Self::Xrstors => Operand::RestoredArea,
            Self::Fxsave | Self::Fxrstor => Operand::FxsaveArea,
            Self::Stmxcsr | Self::Ldmxcsr => Operand::Mxcsr,
            Self::Fninit
            | Self::Xgetbv
            | Self::XgetbvInUse
            | Self::Xsetbv
            | Self::ReadXss
            | Self::WriteXss
            | Self::ReadXfd
            | Self::WriteXfd
            | Self::ReadXfdErr
            | Self::WriteXfdErr => Operand::None,
        }
    }

    /// What CPUID must announce. A CPU may execute what a hypervisor hides, so nothing follows from
    /// its absence. `None`: every x86-64 CPU, at CPL 3, has it or refuses it.
    #[must_use]
    pub const fn announced_by(self) -> Option<Instruction> {
        match self {
            Self::Xsave | Self::Xrstor | Self::Xgetbv | Self::Xsetbv => Some(Instruction::Xsave),
            Self::Xsaveopt => Some(Instruction::Xsaveopt),
            Self::Xsavec => Some(Instruction::Xsavec),
            Self::Xsaves | Self::Xrstors => Some(Instruction::Xsaves),
            Self::XgetbvInUse => Some(Instruction::XgetbvInUse),
            Self::Fxsave | Self::Fxrstor => Some(Instruction::Fxsave),
            Self::Stmxcsr
            | Self::Ldmxcsr
            | Self::Fninit
            | Self::ReadXss
            | Self::WriteXss
            | Self::ReadXfd
            | Self::WriteXfd
            | Self::ReadXfdErr
            | Self::WriteXfdErr => None,
        }
    }

    /// Whether CPL 3 is reason enough for #GP.
    #[must_use]
    pub const fn is_privileged(self) -> bool {
        match self {
            Self::Xsaves
            | Self::Xrstors
            | Self::Xsetbv
            | Self::ReadXss
            | Self::WriteXss
            | Self::ReadXfd
            | Self::WriteXfd
            | Self::ReadXfdErr
            | Self::WriteXfdErr => true,
            Self::Xsave
            | Self::Xsaveopt
            | Self::Xsavec
            | Self::Xrstor
            | Self::Fxsave
            | Self::Fxrstor
            | Self::Stmxcsr
            | Self::Ldmxcsr
            | Self::Fninit
            | Self::Xgetbv
            | Self::XgetbvInUse => false,
        }
    }

    /// Whether a CPU that enumerates `enumeration` can be held to anything.
    #[must_use]
    pub fn is_comparable_on(self, enumeration: &Enumeration) -> bool {
        self.announced_by()
            .is_none_or(|instruction| enumeration.has(instruction))
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xsave => "XSAVE64",
            Self::Xsaveopt => "XSAVEOPT64",
            Self::Xsavec => "XSAVEC64",
            Self::Xsaves => "XSAVES64",
            Self::Xrstor => "XRSTOR64",
            Self::Xrstors => "XRSTORS64",
            Self::Fxsave => "FXSAVE64",
            Self::Fxrstor => "FXRSTOR64",
            Self::Stmxcsr => "STMXCSR",
            Self::Ldmxcsr => "LDMXCSR",
            Self::Fninit => "FNINIT",
            Self::Xgetbv => "XGETBV(0)",
            Self::XgetbvInUse => "XGETBV(1)",
            Self::Xsetbv => "XSETBV",
            Self::ReadXss => "RDMSR of IA32_XSS",
            Self::WriteXss => "WRMSR of IA32_XSS",
            Self::ReadXfd => "RDMSR of IA32_XFD",
            Self::WriteXfd => "WRMSR of IA32_XFD",
            Self::ReadXfdErr => "RDMSR of IA32_XFD_ERR",
            Self::WriteXfdErr => "WRMSR of IA32_XFD_ERR",
        })
    }
}

/// What XSAVEOPT finds done to the registers since the XRSTOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Between {
    /// Nothing.
    Nothing,
    /// PCMPEQD XMM5, XMM5: all ones.
    SetXmm5,
    /// KXNORW K5, K5, K5: 16 ones.
    SetK5,
    /// FNINIT.
    Fninit,
}

impl Between {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::SetXmm5, Self::SetK5, Self::Fninit];

    /// Whether it is a move to a vector or mask register.
    #[must_use]
    pub const fn is_move(self) -> bool {
        match self {
            Self::SetXmm5 | Self::SetK5 => true,
            Self::Nothing | Self::Fninit => false,
        }
    }

    /// The component it modifies.
    #[must_use]
    pub const fn modifies(self) -> ComponentSet {
        match self {
            Self::Nothing => ComponentSet::EMPTY,
            Self::SetXmm5 => ComponentSet::only(Component::Sse),
            Self::SetK5 => ComponentSet::only(Component::Opmask),
            Self::Fninit => ComponentSet::only(Component::X87),
        }
    }
}
