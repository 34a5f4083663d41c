//! The model engine: the same schedule on the software CPU of `fpstate-model`, any kind of it, on
//! any machine. Its CPUs take turns at single steps.
//!
//! * `tile_shape` - tiles as palette 1 has them
//! * `values` - what all registers of a model CPU hold
//! * `chacha20` - a known answer, computed in the model's XMM registers
//! * `guest_cpu` - the CPU as a guest has it
//! * `tile_values` - what a program keeps in tiles
//! * `tile_program` - guests' programs with tiles
//! * `guest` - a guest as a program of steps
//! * `backend` - the schedule's steps on a model CPU
//! * `task_tiles` - a host task uses tiles
//! * `world` - what guests are offered, and what processes may do
//! * `hypervisor` - one step of a guest between VM entry and VM exit
//! * `run` - all of it

mod tile_shape;
mod values;
mod chacha20;
mod guest_cpu;
mod tile_values;
mod tile_program;
mod guest;
mod backend;
mod task_tiles;
mod world;
mod hypervisor;
mod run;

pub use run::{ModelledCpu, run};
