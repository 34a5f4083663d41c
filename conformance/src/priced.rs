//! `Priced`: a processor with a clock that goes by what is executed.

use std::cell::Cell;
use std::rc::Rc;

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{ComponentSet, Fault, Format, Moved, Processor};

use crate::intercept::{Intercept, processor_by_intercept};

/// What has its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purchase {
    /// A save by an instruction.
    Save(SaveInstruction),
    /// A restore by an instruction, of these components.
    Restore(RestoreInstruction, ComponentSet),
    /// A save by moves, with what was in use.
    MovedOut(ComponentSet, Format),
    /// A restore by moves.
    MovedIn,
    /// Moves that cover too little.
    InVain,
}

/// Ticks for each.
pub type Prices = fn(Purchase) -> u64;

/// A processor on which time passes with each save and restore, and with nothing else.
#[derive(Debug)]
pub struct Priced<P> {
    inner: P,
    prices: Prices,
    now: Rc<Cell<u64>>,
}

impl<P> Priced<P> {
    /// `inner`, at time 0.
    #[must_use]
    pub fn new(inner: P, prices: Prices) -> Self {
        Self {
            inner,
            prices,
            now: Rc::default(),
        }
    }

    /// Its clock.
    pub fn clock(&self) -> impl FnMut() -> u64 + use<P> {
        let now = Rc::clone(&self.now);
        move || now.get()
    }

    fn pay(&self, purchase: Purchase) {
        self.now.set(self.now.get() + (self.prices)(purchase));
    }
}

impl<P: Processor> Intercept for Priced<P> {
    type Inner = P;

    fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    fn save(
        &mut self,
        instruction: SaveInstruction,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.pay(Purchase::Save(instruction));
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.pay(Purchase::Restore(instruction, rfbm));
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let moved = self.inner.save_by_moves(area, format, rfbm)?;
        self.pay(match moved {
            Moved::Done { in_use } => Purchase::MovedOut(in_use, format),
            Moved::NotCovered { .. } => Purchase::InVain,
        });
        Ok(moved)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let moved = self.inner.restore_by_moves(area, rfbm, in_use)?;
        self.pay(match moved {
            Moved::Done { .. } => Purchase::MovedIn,
            Moved::NotCovered { .. } => Purchase::InVain,
        });
        Ok(moved)
    }
}

processor_by_intercept!(Priced);
