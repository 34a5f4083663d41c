//! `fpstate check`

use fpstate_model::Profile;
use serde_json::{Value, json};

use crate::asked::{answer, assert_refused, file, fpstate, json};
use crate::images::{AMD, AVX512_AND_PKRU, INTEL, TILE_DATA, TILES, snapshot, standard};

/// What `check` says of `image` with `more` arguments: the status and the reasons with their bytes.
fn reasons(status: i32, image: &str, more: &[&str]) -> Vec<(String, Value)> {
    let report = json(status, &[&["check", image], more].concat());
    assert_eq!(report["restorable"], status == 0);
    let reasons = report["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|reason| {
            let text = reason["reason"].as_str().unwrap().to_owned();
            (text, reason["offset"].clone())
        })
        .collect()
}

#[test]
fn an_image_can_be_restored_on_the_cpu_that_made_it() {
    let intel = file("intel", &standard(&INTEL, 11008, AVX512_AND_PKRU | TILES));
    let amd = file("amd", &standard(&AMD, 4096, AVX512_AND_PKRU));
    for (image, cpu) in [(&intel, "sapphire-rapids"), (&amd, "genoa")] {
        assert_eq!(reasons(0, image, &["--cpu", cpu, "--from", cpu]), []);
        let text = answer(0, &["check", image, "--cpu", cpu]);
        assert!(text.contains("can be restored on"), "{text}");
    }
    // Every CPU has what an image without anything in use needs.
    let nothing = file("nothing", &vec![0; 4096]);
    for profile in Profile::ALL {
        assert_eq!(reasons(0, &nothing, &["--cpu", profile.name()]), []);
    }
}

