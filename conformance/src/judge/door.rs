//! The ways by which images come into a kernel.

use std::fmt;

/// A system call that takes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `KVM_SET_XSAVE`: 4096 bytes.
    Vcpu,
    /// `PTRACE_SETREGSET` of `NT_X86_XSTATE`: the standard format's length.
    X86Xstate,
    /// `PTRACE_SETREGSET` of `NT_PRFPREG`: 512 bytes.
    Prfpreg,
    /// `rt_sigreturn`: a frame, a multiple of 64 bytes of it.
    SignalFrame,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vcpu => "KVM_SET_XSAVE",
            Self::X86Xstate => "PTRACE_SETREGSET of NT_X86_XSTATE",
            Self::Prfpreg => "PTRACE_SETREGSET of NT_PRFPREG",
            Self::SignalFrame => "rt_sigreturn",
        })
    }
}
