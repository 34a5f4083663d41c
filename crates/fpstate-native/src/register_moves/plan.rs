//! What a routine has to know of the format and of what is asked.

use fpstate_arch::moved::{COVERED, MOVABLE};
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
    /// Nothing: they stay those of the owner before. No image of an owner whose x87 is initial has them
    /// either, but FNSTENV shows them: for owners that may know each other's addresses.
    Kept,
    /// FNINIT: they become 0, as by XRSTOR. About 70 cycles of a Zen 4.
    Zeroed,
    /// FILD, FSTP, FNCLEX: they become those of the routine. About 40 cycles of a Zen 4; the next
    /// owner sees addresses of the program, so it is for owners inside one process.
    Replaced,
}

impl ErrorPointersLeft {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Initial | Self::Kept => 0,
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
    /// Components that it goes on counting as in use after they were initialised by moves. Where all of
    /// those of AVX-512 may be in use, XGETBV(1) is asked, lest each owner from then on has them; where
    /// x87 is, to become initial, it is left to the instruction.
    pub counted_when_zeroed: ComponentSet,
}

impl MovingCpu {
    /// What plain moves, and for x87 FXSAVE64 and FXRSTOR64, cover on this CPU: without AVX512BW no opmask
    /// of 64 bits can be moved, so nothing of AVX-512 is.
    #[must_use]
    pub fn movable() -> ComponentSet {
        const AVX512BW: u32 = 1 << 30;
        if cpuid(7, 0).ebx & AVX512BW == 0 {
            COVERED.difference(ComponentSet::AVX512)
        } else {
            COVERED
        }
    }

    /// AMD's XINUSE goes by content (docs/surprises.md); of Intel's it is not known.
    #[must_use]
    pub fn counted_when_zeroed() -> ComponentSet {
        const AUTHENTIC_AMD: [u8; 4] = *b"Auth";
        if cpuid(0, 0).ebx.to_le_bytes() == AUTHENTIC_AMD {
            ComponentSet::EMPTY
        } else {
            ComponentSet::AVX512.with(Component::X87)
        }
    }
}

/// XCR0 has no component 63.
const NEVER_IN_USE: u64 = 1 << 63;

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
    /// Where `in_use` has all of them, a restore asks XGETBV(1) after all.
    pub(super) asked_again: u64,
    pub(super) avx: u32,
    pub(super) opmask: u32,
    pub(super) zmm_hi256: u32,
    pub(super) hi16_zmm: u32,
    pub(super) mxcsr_mask: u32,
    /// In an image's MXCSR, they make a restore an instruction's (which raises #GP).
    pub(super) mxcsr_refused: u32,
    pub(super) mxcsr_initial: u32,
    pub(super) zero: u32,
    /// The number of an [`ErrorPointersLeft`].
    pub(super) error_pointers: u8,
    /// 1 where it is asked for.
    pub(super) x87: u8,
    /// 0 where a restore that initialises it is an instruction's.
    pub(super) x87_initialised: u8,
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
        // XMM and all above it are parts of the same registers; x87 is not.
        let not_asked = cpu.movable.intersection(MOVABLE).difference(rfbm);
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
            asked_again: match cpu
                .counted_when_zeroed
                .intersection(MOVABLE)
                .intersection(cpu.xcr0)
            {
                ComponentSet::EMPTY => NEVER_IN_USE,
                counted => counted.bits(),
            },
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
            x87: u8::from(rfbm.contains(Component::X87)),
            x87_initialised: u8::from(!cpu.counted_when_zeroed.contains(Component::X87)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::CpuidRegisters;
    use fpstate_arch::cpuid::RecordedLeaves;

    const fn leaf(eax: u32, ebx: u32, ecx: u32) -> CpuidRegisters {
        CpuidRegisters {
            eax,
            ebx,
            ecx,
            edx: 0,
        }
    }

    /// In the manner of a Skylake server: MPX before AVX-512, PKRU behind it, and CET_U.
    const LEAVES: [(u32, u32, CpuidRegisters); 10] = [
        (0x1, 0, leaf(0, 0, 1 << 26)),
        (0xd, 0, leaf(0x2ff, 0, 0)),
        (0xd, 2, leaf(256, 576, 0)),
        (0xd, 3, leaf(64, 960, 0)),
        (0xd, 4, leaf(64, 1024, 0)),
        (0xd, 5, leaf(64, 1088, 0)),
        (0xd, 6, leaf(512, 1152, 0)),
        (0xd, 7, leaf(1024, 1664, 0)),
        (0xd, 9, leaf(8, 2688, 0)),
        (0xd, 11, leaf(16, 0, 1)),
    ];

    fn plan(format: Format, rfbm: u64, sub_leaf_1: u32) -> Option<MovePlan> {
        let with_cet = CpuidRegisters {
            ecx: 0x800,
            ..leaf(sub_leaf_1, 0, 0)
        };
        let mut leaves = [(0xd, 1, with_cet); 11];
        leaves[1..].copy_from_slice(&LEAVES);
        let enumeration = Enumeration::read(RecordedLeaves(&leaves));
        let cpu = MovingCpu {
            xcr0: ComponentSet::from_bits(0x2ff),
            movable: MOVABLE,
            mxcsr_mask: 0xffff,
            error_pointers: ErrorPointersLeft::Zeroed,
            counted_when_zeroed: ComponentSet::EMPTY,
        };
        MovePlan::for_saves(cpu, &enumeration, format, ComponentSet::from_bits(rfbm))
    }

    const XSAVES_AND_ALL: u32 = 0xf;

    #[test]
    fn places_are_those_of_the_format() {
        for (format, rfbm, places, reach) in [
            (Format::Standard, 0xe7, [576, 1088, 1152, 1664], 2688),
            (Format::Compacted, 0xe7, [576, 832, 896, 1408], 2432),
            (Format::Compacted, 0x2ff, [576, 960, 1024, 1536], 2568),
        ] {
            let plan = plan(format, rfbm, XSAVES_AND_ALL).unwrap();
            let found = [plan.avx, plan.opmask, plan.zmm_hi256, plan.hi16_zmm];
            assert_eq!((found, plan.reach()), (places, reach), "{format} {rfbm:#x}");
        }
    }

    #[test]
    fn what_moves_do_not_cover_has_no_plan_or_is_an_instructions() {
        for (format, rfbm, sub_leaf_1, covered) in [
            (Format::Standard, 0x7, 0x4, true),
            // No XGETBV(1), no XSAVEC.
            (Format::Standard, 0x7, 0x3, false),
            (Format::Compacted, 0x7, 0x5, false),
            // FXSAVE; without SSE; CET_U, of which XGETBV(1) does not tell.
            (Format::Fxsave, 0x3, XSAVES_AND_ALL, false),
            (Format::Compacted, 0x5, XSAVES_AND_ALL, false),
            (Format::Compacted, 0x807, XSAVES_AND_ALL, false),
        ] {
            let plan = plan(format, rfbm, sub_leaf_1);
            assert_eq!(plan.is_some(), covered, "{format} {rfbm:#x}");
        }
        let plan = plan(Format::Compacted, 0x207, XSAVES_AND_ALL).unwrap();
        assert_eq!(plan.not_saved, 0x201);
        // AVX-512 in use above registers that a load by VEX zeroes is in the way too.
        assert_eq!(plan.not_replaced, 0x2e1 | !0x2ff);
        assert_eq!(plan.not_loaded, 0x201 | !0x207);
    }
}
