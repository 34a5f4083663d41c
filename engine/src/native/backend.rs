//! The schedule's steps as the unit's, and register images as values.

#![expect(unsafe_code, reason = "hands the steps to the assembly unit")]

use std::ffi::c_void;

use fpstate::{
    BoxedArea, CpuFpu, Layout, RestoreInstruction, SaveInstruction, SignalFrame, Switch,
    SwitchInstructions, ThreadFpu,
};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Component, ComponentSet, Enumeration};
use fpstate_native::UserProcessor;
use fpstate_native::register_moves::plan::MovingCpu;
use fpstate_native::register_moves::{ErrorPointersLeft, MovePlan};

use super::guest::NativeGuest;
use super::preemption::PreemptedImage;
use super::unit::{self, Step, StepKind};
use crate::host::HostCpu;
use crate::pattern::{Patterns, RegisterImage, RegisterMoves, compare};
use crate::schedule::SliceError;
use crate::schedule::backend::{Backend, Comparison, Difference, Filler};
use crate::schedule::script::{self, Area, Image, Outcome, Script};
use crate::schedule::tenant::Operands;

/// The real CPU.
#[derive(Debug)]
pub(crate) struct Native<'w> {
    enumeration: &'w Enumeration,
    mxcsr_mask: u32,
    patterns: Patterns,
    moves: RegisterMoves,
    /// Moves in place of the instructions.
    plan: Option<SwitchPlan>,
    steps: Vec<Step>,
    image: PreemptedImage,
}

impl<'w> Native<'w> {
    /// For one CPU.
    pub(super) fn new(
        enumeration: &'w Enumeration,
        mxcsr_mask: u32,
        moves: RegisterMoves,
        plan: Option<SwitchPlan>,
    ) -> Self {
        // The longest image in a signal frame, and the magic number behind it.
        let frame_len = usize::try_from(enumeration.standard_len()).unwrap_or(0) + 64;
        Self {
            enumeration,
            mxcsr_mask,
            patterns: Patterns::new(moves.width(), mxcsr_mask),
            moves,
            plan,
            steps: Vec::new(),
            image: PreemptedImage::with_capacity(frame_len),
        }
    }

    /// Carries out a script.
    pub(super) fn carry_out(&mut self, script: &Script, operands: Operands<'_, Self>) -> Outcome {
        let Operands {
            own,
            guest,
            former,
            values,
            kernel_values,
            code,
        } = operands;
        let pointers = Pointers {
            own: own.as_mut_ptr().cast(),
            guest: guest.map_or(std::ptr::null_mut(), |area| area.as_mut_ptr().cast()),
            former: former.map_or(std::ptr::null_mut(), |area| area.as_mut_ptr().cast()),
            next: &raw mut values.next,
            found: values.found.each_mut().map(|image| &raw mut *image),
            kernel: &raw mut *kernel_values,
        };
        let block = code.map(|code| code.block());
        self.steps.clear();
        for step in script.steps() {
            self.steps.extend(pointers.moves(*step, self.plan.as_ref()));
            self.steps
                .extend(pointers.resolve(*step, self.moves, block));
        }
        self.steps.push(Step::END);
        let steps = &self.steps;
        // SAFETY: 1. and 2. `operands` borrows all areas and images for as long as this runs; the
        // areas' alignment and length are invariants of `Fpstate`, the library decided their RFBM,
        // and they hold what a save instruction or the library wrote there. `RegisterMoves` proves
        // that the CPU has the registers. 3. The guest is borrowed too, with its stack. 4. The
        // preemption handler asks for SA_ONSTACK, and so do Rust's own. 5. `SwitchPlan` is for RFBM and
        // layout of the areas; `pointers.moves` asks for it just before the instruction.
        let carry_out = || unsafe { unit::carry_out(steps) };
        match block {
            Some(block) => self.image.while_preemptible(block, carry_out),
            None => carry_out(),
        }
    }
}

/// What the operands of a script point to.
struct Pointers {
    own: *mut c_void,
    guest: *mut c_void,
    former: *mut c_void,
    next: *mut RegisterImage,
    found: [*mut RegisterImage; crate::schedule::tenant::CHECKS],
    kernel: *mut RegisterImage,
}

/// The plan for moves of all components that are switched, in the areas of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct SwitchPlan {
    rfbm: ComponentSet,
    plan: MovePlan,
}

impl SwitchPlan {
    /// For areas of `layout`, where moves are to be tried and cover something.
    pub(super) fn new(
        host: &HostCpu,
        instructions: SwitchInstructions,
        layout: &Layout<'_>,
    ) -> Option<Self> {
        let cpu = MovingCpu {
            xcr0: host.xcr0(),
            movable: MovingCpu::movable(),
            mxcsr_mask: host.mxcsr_mask(),
            error_pointers: ErrorPointersLeft::Zeroed,
            counted_when_zeroed: MovingCpu::counted_when_zeroed(),
        };
        let rfbm = layout.components();
        match instructions.moves() {
            fpstate::RegisterMoves::Never => None,
            fpstate::RegisterMoves::WhereCovered => {
                MovePlan::for_saves(cpu, host.enumeration(), layout.format(), rfbm)
                    .filter(|plan| plan.reach() <= layout.area_len())
                    .map(|plan| Self { rfbm, plan })
            }
        }
    }
}

