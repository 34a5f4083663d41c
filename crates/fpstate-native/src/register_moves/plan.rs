//! What a routine has to know of the format and of what is asked.

use fpstate_arch::moved::MOVABLE;
use fpstate_arch::{Component, ComponentSet, Enumeration, Format, Instruction, Mxcsr, XsaveHeader};

use crate::cpuid::cpuid;
use crate::reach::{compacted_offset, compacted_reach, standard_reach};

/// What becomes of the x87 error pointers where x87 is initial.
///
/// An AMD CPU has XGETBV(1)\[0\] = 0 with FIP, FDP and FOP that are not 0 - after FNOP, after FLDENV
/// of them, after FLDZ; FSTP; FNCLEX - where XRSTOR would have zeroed them. Left alone, the next
/// owner would read the last one's with FNSTENV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPointersLeft {
    /// They are 0 already: an Intel CPU, by SDM 1, 13.5.1 and 13.6.
    Initial,
    /// FNINIT: they become 0, as by XRSTOR. About 70 cycles of a Zen 4.
    Zeroed,
    /// FILD, FSTP, FNCLEX: they become those of the routine. About 40 cycles of a Zen 4; the next
    /// owner sees addresses of the program, so it is for owners inside one process.
    Replaced,
}

impl ErrorPointersLeft {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Initial => 0,
            Self::Zeroed => 1,
            Self::Replaced => 2,
        }
    }

    /// For this CPU, `where_they_stay` if its XGETBV(1) says nothing of them.
    pub(crate) fn on_this_cpu(where_they_stay: Self) -> Self {
        const GENUINE_INTEL: [u8; 4] = *b"Genu";
        if cpuid(0, 0).ebx.to_le_bytes() == GENUINE_INTEL {
            Self::Initial
        } else {
            where_they_stay
        }
    }
}

/// The CPU, as far as plans depend on it.
#[derive(Clone, Copy, Debug)]
pub struct MovingCpu {
    /// XCR0.
    pub xcr0: ComponentSet,
    /// What plain moves of this CPU cover.
    pub movable: ComponentSet,
    /// The bits of MXCSR that it has.
    pub mxcsr_mask: u32,
    /// What a restore does to the error pointers.
    pub error_pointers: ErrorPointersLeft,
}

impl MovingCpu {
    /// What plain moves cover on this CPU: without AVX512BW no opmask of 64 bits can be moved, so
    /// nothing of AVX-512 is.
    #[must_use]
    pub fn movable() -> ComponentSet {
        const AVX512BW: u32 = 1 << 30;
        if cpuid(7, 0).ebx & AVX512BW == 0 {
            MOVABLE.difference(ComponentSet::AVX512)
        } else {
            MOVABLE
        }
    }
}

/// The places and the masks for one format, or one XCOMP_BV, and one RFBM.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MovePlan {
    pub(super) rfbm: u64,
    /// Of an image; 0 in the standard format.
    pub(super) xcomp_bv: u64,
    /// The bits of XSTATE_BV that a save leaves as they are.
    pub(super) kept: u64,
    /// In use, they make a save an instruction's.
    pub(super) not_saved: u64,
    /// In use, they make a restore an instruction's: what moves do not cover, and what a load would
    /// change though it is not asked for. What XCR0 does not have cannot be in use.
    pub(super) not_replaced: u64,
    /// In XSTATE_BV, they make a restore an instruction's.
    pub(super) not_loaded: u64,
    pub(super) avx: u32,
    pub(super) opmask: u32,
    pub(super) zmm_hi256: u32,
    pub(super) hi16_zmm: u32,
    pub(super) mxcsr_mask: u32,
    /// In an image's MXCSR, they make a restore an instruction's (which raises #GP).
    pub(super) mxcsr_refused: u32,
    pub(super) mxcsr_initial: u32,
    /// The number of an [`ErrorPointersLeft`].
    pub(super) error_pointers: u32,
    pub(super) zero: u32,
    reach: usize,
}

impl MovePlan {
    /// For saves of `rfbm` in `format`, and restores of `rfbm` from what they wrote. `None` where
    /// moves cover nothing: without XGETBV(1), for a component that XCR0 does not have (XGETBV(1)
    /// does not tell of it), without SSE.
    #[must_use]
    pub fn for_saves(
        cpu: MovingCpu,
        enumeration: &Enumeration,
        format: Format,
        rfbm: ComponentSet,
    ) -> Option<Self> {
        let nothing = ComponentSet::EMPTY;
        match format {
            Format::Standard => Self::for_restores(cpu, enumeration, 0, rfbm),
            Format::Compacted => {
                let header = XsaveHeader::compacted(nothing, rfbm);
                Self::for_restores(cpu, enumeration, header.xcomp_bv, rfbm)
            }
            Format::Fxsave => None,
        }
    }

    /// For restores of `rfbm` from an image with `xcomp_bv`.
    #[must_use]
    pub fn for_restores(
        cpu: MovingCpu,
        enumeration: &Enumeration,
        xcomp_bv: u64,
        rfbm: ComponentSet,
    ) -> Option<Self> {
        let header = XsaveHeader {
            xcomp_bv,
            ..XsaveHeader::standard(ComponentSet::EMPTY)
        };
        let compacted = header.format() == Format::Compacted;
        let room = if compacted {
            header.xcomp_bv_components()
        } else {
            cpu.xcr0
        };
        let covered = enumeration.has(Instruction::XgetbvInUse)
            && (compacted || xcomp_bv == 0)
            && (!compacted || enumeration.has(Instruction::Xsavec))
            && cpu.xcr0.contains_all(rfbm.union(room))
            && rfbm.contains(Component::Sse);
        if !covered {
            return None;
        }
        let not_saved = rfbm.difference(cpu.movable);
        let not_asked = cpu.movable.difference(rfbm);
        let place = |component| {
            if compacted {
                compacted_offset(enumeration, room, component)
            } else {
                enumeration
                    .entry(component)
                    .map_or(0, |e| e.standard_offset)
            }
        };
        Some(Self {
            rfbm: rfbm.bits(),
            xcomp_bv,
            kept: if compacted { 0 } else { !rfbm.bits() },
            not_saved: not_saved.bits(),
            not_replaced: not_saved.union(not_asked).bits() | !cpu.xcr0.bits(),
            not_loaded: not_saved.bits() | !room.bits(),
            avx: place(Component::Avx),
            opmask: place(Component::Opmask),
            zmm_hi256: place(Component::ZmmHi256),
            hi16_zmm: place(Component::Hi16Zmm),
            mxcsr_mask: cpu.mxcsr_mask,
            mxcsr_refused: !cpu.mxcsr_mask,
            mxcsr_initial: Mxcsr::INITIAL.bits(),
            error_pointers: if rfbm.contains(Component::X87) {
                cpu.error_pointers.number()
            } else {
                ErrorPointersLeft::Initial.number()
            },
            zero: 0,
            reach: if compacted {
                compacted_reach(enumeration, room, room)
            } else {
                standard_reach(enumeration, rfbm)
            },
        })
    }

    /// Bytes, from byte 0 of an area on, that a routine may touch.
    #[must_use]
    #[inline]
    pub const fn reach(&self) -> usize {
        self.reach
    }
}
