//! What a round trip of two states costs on a processor.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::fault::Fault;
use fpstate_arch::legacy_region::{AbridgedTagWord, LegacyRegion};
use fpstate_arch::moved::MOVABLE;
use fpstate_arch::processor::Processor;

use crate::area::{AreaError, XsaveArea};
use crate::instructions::SwitchInstructions;
use crate::layout::{Layout, LayoutError};

/// What is live in the states that change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// SSE and AVX: most programs most of the time. It decides.
    Typical,
    /// Everything that moves cover.
    Movable,
    /// x87, SSE and AVX.
    X87,
}

impl Case {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Typical, Self::Movable, Self::X87];

    /// What is live, of the components that are switched.
    #[must_use]
    pub const fn live(self, switched: ComponentSet) -> ComponentSet {
        const TYPICAL: ComponentSet = ComponentSet::only(Component::Sse).with(Component::Avx);
        let live = match self {
            Self::Typical => TYPICAL,
            Self::Movable => MOVABLE,
            Self::X87 => TYPICAL.with(Component::X87),
        };
        live.intersection(switched)
    }
}

/// Round trips in one measurement, after one that is not counted.
const TRIPS: u64 = 5;

/// What measurements are taken with.
pub(crate) struct Stand<'p, 's, P, C> {
    pub(crate) processor: &'p mut P,
    pub(crate) clock: C,
    pub(crate) scratch: [&'s mut [u8]; 2],
    pub(crate) rfbm: ComponentSet,
}

impl<P: Processor, C: FnMut() -> u64> Stand<'_, '_, P, C> {
    /// Whether the scratch areas will do.
    pub(crate) fn check(&mut self, layout: Layout<'_>) -> Result<(), CalibrationError> {
        for scratch in &mut self.scratch {
            fill(layout, scratch, ComponentSet::EMPTY)?;
        }
        Ok(())
    }

    /// Ticks for one round trip of two states in which `live` is live.
    pub(crate) fn round_trip(
        &mut self,
        with: SwitchInstructions,
        layout: Layout<'_>,
        live: ComponentSet,
    ) -> Result<u32, CalibrationError> {
        let rfbm = layout.components();
        let [first, second] = &mut self.scratch;
        let first = fill(layout, first, live)?;
        let second = fill(layout, second, live)?;
        let mut began = 0;
        with.restore().execute(self.processor, first, self.rfbm)?;
        for trip in 0..=TRIPS {
            if trip == 1 {
                began = (self.clock)();
            }
            let in_use = with.save_registers(self.processor, first, rfbm)?;
            with.restore_registers(self.processor, second, self.rfbm, in_use)?;
            let in_use = with.save_registers(self.processor, second, rfbm)?;
            with.restore_registers(self.processor, first, self.rfbm, in_use)?;
        }
        let ticks = (self.clock)().wrapping_sub(began);
        Ok(u32::try_from(ticks.div_euclid(TRIPS)).unwrap_or(u32::MAX))
    }

    /// Every register to its initial configuration.
    pub(crate) fn initialise(
        &mut self,
        with: SwitchInstructions,
        layout: Layout<'_>,
    ) -> Result<(), CalibrationError> {
        let [area, _] = &mut self.scratch;
        let initial = fill(layout, area, ComponentSet::EMPTY)?;
        Ok(with.restore().execute(self.processor, initial, self.rfbm)?)
    }
}

/// Makes `scratch` an area of `layout` in which `live` has some value that is not the initial one.
fn fill<'s>(
    layout: Layout<'_>,
    scratch: &'s mut [u8],
    live: ComponentSet,
) -> Result<&'s mut [u8], CalibrationError> {
    /// As long as the longest component that moves cover.
    const VALUE: &[u8] = &[0x5a; 1024];
    let mut legacy = LegacyRegion::INITIAL;
    if live.contains(Component::Sse) {
        legacy.xmm = [[0x5a; 16]; 16];
    }
    if live.contains(Component::X87) {
        // ST0 is 1.
        legacy.ftw = AbridgedTagWord::from_bits(1 << 7);
        legacy.fsw = 7 << 11;
        legacy.st = [[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f, 0, 0, 0, 0, 0, 0]; 8];
    }
    let mut area = XsaveArea::new(layout, &mut *scratch).map_err(|(error, _)| error)?;
    let values = layout.extended_components().filter_map(|placed| {
        let value = VALUE.get(..placed.range().len())?;
        Some((placed.component(), value))
    });
    area.replace(&legacy, live, ComponentSet::EMPTY, values);
    let len = layout.area_len();
    Ok(scratch.get_mut(..len).unwrap_or(&mut []))
}

