//! Registers that every restore accepts: random, with reserved bits as the manual wants them.

use alloc::vec;
use alloc::vec::Vec;

use fastrand::Rng;
use fpstate_arch::{
    AbridgedTagWord, Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr, XsaveHeader,
};

use super::places::{self, Place};

/// The components whose bytes may be random. Of other supervisor components only the initial
/// configuration is compared: their bytes are settings of the machine.
#[must_use]
pub fn fillable(enumeration: &Enumeration) -> ComponentSet {
    const CET: ComponentSet = ComponentSet::only(Component::CetU).with(Component::CetS);
    let supervisor = enumeration.supervisor_components();
    enumeration
        .user_components()
        .union(CET.intersection(supervisor))
}

/// How an image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Standard format.
    Standard,
    /// Compacted, with room for these.
    Compacted(ComponentSet),
}

/// A valid image of some of `components`; bytes that no restore looks at are random.
pub fn image(
    random: &mut Rng,
    enumeration: &Enumeration,
    components: ComponentSet,
    room: Room,
) -> Vec<u8> {
    let mut image = vec![0; places::most_bytes(enumeration)];
    random.fill(&mut image);
    let places = match room {
        Room::Standard => places::standard(enumeration),
        Room::Compacted(room) => places::compacted(enumeration, room),
    };
    let placed = places
        .iter()
        .fold(ComponentSet::LEGACY, |set, (component, _)| {
            set.with(*component)
        });
    let mut legacy = legacy(random);
    let mut xstate_bv = ComponentSet::EMPTY;
    for component in components.intersection(placed).iter() {
        match random.u8(0..8) {
            0 | 1 => continue,
            2 => initialise(component, &mut legacy, &places, &mut image),
            3.. => {}
        }
        xstate_bv = xstate_bv.with(component);
    }
    for (component, place) in &places {
        make_legal(random, *component, &mut image[place.clone()]);
    }
    let region = image.first_chunk_mut().expect("a legacy region");
    legacy.write_to(region);
    let header = match room {
        Room::Standard => XsaveHeader::standard(xstate_bv),
        Room::Compacted(room) => XsaveHeader::compacted(xstate_bv.intersection(room), room),
    };
    places::set_header(&mut image, &header);
    image
}

fn initialise(component: Component, legacy: &mut LegacyRegion, places: &[Place], image: &mut [u8]) {
    if component == Component::X87 {
        legacy.initialise_x87();
    } else if component == Component::Sse {
        legacy.initialise_xmm();
    } else if let Some((_, place)) = places.iter().find(|(placed, _)| *placed == component) {
        image[place.clone()].fill(0);
    }
}

/// x87 is in one half of the cases what the CPU could have put there itself.
fn legacy(random: &mut Rng) -> LegacyRegion {
    let mut bytes = [0; 512];
    random.fill(&mut bytes);
    let mut legacy = LegacyRegion::from_bytes(&bytes);
    legacy.mxcsr = match random.u8(0..3) {
        0 => Mxcsr::INITIAL,
        1.. => Mxcsr::from_bits(random.u32(..) & 0xffff),
    };
    if random.bool() {
        legacy.fcw = legacy.fcw & 0x1f3f | 0x40;
        legacy.fsw &= 0x7f00 | legacy.fcw & 0x3f;
        legacy.fop &= 0x7ff;
    }
    if random.u8(0..4) == 0 {
        legacy.ftw = AbridgedTagWord::ALL_EMPTY;
    }
    legacy
}

/// Reserved bits as they must be; an initial configuration stays one.
fn make_legal(random: &mut Rng, component: Component, bytes: &mut [u8]) {
    if bytes.iter().all(|&byte| byte == 0) {
        return;
    }
    if component == Component::Pkru {
        // SDM 1, 13.5.7: PKRU is bits 31:0. PKRU[1] stays 0: with it Bochs 3.0 lets nobody write to
        // supervisor pages, for which PKRU does not count (SDM 3, 4.6.2).
        bytes[0] &= !0x02;
        bytes[4..].fill(0);
    } else if component == Component::BndCsr {
        // SDM 1, 13.5.4: BNDCFGU[11:2] are reserved; 16 bytes of 64 are there.
        bytes[0] &= 0x03;
        bytes[1] &= 0xf0;
        bytes[16..].fill(0);
    } else if component == Component::CetU {
        bytes.copy_from_slice(&[0; 16]);
        // IA32_U_CET: the six enabling bits. IA32_PL3_SSP: canonical, a multiple of 8.
        bytes[0] = random.u8(..) & 0x3f;
        bytes[8..].copy_from_slice(&shadow_stack_pointer(random));
    } else if component == Component::CetS {
        for pointer in bytes.chunks_exact_mut(8) {
            pointer.copy_from_slice(&shadow_stack_pointer(random));
        }
    } else if component == Component::TileConfig {
        bytes.fill(0);
        bytes[0] = 1; // the palette
        for tile in 0..8 {
            bytes[16 + 2 * tile] = 4 * random.u8(1..=16); // bytes of a row
            bytes[48 + tile] = random.u8(1..=16); // rows
        }
    } else if !fillable_without_rules(component) {
        bytes.fill(0);
    }
}

fn shadow_stack_pointer(random: &mut Rng) -> [u8; 8] {
    (random.u64(..) & 0x7fff_ffff_fff8).to_le_bytes()
}

const fn fillable_without_rules(component: Component) -> bool {
    matches!(
        component,
        Component::Avx
            | Component::BndRegs
            | Component::Opmask
            | Component::ZmmHi256
            | Component::Hi16Zmm
            | Component::TileData
            | Component::Apx
    )
}
