//! Images for tests, of any recorded CPU. Also a module of the integration tests.

use fpstate::{Layout, StandardImage};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, Enumeration, TileConfig};
use fpstate_model::{Dump, Profile};

/// CPUID of a recorded CPU.
pub(crate) fn cpu(profile: &str) -> Enumeration {
    let text = Profile::by_name(profile).unwrap().text();
    let dump = Dump::parse(text.as_bytes()).unwrap();
    Enumeration::read(RecordedLeaves(dump.leaves()))
}

/// A standard-format image with room for `room`, its `live` components full of bytes of which no two
/// neighbours are equal; two rows of eight bytes in tile 1.
pub(crate) fn standard(cpu: &Enumeration, room: ComponentSet, live: ComponentSet) -> Vec<u8> {
    let layout = Layout::standard(cpu, room).unwrap();
    let mut bytes = vec![0; layout.area_len()];
    bytes[..2].copy_from_slice(&0x037f_u16.to_le_bytes());
    bytes[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    bytes[512..520].copy_from_slice(&live.bits().to_le_bytes());
    if live.contains(Component::X87) {
        bytes[2..4].copy_from_slice(&(6_u16 << 11).to_le_bytes());
        bytes[4] = 0xc0;
        bytes[8..16].copy_from_slice(&0x7fff_1234_5678_u64.to_le_bytes());
        bytes[32..42].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
    }
    if live.contains(Component::Sse) {
        fill(&mut bytes[160..416], 1);
    }
    for placed in layout.narrowed_to(live).extended_components() {
        fill(&mut bytes[placed.range()], placed.component().number());
    }
    if let Some(config) = layout.narrowed_to(live).place_of(Component::TileConfig) {
        let one = |tile, value| if tile == 1 { value } else { 0 };
        let tiles = TileConfig {
            palette: 1,
            rows: std::array::from_fn(|tile| one(tile, 2)),
            colsb: std::array::from_fn(|tile| u16::from(one(tile, 8))),
            ..TileConfig::INITIAL
        };
        bytes[config.range()].copy_from_slice(&tiles.to_bytes());
    }
    if let Some(pkru) = layout.narrowed_to(live).place_of(Component::Pkru) {
        bytes[pkru.range()].copy_from_slice(&0x24_u64.to_le_bytes());
    }
    bytes
}

fn fill(bytes: &mut [u8], first: u8) {
    let values = (0..).map(|i: usize| (i * 7 + usize::from(first) * 31) % 251);
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = u8::try_from(value).unwrap() | 1;
    }
}

/// The same as KVM and Linux's cores have it: XCR0 in the software bytes.
pub(crate) fn with_xcr0(mut image: Vec<u8>, xcr0: ComponentSet) -> Vec<u8> {
    image[464..472].copy_from_slice(&xcr0.bits().to_le_bytes());
    image
}

/// The registers of `image` in the compacted format.
pub(crate) fn compacted(cpu: &Enumeration, room: ComponentSet, image: &[u8]) -> Vec<u8> {
    let from = Layout::standard(cpu, room).unwrap();
    let to = Layout::compacted(cpu, room).unwrap();
    let state = StandardImage::parse(image, from, u32::MAX).unwrap().state();
    let mut bytes = vec![0; to.area_len()];
    state.write_compacted(&to, &mut bytes).unwrap();
    bytes
}

/// The registers of `image` as a signal frame of Linux has them, whole.
pub(crate) fn signal_frame(cpu: &Enumeration, room: ComponentSet, image: &[u8]) -> Vec<u8> {
    let layout = Layout::standard(cpu, room).unwrap();
    let state = StandardImage::parse(image, layout, u32::MAX)
        .unwrap()
        .state();
    let mut bytes = vec![0; layout.area_len() + 4];
    let written = state.write_signal_frame(&layout, 0xffff, None, &mut bytes);
    assert_eq!(written, Ok(bytes.len()));
    bytes
}
