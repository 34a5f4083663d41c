//! A bare-metal hypervisor that uses the fpstate library in ring 0, and the scenarios that show it.
//!
//! The kernel is soft-float: outside the library's own wrappers and the code of guests and user
//! programs no instruction touches an extended register.
//!
//! Modules in reading order:
//!
//! * [`port`] - IN and OUT
//! * [`console`] - lines to the serial port and to port E9H
//! * [`verdict`] - ends the emulator
//! * [`heap`] - memory
//! * [`boot`] - from the loader to Rust
//! * [`descriptors`] - GDT, TSS, IDT
//! * [`trap`] - exceptions and interrupts
//! * [`cpu_features`] - CR0 and CR4 as the library wants them
//! * [`pic`] - the interrupt controllers of old
//! * [`vcpu`] - a vCPU, whatever the hardware
//! * [`page`] - pages that the CPU reads by physical address
//! * [`guest_memory`] - a guest's memory
//! * [`guest_code`] - what guests execute
//! * [`svm`] - a vCPU on AMD's hardware
//! * [`vmx`] - a vCPU on Intel's hardware
//! * [`virtualization`] - which hardware there is
//! * [`vcpu_run`] - the run loop, to be copied
//! * [`vcpu_emulation`] - CPUID, XSETBV and MSRs of a guest
//! * [`pattern`] - what tests put into registers
//! * [`scenario`] - what is run, and how it is told
//! * [`guest_tiles`] - what guests with tiles execute
//! * [`host_vectors`] - what the host does with vectors
//! * [`workbench`] - what scenarios with guests have in common
//! * [`tile_bench`] - the same with tiles
//! * [`scenarios`] - one behaviour a file
//! * [`kernel`] - the order of things

#![no_std]
#![expect(
    unsafe_code,
    reason = "a kernel: hardware is reached by unsafe instructions"
)]

extern crate alloc;

pub mod port;
pub mod console;
pub mod verdict;
pub mod heap;
#[cfg(feature = "boot")]
pub mod boot;
pub mod descriptors;
pub mod trap;
pub mod cpu_features;
pub mod pic;
pub mod vcpu;
pub mod page;
pub mod guest_memory;
pub mod guest_code;
pub mod svm;
pub mod vmx;
pub mod virtualization;
pub mod vcpu_run;
pub mod vcpu_emulation;
pub mod pattern;
pub mod scenario;
pub mod guest_tiles;
pub mod host_vectors;
pub mod workbench;
pub mod tile_bench;
pub mod scenarios;
#[cfg(feature = "boot")]
pub mod kernel;
