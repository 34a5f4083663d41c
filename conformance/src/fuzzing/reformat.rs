//! Target `reformat`: a state of one CPU becomes one of another, in another format, and comes back.

use fpstate::{CompactedImage, FxsaveImage, ImageState, Layout, Loss, StandardImage};
use fpstate_arch::Format;

use super::areas::{self, assert_loads};
use super::cpu::Cpu;
use super::forms::written;
use super::input::Input;
use super::made::{self, Form, Reading, Recipe};
use super::values::{self, chosen_loss, contents};
use crate::contents::Contents;

/// What is lost is what the policy gives up; what is not lost is what it was.
pub(super) fn reformat(data: &[u8]) {
    let mut input = Input::new(data);
    let (from, to) = (Cpu::chosen(&mut input), Cpu::chosen(&mut input));
    let loss = chosen_loss(&mut input);
    let format = match *input.choose(&[Format::Standard, Format::Compacted, Format::Fxsave]) {
        Format::Compacted if from.has_compacted() => Format::Compacted,
        Format::Standard | Format::Compacted if from.has_xsave() => Format::Standard,
        Format::Standard | Format::Compacted | Format::Fxsave => Format::Fxsave,
    };
    let form = match format {
        Format::Standard => Form::Standard,
        Format::Compacted => Form::Compacted,
        Format::Fxsave => Form::Fxsave,
    };
    let room = from.user_room(&mut input);
    let recipe = Recipe::chosen(room, &mut input);
    let reading = Reading::of(form, room);
    let bytes = made::good_image(from, reading, recipe, from.supervisor_room(&mut input));
    let state = parsed(from, &bytes, format, from.image_layout(room));
    let user = to.user_room(&mut input);
    let all = user.union(to.supervisor_room(&mut input));
    for room in [to.image_layout(user), to.kernels_layout(all)] {
        into_layout(from, &state, to, &room, loss);
    }
    areas::import(to, &state, &mut input);
}

fn parsed<'b>(cpu: &'b Cpu, bytes: &'b [u8], format: Format, layout: Layout<'b>) -> ImageState<'b> {
    let mask = cpu.mxcsr_mask();
    match format {
        Format::Fxsave => FxsaveImage::parse(bytes, &cpu.enumeration, mask).map(|i| i.state()),
        Format::Compacted => {
            CompactedImage::parse(bytes, &cpu.enumeration, mask).map(|i| i.state())
        }
        Format::Standard => StandardImage::parse(bytes, layout, mask).map(|i| i.state()),
    }
    .expect("what was written")
}

fn into_layout(from: &Cpu, state: &ImageState<'_>, to: &Cpu, room: &Layout<'_>, loss: Loss) {
    let refused = values::refused(state, room, loss);
    let limited = match state.limited_to(room, loss) {
        Ok(limited) => limited,
        Err(error) => {
            assert!(!refused.is_empty(), "{error}, and nothing is lost");
            return;
        }
    };
    assert!(refused.is_empty(), "{refused} was lost under {loss:?}");
    let kept = state.without(values::lost(state, room));
    let expected = contents(&to.enumeration, room.components(), &kept);
    let bytes = written_in(room, &limited);
    assert_eq!(bytes.len(), room.area_len());
    assert_loads(to, room, &bytes, &expected);
    let read = parsed(to, &bytes, room.format(), *room);
    same(
        &expected,
        &contents(&to.enumeration, room.components(), &read),
    );

    // Home again. FXSAVE cannot say that SSE is initial.
    let home = from.kernels_layout(state.layout().components());
    let back = read
        .limited_to(&home, Loss::DropInitial)
        .expect("where it came from");
    let bytes = written_in(&home, &back);
    let expected = contents(&from.enumeration, home.components(), &kept);
    let read = parsed(from, &bytes, home.format(), home);
    same(
        &expected,
        &contents(&from.enumeration, home.components(), &read),
    );
}

fn written_in(layout: &Layout<'_>, state: &ImageState<'_>) -> Vec<u8> {
    written(state, |state, out| match layout.format() {
        Format::Fxsave => state.write_fxsave(layout, out),
        Format::Standard => state.write_standard(layout, out),
        Format::Compacted => state.write_compacted(layout, out),
    })
}

fn same(expected: &Contents, found: &Contents) {
    assert_eq!(expected.difference(found), None);
}
