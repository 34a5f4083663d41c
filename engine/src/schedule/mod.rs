//! The schedule: which thread runs where, what it does there, and what it must find. The same on
//! every backend; the library decides every switch.
//!
//! A slice is one thread on one CPU for a while. It is put together as a script of steps, each
//! decided by the library and noted as done; a backend carries the steps out; then what was read is
//! compared. Code that needs a state in the registers - task code, a guest, the switches between
//! them - is in the script; everything else is a kernel section.
//!
//! * `script` - the steps of one slice
//! * `backend` - what carries them out
//! * `tenant` - a thread that is scheduled: a host task and the vCPU it runs, if it runs one
//! * `slice_error` - what can go wrong besides a corruption
//! * `worker` - one CPU
//! * `task_slice` - the task's own code, switches and kernel sections
//! * `growth` - a guest's state grows, and gives memory back
//! * `guest_slice` - into the guest and back
//! * `guest_visit` - between two runs of a guest

pub(crate) mod script;
pub(crate) mod backend;
pub(crate) mod tenant;
pub(crate) mod slice_error;
pub(crate) mod worker;
mod task_slice;
pub(crate) mod growth;
mod guest_slice;
mod guest_visit;

pub use slice_error::SliceError;
