//! `fpstate baseline`

use fpstate_model::Profile;
use serde_json::{Value, json};

use crate::asked::{answer, assert_refused, file, json};

/// The report's pair of hosts `from` and `to`.
fn pair(report: &Value, from: u64, to: u64) -> &Value {
    let pairs = report["pairs"].as_array().unwrap();
    pairs
        .iter()
        .find(|pair| pair["from"] == from && pair["to"] == to)
        .unwrap()
}

#[test]
fn all_profiles_together_have_avx_in_common_and_one_place_for_it() {
    let names: Vec<_> = Profile::ALL.iter().map(Profile::name).collect();
    let report = json(0, &[&["baseline"], &names[..]].concat());
    assert_eq!(report["hosts"].as_array().unwrap().len(), names.len());
    assert_eq!(
        report["common"]["xcr0"]["bits"], 7,
        "haswell-ep has no more"
    );
    assert_eq!(report["common"]["xcr0_same_bytes"]["bits"], 7);
    assert_eq!(report["common"]["formats"], json!(["FXSAVE", "standard"]));
    let pairs = report["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), names.len() * (names.len() - 1));
    for pair in pairs {
        assert_eq!(pair["common_xcr0"]["answer"], "same", "{pair}");
    }
}

#[test]
fn intel_and_amd_exchange_a_guest_with_avx512_after_conversion() {
    let report = json(0, &["baseline", "sapphire-rapids", "genoa"]);
    assert_eq!(report["common"]["xcr0"]["bits"], 0x2e7);
    assert!(report["hosts"][0]["mxcsr_mask"].is_null(), "not in CPUID");
    let there = &pair(&report, 1, 2);
    assert_eq!(there["common_xcr0"]["answer"], "convert");
    assert_eq!(
        there["common_xcr0"]["reason"],
        "opmask at 1088 and 832, ZMM_Hi256 at 1152 and 896, Hi16_ZMM at 1664 and 1408, PKRU at \
         2688 and 2432"
    );
    // One that has tiles stays where it is; in the other direction nothing is in the way.
    assert_eq!(there["whole_xcr0"]["answer"], "no");
    assert_eq!(there["whole_xcr0"]["reason"], "lacks XTILECFG+XTILEDATA");
    assert_eq!(pair(&report, 2, 1)["whole_xcr0"]["answer"], "convert");
}

#[test]
fn the_rules_of_a_component_are_listed_with_every_value_they_have() {
    let report = json(0, &["baseline", "sapphire-rapids", "genoa", "milan"]);
    let components = report["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|c| c["name"] == name).unwrap();
    let opmask = named("opmask");
    assert_eq!(opmask["hosts"], json!([1, 2]));
    assert_eq!(opmask["lacking"], json!([3]));
    assert_eq!(opmask["len"], json!([64]));
    assert_eq!(opmask["standard_offset"], json!([1088, 832]));
    assert_eq!(opmask["common"], false);
    assert_eq!(named("PKRU")["common"], true);
    assert_eq!(named("CET_U")["standard_offset"], json!([null]));
    assert_eq!(named("XTILEDATA")["xfd"], json!([true]));
    assert_eq!(named("XTILEDATA")["compacted_alignment"], json!([64]));
}

#[test]
fn a_host_without_xsave_exchanges_no_guest_and_the_answer_is_no() {
    // Leaf 1 of a Pentium III: FXSR (EDX[24]), and no XSAVE (ECX[26]).
    let pentium = file(
        "pentium3",
        b"CPUID 00000001: 00000683-00000002-00000000-0383F9FF\n",
    );
    let report = json(1, &["baseline", "genoa", &pentium]);
    assert!(report["common"]["xcr0"].is_null());
    assert_eq!(report["common"]["formats"], json!(["FXSAVE"]));
    assert_eq!(pair(&report, 1, 2)["common_xcr0"]["answer"], "no");
    let text = answer(1, &["baseline", "genoa", &pentium]);
    assert!(text.contains("common XCR0   none"), "{text}");
    answer(1, &["baseline", &pentium]); // alone it has nobody to exchange with, and no XCR0
}

#[test]
fn a_component_of_two_lengths_is_not_in_common() {
    let odd = Profile::GENOA.text().replace(
        "00000008-00000980-00000000-00000000 [SL 09]",
        "00000010-00000980-00000000-00000000 [SL 09]",
    );
    let odd = file("long-pkru", odd.as_bytes());
    let report = json(0, &["baseline", "genoa", &odd]);
    assert_eq!(report["common"]["xcr0"]["bits"], 0xe7);
    assert_eq!(
        pair(&report, 1, 2)["whole_xcr0"]["reason"],
        "PKRU has 8 bytes on one and 16 on the other"
    );
}

#[test]
fn the_table_for_people_says_the_same() {
    let text = answer(0, &["baseline", "sapphire-rapids", "genoa"]);
    for what in [
        "host 1: Intel(R) Xeon(R) w7-2475X (profile sapphire-rapids)",
        "common XCR0   0x2e7: x87+SSE+AVX+opmask+ZMM_Hi256+Hi16_ZMM+PKRU",
        "  same bytes  0x7: x87+SSE+AVX",
        "MXCSR_MASK    not in CPUID, so unknown\n",
        "no 1-2: lacks XTILECFG+XTILEDATA",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(
        answer(0, &["baseline", "genoa"]).contains("common XCR0   0x2e7"),
        "a host has itself in common"
    );
}

#[test]
fn what_is_no_cpu_is_refused_in_one_line() {
    assert_refused(&["baseline"], "PROFILE|FILE|host");
    assert_refused(
        &["baseline", "genoa", "pentium"],
        "\"pentium\": no such file",
    );
    let empty = file("empty", b"");
    assert_refused(&["baseline", &empty], "empty\": ");
}
