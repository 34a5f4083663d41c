//! What the comparison must catch: instructions with one rule of the manual broken.
//!
//! A check that cannot fail is a defect. Each rule here is one that somebody has got wrong, or could.

mod restores;
mod saves;

use fpstate_arch::{Component, ComponentSet, Fault, Instruction};
use fpstate_model::{ModelCpu, Optimisation, RegisterFile};

use super::case::{Case, header_of};
use super::instruction::Tested;
use super::this_cpu::ThisCpu;

/// The instruction under test on the software CPU, about to be executed.
#[derive(Debug)]
pub struct Execution<'a> {
    /// The CPU.
    pub cpu: &'a mut ModelCpu,
    /// What is executed.
    pub case: &'a Case,
    /// Memory from the operand's byte 0 on.
    pub operand: &'a mut [u8],
}

type Outcome = Result<ComponentSet, Fault>;

/// A rule broken.
#[derive(Clone, Copy, Debug)]
pub struct WrongRule {
    /// What the software CPU then does.
    pub name: &'static str,
    needs: Needs,
    execute: fn(&mut Execution<'_>) -> Outcome,
}

impl WrongRule {
    /// The instruction with the rule broken.
    ///
    /// # Errors
    /// Its fault.
    pub fn execute(self, execution: &mut Execution<'_>) -> Outcome {
        (self.execute)(execution)
    }

    const fn new(
        name: &'static str,
        needs: Needs,
        execute: fn(&mut Execution<'_>) -> Outcome,
    ) -> Self {
        Self {
            name,
            needs,
            execute,
        }
    }

    /// Whether the rule shows on `this` CPU.
    #[must_use]
    pub fn shows_on(self, this: &ThisCpu) -> bool {
        let has = |instruction| this.enumeration().has(instruction);
        match self.needs {
            Needs::Nothing => true,
            Needs::Avx => this.compared().contains(Component::Avx),
            Needs::Xsaveopt => has(Instruction::Xsaveopt),
            Needs::Xsavec => has(Instruction::Xsavec),
            Needs::InitOptimisation => {
                has(Instruction::Xsavec)
                    && has(Instruction::XgetbvInUse)
                    && this.optimisation() != Optimisation::None
            }
        }
    }

    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::new(
            "XRSTOR of AVX alone keeps MXCSR",
            Needs::Avx,
            restores::avx_alone_keeps_mxcsr,
        ),
        Self::new(
            "standard XRSTOR loads MXCSR only with XSTATE_BV[1]",
            Needs::Nothing,
            restores::mxcsr_only_with_xstate_bv,
        ),
        Self::new(
            "compacted XRSTOR loads MXCSR whatever XSTATE_BV says",
            Needs::Xsavec,
            restores::compacted_mxcsr_always,
        ),
        Self::new(
            "reserved bits of MXCSR are accepted",
            Needs::Nothing,
            restores::mxcsr_unchecked,
        ),
        Self::new(
            "XRSTOR keeps components clear in XSTATE_BV",
            Needs::Nothing,
            restores::xrstor_never_initialises,
        ),
        Self::new(
            "XRSTOR judges XSTATE_BV by RFBM instead of XCR0",
            Needs::Nothing,
            restores::xstate_bv_judged_by_rfbm,
        ),
        Self::new(
            "standard XRSTOR wants bytes 63:24 of the header zero",
            Needs::Nothing,
            restores::standard_judges_all_reserved,
        ),
        Self::new(
            "standard XRSTOR ignores bytes 23:16 of the header",
            Needs::Nothing,
            restores::standard_ignores_reserved,
        ),
        Self::new(
            "compacted XRSTOR ignores bytes 63:24 of the header",
            Needs::Xsavec,
            restores::compacted_ignores_reserved,
        ),
        Self::new(
            "XSTATE_BV may exceed XCOMP_BV",
            Needs::Xsavec,
            restores::xstate_bv_may_exceed_xcomp_bv,
        ),
        Self::new(
            "XCOMP_BV may exceed XCR0",
            Needs::Xsavec,
            restores::xcomp_bv_may_exceed_xcr0,
        ),
        Self::new(
            "XSAVE replaces XSTATE_BV instead of merging",
            Needs::Nothing,
            saves::xsave_replaces_xstate_bv,
        ),
        Self::new(
            "XSAVE clears XCOMP_BV",
            Needs::Nothing,
            saves::xsave_clears_xcomp_bv,
        ),
        Self::new(
            "XSAVE leaves out initial components",
            Needs::Nothing,
            saves::xsave_leaves_out_initial,
        ),
        Self::new(
            "XSAVE stores MXCSR with x87",
            Needs::Nothing,
            saves::x87_takes_mxcsr_along,
        ),
        Self::new(
            "XSAVEC writes initial components",
            Needs::InitOptimisation,
            saves::xsavec_writes_initial,
        ),
        Self::new(
            "XSAVEC forgets MXCSR if XMM is initial",
            Needs::InitOptimisation,
            saves::xsavec_forgets_mxcsr,
        ),
        Self::new(
            "XSAVEC sets XCOMP_BV to XCR0",
            Needs::Xsavec,
            saves::xcomp_bv_is_xcr0,
        ),
        Self::new(
            "XSAVEC clears the reserved header bytes",
            Needs::Xsavec,
            saves::xsavec_clears_reserved,
        ),
        Self::new(
            "XSAVEOPT trusts an XRSTOR from another area",
            Needs::Xsaveopt,
            saves::xsaveopt_trusts_any_area,
        ),
        Self::new(
            "XSAVEOPT leaves out modified components",
            Needs::Xsaveopt,
            saves::xsaveopt_leaves_out_modified,
        ),
        Self::new(
            "16-byte alignment is enough for XSAVE",
            Needs::Nothing,
            saves::alignment_16,
        ),
        Self::new(
            "FXSAVE wants 64-byte alignment",
            Needs::Nothing,
            saves::fxsave_wants_64,
        ),
        Self::new(
            "FXRSTOR leaves MXCSR alone",
            Needs::Nothing,
            restores::fxrstor_keeps_mxcsr,
        ),
        Self::new(
            "FNINIT clears the data registers",
            Needs::Nothing,
            saves::fninit_clears,
        ),
        Self::new(
            "XGETBV(1) reports XCR0",
            Needs::InitOptimisation,
            saves::everything_is_in_use,
        ),
    ];
}

/// What a CPU must have for a rule to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Avx,
    Xsaveopt,
    Xsavec,
    InitOptimisation,
}

