//! `Broken`: a processor that does not do what it is told and says that it did.
//!
//! A check that cannot fail is a defect: the [`world`](crate::world) must notice each of these.

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{Component, ComponentSet, Fault, Format, Processor, Xfd, XsaveHeader};

use crate::intercept::{Intercept, processor_by_intercept};
use crate::memory::Memory;

/// What is wrong with a processor. "Every nth" counts from its first instruction of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// Every nth save is not executed.
    SkipsSaves(u32),
    /// Every nth restore is not executed.
    SkipsRestores(u32),
    /// A restore leaves alone the components for which the area has no room; with FXRSTOR and the
    /// standard format, those that are initial in it. Linux's mistake of `mask = F.xf`.
    RestoresOnlyWhatTheAreaHas,
    /// This component is left out of every save.
    SavesWithout(Component),
    /// This component is left out of every restore.
    RestoresWithout(Component),
    /// Every nth restore loads what the one before it loaded.
    RestoresThePreviousImage(u32),
    /// A restore loads everything and keeps MXCSR.
    KeepsMxcsr,
    /// A save of the XSAVE family clears XCOMP_BV behind it.
    ForgetsXcompBv,
    /// Every nth WRMSR of IA32_XFD that enables a component is not executed.
    LosesXfdWrites(u32),
}

/// A processor with a [`Defect`].
#[derive(Debug)]
pub struct Broken<P> {
    inner: P,
    defect: Defect,
    count: u32,
    previous: Option<Memory>,
}

impl<P> Broken<P> {
    /// `inner` with `defect`.
    #[must_use]
    pub const fn new(inner: P, defect: Defect) -> Self {
        Self {
            inner,
            defect,
            count: 0,
            previous: None,
        }
    }

    fn is_nth(&mut self, n: u32) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }
}

impl<P: Processor> Intercept for Broken<P> {
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
        let defect = self.defect;
        match defect {
            Defect::SkipsSaves(n) if self.is_nth(n) => return Ok(()),
            Defect::SavesWithout(component) => {
                return self.save_without(component, instruction, area, rfbm);
            }
            Defect::None
            | Defect::SkipsSaves(_)
            | Defect::SkipsRestores(_)
            | Defect::RestoresOnlyWhatTheAreaHas
            | Defect::RestoresWithout(_)
            | Defect::RestoresThePreviousImage(_)
            | Defect::KeepsMxcsr
            | Defect::ForgetsXcompBv
            | Defect::LosesXfdWrites(_) => {}
        }
        instruction.execute(&mut self.inner, area, rfbm)?;
        if self.defect == Defect::ForgetsXcompBv && instruction.format() != Format::Fxsave {
            area[520..528].fill(0);
        }
        Ok(())
    }

    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        let (mut rfbm, defect) = (rfbm, self.defect);
        match defect {
            Defect::SkipsRestores(n) if self.is_nth(n) => return Ok(()),
            Defect::RestoresThePreviousImage(n) => {
                return self.restore_previous(n, instruction, area, rfbm);
            }
            Defect::RestoresOnlyWhatTheAreaHas => rfbm = rfbm.intersection(room_in(area)),
            Defect::RestoresWithout(component) => rfbm = rfbm.without(component),
            Defect::KeepsMxcsr => {
                let mxcsr = self.inner.stmxcsr()?;
                instruction.execute(&mut self.inner, area, rfbm)?;
                return self.inner.ldmxcsr(mxcsr);
            }
            Defect::None
            | Defect::SkipsSaves(_)
            | Defect::SkipsRestores(_)
            | Defect::SavesWithout(_)
            | Defect::ForgetsXcompBv
            | Defect::LosesXfdWrites(_) => {}
        }
        instruction.execute(&mut self.inner, area, rfbm)
    }

    fn wrmsr_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        let before = self.inner.read_xfd()?;
        let enables = !xfd.components().contains_all(before);
        let loses = match self.defect {
            Defect::LosesXfdWrites(n) => enables && self.is_nth(n),
            Defect::None
            | Defect::SkipsSaves(_)
            | Defect::SkipsRestores(_)
            | Defect::RestoresOnlyWhatTheAreaHas
            | Defect::SavesWithout(_)
            | Defect::RestoresWithout(_)
            | Defect::RestoresThePreviousImage(_)
            | Defect::KeepsMxcsr
            | Defect::ForgetsXcompBv => false,
        };
        if loses {
            return Ok(());
        }
        self.inner.write_xfd(xfd)
    }
}

impl<P: Processor> Broken<P> {
    /// The whole save, with the component's bytes and its bit in XSTATE_BV put back: leaving it out
    /// of RFBM would change XCOMP_BV, which [`Defect::ForgetsXcompBv`] is about.
    fn save_without(
        &mut self,
        component: Component,
        instruction: SaveInstruction,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        instruction.execute(&mut self.inner, area, rfbm)?;
        if let (true, Some(low)) = (
            instruction.format() != Format::Fxsave,
            area.get_mut(512..520),
        ) {
            for (byte, kept) in low
                .iter_mut()
                .zip((!ComponentSet::only(component).bits()).to_le_bytes())
            {
                *byte &= kept;
            }
        }
        Ok(())
    }

    fn restore_previous(
        &mut self,
        n: u32,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        let this = Memory::holding(area);
        let previous = self.previous.replace(this);
        match previous {
            Some(previous) if self.is_nth(n) => {
                instruction.execute(&mut self.inner, previous.bytes(), rfbm)
            }
            Some(_) | None => instruction.execute(&mut self.inner, area, rfbm),
        }
    }
}

/// The components that an area has, as far as its header says.
fn room_in(area: &[u8]) -> ComponentSet {
    let Some(header) = area.get(512..).and_then(<[u8]>::first_chunk) else {
        return ComponentSet::LEGACY;
    };
    let header = XsaveHeader::from_bytes(header);
    match header.format() {
        Format::Compacted => header.xcomp_bv_components(),
        Format::Standard | Format::Fxsave => header.xstate_bv,
    }
}

processor_by_intercept!(Broken);
