//! Register images, and what moves registers to and from them: for the designs that are not the
//! library's.

use fpstate::{AreaStorage, SwitchInstructions};
use fpstate::{BoxedArea, RestoreInstruction, SaveInstruction, XsaveArea};
use fpstate_arch::{ComponentSet, Fault, Format, Moved, Processor};

use crate::policy::PolicyError;

/// Bytes that a restore accepts: made of an area of the library's, and after that written by
/// saves and from other images of the same layout only.
#[derive(Debug)]
pub struct Image(BoxedArea);

impl Image {
    /// The same bytes in memory of their own.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`]
    pub fn of(area: &XsaveArea<'_, BoxedArea>) -> Result<Self, PolicyError> {
        let mut memory = BoxedArea::for_layout(area.layout()).map_err(|_| PolicyError::NoMemory)?;
        memory.bytes_mut().copy_from_slice(area.bytes());
        Ok(Self(memory))
    }

    /// The bytes, from byte 0 of the area.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// For a save.
    #[inline]
    pub(crate) fn save_target(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// Moves registers to and from images.
pub trait Mover {
    /// Registers to memory.
    ///
    /// # Errors
    /// The processor's fault, or that this cannot save what is in use.
    fn save(&mut self, image: &mut Image) -> Result<(), PolicyError>;

    /// Memory to registers.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    fn restore(&mut self, image: &Image) -> Result<(), PolicyError>;

    /// Memory to memory, the kernel's `memcpy`; the registers stay as they are.
    fn copy(&mut self, from: &Image, to: &mut Image) {
        to.save_target().copy_from_slice(from.bytes());
    }
}

/// By the instructions of a processor.
#[derive(Debug)]
pub struct ByInstructions<P> {
    processor: P,
    save: SaveInstruction,
    restore: RestoreInstruction,
    rfbm: ComponentSet,
}

impl<P: Processor> ByInstructions<P> {
    /// With the pair of `instructions`, for the components `rfbm`.
    pub const fn new(processor: P, instructions: SwitchInstructions, rfbm: ComponentSet) -> Self {
        Self {
            processor,
            save: instructions.save(),
            restore: instructions.restore(),
            rfbm,
        }
    }
}

impl<P: Processor> Mover for ByInstructions<P> {
    #[inline]
    fn save(&mut self, image: &mut Image) -> Result<(), PolicyError> {
        let area = image.save_target();
        Ok(self.save.execute(&mut self.processor, area, self.rfbm)?)
    }

    #[inline]
    fn restore(&mut self, image: &Image) -> Result<(), PolicyError> {
        let area = image.bytes();
        Ok(self.restore.execute(&mut self.processor, area, self.rfbm)?)
    }
}

/// By the plain moves of a processor, and not otherwise.
#[derive(Debug)]
pub struct ByMoves<P> {
    processor: P,
    format: Format,
    rfbm: ComponentSet,
    /// What the last save found, for the restore that follows it.
    in_use: Option<ComponentSet>,
}

impl<P: Processor> ByMoves<P> {
    /// Into areas that `instructions` write, for the components `rfbm`.
    pub const fn new(processor: P, instructions: SwitchInstructions, rfbm: ComponentSet) -> Self {
        Self {
            processor,
            format: instructions.save().format(),
            rfbm,
            in_use: None,
        }
    }
}

impl<P: Processor> Mover for ByMoves<P> {
    #[inline]
    fn save(&mut self, image: &mut Image) -> Result<(), PolicyError> {
        let area = image.save_target();
        let moved = self.processor.save_by_moves(area, self.format, self.rfbm)?;
        self.in_use = moved.in_use();
        all(moved)
    }

    #[inline]
    fn restore(&mut self, image: &Image) -> Result<(), PolicyError> {
        let (area, in_use) = (image.bytes(), self.in_use.take());
        all(self.processor.restore_by_moves(area, self.rfbm, in_use)?)
    }
}

#[inline]
fn all(moved: Moved) -> Result<(), PolicyError> {
    match moved {
        Moved::Done { .. } => Ok(()),
        Moved::NotCovered { .. } => Err(PolicyError::NotCovered),
    }
}

impl From<Fault> for PolicyError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
