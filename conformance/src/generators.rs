//! Seeds, and values for registers.

use fastrand::Rng;
use fpstate_arch::{AbridgedTagWord, LegacyRegion, Mxcsr};

/// The seeds of a test: `1..=count`, or the one in `FPSTATE_SEED` (decimal, or `0x` and
/// hexadecimal).
///
/// # Panics
/// If `FPSTATE_SEED` is not a number.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    let Ok(text) = std::env::var("FPSTATE_SEED") else {
        return (1..=count).collect();
    };
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    vec![number.expect("FPSTATE_SEED is a number")]
}

/// Whether FOP, FIP and FDP outlive a save without a pending exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPointers {
    /// Intel.
    Kept,
    /// AMD: stored as 0, so user code that has values there finds 0 after a switch. On CPUs without
    /// `XSaveErPtr` not stored at all, so it finds another's (CVE-2006-1056). User code of the tests
    /// has no values there, on either.
    OnlyWithException,
}

/// x87 registers that a save and a restore leave unchanged: reserved bits as they always read, an
/// 11-bit opcode, canonical pointers, the summary bits of FSW in accord with its flags.
pub(crate) fn write_x87(random: &mut Rng, pointers: ErrorPointers, region: &mut LegacyRegion) {
    let masks = random.u16(0..0x40);
    region.fcw = masks | 0x40 | random.u16(0..0x20) << 8;
    // No flag that FCW does not mask, so ES and B are 0.
    region.fsw = random.u16(0..0x40) & masks | random.u16(0..0x80) << 8;
    region.ftw = AbridgedTagWord::from_bits(random.u8(..));
    (region.fop, region.fip, region.fdp) = match pointers {
        ErrorPointers::Kept => (
            random.u16(0..0x800),
            random.u64(0..1 << 47),
            random.u64(0..1 << 47),
        ),
        ErrorPointers::OnlyWithException => (0, 0, 0),
    };
    for register in &mut region.st {
        let (value, reserved) = register.split_at_mut(10);
        random.fill(value);
        reserved.fill(0);
    }
}

/// A value for MXCSR that every CPU takes; often the initial one.
pub(crate) fn mxcsr(random: &mut Rng) -> Mxcsr {
    if random.u8(0..3) == 0 {
        Mxcsr::INITIAL
    } else {
        Mxcsr::from_bits(random.u32(0..=0xffff) & Mxcsr::DEFAULT_MASK)
    }
}
