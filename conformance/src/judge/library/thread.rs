//! `PTRACE_SETREGSET` and `PTRACE_GETREGSET` by the library.

use fpstate::{BoxedArea, Fpstate, FxsaveImage, ImageError, ImageState, Layout, Loss, PtraceImage};
use fpstate_arch::{Component, ComponentSet, Format, Pkru};

use super::{PKRU, image_layout, origin, state};
use crate::judge::answer::{Answer, Side, Verdict};
use crate::judge::kernel::thread::RegisterSet;
use crate::judge::shape::Shape;

/// Bytes of `NT_PRFPREG`.
const PRFPREG_LEN: usize = 512;
/// Linux's ptrace counts register sets in words of 8 bytes.
const WORD: usize = 8;

/// A thread's extended state in a kernel that uses the library.
#[derive(Debug)]
pub struct LibraryThread<'s> {
    shape: &'s Shape,
    layout: Layout<'s>,
    fxsave: Layout<'s>,
    state: Fpstate<'s, BoxedArea>,
    pkru: Option<Pkru>,
    /// What the thread may use.
    allowed: ComponentSet,
    set: RegisterSet,
}

impl<'s> LibraryThread<'s> {
    /// `set` is handed over, with some of `allowed`; the state is kept in an area of `format`.
    ///
    /// # Panics
    /// If the CPU has no FXSAVE.
    #[must_use]
    pub fn new(shape: &'s Shape, allowed: ComponentSet, format: Format, set: RegisterSet) -> Self {
        let has_pkru = shape.components().contains(Component::Pkru);
        Self {
            shape,
            layout: image_layout(shape),
            fxsave: Layout::fxsave(shape.enumeration()).expect("FXSAVE"),
            state: state(shape, format),
            pkru: has_pkru.then_some(Pkru::INITIAL),
            allowed,
            set,
        }
    }

    /// What the core of ptrace does before a register set is asked, and then the register set.
    fn set_regset(&mut self, set: RegisterSet, image: &[u8]) -> Verdict {
        if !image.len().is_multiple_of(WORD) {
            return Verdict::EINVAL;
        }
        let longest = match set {
            RegisterSet::Prfpreg => PRFPREG_LEN,
            RegisterSet::X86Xstate => self.layout.area_len(),
        };
        let image = &image[..image.len().min(longest)];
        let refused = match set {
            RegisterSet::Prfpreg => self
                .set_prfpreg(image)
                .map_err(|error| FxsaveImage::errno(&error)),
            RegisterSet::X86Xstate => self
                .set_xstate(image)
                .map_err(|error| PtraceImage::errno(&error)),
        };
        match refused {
            Ok(()) => Verdict::Taken,
            Err(errno) => Verdict::Refused(errno.number()),
        }
    }

    fn set_xstate(&mut self, image: &[u8]) -> Result<(), ImageError> {
        let (allowed, mask) = (self.allowed, self.shape.mxcsr_mask());
        let image = PtraceImage::parse(image, self.layout, allowed, mask)?;
        self.import(&image.state(), PKRU);
        self.pkru = self.pkru.map(|_| image.pkru());
        Ok(())
    }

    /// x87, SSE and MXCSR; all else stays.
    fn set_prfpreg(&mut self, image: &[u8]) -> Result<(), ImageError> {
        let (enumeration, mask) = (self.shape.enumeration(), self.shape.mxcsr_mask());
        let image = FxsaveImage::parse(image, enumeration, mask)?;
        let others = self.shape.components().difference(ComponentSet::LEGACY);
        self.import(&image.state(), others);
        Ok(())
    }

    fn import(&mut self, image: &ImageState<'_>, kept: ComponentSet) {
        let imported = self.state.import_state(image, kept, Loss::Reject);
        imported.expect("room for every component");
    }

    fn both_regsets(&self) -> Vec<u8> {
        let state = self.state.in_memory().expect("in memory").state();
        let (whole, origin) = (self.layout.area_len(), origin(self.shape));
        let mut bytes = vec![0xcc; whole + PRFPREG_LEN];
        let (xstate, prfpreg) = bytes.split_at_mut(whole);
        let written = state.write_ptrace(&self.layout, origin, self.pkru, xstate);
        assert_eq!(written, Ok(whole));
        let written = state.write_prfpreg(&self.fxsave, origin.mxcsr_mask, prfpreg);
        assert_eq!(written, Ok(PRFPREG_LEN));
        bytes
    }
}

impl Side for LibraryThread<'_> {
    fn begin(&mut self, image: &[u8]) {
        let verdict = self.set_regset(RegisterSet::X86Xstate, image);
        assert_eq!(verdict, Verdict::Taken);
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let verdict = self.set_regset(self.set, image);
        let after = self.both_regsets();
        Answer { verdict, after }
    }
}
