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
//! * [`delay`] - waiting
//! * [`lapic`] - interrupts between CPUs, and a timer for each
//! * [`percpu`] - what each CPU has of its own
//! * [`smp`] - calls on other CPUs
//! * [`trampoline`] - where the other CPUs begin
//! * [`mxcsr_probe`] - an emulator's mistake
//! * [`user_code`] - user programs, and the kernel's vector code
//! * [`user_pattern`] - what their registers should hold
//! * [`user_memory`] - the memory they reach
//! * [`user_mode`] - enters ring 3 and comes back
//! * [`tick`] - the timer interrupt
//! * [`user_thread`] - a thread in ring 3
//! * [`rules`] - how threads are run
//! * [`user_turn`] - one turn of a thread
//! * [`scheduler`] - threads take turns on all CPUs
//! * [`vcpu`] - a vCPU, whatever the hardware
//! * [`scenario`] - what is run, and how it is told
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
pub mod delay;
pub mod lapic;
pub mod percpu;
pub mod smp;
#[cfg(feature = "boot")]
pub mod trampoline;
pub mod mxcsr_probe;
pub mod user_code;
pub mod user_pattern;
pub mod user_memory;
pub mod user_mode;
pub mod tick;
pub mod user_thread;
pub mod rules;
pub mod user_turn;
pub mod scheduler;
pub mod vcpu;
pub mod scenario;
pub mod scenarios;
#[cfg(feature = "boot")]
pub mod kernel;
