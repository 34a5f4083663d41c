//! One state through every form of image and back: standard, compacted, KVM's, ptrace's, a signal
//! frame; on the CPU of every profile, with every XCR0 that is legal there.

use conformance::contents::Contents;
use conformance::cpus::{self, RecordedCpu};
use conformance::generators::{ErrorPointers, seeds};
use conformance::images::{contents_of, standard_image};
use conformance::memory::Memory;
use fastrand::Rng;
use fpstate::{
    CompactedImage, ExportError, FrameForm, FxsaveImage, ImageOrigin, ImageState, KvmImage, Layout,
    Loss, PtraceImage, Sigreturn, StandardImage, XsaveArea,
};
use fpstate_arch::{
    Component, ComponentSet, Enumeration, Format, Instruction, LegacyRegion, Mxcsr, Pkru, Xfd,
};
use fpstate_model::Profile;

const MASK: u32 = 0xffff;

/// Some components live, with values, and bytes of others that are stale.
struct Sample {
    room: ComponentSet,
    live: ComponentSet,
    values: Contents,
    image: Memory,
}

impl Sample {
    fn new(enumeration: &Enumeration, room: ComponentSet, random: &mut Rng) -> Self {
        let mut values = Contents::initial(enumeration, room);
        values.write_all(room, random, ErrorPointers::Kept);
        let live = ComponentSet::from_bits(random.u64(..)).intersection(room);
        let mut image = standard_image(enumeration, &values, room);
        image.bytes_mut()[512..520].copy_from_slice(&live.bits().to_le_bytes());
        values.initialise(ComponentSet::from_bits(!0).difference(live));
        Self {
            room,
            live,
            values,
            image,
        }
    }

    fn state<'b>(&'b self, enumeration: &'b Enumeration) -> ImageState<'b> {
        let layout = Layout::standard(enumeration, self.room).expect("a layout");
        StandardImage::parse(self.image.bytes(), layout, MASK)
            .expect("an image")
            .state()
    }
}

fn contents(enumeration: &Enumeration, room: ComponentSet, state: &ImageState<'_>) -> Contents {
    let extended = room.difference(ComponentSet::LEGACY);
    Contents::from_parts(
        &state.legacy(),
        extended.iter().map(|component| {
            let bytes = state.extended(component).map(<[u8]>::to_vec);
            let len = enumeration.entry(component).expect("a sub-leaf").len;
            let initial = || vec![0; usize::try_from(len).expect("a length")];
            (component, bytes.unwrap_or_else(initial))
        }),
    )
}

/// The components that an image may announce beyond the live ones: SSE, for MXCSR.
fn assert_same(sample: &Sample, enumeration: &Enumeration, read: &ImageState<'_>, what: &str) {
    let found = contents(enumeration, sample.room, read);
    assert_eq!(sample.values.difference(&found), None, "{what}");
    let announced = read.live().difference(ComponentSet::only(Component::Sse));
    let live = sample.live.difference(ComponentSet::only(Component::Sse));
    assert_eq!(announced, live, "{what}");
}

/// Writes into bytes that have values, and reads no byte that was not written.
fn written(
    state: &ImageState<'_>,
    write: impl Fn(&ImageState<'_>, &mut [u8]) -> Result<usize, ExportError>,
) -> Vec<u8> {
    let [first, second] = [0xaa, 0x55].map(|fill| {
        let mut out = vec![fill; 16 << 10];
        let len = write(state, &mut out).expect("an image");
        assert!(out[len..].iter().all(|&byte| byte == fill), "beyond");
        out.truncate(len);
        out
    });
    assert_eq!(first, second, "a byte was not written");
    first
}

fn through_every_form(enumeration: &Enumeration, sample: &Sample, what: &str) {
    let state = sample.state(enumeration);
    let layout = *state.layout();
    let same = |read: &ImageState<'_>, form: &str| {
        assert_same(sample, enumeration, read, &format!("{what}, {form}"));
    };
    same(&state, "as it is");

    let bytes = written(&state, |state, out| state.write_standard(&layout, out));
    let read = StandardImage::parse(&bytes, layout, MASK).expect("standard");
    same(&read.state(), "standard");
    // Without the library's offsets.
    let found = contents_of(enumeration, &bytes, sample.room);
    assert_eq!(sample.values.difference(&found), None, "{what}");

    if enumeration.has(Instruction::Xsavec) {
        let compacted = Layout::compacted(enumeration, sample.room).expect("a layout");
        let bytes = written(&state, |state, out| state.write_compacted(&compacted, out));
        let read = CompactedImage::parse(&bytes, enumeration, MASK).expect("compacted");
        same(&read.state(), "compacted");
    }
    let origin = ImageOrigin {
        xcr0: sample.room,
        mxcsr_mask: MASK,
    };
    let bytes = written(&state, |state, out| {
        state.write_kvm(&layout, origin, None, out)
    });
    let read = KvmImage::parse(&bytes, layout, Xfd::NOTHING, MASK).expect("KVM");
    same(&read.state(), "KVM");

    let bytes = written(&state, |state, out| {
        state.write_ptrace(&layout, origin, None, out)
    });
    let read = PtraceImage::parse(&bytes, layout, sample.room, MASK).expect("ptrace");
    same(&read.state(), "ptrace");

    let bytes = written(&state, |state, out| {
        state.write_signal_frame(&layout, MASK, None, out)
    });
    let frame = Sigreturn::parse(&bytes, layout, sample.room, MASK).expect("a frame");
    assert_eq!(frame.form(), FrameForm::Full);
    let found = contents(enumeration, sample.room, &frame.state());
    assert_eq!(sample.values.difference(&found), None, "{what}, a frame");
}

