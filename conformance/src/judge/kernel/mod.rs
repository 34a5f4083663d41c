//! The kernel of this machine, asked: each side hands an image to it and reads the state back.

#![expect(
    unsafe_code,
    reason = "system calls by address, and a signal handler that replaces its frame"
)]

pub mod guarded;
pub mod vcpu;
pub mod thread;
pub mod signal_return;
mod unit;
