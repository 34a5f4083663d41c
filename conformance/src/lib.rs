//! Where the library, the software CPU and the silicon meet.
//!
//! `fpstate` cannot reach an instruction and `fpstate-model` cannot see the library, so neither can
//! confirm the other's mistakes; here they are joined. The tests are in `tests/`. This crate is what
//! they share: a small kernel with CPUs, threads and guests (the [`world`]), in which a reference
//! that knows only what each thread wrote is compared with what the registers show.
//!
//! A test that fails prints a seed; `FPSTATE_SEED=<seed>` runs that one schedule again.
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`generators`] - seeds, and values for registers
//! * [`memory`] - aligned memory
//! * [`differential`] - the software CPU held against the real one (x86-64 only)
//! * [`contents`] - what a thread may see in its registers, without any layout
//! * [`images`] - standard-format images made without the library
//! * [`judge`] - the kernel of this machine held against the library (x86-64 only)
//! * [`cpus`] - recorded CPUs of every kind that matters
//! * [`user_code`] - reading and writing registers as user code does: model and silicon
//! * [`intercept`] - what all wrappers around a processor share
//! * [`traced`] - records each instruction
//! * [`faulting`] - raises faults on demand
//! * [`priced`] - a clock that goes by what is executed
//! * [`broken`] - does not do what it is told
//! * [`moving`] - counts what is done by register moves
//! * [`machine`] - what all CPUs of one machine have in common
//! * [`silicon`] - CPUs made of the one that executes this
//! * [`world`] - the small kernel
//! * [`growth_world`] - a small kernel whose states grow on demand
//! * [`simulator`] - large growth worlds from seeds, and what fails made short
//! * [`pair`] - one thread and one guest, for the tests of single behaviours
//! * [`host`] - a kernel that offers what [`fpstate::Offer`] decides
//! * [`tiles`] - all tiles, loaded and stored by instructions
//! * [`vcpu`] - a vCPU as a VMM drives it
//! * [`on_demand`] - threads and guests whose states grow when they first use tiles
//! * [`explorer`] - every interleaving of small worlds
//! * [`fuzzing`] - what is done with bytes that a fuzzer chose

pub mod generators;
pub mod memory;
#[cfg(target_arch = "x86_64")]
pub mod differential;
pub mod contents;
pub mod images;
#[cfg(target_arch = "x86_64")]
pub mod judge;
pub mod cpus;
pub mod user_code;
#[cfg(target_arch = "x86_64")]
mod user_code_on_silicon;
pub mod intercept;
pub mod traced;
pub mod faulting;
pub mod priced;
pub mod broken;
pub mod moving;
pub mod machine;
#[cfg(target_arch = "x86_64")]
pub mod silicon;
pub mod world;
pub mod growth_world;
pub mod simulator;
pub mod pair;
pub mod host;
pub mod tiles;
pub mod vcpu;
pub mod on_demand;
pub mod explorer;
pub mod fuzzing;
