//! The words of the XSAVE architecture, as types.
//!
//! What the Intel SDM (volume 1, chapter 13, order number 253665-087US) and the AMD APM (volume 2,
//! section 11.5, publication 24593 rev. 3.42) say about extended processor state, and nothing more:
//! this crate names things and decides nothing. It does no offset arithmetic; that is done once in
//! `fpstate::Layout` and, independently, in `fpstate-model`.
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`component`] - the state components and their bitmaps
//! * [`xcr0`], [`xss`], [`xfd`] - the registers that enable and disable components
//! * [`pkru`] - the rights of protection keys
//! * [`cpuid`] - one CPUID leaf, from any source
//! * [`feature_bit`] - which CPUID bits announce the feature of a component
//! * [`register_len`] - how many bytes a component's registers are
//! * [`tile_config`] - AMX tiles: CPUID leaves 1DH and 1EH, what LDTILECFG reads
//! * [`error_pointers`] - what a restore does with FIP, FDP and FOP
//! * [`enumeration`] - CPUID leaf 0DH as data, with what belongs to it elsewhere
//! * [`legacy_region`] - bytes 0 to 511 of an XSAVE area
//! * [`xsave_header`] - bytes 512 to 575
//! * [`fault`] - how an instruction refuses
//! * [`moved`] - what a save or restore by plain moves came to
//! * [`processor`] - one method per instruction: all contact with hardware

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

pub mod component;
pub mod xcr0;
pub mod xss;
pub mod xfd;
pub mod pkru;
pub mod cpuid;
pub mod feature_bit;
pub mod register_len;
pub mod tile_config;
pub mod error_pointers;
pub mod enumeration;
pub mod legacy_region;
pub mod xsave_header;
pub mod fault;
pub mod moved;
pub mod processor;

pub use component::{Component, ComponentSet};
pub use cpuid::{CpuidRegisters, CpuidSource};
pub use enumeration::{Enumeration, Instruction, InstructionSet};
pub use error_pointers::ErrorPointers;
pub use fault::Fault;
pub use feature_bit::FeatureBit;
pub use legacy_region::{AbridgedTagWord, LegacyRegion, Mxcsr};
pub use moved::Moved;
pub use pkru::Pkru;
pub use processor::Processor;
pub use tile_config::{TileConfig, TileEnumeration, TilePalette};
pub use xcr0::{Xcr0, Xcr0Error};
pub use xfd::{Xfd, XfdErr};
pub use xsave_header::{Format, XsaveHeader};
pub use xss::Xss;
