//! The native engine: the real CPU, in an ordinary process.
//!
//! OS threads pinned to CPUs act as CPUs; host tasks and guests are machine code. In a process the
//! compiler uses vector registers itself, so the engine's own Rust code is one long kernel section,
//! and everything that needs a state in the registers - task code, a guest, the switches between
//! them - is a script of steps that one assembly unit carries out without returning to
//! Rust. The library decides every step.
//!
//! * `unit` - the assembly: carries out steps, enters a guest and comes back
//! * `script` - the steps of one slice, made from the library's decisions
//! * `preemption` - a timer signal takes a guest off at any instruction
//! * `guest_stack` - a stack for a guest
//! * `guest_code` - what guests execute
//! * `vcpu` - a vCPU: guest state, code and stack
//! * `host_task` - a thread's state and the values it holds
//! * `tenant` - a thread that is scheduled, with or without a vCPU
//! * `slice_memory` - where the steps of one slice read and write
//! * `task_slice` - the task's own code, switches and kernel sections
//! * `guest_slice` - into the guest and back
//! * `guest_visit` - between two runs of a guest
//! * `worker` - one CPU
//! * `run` - all of it

mod unit;
mod script;
mod preemption;
mod guest_stack;
mod guest_code;
mod vcpu;
mod host_task;
mod tenant;
mod slice_memory;
mod task_slice;
mod guest_slice;
mod guest_visit;
mod worker;
mod run;

pub use run::{RunError, run};