#[test]
fn every_form_gives_back_the_state_on_every_profile_with_every_xcr0() {
    for profile in Profile::ALL {
        let enumeration = RecordedCpu::of(*profile).enumeration();
        for xcr0 in cpus::legal_xcr0s(&enumeration) {
            for seed in seeds(20) {
                let mut random = Rng::with_seed(seed);
                let room = xcr0.components();
                let sample = Sample::new(&enumeration, room, &mut random);
                let what = format!("{}, XCR0 {room}, FPSTATE_SEED={seed}", profile.name());
                through_every_form(&enumeration, &sample, &what);
            }
        }
    }
}

#[test]
fn a_state_with_supervisor_components_keeps_them_in_a_compacted_image() {
    for profile in Profile::ALL {
        let enumeration = RecordedCpu::of(*profile).enumeration();
        if !enumeration.has(Instruction::Xsaves) {
            continue;
        }
        let room = enumeration
            .user_components()
            .union(cpus::CET.intersection(enumeration.supervisor_components()));
        let layout = Layout::compacted(&enumeration, room).unwrap();
        let mut memory = Memory::zeroed(layout.area_len());
        let mut area = XsaveArea::new(layout, memory.bytes_mut()).unwrap();
        let mut random = Rng::with_seed(1);
        for placed in layout.extended_components() {
            let mut bytes = vec![0; placed.range().len()];
            random.fill(&mut bytes);
            area.set_extended(placed.component(), &bytes).unwrap();
        }
        let bytes = written(&area.state(), |state, out| {
            state.write_compacted(&layout, out)
        });
        assert_eq!(bytes, area.bytes(), "{}", profile.name());
        let read = CompactedImage::parse(&bytes, &enumeration, MASK).unwrap();
        let mut other = Memory::zeroed(layout.area_len());
        let mut imported = XsaveArea::new(layout, other.bytes_mut()).unwrap();
        for placed in layout.extended_components() {
            let before = vec![1; placed.range().len()];
            imported.set_extended(placed.component(), &before).unwrap();
        }
        let nothing = ComponentSet::EMPTY;
        imported
            .import_state(&read.state(), nothing, Loss::Reject)
            .unwrap();
        assert_eq!(imported.bytes(), area.bytes(), "{}", profile.name());
        // What the image has room for and holds initial is initial; a standard image has no room
        // for supervisor components, which stay.
        let initial = read.state().without(room);
        let user = Layout::standard(&enumeration, enumeration.user_components()).unwrap();
        let mut standard = vec![0; user.area_len()];
        initial.write_standard(&user, &mut standard).unwrap();
        let standard = StandardImage::parse(&standard, user, MASK).unwrap();
        imported
            .import_state(&standard.state(), nothing, Loss::Reject)
            .unwrap();
        let supervisor = room.intersection(enumeration.supervisor_components());
        assert_eq!(imported.xstate_bv(), supervisor, "{}", profile.name());
        imported
            .import_state(&initial, nothing, Loss::Reject)
            .unwrap();
        assert_eq!(imported.xstate_bv(), nothing, "{}", profile.name());
    }
}

