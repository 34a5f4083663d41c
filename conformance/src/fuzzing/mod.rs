//! What is done with bytes that a fuzzer chose: the bodies of the targets in `fuzz/fuzz_targets`.
//!
//! They stand here so that a plain test can replay the corpus (`tests/fuzz_corpus.rs`) without a
//! nightly compiler. A body panics where something is wrong; whatever the bytes are, it ends, and soon.
//!
//! * [`input`] - bytes as choices
//! * `cpu` - the CPUs to choose from
//! * `made` - images: bytes as they came, or a good image with some bytes changed
//! * `values` - what a state holds, by component
//! * `instruction` - a model that loads what the library accepted
//! * `areas` - a state is imported into areas
//! * `forms` - a state is written in every form and read again
//! * `import` - target `import`
//! * `reformat` - target `reformat`
//! * `dump` - target `dump`
//! * `guest_reference` - what a guest's registers should be
//! * `guest` - target `guest_registers`: a guest, and what is written to its registers
//! * `guest_state` - what happens to its state
//! * `schedule` - target `schedule`

pub mod input;
mod cpu;
mod made;
mod values;
mod instruction;
mod areas;
mod forms;
mod import;
mod reformat;
mod dump;
mod guest_reference;
mod guest;
mod guest_state;
mod schedule;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As in `fuzz/Cargo.toml`, and the folder of its corpus.
    pub name: &'static str,
    /// Panics where something is wrong.
    pub run: fn(&[u8]),
}

/// Every target.
pub const ALL: &[Target] = &[
    Target {
        name: "import",
        run: import::import,
    },
    Target {
        name: "reformat",
        run: reformat::reformat,
    },
    Target {
        name: "dump",
        run: dump::dump,
    },
    Target {
        name: "guest_registers",
        run: guest::guest_registers,
    },
    Target {
        name: "schedule",
        run: schedule::schedule,
    },
];

/// Runs the target `name`.
///
/// # Panics
/// If there is none, or where something is wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let target = ALL.iter().find(|target| target.name == name);
    (target.expect("a target").run)(bytes);
}
