//! What the fuzzers in `fuzz/` found worth keeping, through the same functions, without a nightly
//! compiler; and random bytes, for those who have only this.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use conformance::fuzzing::{self, Target};
use conformance::generators::seeds;
use fastrand::Rng;
use fpstate_model::Profile;

fn corpus_of(target: &Target) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = fs::read_dir(folder.join(target.name)).expect("a corpus for each target");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort_unstable();
    files
}

fn replay(name: &str) {
    let target = fuzzing::ALL.iter().find(|target| target.name == name);
    let target = target.expect("a target");
    let files = corpus_of(target);
    assert!(files.len() >= 10, "{} files of {name}", files.len());
    for file in files {
        let bytes = fs::read(&file).expect("a file");
        let done = catch_unwind(|| (target.run)(&bytes));
        assert!(done.is_ok(), "{}", file.display());
    }
}

macro_rules! replays {
    ($($name:ident)+) => {
        mod nothing_in_the_corpus_is_wrong {
            $(#[test] fn $name() { super::replay(stringify!($name)); })+
        }
        const REPLAYED: &[&str] = &[$(stringify!($name)),+];
    };
}

replays! { import reformat dump guest_registers schedule }

#[test]
fn every_target_is_replayed_and_is_a_program_of_the_fuzz_folder() {
    let names: Vec<_> = fuzzing::ALL.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let source = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs")));
        let calls = format!("fuzzing::run(\"{name}\", data)");
        assert!(source.expect("a program").contains(&calls), "{name}");
    }
}

/// Choices, of which many are 0: those are the simplest.
fn random_bytes(random: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(0..200)];
    random.fill(&mut bytes);
    for byte in &mut bytes {
        if random.u8(0..3) == 0 {
            *byte = 0;
        }
    }
    bytes
}

/// A dump with some other figures.
fn damaged_dump(random: &mut Rng) -> Vec<u8> {
    let profile = random.choice(Profile::ALL).expect("a profile");
    let mut text = profile.text().as_bytes().to_vec();
    for _ in 0..random.usize(1..8) {
        let place = random.usize(0..text.len());
        if text[place].is_ascii_hexdigit() {
            text[place] = random.choice(*b"0123456789abcdef").expect("a digit");
        }
    }
    text
}

#[test]
fn random_choices_and_damaged_dumps_do_no_harm() {
    let mut wrong = Vec::new();
    for seed in seeds(300) {
        for target in fuzzing::ALL {
            let mut random = Rng::with_seed(seed);
            let bytes = match target.name {
                "dump" => damaged_dump(&mut random),
                _ => random_bytes(&mut random),
            };
            if catch_unwind(|| (target.run)(&bytes)).is_err() {
                wrong.push(format!("{}, FPSTATE_SEED={seed}", target.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
