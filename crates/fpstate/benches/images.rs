//! What it costs to export, import and read images. The state is that of a CPU with AVX-512, every
//! component of it live; images of Linux have PKRU too. Throughput is bytes of the image.
//!
//! `cargo bench -p fpstate --bench images`

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fpstate::{
    CompactedImage, ExportError, ImageOrigin, ImageState, KvmImage, Layout, Loss, PtraceImage,
    Sigreturn, StandardImage, XsaveArea,
};
use fpstate_arch::cpuid::{CpuidRegisters, RecordedLeaves};
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr, Pkru, Xfd};

/// x87, SSE, AVX and AVX-512: what an area holds.
const REGISTERS: ComponentSet = ComponentSet::from_bits(0xe7);
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
const USER: ComponentSet = REGISTERS.with(Component::Pkru);
const MXCSR_MASK: u32 = 0x2_ffff;
const ORIGIN: ImageOrigin = ImageOrigin {
    xcr0: USER,
    mxcsr_mask: MXCSR_MASK,
};
const GUEST_PKRU: Option<Pkru> = Some(Pkru::from_bits(0x5555_5554));
/// The longest image: that of `KVM_GET_XSAVE`.
const LONGEST: usize = 4096;

#[repr(align(64))]
struct Memory([u8; LONGEST]);

fn cpu_with_avx512() -> Enumeration {
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

/// The layouts of one CPU's images.
struct Layouts<'e> {
    cpu: &'e Enumeration,
    /// Of an area.
    standard: Layout<'e>,
    /// Of an area.
    compacted: Layout<'e>,
    /// Of Linux's images.
    user: Layout<'e>,
}

impl<'e> Layouts<'e> {
    fn of(cpu: &'e Enumeration) -> Self {
        Self {
            cpu,
            standard: Layout::standard(cpu, REGISTERS).expect("a layout"),
            compacted: Layout::compacted(cpu, REGISTERS).expect("a layout"),
            user: Layout::standard(cpu, USER).expect("a layout"),
        }
    }

    fn areas(&self) -> [(&'static str, Layout<'e>); 2] {
        [("compacted", self.compacted), ("standard", self.standard)]
    }

    fn write(
        &self,
        form: Form,
        state: &ImageState<'_>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        let user = &self.user;
        match form {
            Form::Standard => state.write_standard(&self.standard, out),
            Form::Compacted => state.write_compacted(&self.compacted, out),
            Form::Kvm => state.write_kvm(user, ORIGIN, GUEST_PKRU, out),
            Form::Ptrace => state.write_ptrace(user, ORIGIN, GUEST_PKRU, out),
            Form::SignalFrame => state.write_signal_frame(user, MXCSR_MASK, GUEST_PKRU, out),
        }
    }

    fn parse<'b>(&'b self, form: Form, bytes: &'b [u8]) -> ImageState<'b> {
        let (user, mask) = (self.user, MXCSR_MASK);
        match form {
            Form::Standard => StandardImage::parse(bytes, self.standard, mask).map(|i| i.state()),
            Form::Compacted => CompactedImage::parse(bytes, self.cpu, mask).map(|i| i.state()),
            Form::Kvm => KvmImage::parse(bytes, user, Xfd::NOTHING, mask).map(|i| i.state()),
            Form::Ptrace => PtraceImage::parse(bytes, user, USER, mask).map(|i| i.state()),
            Form::SignalFrame => Sigreturn::parse(bytes, user, USER, mask).map(|i| i.state()),
        }
        .expect("an image")
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Standard,
    Compacted,
    Kvm,
    Ptrace,
    SignalFrame,
}

const FORMS: [Form; 5] = [
    Form::Standard,
    Form::Compacted,
    Form::Kvm,
    Form::Ptrace,
    Form::SignalFrame,
];

/// Every component live, no byte 0.
fn filled<'a>(layout: Layout<'a>, memory: &'a mut Memory) -> XsaveArea<'a, &'a mut [u8]> {
    let mut area = XsaveArea::new(layout, &mut memory.0[..]).expect("an area");
    let mut region = LegacyRegion::from_bytes(&[0x5a; 512]);
    region.mxcsr = Mxcsr::from_bits(0x1fa0);
    region.mxcsr_mask = MXCSR_MASK;
    area.set_legacy(&region, MXCSR_MASK).expect("an MXCSR");
    for placed in layout.extended_components() {
        let value = [0xa5; LONGEST];
        area.set_extended(placed.component(), &value[placed.range()])
            .expect("room");
    }
    area
}

