//! A bare-metal hypervisor that uses the fpstate library in ring 0, and the scenarios that show it.
//!
//! The kernel is soft-float: outside the library's own wrappers (crate `fpstate_native`) and the code
//! of guests and user programs no instruction touches an extended register. `cargo xtask vectors`
//! decodes the image and finds each that does. Code that may is told by its section:
//!
//! * `.user_code` - what stands for a user program, and every function of a scenario that writes or
//!   reads registers in a user program's stead
//! * `.guest_code` - what runs in a guest
//!
//! A function goes there by `#[unsafe(link_section = ".user_code")]` with `#[inline(never)]`, assembly
//! by `.pushsection .user_code, "ax", @progbits`. The linker script has both sections begin and end
//! at a page, with symbols at both ends: `user_code_start`, `user_code_end`, `guest_code_start`,
//! `guest_code_end`. A closure or a function that such a function calls is elsewhere: let it be one
//! `asm!` block.
//!
//! Modules in reading order; `boot` and `kernel` are there with feature `boot` only:
//!
//! * [`port`] - IN and OUT
//! * [`console`] - lines to the serial port and to port E9H
//! * [`verdict`] - ends the emulator
//! * [`heap`] - memory
//! * `boot` - from the loader to Rust
//! * [`multiboot`] - what the loader says
//! * [`descriptors`] - GDT, TSS, IDT
//! * [`trap`] - exceptions and interrupts
//! * [`cpu_features`] - CR0 and CR4 as the library wants them
//! * [`delay`] - waiting
//! * [`lapic`] - interrupts between CPUs, and a timer for each
//! * [`percpu`] - what each CPU has of its own
//! * [`smp`] - calls on other CPUs
//! * `trampoline` - where the other CPUs begin
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
//! * [`against_model`] - the emulated CPU and `fpstate-model` through the same cases
//! * [`control_registers`] - values that the library would not write
//! * [`vcpu`] - a vCPU, whatever the hardware
//! * [`page`] - pages that the CPU reads by physical address
//! * [`guest_memory`] - a guest's memory
//! * [`guest_code`] - what guests execute
//! * [`guest_faults`] - programs that fault
//! * [`svm`] - a vCPU on AMD's hardware
//! * [`vmx`] - a vCPU on Intel's hardware
//! * [`virtualization`] - which hardware there is
//! * [`vcpu_run`] - the run loop, to be copied
//! * [`vcpu_emulation`] - CPUID, XSETBV and MSRs of a guest
//! * [`random_image`] - what tests put into registers
//! * [`scenario`] - what is run, and how it is told
//! * [`vcpu_thread`] - a thread that runs a vCPU, in turns
//! * [`without_injection`] - hardware for broken twins
//! * [`guest_tiles`] - what guests with tiles execute
//! * [`host_vectors`] - what the host does with vectors
//! * [`host_registers`] - what threads have in registers
//! * [`workbench`] - what scenarios with guests have in common
//! * [`tile_bench`] - the same with tiles
//! * [`scenarios`] - one behaviour a file
//! * `kernel` - the order of things

#![cfg(target_arch = "x86_64")]
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
pub mod multiboot;
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
pub mod against_model;
pub mod control_registers;
pub mod vcpu;
pub mod page;
pub mod guest_memory;
pub mod guest_code;
pub mod guest_faults;
pub mod svm;
pub mod vmx;
pub mod virtualization;
pub mod vcpu_run;
pub mod vcpu_emulation;
pub mod random_image;
pub mod scenario;
pub mod vcpu_thread;
pub mod without_injection;
pub mod guest_tiles;
pub mod host_vectors;
pub mod host_registers;
pub mod workbench;
pub mod tile_bench;
pub mod scenarios;
#[cfg(feature = "boot")]
pub mod kernel;
