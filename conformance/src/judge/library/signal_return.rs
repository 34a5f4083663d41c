//! `rt_sigreturn` by the library: what it makes of a frame is loaded into the registers.

use fpstate::{BoxedArea, Fpstate, ImageState, Layout, Loss, Sigreturn, StandardImage};
use fpstate_arch::{ComponentSet, Format};

use super::{PKRU, image_layout, state};
use crate::judge::answer::{Answer, Side, Verdict};
use crate::judge::kernel::signal_return::SignalReturn;
use crate::judge::shape::Shape;

/// Bytes of the second magic number, behind the image.
const MAGIC2_LEN: usize = 4;

/// A thread's extended state in a kernel that uses the library.
#[derive(Debug)]
pub struct LibraryReturn<'s> {
    shape: &'s Shape,
    layout: Layout<'s>,
    xcr0: ComponentSet,
    state: Fpstate<'s, BoxedArea>,
    registers: SignalReturn,
}

impl<'s> LibraryReturn<'s> {
    /// The system enables `xcr0`. The state is kept in an area of `format`, and loaded into `registers`
    /// by XRSTOR.
    #[must_use]
    pub fn new(
        shape: &'s Shape,
        xcr0: ComponentSet,
        format: Format,
        registers: SignalReturn,
    ) -> Self {
        Self {
            shape,
            layout: image_layout(shape),
            xcr0,
            state: state(shape, format),
            registers,
        }
    }

    fn return_with(&mut self, frame: &[u8]) -> Verdict {
        // What a kernel copies, as far as it can be read.
        let longest = self.layout.area_len() + MAGIC2_LEN;
        let frame = &frame[..frame.len().min(longest)];
        let mask = self.shape.mxcsr_mask();
        match Sigreturn::parse(frame, self.layout, self.xcr0, mask) {
            Ok(frame) => {
                self.import(&frame.state());
                Verdict::Taken
            }
            Err(_) => {
                self.state.edit().expect("in memory").initialise();
                Verdict::Killed
            }
        }
    }

    fn import(&mut self, state: &ImageState<'_>) {
        let imported = self.state.import_state(state, PKRU, Loss::Reject);
        imported.expect("room for every component");
    }

    fn registers(&mut self) -> Vec<u8> {
        let mut image = vec![0xcc; self.layout.area_len()];
        let state = self.state.in_memory().expect("in memory").state();
        let written = state.write_standard(&self.layout, &mut image);
        assert_eq!(written, Ok(image.len()));
        self.registers.begin_with(&image);
        self.registers.loaded()
    }
}

impl Side for LibraryReturn<'_> {
    fn begin(&mut self, image: &[u8]) {
        let image = StandardImage::parse(image, self.layout, self.shape.mxcsr_mask());
        self.import(&image.expect("a legal image").state());
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let verdict = self.return_with(image);
        let after = self.registers();
        Answer { verdict, after }
    }
}
