//! `fpstate cpu` and `fpstate layout` of CPUs that are not here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::PathBuf;

use assert_cmd::Command;
use fpstate_model::Profile;
use serde_json::Value;

fn fpstate(arguments: &[&str]) -> std::process::Output {
    Command::cargo_bin("fpstate")
        .unwrap()
        .args(arguments)
        .output()
        .unwrap()
}

fn answer(arguments: &[&str]) -> String {
    let output = fpstate(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(arguments)).unwrap()
}

/// `arguments` are refused with status 2 and one line that says `what`.
fn assert_refused(arguments: &[&str], what: &str) {
    let output = fpstate(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(what), "{line} should say {what}");
}

/// A path for `name` in a folder of its own for this test program.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cpus");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// A file with `contents`, and its path as an argument.
fn file(name: &str, contents: &[u8]) -> String {
    let path = path(name);
    fs::write(&path, contents).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn every_profile_can_be_shown_by_name() {
    for profile in Profile::ALL {
        let report = json(&["cpu", "--cpu", profile.name(), "--json"]);
        assert_eq!(report["source"], format!("profile {}", profile.name()));
        assert!(report["oddities"].is_array());
        assert!(report["xcr0"].is_null(), "XCR0 is in no dump");
        let len = &report["area_len"];
        assert_eq!(
            len["standard_for_all_user_components"],
            len["cpuid_standard_for_all_user_components"],
            "{}",
            profile.name()
        );
        assert!(answer(&["cpu", "--cpu", profile.name()]).contains("AVX"));
    }
}

#[test]
fn every_profile_has_a_layout_whose_parts_are_the_whole_area() {
    for profile in Profile::ALL {
        let report = json(&["layout", "--cpu", profile.name(), "--json"]);
        let mut end = 0;
        for part in report["parts"].as_array().unwrap() {
            assert_eq!(part["offset"], end, "{}: {part}", profile.name());
            end += part["len"].as_u64().unwrap();
        }
        assert_eq!(report["area_len"], end);
    }
}

#[test]
fn what_is_odd_in_a_dump_is_listed() {
    let rome = json(&["cpu", "--cpu", "rome", "--json"]);
    let subleaves: Vec<_> = rome["oddities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|oddity| (oddity["leaf"].as_u64(), oddity["subleaf"].as_u64()))
        .collect();
    // EBX of sub-leaves 0 and 1 for an XCR0 without PKRU; PKRU of 64 bytes, and not announced.
    let expected = [0, 1, 9, 9].map(|subleaf| (Some(0xd), Some(subleaf)));
    assert_eq!(subleaves, expected);
    assert!(answer(&["cpu", "--cpu", "rome"]).contains("odd: leaf 0DH, sub-leaf 9: PKRU"));
}

#[test]
fn a_dump_in_either_form_is_read_from_a_file() {
    let table = file("table", Profile::GENOA.text().as_bytes());
    let raw: String = Profile::GENOA
        .leaves()
        .iter()
        .map(|(leaf, subleaf, registers)| {
            format!(
                "   0x{leaf:08x} 0x{subleaf:02x}: eax=0x{:08x} ebx=0x{:08x} ecx=0x{:08x} edx=0x{:08x}\n",
                registers.eax, registers.ebx, registers.ecx, registers.edx
            )
        })
        .collect();
    let raw = file("raw", format!("CPU 0:\n{raw}CPU 1:\n{raw}").as_bytes());
    let mut expected = json(&["cpu", "--cpu", "genoa", "--json"]);
    for path in [table, raw] {
        let mut report = json(&["cpu", "--cpu", &path, "--json"]);
        report["source"].take();
        expected["source"].take();
        assert_eq!(report, expected, "{path}");
    }
}

#[test]
fn what_is_no_dump_is_refused_in_one_line() {
    let noise: Vec<u8> = (0..100_000_u32)
        .flat_map(|n| {
            n.wrapping_mul(0x9e37_79b1)
                .rotate_left(n % 32)
                .to_le_bytes()
        })
        .collect();
    let whole = Profile::MILAN.text();
    for (name, contents, what) in [
        ("empty", &b""[..], "none of 0 lines"),
        ("noise", &noise, "no CPUID dump"),
        (
            "words",
            b"CPUID is an instruction\nof x86\n",
            "none of 2 lines",
        ),
        (
            "cut",
            &whole.as_bytes()[..whole.len() - 40],
            "is cut or garbled",
        ),
        ("escape", b"CPUID 00000001: \x1b[2J\n", r"\x1b[2J"),
    ] {
        let path = file(name, contents);
        assert_refused(&["cpu", "--cpu", &path], what);
        assert_refused(&["layout", "--cpu", &path, "--json"], what);
    }
    let folder = path("").into_os_string().into_string().unwrap();
    assert_refused(&["cpu", "--cpu", &folder], "directory");
    assert_refused(&["cpu", "--cpu", "/nowhere/at all"], "No such file");
}

#[test]
fn a_dump_cut_between_two_lines_is_read_and_what_is_missing_is_said() {
    let whole = Profile::MILAN.text();
    let end = whole.find("CPUID 0000000D: 00000010").unwrap();
    let path = file("cut-between", &whole.as_bytes()[..end]);
    let shown = answer(&["cpu", "--cpu", &path]);
    assert!(
        shown.contains("odd: leaf 0DH, sub-leaf 11: not in the dump; expected, as CET_U is listed"),
        "{shown}"
    );
    assert_refused(
        &["layout", "--cpu", &path, "--format", "compacted"],
        "CET_U with a length of 0 bytes",
    );
    answer(&[
        "layout",
        "--cpu",
        &path,
        "--format",
        "compacted",
        "--components",
        "avx,pkru",
    ]);
}

#[test]
fn a_huge_file_is_refused_without_reading_it() {
    let path = path("huge");
    File::create(&path).unwrap().set_len(1 << 30).unwrap(); // takes no room
    assert_refused(
        &["cpu", "--cpu", path.to_str().unwrap()],
        "1073741824 bytes; a CPUID dump has at most 4194304",
    );
    // One without a length of its own, and without an end.
    assert_refused(&["cpu", "--cpu", "/dev/zero"], "at most 4194304");
    fs::remove_file(path).unwrap();
}

#[test]
fn a_cpu_without_xsave_is_shown_and_has_no_area() {
    // Leaf 1 of a Pentium III: FXSR (EDX[24]), and no XSAVE (ECX[26]).
    let path = file(
        "pentium3",
        b"CPUID 00000001: 00000683-00000002-00000000-0383F9FF\n",
    );
    let report = json(&["cpu", "--cpu", &path, "--json"]);
    assert_eq!(report["instructions"], serde_json::json!(["FXSAVE"]));
    assert_eq!(report["save_instruction_ring0"], "FXSAVE");
    assert_eq!(report["components"], serde_json::json!([]));
    assert!(report["area_len"]["standard_for_all_user_components"].is_null());
    assert_refused(&["layout", "--cpu", &path], "it lacks XSAVE");
    assert_refused(
        &["layout", "--cpu", &path, "--components", "YMM"],
        "this CPU has none",
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_names_there_are() {
    assert_refused(
        &["cpu", "--cpu", "pentium"],
        "no such profile; profiles: haswell-ep, skylake-sp, cascade-lake-sp, ice-lake-client, \
         sapphire-rapids, emerald-rapids, granite-rapids, lunar-lake, panther-lake, rome, milan, \
         genoa, turin, apx-synthetic",
    );
}

#[test]
fn a_name_means_the_profile_and_a_path_the_file() {
    file("genoa", Profile::MILAN.text().as_bytes());
    let shown = |argument: &str| {
        let output = Command::cargo_bin("fpstate")
            .unwrap()
            .current_dir(path(""))
            .args(["cpu", "--cpu", argument])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown("genoa").starts_with("AMD EPYC 9654"), "the profile");
    assert!(shown("./genoa").starts_with("AMD EPYC 7763"), "the file");
}

#[test]
fn components_are_chosen_by_name_in_whatever_case() {
    let report = json(&[
        "layout",
        "--cpu",
        "sapphire-rapids",
        "--format",
        "compacted",
        "--components",
        "pkru, XTILEdata,xtilecfg",
        "--json",
    ]);
    let components: Vec<_> = report["parts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["kind"] == "component")
        .map(|part| {
            (
                part["name"].as_str(),
                part["offset"].as_u64(),
                part["alignment"].as_u64(),
            )
        })
        .collect();
    // SDM 1, 13.4.3: from 576 on, each behind the one before, the tiles at a multiple of 64.
    let expected = [
        (Some("PKRU"), Some(576), Some(1)),
        (Some("XTILECFG"), Some(640), Some(64)),
        (Some("XTILEDATA"), Some(704), Some(64)),
    ];
    assert_eq!(components, expected);
}

#[test]
fn what_cannot_be_laid_out_is_refused_in_one_line() {
    let of = |arguments: &[&'static str]| [&["layout", "--cpu", "haswell-ep"], arguments].concat();
    assert_refused(&of(&["--format", "compacted"]), "it lacks XSAVEC");
    assert_refused(&of(&["--components", "AVX,PKRU"]), "this CPU lacks PKRU");
    assert_refused(
        &of(&["--components", "AVX,YMM"]),
        "\"YMM\": no component of that name; this CPU has x87, SSE, AVX",
    );
    assert_refused(&of(&["--components", ""]), "\"\": no component");
    assert_refused(&of(&["--format", "compressed"]), "'compressed'");
    assert_refused(&of(&["--svg", "/nowhere/area.svg"]), "/nowhere/area.svg");
    assert_refused(
        &["layout", "--cpu", "milan", "--components", "cet_u"],
        "no place for supervisor state: CET_U",
    );
}

#[test]
fn the_picture_shows_each_part_in_the_terminal() {
    let shown = answer(&["layout", "--cpu", "sapphire-rapids"]);
    for what in [
        "legacy region",
        "XSAVE header",
        "hole",
        "PKRU",
        "XTILEDATA",
        "11008 bytes",
    ] {
        assert!(shown.contains(what), "{what}: {shown}");
    }
    // Bytes 512 to 1023: 64 of header, 256 of AVX, and 192 of the hole where MPX was.
    assert!(
        shown.contains(&format!(
            "512  {}{}{}\n",
            "H".repeat(8),
            "a".repeat(32),
            ".".repeat(24)
        )),
        "{shown}"
    );
}

/// The text of an SVG that is XML, with a title for each component.
fn checked_svg(text: &str) {
    let document = roxmltree::Document::parse(text).unwrap();
    assert!(document.root_element().has_tag_name("svg"), "{text}");
    assert!(
        !document
            .descendants()
            .any(|node| node.has_tag_name("script")),
        "{text}"
    );
}

#[test]
fn the_svg_of_every_profile_is_xml() {
    for profile in Profile::ALL {
        let path = path(&format!("{}.svg", profile.name()));
        answer(&[
            "layout",
            "--cpu",
            profile.name(),
            "--svg",
            path.to_str().unwrap(),
        ]);
        checked_svg(&fs::read_to_string(path).unwrap());
    }
}

#[test]
fn an_svg_of_hostile_figures_and_names_is_xml_and_small() {
    // The brand string is markup, the offsets are as large as they can be.
    let dump = "CPUID 00000001: 00000000-00000000-04000000-01000000\n\
                CPUID 0000000D: 00000007-FFFFFFFF-FFFFFFFF-00000000 [SL 00]\n\
                CPUID 0000000D: FFFFFFFF-FFFFFFFF-00000000-00000000 [SL 02]\n\
                CPUID 80000002: 6373263C-74706972-5D5D3E22-2D2D213C\n";
    let dump = file("a <b>&'\"", dump.as_bytes());
    let path = path("hostile.svg");
    answer(&["layout", "--cpu", &dump, "--svg", path.to_str().unwrap()]);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.len() < 20_000, "{} bytes", text.len());
    checked_svg(&text);
}

#[test]
fn the_pictures_in_docs_are_what_the_command_draws() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::create_dir_all(path("docs")).unwrap();
    for format in ["standard", "compacted"] {
        let name = format!("docs/sapphire-rapids-{format}.svg");
        let output = Command::cargo_bin("fpstate")
            .unwrap()
            .current_dir(path(""))
            .args(["layout", "--cpu", "sapphire-rapids", "--format", format])
            .args(["--svg", &name])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let committed = fs::read_to_string(docs.join(format!("sapphire-rapids-{format}.svg")));
        let drawn = fs::read_to_string(path(&name)).unwrap();
        assert!(committed.unwrap() == drawn, "{name}: draw it again");
        checked_svg(&drawn);
    }
}

#[test]
fn each_way_to_switch_is_shown_and_only_this_machine_is_measured() {
    let report = json(&["cpu", "--cpu", "genoa", "--json"]);
    let switching = &report["switching"];
    assert_eq!(
        switching["ring0"],
        serde_json::json!(["XSAVES", "all+XSAVES", "moves+XSAVES"])
    );
    assert_eq!(
        switching["user_mode"],
        serde_json::json!([
            "XSAVEC",
            "XSAVE",
            "all+XSAVEC",
            "all+XSAVE",
            "moves+XSAVEC",
            "moves+XSAVE"
        ])
    );
    assert_eq!(switching["strategy"], "XSAVEC");
    assert_eq!(switching["strategy_by"], "CPUID");
    assert!(switching["calibration"].is_null());
    let forced = json(&[
        "cpu",
        "--cpu",
        "genoa",
        "--switch-by",
        "moves+xsave",
        "--json",
    ]);
    assert_eq!(forced["switching"]["strategy"], "moves+XSAVE");
    assert_eq!(forced["switching"]["strategy_by"], "caller");
    for (cpu, by, what) in [
        (
            "genoa",
            "xsaveopt",
            "XSAVEOPT cannot be used here; the best that can is XSAVEC",
        ),
        (
            "haswell-ep",
            "moves",
            "no plain moves before XSAVEOPT on this CPU",
        ),
    ] {
        assert_refused(&["cpu", "--cpu", cpu, "--switch-by", by], what);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn this_machine_is_measured_unless_cpuid_is_to_decide() {
    let switching = |by: &str| json(&["cpu", "--switch-by", by, "--json"])["switching"].clone();
    let measured = switching("auto");
    assert_eq!(measured["strategy_by"], "calibration");
    let candidates = measured["calibration"]["candidates"].as_array().unwrap();
    let ways = measured["user_mode"].as_array().unwrap();
    assert_eq!(candidates.len(), ways.len());
    for (candidate, way) in candidates.iter().zip(ways) {
        assert_eq!(candidate["strategy"], *way);
        for live in ["sse_avx", "movable", "x87_sse_avx"] {
            let ticks = candidate["round_trip"][live].as_u64();
            assert!(ticks.is_some_and(|ticks| ticks > 0), "{measured}");
        }
        let is_chosen = candidate["verdict"] == "chosen";
        assert_eq!(is_chosen, *way == measured["strategy"]);
    }
    let by_cpuid = switching("cpuid");
    assert_eq!(by_cpuid["strategy"], ways[0]);
    assert!(by_cpuid["calibration"].is_null());
}

#[test]
fn a_run_says_how_it_was_switched_and_who_decided_that() {
    let run = |by: &str| {
        let model = [
            "run",
            "--engine",
            "model",
            "--vcpus",
            "2",
            "--seconds",
            "0.1",
        ];
        json(&[&model[..], &["--switch-by", by, "--json"]].concat())
    };
    let by_moves = run("moves+xsavec");
    assert_eq!(by_moves["strategy"], "moves+XSAVEC");
    assert_eq!(by_moves["strategy_by"], "caller");
    assert_eq!(by_moves["save_instruction"], "XSAVEC");
    assert_eq!(
        run("auto")["strategy_by"],
        "CPUID",
        "the model has no clock"
    );
    assert_refused(
        &["run", "--cpu", "haswell-ep", "--switch-by", "xsavec"],
        "XSAVEC cannot be used here; the best that can is XSAVEOPT",
    );
}
