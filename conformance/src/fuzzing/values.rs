//! What a state holds, by component, and what may be lost of it.

use fpstate::{ImageState, Layout, Loss};
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr};

use super::input::Input;
use crate::contents::Contents;

const MXCSR_CARRIERS: ComponentSet = ComponentSet::only(Component::Sse).with(Component::Avx);

/// `components` of `state` as the registers of a CPU of `enumeration` would have them: initial where
/// it is, or where it has other lengths.
pub(super) fn contents(
    enumeration: &Enumeration,
    components: ComponentSet,
    state: &ImageState<'_>,
) -> Contents {
    let initial = Contents::initial(enumeration, components);
    let extended = components.difference(ComponentSet::LEGACY);
    let value = |component| {
        let value = initial.extended(component).expect("a value");
        match state.extended(component) {
            Some(bytes) if bytes.len() == value.len() => (component, bytes.to_vec()),
            Some(_) | None => (component, value.to_vec()),
        }
    };
    Contents::from_parts(&state.legacy(), extended.iter().map(value))
}

/// A policy.
pub(super) fn chosen_loss(input: &mut Input<'_>) -> Loss {
    match input.byte() % 3 {
        0 => Loss::Reject,
        1 => Loss::DropInitial,
        _ => Loss::Drop(ComponentSet::from_bits(input.qword())),
    }
}

/// The live components, with SSE for an MXCSR of its own that nothing else carries.
fn announced(state: &ImageState<'_>) -> ComponentSet {
    let own_mxcsr = state.legacy().mxcsr != Mxcsr::INITIAL;
    if own_mxcsr && !state.live().intersects(MXCSR_CARRIERS) {
        state.live().with(Component::Sse)
    } else {
        state.live()
    }
}

/// What of `state` cannot be in `room`: no place, or one of another length.
pub(super) fn lost(state: &ImageState<'_>, room: &Layout<'_>) -> ComponentSet {
    let fits = |component: Component| {
        let needed = room.place_of(component).map(|placed| placed.range().len());
        let found = state.extended(component).map(<[u8]>::len);
        room.components().contains(component) && (component.is_legacy() || needed == found)
    };
    let misfits = announced(state)
        .iter()
        .filter(|&component| !fits(component));
    let lost = misfits.fold(ComponentSet::EMPTY, ComponentSet::with);
    let own_mxcsr = state.legacy().mxcsr != Mxcsr::INITIAL;
    let carried = announced(state).difference(lost).intersects(MXCSR_CARRIERS);
    if own_mxcsr && !carried && !room.components().contains(Component::Sse) {
        lost.with(Component::Sse)
    } else {
        lost
    }
}

/// What of that `loss` does not give up.
pub(super) fn refused(state: &ImageState<'_>, room: &Layout<'_>, loss: Loss) -> ComponentSet {
    let lost = lost(state, room);
    match loss {
        Loss::Reject => lost,
        Loss::DropInitial => lost.difference(initial(state, lost)),
        Loss::Drop(named) => lost.difference(initial(state, lost)).difference(named),
    }
}

/// Those of `components` whose values are the initial ones; HDC, HWP and what has no
/// name count as values.
fn initial(state: &ImageState<'_>, components: ComponentSet) -> ComponentSet {
    let legacy = state.legacy();
    let has_value = |component| match component {
        Component::X87 => {
            let values = Contents::from_parts(&legacy, []);
            values.not_initial().contains(Component::X87) || has_reserved_bytes(&legacy)
        }
        Component::Sse => legacy.mxcsr != Mxcsr::INITIAL || legacy.xmm != [[0; 16]; 16],
        Component::Hdc | Component::Hwp | Component::Unnamed(_) => true,
        Component::Avx
        | Component::BndRegs
        | Component::BndCsr
        | Component::Opmask
        | Component::ZmmHi256
        | Component::Hi16Zmm
        | Component::Pt
        | Component::Pkru
        | Component::Pasid
        | Component::CetU
        | Component::CetS
        | Component::Uintr
        | Component::Lbr
        | Component::TileConfig
        | Component::TileData
        | Component::Apx => state
            .extended(component)
            .is_some_and(|bytes| bytes.iter().any(|&byte| byte != 0)),
    };
    let initial = components.iter().filter(|&component| !has_value(component));
    initial.fold(ComponentSet::EMPTY, ComponentSet::with)
}

/// Bytes of x87 that are no register.
fn has_reserved_bytes(legacy: &LegacyRegion) -> bool {
    legacy.reserved_5 != 0 || legacy.st.iter().any(|st| st[10..] != [0; 6])
}
