//! A vCPU on AMD's hardware: SVM with nested pages (AMD APM 2, chapter 15).
//!
//! * [`enable`] - SVM on this CPU
//! * [`vmcb`] - what the CPU reads and writes at an entry and an exit
//! * [`nested_pages`] - from the guest's physical addresses to the host's
//! * [`permission_maps`] - which ports and MSRs exit
//! * [`entry`] - VMRUN
//! * [`vcpu`] - all of them together

pub mod enable;
pub mod vmcb;
pub mod nested_pages;
pub mod permission_maps;
pub mod entry;
pub mod vcpu;

pub use vcpu::SvmVcpu;
