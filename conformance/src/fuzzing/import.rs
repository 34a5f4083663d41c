//! Target `import`: an image from outside, read by the rules of one interface on one CPU.

use fpstate::{
    CompactedImage, FxsaveImage, ImageError, ImageState, KvmImage, PtraceImage, Sigreturn,
    StandardImage,
};

use super::cpu::Cpu;
use super::input::Input;
use super::made::{self, Form, Reading};
use super::{areas, forms, instruction};

/// The first broken rule is the verdict; what is accepted can be imported, written in every form
/// and loaded by the CPU.
pub(super) fn import(data: &[u8]) {
    let mut input = Input::new(data);
    let cpu = Cpu::chosen(&mut input);
    let reading = Reading::chosen(cpu, &mut input);
    // What is done with the state comes first, so that the bytes may end where they like.
    let mut doing = Input::new(&data[data.len() - input.rest().len()..]);
    let _: [u8; 24] = input.take();
    let image = made::image(cpu, reading, &mut input);
    let bytes = image.bytes();
    let (state, faults) = read(cpu, reading, bytes);
    assert_eq!(
        state.as_ref().err(),
        faults.first(),
        "the first of {faults:?}"
    );
    match reading.form {
        Form::Standard => instruction::agrees_on_standard(cpu, bytes, reading.room),
        Form::Compacted => instruction::agrees_on_compacted(cpu, bytes),
        Form::Fxsave => instruction::agrees_on_fxsave(cpu, bytes),
        // Their rules are Linux's; the kernel judges them in tests/kernel_as_judge.rs.
        Form::Kvm | Form::Ptrace | Form::Sigreturn => {}
    }
    if let Ok(state) = state {
        areas::import(cpu, &state, &mut doing);
        forms::through_every_form(cpu, &state);
    }
}

/// The verdict of `parse`, and what `faults` says.
fn read<'b>(
    cpu: &'b Cpu,
    reading: Reading,
    bytes: &'b [u8],
) -> (Result<ImageState<'b>, ImageError>, Vec<ImageError>) {
    let Reading { form, room, xfd } = reading;
    let (layout, mask) = (cpu.image_layout(room), cpu.mxcsr_mask());
    match form {
        Form::Standard => (
            StandardImage::parse(bytes, layout, mask).map(|image| image.state()),
            StandardImage::faults(bytes, &layout, mask).collect(),
        ),
        Form::Kvm => (
            KvmImage::parse(bytes, layout, xfd, mask).map(|image| image.state()),
            KvmImage::faults(bytes, &layout, xfd, mask).collect(),
        ),
        Form::Ptrace => (
            PtraceImage::parse(bytes, layout, room, mask).map(|image| image.state()),
            PtraceImage::faults(bytes, &layout, room, mask).collect(),
        ),
        Form::Compacted => (
            CompactedImage::parse(bytes, &cpu.enumeration, mask).map(|image| image.state()),
            CompactedImage::faults(bytes, &cpu.enumeration, mask).collect(),
        ),
        Form::Fxsave => (
            FxsaveImage::parse(bytes, &cpu.enumeration, mask).map(|image| image.state()),
            FxsaveImage::faults(bytes, &cpu.enumeration, mask).collect(),
        ),
        Form::Sigreturn => (
            Sigreturn::parse(bytes, layout, room, mask).map(|image| image.state()),
            Sigreturn::faults(bytes, &layout, room, mask).collect(),
        ),
    }
}
