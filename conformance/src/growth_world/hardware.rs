//! Processors of a world: models, however they are wrapped, whose saves and restores are watched.

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{ComponentSet, Fault, Processor};
use fpstate_model::ModelCpu;

use crate::broken::Broken;
use crate::intercept::{Intercept, processor_by_intercept};
use crate::user_code::UserCode;

/// A processor in software, for user code and guests to execute instructions on.
pub trait Hardware: UserCode {
    /// The model inside.
    fn model(&mut self) -> &mut ModelCpu;
}

impl Hardware for ModelCpu {
    fn model(&mut self) -> &mut ModelCpu {
        self
    }
}

impl<P: Hardware> Hardware for Broken<P> {
    fn model(&mut self) -> &mut ModelCpu {
        self.inner().model()
    }
}

/// A save or a restore of the area at `address`, and IA32_XFD at that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) address: usize,
    pub(super) xfd: ComponentSet,
}

/// A processor that notes each save and restore.
#[derive(Debug)]
pub(super) struct Watched<P> {
    inner: P,
    moved: Vec<Moved>,
}

impl<P> Watched<P> {
    pub(super) const fn new(inner: P) -> Self {
        let moved = Vec::new();
        Self { inner, moved }
    }

    pub(super) fn into_inner(self) -> P {
        self.inner
    }

    /// The saves and restores since the last call.
    pub(super) fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }
}

impl<P: Processor> Watched<P> {
    fn moves(&mut self, area: &[u8]) {
        // Without the register nothing is disabled.
        let xfd = self.inner.read_xfd().unwrap_or(ComponentSet::EMPTY);
        let address = area.as_ptr().addr();
        self.moved.push(Moved { address, xfd });
    }
}

impl<P: Hardware> Hardware for Watched<P> {
    fn model(&mut self) -> &mut ModelCpu {
        self.inner.model()
    }
}

impl<P: Processor> Intercept for Watched<P> {
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
        self.moves(area);
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.moves(area);
        instruction.execute(&mut self.inner, area, rfbm)
    }
}

processor_by_intercept!(Watched);
