//! `fpstate check` and `convert` on every form of file: what `inspect` reads they read.

use std::fs;

use serde_json::{Value, json};

use crate::asked::{answer, assert_refused, file, json, path};
use crate::images::{AMD, AVX512_AND_PKRU, INTEL, signal_frame, snapshot, standard, with_xcr0};
use crate::made::MadeCore;

/// A core of a process on an EPYC: thread 100 used everything, thread 101 no more than AVX.
fn core() -> MadeCore {
    let all = with_xcr0(standard(&AMD, 2440, AVX512_AND_PKRU), AVX512_AND_PKRU);
    let avx = with_xcr0(standard(&AMD, 2440, 7), AVX512_AND_PKRU);
    let mut core = MadeCore::default();
    core.thread(100, 11, &all).thread(101, 0, &avx);
    core
}

/// A signal frame of the EPYC with room for everything.
fn frame_in_use(xstate_bv: u64) -> Vec<u8> {
    signal_frame(standard(&AMD, 2440, xstate_bv), AVX512_AND_PKRU)
}

/// The reasons with their bytes.
fn reasons(status: i32, arguments: &[&str]) -> Vec<(String, Value)> {
    let report = json(status, &[&["check"], arguments].concat());
    let reasons = report["reasons"].as_array().unwrap().iter();
    reasons
        .map(|reason| {
            let text = reason["reason"].as_str().unwrap().to_owned();
            (text, reason["offset"].clone())
        })
        .collect()
}

