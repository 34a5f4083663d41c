//! Differences of Bochs 3.0.

use alloc::vec::Vec;

use fpstate_arch::xsave_header::COMPACTED_BIT;
use fpstate_arch::{Component, ComponentSet, Enumeration, Format};

use super::case::Case;
use super::explained::{Explained, Seen};
use super::places;
use super::tested::{Operand, Tested};

/// All of them.
pub const ALL: &[Explained] = &[
    Explained {
        name: "bochs-has-xinuse-of-tiledata-the-wrong-way-round",
        manual: "SDM 1, 13.6: XTILEDATA is in its initial configuration if every byte of every tile \
                 is 0; XINUSE[i] = 0 says that component i is in its initial configuration",
        covers: |seen| {
            let left_out = seen.is_unwritten_by_emulator();
            let written = seen.is_unwritten_by_model() && seen.difference.emulator == 0;
            seen.is_in_use_bit_of(Component::TileData)
                || is_of(seen, Component::TileData) && seen.is_in_area() && (left_out || written)
        },
    },
    Explained {
        name: "bochs-saves-rows-and-row-lengths-of-tilecfg-in-each-others-place",
        manual: "SDM 1, 18.2, table of the TILECFG memory format: bytes 31:16 are colsb, 55:48 rows",
        covers: |seen| {
            matches!(
                seen.component(),
                Some((Component::TileConfig, 16..32 | 48..56))
            )
        },
    },
    Explained {
        name: "bochs-moves-8-rows-of-a-tile-and-not-16",
        manual: "SDM 1, 13.5.11: XTILEDATA is 8192 bytes, 1024 for each of 8 tiles",
        covers: |seen| {
            let upper_half = |offset| offset % 1024 >= 512;
            matches!(seen.component(), Some((Component::TileData, offset)) if upper_half(offset))
                && seen.is_unwritten_by_emulator()
        },
    },
    Explained {
        name: "bochs-clears-the-tiles-with-every-restore-of-tilecfg",
        manual: "SDM 1, 13.8: a component that is not in RFBM is not changed",
        covers: |seen| {
            let requested = seen.case.requested();
            is_of(seen, Component::TileData)
                && !seen.is_in_area()
                && seen.difference.emulator == 0
                && requested.contains(Component::TileConfig)
                && !requested.contains(Component::TileData)
        },
    },
    Explained {
        name: "bochs-clears-zmm-hi256-when-it-initialises-avx",
        manual: "SDM 1, 13.8: a component that is not in RFBM is not changed",
        covers: |seen| {
            let requested = seen.case.requested();
            let cleared = is_of(seen, Component::ZmmHi256) && seen.difference.emulator == 0
                || seen.is_in_use_bit_of(Component::ZmmHi256);
            cleared
                && !seen.is_in_area()
                && seen.case.tested.operand() == Operand::Restored
                && requested.contains(Component::Avx)
                && !seen.header().xstate_bv.contains(Component::Avx)
                && !requested.contains(Component::ZmmHi256)
        },
    },
    Explained {
        name: "bochs-restores-as-if-there-were-no-room-for-what-is-not-requested",
        manual: "SDM 1, 13.4.3: a component of the compacted format lies behind those that XCOMP_BV \
                 lists before it, whatever RFBM says",
        covers: |seen| is_misplaced(seen),
    },
    Explained {
        name: "bochs-saves-mxcsr-for-avx-in-the-compacted-format",
        manual: "SDM 1, 13.10 and 13.11: MXCSR is written if SSE is saved",
        covers: |seen| {
            seen.is_in_area()
                && matches!(seen.case.tested, Tested::Xsavec | Tested::Xsaves)
                && seen.case.requested().contains(Component::Avx)
                && matches!(seen.legacy_offset(), Some(24..32))
                && seen.is_unwritten_by_model()
        },
    },
    Explained {
        name: "bochs-counts-mxcsr-to-xinuse-of-sse",
        manual: "SDM 1, 13.6: XINUSE[1] is about the XMM registers alone; 1 is allowed for them",
        covers: |seen| {
            let xmm_written = seen.case.tested == Tested::Xsaveopt
                && seen.is_in_area()
                && matches!(seen.legacy_offset(), Some(160..416))
                && seen.is_unwritten_by_model()
                && seen.difference.emulator == 0;
            let says_in_use =
                seen.is_in_use_bit_of(Component::Sse) && seen.difference.emulator != 0;
            says_in_use || xmm_written && seen.mxcsr_before() != 0x1f80
        },
    },
    Explained {
        name: "bochs-keeps-mxcsr-when-it-initialises-sse-in-the-compacted-format",
        manual: "SDM 1, 13.8.2: if RFBM[1] = 1 and XSTATE_BV[1] = 0, MXCSR is set to 1F80H",
        covers: |seen| {
            let header = seen.header();
            seen.case.tested.operand() == Operand::Restored
                && !seen.is_in_area()
                && header.format() == Format::Compacted
                && seen.case.requested().contains(Component::Sse)
                && !header.xstate_bv.contains(Component::Sse)
                && matches!(seen.legacy_offset(), Some(24..28))
        },
    },
    Explained {
        name: "bochs-restores-x87-before-it-refuses-mxcsr",
        manual: "SDM 3, 6.5: at a fault the state is that before the faulting instruction",
        covers: |seen| {
            seen.case.tested.operand() == Operand::Restored
                && !seen.is_in_area()
                && seen.area_has_reserved_mxcsr_bit()
                && (matches!(seen.legacy_offset(), Some(0..24 | 32..160))
                    || seen.is_in_use_bit_of(Component::X87))
        },
    },
    Explained {
        name: "bochs-accepts-xstate-bv-63-in-the-compacted-format",
        manual: "SDM 1, 13.8.2: #GP if XSTATE_BV sets a bit, including bit 63, that is not set in \
                 XCOMP_BV[62:0]; Zen 4 refuses it",
        covers: |seen| {
            let header = seen.header();
            seen.is_only_refused_by_model()
                && header.format() == Format::Compacted
                && header.xstate_bv.bits() & COMPACTED_BIT != 0
        },
    },
];

