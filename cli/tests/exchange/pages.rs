//! docs/command.md, docs/vmm-set-xsave.md and docs/vmm-snapshots.md: every command in them is run, and
//! answers what the page says.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;

use crate::asked::{fpstate, path};
use crate::images::{
    AMD, AVX512_AND_PKRU, INTEL, TILE_CONFIG, TILE_DATA, TILES, signal_frame, snapshot, standard,
};

const PAGES: [&str; 3] = [
    "docs/command.md",
    "docs/vmm-set-xsave.md",
    "docs/vmm-snapshots.md",
];
/// Before a block whose answers are of the machine that the page names.
const OF_THIS_MACHINE: &str = "<!-- this machine: ";

/// A command of a page, and what the page says that it answers.
struct Example {
    command: String,
    answer: Vec<String>,
    /// The machine that answers so; `None`: every one.
    machine: Option<String>,
}

fn text(page: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(page)).unwrap()
}

/// The commands of `page` in their order.
fn examples(page: &str) -> Vec<Example> {
    let (mut examples, mut machine, mut inside) = (Vec::<Example>::new(), None, false);
    for line in text(page).lines() {
        if let Some(named) = line.strip_prefix(OF_THIS_MACHINE) {
            machine = Some(named.trim_end_matches(" -->").to_owned());
        } else if line == "```console" {
            inside = true;
        } else if line.starts_with("```") {
            (inside, machine) = (false, None);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            examples.push(Example {
                command: command.to_owned(),
                answer: Vec::new(),
                machine: machine.clone(),
            });
        } else if inside {
            examples.last_mut().unwrap().answer.push(line.to_owned());
        }
    }
    examples
}

/// The images that the pages speak of: of a guest on a Xeon w7-2475X.
fn write_images() {
    let guest = standard(&INTEL, 4096, AVX512_AND_PKRU);
    let mut broken = guest.clone();
    (broken[27], broken[520], broken[540]) = (0x80, 7, 1);
    let idle = standard(&INTEL, 11008, AVX512_AND_PKRU | TILES);
    let mut tiles = idle.clone();
    (tiles[TILE_CONFIG], tiles[TILE_DATA]) = (1, 0x3f);
    let frame = standard(&AMD, 2440, AVX512_AND_PKRU);
    let frame = signal_frame(frame, AVX512_AND_PKRU);
    for (name, bytes) in [
        ("guest.xsave", guest),
        ("broken.xsave", broken),
        ("snapshot.json", snapshot(AVX512_AND_PKRU, 0)),
        ("idle-tiles.xsave", idle),
        ("tiles.xsave", tiles),
        ("frame.bin", frame),
    ] {
        fs::write(path(name), bytes).unwrap();
    }
}

/// Whether this is the machine that a page names, with the components that its answers have.
fn is_here(machine: &str) -> bool {
    let cpu = fpstate(&["cpu", "--json"]);
    let Ok(report) = serde_json::from_slice::<Value>(&cpu.stdout) else {
        return false; // no x86 CPU
    };
    report["cpu"] == machine && report["xcr0"] == 0xe7 && fs::metadata("/dev/kvm").is_ok()
}

/// Its answer and the status it ended with.
fn answer(command: &str) -> (Vec<String>, i32) {
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[0], "fpstate", "{command}: what would a reader run?");
    let output = Command::cargo_bin("fpstate")
        .unwrap()
        .current_dir(path(""))
        .args(&words[1..])
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(str::to_owned).collect();
    (lines, output.status.code().unwrap())
}

/// Without the release of the kernel, which is another one next month.
fn without_release(line: &str) -> String {
    match (line.find("(Linux "), line.find(") ")) {
        (Some(begin), Some(end)) => format!("{}{}", &line[..begin], &line[end..]),
        _ => line.to_owned(),
    }
}

#[test]
fn every_command_of_the_pages_answers_what_they_say() {
    write_images();
    for page in PAGES {
        let (mut run, mut status) = (0, None);
        for example in examples(page) {
            let Example {
                command,
                answer: expected,
                machine,
            } = example;
            if let Some(machine) = machine.filter(|machine| !is_here(machine)) {
                println!("NOT RUN: {command}: its answer is that of {machine}");
                continue;
            }
            if command == "echo $?" {
                assert_eq!(
                    status.map(|status: i32| status.to_string()),
                    expected.first().cloned()
                );
                continue;
            }
            let (found, ended) = answer(&command);
            (run, status) = (run + 1, Some(ended));
            match expected.split_last() {
                Some((last, first)) if last == "..." => {
                    assert_eq!(found[..first.len()], *first, "{page}: {command}");
                }
                _ => {
                    let lines = |lines: &[String]| -> Vec<_> {
                        lines.iter().map(|line| without_release(line)).collect()
                    };
                    assert_eq!(lines(&found), lines(&expected), "{page}: {command}");
                }
            }
        }
        assert!(run >= 3, "{page}: {run} commands");
    }
}

#[test]
fn the_code_of_the_pages_is_that_of_the_crates_tested_example() {
    let example = text("crates/fpstate-kvm/src/lib.rs");
    let tested: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .map(str::trim)
        .collect();
    let page = text("docs/vmm-snapshots.md");
    let code = page.split("```rust\n").nth(1).unwrap();
    let code = code.split("```").next().unwrap();
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(tested.contains(&line), "{line}: not in the crate's example");
    }
}
