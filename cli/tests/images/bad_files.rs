//! Files that are refused: one line that says what is wrong and at which byte. (Random ones are in
//! `src/hostile_files.rs`.)

use fpstate_arch::ComponentSet;

use crate::file::{TestFile, json, refusal};
use crate::made::MadeCore;
use crate::made_images::{compacted, cpu, standard, with_xcr0};

const AVX: ComponentSet = ComponentSet::from_bits(7);

fn image() -> Vec<u8> {
    standard(&cpu("sapphire-rapids"), AVX, AVX)
}

fn core() -> Vec<u8> {
    MadeCore::default()
        .thread(1, 0, &with_xcr0(image(), AVX))
        .bytes()
}

/// `bytes` with these at `offset`.
fn with(mut bytes: Vec<u8>, offset: usize, new: &[u8]) -> Vec<u8> {
    bytes[offset..offset + new.len()].copy_from_slice(new);
    bytes
}

#[track_caller]
fn assert_refused(bytes: &[u8], what: &str) {
    let file = TestFile::of(bytes);
    let line = refusal(&["inspect", file.name()]);
    assert!(line.contains(what), "{line} should say: {what}");
}

#[test]
fn images() {
    assert_refused(
        &[],
        "the file ends at byte 0; an image has 512 bytes (FXSAVE) or 576 and more",
    );
    assert_refused(&image()[..575], "the file ends at byte 575");
    assert_refused(
        &image()[..831],
        "no CPU known here puts x87+SSE+AVX into 831 bytes",
    );
    assert_refused(
        &vec![0; 1_048_577],
        "the file has 1048577 bytes; allowed: 1048576 for what is no ELF core",
    );
    assert_refused(
        &with(image(), 520, &[1]),
        "XCOMP_BV at byte 520 is 0x1; allowed: 0",
    );
    assert_refused(
        &with(image(), 570, &[9]),
        "reserved header byte 570 is 0x9; allowed: 0",
    );
    assert_refused(
        &with(image(), 519, &[0x40]),
        "no CPU known here puts x87+SSE+AVX+component 62",
    );
    assert_refused(&with(image(), 519, &[0x80]), "bit 63");
    let short = compacted(&cpu("sapphire-rapids"), AVX, &image());
    assert_refused(
        &with(short.clone(), 540, &[1]),
        "reserved header byte 540 is 0x1",
    );
    assert_refused(&with(short, 512, &[0xff]), "XSTATE_BV at byte 512 has");
}

#[test]
fn files_that_are_none() {
    let line = refusal(&["inspect", "/no/such/file"]);
    assert!(line.contains("\"/no/such/file\": No such file"), "{line}");
    let line = refusal(&["inspect", env!("CARGO_TARGET_TMPDIR")]);
    assert!(line.contains("no regular file"), "{line}");
    let file = TestFile::of(&image());
    let line = refusal(&["inspect", file.name(), "--cpu", "no-such-cpu"]);
    assert!(
        line.contains("--cpu \"no-such-cpu\": no such file"),
        "{line}"
    );
    let line = refusal(&["inspect", file.name(), "--as", "elf-core"]);
    assert!(line.contains("EI_CLASS at byte 4"), "{line}");
}

#[test]
fn elf_headers() {
    assert_refused(
        &core()[..40],
        "ELF core: the ELF header at byte 0 needs 64 bytes; the file ends at byte 40",
    );
    assert_refused(
        &with(core(), 4, &[1]),
        "EI_CLASS at byte 4 is 1; allowed: 2, ELFCLASS64 (the cores of 32-bit programs",
    );
    assert_refused(&with(core(), 5, &[2]), "EI_DATA at byte 5 is 2");
    assert_refused(
        &with(core(), 16, &[2]),
        "e_type at byte 16 is 2; allowed: 4, ET_CORE",
    );
    assert_refused(
        &with(core(), 18, &[3]),
        "e_machine at byte 18 is 3; allowed: 62, EM_X86_64",
    );
    assert_refused(
        &with(core(), 54, &[32]),
        "e_phentsize at byte 54 is 32; allowed: 56",
    );
    assert_refused(
        &with(core(), 56, &[0xff, 0xff]),
        "e_shoff at byte 40 is 0; allowed: the offset of section header 0",
    );
    let far = with(core(), 56, &[0xff, 0xff]);
    assert_refused(
        &with(far, 40, &[0xff; 8]),
        "section header 0 at byte 18446744073709551615",
    );
    assert_refused(
        &with(core(), 56, &[0, 0]),
        "it has no NT_PRSTATUS, so no threads",
    );
}

