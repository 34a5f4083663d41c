//! `fpstate bench`, in its short form: that it runs and answers; no test depends on a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;

use assert_cmd::Command;
use serde_json::Value;

/// Where there is nothing to measure the refusal is checked, and so said.
fn answer(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::cargo_bin("fpstate")
        .unwrap()
        .args(["bench", "--quick"])
        .args(arguments)
        .output()
        .unwrap();
    if output.status.code() == Some(2) {
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(output.stdout.is_empty());
        println!("NOT RUN: {line}");
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    Some(output.stdout)
}

fn fields(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            fields(value, names);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_figure_that_is_promised_is_a_number_and_no_register_is_lost() {
    let Some(json) = answer(&["--json"]) else {
        return;
    };
    let report: Value = serde_json::from_slice(&json).unwrap();
    for policy in [
        "instructions_pair",
        "two_buffers",
        "pointer_swap",
        "ours_instructions",
        "ours_full",
        "ours_abi",
    ] {
        assert!(report["round_trip"][policy].is_number(), "{policy}");
        assert!(report["round_trip_spread"][policy]["p25"].is_number());
    }
    for ratio in ["full_to_pointer_swap", "abi_to_pointer_swap"] {
        assert!(report["ratio"][ratio].is_number(), "{ratio}");
    }
    assert_eq!(report["survival"]["lost"], Value::Array(Vec::new()));
    assert!(report["survival"]["checked"].as_u64() > Some(0));
}

#[test]
fn a_vcpu_takes_as_many_bytes_among_a_thousand_as_alone() {
    let Some(json) = answer(&["--json"]) else {
        return;
    };
    let report: Value = serde_json::from_slice(&json).unwrap();
    let sizes = report["sizes"].as_array().unwrap();
    let bytes = |size: &Value, policy: &str| size["bytes_per_vcpu"][policy].as_f64().unwrap();
    let (one, thousand) = (&sizes[0], &sizes[1]);
    for policy in ["two_buffers", "pointer_swap", "ours_full"] {
        assert_eq!(bytes(one, policy), bytes(thousand, policy), "{policy}");
    }
    // The two buffers here are without any bookkeeping, ours is with it.
    assert!(bytes(thousand, "ours_full") < 0.6 * bytes(thousand, "two_buffers"));
}

#[test]
fn the_help_names_every_field() {
    let Some(json) = answer(&["--json"]) else {
        return;
    };
    let help = Command::cargo_bin("fpstate")
        .unwrap()
        .args(["bench", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let documented: BTreeSet<_> = help
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    fields(&serde_json::from_slice(&json).unwrap(), &mut found);
    let unknown: Vec<_> = found.difference(&documented).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_chart_is_well_formed_and_has_a_bar_for_every_policy() {
    let folder = std::env::temp_dir().join(format!("fpstate-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("chart.svg");
    let answered = answer(&["--svg", path.to_str().unwrap()]);
    if let Some(text) = answered {
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("pointer swap (Linux since 5.16)"), "{text}");
        let svg = fs::read_to_string(&path).unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let bars = document
            .descendants()
            .filter(|node| matches!(node.attribute("class"), Some("limit" | "theirs" | "ours")));
        assert!(bars.count() >= 6);
    }
    fs::remove_dir_all(folder).unwrap();
}
