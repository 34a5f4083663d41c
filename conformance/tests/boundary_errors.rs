//! Nothing is imported in part, and `faults` and `parse` are of one mind, over random images of
//! every form.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::generators::{ErrorPointers, seeds};
use conformance::images::standard_image;
use conformance::memory::Memory;
use fastrand::Rng;
use fpstate::{
    CompactedImage, FxsaveImage, ImageError, ImageOrigin, ImageState, KvmImage, Layout, Loss,
    PtraceImage, Sigreturn, StandardImage, XsaveArea,
};
use fpstate_arch::{ComponentSet, Enumeration, Xfd};

const MASK: u32 = 0xffff;

#[derive(Clone, Copy, Debug)]
enum Form {
    Standard,
    Kvm,
    Ptrace,
    Frame,
    Compacted,
    Fxsave,
}

const FORMS: [Form; 6] = [
    Form::Standard,
    Form::Kvm,
    Form::Ptrace,
    Form::Frame,
    Form::Compacted,
    Form::Fxsave,
];

/// Whose image it is, and what it may have.
struct Origin<'e> {
    enumeration: &'e Enumeration,
    room: ComponentSet,
}

impl<'e> Origin<'e> {
    fn layout(&self) -> Layout<'e> {
        Layout::standard(self.enumeration, self.room).expect("a layout")
    }

    fn image(&self, form: Form, random: &mut Rng) -> Vec<u8> {
        let mut values = Contents::initial(self.enumeration, self.room);
        values.write_all(self.room, random, ErrorPointers::Kept);
        let image = standard_image(self.enumeration, &values, self.room);
        let layout = self.layout();
        let state = StandardImage::parse(image.bytes(), layout, MASK).expect("an image");
        let live = ComponentSet::from_bits(random.u64(..));
        let state = state.state().without(live);
        let origin = ImageOrigin {
            xcr0: self.room,
            mxcsr_mask: MASK,
        };
        let mut out = vec![0; 16 << 10];
        let fxsave = Layout::fxsave(self.enumeration).expect("a layout");
        let compacted = Layout::compacted(self.enumeration, self.room).expect("a layout");
        let len = match form {
            Form::Standard => state.write_standard(&layout, &mut out),
            Form::Kvm => state.write_kvm(&layout, origin, None, &mut out),
            Form::Ptrace => state.write_ptrace(&layout, origin, None, &mut out),
            Form::Frame => state.write_signal_frame(&layout, MASK, None, &mut out),
            Form::Compacted => state.write_compacted(&compacted, &mut out),
            Form::Fxsave => state
                .limited_to(&fxsave, Loss::Drop(self.room))
                .expect("x87 and SSE")
                .write_fxsave(&fxsave, &mut out),
        };
        out.truncate(len.expect("an image"));
        out
    }

    fn parse<'b>(&'b self, form: Form, bytes: &'b [u8]) -> Result<ImageState<'b>, ImageError> {
        let (layout, room) = (self.layout(), self.room);
        match form {
            Form::Standard => StandardImage::parse(bytes, layout, MASK).map(|i| i.state()),
            Form::Kvm => KvmImage::parse(bytes, layout, Xfd::NOTHING, MASK).map(|i| i.state()),
            Form::Ptrace => PtraceImage::parse(bytes, layout, room, MASK).map(|i| i.state()),
            Form::Frame => Sigreturn::parse(bytes, layout, room, MASK).map(|i| i.state()),
            Form::Compacted => {
                CompactedImage::parse(bytes, self.enumeration, MASK).map(|i| i.state())
            }
            Form::Fxsave => FxsaveImage::parse(bytes, self.enumeration, MASK).map(|i| i.state()),
        }
    }

    fn faults(&self, form: Form, bytes: &[u8]) -> Vec<ImageError> {
        let (layout, room) = (self.layout(), self.room);
        match form {
            Form::Standard => StandardImage::faults(bytes, &layout, MASK).collect(),
            Form::Kvm => KvmImage::faults(bytes, &layout, Xfd::NOTHING, MASK).collect(),
            Form::Ptrace => PtraceImage::faults(bytes, &layout, room, MASK).collect(),
            Form::Frame => Sigreturn::faults(bytes, &layout, room, MASK).collect(),
            Form::Compacted => CompactedImage::faults(bytes, self.enumeration, MASK).collect(),
            Form::Fxsave => FxsaveImage::faults(bytes, self.enumeration, MASK).collect(),
        }
    }
}