#[test]
fn every_reason_is_said_at_once_with_its_byte() {
    let mut bytes = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    (bytes[27], bytes[520], bytes[540], bytes[575]) = (0x80, 4, 5, 6);
    let image = file("broken-everywhere", &bytes);
    let found = reasons(1, &image, &["--cpu", "genoa"]);
    let offsets: Vec<_> = found.iter().map(|(_, offset)| offset.clone()).collect();
    assert_eq!(offsets, [520, 540, 575, 512, 24], "{found:?}");
    let text = answer(1, &["check", &image, "--cpu", "genoa"]);
    for what in [
        "cannot be restored on AMD EPYC 9654 96-Core Processor (profile genoa), by the rules of \
         KVM_SET_XSAVE\n",
        "  XCOMP_BV at byte 520 is 0x4; allowed: 0 in the standard format\n",
        "  reserved header byte 540 is 0x5; allowed: 0\n",
        "  XSTATE_BV at byte 512 has XTILECFG+XTILEDATA; allowed: x87+SSE+AVX+opmask",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
}

#[test]
fn an_image_of_another_vendor_is_found_out_if_somebody_says_who_made_it() {
    let image = file("of-intel", &standard(&INTEL, 4096, AVX512_AND_PKRU));
    // The kernel's rules find nothing wrong: it would load registers from the wrong bytes.
    assert_eq!(reasons(0, &image, &["--cpu", "genoa"]), []);
    let text = answer(0, &["check", &image, "--cpu", "genoa"]);
    let not_compared = "not compared: the places of opmask+ZMM_Hi256+Hi16_ZMM+PKRU, which differ";
    assert!(text.contains(not_compared), "{text}");
    let more = ["--cpu", "genoa", "--from", "sapphire-rapids"];
    let text = answer(1, &[&["check", &image], &more[..]].concat());
    assert!(!text.contains("not compared"), "{text}");
    let found = reasons(1, &image, &more);
    let offsets: Vec<_> = found.iter().map(|(_, offset)| offset.clone()).collect();
    assert_eq!(offsets, [1088, 1152, 1664, 2688]);
    assert_eq!(
        found[3].0,
        "PKRU in use is 8 bytes at byte 2688 where the image was made, and 8 at byte 2432 here: \
         convert it"
    );
    let of_avx = file("avx-of-intel", &standard(&INTEL, 4096, 7));
    assert_eq!(reasons(0, &of_avx, &more), [], "AVX is in one place");
}

#[test]
fn what_a_guest_may_have_is_the_callers_to_say() {
    let image = file("of-genoa", &standard(&AMD, 4096, AVX512_AND_PKRU));
    let found = reasons(1, &image, &["--cpu", "genoa", "--xcr0", "x87,SSE,AVX"]);
    assert_eq!(
        found,
        [(
            "XSTATE_BV at byte 512 has opmask+ZMM_Hi256+Hi16_ZMM+PKRU; allowed: x87+SSE+AVX"
                .to_owned(),
            json!(512)
        )]
    );
    assert_refused(
        &["check", &image, "--cpu", "genoa", "--xcr0", "0x67"],
        "--xcr0 ",
    );
}

#[test]
fn bytes_that_an_image_announces_and_has_not_are_missing() {
    let whole = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    let cut = file("cut", &whole[..TILE_DATA]);
    assert_eq!(
        reasons(1, &cut, &["--cpu", "sapphire-rapids"]),
        [(
            "image of 2816 bytes; allowed: at least 11008".to_owned(),
            json!(2816)
        )]
    );
    // A tile configuration alone is 4096 bytes' worth; XCR0 has both or neither.
    let configured = file("configured", &standard(&INTEL, 4096, 7 | 1 << 17));
    let report = json(0, &["check", &configured, "--cpu", "sapphire-rapids"]);
    assert_eq!(report["allowed"], 0x602e7);
    // What it does not announce may be missing: a caller fills the buffer up.
    let short = file("short", &standard(&AMD, 2440, 7)[..832]);
    assert_eq!(reasons(0, &short, &["--cpu", "genoa"]), []);
}

#[test]
fn a_dump_that_puts_a_component_gigabytes_away_takes_no_gigabytes() {
    let dump = Profile::GENOA.text().replace(
        "00000008-00000980-00000000-00000000 [SL 09]",
        "00000008-FFFFFF00-00000000-00000000 [SL 09]",
    );
    let dump = file("far", dump.as_bytes());
    let image = file("image", &standard(&AMD, 4096, AVX512_AND_PKRU));
    let (found, at) = reasons(1, &image, &["--cpu", &dump]).remove(0);
    assert_eq!(found, "image of 4096 bytes; allowed: at least 4294967048");
    assert_eq!(at, 4096);
    let convert = [
        "convert", &image, "--cpu", "genoa", "--to", &dump, "-o", "x",
    ];
    assert_refused(
        &convert,
        "--to: an area of 4294967048 bytes; allowed: 1048576",
    );
}

#[test]
fn mxcsr_is_judged_by_the_bits_the_cpu_has_and_only_where_it_is_taken() {
    let with = |xstate_bv| {
        let mut bytes = standard(&AMD, 4096, xstate_bv);
        bytes[26] = 2; // MM, AMD's
        bytes
    };
    let image = file("misaligned", &with(7));
    assert_eq!(reasons(0, &image, &["--cpu", "genoa"]), []);
    let found = reasons(1, &image, &["--cpu", "sapphire-rapids"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, 24);
    let ignored = file("ignored", &with(0));
    assert_eq!(reasons(0, &ignored, &["--cpu", "sapphire-rapids"]), []);
}

#[test]
fn each_format_has_its_own_rules() {
    let mut bytes = standard(&AMD, 2440, AVX512_AND_PKRU);
    bytes[520..528].copy_from_slice(&(1 << 63 | AVX512_AND_PKRU).to_le_bytes());
    let compacted = file("compacted-image", &bytes);
    let report = json(0, &["check", &compacted, "--cpu", "genoa"]);
    assert_eq!(report["rules"], "XRSTOR, compacted format");
    assert_eq!(reasons(0, &compacted, &["--cpu", "sapphire-rapids"]), []);
    let found = reasons(1, &compacted, &["--cpu", "haswell-ep"]);
    assert!(found[0].0.contains("it lacks XSAVE"), "{found:?}");
    let found = reasons(1, &compacted, &["--cpu", "genoa", "--xcr0", "7"]);
    assert_eq!(found[0].1, 512);
    let mut fxsave = standard(&AMD, 2440, 3);
    fxsave.truncate(512);
    let image = file("fxsave-image", &fxsave);
    assert_eq!(
        json(0, &["check", &image, "--cpu", "genoa"])["rules"],
        "FXRSTOR"
    );
    fxsave[27] = 0x80;
    let image = file("bad-fxsave-image", &fxsave);
    assert_eq!(reasons(1, &image, &["--cpu", "genoa"]).len(), 1);
}

#[test]
fn a_snapshot_is_judged_with_its_registers_and_says_itself_where_it_is_from() {
    let snapshot = file("snapshot.json", &snapshot(AVX512_AND_PKRU, 0x1800));
    assert_eq!(reasons(0, &snapshot, &["--cpu", "emerald-rapids"]), []);
    let report = json(1, &["check", &snapshot, "--cpu", "genoa"]);
    assert_eq!(report["format"], "snapshot, standard");
    assert_eq!(report["xstate_bv"], AVX512_AND_PKRU);
    let found = reasons(1, &snapshot, &["--cpu", "genoa"]);
    let text = "PKRU is 8 bytes at offset 2688; on the target 8 bytes at offset 2432";
    assert!(found.iter().any(|(reason, _)| reason == text), "{found:?}");
    // XCR0 and IA32_XSS are judged too.
    let found = reasons(1, &snapshot, &["--cpu", "haswell-ep"]);
    assert!(
        found.iter().any(|(reason, _)| reason.contains("XCR0")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(reason, _)| reason.contains("IA32_XSS")),
        "{found:?}"
    );
    let found = reasons(
        1,
        &snapshot,
        &["--cpu", "sapphire-rapids", "--xcr0", "0x207"],
    );
    assert!(
        found.iter().any(|(reason, _)| reason.contains("XCR0")),
        "{found:?}"
    );
    assert_refused(
        &["check", &snapshot, "--from", "genoa"],
        "a snapshot says itself",
    );
}

#[test]
fn a_snapshot_that_is_none_is_refused_with_the_byte() {
    let whole = snapshot(7, 0);
    let cut = file("cut.json", &whole[..100]);
    assert_refused(
        &["check", &cut, "--cpu", "genoa"],
        "no snapshot of fpstate-kvm: byte 99: EOF",
    );
    let other = file("other.json", b"{\n  \"cpu\": 7\n}\n");
    assert_refused(
        &["check", &other, "--cpu", "genoa"],
        "no snapshot of fpstate-kvm: byte 11: ",
    );
    let newer = String::from_utf8(whole).unwrap();
    let newer = newer.replacen("\"version\":1", "\"version\":99", 1);
    let newer = file("newer.json", newer.as_bytes());
    assert_refused(
        &["check", &newer, "--cpu", "genoa"],
        "no snapshot of fpstate-kvm: byte ",
    );
}

#[test]
fn what_is_no_image_or_no_cpu_is_refused_in_one_line() {
    let image = file("an-image", &standard(&AMD, 4096, 7));
    assert_refused(&["check", "/nowhere"], "\"/nowhere\": ");
    assert_refused(&["check", &image, "--cpu", "pentium"], "--cpu \"pentium\"");
    assert_refused(
        &["check", &image, "--from", "pentium"],
        "--from \"pentium\"",
    );
    let cut = file("no-image", &[0; 100]);
    assert_refused(&["check", &cut, "--cpu", "genoa"], "ends at byte 100");
}

#[test]
fn the_kernel_of_this_machine_says_the_same() {
    let is_x86_linux = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    if !is_x86_linux || std::fs::metadata("/dev/kvm").is_err() {
        println!("NOT RUN: no KVM of x86 here");
        return;
    }
    let nothing = file("nothing-for-kvm", &vec![0; 4096]);
    let report = json(0, &["check", &nothing, "--kvm"]);
    assert_eq!(report["kernel"]["accepts"], true);
    assert_eq!(report["kernel"]["agrees"], true);
    let mut random = crate::asked::random();
    for _ in 0..32 {
        let mut bytes = vec![0; 4096];
        for at in [0..28, 512..520, 520..576].map(|range| random.usize(range)) {
            bytes[at] = random.u8(..) & random.u8(..) & random.u8(..);
        }
        let image = file("for-kvm", &bytes);
        let output = fpstate(&["check", &image, "--kvm", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["kernel"]["agrees"], true, "{report}");
        let accepts = report["kernel"]["accepts"] == true;
        assert_eq!(output.status.code(), Some(i32::from(!accepts)));
        assert_eq!(report["kernel"]["error"].is_null(), accepts);
    }
    // It sees zeros where a file has no bytes: that is no disagreement.
    let whole = standard(&AMD, 2440, 7);
    for short in [&whole[..512], &whole[..700]] {
        let image = file("short-for-kvm", short);
        let output = fpstate(&["check", &image, "--kvm", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["restorable"], false);
        assert!(report["kernel"]["agrees"].is_null(), "{report}");
    }
    // It does not know who made an image: nor is that.
    let avx512 = file("avx512-for-kvm", &standard(&INTEL, 4096, 0xe7));
    for (more, agrees) in [
        (&["--from", "sapphire-rapids"][..], json!(true)),
        (&["--xcr0", "x87"], Value::Null),
    ] {
        let arguments = [&["check", &avx512, "--kvm", "--json"], more].concat();
        let report: Value = serde_json::from_slice(&fpstate(&arguments).stdout).unwrap();
        assert_eq!(report["kernel"]["agrees"], agrees, "{report}");
    }
    // About another CPU both are said, and not compared.
    let image = file(
        "tiles-for-kvm",
        &standard(&INTEL, 11008, AVX512_AND_PKRU | TILES),
    );
    let output = fpstate(&[
        "check",
        &image,
        "--cpu",
        "sapphire-rapids",
        "--kvm",
        "--json",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["reasons"], json!([]));
    assert!(report["kernel"]["agrees"].is_null());
    let accepts = report["kernel"]["accepts"] == true;
    assert_eq!(
        output.status.code(),
        Some(i32::from(!accepts)),
        "yes of both"
    );
}
