//! Images from elsewhere: signal frames, a debugger, a VMM.

use fpstate::{ImageError, ImportError, Layout, StandardImage};
use fpstate_arch::{Component, ComponentSet, Mxcsr};

use super::action::Given;
use super::small_cpu::{Machine, TILE_DATA};
use super::values::{ALL, INITIAL};
use super::world::{Mode, Step, Whose, World};
use crate::memory::Memory;

pub(super) const KEPT_ELSEWHERE: ComponentSet = ComponentSet::only(Component::Pkru);
/// What a standard-format image can have.
const USER: ComponentSet = ALL.without(Component::CetU).without(Component::CetS);

/// The components that an image replaces by something that is not initial.
pub(super) fn image_components(given: Given) -> ComponentSet {
    match given {
        Given::Least | Given::Illegal => USER.difference(TILE_DATA),
        Given::Most => USER,
    }
}

impl Machine<'_> {
    /// An image with `value` in every component that it has; an illegal one says that it is compacted.
    pub(super) fn image(&self, value: u8, given: Given) -> Memory {
        let mut image = Memory::zeroed(768);
        let bytes = image.bytes_mut();
        let xstate_bv = image_components(given);
        bytes[..416].copy_from_slice(self.alphabet.legacy(value));
        bytes[512..520].copy_from_slice(&xstate_bv.bits().to_le_bytes());
        if given == Given::Illegal {
            bytes[527] = 0x80;
        }
        for component in xstate_bv.difference(ComponentSet::LEGACY).iter() {
            let entry = self.enumeration.entry(component).expect("a sub-leaf");
            let start = usize::try_from(entry.standard_offset).expect("an offset");
            let len = usize::try_from(entry.len).expect("a length");
            bytes[start..][..len].fill(value);
        }
        image
    }

    /// What the library makes of it.
    pub(super) fn parse<'b>(&'b self, image: &'b Memory) -> Result<StandardImage<'b>, ImageError> {
        let user = self.enumeration.user_components();
        let layout = Layout::standard(self.enumeration, user).expect("a layout");
        StandardImage::parse(image.bytes(), layout, Mxcsr::DEFAULT_MASK)
    }
}

impl World<'_> {
    /// The frame replaces the user components; a malformed one leaves them initial (I37).
    pub(super) fn sigreturn(&mut self, cpu: usize, given: Given) -> Step {
        let slot = self.current(cpu);
        self.cpus[cpu].mode = Mode::Kernel;
        let (fpu, thread) = self.parts(cpu);
        let saved = thread.fpu.save_before_switch(fpu);
        saved.map_err(|error| format!("the save is refused: {error}"))?;
        if given == Given::Illegal {
            let edited = self.thread_mut(slot).fpu.edit_own();
            let area = edited.map_err(|error| error.to_string())?;
            area.initialise_components(USER);
            self.expected_mut(Whose::Thread(slot)).wrote(USER, INITIAL);
        }
        self.import_own(slot, given)
    }

    /// A malformed image changes nothing.
    pub(super) fn ptrace(&mut self, slot: usize, given: Given) -> Step {
        self.import_own(slot, given)
    }

    fn import_own(&mut self, slot: usize, given: Given) -> Step {
        let (machine, whose) = (self.machine, Whose::Thread(slot));
        let value = self.fresh(whose);
        let image = machine.image(value, given);
        let image = match (machine.parse(&image), given) {
            (Err(_), Given::Illegal) => return Ok(()),
            (Ok(image), Given::Least | Given::Most) => image,
            (other, _) => return Err(format!("I35: an image with {given}: {other:?}")),
        };
        let thread = self.thread_mut(slot);
        let has_room = given == Given::Least || !thread.expected.grown.is_empty();
        let area = thread.fpu.edit_own().map_err(|error| error.to_string())?;
        match area.import(&image, KEPT_ELSEWHERE) {
            Ok(()) if has_room => {
                self.imported(whose, value, given);
                Ok(())
            }
            Err(ImportError::NoRoom { .. }) if !has_room => Ok(()),
            other => Err(format!("I35: an image with {given}: {other:?}")),
        }
    }
}
