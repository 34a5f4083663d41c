//! `Faulting`: a processor that raises faults on demand.

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{ComponentSet, Fault, Format, Moved, Processor, Xfd};

use crate::intercept::{Intercept, processor_by_intercept};

/// Which instruction faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// None.
    Nothing,
    /// The next save, by moves too.
    Save,
    /// The next restore, by moves too.
    Restore,
    /// The next WRMSR of IA32_XFD.
    XfdWrite,
}

/// A processor on which the next instruction of a kind can be made to raise #GP(0).
///
/// A save or a write that faults changes nothing. A restore that faults leaves the registers half
/// restored, which the manual allows: every other component is loaded before the fault.
#[derive(Debug)]
pub struct Faulting<P> {
    inner: P,
    victim: Victim,
}

const EVERY_OTHER: ComponentSet = ComponentSet::from_bits(0xaaaa_aaaa_aaaa_aaaa & !(1 << 63));

impl<P> Faulting<P> {
    /// `inner`, on which nothing faults yet.
    #[must_use]
    pub const fn new(inner: P) -> Self {
        let victim = Victim::Nothing;
        Self { inner, victim }
    }

    /// The next instruction of this kind faults, once. Replaces what was asked for before.
    pub const fn let_fault(&mut self, victim: Victim) {
        self.victim = victim;
    }

    /// Whether the instruction asked for is still to come.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.victim != Victim::Nothing
    }

    fn strikes(&mut self, kind: Victim) -> bool {
        let strikes = self.victim == kind;
        if strikes {
            self.victim = Victim::Nothing;
        }
        strikes
    }
}

impl<P: Processor> Intercept for Faulting<P> {
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
        if self.strikes(Victim::Save) {
            return Err(Fault::GeneralProtection);
        }
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        if self.strikes(Victim::Restore) {
            instruction.execute(&mut self.inner, area, rfbm.intersection(EVERY_OTHER))?;
            return Err(Fault::GeneralProtection);
        }
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        if self.strikes(Victim::Save) {
            return Err(Fault::GeneralProtection);
        }
        self.inner.save_by_moves(area, format, rfbm)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        if self.strikes(Victim::Restore) {
            let _ = self
                .inner
                .restore_by_moves(area, rfbm.intersection(EVERY_OTHER), in_use)?;
            return Err(Fault::GeneralProtection);
        }
        self.inner.restore_by_moves(area, rfbm, in_use)
    }

    fn wrmsr_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        if self.strikes(Victim::XfdWrite) {
            return Err(Fault::GeneralProtection);
        }
        self.inner.write_xfd(xfd)
    }
}

processor_by_intercept!(Faulting);
