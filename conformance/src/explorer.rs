//! The explorer: every interleaving of a small world, with the real library on the real model.
//!
//! A world is a few CPUs, threads and vCPUs on a CPU with small components. From each state every
//! [`Action`] that a kernel, its user code, a guest or its VMM could do next is done on a copy;
//! states that differ only by names - which CPU, which value - are one (`fingerprint`). After each
//! step the invariants are checked, and every thread and guest is held against a reference that knows
//! only what it wrote. The search goes by breadth, so a counterexample is the shortest list of
//! actions. docs/explorer.md says what each world has, what was cut, and what came of it.
//!
//! * [`search`] - breadth-first search with hashed states, for any [`Explored`]
//! * `values` - what components hold, as one byte each
//! * `piece` - memory of areas
//! * `witness` - a processor whose saves and restores are watched
//! * [`Action`] - what can happen
//! * [`Scope`] - which worlds there are
//! * `order` - worlds that differ by which is which
//! * `small_cpu` - a CPU with small components
//! * `reference` - what should be
//! * `world` - CPUs, threads, guests; how a world is copied
//! * `contents` - what registers and areas hold, and what is written to them
//! * `garbage` - what is dead is overwritten
//! * `fingerprint` - what two states must have in common to be one
//! * `checks` - what must hold after every step
//! * `scheduling` - switches, kernel sections, idle, sleep, hotplug
//! * `faults` - restores that fault half-way
//! * `threads` - user code that uses tiles, its #NM, growth and release
//! * `guests` - entering and leaving
//! * `guest_run` - a VM entry and what comes of it
//! * `images` - signal frames, a debugger, a VMM
//! * `vmm` - the VMM sets a guest's registers
//! * `lives` - fork, exec, exit
//! * `enabled` - what can happen next
//! * [`Mutant`] - guards of the library that can be taken out

pub mod search;
mod values;
mod piece;
mod witness;
mod action;
mod scope;
mod order;
mod small_cpu;
mod reference;
mod world;
mod contents;
mod garbage;
mod fingerprint;
mod checks;
mod scheduling;
mod faults;
mod threads;
mod guests;
mod guest_run;
mod images;
mod vmm;
mod lives;
mod enabled;
mod mutant;

pub use action::{Action, Given, How};
pub use mutant::{Edit, Mutant};
pub use scope::{Negligence, Scope, Size};
pub use search::{Counterexample, Explored, Limits, Named, Outcome, explore};
pub use small_cpu::{Machine, Small};
pub use world::World;
