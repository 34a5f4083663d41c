//! One guest state per vCPU that changes places with its thread's.
//!
//! KVM once kept two buffers per vCPU and copied between them at every entry and exit. Since Linux
//! 5.16 there is one guest fpstate: entering `vcpu_run()` swaps it with the thread's own by
//! pointer, leaving swaps back, and a state that is already in memory is not saved again. This
//! crate is that design for any Rust kernel, hypervisor or VMM.
//!
//! PKRU is not part of it: the kernel needs the right keys on every access to user memory, so it
//! switches PKRU on its own, at once, with WRPKRU, and no area here has room for it.
//!
//! It owns state and decides when it moves. It never executes an instruction itself: everything
//! goes through [`fpstate_arch::Processor`], so the same code runs in ring 0, in a process and on
//! the software CPU of `fpstate-model`. It never allocates (memory is lent by the caller; the
//! feature `alloc` offers boxed areas), has no global state and does not panic.
//!
//! ```
//! # #[cfg(feature = "alloc")] {
//! # use fpstate_arch::{ComponentSet, Enumeration, Processor};
//! use fpstate::{BoxedArea, CpuFpu, Fpstate, GuestFpu, Layout, Restoring, Identities, ThreadFpu};
//! # fn f(cpu: &mut CpuFpu<impl Processor>, enumeration: &Enumeration) -> Result<(), Box<dyn core::error::Error>> {
//! static IDENTITIES: Identities = Identities::new();
//! let layout = Layout::for_instructions(enumeration, cpu.instructions(), cpu.switched_components())?;
//! let new_state = || Fpstate::new(layout, BoxedArea::for_layout(&layout)?, &IDENTITIES)
//!     .map_err(|refused| Box::<dyn core::error::Error>::from(refused.error));
//! let mut thread = ThreadFpu::new(new_state()?);
//! let mut guest = GuestFpu::new(new_state()?);
//!
//! thread.enter_guest(&mut guest, cpu, Restoring::Now)?;   // the guest's state is in the registers
//! // run the vCPU
//! thread.leave_guest(&mut guest, cpu, Restoring::Now)?;   // the thread's state is back
//! # Ok(()) }
//! # }
//! ```
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`layout`] - where each component lies in an area: the only offset arithmetic
//! * [`storage`] - memory lent by the caller
//! * [`boxed`] - boxed memory (feature `alloc`)
//! * [`area`] - bytes and the layout they obey
//! * [`ownership`] - where a state is: memory, registers, both
//! * [`errno`] - what a Linux-compatible kernel answers
//! * [`image_state`] - [`ImageState`]: the registers in an image or an area, whatever its form
//! * [`loss`] - what may be lost where a state does not fit
//! * [`image_error`] - why bytes are not an image
//! * `image_faults` - the rules that several forms of images share
//! * [`image`] - a standard-format image from elsewhere, checked
//! * [`compacted_image`] - a compacted one
//! * [`fxsave_image`] - FXSAVE's 512 bytes
//! * `uabi_rules` - the rules that KVM and ptrace share
//! * [`kvm_image`] - the image of `KVM_SET_XSAVE`
//! * [`ptrace_image`] - the image of `NT_X86_XSTATE`
//! * [`import`] - a state from elsewhere becomes the state of an area
//! * [`export`] - a state becomes an image
//! * [`uabi_export`] - an image as KVM and ptrace hand it out
//! * [`signal_frame`] - the image in a Linux signal frame
//! * [`sigreturn`] - what Linux restores from one, any one
//! * [`signal_frame_export`] - writes one
//! * [`save_and_restore`] - the instructions that save, and those that restore for them
//! * [`strategy`] - a way to switch, as a value with a name
//! * [`instructions`] - which instructions a CPU switches with
//! * [`host_side`] - what of the host's registers has to outlive a guest's run
//! * `transfer` - registers to memory and back, in that way
//! * [`switch`] - what a switch has to do, as a plain value, and what it is decided from
//! * [`switch_error`] - why a switch is refused
//! * [`decision`] - decides it: pure functions
//! * [`state`] - [`Fpstate`]: area, components and XFD that always agree
//! * [`cpu`] - [`CpuFpu`]: whose state a CPU's registers hold
//! * [`cpu_life`] - it comes online, sleeps, idles
//! * [`left_out`] - which components are not offered, and why
//! * [`contradiction`] - how CPUID contradicts itself
//! * [`offer`] - [`Offer`]: what a kernel offers on CPUs of one kind
//! * [`strategies`] - in which ways such a CPU can switch
//! * [`round_trip`] - what a switch and the one back cost
//! * [`calibration`] - which of them is the cheapest there
//! * [`permission_error`] - why a component may not be used
//! * [`permissions`] - [`Permissions`]: what a process's threads and guests may use on demand
//! * [`guest_features`] - [`GuestFeatures`]: what one guest's CPUID offers
//! * [`life_error`] - why a thread's state cannot be forked, begin anew or end
//! * [`thread`] - [`ThreadFpu`]: the life of a thread's state
//! * [`guest_registers`] - a guest's XCR0, IA32_XSS, IA32_XFD_ERR and PKRU
//! * [`guest`] - [`GuestFpu`]: a vCPU's state between runs
//! * [`guest_switch`] - `enter_guest` and `leave_guest`
//! * [`growth`] - a state grows on first use, and gives the memory back
//! * [`device_not_available`] - #NM of a thread
//! * [`guest_control`] - a guest reads and writes its registers; INIT and RESET
//! * [`guest_entry`] - a guest's registers around a VM entry, and its #NM
//! * [`guest_cpuid`] - CPUID leaves 0DH, 1DH and 1EH as a guest sees them
//! * [`kernel_section`] - the kernel uses the registers itself
//! * `misuse` - what does not compile (examples that are only tested)

