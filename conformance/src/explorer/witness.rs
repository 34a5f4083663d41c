//! A processor whose saves and restores are watched.

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{ComponentSet, Fault, Processor};

use crate::intercept::{Intercept, processor_by_intercept};

/// A save or a restore of the area at `address`, and IA32_XFD at that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) address: usize,
    pub(super) xfd: ComponentSet,
}

/// What comes of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restores {
    Succeed,
    /// They fault half-way, when the registers hold no one's values.
    Fault,
}

/// A processor that notes each save and restore.
#[derive(Clone, Debug)]
pub(super) struct Witness<P> {
    pub(super) inner: P,
    moved: Vec<Moved>,
    pub(super) restores: Restores,
}

impl<P> Witness<P> {
    pub(super) const fn new(inner: P) -> Self {
        Self {
            inner,
            moved: Vec::new(),
            restores: Restores::Succeed,
        }
    }

    /// The saves and restores since the last call.
    pub(super) fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }
}

impl<P: Processor> Witness<P> {
    fn moves(&mut self, area: &[u8]) -> Result<(), Fault> {
        let (address, xfd) = (area.as_ptr().addr(), self.inner.read_xfd()?);
        self.moved.push(Moved { address, xfd });
        Ok(())
    }
}

impl<P: Processor> Intercept for Witness<P> {
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
        self.moves(area)?;
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.moves(area)?;
        match self.restores {
            Restores::Succeed => instruction.execute(&mut self.inner, area, rfbm),
            Restores::Fault => {
                // The caller overwrites the other registers.
                self.inner.fninit()?;
                Err(Fault::GeneralProtection)
            }
        }
    }
}

processor_by_intercept!(Witness);
