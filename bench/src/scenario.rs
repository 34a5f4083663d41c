//! What is live in the registers, on both sides of the switch.

use fpstate::{BoxedArea, Layout, XsaveArea};
use fpstate_arch::{AbridgedTagWord, Component, ComponentSet, LegacyRegion};
use serde::Serialize;

/// MXCSR as after reset: its bits are valid under any mask.
const MXCSR_MASK: u32 = 0xffff;

/// What is live in the thread's registers and in the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// SSE and AVX: what nearly all code uses. The headline's.
    SseAvx,
    /// x87 too.
    SseAvxX87,
    /// AVX-512 too: opmask, upper halves, upper registers.
    Avx512,
    /// Nothing but what compiled code between a restore and the next save puts into XMM registers.
    Nothing,
}

impl Scenario {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::SseAvx, Self::SseAvxX87, Self::Avx512, Self::Nothing];

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SseAvx => "SSE and AVX live",
            Self::SseAvxX87 => "x87, SSE and AVX live",
            Self::Avx512 => "AVX-512 live",
            Self::Nothing => "nothing live",
        }
    }

    /// The components that are live.
    #[must_use]
    pub fn live(self) -> ComponentSet {
        let sse_avx = ComponentSet::only(Component::Sse).with(Component::Avx);
        match self {
            Self::SseAvx => sse_avx,
            Self::SseAvxX87 => sse_avx.with(Component::X87),
            Self::Avx512 => sse_avx.union(ComponentSet::AVX512),
            Self::Nothing => ComponentSet::EMPTY,
        }
    }

    /// Whether a CPU that switches `components` can have it.
    #[must_use]
    pub fn is_possible_on(self, components: ComponentSet) -> bool {
        components.contains_all(self.live())
    }

    /// Writes registers into an area in its initial configuration: live ones get values that
    /// follow from `seed`. MXCSR and the x87 control word stay as a program begins with.
    pub fn fill(self, area: &mut XsaveArea<'_, BoxedArea>, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        area.initialise();
        let live = self.live();
        if live.intersects(ComponentSet::LEGACY) {
            let mut region = LegacyRegion::INITIAL;
            region.xmm.iter_mut().for_each(|xmm| random.fill(xmm));
            if live.contains(Component::X87) {
                region.ftw = AbridgedTagWord::from_bits(0xff);
                // Ten bytes of value; the integer bit set, so that each is a number.
                for st in &mut region.st {
                    if let Some(value) = st.first_chunk_mut::<10>() {
                        *value = finite(random.u64(..), random.u16(..));
                    }
                }
            }
            // MXCSR is initial: no mask refuses it.
            let _ = area.set_legacy(&region, MXCSR_MASK);
        }
        area.initialise_components(ComponentSet::LEGACY.difference(live));
        for component in live.difference(ComponentSet::LEGACY).iter() {
            let mut bytes = vec![0; component_len(area.layout(), component)];
            random.fill(&mut bytes);
            // Both are of the same layout.
            let _ = area.set_extended(component, &bytes);
        }
    }
}

fn finite(mantissa: u64, exponent: u16) -> [u8; 10] {
    let mut bytes = [0; 10];
    let (low, high) = bytes.split_at_mut(8);
    low.copy_from_slice(&(mantissa | 1 << 63).to_le_bytes());
    high.copy_from_slice(&(exponent & 0x3fff | 1).to_le_bytes());
    bytes
}

fn component_len(layout: &Layout<'_>, component: Component) -> usize {
    layout
        .extended_components()
        .find(|placed| placed.component() == component)
        .map_or(0, |placed| placed.range().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::{Enumeration, cpuid::RecordedLeaves};
    use fpstate_model::Profile;

    #[test]
    fn the_area_says_live_what_the_scenario_says_and_nothing_else() {
        let cpu = Enumeration::read(RecordedLeaves(&Profile::GENOA.leaves()));
        let components = cpu.user_components().without(Component::Pkru);
        let layout = Layout::compacted(&cpu, components).unwrap();
        let mut area = XsaveArea::new(layout, BoxedArea::for_layout(&layout).unwrap())
            .map_err(|(error, _)| error)
            .unwrap();
        // Each finds the area as the one before left it.
        for scenario in Scenario::ALL {
            assert!(scenario.is_possible_on(components));
            scenario.fill(&mut area, 7);
            assert_eq!(area.xstate_bv(), scenario.live(), "{scenario:?}");
        }
    }
}
