//! Guests by Intel's VMX (SDM 3, chapters 25 to 28).
//!
//! Modules in reading order:
//!
//! * [`msr`] - what the CPU's VMX can do
//! * [`operation`] - VMXON
//! * [`field`] - names of the fields of a VMCS
//! * [`vmcs`] - VMCLEAR, VMPTRLD, VMREAD, VMWRITE
//! * [`controls`] - what exits
//! * [`msr_bitmap`] - which accesses to MSRs exit
//! * [`ept`] - where guest-physical memory is
//! * [`host_state`] - what the CPU gets back at an exit
//! * [`guest_state`] - what a guest starts with
//! * [`entry`] - VMLAUNCH and the way back
//! * [`vcpu`] - all together

pub mod msr;
pub mod operation;
pub mod field;
pub mod vmcs;
pub mod controls;
pub mod msr_bitmap;
pub mod ept;
pub mod host_state;
pub mod guest_state;
pub mod entry;
pub mod vcpu;

pub use vcpu::VmxVcpu;
