//! The oracle: a processor in software that executes the manual's pseudo-code, slowly and
//! literally.
//!
//! [`ModelCpu`] is built from recorded CPUID leaves and implements
//! [`Processor`](fpstate_arch::Processor). It shares the vocabulary of `fpstate-arch` with the
//! library and nothing else: where a component lies is worked out here a second time, so that the
//! library's arithmetic is never checked against itself.
//!
//! Modules in reading order; each uses only those above it:
//!
//! | module | manual |
//! |---|---|
//! | [`register_file`] | SDM 1, 13.5 and 13.6: the contents of each component |
//! | `component_table` | SDM 1, 13.2: what CPUID says of each component |
//! | `offsets` | SDM 1, 13.4.3: standard and compacted format |
//! | [`control_state`] | the bits of CR0, CR4 and CS that decide whether an instruction executes |
//! | [`vendor`] | where processors differ, each difference with a name |
//! | [`tracking`] | SDM 1, 13.6: XINUSE, XMODIFIED, XRSTOR_INFO |
//! | [`cpu`] | the processor: registers, control registers, how tests reach them |
//! | `extended_feature_disable` | SDM 1, 13.14: #NM and IA32_XFD_ERR |
//! | `control_writes` | SDM 1, 13.3 and 13.14; SDM 2, XGETBV, XSETBV, CPUID leaf 0DH |
//! | `legacy_region` | SDM 1, 13.5.1 and 13.5.2: bytes 0 to 511 |
//! | `fxsave` | SDM 1, 10.5; SDM 2, FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, FNINIT |
//! | `pkru` | SDM 2, RDPKRU, WRPKRU |
//! | `xsave` | SDM 1, 13.7 and 13.9 to 13.11: XSAVE, XSAVEOPT, XSAVEC, XSAVES |
//! | `xrstor_header`, `xrstor` | SDM 1, 13.8 and 13.12: XRSTOR, XRSTORS |
//! | [`memory`] | #PF and #AC: memory that is not present, alignment checking |
//! | `tile_registers` | SDM 1, chapter 18: tiles and their configuration |
//! | `tiles`, `tile_moves`, `tile_products` | SDM 2, the AMX instructions |
//! | [`faulting_restore`] | what a restore has done when it raises #PF |
//! | [`poisoning`] | [`Optimisation::Poisoning`] |
//! | `processor` | the instructions under the names of the trait |
//! | `dump_line`, [`dump`] | a CPUID dump as text |
//! | [`component_facts`] | SDM 1, 13.5: lengths and features that no CPU changes |
//! | [`oddity`], [`examine`] | what is odd in a dump |
//! | [`profile`] | recorded CPUs by name |
//!
//! Not modelled:
//!
//! * the 32-bit forms (every save and restore is the REX.W form in 64-bit mode); fast FXSAVE
//!   (EFER.FFXSR); VMX non-root operation in XRSTOR_INFO;
//! * what the bytes of most components mean: XSAVES does not clear `TraceEn` when it saves PT, XRSTORS
//!   accepts a shadow-stack pointer that is not canonical, and PKRU restricts no access to memory;
//! * XRSTOR and XRSTORS of a tile configuration that LDTILECFG would refuse: its bytes are loaded and
//!   saved as they are, and the tile instructions take them for no configuration;
//! * of AMX, all products but TDPBSSD, negative strides, and #PF of LDTILECFG and STTILECFG;
//! * an influence of IA32_XFD on XGETBV(1).

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

extern crate alloc;

pub mod component_facts;
pub mod control_state;
pub mod cpu;
pub mod dump;
pub mod examine;
pub mod faulting_restore;
pub mod memory;
pub mod oddity;
pub mod poisoning;
pub mod profile;
pub mod register_file;
pub mod tracking;
pub mod vendor;

mod component_table;
mod control_writes;
mod dump_line;
mod extended_feature_disable;
mod fxsave;
mod legacy_region;
mod moves;
mod offsets;
mod pkru;
mod processor;
mod tile_moves;
mod tile_products;
mod tile_registers;
mod tiles;
mod xrstor;
mod xrstor_header;
mod xsave;

#[cfg(test)]
mod recorded_cpus;

pub use control_state::{AlignmentCheck, Emulation, Osfxsr, Osxsave, Pke, Privilege, TaskSwitched};
pub use cpu::{ModelCpu, RegistersMut};
pub use dump::{Dump, DumpError};
pub use faulting_restore::FaultingRestore;
pub use memory::NotPresent;
pub use oddity::Oddity;
pub use poisoning::POISON;
pub use profile::Profile;
pub use register_file::{RegisterFile, Sse, X87};
pub use tracking::{Optimisation, Tracked};
pub use vendor::{
    AlignmentCheckWidth, InUseTracking, ReportedInUse, VendorDifferences, X87PointerWidth,
    X87Pointers, XfdErrUpdate,
};