/// Why nothing could be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CalibrationError {
    /// A scratch area is too short or misaligned.
    Scratch(AreaError),
    /// CPUID contradicts itself.
    Layout(LayoutError),
    /// The processor refused.
    Fault(Fault),
}

impl From<AreaError> for CalibrationError {
    fn from(error: AreaError) -> Self {
        Self::Scratch(error)
    }
}

impl From<LayoutError> for CalibrationError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<Fault> for CalibrationError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch(error) => write!(f, "scratch {error}"),
            Self::Layout(error) => write!(f, "CPUID leaf 0DH: {error}"),
            Self::Fault(fault) => write!(f, "the processor refused: {fault}"),
        }
    }
}

impl core::error::Error for CalibrationError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Scratch(error) => Some(error),
            Self::Layout(error) => Some(error),
            Self::Fault(fault) => Some(fault),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Typical => "SSE+AVX live",
            Self::Movable => "all that moves cover live",
            Self::X87 => "x87+SSE+AVX live",
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::emerald_rapids;
    use core::error::Error as _;
    use std::string::ToString;

    #[repr(align(64))]
    struct Memory([u8; 1024]);

    #[test]
    fn where_x87_is_live_st0_is_one_and_alone_in_use() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::LEGACY).unwrap();
        let mut memory = Memory([0; 1024]);
        let bytes = fill(layout, &mut memory.0, ComponentSet::LEGACY).unwrap();
        let legacy = LegacyRegion::from_bytes(bytes.first_chunk().unwrap());
        // SDM 1, 8.1.2 and 8.1.3: ST0 is the physical register whose number is TOP, bits 13:11 of FSW.
        let top = (legacy.fsw & 0x3800) >> 11;
        assert_eq!(legacy.ftw.bits(), 1 << top);
        // SDM 1, 4.2.2 and 4.8: exponent 3FFFH, explicit integer bit.
        let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
        assert_eq!(legacy.st[0][..10], one);
    }

    #[test]
    fn what_kept_a_measurement_from_being_taken_is_named_with_its_source() {
        let (found, needed) = (64, 832);
        let component = Component::Avx;
        for (error, sentence, source) in [
            (
                CalibrationError::Scratch(AreaError::TooShort { found, needed }),
                "scratch area of 64 bytes; the layout needs 832",
                AreaError::TooShort { found, needed }.to_string(),
            ),
            (
                CalibrationError::Layout(LayoutError::WithoutLength { component }),
                "CPUID leaf 0DH: CPUID lists AVX with a length of 0 bytes",
                LayoutError::WithoutLength { component }.to_string(),
            ),
            (
                CalibrationError::Fault(Fault::DeviceNotAvailable),
                "the processor refused: #NM: component disabled",
                Fault::DeviceNotAvailable.to_string(),
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.source().map(ToString::to_string), Some(source));
        }
    }

    #[test]
    fn each_case_is_shown_by_what_is_live() {
        let shown = Case::ALL.map(|case| case.to_string());
        let sentences = [
            "SSE+AVX live",
            "all that moves cover live",
            "x87+SSE+AVX live",
        ];
        assert_eq!(shown, sentences);
    }
}
