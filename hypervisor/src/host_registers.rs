//! What the kernel's threads have in registers, and what CPUID says of them.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use fpstate::CpuFpu;
use fpstate_arch::{ComponentSet, Enumeration, Fault, Processor};
use fpstate_native::Ring0Processor;

use crate::percpu::{self, KernelThreadFpu};
use crate::random_image;
use crate::scenario::{Outcome, failed};

/// CPUID of this machine.
pub fn enumeration() -> &'static Enumeration {
    percpu::offer().enumeration()
}

/// `thread`'s user code fills all registers but PKRU from `seed`.
///
/// # Errors
/// The state cannot be restored.
pub fn user_writes(
    thread: &mut KernelThreadFpu,
    cpu: &mut CpuFpu<Ring0Processor>,
    seed: u64,
) -> Result<(), Outcome> {
    thread.restore_before_use(cpu).map_err(failed)?;
    load(cpu, seed)
}

/// `thread`'s user code finds what it wrote.
///
/// # Errors
/// It does not.
pub fn user_finds(
    thread: &mut KernelThreadFpu,
    cpu: &mut CpuFpu<Ring0Processor>,
    seed: u64,
) -> Result<(), Outcome> {
    thread.restore_before_use(cpu).map_err(failed)?;
    let components = user_components(cpu);
    let given = random_image::image(enumeration(), components, seed).map_err(failed)?;
    let found = registers(cpu)?;
    match random_image::first_difference(&given, &found) {
        None => Ok(()),
        Some(at) => Err(failed(format!("the host's registers differ at byte {at}"))),
    }
}

/// What the registers hold now, all but PKRU.
fn registers(cpu: &mut CpuFpu<Ring0Processor>) -> Result<Vec<u8>, Outcome> {
    let components = user_components(cpu);
    let len = random_image::image(enumeration(), components, 0)
        .map_err(failed)?
        .len();
    let mut memory = Aligned::zeroed(len);
    let saved = cpu.processor().xsave(memory.bytes(), components);
    saved.map_err(faulted)?;
    Ok(memory.bytes().to_vec())
}

/// Something uses the registers and tells nobody.
///
/// # Errors
/// A fault.
pub fn overwrite(cpu: &mut CpuFpu<Ring0Processor>) -> Result<(), Outcome> {
    load(cpu, 0xdead)
}

/// A fault that should not be.
pub fn faulted(fault: Fault) -> Outcome {
    failed(format!("{fault:?}"))
}

fn load(cpu: &mut CpuFpu<Ring0Processor>, seed: u64) -> Result<(), Outcome> {
    let components = user_components(cpu);
    let image = random_image::image(enumeration(), components, seed).map_err(failed)?;
    let mut memory = Aligned::zeroed(image.len());
    memory.bytes().copy_from_slice(&image);
    let loaded = cpu.processor().xrstor(memory.bytes(), components);
    loaded.map_err(faulted)
}

/// What user code has in registers, tiles aside.
fn user_components(cpu: &CpuFpu<Ring0Processor>) -> ComponentSet {
    cpu.switched_components()
        .intersection(enumeration().user_components())
        .difference(ComponentSet::TILES)
}

/// Bytes at a multiple of 64.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    len: usize,
}

impl Aligned {
    /// Zeros.
    pub fn zeroed(len: usize) -> Self {
        let memory = vec![0; len + 63];
        Self { memory, len }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(64);
        &mut self.memory[start..start + self.len]
    }
}
