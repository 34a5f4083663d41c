//! CPUs made of the one that executes this.
#![expect(
    unsafe_code,
    reason = "whoever makes a UserProcessor promises what its process does with the registers"
)]

use fpstate_native::UserProcessor;

use crate::memory::Memory;

/// Memory for the hand-over images of `count` CPUs.
#[must_use]
pub fn hand_over_memory(count: usize) -> Vec<Memory> {
    let len = UserProcessor::hand_over_len();
    (0..count).map(|_| Memory::zeroed(len)).collect()
}

/// One CPU per hand-over image, all of them the CPU that executes this, with XSAVE; `None` if it
/// has none, or the operating system does not use it.
///
/// # Panics
/// If the memory is not from [`hand_over_memory`].
pub fn processors(memory: &mut [Memory]) -> Option<Vec<UserProcessor<'_>>> {
    use fpstate_arch::Processor;
    let mut processors = Vec::new();
    for memory in memory {
        // SAFETY:
        // 1. The tests are Linux processes (or run under another system that keeps extended state
        //    across interrupts, signals and migrations, as any that runs compiled Rust does).
        // 2. The machine has one kind of CPU, and nothing changes XCR0 under a running process.
        // 3. The tests are compiled for x86-64 by a compiler that uses neither MPX nor, without
        //    being told to, APX; no test touches AMX.
        let made = unsafe { UserProcessor::assume_user_mode(memory.bytes_mut()) };
        let mut processor = made.expect("memory from hand_over_memory");
        processor.xgetbv().ok()?;
        processors.push(processor);
    }
    Some(processors)
}
