//! The native engine: the real CPU, in an ordinary process.
//!
//! OS threads pinned to CPUs act as CPUs; host tasks and guests are machine code. In a process the
//! compiler uses vector registers itself, so a script is carried out by one assembly unit that does
//! not return to Rust before its end.
//!
//! * `unit` - the assembly: carries out steps, enters a guest and comes back
//! * `preemption` - a timer signal takes a guest off at any instruction
//! * `guest_stack` - a stack for a guest
//! * `guest_code` - what guests execute
//! * `guest` - a guest: its page and its stack
//! * `backend` - the schedule's steps as the unit's, and register images
//! * `tile_permission` - asks the kernel for tiles
//! * `run` - all of it

mod unit;
mod preemption;
mod guest_stack;
mod guest_code;
mod guest;
mod backend;
mod tile_permission;
mod run;

pub use run::run;

/// Whether the native engine runs on this machine.
pub const IS_HERE: bool = true;
