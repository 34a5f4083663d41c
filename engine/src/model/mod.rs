//! The model engine: the same schedule on the software CPU of `fpstate-model`, any kind of it, on
//! any machine. Its CPUs take turns at single steps.
//!
//! * `values` - what all registers of a model CPU hold
//! * `guest` - a guest as a program of steps
//! * `chacha20` - a known answer, computed in the model's XMM registers
//! * `backend` - the schedule's steps on a model CPU
//! * `run` - all of it

mod values;
mod chacha20;
mod guest;
mod backend;
mod run;

pub use run::{ModelledCpu, run};
