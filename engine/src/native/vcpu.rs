//! A vCPU: its guest state, its code and its stack.

#![expect(
    unsafe_code,
    reason = "shares a page with code that is entered by jumping to it"
)]

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::NonNull;

use fpstate::{BoxedArea, GuestFpu};

use super::guest_code::{GuestMain, GuestPage, GuestPhase, compute_known_answers, hold_patterns};
use super::guest_stack::GuestStack;
use super::unit::{self, EXIT_TO_HOST, GuestBlock, Resume};
use crate::pattern::{HoldControl, RegisterImage, RegisterMoves};

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestKind {
    /// Holds a different value in every register.
    Pattern,
    /// Computes known answers.
    KnownAnswer,
}

/// A vCPU of the engine.
#[derive(Debug)]
pub(super) struct Vcpu<'e> {
    pub(super) number: u32,
    pub(super) kind: GuestKind,
    /// Its state between runs.
    pub(super) guest: GuestFpu<'e, BoxedArea>,
    /// Number of the pattern it holds.
    pub(super) generation: u64,
    /// What its area held after its last runs, newest last, for
    /// [`StaleAfterMigration`](crate::InjectedFault::StaleAfterMigration); empty otherwise.
    pub(super) former_areas: VecDeque<BoxedArea>,
    holds_across_an_exit: bool,
    page: NonNull<GuestPage>,
    stack: GuestStack,
}

// SAFETY: page and stack are this value's alone, and the guest that uses them runs only while its
// thread carries out a script with this vCPU borrowed.
unsafe impl Send for Vcpu<'_> {}

impl<'e> Vcpu<'e> {
    /// A vCPU that has not begun.
    ///
    /// # Errors
    /// The system's refusal of a stack.
    pub(super) fn new(
        number: u32,
        kind: GuestKind,
        guest: GuestFpu<'e, BoxedArea>,
        moves: RegisterMoves,
    ) -> nix::Result<Self> {
        let stack = GuestStack::new()?;
        let page = Box::new(GuestPage {
            block: UnsafeCell::new(GuestBlock::default()),
            phase: Cell::new(GuestPhase::Begun),
            pattern: Cell::new(RegisterImage::initial_configuration()),
            found: Cell::new(RegisterImage::initial_configuration()),
            hold: Cell::new(HoldControl::spin(0)),
            moves,
            answers: Cell::new(0),
            wrong_answers: Cell::new(0),
        });
        let mut vcpu = Self {
            number,
            kind,
            guest,
            generation: 0,
            former_areas: VecDeque::new(),
            holds_across_an_exit: false,
            page: NonNull::from(Box::leak(page)),
            stack,
        };
        vcpu.begin_again();
        Ok(vcpu)
    }

    /// The page the guest sees.
    pub(super) fn page(&self) -> &GuestPage {
        // SAFETY: leaked in `new`, freed in `drop`. Host and guest share it by cells, and only one
        // of them runs at a time.
        unsafe { self.page.as_ref() }
    }

    /// The block by which the unit enters the guest.
    pub(super) fn block(&mut self) -> *mut GuestBlock {
        self.page().block.get()
    }

    /// The block, while the guest does not run.
    fn block_mut(&mut self) -> &mut GuestBlock {
        // SAFETY: the unit uses the block only while a script is carried out, for which it is
        // entered with this vCPU borrowed.
        unsafe { &mut *self.block() }
    }

    /// Whether the guest is in its own call of the host with its pattern in every register, so that
    /// damage to them shows as wrong registers and nothing else.
    pub(super) fn holds_only_a_pattern(&mut self) -> bool {
        self.page().phase.get() == GuestPhase::Holding && self.block_mut().resume == Resume::Return
    }

    /// Whether the guest's next call of the host will come with a pattern in every register.
    pub(super) fn will_hold_a_pattern(&self) -> bool {
        let phase = self.page().phase.get();
        self.kind == GuestKind::Pattern
            && self.holds_across_an_exit
            && matches!(phase, GuestPhase::Begun | GuestPhase::Held)
    }

    /// Puts the guest back before its first instruction.
    pub(super) fn begin_again(&mut self) {
        let main: GuestMain = match self.kind {
            GuestKind::Pattern => hold_patterns,
            GuestKind::KnownAnswer => compute_known_answers,
        };
        // What the unit pops: R15, R14, R13, R12, RBX, RBP, and the address it returns to. The
        // start code stores the registers as it finds them, then goes on with the guest's own.
        let main = main as *const c_void as u64;
        let store = self.page().moves.store_routine() as *const c_void as u64;
        let found = self.page().found.as_ptr() as u64;
        let words = [
            0,
            main,
            found,
            store,
            self.page.as_ptr() as u64,
            0,
            unit::guest_start(),
        ];
        let guest_rsp = self.stack.begin_with(&words);
        let block = self.block_mut();
        block.guest_rsp = guest_rsp;
        block.resume = Resume::Return;
        self.page().phase.set(GuestPhase::Begun);
        self.holds_across_an_exit = false;
    }

    /// The next hold calls the host after `spins` turns of a loop.
    pub(super) fn hold_across_an_exit(&mut self, spins: u64) {
        self.holds_across_an_exit = true;
        let block = self.block().cast::<c_void>();
        // SAFETY: the unit's exit, called by the guest that this block belongs to; it preserves
        // what its contract says, and the library's switch preserves the rest - or is shown not to.
        self.page()
            .hold
            .set(unsafe { HoldControl::exit(spins, EXIT_TO_HOST, block) });
    }

    /// The next hold lasts `spins` turns of a loop.
    pub(super) fn hold_for(&mut self, spins: u64) {
        self.holds_across_an_exit = false;
        self.page().hold.set(HoldControl::spin(spins));
    }
}

impl Drop for Vcpu<'_> {
    fn drop(&mut self) {
        // SAFETY: leaked in `new`; the guest never runs again.
        drop(unsafe { Box::from_raw(self.page.as_ptr()) });
    }
}