fn bytes(len: usize) -> Throughput {
    Throughput::Bytes(len.try_into().expect("a length"))
}

/// The bound: as many bytes copied by one `memcpy`.
fn copy(criterion: &mut Criterion) {
    let (from, mut to) = (Memory([0x5a; LONGEST]), Memory([0; LONGEST]));
    let mut group = criterion.benchmark_group("copy");
    for len in [2432, 2696, 4096] {
        group.throughput(bytes(len));
        group.bench_function(len.to_string(), |bencher| {
            bencher.iter(|| black_box(&mut to.0[..len]).copy_from_slice(black_box(&from.0[..len])));
        });
    }
}

fn export(criterion: &mut Criterion) {
    let cpu = cpu_with_avx512();
    let layouts = Layouts::of(&cpu);
    let mut out = Memory([0; LONGEST]);
    for (name, layout) in layouts.areas() {
        let mut memory = Memory([0; LONGEST]);
        let area = filled(layout, &mut memory);
        let mut group = criterion.benchmark_group(format!("export from {name}"));
        for form in FORMS {
            let written = layouts.write(form, &area.state(), &mut out.0);
            group.throughput(bytes(written.expect("an image")));
            group.bench_function(format!("{form:?}"), |bencher| {
                bencher.iter(|| {
                    let state = black_box(&area).state();
                    layouts.write(form, &state, black_box(&mut out.0))
                });
            });
        }
    }
}

/// An image of each form, and its bytes.
fn images(layouts: &Layouts<'_>) -> [(Form, Vec<u8>); 5] {
    let mut memory = Memory([0; LONGEST]);
    let area = filled(layouts.compacted, &mut memory);
    FORMS.map(|form| {
        let mut image = vec![0; LONGEST];
        let written = layouts.write(form, &area.state(), &mut image);
        image.truncate(written.expect("an image"));
        (form, image)
    })
}

fn import(criterion: &mut Criterion) {
    let cpu = cpu_with_avx512();
    let layouts = Layouts::of(&cpu);
    for (name, layout) in layouts.areas() {
        let mut memory = Memory([0; LONGEST]);
        let mut area = filled(layout, &mut memory);
        let mut group = criterion.benchmark_group(format!("import into {name}"));
        for (form, image) in images(&layouts) {
            group.throughput(bytes(image.len()));
            group.bench_function(format!("{form:?}"), |bencher| {
                bencher.iter(|| {
                    let state = layouts.parse(form, black_box(&image));
                    area.import_state(&state, PKRU, Loss::Reject)
                });
            });
        }
    }
}

/// Checked, and every register found: what `fpstate inspect` does before it prints.
fn inspect(criterion: &mut Criterion) {
    let cpu = cpu_with_avx512();
    let layouts = Layouts::of(&cpu);
    let mut group = criterion.benchmark_group("inspect");
    for (form, image) in images(&layouts) {
        group.throughput(bytes(image.len()));
        group.bench_function(format!("{form:?}"), |bencher| {
            bencher.iter(|| {
                let state = layouts.parse(form, black_box(&image));
                black_box(state.legacy());
                for component in state.live().iter() {
                    black_box(state.extended(component));
                }
            });
        });
    }
}

/// Every byte of every extended component is looked at: announced and initial, all of them.
fn drop_initial(criterion: &mut Criterion) {
    let cpu = cpu_with_avx512();
    let layouts = Layouts::of(&cpu);
    let mut image = [0; 2696];
    image[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    image[512..520].copy_from_slice(&USER.bits().to_le_bytes());
    let room = Layout::standard(&cpu, ComponentSet::LEGACY).expect("a layout");
    let mut group = criterion.benchmark_group("drop initial");
    group.throughput(bytes(image.len()));
    group.bench_function("Ptrace", |bencher| {
        bencher.iter(|| {
            let state = layouts.parse(Form::Ptrace, black_box(&image));
            let limited = state.limited_to(&room, Loss::DropInitial);
            limited.map(|state| state.live()).expect("nothing lost")
        });
    });
}

criterion_group!(benches, copy, export, import, inspect, drop_initial);
criterion_main!(benches);
