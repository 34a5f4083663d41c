//! The library in the kernel's place: each side takes an image as the boundary's rules say, imports it
//! into a state and exports that.

pub mod vcpu;
pub mod thread;
pub mod signal_return;

use fpstate::{BoxedArea, Fpstate, Identities, ImageOrigin, Layout};
use fpstate_arch::{Component, ComponentSet, Format};

use super::shape::Shape;

/// PKRU, which is in no state's area.
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

/// The layout of images.
fn image_layout(shape: &Shape) -> Layout<'_> {
    Layout::standard(shape.enumeration(), shape.components()).expect("a layout")
}

/// What Linux writes beside the state.
const fn origin(shape: &Shape) -> ImageOrigin {
    ImageOrigin {
        xcr0: shape.components(),
        mxcsr_mask: shape.mxcsr_mask(),
    }
}

/// A state with room for everything that images have but PKRU, in an area of `format`.
fn state(shape: &Shape, format: Format) -> Fpstate<'_, BoxedArea> {
    let (enumeration, components) = (shape.enumeration(), shape.components().difference(PKRU));
    let layout = match format {
        Format::Compacted => Layout::compacted(enumeration, components),
        Format::Standard | Format::Fxsave => Layout::standard(enumeration, components),
    };
    let layout = layout.expect("a layout");
    let storage = BoxedArea::for_layout(&layout).expect("memory");
    Fpstate::new(layout, storage, &Identities::new()).expect("a state")
}