#[test]
fn more_program_headers_than_the_elf_header_can_count() {
    let whole = core();
    let at = whole.len();
    let many = with(with(whole, 40, &at.to_le_bytes()), 56, &[0xff, 0xff]);
    let with_count = |count: u32| {
        let mut section = [0; 64];
        section[44..48].copy_from_slice(&count.to_le_bytes());
        [many.as_slice(), &section].concat()
    };
    let file = TestFile::of(&with_count(2));
    assert_eq!(json(&["inspect", file.name()], 0)["threads"][0]["tid"], 1);
    assert_refused(&with_count(u32::MAX), "a program header at byte");
}

/// Program header 1, which is the `PT_NOTE`.
const NOTES: usize = 64 + 56;

#[test]
fn note_segments() {
    let huge = with(core(), NOTES + 32, &u64::MAX.to_le_bytes());
    assert_refused(
        &huge,
        "a PT_NOTE segment at byte 176 needs 18446744073709551615 bytes",
    );
    let mut twice = core();
    let second = twice[NOTES..NOTES + 56].to_vec();
    twice = with(twice, 64, &second);
    assert_refused(&twice, "the PT_NOTE segments up to program header 1 have");
    let cut = core().len() - 8;
    assert_refused(&core()[..cut], "a PT_NOTE segment at byte 176 needs");
}

#[test]
fn notes() {
    // The first note is NT_PRSTATUS at byte 176: lengths, type, "CORE", content from byte 196.
    assert_refused(
        &with(core(), 176, &[0; 8]),
        "the note at byte 176 has neither name nor content",
    );
    assert_refused(
        &with(core(), 180, &[0xff; 4]),
        "a note at byte 176 needs 4294967315 bytes",
    );
    assert_refused(&with(core(), 176, &[0xff; 4]), "a note at byte 176 needs");
    assert_refused(
        &with(core(), 180, &[8, 0, 0, 0]),
        "NT_PRSTATUS at byte 196 has 8 bytes; allowed: 336",
    );
    assert_refused(
        &with(core(), 184, &[9]),
        "NT_PRFPREG at byte 532 comes before any NT_PRSTATUS",
    );
    let mut second = MadeCore::default();
    second
        .thread(1, 0, &with_xcr0(image(), AVX))
        .note("LINUX", 0x202, &image());
    assert_refused(
        &second.bytes(),
        "a second NT_X86_XSTATE of the same thread at byte",
    );
    let mut without = MadeCore::default();
    without.note("CORE", 1, &[0; 336]);
    assert_refused(
        &without.bytes(),
        "thread 0 has neither NT_X86_XSTATE nor NT_PRFPREG",
    );
    let mut layout = MadeCore::default();
    layout
        .thread(1, 0, &with_xcr0(image(), AVX))
        .note("LINUX", 0x205, &[1; 16]);
    assert_refused(&layout.bytes(), "has component 16843009; allowed: 2 to 62");
    let avx = [2u32, 256, 576, 0].map(u32::to_le_bytes);
    let avx = avx.as_flattened();
    let twice = [avx, avx].concat();
    layout = MadeCore::default();
    layout
        .thread(1, 0, &with_xcr0(image(), AVX))
        .note("LINUX", 0x205, &twice);
    assert_refused(&layout.bytes(), "has component 2; allowed: each once");
    let inside = with(avx.to_vec(), 8, &100u32.to_le_bytes());
    layout = MadeCore::default();
    layout
        .thread(1, 0, &with_xcr0(image(), AVX))
        .note("LINUX", 0x205, &inside);
    assert_refused(
        &layout.bytes(),
        "puts AVX at offset 100; allowed: 576 and above",
    );
    layout = MadeCore::default();
    layout
        .thread(1, 0, &with_xcr0(image(), AVX))
        .note("LINUX", 0x205, &[2; 15]);
    assert_refused(&layout.bytes(), "has 15 bytes; allowed: a multiple of 16");
}

#[test]
fn images_in_cores() {
    let wrong = with(with_xcr0(image(), AVX), 550, &[1]);
    let wrong = MadeCore::default().thread(77, 0, &wrong).bytes();
    assert_refused(
        &wrong,
        "thread 77, NT_X86_XSTATE from byte 1084: reserved header byte 550 is 0x1",
    );
}
