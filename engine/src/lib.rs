//! Runs vCPUs and host tasks with the fpstate library and checks every register of each.
//!
//! The engine joins the library and the silicon: N vCPUs, each run by a host task of its own, and M
//! plain host tasks, scheduled over T pinned OS threads that act as CPUs. Guests are real machine
//! code; host tasks hold values of their own across `vcpu_run`. Whatever the library decides is
//! carried out by one assembly unit, because the compiler uses vector registers itself.
//!
//! A second backend runs the same schedule on the software CPU of `fpstate-model`.
//!
//! Modules in reading order:
//!
//! * [`known_answer`] - guest code of well-kept crates, with published results (x86-64 only)
//! * [`fault_injection`] - breaking one switch in a thousand on purpose
//! * [`host`] - this machine's CPU, if it is an x86 one
//! * [`switch_by`] - who decides how it is switched
//! * [`config`] - what to run
//! * [`footprint`] - what a vCPU costs in memory, measured
//! * [`report`] - what happened
//! * [`schedule`] - which thread runs where, and what it must find
//! * [`run_error`] - why a run did not happen
//! * [`pattern`] - a different value in every register, by plain moves (x86-64 only)
//! * [`native`] - the real CPU, in an ordinary process; elsewhere, that there is none
//! * [`model`] - the software CPU, of any kind, on any machine

#[cfg(target_arch = "x86_64")]
pub mod known_answer;
pub mod fault_injection;
pub mod host;
pub mod switch_by;
pub mod config;
pub mod footprint;
pub mod report;
pub mod schedule;
pub mod run_error;
#[cfg(target_arch = "x86_64")]
pub mod pattern;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "native_elsewhere.rs"]
pub mod native;
pub mod model;

pub use config::{ConfigError, RunConfig, RunLength};
pub use fault_injection::InjectedFault;
pub use host::{HostCpu, HostError};
pub use report::{Corruption, KnownAnswers, Progress, RunReport, TileGuests};
pub use run_error::RunError;
pub use switch_by::{Chosen, ChosenBy, SwitchBy, SwitchByError};
