//! Whether a restore from a compacted area gives MXCSR its initial value where XSTATE_BV\[1\] is 0, as SDM
//! 1, 13.8.2 has it. Bochs 3.0 leaves it as it is, so that threads there find each other's; they are
//! not asked for it then.

use alloc::string::{String, ToString};

use fpstate::{AreaStorage, CpuFpu};
use fpstate_arch::{ComponentSet, Mxcsr, Processor};
use spin::Once;

use crate::percpu;

static INITIALISED: Once<bool> = Once::new();

const XCOMP_BV: core::ops::Range<usize> = 520..528;
const COMPACTED: u64 = 1 << 63;

/// What [`probe`] found.
pub fn is_initialised() -> bool {
    INITIALISED.get().copied().unwrap_or(true)
}

/// Tries it, on the CPU itself and past the library; its registers are nobody's before and after.
///
/// # Errors
/// There is no memory, or the CPU refuses.
pub fn probe() -> Result<bool, String> {
    let mut memory = percpu::new_memory()?;
    let format = (COMPACTED | ComponentSet::LEGACY.bits()).to_le_bytes();
    if let Some(place) = memory.bytes_mut().get_mut(XCOMP_BV) {
        place.copy_from_slice(&format);
    }
    let found = percpu::with(|cpu| {
        cpu.fpu
            .registers_taken()
            .map_err(|error| error.to_string())?;
        restored(&mut cpu.fpu, memory.bytes()).map_err(|fault| fault.to_string())
    })?;
    Ok(*INITIALISED.call_once(|| found))
}

fn restored(cpu: &mut CpuFpu<impl Processor>, area: &[u8]) -> Result<bool, fpstate_arch::Fault> {
    let compacts = cpu.instructions().reaches_xss();
    let processor = cpu.processor();
    if !compacts {
        return Ok(true);
    }
    processor.ldmxcsr(Mxcsr::from_bits(0x7f80))?;
    processor.xrstors(area, ComponentSet::LEGACY)?;
    let found = processor.stmxcsr()?;
    processor.ldmxcsr(Mxcsr::INITIAL)?;
    Ok(found == Mxcsr::INITIAL)
}
