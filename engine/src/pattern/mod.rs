//! Register patterns: a value of its own in every register that user code can hold.
//!
//! A guest fills the registers from an image, is taken off the CPU, comes back, stores the registers
//! into a second image and compares the two. The moves are plain ones (MOVUPS, KMOV, FLD, FSTP,
//! FLDENV): no instruction of the XSAVE feature set takes part, so what is checked does not check
//! itself.
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`register_width`] - which registers there are: SSE, AVX or AVX-512
//! * [`register_name`] - one register, by the manual's name
//! * [`register_image`] - the memory form
//! * [`generate`] - a seed becomes an image
//! * [`comparison`] - what differs between two images
//! * [`hold_control`] - what happens between load and store
//! * [`moves`] - the assembly: load, store, hold
//! * [`register_moves`] - the assembly, safe to call

pub mod comparison;
pub mod generate;
pub mod hold_control;
pub mod moves;
pub mod register_image;
pub mod register_moves;
pub mod register_name;
pub mod register_width;

pub use comparison::{Comparison, Mismatch, RegisterValue, compare};
pub use generate::Patterns;
pub use hold_control::{ExitFunction, HoldControl};
pub use register_image::RegisterImage;
pub use register_moves::RegisterMoves;
pub use register_name::RegisterName;
pub use register_width::RegisterWidth;
