//! `KVM_SET_XSAVE` and `KVM_GET_XSAVE2` by the library.

use fpstate::{BoxedArea, Fpstate, KvmImage, Layout, Loss};
use fpstate_arch::{Component, Format, Pkru, Xfd};

use super::{PKRU, image_layout, origin, state};
use crate::judge::answer::{Answer, Side, Verdict};
use crate::judge::shape::Shape;

/// Length of `kvm_xsave` in bytes.
const KVM_XSAVE_LEN: usize = 4096;

/// A vCPU's extended state in a VMM or kernel that uses the library.
#[derive(Debug)]
pub struct LibraryVcpu<'s> {
    shape: &'s Shape,
    layout: Layout<'s>,
    state: Fpstate<'s, BoxedArea>,
    pkru: Option<Pkru>,
}

impl<'s> LibraryVcpu<'s> {
    /// The state is kept in an area of `format`.
    #[must_use]
    pub fn new(shape: &'s Shape, format: Format) -> Self {
        let has_pkru = shape.components().contains(Component::Pkru);
        Self {
            shape,
            layout: image_layout(shape),
            state: state(shape, format),
            pkru: has_pkru.then_some(Pkru::INITIAL),
        }
    }

    fn set_xsave(&mut self, image: &[u8]) -> Verdict {
        let mask = self.shape.mxcsr_mask();
        let image = match KvmImage::parse(image, self.layout, Xfd::NOTHING, mask) {
            Ok(image) => image,
            Err(error) => return Verdict::Refused(KvmImage::errno(&error).number()),
        };
        let imported = self.state.import_state(&image.state(), PKRU, Loss::Reject);
        imported.expect("room for every component");
        self.pkru = image.pkru().or(self.pkru);
        Verdict::Taken
    }

    fn xsave(&self) -> Vec<u8> {
        let mut bytes = vec![0xcc; KVM_XSAVE_LEN];
        let state = self.state.in_memory().expect("in memory").state();
        let written = state.write_kvm(&self.layout, origin(self.shape), self.pkru, &mut bytes);
        bytes.truncate(written.expect("room"));
        bytes
    }
}

impl Side for LibraryVcpu<'_> {
    fn begin(&mut self, image: &[u8]) {
        let mut whole = image.to_vec();
        whole.resize(KVM_XSAVE_LEN, 0);
        assert_eq!(self.set_xsave(&whole), Verdict::Taken);
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let verdict = self.set_xsave(image);
        let after = self.xsave();
        Answer { verdict, after }
    }
}
