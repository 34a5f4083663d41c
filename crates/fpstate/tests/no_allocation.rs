//! Exports, imports and readers of images allocate nothing: `KVM_GET_XSAVE` of a thousand vCPUs is
//! no work for an allocator. One test, since the counter is the process's.

use std::alloc::System;

use fpstate::{
    CompactedImage, ImageOrigin, ImageState, KvmImage, Layout, Loss, PtraceImage, Sigreturn,
    StandardImage, XsaveArea,
};
use fpstate_arch::cpuid::{CpuidRegisters, RecordedLeaves};
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, Pkru, Xfd};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USER: ComponentSet = ComponentSet::from_bits(0x2e7);
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

#[repr(align(64))]
struct Memory([u8; 4096]);

/// A CPU with AVX-512 and PKRU.
fn cpu() -> Enumeration {
    let leaf = |leaf, subleaf, [eax, ebx, ecx, edx]: [u32; 4]| {
        (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
    };
    Enumeration::read(RecordedLeaves(&[
        leaf(1, 0, [0, 0, 1 << 26, 1 << 24]),
        leaf(0xd, 0, [0x2e7, 0xa88, 0xa88, 0]),
        leaf(0xd, 1, [0xf, 0x988, 0, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
        leaf(0xd, 5, [0x40, 0x440, 0, 0]),
        leaf(0xd, 6, [0x200, 0x480, 0, 0]),
        leaf(0xd, 7, [0x400, 0x680, 0, 0]),
        leaf(0xd, 9, [0x8, 0xa80, 0, 0]),
    ]))
}

/// What is allocated while `work` is done: the least of some times, since the test harness's other
/// thread may allocate beside it.
fn allocations(mut work: impl FnMut()) -> usize {
    let once = |_| {
        let region = Region::new(HEAP);
        work();
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..10).map(once).min().unwrap_or(usize::MAX)
}

/// Every component live.
fn fill(area: &mut XsaveArea<'_, &mut [u8]>) {
    let region = LegacyRegion {
        mxcsr_mask: 0xffff,
        xmm: [[0x5a; 16]; 16],
        ..LegacyRegion::INITIAL
    };
    area.set_legacy(&region, 0xffff).expect("it fits");
    let layout = *area.layout();
    for placed in layout.extended_components() {
        let value = [0xa5; 4096];
        area.set_extended(placed.component(), &value[placed.range()])
            .expect("it fits");
    }
}

/// Writes each form, reads it back, and takes it into the area.
fn there_and_back(cpu: &Enumeration, area: &mut XsaveArea<'_, &mut [u8]>, out: &mut [u8]) {
    let user = Layout::standard(cpu, USER).expect("a layout");
    let compacted = Layout::compacted(cpu, USER).expect("a layout");
    let fxsave = Layout::fxsave(cpu).expect("a layout");
    let (mask, pkru) = (0xffff, Some(Pkru::from_bits(4)));
    let origin = ImageOrigin {
        xcr0: USER,
        mxcsr_mask: mask,
    };
    let import = |area: &mut XsaveArea<'_, &mut [u8]>, state: &ImageState<'_>| {
        assert!(
            state
                .live()
                .iter()
                .all(|c| c.is_legacy() || state.extended(c).is_some())
        );
        let loss = Loss::Drop(ComponentSet::from_bits(!0));
        area.import_state(state, PKRU, loss).expect("it fits");
    };
    let len = area.state().write_standard(&user, out).expect("room");
    let image = StandardImage::parse(&out[..len], user, mask).expect("an image");
    import(area, &image.state());
    let len = area.state().write_compacted(&compacted, out).expect("room");
    let image = CompactedImage::parse(&out[..len], cpu, mask).expect("an image");
    import(area, &image.state());
    let len = area
        .state()
        .write_kvm(&user, origin, pkru, out)
        .expect("room");
    let image = KvmImage::parse(&out[..len], user, Xfd::NOTHING, mask).expect("an image");
    import(area, &image.state());
    let len = area
        .state()
        .write_ptrace(&user, origin, pkru, out)
        .expect("room");
    let image = PtraceImage::parse(&out[..len], user, USER, mask).expect("an image");
    import(area, &image.state());
    let len = area
        .state()
        .write_signal_frame(&user, mask, pkru, out)
        .expect("room");
    let image = Sigreturn::parse(&out[..len], user, USER, mask).expect("an image");
    import(area, &image.state());
    area.state()
        .write_prfpreg(&fxsave, mask, out)
        .expect("room");
    // Refusals too.
    let short = area.state().write_standard(&user, &mut out[..100]);
    assert!(short.is_err());
    assert!(StandardImage::parse(&out[..100], user, mask).is_err());
}

#[test]
fn no_export_import_or_reading_of_an_image_allocates() {
    let boxed = allocations(|| drop(std::hint::black_box(Box::new([0_u8; 64]))));
    assert_eq!(boxed, 1, "the counter counts");
    let cpu = cpu();
    let (mut memory, mut out) = (Memory([0; 4096]), [0; 4096]);
    let registers = ComponentSet::from_bits(0xe7);
    for layout in [
        Layout::compacted(&cpu, registers).unwrap(),
        Layout::standard(&cpu, registers).unwrap(),
    ] {
        let found = allocations(|| {
            let mut area = XsaveArea::new(layout, &mut memory.0[..]).ok().unwrap();
            fill(&mut area);
            there_and_back(&cpu, &mut area, &mut out);
            assert_eq!(area.xstate_bv(), registers);
        });
        assert_eq!(found, 0, "{} area", layout.format());
    }
}
