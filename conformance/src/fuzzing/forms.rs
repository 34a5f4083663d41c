//! A state is written in every form and read again.

use fpstate::{
    CompactedImage, ExportError, FrameForm, FxsaveImage, ImageOrigin, ImageState, KvmImage,
    PtraceImage, Sigreturn, StandardImage,
};
use fpstate_arch::{Component, ComponentSet, Format, Xfd};

use super::cpu::Cpu;
use super::made::MOST_BYTES;
use super::values::contents;

/// `state`, of `cpu`, is the same after each.
pub(super) fn through_every_form(cpu: &Cpu, state: &ImageState<'_>) {
    let mask = cpu.mxcsr_mask();
    if state.layout().format() == Format::Fxsave {
        let layout = *state.layout();
        let bytes = written(state, |state, out| state.write_fxsave(&layout, out));
        let read = FxsaveImage::parse(&bytes, &cpu.enumeration, mask).expect("what was written");
        same(cpu, state, &read.state(), "FXSAVE");
    }
    if !cpu.has_xsave() {
        return;
    }
    if cpu.has_compacted() {
        let layout = cpu.kernels_layout(state.layout().components());
        let bytes = written(state, |state, out| state.write_compacted(&layout, out));
        let read = CompactedImage::parse(&bytes, &cpu.enumeration, mask);
        same(cpu, state, &read.expect("compacted").state(), "compacted");
    }
    let supervisor = cpu.enumeration.supervisor_components();
    through_user_forms(cpu, &state.without(supervisor));
}

/// The forms that have no supervisor components.
fn through_user_forms(cpu: &Cpu, state: &ImageState<'_>) {
    let mask = cpu.mxcsr_mask();
    let room = cpu.enumeration.user_components();
    let layout = cpu.image_layout(room);
    let origin = ImageOrigin {
        xcr0: room,
        mxcsr_mask: mask,
    };
    let bytes = written(state, |state, out| state.write_standard(&layout, out));
    let read = StandardImage::parse(&bytes, layout, mask).expect("standard");
    same(cpu, state, &read.state(), "standard");

    let bytes = written(state, |state, out| {
        state.write_kvm(&layout, origin, None, out)
    });
    let read = KvmImage::parse(&bytes, layout, Xfd::NOTHING, mask).expect("KVM");
    same(cpu, state, &read.state(), "KVM");

    let bytes = written(state, |state, out| {
        state.write_ptrace(&layout, origin, None, out)
    });
    let read = PtraceImage::parse(&bytes, layout, room, mask).expect("ptrace");
    same(cpu, state, &read.state(), "ptrace");

    let bytes = written(state, |state, out| {
        state.write_signal_frame(&layout, mask, None, out)
    });
    let read = Sigreturn::parse(&bytes, layout, room, mask).expect("a frame");
    assert_eq!(read.form(), FrameForm::Full);
    same(cpu, state, &read.state(), "frame");
}

/// SSE may be announced for MXCSR alone.
fn same(cpu: &Cpu, state: &ImageState<'_>, read: &ImageState<'_>, form: &str) {
    let all = cpu.enumeration.components();
    let [expected, found] = [state, read].map(|state| contents(&cpu.enumeration, all, state));
    assert_eq!(
        expected.difference(&found),
        None,
        "{}, {form}",
        cpu.kind.name
    );
    if form != "FXSAVE" && form != "frame" {
        let [expected, found] =
            [state, read].map(|state| state.live().difference(ComponentSet::only(Component::Sse)));
        assert_eq!(expected, found, "{}, {form}", cpu.kind.name);
    }
}

/// Writes over two kinds of garbage, of which nothing is left.
pub(super) fn written(
    state: &ImageState<'_>,
    write: impl Fn(&ImageState<'_>, &mut [u8]) -> Result<usize, ExportError>,
) -> Vec<u8> {
    let [first, second] = [0xaa, 0x55].map(|garbage| {
        let mut out = vec![garbage; MOST_BYTES];
        let len = write(state, &mut out).expect("room for an image");
        assert_eq!(out[len..], vec![garbage; MOST_BYTES - len], "beyond");
        out.truncate(len);
        out
    });
    assert_eq!(first, second, "a byte was not written");
    first
}
