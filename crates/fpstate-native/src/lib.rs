//! The silicon: the instructions of the XSAVE family, and processors made of them.
//!
//! One wrapper per instruction and no policy: what is saved, restored or enabled, and when, is
//! decided in `fpstate`, which reaches these instructions only through
//! [`Processor`](fpstate_arch::Processor). Section numbers are those of the Intel SDM, order number
//! 253665-087US and its companion volumes.
//!
//! On an architecture other than x86-64 the crate is empty.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), fpstate_arch::Fault> {
//! use fpstate_arch::{Mxcsr, Processor};
//! use fpstate_native::UserProcessor;
//!
//! let mut memory = vec![0; UserProcessor::hand_over_len() + 63];
//! let first = memory.as_ptr().align_offset(64);
//! // SAFETY: 1, 2: an ordinary process on one kind of CPU. 3: it keeps nothing in such registers.
//! let mut cpu = unsafe { UserProcessor::assume_user_mode(&mut memory[first..]) }?;
//! cpu.ldmxcsr(Mxcsr::from_bits(0x9f80))?;
//! let thousandth = 1.0 / 1000.0; // computed with the process's own MXCSR
//! assert_eq!(cpu.stmxcsr()?.bits(), 0x9f80);
//! # assert!(thousandth > 0.0);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`cpuid`](mod@cpuid) - CPUID
//! * [`extended_control`] - XGETBV, XSETBV
//! * [`msr`] - RDMSR and WRMSR of the three registers that concern extended state
//! * [`pkru`] - RDPKRU, WRPKRU
//! * [`tile`] - TILERELEASE
//! * [`timestamp`](mod@timestamp) - RDTSC between two fences
//! * [`fxsave`] - FXSAVE64, FXRSTOR64, FNINIT, LDMXCSR, STMXCSR
//! * [`xsave_family`] - XSAVE64, XSAVEOPT64, XSAVEC64, XSAVES64, XRSTOR64, XRSTORS64
//! * `reach` - how many bytes of an area an instruction can touch
//! * `recent` - the last two answers to a question
//! * [`register_moves`] - saves and restores by plain moves
//! * [`ring0`] - [`Ring0Processor`], for a kernel or a hypervisor
//! * `xrstor_conditions` - what makes XRSTOR raise #GP
//! * `usual_image` - images that need no second look before XRSTOR
//! * `at_cpl3` - what the two processors below know of their CPU, and refuse
//! * [`live`] - [`LiveProcessor`], for a process whose calls preserve no extended register
//! * `hand_over` - registers that outlive a function call where the compiler uses them too
//! * [`user`] - [`UserProcessor`], for an ordinary process

#![no_std]
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "an instruction is asm!, and asm! is unsafe: this crate is where that happens"
    )
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::panic
    )
)]

#[cfg(target_arch = "x86_64")]
mod at_cpl3;
#[cfg(target_arch = "x86_64")]
pub mod cpuid;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod emitted_code;
#[cfg(target_arch = "x86_64")]
pub mod extended_control;
#[cfg(target_arch = "x86_64")]
pub mod fxsave;
#[cfg(target_arch = "x86_64")]
mod hand_over;
#[cfg(target_arch = "x86_64")]
mod initial_image;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod instruction_costs;
#[cfg(target_arch = "x86_64")]
pub mod live;
#[cfg(target_arch = "x86_64")]
pub mod msr;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod random_image;
#[cfg(target_arch = "x86_64")]
pub mod pkru;
#[cfg(target_arch = "x86_64")]
mod reach;
#[cfg(target_arch = "x86_64")]
mod recent;
#[cfg(target_arch = "x86_64")]
pub mod register_moves;
#[cfg(target_arch = "x86_64")]
pub mod ring0;
#[cfg(target_arch = "x86_64")]
pub mod tile;
#[cfg(target_arch = "x86_64")]
pub mod timestamp;
#[cfg(target_arch = "x86_64")]
pub mod user;
#[cfg(target_arch = "x86_64")]
mod usual_image;
#[cfg(target_arch = "x86_64")]
mod xrstor_conditions;
#[cfg(target_arch = "x86_64")]
pub mod xsave_family;

#[cfg(target_arch = "x86_64")]
pub use cpuid::cpuid;
#[cfg(target_arch = "x86_64")]
pub use live::LiveProcessor;
#[cfg(target_arch = "x86_64")]
pub use ring0::Ring0Processor;
#[cfg(target_arch = "x86_64")]
pub use timestamp::timestamp;
#[cfg(target_arch = "x86_64")]
pub use user::UserProcessor;
