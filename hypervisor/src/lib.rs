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
//! * [`vcpu`] - a vCPU, whatever the hardware
//! * [`scenario`] - what is run, and how it is told
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
pub mod vcpu;
pub mod scenario;
pub mod scenarios;
#[cfg(feature = "boot")]
pub mod kernel;