#[test]
fn of_a_snapshot_the_image_is_written_and_what_is_not_is_said() {
    let snapshot = file("snapshot.json", &snapshot(AVX512_AND_PKRU, 0x1800));
    let output = path("on-amd");
    let convert = ["convert", &snapshot, "--to", "genoa", "-o", &output];
    let report = json(0, &convert);
    assert_eq!(report["image"]["cpu"], "GenuineIntel");
    assert_eq!(
        report["not_in_output"],
        json!([
            "XCR0 0x2e7",
            "IA32_XSS 0x1800",
            "IA32_XFD 0x0",
            "IA32_XFD_ERR 0x0"
        ])
    );
    let expected = standard(&AMD, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
    let text = answer(0, &convert);
    let not = "of the snapshot the image alone is written; not XCR0 0x2e7, IA32_XSS 0x1800";
    assert!(text.contains(not), "{text}");
    assert_refused(
        &[&convert[..], &["--from", "genoa"]].concat(),
        "a snapshot says itself",
    );
}

#[test]
fn the_thread_of_a_core_is_chosen_where_there_are_several() {
    let core = file("core", &core().bytes());
    let output = path("thread-of-core");
    let convert = [
        "convert",
        &core,
        "--from",
        "genoa",
        "--to",
        "sapphire-rapids",
        "-o",
        &output,
    ];
    assert_refused(&convert, "has the threads 100, 101; --thread says which");
    assert_refused(
        &["check", &core, "--cpu", "genoa"],
        "has the threads 100, 101; --thread says which",
    );
    assert_refused(
        &[&convert[..], &["--thread", "7"]].concat(),
        "--thread 7: no such thread; ",
    );
    let report = json(0, &[&convert[..], &["--thread", "100"]].concat());
    assert_eq!(report["thread"], 100);
    let expected = standard(&INTEL, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
    // An image has no threads.
    let image = file("image", &standard(&AMD, 4096, 7));
    assert_refused(
        &["check", &image, "--thread", "1"],
        "--thread 1: no such thread",
    );
}

#[test]
fn a_thread_is_judged_as_ptrace_would() {
    let core = file("core", &core().bytes());
    let check = |cpu: &'static str| [core.as_str(), "--thread", "101", "--cpu", cpu];
    assert_eq!(reasons(0, &check("genoa")), []);
    let text = answer(0, &[&["check"], &check("genoa")[..]].concat());
    assert!(
        text.contains(", thread 101, can be restored on AMD"),
        "{text}"
    );
    assert!(
        text.contains("by the rules of PTRACE_SETREGSET\n"),
        "{text}"
    );
    assert_eq!(
        reasons(1, &check("sapphire-rapids")),
        [(
            "image of 2440 bytes; allowed: 11008".to_owned(),
            json!(2440)
        )]
    );
}

#[test]
fn a_core_that_notes_its_layout_says_itself_where_components_are() {
    let amd = AMD.map(|(_, offset, len)| (len, offset));
    let numbers = [2_usize, 5, 6, 7, 9];
    let note: Vec<u8> = numbers
        .into_iter()
        .zip(amd)
        .flat_map(|(number, (len, offset))| [number, len, offset, 0])
        .flat_map(|word| u32::try_from(word).unwrap().to_le_bytes())
        .collect();
    let mut noted = core();
    noted.note("LINUX", 0x205, &note);
    let core = file("noted-core", &noted.bytes());
    let output = path("from-noted-core");
    let arguments = [
        "convert",
        &core,
        "--thread",
        "100",
        "--to",
        "sapphire-rapids",
    ];
    let report = json(0, &[&arguments[..], &["-o", &output]].concat());
    let source = report["image"]["source"].as_str().unwrap();
    assert!(
        source.starts_with("NT_X86_XSAVE_LAYOUT at byte "),
        "{source}"
    );
    let expected = standard(&INTEL, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
    let found = reasons(1, &[&core, "--thread", "100", "--cpu", "sapphire-rapids"]);
    assert!(found.iter().any(|(_, at)| *at == 2432), "PKRU: {found:?}");
}

#[test]
fn a_signal_frame_is_judged_as_sigreturn_would() {
    let whole = file("frame", &frame_in_use(AVX512_AND_PKRU));
    assert_eq!(reasons(0, &[&whole, "--cpu", "genoa"]), []);
    let report = json(0, &["check", &whole, "--cpu", "genoa"]);
    assert_eq!(report["rules"], "rt_sigreturn");
    assert_eq!(report["format"], "signal frame, standard");
    // There the thread's state is shorter: the frame is taken, and AVX-512 is lost.
    let found = reasons(1, &[&whole, "--cpu", "genoa", "--xcr0", "0x207"]);
    assert_eq!(found[0].1, 512, "{found:?}");
    let lost = file("avx-frame", &frame_in_use(7));
    assert_eq!(
        reasons(1, &[&lost, "--cpu", "genoa", "--xcr0", "7"]),
        [(
            "fx-only: xstate_size at byte 480 is 2440; of a whole frame: 576 to 832; AVX in use \
             would become initial"
                .to_owned(),
            json!(480)
        )]
    );
    // Nothing is lost where nothing is in use.
    let idle = file("idle-frame", &frame_in_use(3));
    let arguments = ["check", &idle, "--cpu", "genoa", "--xcr0", "7"];
    let text = answer(0, &arguments);
    assert!(
        text.contains("\nfx-only: bytes 0 to 511 are restored"),
        "{text}"
    );
    assert!(json(0, &arguments)["fx_only"].is_string());
}

#[test]
fn a_signal_frame_becomes_an_image() {
    let whole = file("frame", &frame_in_use(AVX512_AND_PKRU));
    let output = path("frame-as-image");
    let cpus = ["--from", "genoa", "--to", "sapphire-rapids", "-o", &output];
    answer(0, &[&["convert", &whole], &cpus[..]].concat());
    let expected = standard(&INTEL, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
}

#[test]
fn of_a_frame_that_is_fx_only_512_bytes_are_converted_and_the_reason_is_said() {
    let mut bytes = frame_in_use(AVX512_AND_PKRU);
    bytes[2440] = 0;
    let (frame, output) = (file("frame", &bytes), path("512-bytes"));
    let cpus = ["--from", "genoa", "--to", "sapphire-rapids", "-o", &output];
    let report = json(0, &[&["convert", &frame], &cpus[..]].concat());
    assert_eq!(report["live"], json!(["x87", "SSE"]));
    let because = report["fx_only"].as_str().unwrap();
    assert!(
        because.starts_with("the magic number at byte 2440 is 0x46505800"),
        "{because}"
    );
    let text = answer(0, &[&["convert", &frame], &cpus[..]].concat());
    assert!(
        text.contains("\nfx-only: bytes 0 to 511 are the state"),
        "{text}"
    );
}

#[test]
fn what_is_no_file_is_refused_before_it_is_opened() {
    assert_refused(&["check", env!("CARGO_TARGET_TMPDIR")], "no regular file");
    if fs::metadata("/dev/zero").is_ok() {
        assert_refused(&["check", "/dev/zero"], "\"/dev/zero\": no regular file");
    }
}

#[test]
fn the_image_of_a_guest_without_tiles_on_a_host_with_them_has_4096_bytes() {
    // Linux gives it the XCR0 of the host.
    let image = with_xcr0(standard(&INTEL, 4096, AVX512_AND_PKRU), 0x6_02e7);
    let image = file("without-tiles", &image);
    let report = json(0, &["inspect", &image]);
    assert_eq!(report["kind"], "kvm");
    assert_eq!(report["threads"][0]["image"]["xcr0"], 0x602e7);
    let output = path("without-tiles-on-amd");
    let cpus = ["--from", "sapphire-rapids", "--to", "genoa", "-o", &output];
    answer(0, &[&["convert", &image], &cpus[..]].concat());
    let expected = standard(&AMD, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
}
