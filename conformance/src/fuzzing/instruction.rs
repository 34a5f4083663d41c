//! The instruction that an image is for, executed by the model on the same bytes.

use fpstate::{CompactedImage, FxsaveImage, ImageError, StandardImage};
use fpstate_arch::{Component, ComponentSet, Processor, XsaveHeader};

use super::cpu::Cpu;

const SSE_OR_AVX: ComponentSet = ComponentSet::only(Component::Sse).with(Component::Avx);

/// XRSTOR takes what [`StandardImage`] takes, and refuses what it refuses but for the rules that are
/// Linux's alone.
pub(super) fn agrees_on_standard(cpu: &Cpu, bytes: &[u8], room: ComponentSet) {
    let layout = cpu.image_layout(room);
    let not_xrstors = |fault: &ImageError| {
        is_beyond_what_is_read(fault)
            || matches!(fault, ImageError::ReservedHeaderByte { offset: 536.., .. })
            // Read as a compacted image.
            || matches!(fault, ImageError::XcompBv { found } if found >> 63 == 1)
            || matches!(fault, ImageError::Mxcsr(_)) && !room.intersects(SSE_OR_AVX)
    };
    let faults: Vec<_> = StandardImage::faults(bytes, &layout, cpu.mxcsr_mask()).collect();
    let mut model = cpu.with_enabled(room).expect("a legal XCR0");
    let loaded = model.xrstor(bytes, room);
    assert!(
        faults.iter().any(not_xrstors) || faults.is_empty() == loaded.is_ok(),
        "XRSTOR on {}: {loaded:?}; the library: {faults:?}",
        cpu.kind.name
    );
}

/// XRSTORS, or XRSTOR, takes what [`CompactedImage`] takes and nothing else.
pub(super) fn agrees_on_compacted(cpu: &Cpu, bytes: &[u8]) {
    let Some(header) = bytes.get(512..).and_then(<[u8]>::first_chunk) else {
        return;
    };
    let header = XsaveHeader::from_bytes(header);
    let all = cpu.enumeration.components();
    let room = header.xcomp_bv_components().intersection(all);
    // As a standard image, or beyond every XCR0.
    let (true, Some(mut model)) = (header.xcomp_bv >> 63 == 1, cpu.with_enabled(room)) else {
        return;
    };
    let faults: Vec<_> =
        CompactedImage::faults(bytes, &cpu.enumeration, cpu.mxcsr_mask()).collect();
    let loaded = if cpu.has_xsaves() {
        model.xrstors(bytes, all)
    } else {
        model.xrstor(bytes, all)
    };
    assert!(
        faults.iter().any(is_beyond_what_is_read) || faults.is_empty() == loaded.is_ok(),
        "a compacted image on {}: {loaded:?}; the library: {faults:?}",
        cpu.kind.name
    );
}

/// An instruction reads no component that is initial, so an image may end before it.
const fn is_beyond_what_is_read(fault: &ImageError) -> bool {
    matches!(fault, ImageError::TooShort { .. })
}

/// FXRSTOR takes what [`FxsaveImage`] takes and nothing else.
pub(super) fn agrees_on_fxsave(cpu: &Cpu, bytes: &[u8]) {
    let faults = FxsaveImage::faults(bytes, &cpu.enumeration, cpu.mxcsr_mask()).count();
    if bytes.len() == 512 {
        let mut model = cpu.with_enabled(ComponentSet::LEGACY).expect("x87 and SSE");
        assert_eq!(faults == 0, model.fxrstor(bytes).is_ok(), "FXRSTOR");
    }
}
