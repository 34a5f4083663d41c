//! `fpstate convert`

use std::fs;

use serde_json::json;

use crate::asked::{answer, assert_refused, file, json, path};
use crate::images::{AMD, AVX512_AND_PKRU, INTEL, TILE_CONFIG, TILE_DATA, TILES, fill, standard};

const TO_GENOA: [&str; 4] = ["--cpu", "sapphire-rapids", "--to", "genoa"];
const TO_SAPPHIRE_RAPIDS: [&str; 4] = ["--cpu", "genoa", "--to", "sapphire-rapids"];

/// The arguments that convert `image` into `output`.
fn convert<'a>(image: &'a str, cpus: [&'a str; 4], output: &'a str) -> Vec<&'a str> {
    [&["convert", image, "-o", output], &cpus[..]].concat()
}

#[test]
fn avx512_and_pkru_go_from_intel_to_amd_and_back_with_every_register() {
    let intel = standard(&INTEL, 11008, AVX512_AND_PKRU);
    let image = file("guest-on-intel", &intel);
    let (on_amd, back) = (path("guest-on-amd"), path("guest-back-on-intel"));
    let report = json(0, &convert(&image, TO_GENOA, &on_amd));
    assert_eq!(report["converted"], true);
    assert_eq!(report["output"]["len"], 4096);
    assert_eq!(
        report["kept"][1],
        json!({"name": "opmask", "len": 64, "from": 1088, "to": 832})
    );
    let expected = standard(&AMD, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&on_amd).unwrap() == expected, "the image on AMD");
    answer(0, &convert(&on_amd, TO_SAPPHIRE_RAPIDS, &back));
    let expected = standard(&INTEL, 4096, AVX512_AND_PKRU);
    assert!(
        fs::read(&back).unwrap() == expected,
        "the image back on Intel"
    );
}

