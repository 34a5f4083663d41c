//! Saves and restores by plain moves instead of microcode.
//!
//! XGETBV(1) says what is in use; where that is vector registers, opmasks and x87 alone, stores and loads
//! do what XSAVEC and XRSTOR would, for a quarter of the cycles. The image is one that every
//! instruction takes, and the registers are as XRSTOR would leave them. Where anything else is in
//! use, or in the image, the routines do nothing and say so.
//!
//! Each routine is one piece of assembly: no compiled code, which may use the same registers, runs
//! between XGETBV and the last store, nor between the first load and the last. It never executes an
//! instruction of AVX or AVX-512 unless such a component is in use or in the image, so it runs on
//! every CPU with XGETBV(1).
//!
//! What a component of an image that is initial becomes in the registers:
//!
//! | component | by |
//! |---|---|
//! | SSE | XORPS of each XMM, and LDMXCSR of 1F80H in the compacted format (the standard one always takes MXCSR from memory: SDM 1, 13.8.1) |
//! | AVX, ZMM_Hi256 | VZEROUPPER, which XINUSE notices; loads of XMM in legacy encoding then leave the upper parts at 0 |
//! | opmask, Hi16_ZMM | KXORQ, VPXORD: zero idioms, which a Zen 4's XINUSE notices; another CPU may go on counting them as in use |
//! | x87 | FXRSTOR64 of an initial image where it is in use, if XINUSE notices that on this CPU; otherwise nothing - but for FIP, FDP and FOP: see [`ErrorPointersLeft`] |
//!
//! x87 that is live is stored by FXSAVE64 and loaded by FXRSTOR64, and XMM and MXCSR with it. On a Zen 4 they
//! cost 60 and 137 cycles, an XRSTOR of x87 alone 253 (`instruction_costs.rs`).
//!
//! * [`plan`] - what a routine has to know of the format and of what is asked
//! * `each_register` - the assembler's loops
//! * [`save`] - the stores
//! * [`restore`] - the loads
//! * `plans` - the plans that a processor made last

mod each_register;
pub mod plan;
pub(crate) mod plans;
pub mod restore;
pub mod save;

pub use plan::{ErrorPointersLeft, MovePlan};
pub use restore::restore_by_moves;
pub use save::save_by_moves;

use fpstate_arch::{ComponentSet, Moved};

#[cfg(test)]
mod tests;

/// What a routine came to; RAX and RDX by the System V ABI.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was in use: XGETBV(1), and bit 1 where MXCSR is not 1F80H. RAX.
    pub in_use: u64,
    /// [`UNKNOWN`](Self::UNKNOWN), [`NOT_COVERED`](Self::NOT_COVERED) or [`DONE`](Self::DONE). RDX.
    pub status: u64,
}

impl Outcome {
    /// Nothing was moved, and `in_use` says nothing.
    pub const UNKNOWN: u64 = 0;
    /// Nothing was moved; `in_use` says what is in use.
    pub const NOT_COVERED: u64 = 1;
    /// All was moved.
    pub const DONE: u64 = 2;

    /// In the library's words.
    #[inline]
    pub const fn moved(self) -> Moved {
        let in_use = ComponentSet::from_bits(self.in_use);
        match self.status {
            Self::DONE => Moved::Done { in_use },
            Self::NOT_COVERED => Moved::NotCovered {
                in_use: Some(in_use),
            },
            _ => Moved::NOTHING,
        }
    }
}
