//! The registers that an area or an image holds, whatever its form.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LegacyRegion, Mxcsr};
use fpstate_arch::pkru::Pkru;

use crate::area::XsaveArea;
use crate::layout::Layout;
use crate::storage::AreaStorage;

/// The components with which the standard format loads and stores MXCSR (SDM 1, 13.7 and 13.8.1).
pub(crate) const MXCSR_CARRIERS: ComponentSet =
    ComponentSet::only(Component::Sse).with(Component::Avx);

/// An extended state as plain values, still in the bytes it came in.
///
/// Every reader of images ends here and every writer begins here, so any form can become any
/// other. It is the proof that the form's own rules were kept; whether the state fits somewhere
/// else is decided there.
#[derive(Clone, Copy)]
pub struct ImageState<'b> {
    bytes: &'b [u8],
    layout: Layout<'b>,
    legacy: LegacyRegion,
    live: ComponentSet,
}

impl<'b> ImageState<'b> {
    /// The state of `bytes`, which obey `layout`, with the `live` components of it. The caller has
    /// judged them and says what is loaded of the legacy region.
    pub(crate) const fn new(
        bytes: &'b [u8],
        layout: Layout<'b>,
        legacy: LegacyRegion,
        live: ComponentSet,
    ) -> Self {
        Self {
            bytes,
            layout,
            legacy,
            live,
        }
    }

    /// The components that are not in their initial configuration. MXCSR is beside them: it may
    /// have a value of its own while SSE is initial (SDM 1, 13.6 and 13.8.1).
    #[must_use]
    pub const fn live(&self) -> ComponentSet {
        self.live
    }

    /// [`live`](Self::live), and SSE where nothing else would carry an MXCSR that is not initial:
    /// what an image of this state has to announce so that MXCSR is not lost by a reader who takes
    /// it with SSE or AVX only.
    #[must_use]
    pub fn live_with_mxcsr(&self) -> ComponentSet {
        if self.legacy.mxcsr == Mxcsr::INITIAL || self.live.intersects(MXCSR_CARRIERS) {
            self.live
        } else {
            self.live.with(Component::Sse)
        }
    }

    /// x87, SSE and MXCSR as they are loaded from here: initial where the image says so. Reserved
    /// bytes of x87 stay with it, those behind XMM15 are 0; `mxcsr_mask` is what the image has, no
    /// register.
    #[must_use]
    pub const fn legacy(&self) -> LegacyRegion {
        self.legacy
    }

    /// The bytes of an extended component; `None` where it is in its initial configuration.
    #[must_use]
    pub fn extended(&self, component: Component) -> Option<&'b [u8]> {
        if !self.live.contains(component) {
            return None;
        }
        self.bytes.get(self.layout.place_of(component)?.range())
    }

    /// The live extended components with their bytes, in the order of their numbers: one walk for all
    /// of them.
    pub fn extended_components(&self) -> impl Iterator<Item = (Component, &'b [u8])> + use<'b> {
        let (bytes, live) = (self.bytes, self.live);
        self.layout
            .extended_components()
            .filter(move |placed| live.contains(placed.component()))
            .filter_map(move |placed| Some((placed.component(), bytes.get(placed.range())?)))
    }

    /// PKRU (state component 9); `None` where it is initial, which is 0, or no part of the image.
    #[must_use]
    pub fn pkru(&self) -> Option<Pkru> {
        let bytes = self.extended(Component::Pkru)?.first_chunk()?;
        Some(Pkru::from_bits(u32::from_le_bytes(*bytes)))
    }

    /// The layout of the image. Its components are those that the image can speak of.
    #[must_use]
    pub const fn layout(&self) -> &Layout<'b> {
        &self.layout
    }

    /// The same state with `components` in their initial configuration; MXCSR goes with SSE.
    #[must_use]
    pub const fn without(mut self, components: ComponentSet) -> Self {
        self.live = self.live.difference(components);
        if components.contains(Component::X87) {
            self.legacy.initialise_x87();
        }
        if components.contains(Component::Sse) {
            self.legacy.initialise_xmm();
            self.legacy.mxcsr = Mxcsr::INITIAL;
        }
        self
    }
}

impl fmt::Debug for ImageState<'_> {
    /// The layout and what is live, not the bytes: registers hold key material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageState")
            .field("format", &self.layout.format())
            .field("components", &self.layout.components())
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl<S: AreaStorage> XsaveArea<'_, S> {
    /// The state in this area, to be written as an image. What the owner's IA32_XFD disables is
    /// initial, as to every XSAVE (SDM 1, 13.14).
    #[must_use]
    pub fn state(&self) -> ImageState<'_> {
        ImageState::new(
            self.bytes(),
            *self.layout(),
            self.legacy(),
            self.xstate_bv(),
        )
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::emerald_rapids;
    use std::format;

    #[repr(align(64))]
    struct Memory([u8; 1024]);

    #[test]
    fn the_state_of_an_area_is_what_the_area_says_and_no_stale_byte() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::compacted(&cpu, ComponentSet::from_bits(7)).unwrap();
        let mut memory = Memory([0; 1024]);
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        area.set_extended(Component::Avx, &[0x5a; 256]).unwrap();
        let state = area.state();
        assert_eq!(state.live(), ComponentSet::only(Component::Avx));
        assert_eq!(state.extended(Component::Avx), Some(&[0x5a; 256][..]));
        assert_eq!(state.legacy(), LegacyRegion::INITIAL);
        let without = state.without(ComponentSet::only(Component::Avx));
        assert_eq!(without.live(), ComponentSet::EMPTY);
        assert_eq!(without.extended(Component::Avx), None);
        assert_eq!(
            format!("{state:?}"),
            "ImageState { format: Compacted, components: ComponentSet(0x7: x87+SSE+AVX), live: ComponentSet(0x4: AVX), .. }"
        );
    }

    #[test]
    fn an_mxcsr_of_its_own_is_announced_with_sse_unless_avx_carries_it() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(7)).unwrap();
        let of = |bits, mxcsr| {
            let legacy = LegacyRegion {
                mxcsr: Mxcsr::from_bits(mxcsr),
                ..LegacyRegion::INITIAL
            };
            let state = ImageState::new(&[], layout, legacy, ComponentSet::from_bits(bits));
            state.live_with_mxcsr().bits()
        };
        assert_eq!(of(0, 0x1f80), 0);
        assert_eq!(of(0, 0x1fa0), 2);
        assert_eq!(of(1, 0x1fa0), 3);
        assert_eq!(of(4, 0x1fa0), 4);
        assert_eq!(of(4, 0x1f80), 4);
    }
}
