//! Every field that `--json` prints is in the help of its command.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::asked::{answer, file, fpstate, path};
use crate::images::{AMD, AVX512_AND_PKRU, INTEL, TILES, signal_frame, snapshot, standard};

/// The names of all fields, at every depth.
fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name.clone());
                collect(value, fields);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The words behind the list of options.
fn documented(command: &str) -> BTreeSet<String> {
    let help = answer(0, &[command, "--help"]);
    let (_, json) = help.split_once("\nJSON:").unwrap();
    let words = json.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.map(str::to_owned).collect()
}

#[test]
fn the_help_of_each_command_names_every_field_of_its_json() {
    let guest = file("guest", &standard(&INTEL, 4096, AVX512_AND_PKRU));
    let tiles = file("tiles", &standard(&INTEL, 11008, AVX512_AND_PKRU | TILES));
    let snapshot = file("snapshot.json", &snapshot(AVX512_AND_PKRU, 0x1800));
    let frame = signal_frame(standard(&AMD, 2440, AVX512_AND_PKRU), AVX512_AND_PKRU);
    let (frame, output) = (file("frame", &frame), path("output"));
    let to_genoa = ["--to", "genoa", "-o", &output];
    let from_intel = ["--cpu", "sapphire-rapids"];
    for arguments in [
        "run --engine model --vcpus 2 --seconds 0.2 --inject skip-save"
            .split(' ')
            .collect(),
        vec!["cpu", "--cpu", "genoa"],
        vec!["layout", "--cpu", "genoa"],
        vec!["baseline", "genoa", "sapphire-rapids"],
        vec!["check", &snapshot, "--cpu", "genoa"],
        vec!["check", &guest, "--kvm"],
        [&["convert", &snapshot], &to_genoa[..]].concat(),
        [&["convert", &tiles], &to_genoa[..], &from_intel[..]].concat(),
        vec!["inspect", &frame, "--cpu", "genoa", "--values", "u8"],
        [&["inspect", &tiles], &from_intel[..]].concat(),
        [&["diff", &guest, &snapshot], &from_intel[..]].concat(),
        [&["diff", &guest, &tiles], &from_intel[..]].concat(),
    ] {
        let output = fpstate(&[&arguments[..], &["--json"]].concat());
        if arguments.contains(&"--kvm") && output.status.code() == Some(2) {
            println!("NOT RUN: no KVM here");
            continue;
        }
        let report = serde_json::from_slice(&output.stdout).unwrap();
        let mut fields = BTreeSet::new();
        collect(&report, &mut fields);
        let unknown: Vec<_> = fields
            .difference(&documented(arguments[0]))
            .cloned()
            .collect();
        assert!(unknown.is_empty(), "{arguments:?}: {unknown:?}");
    }
}
