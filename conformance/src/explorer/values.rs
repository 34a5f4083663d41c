//! What components hold, as one byte each.
//!
//! A write fills a component with one byte, which names the writer and which of its writes it was. So a
//! whole register file, and a whole area, is six bytes.

use std::ops::Range;

use fpstate_arch::{Component, ComponentSet, Processor};
use fpstate_model::{ModelCpu, RegisterFile, Sse, X87};

use crate::memory::Memory;

/// The components of a small CPU that are in states: a default one in two halves, as the legacy
/// region has it, two supervisor ones, the second for guests alone, tile configuration and tile data.
pub(super) const PARTS: [Component; 6] = [
    Component::X87,
    Component::Sse,
    Component::CetU,
    Component::CetS,
    Component::TileConfig,
    Component::TileData,
];
/// Tile data in [`PARTS`].
pub(super) const TILES: usize = 5;
pub(super) const ALL: ComponentSet = ComponentSet::EMPTY
    .with(Component::X87)
    .with(Component::Sse)
    .with(Component::CetU)
    .with(Component::CetS)
    .with(Component::TileConfig)
    .with(Component::TileData);

/// The initial configuration.
pub(super) const INITIAL: u8 = 0;
/// What the kernel leaves in registers.
pub(super) const KERNELS: u8 = 0xf1;
/// Not one of the values that are written, but parts of several.
pub(super) const TORN: u8 = 0xff;

/// The value of each of [`PARTS`].
pub(super) type Values = [u8; PARTS.len()];

/// The `letter`th value of `owner`, both from 1.
pub(super) fn value(owner: u8, letter: u8) -> u8 {
    assert!(owner < 15 && 0 < letter && letter < 15, "a nibble each");
    owner << 4 | letter
}

/// Knows values when it sees them.
#[derive(Debug)]
pub(super) struct Alphabet {
    files: Vec<RegisterFile>,
    /// Bytes 0 to 415 of an area with that value.
    legacy: Vec<[u8; 416]>,
}

impl Alphabet {
    /// On a CPU that is as after RESET, all components enabled.
    pub(super) fn new(pristine: &ModelCpu) -> Self {
        let (files, legacy) = (0..=u8::MAX)
            .map(|byte| {
                let mut cpu = pristine.clone();
                if byte != INITIAL {
                    cpu.registers_mut()
                        .fill(ALL, || u64::from_ne_bytes([byte; 8]));
                }
                let mut area = Memory::zeroed(1024);
                cpu.xsave(area.bytes_mut(), ComponentSet::LEGACY)
                    .expect("an aligned area");
                let legacy = *area.bytes().first_chunk().expect("the legacy region");
                (cpu.registers().clone(), legacy)
            })
            .unzip();
        Self { files, legacy }
    }

    /// Fills `components` of `cpu` with `value`, as user code does.
    pub(super) fn write(&self, cpu: &mut ModelCpu, components: ComponentSet, value: u8) {
        cpu.registers_mut()
            .fill(components, || u64::from_ne_bytes([value; 8]));
    }

    /// What registers hold.
    pub(super) fn in_registers(&self, registers: &RegisterFile) -> Values {
        PARTS.map(|part| {
            if part == Component::X87 {
                self.x87(&registers.x87)
            } else if part == Component::Sse {
                self.sse(&registers.sse)
            } else {
                uniform(registers.component(part).unwrap_or(&[]))
            }
        })
    }

    fn sse(&self, sse: &Sse) -> u8 {
        let value = sse.xmm[0][0];
        if *sse == self.files[usize::from(value)].sse {
            value
        } else {
            TORN
        }
    }

    fn x87(&self, x87: &X87) -> u8 {
        let value = x87.st[0][0];
        if *x87 == self.files[usize::from(value)].x87 {
            value
        } else {
            TORN
        }
    }

    /// What the bytes of an area are, live or stale. `place` has byte 0 and the length of an extended
    /// component that has room.
    pub(super) fn in_area(
        &self,
        area: &[u8],
        place: impl Fn(Component) -> Option<(usize, usize)>,
    ) -> Values {
        PARTS.map(|part| {
            if part == Component::X87 {
                self.legacy_part(area, 32, [0..24, 32..160])
            } else if part == Component::Sse {
                self.legacy_part(area, 160, [24..28, 160..416])
            } else {
                place(part).map_or(INITIAL, |(start, len)| uniform(&area[start..][..len]))
            }
        })
    }

    /// The value that the byte at `tell_tale` names, if all bytes of `ranges` are of it.
    fn legacy_part(&self, area: &[u8], tell_tale: usize, ranges: [Range<usize>; 2]) -> u8 {
        let value = area[tell_tale];
        let known = &self.legacy[usize::from(value)];
        let same = |range: Range<usize>| area[range.clone()] == known[range];
        if ranges.into_iter().all(same) {
            value
        } else {
            TORN
        }
    }

    /// Bytes 0 to 415 of an area with `value`.
    pub(super) fn legacy(&self, value: u8) -> &[u8; 416] {
        &self.legacy[usize::from(value)]
    }
}

fn uniform(bytes: &[u8]) -> u8 {
    let value = bytes.first().copied().unwrap_or(INITIAL);
    if bytes.iter().all(|&byte| byte == value) {
        value
    } else {
        TORN
    }
}
