//! One case, and what was observed of it.

use std::fmt;

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, Enumeration, Fault, LegacyRegion, XsaveHeader};

use super::instruction::{Between, Tested};
use crate::memory::Memory;

/// Where the registers' values are loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadedFrom {
    /// Memory that the instruction under test does not know.
    Elsewhere,
    /// The very bytes that are the operand; they are overwritten afterwards. XSAVEOPT may then
    /// leave out what is unmodified (SDM 1, 13.9).
    TheOperand,
}

/// What happens, from the registers' values on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The instruction.
    pub tested: Tested,
    /// EDX:EAX.
    pub rfbm: ComponentSet,
    /// A standard-format image that XRSTOR takes: what the registers hold.
    pub registers: Vec<u8>,
    /// How they got it.
    pub loaded_from: LoadedFrom,
    /// What happens before the instruction.
    pub between: Between,
    /// The bytes from the operand's byte 0 on, before the instruction.
    pub area: Vec<u8>,
    /// The operand's address modulo 64.
    pub misalignment: usize,
}

/// The bytes, from byte 0 on, that areas and images of a comparison have: more than any format of
/// `components` needs.
#[must_use]
pub fn area_len(enumeration: &Enumeration, components: ComponentSet) -> usize {
    let extended = components.iter().filter_map(|c| enumeration.entry(c));
    let packed: u32 = extended.map(|entry| entry.len + 63).sum();
    let standard = usize::try_from(enumeration.standard_len_for_xcr0()).unwrap_or(usize::MAX);
    let compacted =
        EXTENDED_REGION_OFFSET.saturating_add(usize::try_from(packed).unwrap_or(usize::MAX));
    standard.max(compacted)
}

/// The header of an area or image.
///
/// # Panics
/// If it has none.
#[must_use]
pub fn header_of(area: &[u8]) -> XsaveHeader {
    let header = area[LEGACY_REGION_LEN..].first_chunk();
    XsaveHeader::from_bytes(header.expect("a header"))
}

/// Replaces the header.
pub fn set_header(area: &mut [u8], header: &XsaveHeader) {
    area[LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET].copy_from_slice(&header.to_bytes());
}

/// The legacy region of an area or image.
///
/// # Panics
/// If it is shorter.
#[must_use]
pub fn legacy_of(area: &[u8]) -> LegacyRegion {
    LegacyRegion::from_bytes(area.first_chunk().expect("a legacy region"))
}

/// Replaces the legacy region.
///
/// # Panics
/// If the area is shorter.
pub fn set_legacy(area: &mut [u8], legacy: &LegacyRegion) {
    legacy.write_to(area.first_chunk_mut().expect("a legacy region"));
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (header, registers) = (header_of(&self.area), header_of(&self.registers));
        write!(
            f,
            "{} with RFBM={:#x}, area: XSTATE_BV={:#x} XCOMP_BV={:#x} MXCSR={:#x} address mod 64 = \
             {}; registers: {} not initial, MXCSR={:#x}, from {:?}, then {:?}",
            self.tested,
            self.rfbm.bits(),
            header.xstate_bv.bits(),
            header.xcomp_bv,
            legacy_of(&self.area).mxcsr,
            self.misalignment,
            registers.xstate_bv,
            legacy_of(&self.registers).mxcsr,
            self.loaded_from,
            self.between,
        )
    }
}

/// The operand's bytes with bytes before and behind that no instruction may change.
#[derive(Debug)]
pub struct Surroundings(Memory);

const GUARD_LEN: usize = 64;
const GUARD: u8 = 0xc5;

impl Surroundings {
    /// For operands of `area_len` bytes.
    #[must_use]
    pub fn new(area_len: usize) -> Self {
        // The misalignment is less than another 64.
        Self(Memory::zeroed(GUARD_LEN + 64 + area_len + GUARD_LEN))
    }

    /// `bytes` at the operand's place, guards around them.
    pub fn surround(&mut self, misalignment: usize, bytes: &[u8]) {
        self.0.bytes_mut().fill(GUARD);
        self.operand_mut(misalignment)[..bytes.len()].copy_from_slice(bytes);
    }

    /// Everything, guards and operand.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Everything, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// From the operand's byte 0 to the end.
    pub fn operand_mut(&mut self, misalignment: usize) -> &mut [u8] {
        &mut self.0.bytes_mut()[Self::operand_offset(misalignment)..]
    }

    /// The operand's byte 0 in [`bytes`](Self::bytes).
    #[must_use]
    pub const fn operand_offset(misalignment: usize) -> usize {
        GUARD_LEN + misalignment % 64
    }
}

/// What one execution left behind.
#[derive(Debug)]
pub struct Observed {
    /// The fault.
    pub fault: Option<Fault>,
    /// EDX:EAX, of XGETBV.
    pub result: Option<ComponentSet>,
    /// XGETBV(1) directly after the instruction, where the CPU has it.
    pub in_use: Option<ComponentSet>,
    /// The operand and what is around it, after the instruction.
    pub memory: Surroundings,
    /// A standard-format area of the registers before the instruction.
    pub before: Memory,
    /// And after it.
    pub after: Memory,
}

impl Observed {
    /// Nothing yet.
    #[must_use]
    pub fn new(area_len: usize) -> Self {
        Self {
            fault: None,
            result: None,
            in_use: None,
            memory: Surroundings::new(area_len),
            before: Memory::zeroed(area_len),
            after: Memory::zeroed(area_len),
        }
    }
}