impl Execution<'_> {
    fn is(&self, tested: &[Tested]) -> bool {
        tested.contains(&self.case.tested)
    }

    fn is_standard_xrstor(&self) -> bool {
        self.is(&[Tested::Xrstor]) && header_of(self.operand).xcomp_bv >> 63 == 0
    }

    fn is_compacted_xrstor(&self) -> bool {
        self.is(&[Tested::Xrstor]) && header_of(self.operand).xcomp_bv >> 63 == 1
    }

    fn requests(&self, component: Component) -> bool {
        self.case.rfbm.contains(component) && self.registers().components().contains(component)
    }

    fn registers(&self) -> &RegisterFile {
        self.cpu.registers()
    }

    /// Executes with other memory in the operand's place, which is as it was afterwards.
    fn execute_with(&mut self, change: impl FnOnce(&mut [u8])) -> Outcome {
        let original = self.operand.to_vec();
        change(self.operand);
        let outcome = self.execute();
        self.operand.copy_from_slice(&original);
        outcome
    }

    /// Executes, then puts back the bytes of the operand that are in `range`.
    fn execute_without_writing(&mut self, range: std::ops::Range<usize>) -> Outcome {
        let original = self.operand[range.clone()].to_vec();
        let outcome = self.execute();
        self.operand[range].copy_from_slice(&original);
        outcome
    }

    fn execute_keeping_mxcsr(&mut self) -> Outcome {
        let mxcsr = self.registers().sse.mxcsr;
        let outcome = self.execute();
        self.cpu.registers_mut().set_mxcsr(mxcsr);
        outcome
    }

    fn execute_with_optimisation(&mut self, optimisation: Optimisation) -> Outcome {
        let mut other = self.cpu.clone();
        other.set_optimisation(optimisation);
        Execution {
            cpu: &mut other,
            case: self.case,
            operand: self.operand,
        }
        .execute()
    }
}
