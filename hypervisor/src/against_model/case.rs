//! One case: registers, control registers, an instruction and its area.

use alloc::vec::Vec;
use core::fmt;

use fpstate_arch::{ComponentSet, Xcr0, Xss};

use super::places::header_of;
use super::tested::Tested;

/// What happens.
#[derive(Clone, Debug)]
pub struct Case {
    /// The instruction.
    pub tested: Tested,
    /// EDX:EAX.
    pub rfbm: ComponentSet,
    /// XCR0 while it executes.
    pub xcr0: Xcr0,
    /// IA32_XSS while it executes, where there is one.
    pub xss: Option<Xss>,
    /// What the registers hold: an image that XRSTOR takes, in the standard format.
    pub registers: Vec<u8>,
    /// And those of supervisor components: an image that XRSTORS takes, with room for all of them.
    pub supervisor_registers: Vec<u8>,
    /// The operand's bytes before.
    pub area: Vec<u8>,
    /// The operand's address modulo 64.
    pub misalignment: usize,
}

impl Case {
    /// What the instruction may operate on: XCR0, and IA32_XSS if it takes that into account.
    #[must_use]
    pub fn enabled(&self) -> ComponentSet {
        let supervisor = match self.xss {
            Some(xss) if self.tested.is_for_supervisors() => xss.components(),
            Some(_) | None => ComponentSet::EMPTY,
        };
        self.xcr0.components().union(supervisor)
    }

    /// RFBM: what is requested and enabled.
    #[must_use]
    pub fn requested(&self) -> ComponentSet {
        self.rfbm.intersection(self.enabled())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (area, registers) = (header_of(&self.area), header_of(&self.registers));
        write!(
            f,
            "{} rfbm={:#x} XCR0={:#x} XSS={:#x} area: XSTATE_BV={:#x} XCOMP_BV={:#x} address%64={} \
             registers: XSTATE_BV={:#x}",
            self.tested,
            self.rfbm.bits(),
            self.xcr0.components().bits(),
            self.xss.map_or(0, |xss| xss.components().bits()),
            area.xstate_bv.bits(),
            area.xcomp_bv,
            self.misalignment,
            registers.xstate_bv.bits(),
        )
    }
}
