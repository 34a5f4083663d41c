//! The explorer: every interleaving of a small world, with the real library on the real model.
//!
//! A world is a few CPUs, threads and vCPUs on a CPU with small components. From each state every
//! [`Action`] that a kernel, its user code, a guest or its VMM could do next is done on a copy;
//! states that differ only by names - which CPU, which value - are one ([`fingerprint`]). After each
//! step the invariants are checked, and every thread and guest is held against a reference that knows
//! only what it wrote. The search goes by breadth, so a counterexample is the shortest list of
//! actions. docs/explorer.md says what each world has, what was cut, and what came of it.
//!
//! * [`search`] - breadth-first search with hashed states, for any [`Explored`]
//! * `values` - what components hold, as one byte each
//! * `piece` - memory of areas
//! * `small_cpu` - a CPU with small components
//! * `witness` - a processor whose saves and restores are watched
//! * `reference` - what should be
//! * [`Scope`] - which worlds there are
//! * [`Action`] - what can happen
//! * `world` - CPUs, threads, guests; how a world is copied
//! * `fingerprint` - what two states must have in common to be one
//! * `scheduling` - switches, kernel sections, idle, sleep, hotplug
//! * `checks` - what must hold after every step
//! * `enabled` - what can happen next

pub mod search;
mod values;
mod piece;
mod small_cpu;
mod witness;
mod reference;
mod scope;
mod action;
mod world;
mod fingerprint;
mod scheduling;
mod checks;
mod enabled;

pub use action::Action;
pub use scope::{Negligence, Scope};
pub use search::{Counterexample, Explored, Limits, Outcome, explore};
pub use small_cpu::{Machine, Small};
pub use world::World;
