//! The kernel as judge: the same images through the kernel of this machine and through the library, and
//! nothing may differ.
//!
//! * [`shape`] - what images of this machine look like, from CPUID alone
//! * [`answer`] - what became of an image, and how two answers differ
//! * [`legal`] - legal images: what the mutations start from
//! * [`mutation`] - what is done to them
//! * [`frame`] - the same for signal frames
//! * [`door`] - the ways by which images come into a kernel
//! * [`generator`] - images to hand over, from a seed
//! * [`trial`] - one door of the kernel beside the library's
//! * [`campaign`] - many images through both sides
//! * [`kernel`] - the kernel: a vCPU, a stopped thread, a return from a signal
//! * [`library`] - the library in its place
//! * [`named`] - the differences that have a name
//! * [`court`] - this machine's kernel at one door, and the library beside it
//! * [`table`] - observed answers, row by row
//! * [`wrong_rules`] - what must be caught

pub mod shape;
pub mod answer;
pub mod legal;
pub mod mutation;
pub mod frame;
pub mod door;
pub mod generator;
pub mod trial;
pub mod campaign;
pub mod kernel;
pub mod library;
pub mod named;
pub mod court;
pub mod table;
pub mod wrong_rules;
