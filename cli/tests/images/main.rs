//! `fpstate inspect` and `fpstate diff` as a user meets them: what is in images and cores.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../src/elf_core/made.rs"]
mod made;
#[path = "../../src/made_images.rs"]
mod made_images;

mod file;
mod inspect;
mod diff;
mod bad_files;
mod long_core;
mod snapshot;
mod frames;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod gdb;
