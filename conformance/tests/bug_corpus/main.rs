//! The bugs that Linux and others have had in this code: for each a test that has it and fails, or
//! the reason why it cannot be here. `docs/bug-corpus.md` is the table of them, made from the tests.
//!
//! A test says which bug is its own in the first lines of its doc comment: number, year, commit or
//! CVE, and what went wrong, with a middle dot between them. `L` are the bugs of Linux, `H` the
//! hazards that reading Linux showed, `C` what several other projects had. A line that begins with
//! `Also` and numbers names bugs that the test is another witness of.
//!
//! Tests that were there before stand where they were; those that only a bug called for are here.

mod impossible;
mod marks;
mod mutants;
mod numbers;
mod table;

mod classes;
mod enumeration;
mod guest_runs;
mod images;
mod ownership;
mod user_abi;
