//! Extended state of KVM guests, for VMM authors.
//!
//! `KVM_SET_XSAVE` answers EINVAL and no reason; `KVM_GET_XSAVE2` wants a buffer whose size must be asked
//! for; AMX wants a permission, asked for in the one right moment; a snapshot wants XCR0, IA32_XSS and
//! IA32_XFD beside the image, restored in an order that the kernel takes. This crate does these, on
//! [`kvm-ioctls`](https://docs.rs/kvm-ioctls).
//!
//! ```
//! # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fpstate_kvm::{Host, Permitted, VcpuExtendedState, VcpuXsave};
//! use fpstate_arch::{Component, ComponentSet};
//!
//! let Ok(kvm) = kvm_ioctls::Kvm::new() else {
//!     eprintln!("skipped: no /dev/kvm");
//!     return Ok(());
//! };
//! // Before CPUID is read and before the first vCPU, as the types here want it:
//! let permitted = Permitted::ask(&kvm, ComponentSet::only(Component::TileData));
//! let (cpuid, host) = (permitted.supported_cpuid()?, Host::read(&permitted)?);
//! let vm = permitted.create_vm()?;
//! let vcpu = vm.create_vcpu(0)?;
//! vcpu.set_cpuid2(&cpuid)?;
//!
//! let snapshot = VcpuExtendedState::capture(&VcpuXsave::of(&host, &vm, &vcpu))?;
//! // ... another process, another host:
//! let elsewhere = permitted.create_vm()?;
//! let vcpu = elsewhere.create_vcpu(0)?;
//! vcpu.set_cpuid2(&cpuid)?;
//! snapshot.restore(&VcpuXsave::of(&host, &elsewhere, &vcpu))?;
//! # Ok(())
//! # }
//! # #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
//! # fn main() {}
//! ```
//!
//! Modules in reading order; each uses only those above it. Those that need KVM are on x86-64 Linux
//! only; elsewhere a snapshot can still be read and checked.
//!
//! * [`permission`] - what kernels from 5.15 to 7.x answer, decided without a system call
//! * [`cpu_record`] - the CPU a snapshot came from
//! * [`format_version`], [`snapshot`] - [`VcpuExtendedState`], what is stored
//! * `image_faults` - what is wrong with an image
//! * [`reason`], [`check`](mod@check) - every reason why it cannot be restored somewhere
//! * [`mod@restore_order`] - in which order a vCPU gets it
//! * `this_kernel`, `handshake` - `Permitted`: permission before CPUID, before the first vCPU
//! * `guest_cpuid` - what a guest's CPUID offers
//! * `host` - `Host`: what this host's KVM judges by
//! * `vcpu_registers` - XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR of a vCPU
//! * `xsave2` - `VcpuXsave`: safe `get_xsave` and `set_xsave`
//! * `capture`, `restore` - of a snapshot, in one call

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod permission;
pub mod cpu_record;
pub mod format_version;
pub mod snapshot;
mod image_faults;
pub mod reason;
pub mod check;
pub mod restore_order;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod this_kernel;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod handshake;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guest_cpuid;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod host;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod vcpu_registers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod xsave2;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod capture;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod restore;

pub use check::{Target, check};
pub use cpu_record::{CpuRecord, RecordedLeaf};
pub use format_version::{FormatVersion, UnknownVersion};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use handshake::Permitted;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use host::Host;
pub use permission::{Outcome, SystemError};
pub use reason::Reason;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use restore::RestoreError;
pub use restore_order::{Msr, Step, restore_order};
pub use snapshot::{Parts, VcpuExtendedState};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use xsave2::{SetXsaveError, VcpuXsave};

/// The example of the README, tested.
#[cfg(all(doctest, target_os = "linux", target_arch = "x86_64"))]
#[doc = include_str!("../README.md")]
mod readme {}