fn is_of(seen: &Seen<'_>, component: Component) -> bool {
    seen.component()
        .is_some_and(|(found, _)| found == component)
}

/// Where Bochs looks for components: only those in `requested` take room. (CPUID.(0DH,i):ECX\[1\] is 0
/// for all of its components, the tiles too, so nothing is aligned.)
fn bochs_places(
    enumeration: &Enumeration,
    room: ComponentSet,
    requested: ComponentSet,
) -> Vec<places::Place> {
    places::compacted(enumeration, room.intersection(requested))
}

/// The components of a restore that Bochs looks for elsewhere than the manual.
#[must_use]
pub fn misplaced(enumeration: &Enumeration, case: &Case) -> ComponentSet {
    let requested = case.requested();
    let header = places::header_of(&case.area);
    let room = match case.tested {
        Tested::Xrstor | Tested::Xrstors if header.format() == Format::Compacted => {
            header.xcomp_bv_components()
        }
        Tested::Xsave
        | Tested::Xsaveopt
        | Tested::Xsavec
        | Tested::Xsaves
        | Tested::Xrstor
        | Tested::Xrstors
        | Tested::Fxsave
        | Tested::Fxrstor
        | Tested::XgetbvInUse => return ComponentSet::EMPTY,
    };
    let right = places::compacted(enumeration, room);
    let wrong = bochs_places(enumeration, room, requested);
    let moved = wrong.iter().filter(|place| !right.contains(place));
    moved.fold(ComponentSet::EMPTY, |set, (component, _)| {
        set.with(*component)
    })
}

fn is_misplaced(seen: &Seen<'_>) -> bool {
    let misplaced = seen.layouts.misplaced_by_bochs;
    let in_use = seen.in_use_bit();
    let contents = seen
        .component()
        .is_some_and(|(component, _)| misplaced.contains(component));
    !seen.is_in_area() && (contents || !in_use.is_empty() && misplaced.contains_all(in_use))
}

/// Bochs may take PKRU from another component's bytes; PKRU\[1\] must be 0 there too, because with it
/// nobody writes to memory any more.
pub fn keep_memory_writable(enumeration: &Enumeration, case: &mut Case) {
    let room = places::header_of(&case.area).xcomp_bv_components();
    for (component, place) in bochs_places(enumeration, room, case.requested()) {
        if component == Component::Pkru {
            case.area[place.start] &= !0x02;
        }
    }
}
