//! What one execution leaves behind, and where two of them differ.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use fpstate_arch::ComponentSet;

use super::memory::Memory;

/// What one execution left behind.
#[derive(Debug)]
pub struct Observed {
    /// EDX:EAX, or the vector of the exception.
    pub result: Result<ComponentSet, u8>,
    /// The operand and what is around it.
    pub memory: Memory,
    /// All registers, saved afterwards with everything enabled: by XSAVE, and behind that area, in
    /// one of the same length, supervisor components by XSAVES.
    pub registers: Memory,
}

/// Bytes of memory before the operand and behind it that no instruction may change.
pub const GUARD_LEN: usize = 64;
/// What they hold.
pub const GUARD: u8 = 0xc5;

impl Observed {
    /// Of nothing.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        Self {
            result: Ok(ComponentSet::EMPTY),
            memory: Memory::zeroed(GUARD_LEN + 64 + most_bytes + GUARD_LEN),
            registers: Memory::zeroed(2 * most_bytes),
        }
    }

    /// `bytes` at the operand's place, guards around them.
    pub fn surround(&mut self, misalignment: usize, bytes: &[u8]) {
        self.memory.bytes_mut().fill(GUARD);
        self.operand_mut(misalignment)[..bytes.len()].copy_from_slice(bytes);
    }

    /// From the operand's byte 0 to the end.
    pub fn operand_mut(&mut self, misalignment: usize) -> &mut [u8] {
        &mut self.memory.bytes_mut()[GUARD_LEN + misalignment % 64..]
    }
}

/// Where something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The vector of the exception; 255 if there is none.
    Exception,
    /// EDX:EAX.
    Result,
    /// A byte from the operand's byte 0 on.
    Area(usize),
    /// A byte before the operand.
    BeforeArea,
    /// A byte of the registers' area.
    Registers(usize),
}

/// A byte, a bit of XSTATE_BV or of a result, or a vector, that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// The model's.
    pub model: u64,
    /// The emulator's.
    pub emulator: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            model,
            emulator,
        } = self;
        write!(f, "{place:?}: model {model:#x}, emulator {emulator:#x}")
    }
}

/// No exception.
pub const NO_EXCEPTION: u8 = 255;

/// Everything in which the two differ. Behind a different exception nothing else is looked at.
#[must_use]
pub fn differences(misalignment: usize, model: &Observed, emulator: &Observed) -> Vec<Difference> {
    let mut found = Vec::new();
    let exception = |observed: &Observed| u64::from(observed.result.err().unwrap_or(NO_EXCEPTION));
    if exception(model) != exception(emulator) {
        found.push(Difference {
            place: Place::Exception,
            model: exception(model),
            emulator: exception(emulator),
        });
        return found;
    }
    let result = |observed: &Observed| observed.result.map_or(0, ComponentSet::bits);
    found.extend(each_bit(Place::Result, result(model), result(emulator)));
    let first = GUARD_LEN + misalignment % 64;
    each_byte(
        &model.memory,
        &emulator.memory,
        |offset, model, emulator| {
            let place = offset.checked_sub(first);
            let place = place.map_or(Place::BeforeArea, Place::Area);
            found.extend(parts(place, offset.wrapping_sub(first), model, emulator));
        },
    );
    let behind = model.registers.bytes().len() / 2;
    let (model, emulator) = (&model.registers, &emulator.registers);
    each_byte(model, emulator, |offset, model, emulator| {
        let place = Place::Registers(offset);
        found.extend(parts(place, offset % behind, model, emulator));
    });
    found
}

/// A byte of XSTATE_BV is eight differences, of which each has a reason of its own.
fn parts(place: Place, offset: usize, model: u64, emulator: u64) -> Vec<Difference> {
    if (512..520).contains(&offset) {
        return each_bit(place, model, emulator);
    }
    vec![Difference {
        place,
        model,
        emulator,
    }]
}

fn each_bit(place: Place, model: u64, emulator: u64) -> Vec<Difference> {
    let bits = (0..64).map(|bit| 1u64 << bit);
    bits.filter(|bit| (model ^ emulator) & bit != 0)
        .map(|bit| Difference {
            place,
            model: model & bit,
            emulator: emulator & bit,
        })
        .collect()
}

fn each_byte(model: &Memory, emulator: &Memory, mut differs: impl FnMut(usize, u64, u64)) {
    let (model, emulator) = (model.bytes(), emulator.bytes());
    if model == emulator {
        return;
    }
    for (offset, (&model, &emulator)) in model.iter().zip(emulator).enumerate() {
        if model != emulator {
            differs(offset, model.into(), emulator.into());
        }
    }
}
