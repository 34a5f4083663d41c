//! The command as a user meets it: answers, exit status, one line for what is wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use assert_cmd::Command;
use serde_json::Value;

/// What `run` takes when nothing is said.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const DEFAULT_ENGINE: &str = "native";
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
const DEFAULT_ENGINE: &str = "model";

fn fpstate(arguments: &[&str]) -> std::process::Output {
    Command::cargo_bin("fpstate")
        .unwrap()
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = fpstate(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        output.stderr.is_empty(),
        "no progress bar without a terminal: {output:?}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
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

#[test]
fn run_answers_with_every_figure_it_promises() {
    let report = json(&[
        "run",
        "--seconds",
        "0.5",
        "--vcpus",
        "8",
        "--seed",
        "7",
        "--json",
    ]);
    for figure in [
        "vcpus",
        "threads",
        "seconds",
        "entries",
        "exits",
        "preemptions",
        "migrations",
        "registers_checked",
        "saves",
        "saves_skipped",
        "restores",
        "restores_skipped",
        "expansions",
        "releases",
        "xfd_faults",
        "denied",
        "bytes_per_vcpu",
        "bytes_per_vcpu_two_buffers",
    ] {
        assert!(report[figure].is_number(), "{figure}: {report}");
    }
    assert_eq!(report["engine"], DEFAULT_ENGINE);
    assert_eq!(report["seed"], 7);
    assert_eq!(report["corruptions"], 0);
    assert_eq!(report["known_answers"]["wrong"], 0);
    assert!(report["known_answers"]["checked"].is_number());
    assert!(
        report["components"]
            .as_array()
            .is_some_and(|names| names.len() >= 2)
    );
}

#[test]
fn a_vcpu_costs_one_area_and_little_more() {
    let report = json(&["run", "--seconds", "0.1", "--vcpus", "4", "--json"]);
    let bytes = |figure: &str| report[figure].as_u64().unwrap();
    let (one, two) = (bytes("bytes_per_vcpu"), bytes("bytes_per_vcpu_two_buffers"));
    let area = bytes("area_len");
    assert!(
        // The rest is bookkeeping: 63 bytes of alignment, the guest's registers, the layout.
        area <= one && one <= area + 256,
        "{one} bytes for an area of {area}"
    );
    assert!(one * 2 <= two, "{one} bytes against {two}");
}

#[test]
fn wrong_arguments_are_refused_in_one_line() {
    assert_refused(&["run", "--vcpus", "0"], "0 vCPUs; allowed: 1 to 16384");
    assert_refused(
        &["run", "--threads", "9999"],
        "9999 threads; allowed: 1 to 256",
    );
    assert_refused(&["run", "--seconds", "-1"], "-1 seconds");
    assert_refused(
        &["run", "--switch-by", "rdpkru"],
        "'rdpkru' for '--switch-by <HOW>' [possible values: auto, cpuid, xsave,",
    );
    assert_refused(&["run", "--seconds", "soon"], "'soon' for '--seconds <S>'");
    assert_refused(&["run", "--engine", "qemu"], "'qemu' for '--engine");
    assert_refused(&["run", "--inject", "chaos"], "stale-after-migration");
    assert_refused(&["cpu", "--cpu"], "--cpu");
    assert_refused(&["walk"], "walk");
    assert_refused(&["run", "--engine", "native", "--cpu", "genoa"], "--cpu");
    assert_refused(&["run", "--cpu", "pentium"], "no such profile");
}

#[test]
fn the_model_runs_any_profile() {
    for cpu in ["genoa", "skylake-sp"] {
        let report = json(&[
            "run",
            "--engine",
            "model",
            "--cpu",
            cpu,
            "--seconds",
            "0.5",
            "--json",
        ]);
        assert_eq!(report["engine"], "model");
        assert_eq!(report["corruptions"], 0, "{report}");
        assert!(report["entries"].as_u64().unwrap() > 0);
        let components = report["components"].as_array().unwrap();
        for name in ["Hi16_ZMM", "PKRU"] {
            assert!(
                components.iter().any(|component| component == name),
                "{report}"
            );
        }
    }
}

#[test]
fn on_a_cpu_with_tiles_an_idle_vcpu_costs_a_quarter_of_one_that_uses_them() {
    let report = json(&[
        "run",
        "--engine",
        "model",
        "--cpu",
        "sapphire-rapids",
        "--seconds",
        "1",
        "--json",
    ]);
    let number = |figure: &str| report[figure].as_u64().unwrap();
    for figure in ["expansions", "releases", "xfd_faults", "denied"] {
        assert!(number(figure) > 0, "{figure}: {report}");
    }
    assert_eq!(number("corruptions"), 0, "{report}");
    assert_eq!(report["known_answers"]["wrong"], 0, "{report}");
    let (idle, tiles) = (
        number("bytes_per_vcpu_idle"),
        number("bytes_per_vcpu_tiles"),
    );
    assert!(idle < 3_000, "{idle}");
    // 8192 bytes of tile data, once.
    assert!(idle + 8_192 <= tiles && tiles < 11_500, "{tiles}");
    assert_eq!(report["tiles"], "tile guests run");
}

#[test]
fn without_tiles_the_answer_says_so_in_one_line_or_one_field() {
    let genoa = [
        "run",
        "--engine",
        "model",
        "--cpu",
        "genoa",
        "--seconds",
        "0.1",
    ];
    let line = "no tile guests: this CPU has no AMX";
    let text = String::from_utf8(fpstate(&genoa).stdout).unwrap();
    assert_eq!(text.lines().filter(|found| *found == line).count(), 1);
    let report = json(&[&genoa[..], &["--json"]].concat());
    assert_eq!(report["tiles"], line);
    assert!(report["bytes_per_vcpu_idle"].is_null());
    assert_eq!(report["expansions"], 0);
    assert_refused(
        &[&genoa[..], &["--inject", "skip-growth-copy"]].concat(),
        line,
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for argument in ["--help", "--version"] {
        let output = fpstate(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn cpu_lists_the_components_this_process_can_use() {
    let report = json(&["cpu", "--json"]);
    let components = report["components"].as_array().unwrap();
    let sse = components
        .iter()
        .find(|component| component["name"] == "SSE")
        .unwrap();
    assert_eq!(sse["number"], 1);
    assert_eq!(sse["kind"], "user");
    assert_eq!(sse["enabled"], true);
    // The CPU's own answers, CPUID leaf 0DH.
    let len = &report["area_len"];
    assert_eq!(len["standard_for_xcr0"], len["cpuid_standard_for_xcr0"]);
    assert_eq!(
        len["standard_for_all_user_components"],
        len["cpuid_standard_for_all_user_components"]
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn cpu_prints_a_line_for_each_component() {
    let output = fpstate(&["cpu"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("XCR0") && text.contains("x87") && text.contains("SSE"),
        "{text}"
    );
}

#[test]
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn where_there_is_no_native_engine_run_says_so_and_takes_the_model() {
    let output = fpstate(&["run", "--seconds", "0.5", "--vcpus", "4"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("the native engine needs x86-64 Linux"),
        "{text}"
    );
    assert!(text.contains("model on"), "{text}");
    assert_refused(
        &["run", "--engine", "native"],
        "the native engine needs x86-64 Linux",
    );
    assert_refused(&["cpu"], "no x86-64 one");
}
