//! What a switch of extended state costs, in several designs side by side.
//!
//! All of them run in one process, on one CPU, in turns, so that a slow moment of the machine is
//! everybody's. What each figure is, and what it does not show: docs/benchmarks.md.
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`spread`] - many samples of one figure
//! * [`policy_name`] - the designs by name
//! * [`scenario`] - what is live in the registers
//! * [`policy`] - a design that takes a thread into guests and back
//! * [`event`] - what happens to a thread and its vCPU
//! * [`image`] - register images of designs that are not the library's, and what moves registers
//! * [`pair`], `task`, [`two_buffers`], [`pointer_swap`], [`ours`] - the designs
//! * [`contestant`] - any of them
//! * [`setting`] - a thread and its vCPUs under each of them
//! * [`tally`], [`counted`], [`counts`] - how often each instruction is executed
//! * [`bench_error`] - why there are no figures
//! * [`expansion`] - a guest's first use of tiles, counted
//! * [`memory`] - bytes per vCPU on each recorded CPU
//! * [`bench_config`], [`report`] - what is asked for, and answered
//! * [`live`] - on this machine's CPU; elsewhere, that there is nothing to measure

#![deny(unsafe_code)]
#![expect(
    clippy::vec_box,
    reason = "each vCPU is in memory of its own, as in a VMM: that is part of what is measured"
)]

pub mod spread;
pub mod policy_name;
pub mod scenario;
pub mod policy;
pub mod event;
pub mod image;
pub mod pair;
mod task;
pub mod two_buffers;
pub mod pointer_swap;
pub mod ours;
pub mod contestant;
pub mod setting;
pub mod tally;
pub mod counted;
pub mod counts;
pub mod bench_error;
pub mod expansion;
pub mod memory;
pub mod bench_config;
pub mod report;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod live;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "elsewhere.rs"]
pub mod live;

pub use bench_config::BenchConfig;
pub use bench_error::BenchError;
pub use live::run;
pub use report::BenchReport;
