//! On this machine's CPU, in this process.
//!
//! * `this_cpu` - how it is switched here
//! * `bare` - the instructions themselves: the one file with unsafe code
//! * `own_registers` - all registers, between two samples
//! * `survival` - whether a policy brings registers back
//! * `contest` - rounds in which every policy has a turn
//! * `touch` - the cache lines alone
//! * `seats` - one of each policy
//! * `run` - everything

pub mod this_cpu;
mod bare;
mod own_registers;
pub mod survival;
mod contest;
mod touch;
mod seats;
mod run;

pub use run::run;
pub use seats::contestants;