#![no_std]
#![forbid(unsafe_code)]
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

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(test)]
mod recorded_cpu;

pub mod layout;
pub mod storage;
#[cfg(feature = "alloc")]
pub mod boxed;
pub mod area;
pub mod ownership;
pub mod errno;
pub mod image_state;
pub mod loss;
pub mod image_error;
mod image_faults;
pub mod image;
pub mod compacted_image;
pub mod fxsave_image;
mod uabi_rules;
pub mod kvm_image;
pub mod ptrace_image;
pub mod import;
pub mod export;
pub mod uabi_export;
pub mod signal_frame;
pub mod sigreturn;
pub mod signal_frame_export;
pub mod host_side;
pub mod save_and_restore;
pub mod strategy;
pub mod instructions;
mod transfer;
pub mod switch;
pub mod switch_error;
pub mod decision;
pub mod state;
pub mod cpu;
pub mod cpu_life;
pub mod left_out;
pub mod contradiction;
pub mod offer;
pub mod strategies;
pub mod round_trip;
pub mod calibration;
pub mod permission_error;
pub mod permissions;
pub mod guest_features;
pub mod life_error;
pub mod thread;
pub mod guest_registers;
pub mod guest;
pub mod guest_switch;
pub mod growth;
pub mod device_not_available;
pub mod guest_control;
pub mod guest_entry;
pub mod guest_cpuid;
pub mod kernel_section;
#[cfg(doctest)]
mod misuse;

pub use area::{AreaError, ComponentError, MxcsrError, XsaveArea};
#[cfg(feature = "alloc")]
pub use boxed::BoxedArea;
pub use calibration::Calibration;
pub use compacted_image::CompactedImage;
pub use contradiction::Contradiction;
pub use cpu::CpuFpu;
pub use cpu_life::{BringUpError, ControlRegisters};
pub use decision::Decided;
pub use device_not_available::{DeviceNotAvailable, DeviceNotAvailableError};
pub use errno::Errno;
pub use export::ExportError;
pub use fxsave_image::FxsaveImage;
pub use growth::{Expansion, ResizeError};
pub use guest::{GuestFpu, GuestStateError};
pub use guest_entry::{AfterExit, GuestEntry, GuestEntryError, VmExit};
pub use guest_features::{GuestFeatures, GuestFeaturesError};
pub use guest_registers::{GuestRegisterError, Interception};
pub use guest_switch::{EnterError, LeaveError};
pub use host_side::{CallerSaved, HostSide, LiveRegisters};
pub use image::StandardImage;
pub use image_error::ImageError;
pub use image_state::ImageState;
pub use import::{ImportError, NotInMemory};
pub use instructions::{NotThisInstruction, SwitchInstructions};
pub use kernel_section::{KernelSection, KernelUse, OtherSection};
pub use kvm_image::KvmImage;
pub use layout::{Layout, LayoutError, Placed};
pub use left_out::LeftOut;
pub use life_error::{ForkError, LifeError};
pub use loss::{Loss, LossError};
pub use offer::{Grantee, Offer};
pub use ownership::{CpuId, Identities, Residence, StateId};
pub use permission_error::{NotPermitted, PermissionError, SignalStackError};
pub use permissions::{GuestPermit, Permissions, SignalStacks};
pub use ptrace_image::PtraceImage;
pub use round_trip::CalibrationError;
pub use save_and_restore::{RestoreInstruction, SaveInstruction};
pub use signal_frame::{SignalFrame, SignalFrameError, SoftwareBytes};
pub use sigreturn::{FrameForm, FxOnly, Sigreturn};
pub use state::{Fpstate, MoveError, Refused, StateError};
pub use storage::AreaStorage;
pub use strategies::{Strategies, StrategyError};
pub use strategy::{RegisterMoves, RestoreMask, Strategy};
pub use switch::{ControlOwner, RegisterContent, Restore, Restoring, Save, Switch};
pub use switch_error::SwitchError;
pub use thread::ThreadFpu;
pub use uabi_export::ImageOrigin;
