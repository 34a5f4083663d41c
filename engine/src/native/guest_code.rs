//! What guests execute. A guest may be taken off at any instruction and go on on another OS thread:
//! it does not allocate, takes no lock, uses no thread-local and does not panic.

#![expect(
    unsafe_code,
    reason = "guests are entered with a pointer and call the host"
)]

use std::cell::{Cell, UnsafeCell};

use super::unit::{EXIT_TO_HOST, GuestBlock};
use crate::known_answer::{KnownAnswer, Verdict};
use crate::pattern::{HoldControl, RegisterImage, RegisterMoves};
use crate::schedule::backend::GuestPhase;

/// What a guest and the host share, as two threads of one CPU would: one runs, the other waits.
#[derive(Debug)]
pub(super) struct GuestPage {
    pub(super) block: UnsafeCell<GuestBlock>,
    pub(super) phase: Cell<GuestPhase>,
    pub(super) pattern: Cell<RegisterImage>,
    pub(super) found: Cell<RegisterImage>,
    pub(super) hold: Cell<HoldControl>,
    pub(super) moves: RegisterMoves,
    pub(super) answers: Cell<u64>,
    pub(super) wrong_answers: Cell<u64>,
}

impl GuestPage {
    /// Calls the host. Only for the guest whose page this is.
    fn exit(&self, phase: GuestPhase) {
        self.phase.set(phase);
        // SAFETY: called by the guest that the unit entered through this block.
        unsafe { EXIT_TO_HOST(self.block.get().cast()) };
    }

    /// A known-answer guest has computed one.
    fn count(&self, verdict: Verdict) {
        self.answers.set(self.answers.get().wrapping_add(1));
        match verdict {
            Verdict::Right => {}
            Verdict::Wrong => self
                .wrong_answers
                .set(self.wrong_answers.get().wrapping_add(1)),
        }
    }
}

/// Where a guest's own code begins.
pub(super) type GuestMain = unsafe extern "sysv64" fn(*const GuestPage) -> !;

/// A pattern guest: holds the host's pattern, over and over, across the host's call or a while of
/// its own, in which it is taken off or not.
///
/// # Safety
/// 1. Entered by the unit with the page of this guest.
pub(super) unsafe extern "sysv64" fn hold_patterns(page: *const GuestPage) -> ! {
    // SAFETY: 1. The page outlives the guest.
    let page = unsafe { &*page };
    page.exit(GuestPhase::Begun);
    loop {
        let (pattern, how) = (page.pattern.get(), page.hold.get());
        let mut found = RegisterImage::initial_configuration();
        // Should the hold call the host, that is what the registers hold then.
        page.phase.set(GuestPhase::Holding);
        page.moves.hold(&pattern, &mut found, &how);
        page.found.set(found);
        page.exit(GuestPhase::Held);
    }
}

/// A known-answer guest: real code of other people's, with published results.
///
/// # Safety
/// 1. Entered by the unit with the page of this guest.
pub(super) unsafe extern "sysv64" fn compute_known_answers(page: *const GuestPage) -> ! {
    // SAFETY: 1. The page outlives the guest.
    let page = unsafe { &*page };
    page.exit(GuestPhase::Begun);
    loop {
        for answer in KnownAnswer::ALL {
            page.count(answer.run());
            page.exit(GuestPhase::Answered);
        }
    }
}
