//! Signal frames: bytes with "FPXS" at 464 and "FPXE" behind the image.

use fpstate_arch::ComponentSet;
use fpstate_model::Profile;

use crate::file::{TestFile, json, refusal, text};
use crate::made_images::{cpu, signal_frame, standard};

const ROOM: ComponentSet = ComponentSet::from_bits(0x2e7);

/// 2440 bytes and the second magic number, of an EPYC 9654.
fn frame() -> Vec<u8> {
    let genoa = cpu("genoa");
    signal_frame(&genoa, ROOM, &standard(&genoa, ROOM, ROOM))
}

#[test]
fn a_whole_frame_has_the_registers_of_its_image() {
    let genoa = cpu("genoa");
    let image = TestFile::of(&standard(&genoa, ROOM, ROOM));
    let frame = TestFile::of(&frame());
    let report = json(&["inspect", frame.name()], 0);
    assert_eq!(report["kind"], "signal-frame");
    let found = &report["threads"][0]["image"];
    assert_eq!(
        (&found["form"], &found["len"]),
        (&"signal frame".into(), &2444.into())
    );
    assert!(
        found["fx_only"].is_null() && found["xcr0"].is_null(),
        "{found}"
    );
    let shown = text(&["inspect", frame.name()], 0);
    assert!(
        shown.contains("\n  sigreturn restores the whole frame\n"),
        "{shown}"
    );
    let report = json(&["diff", frame.name(), image.name(), "--cpu", "genoa"], 0);
    assert_eq!(report["equal"], true);
}

#[test]
fn of_a_frame_without_its_second_magic_number_512_bytes_are_restored() {
    let mut bytes = frame();
    bytes[2440] = 0;
    let file = TestFile::of(&bytes);
    let report = json(&["inspect", file.name()], 0);
    assert_eq!(
        report["threads"][0]["image"]["fx_only"],
        "the magic number at byte 2440 is 0x46505800; of a whole frame: 0x46505845"
    );
    let shown = text(&["inspect", file.name()], 0);
    assert!(
        shown.contains("  live: x87+SSE; initial: none\n"),
        "{shown}"
    );
    assert!(
        shown.contains(
            "  fx-only: sigreturn restores bytes 0 to 511, the rest is initial: the magic"
        ),
        "{shown}"
    );
    let whole = TestFile::of(&frame());
    let report = json(&["diff", whole.name(), file.name()], 1);
    let components = report["threads"][0]["components"].as_array().unwrap();
    let differ: Vec<_> = components.iter().filter(|c| c["equal"] == false).collect();
    assert!(
        differ
            .iter()
            .all(|c| c["a"] == "live" && c["b"] == "absent")
    );
    assert_eq!(differ.len(), 5, "{differ:?}");
    assert!(report["a"]["fx_only"].is_null() && report["b"]["fx_only"].is_string());
    let shown = text(&["diff", whole.name(), file.name()], 1);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[1], "  sigreturn restores the whole frame");
    assert!(
        lines[3].starts_with("  fx-only: sigreturn restores bytes 0 to 511"),
        "{shown}"
    );
}

#[test]
fn a_frame_of_512_bytes_is_one_where_somebody_says_so() {
    let file = TestFile::of(&standard(&cpu("genoa"), ROOM, ROOM)[..512]);
    assert_eq!(json(&["inspect", file.name()], 0)["kind"], "fxsave");
    let report = json(&["inspect", file.name(), "--as", "signal-frame"], 0);
    assert_eq!(report["kind"], "signal-frame");
    assert_eq!(
        report["threads"][0]["image"]["fx_only"],
        "the magic number at byte 464 is 0x0; of a whole frame: 0x46505853"
    );
}

#[test]
fn sizes_that_contradict_each_other_make_it_fx_only_and_missing_bytes_an_error() {
    let mut bytes = frame();
    bytes[480..484].copy_from_slice(&5000_u32.to_le_bytes());
    let file = TestFile::of(&bytes);
    let report = json(&["inspect", file.name(), "--cpu", "genoa"], 0);
    assert_eq!(
        report["threads"][0]["image"]["fx_only"],
        "xstate_size at byte 480 is 5000; of a whole frame: 576 to 2440"
    );
    let cut = TestFile::of(&frame()[..2441]);
    let line = refusal(&["inspect", cut.name()]);
    let expected = "signal frame: image of 2441 bytes; allowed: at least 2444";
    assert!(line.contains(expected), "{line}");
    let mut bytes = frame();
    bytes[528] = 1;
    let line = refusal(&["inspect", TestFile::of(&bytes).name()]);
    assert!(line.contains("reserved header byte 528 is 0x1"), "{line}");
}

#[test]
fn a_dump_that_gives_a_component_gigabytes_takes_no_gigabytes() {
    let dump = Profile::GENOA.text().replace(
        "00000008-00000980-00000000-00000000 [SL 09]",
        "FFFFFF00-00000980-00000000-00000000 [SL 09]",
    );
    let dump = TestFile::of(dump.as_bytes());
    // PKRU is listed and not in use: none of its bytes have to be there.
    let genoa = cpu("genoa");
    let avx = ComponentSet::from_bits(7);
    let mut bytes = signal_frame(&genoa, avx, &standard(&genoa, avx, avx));
    bytes[473] = 2;
    let frame = TestFile::of(&bytes);
    assert_eq!(
        json(&["inspect", frame.name(), "--cpu", "genoa"], 0)["len"],
        836
    );
    let line = refusal(&["inspect", frame.name(), "--cpu", dump.name()]);
    let expected = "signal frame: its layout has 4294969472 bytes; allowed: 1048576";
    assert!(line.contains(expected), "{line}");
}
