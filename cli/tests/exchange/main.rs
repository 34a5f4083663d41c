//! Guests and their images on other CPUs: `fpstate baseline`, `convert`,
//! `check`; and the pages about them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../src/elf_core/made.rs"]
mod made;

mod asked;
mod baseline;
mod check;
mod convert;
mod forms;
mod help;
mod images;
mod pages;
