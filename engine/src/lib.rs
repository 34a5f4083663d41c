//! Runs vCPUs and host tasks with the fpstate library and checks every register of each.
//!
//! The engine joins the library and the silicon: N vCPUs, each run by a host task of its own, and M
//! plain host tasks, scheduled over T pinned OS threads that act as CPUs. Guests are real machine
//! code; host tasks hold values of their own across `vcpu_run`. Whatever the library decides is
//! carried out by one assembly unit, because the compiler uses vector registers itself.
//!
//! Modules in reading order:
//!
//! * [`pattern`] - a different value in every register, loaded and read back by plain moves
//! * [`known_answer`] - guest code of well-kept crates, with published results
//! * [`config`] - what to run
//! * [`report`] - what happened
//! * [`fault_injection`] - breaking one switch in a thousand on purpose
//! * [`footprint`] - what a vCPU costs in memory, measured
//! * [`host`] - this machine's CPU
//! * [`native`] - the real CPU, in an ordinary process

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the native engine runs on x86_64 Linux");

pub mod pattern;
pub mod known_answer;
pub mod config;
pub mod report;
pub mod fault_injection;
pub mod footprint;
pub mod host;
pub mod native;

pub use config::{ConfigError, RunConfig, RunLength};
pub use fault_injection::InjectedFault;
pub use host::{HostCpu, HostError};
pub use report::{Corruption, KnownAnswers, Progress, RunReport};
