//! What memory alone costs: the cache lines that a round trip reads and writes for a vCPU, with no
//! switch.

use std::hint::black_box;

use fpstate::{AreaStorage, BoxedArea, GuestFpu, Layout, Restoring};
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet};

use crate::live::bare::fence;
use crate::policy::{Policy, PolicyError};
use crate::setting::Setting;

const LINE: usize = 64;
/// Of what a vCPU keeps beside its area.
const BOOKKEEPING: usize = size_of::<GuestFpu<'static, BoxedArea>>();

/// As much memory as a vCPU of the library's has, allocated the same way.
#[derive(Debug)]
struct VcpuMemory {
    bookkeeping: [u64; BOOKKEEPING / 8],
    area: BoxedArea,
}

/// Reads at an entry and writes at an exit.
#[derive(Debug)]
pub(super) struct Touch {
    /// Where in an area, one for each cache line.
    offsets: Vec<usize>,
    vcpus: Vec<Box<VcpuMemory>>,
}

impl Touch {
    pub(super) fn new(setting: &Setting<'_>) -> Result<Self, PolicyError> {
        let vcpu = || {
            let area = BoxedArea::for_layout(&setting.layout).map_err(|_| PolicyError::NoMemory)?;
            let bookkeeping = [0; BOOKKEEPING / 8];
            Ok(Box::new(VcpuMemory { bookkeeping, area }))
        };
        Ok(Self {
            offsets: lines(&setting.layout, setting.scenario.live()),
            vcpus: (0..setting.vcpus)
                .map(|_| vcpu())
                .collect::<Result<_, PolicyError>>()?,
        })
    }
}

/// One offset in each line that a save of `live` writes.
fn lines(layout: &Layout<'_>, live: ComponentSet) -> Vec<usize> {
    // MXCSR, and the header.
    let mut ranges = vec![24..32, 512..EXTENDED_REGION_OFFSET];
    if live.contains(Component::Sse) {
        ranges.push(160..416);
    }
    if live.contains(Component::X87) {
        ranges.push(0..160);
    }
    ranges.extend(
        layout
            .extended_components()
            .filter(|placed| live.contains(placed.component()))
            .map(|placed| placed.range()),
    );
    let mut lines: Vec<_> = ranges
        .into_iter()
        .flat_map(|range| range.start / LINE..range.end.div_ceil(LINE))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines.iter().map(|line| line * LINE).collect()
}

impl Policy for Touch {
    #[inline]
    fn enter(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let memory = self
            .vcpus
            .get(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        for word in memory.bookkeeping.iter().step_by(LINE / 8) {
            black_box(*word);
        }
        let bytes = memory.area.bytes();
        for &offset in &self.offsets {
            black_box(bytes.get(offset).copied());
        }
        // A switch does not begin before the one before has ended.
        fence();
        Ok(())
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let memory = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        for word in memory.bookkeeping.iter_mut().step_by(LINE / 8) {
            *black_box(word) += 1;
        }
        let bytes = memory.area.bytes_mut();
        for &offset in &self.offsets {
            if let Some(byte) = bytes.get_mut(offset) {
                *black_box(byte) = 1;
            }
        }
        fence();
        Ok(())
    }

    fn use_registers(&mut self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn switch_out(&mut self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        Ok(())
    }
}