#[test]
fn fxsave_gives_back_x87_and_sse() {
    let enumeration = cpus::FXSAVE_ONLY.enumeration();
    let layout = Layout::fxsave(&enumeration).unwrap();
    for seed in seeds(20) {
        let mut values = Contents::initial(&enumeration, ComponentSet::LEGACY);
        let mut random = Rng::with_seed(seed);
        values.write_all(ComponentSet::LEGACY, &mut random, ErrorPointers::Kept);
        let mut bytes = [0; 512];
        values.legacy().write_to(&mut bytes);
        let read = FxsaveImage::parse(&bytes, &enumeration, MASK).unwrap();
        let again = written(&read.state(), |state, out| state.write_fxsave(&layout, out));
        assert_eq!(again, bytes, "FPSTATE_SEED={seed}");
        let origin = ImageOrigin {
            xcr0: ComponentSet::LEGACY,
            mxcsr_mask: MASK,
        };
        let kvm = written(&read.state(), |state, out| {
            state.write_kvm(&layout, origin, None, out)
        });
        // A host with XSAVE takes it.
        let genoa = cpus::GENOA.enumeration();
        let layout = Layout::standard(&genoa, genoa.user_components()).unwrap();
        let read = KvmImage::parse(&kvm, layout, Xfd::NOTHING, MASK).unwrap();
        let found = contents(&genoa, ComponentSet::LEGACY, &read.state());
        assert_eq!(values.difference(&found), None, "FPSTATE_SEED={seed}");
    }
}

#[test]
fn a_pkru_that_is_kept_elsewhere_comes_back_from_each_form() {
    let enumeration = cpus::SAPPHIRE_RAPIDS.enumeration();
    let room = enumeration.user_components();
    let layout = Layout::standard(&enumeration, room).unwrap();
    let mut memory = Memory::zeroed(576);
    let empty = Layout::standard(&enumeration, ComponentSet::LEGACY).unwrap();
    let area = XsaveArea::new(empty, memory.bytes_mut()).unwrap();
    let origin = ImageOrigin {
        xcr0: room,
        mxcsr_mask: MASK,
    };
    for pkru in [0, 0x5555_5554, !0].map(Pkru::from_bits) {
        let state = area.state();
        let kvm = written(&state, |state, out| {
            state.write_kvm(&layout, origin, Some(pkru), out)
        });
        let read = KvmImage::parse(&kvm, layout, Xfd::NOTHING, MASK).unwrap();
        assert_eq!(read.pkru(), Some(pkru));
        let ptrace = written(&state, |state, out| {
            state.write_ptrace(&layout, origin, Some(pkru), out)
        });
        let read = PtraceImage::parse(&ptrace, layout, room, MASK).unwrap();
        assert_eq!(read.pkru(), pkru);
        let frame = written(&state, |state, out| {
            state.write_signal_frame(&layout, MASK, Some(pkru), out)
        });
        let read = Sigreturn::parse(&frame, layout, room, MASK).unwrap();
        assert_eq!(read.pkru(), pkru);
    }
}

/// An MXCSR that only XRSTOR's rule would load is not lost to readers with stricter rules.
#[test]
fn an_mxcsr_of_its_own_survives_each_form() {
    let enumeration = cpus::GENOA.enumeration();
    let layout = Layout::standard(&enumeration, ComponentSet::from_bits(7)).unwrap();
    let legacy = LegacyRegion {
        mxcsr: Mxcsr::from_bits(0x9f80),
        ..LegacyRegion::INITIAL
    };
    let mut bytes = vec![0; layout.area_len()];
    legacy.write_to(bytes.first_chunk_mut().unwrap());
    let state = StandardImage::parse(&bytes, layout, MASK).unwrap().state();
    assert_eq!(state.live(), ComponentSet::EMPTY);
    let origin = ImageOrigin {
        xcr0: ComponentSet::from_bits(7),
        mxcsr_mask: MASK,
    };
    let kvm = written(&state, |state, out| {
        state.write_kvm(&layout, origin, None, out)
    });
    let read = KvmImage::parse(&kvm, layout, Xfd::NOTHING, MASK).unwrap();
    assert_eq!(read.state().legacy().mxcsr.bits(), 0x9f80);
    let compacted = Layout::compacted(&enumeration, ComponentSet::from_bits(7)).unwrap();
    assert_eq!(compacted.format(), Format::Compacted);
    let bytes = written(&state, |state, out| state.write_compacted(&compacted, out));
    let read = CompactedImage::parse(&bytes, &enumeration, MASK).unwrap();
    assert_eq!(read.state().legacy().mxcsr.bits(), 0x9f80);
}