/// Bits of the header, of MXCSR and of software's bytes turned over, the end cut off; or nothing.
fn damage(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(0..3) {
        let range = random.choice([24..28, 464..512, 512..528, 528..576, 0..bytes.len()]);
        let offset = random.usize(range.expect("five"));
        if let Some(byte) = bytes.get_mut(offset) {
            *byte ^= 1 << random.u8(0..8);
        }
    }
    if random.u8(0..8) == 0 {
        bytes.truncate(random.usize(0..=bytes.len()));
    }
}

fn random_loss(random: &mut Rng) -> Loss {
    match random.u8(0..3) {
        0 => Loss::Reject,
        1 => Loss::DropInitial,
        _ => Loss::Drop(ComponentSet::from_bits(random.u64(..))),
    }
}

#[test]
fn an_image_is_imported_whole_or_not_at_all() {
    let kinds = [
        cpus::SAPPHIRE_RAPIDS,
        cpus::GENOA,
        cpus::SKYLAKE_SP,
        cpus::GENOA_WITHOUT_XSAVES,
    ];
    let enumerations = kinds.map(|kind| kind.enumeration());
    let (mut imported, mut refused, mut unread) = (0_u32, 0_u32, 0_u32);
    for seed in seeds(20_000) {
        let mut random = Rng::with_seed(seed);
        let mut any = || random.choice(&enumerations).expect("four");
        let (from, to) = (any(), any());
        let form = random.choice(FORMS).expect("six");
        let origin = Origin {
            enumeration: from,
            room: random
                .choice(cpus::legal_xcr0s(from))
                .expect("at least 1")
                .components()
                .union(ComponentSet::LEGACY),
        };
        let mut bytes = origin.image(form, &mut random);
        damage(&mut bytes, &mut random);
        let what = format!("{form:?}, FPSTATE_SEED={seed}");
        let parsed = origin.parse(form, &bytes);
        let faults = origin.faults(form, &bytes);
        assert_eq!(parsed.as_ref().err(), faults.first(), "{what}");
        let Ok(state) = parsed else {
            unread += 1;
            continue;
        };
        let room = random.choice(cpus::legal_xcr0s(to)).expect("at least 1");
        let layout = Layout::compacted(to, room.components()).expect("a layout");
        let mut memory = Memory::zeroed(layout.area_len());
        let mut area = XsaveArea::new(layout, memory.bytes_mut()).expect("an area");
        for placed in layout.extended_components() {
            let value = vec![random.u8(1..); placed.range().len()];
            area.set_extended(placed.component(), &value).expect("room");
        }
        let before = area.bytes().to_vec();
        let kept = ComponentSet::from_bits(random.u64(..) & random.u64(..) & random.u64(..) & !3);
        let loss = random_loss(&mut random);
        if area.import_state(&state, kept, loss).is_err() {
            assert_eq!(area.bytes(), before, "{what}");
            refused += 1;
        } else {
            assert_imported(&area, &state, kept, &before, &what);
            imported += 1;
        }
    }
    // With one seed alone only one of these is counted.
    if imported + refused + unread > 1 {
        assert!(imported > 1000 && refused > 1000 && unread > 1000);
    }
}

fn assert_imported(
    area: &XsaveArea<'_, &mut [u8]>,
    state: &ImageState<'_>,
    kept: ComponentSet,
    before: &[u8],
    what: &str,
) {
    for placed in area.layout().extended_components() {
        let component = placed.component();
        let found = area.extended(component);
        if kept.contains(component) {
            assert_eq!(found, before.get(placed.range()), "{component}, {what}");
        } else {
            // Dropped where the lengths differ: none does on these CPUs.
            assert_eq!(found, state.extended(component), "{component}, {what}");
        }
    }
}
