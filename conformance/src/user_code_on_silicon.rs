//! [`UserCode`] with real instructions.

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Component, ComponentSet, Processor};
use fpstate_native::UserProcessor;

use crate::contents::Contents;
use crate::images::{contents_of, standard_image};
use crate::memory::Memory;
use crate::user_code::UserCode;

/// Through images of one component: an XRSTOR that requests nothing else.
impl UserCode for UserProcessor<'_> {
    fn components(&self) -> ComponentSet {
        self.handed_over()
    }

    fn contents(&mut self, components: ComponentSet) -> Contents {
        let len = UserProcessor::hand_over_len().max(LEGACY_REGION_LEN);
        let mut area = Memory::zeroed(len);
        self.xsave(area.bytes_mut(), components).expect("XSAVE");
        contents_of(self.enumeration(), area.bytes(), components)
    }

    fn write(&mut self, component: Component, values: &Contents) {
        let only = ComponentSet::only(component);
        self.restore_only(only, only, values);
    }

    fn initialise(&mut self, components: ComponentSet) {
        let initial = Contents::initial(self.enumeration(), ComponentSet::LEGACY);
        self.restore_only(components, ComponentSet::EMPTY, &initial);
    }
}

trait RestoreOnly {
    /// XRSTOR with `rfbm` of an image with `xstate_bv`. XRSTOR takes MXCSR along with SSE and AVX
    /// (SDM 1, 13.8.1), so the image has the one that is there.
    fn restore_only(&mut self, rfbm: ComponentSet, xstate_bv: ComponentSet, values: &Contents);
}

impl RestoreOnly for UserProcessor<'_> {
    fn restore_only(&mut self, rfbm: ComponentSet, xstate_bv: ComponentSet, values: &Contents) {
        let mut values = values.clone();
        values.set_mxcsr(self.stmxcsr().expect("STMXCSR"));
        let image = standard_image(self.enumeration(), &values, xstate_bv);
        self.xrstor(image.bytes(), rfbm).expect("XRSTOR");
    }
}
