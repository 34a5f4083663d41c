//! A state is imported into an area that holds another one.

use fpstate::{ImageState, ImportError, Layout, Loss, XsaveArea};
use fpstate_arch::{Component, ComponentSet, Format, Processor};

use super::cpu::Cpu;
use super::input::Input;
use super::values::{self, chosen_loss};
use crate::contents::Contents;
use crate::images::standard_image;
use crate::memory::Memory;
use crate::user_code::UserCode;

/// Into both formats, each with room of its own: nothing is changed where it is refused; else the
/// CPU loads what the state has, and what no image speaks of stays.
pub(super) fn import(cpu: &Cpu, state: &ImageState<'_>, input: &mut Input<'_>) {
    let kept = match input.byte() % 4 {
        0 | 1 => ComponentSet::EMPTY,
        2 => ComponentSet::only(Component::Pkru),
        _ => ComponentSet::from_bits(input.dword().into()),
    };
    let (loss, user) = (chosen_loss(input), cpu.user_room(input));
    let all = user.union(cpu.supervisor_room(input));
    for layout in [cpu.image_layout(user), cpu.kernels_layout(all)] {
        into_area(cpu, state, &layout, kept, loss);
    }
}

fn into_area(
    cpu: &Cpu,
    state: &ImageState<'_>,
    layout: &Layout<'_>,
    kept: ComponentSet,
    loss: Loss,
) {
    let mut memory = Memory::zeroed(layout.area_len());
    let mut area = XsaveArea::new(*layout, memory.bytes_mut()).map_err(|(error, _)| error);
    let area = area.as_mut().expect("memory");
    for placed in layout.extended_components() {
        let bytes = vec![0x77; placed.range().len()];
        area.set_extended(placed.component(), &bytes)
            .expect("a component of the layout");
    }
    let before = area.bytes().to_vec();
    let had = values::contents(&cpu.enumeration, layout.components(), &area.state());
    let answer = area.import_state(state, kept, loss);
    let refused = values::refused(&state.without(kept), layout, loss);
    let allowed = refused.is_empty() && !kept.intersects(ComponentSet::LEGACY);
    assert_eq!(answer.is_ok(), allowed, "{answer:?}, {refused}, {loss:?}");
    match answer {
        Ok(()) => {
            let wanted = expected(cpu, state, layout, kept, &had);
            assert_loads(cpu, layout, area.bytes(), &wanted);
        }
        Err(ImportError::NoRoom { room, .. }) => {
            assert_eq!(room, layout.components());
            assert_eq!(before, area.bytes(), "a refused import left something");
        }
        Err(_) => assert_eq!(before, area.bytes(), "a refused import left something"),
    }
}

/// What an area of `layout` that `had` something holds after the import of what has room there.
pub(super) fn expected(
    cpu: &Cpu,
    state: &ImageState<'_>,
    layout: &Layout<'_>,
    kept: ComponentSet,
    had: &Contents,
) -> Contents {
    let room = layout.components();
    let taken = state.without(kept.union(values::lost(&state.without(kept), layout)));
    let mut wanted = values::contents(&cpu.enumeration, room, &taken);
    let unsaid = cpu
        .enumeration
        .supervisor_components()
        .difference(state.layout().components());
    let legacy = wanted.clone();
    wanted.take_all_of(unsaid.union(kept), had);
    wanted.take_legacy(&legacy);
    wanted
}

/// A CPU with other values in all registers that restores `area` has `wanted` in them.
pub(super) fn assert_loads(cpu: &Cpu, layout: &Layout<'_>, area: &[u8], wanted: &Contents) {
    let room = layout.components();
    let mut model = cpu.with_enabled(room).expect("a legal XCR0");
    // The same from an image that the library had no part in: what registers make of values is the
    // CPU's affair.
    let mut other = model.clone();
    let user = room.intersection(cpu.enumeration.user_components());
    let area = Memory::holding(area);
    if layout.format() == Format::Fxsave {
        model.fxrstor(area.bytes()).expect("an area");
        let mut bytes = Memory::zeroed(512);
        crate::images::set_legacy(&mut bytes, wanted.legacy());
        other.fxrstor(bytes.bytes()).expect("an image");
    } else {
        let loaded = match layout.format() {
            Format::Compacted if cpu.has_xsaves() => model.xrstors(area.bytes(), room),
            Format::Compacted | Format::Standard | Format::Fxsave => {
                model.xrstor(area.bytes(), room)
            }
        };
        loaded.expect("an area that can be restored");
        let image = standard_image(&cpu.enumeration, wanted, user);
        other.xrstor(image.bytes(), user).expect("an image");
    }
    let found = model.contents(room);
    let mut should = other.contents(room);
    let (legacy, supervisor) = (should.clone(), room.difference(user));
    should.take_all_of(supervisor, wanted);
    should.take_legacy(&legacy);
    let name = cpu.kind.name;
    assert_eq!(should.difference(&found), None, "{name}, {layout:?}");
}
