//! A guest: the page it shares with the host, and its stack.

#![expect(
    unsafe_code,
    reason = "shares a page with code that is entered by jumping to it"
)]

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr::NonNull;

use super::guest_code::{GuestMain, GuestPage, compute_known_answers, hold_patterns};
use super::guest_stack::GuestStack;
use super::unit::{self, EXIT_TO_HOST, GuestBlock, Resume};
use crate::pattern::{HoldControl, RegisterImage, RegisterMoves};
use crate::report::KnownAnswers;
use crate::schedule::backend::{GuestCode, GuestKind, GuestPhase, Hold};

/// A guest of the native engine.
#[derive(Debug)]
pub(crate) struct NativeGuest {
    kind: GuestKind,
    hold: Hold,
    page: NonNull<GuestPage>,
    stack: GuestStack,
}

// SAFETY: page and stack are this value's alone, and the guest that uses them runs only while its
// thread carries out a script with this value borrowed.
unsafe impl Send for NativeGuest {}

impl NativeGuest {
    /// A guest that has not begun.
    ///
    /// # Errors
    /// The system's refusal of a stack.
    pub(super) fn new(kind: GuestKind, moves: RegisterMoves) -> nix::Result<Self> {
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
        let page = NonNull::from(Box::leak(page));
        let mut guest = Self {
            kind,
            hold: Hold::ForAWhile(0),
            page,
            stack,
        };
        guest.begin_again();
        Ok(guest)
    }

    /// The page the guest sees.
    fn page(&self) -> &GuestPage {
        // SAFETY: leaked in `new`, freed in `drop`. Host and guest share it by cells, and only one
        // of them runs at a time.
        unsafe { self.page.as_ref() }
    }

    /// The block by which the unit enters the guest.
    pub(super) fn block(&mut self) -> *mut GuestBlock {
        self.page().block.get()
    }

    /// How the guest is resumed next.
    fn resume(&self) -> Resume {
        // SAFETY: the unit and the signal handler write the block only while a script is carried
        // out, for which this value is borrowed.
        unsafe { (*self.page().block.get()).resume }
    }
}

impl GuestCode for NativeGuest {
    type Values = RegisterImage;

    fn phase(&self) -> GuestPhase {
        self.page().phase.get()
    }

    fn found(&self) -> RegisterImage {
        self.page().found.get()
    }

    fn pattern(&self) -> RegisterImage {
        self.page().pattern.get()
    }

    fn hold(&mut self, pattern: RegisterImage, how: Hold) {
        self.hold = how;
        let control = match how {
            Hold::ForAWhile(spins) => HoldControl::spin(spins),
            Hold::AcrossACall(spins) => {
                let block = self.block().cast::<c_void>();
                // SAFETY: the unit's exit, called by the guest that this block belongs to; it
                // preserves what its contract says, and the library's switch preserves the rest -
                // or is shown not to.
                unsafe { HoldControl::exit(spins, EXIT_TO_HOST, block) }
            }
        };
        self.page().pattern.set(pattern);
        self.page().hold.set(control);
    }

    fn take_answers(&mut self) -> KnownAnswers {
        let page = self.page();
        KnownAnswers {
            checked: page.answers.take(),
            wrong: page.wrong_answers.take(),
        }
    }

    fn begin_again(&mut self) {
        let main: GuestMain = match self.kind {
            // Tiles are the model's: these kinds do not come here.
            GuestKind::Pattern | GuestKind::TilePattern | GuestKind::Denied => hold_patterns,
            GuestKind::KnownAnswer | GuestKind::TileProduct | GuestKind::TogglesXfd => {
                compute_known_answers
            }
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
        let block = GuestBlock {
            guest_rsp,
            resume: Resume::Return,
            ..GuestBlock::default()
        };
        // SAFETY: as in `resume`.
        unsafe { *self.block() = block };
        self.page().phase.set(GuestPhase::Begun);
        self.hold = Hold::ForAWhile(0);
    }

    fn holds_only_a_pattern(&self) -> bool {
        self.phase() == GuestPhase::Holding && self.resume() == Resume::Return
    }

    fn will_hold_a_pattern(&self) -> bool {
        self.kind == GuestKind::Pattern
            && matches!(self.hold, Hold::AcrossACall(_))
            && matches!(self.phase(), GuestPhase::Begun | GuestPhase::Held)
    }
}

impl Drop for NativeGuest {
    fn drop(&mut self) {
        // SAFETY: leaked in `new`; the guest never runs again.
        drop(unsafe { Box::from_raw(self.page.as_ptr()) });
    }
}