#[test]
fn tiles_in_use_are_refused_with_their_bytes_and_nothing_is_written() {
    let mut bytes = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    bytes[TILE_CONFIG] = 1;
    bytes[TILE_DATA + 7] = 0x3f;
    let image = file("tiles-in-use", &bytes);
    let output = file("kept-as-it-is", b"before");
    for loss in ["reject", "initial", "PKRU", "XTILECFG"] {
        let arguments = [convert(&image, TO_GENOA, &output), vec!["--loss", loss]].concat();
        let report = json(1, &arguments);
        assert_eq!(report["converted"], false, "{loss}");
        let refused = report["refused"].as_array().unwrap();
        assert_eq!(
            refused.last().unwrap(),
            &json!({"name": "XTILEDATA", "offset": 2816, "len": 8192, "first_byte_not_zero": 2823}),
            "{loss}"
        );
        assert_eq!(refused.len(), if loss == "XTILECFG" { 1 } else { 2 });
        assert_eq!(fs::read(&output).unwrap(), b"before");
    }
    let text = answer(1, &convert(&image, TO_GENOA, &output));
    for what in [
        "not converted: the image has XTILECFG+XTILEDATA; there is room for x87+SSE+AVX",
        "  XTILEDATA: bytes 2816 to 11007 of the image, the first that is not 0 is byte 2823",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    // The caller names them: then they go, and everything else stays.
    let named = [
        convert(&image, TO_GENOA, &output),
        vec!["--loss", "XTILECFG,XTILEDATA"],
    ]
    .concat();
    let report = json(0, &named);
    assert_eq!(report["dropped"], json!(["XTILECFG", "XTILEDATA"]));
    let expected = standard(&AMD, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
}

#[test]
fn tiles_that_are_announced_and_initial_go_only_where_the_caller_permits_it() {
    let image = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    let image = file("initial-tiles", &image);
    let output = path("initial-tiles-on-amd");
    let _ = fs::remove_file(&output); // of a former run
    let report = json(1, &convert(&image, TO_GENOA, &output));
    assert!(report["refused"][1]["first_byte_not_zero"].is_null());
    assert!(fs::metadata(&output).is_err(), "nothing was written");
    let permitted = [
        convert(&image, TO_GENOA, &output),
        vec!["--loss", "initial"],
    ]
    .concat();
    let text = answer(0, &permitted);
    assert!(text.contains("left out: XTILECFG+XTILEDATA"), "{text}");
    let expected = standard(&AMD, 4096, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
}

#[test]
fn tiles_stay_where_the_other_cpu_has_them() {
    let mut bytes = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    fill(&mut bytes, "XTILECFG", TILE_CONFIG, 64);
    fill(&mut bytes, "XTILEDATA", TILE_DATA, 8192);
    let image = file("tiles", &bytes);
    let output = path("tiles-on-emerald-rapids");
    let cpus = ["--cpu", "sapphire-rapids", "--to", "emerald-rapids"];
    answer(0, &convert(&image, cpus, &output));
    assert!(fs::read(&output).unwrap() == bytes);
    // The configuration alone, in an image without room for the data, takes both along.
    let mut bytes = standard(&INTEL, 4096, AVX512_AND_PKRU | 1 << 17);
    fill(&mut bytes, "XTILECFG", TILE_CONFIG, 64);
    let image = file("tile-configuration", &bytes);
    let report = json(0, &convert(&image, cpus, &output));
    assert_eq!(report["output"]["len"], 11008);
    assert!(fs::read(&output).unwrap()[..4096] == bytes);
}

#[test]
fn an_image_becomes_compacted_and_standard_again() {
    let bytes = standard(&AMD, 4096, AVX512_AND_PKRU);
    let image = file("guest-on-genoa", &bytes);
    let (compacted, back) = (path("compacted"), path("standard-again"));
    let there = [
        convert(
            &image,
            ["--cpu", "genoa", "--to", "sapphire-rapids"],
            &compacted,
        ),
        vec!["--format", "compacted"],
    ]
    .concat();
    let report = json(0, &there);
    assert_eq!(report["output"]["format"], "compacted");
    // No holes: the compacted area on Intel has AMD's standard offsets (SDM 1, 13.4.3).
    let mut expected = standard(&AMD, 2440, AVX512_AND_PKRU);
    expected[520..528].copy_from_slice(&(1 << 63 | AVX512_AND_PKRU).to_le_bytes());
    assert!(fs::read(&compacted).unwrap() == expected);
    answer(0, &convert(&compacted, TO_GENOA, &back));
    assert!(fs::read(&back).unwrap() == bytes);
}

#[test]
fn the_guests_xcr0_gives_an_image_its_length_and_limits_it() {
    let bytes = standard(&AMD, 4096, AVX512_AND_PKRU);
    let image = file("for-a-guest-with-tiles", &bytes);
    let output = path("on-intel");
    let with = |xcr0: &'static str| {
        let arguments = convert(&image, TO_SAPPHIRE_RAPIDS, &output);
        [arguments, vec!["--xcr0", xcr0]].concat()
    };
    let report = json(0, &with("0x602e7"));
    assert_eq!(
        report["output"]["len"], 11008,
        "as KVM_SET_XSAVE reads it there"
    );
    let expected = standard(&INTEL, 11008, AVX512_AND_PKRU);
    assert!(fs::read(&output).unwrap() == expected);
    let text = answer(1, &with("x87+SSE+AVX+PKRU"));
    assert!(text.contains("has opmask+ZMM_Hi256+Hi16_ZMM"), "{text}");
    assert_refused(&with("0x80007"), "--xcr0 ");
    assert_refused(&with("0x67"), "--xcr0 ");
}

#[test]
fn an_mxcsr_bit_that_only_amd_has_stays_on_amd() {
    let mut bytes = standard(&AMD, 4096, 7);
    bytes[26] = 2; // MXCSR[17], MM
    let image = file("misaligned-sse", &bytes);
    let output = path("misaligned-sse-on-intel");
    let text = answer(1, &convert(&image, TO_SAPPHIRE_RAPIDS, &output));
    let what = "not converted: MXCSR at byte 24 is 0x21fa0; allowed there: the bits of 0xffff";
    assert!(text.contains(what), "{text}");
    answer(
        0,
        &convert(&image, ["--cpu", "genoa", "--to", "milan"], &output),
    );
}

#[test]
fn an_fxsave_image_becomes_a_standard_one() {
    let bytes = standard(&INTEL, 4096, 3);
    let image = file("fxsave", &bytes[..512]);
    let output = path("fxsave-as-standard");
    answer(0, &convert(&image, TO_GENOA, &output));
    let converted = fs::read(&output).unwrap();
    assert!(converted[..520] == bytes[..520] && converted[520..].iter().all(|byte| *byte == 0));
}

#[test]
fn bad_images_are_refused_with_the_byte_and_the_output_stays() {
    let output = file("output", b"before");
    let refused = |name: &str, bytes: &[u8], what: &str| {
        let image = file(name, bytes);
        assert_refused(&convert(&image, TO_GENOA, &output), what);
        assert_eq!(fs::read(&output).unwrap(), b"before");
    };
    let good = standard(&INTEL, 11008, AVX512_AND_PKRU);
    refused("empty", b"", "ends at byte 0");
    refused("truncated", &good[..511], "ends at byte 511");
    refused(
        "no-header",
        &good[..540],
        "ends at byte 540, inside the XSAVE header",
    );
    refused(
        "cut",
        &good[..2690],
        "image of 2690 bytes; allowed: at least 2696",
    );
    refused("huge", &vec![0; 2 << 20], "2097152 bytes; allowed");
    refused(
        "core",
        b"\x7fELF",
        "the ELF header at byte 0 needs 64 bytes",
    );
    let changed = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        bytes
    };
    refused(
        "reserved",
        &changed(540, 7),
        "reserved header byte 540 is 0x7",
    );
    refused("xcomp", &changed(520, 1), "XCOMP_BV at byte 520 is 0x1");
    refused("xstate", &changed(517, 1), "XSTATE_BV at byte 512");
    refused("mxcsr", &changed(27, 0x80), "MXCSR");
    refused("compacted", &changed(527, 0x80), "byte 512");
    let image = file("good", &good);
    assert_refused(
        &convert(&image, ["--cpu", "pentium", "--to", "genoa"], "x"),
        "--cpu",
    );
    assert_refused(
        &convert(&image, ["--cpu", "genoa", "--to", "pentium"], "x"),
        "--to",
    );
    assert_refused(
        &convert(&image, TO_GENOA, "/nowhere/x"),
        "-o \"/nowhere/x\"",
    );
    assert_refused(
        &convert("/nowhere/x", TO_GENOA, &output),
        "\"/nowhere/x\": ",
    );
    let no_compacted = [
        convert(
            &image,
            ["--cpu", "sapphire-rapids", "--to", "haswell-ep"],
            &output,
        ),
        vec!["--format", "compacted"],
    ]
    .concat();
    assert_refused(&no_compacted, "it lacks XSAVEC");
    let no_list = [convert(&image, TO_GENOA, &output), vec!["--loss", "tiles"]].concat();
    assert_refused(&no_list, "--loss \"tiles\"");
}

#[test]
fn random_bytes_are_converted_and_checked_or_refused_in_one_line() {
    let mut random = crate::asked::random();
    let output = path("random-output");
    for _ in 0..64 {
        let mut bytes = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
        bytes.truncate(random.usize(..=11008));
        for _ in 0..random.usize(..4) {
            if !bytes.is_empty() {
                let near_header = random.usize(..600.min(bytes.len()));
                bytes[near_header] = random.u8(..);
            }
        }
        let image = file("random", &bytes);
        let check = vec![
            "check",
            &image,
            "--cpu",
            "genoa",
            "--from",
            "sapphire-rapids",
        ];
        for arguments in [convert(&image, TO_GENOA, &output), check] {
            let ended = crate::asked::fpstate(&arguments);
            assert!(matches!(ended.status.code(), Some(0..=2)), "{ended:?}");
            let lines = String::from_utf8(ended.stderr).unwrap().lines().count();
            assert_eq!(lines, usize::from(ended.status.code() == Some(2)));
        }
    }
}