impl Pointers {
    /// The step before that of an instruction, where moves may do in its place.
    fn moves(&self, step: script::Step, plan: Option<&SwitchPlan>) -> Option<Step> {
        let SwitchPlan { rfbm, plan } = plan?;
        match step {
            script::Step::Save {
                rfbm: asked, area, ..
            } if asked == *rfbm => Some(Step::moves(StepKind::MovesOut, self.area(area), plan)),
            script::Step::Restore {
                rfbm: asked, area, ..
            } if asked == *rfbm => Some(Step::moves(StepKind::MovesIn, self.area(area), plan)),
            script::Step::Save { .. }
            | script::Step::Restore { .. }
            | script::Step::Load(_)
            | script::Step::Store(_)
            | script::Step::Guest
            | script::Step::OverwriteErrorPointers
            | script::Step::WriteXfd(_) => None,
        }
    }

    /// The unit's step; none for what does not happen in user mode, or not without a guest.
    fn resolve(
        &self,
        step: script::Step,
        moves: RegisterMoves,
        block: Option<*mut unit::GuestBlock>,
    ) -> Option<Step> {
        Some(match step {
            script::Step::Save {
                instruction,
                rfbm,
                area,
            } => Step::instruction(kind_of_save(instruction), self.area(area), rfbm),
            script::Step::Restore {
                instruction,
                rfbm,
                area,
            } => Step::instruction(kind_of_restore(instruction), self.area(area), rfbm),
            script::Step::Load(image) => Step::load(moves.load_routine(), self.image(image)?),
            script::Step::Store(image) => Step::store(moves.store_routine(), self.image(image)?),
            script::Step::Guest => Step::guest(block?),
            script::Step::OverwriteErrorPointers => Step::OVERWRITE_ERROR_POINTERS,
            script::Step::WriteXfd(_) => return None,
        })
    }

    fn area(&self, area: Area) -> *mut c_void {
        match area {
            Area::Own => self.own,
            Area::Guest => self.guest,
            Area::Former => self.former,
        }
    }

    fn image(&self, image: Image) -> Option<*mut RegisterImage> {
        match image {
            Image::Next => Some(self.next),
            Image::Found(slot) => self.found.get(slot).copied(),
            Image::Kernel => Some(self.kernel),
        }
    }
}

/// The engine refuses CPUs without XSAVE and runs at CPL 3, so FXSAVE and XSAVES are not decided.
fn kind_of_save(instruction: SaveInstruction) -> StepKind {
    match instruction {
        SaveInstruction::Xsavec => StepKind::Xsavec,
        SaveInstruction::Xsaveopt => StepKind::Xsaveopt,
        SaveInstruction::Xsave | SaveInstruction::Fxsave | SaveInstruction::Xsaves => {
            StepKind::Xsave
        }
    }
}

fn kind_of_restore(instruction: RestoreInstruction) -> StepKind {
    match instruction {
        RestoreInstruction::Xrstor | RestoreInstruction::Fxrstor | RestoreInstruction::Xrstors => {
            StepKind::Xrstor
        }
    }
}

impl<'w> Backend for Native<'w> {
    type Processor = UserProcessor<'w>;
    type Values = RegisterImage;
    /// Linux switches PKRU for us.
    type KeptByKernel = ();
    type Guest = NativeGuest;

    /// Longer than a period of the timer.
    const LONGEST_HOLD: u64 = 400_000;

    fn initial_values(&self) -> RegisterImage {
        RegisterImage::initial_configuration()
    }

    fn pattern(&self, _filler: Filler, seed: u64, generation: u64) -> RegisterImage {
        self.patterns.pattern(seed, generation)
    }

    fn inherited(&self, values: RegisterImage) -> RegisterImage {
        values
    }

    fn compare(&self, expected: &RegisterImage, found: &RegisterImage) -> Comparison {
        let comparison = compare(expected, found, self.moves.width());
        Comparison {
            checked: comparison.checked,
            mismatches: comparison.mismatches,
            first: comparison.first.map(|first| Difference {
                register: first.register.to_string(),
                expected: first.expected.to_string(),
                found: first.found.to_string(),
            }),
        }
    }

    /// What its registers held is in the signal frame.
    fn guest_taken_off(
        &mut self,
        thread: &mut ThreadFpu<'_, BoxedArea>,
        cpu: &mut CpuFpu<UserProcessor<'w>>,
    ) -> Result<Switch, SliceError> {
        let bytes = self.image.bytes();
        let legacy = bytes
            .first_chunk::<LEGACY_REGION_LEN>()
            .ok_or(SliceError::NoImage)?;
        let frame = SignalFrame::from_legacy_region(legacy)?;
        let image = frame.image(bytes, self.enumeration, self.mxcsr_mask)?;
        thread.import_instead_of_saving(cpu, &image, ComponentSet::only(Component::Pkru))?;
        Ok(thread.save_before_switch(cpu)?)
    }
}
