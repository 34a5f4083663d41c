//! `Moving`: a processor whose register moves are counted.

use std::cell::Cell;
use std::rc::Rc;

use fpstate_arch::{ComponentSet, Fault, Format, Moved, Processor};

use crate::intercept::{Intercept, processor_by_intercept};

/// What came of saves and restores by moves, on all processors that share it.
#[derive(Debug, Default)]
pub struct MoveCounts {
    /// Done by moves.
    pub done: Cell<u64>,
    /// Left to the instructions.
    pub not_covered: Cell<u64>,
    /// Restores that were not told what is in use: XGETBV(1) is theirs to execute.
    pub asked: Cell<u64>,
}

impl MoveCounts {
    fn note(&self, moved: Moved) {
        let count = match moved {
            Moved::Done { .. } => &self.done,
            Moved::NotCovered { .. } => &self.not_covered,
        };
        count.set(count.get() + 1);
    }
}

/// A processor that saves and restores by moves where the one inside does.
#[derive(Clone, Debug)]
pub struct Moving<P> {
    inner: P,
    counts: Rc<MoveCounts>,
}

impl<P> Moving<P> {
    /// `inner`, counted in `counts`.
    #[must_use]
    pub const fn new(inner: P, counts: Rc<MoveCounts>) -> Self {
        Self { inner, counts }
    }
}

impl<P: Processor> Intercept for Moving<P> {
    type Inner = P;

    fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let moved = self.inner.save_by_moves(area, format, rfbm)?;
        self.counts.note(moved);
        Ok(moved)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        if in_use.is_none() {
            self.counts.asked.set(self.counts.asked.get() + 1);
        }
        let moved = self.inner.restore_by_moves(area, rfbm, in_use)?;
        self.counts.note(moved);
        Ok(moved)
    }
}

processor_by_intercept!(Moving);
