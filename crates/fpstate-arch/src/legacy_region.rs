//! Bytes 0 to 511 of an XSAVE area: the FXSAVE image, 64-bit form (SDM 1, 13.4.1 and 10.5.1).

use core::{fmt, mem};

/// Length of the legacy region in bytes.
pub const LEGACY_REGION_LEN: usize = 512;
/// The x87 control word in the initial configuration (SDM 1, 13.6): all exceptions masked,
/// extended precision.
pub const INITIAL_FCW: u16 = 0x037f;

/// The tag word as FXSAVE and XSAVE store it: one bit per *physical* x87 register, 1 = occupied.
///
/// Not the 16-bit word of FSAVE and the x87 environment, where two bits say `11` for empty. That
/// word cannot be put here: empty is 0x00, and 0xFFFF is not a value of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct AbridgedTagWord(u8);

impl AbridgedTagWord {
    /// No register occupied: the initial configuration.
    pub const ALL_EMPTY: Self = Self(0x00);

    /// The byte at offset 4 of the legacy region.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// From the 16-bit tag word of FSAVE, FSTENV or a debugger: `11` is empty, all else occupied
    /// (SDM 1, 10.5.1.1). What kind of value an occupied register holds is not recorded.
    #[must_use]
    pub fn from_full_tag_word(full: u16) -> Self {
        let occupied = (0..8u8)
            .filter(|register| full.wrapping_shr(u32::from(*register).wrapping_mul(2)) & 3 != 3)
            .fold(0, |bits: u8, register| {
                bits | 1u8.wrapping_shl(u32::from(register))
            });
        Self(occupied)
    }

    /// The byte as stored.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// The SSE control and status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mxcsr(u32);

impl Mxcsr {
    /// The initial configuration: all exceptions masked, round to nearest.
    pub const INITIAL: Self = Self(0x1f80);
    /// The bits of a CPU whose MXCSR_MASK reads 0 (SDM 1, 11.6.6).
    pub const DEFAULT_MASK: u32 = 0xffbf;

    /// Any 32 bits; whether a CPU takes them depends on its MXCSR_MASK.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The register's 32 bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Without the exception flags, bits 5:0: what a function has to preserve (x86-64 psABI, 3.2.1).
    #[must_use]
    #[inline]
    pub const fn control(self) -> Self {
        Self(self.0 & !0x3f)
    }

    /// Whether LDMXCSR and XRSTOR accept the value where MXCSR_MASK is `mask`; they raise #GP(0)
    /// for a 1 outside it.
    #[must_use]
    pub const fn is_valid_under(self, mask: u32) -> bool {
        self.0 & !mask == 0
    }
}

impl Default for Mxcsr {
    fn default() -> Self {
        Self::INITIAL
    }
}

impl fmt::LowerHex for Mxcsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// The legacy region, field by field, in the form of FXSAVE64 (REX.W).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyRegion {
    /// x87 control word, bytes 1:0.
    pub fcw: u16,
    /// x87 status word, bytes 3:2.
    pub fsw: u16,
    /// Byte 4.
    pub ftw: AbridgedTagWord,
    /// Byte 5; reserved, kept.
    pub reserved_5: u8,
    /// Last x87 opcode, bytes 7:6.
    pub fop: u16,
    /// Last x87 instruction pointer, bytes 15:8.
    pub fip: u64,
    /// Last x87 data pointer, bytes 23:16.
    pub fdp: u64,
    /// Bytes 27:24.
    pub mxcsr: Mxcsr,
    /// The bits of MXCSR this CPU has, bytes 31:28; 0 means [`Mxcsr::DEFAULT_MASK`].
    pub mxcsr_mask: u32,
    /// ST0 to ST7 (not physical order), bytes 159:32: ten bytes of value and six reserved ones.
    pub st: [[u8; 16]; 8],
    /// XMM0 to XMM15, bytes 415:160.
    pub xmm: [[u8; 16]; 16],
    /// Bytes 463:416 are reserved and bytes 511:464 are for software (Linux: the signal frame's
    /// `fpx_sw_bytes`).
    pub tail: [u8; 96],
}

impl LegacyRegion {
    /// The initial configuration of x87 and SSE (SDM 1, 13.6).
    pub const INITIAL: Self = Self {
        fcw: INITIAL_FCW,
        fsw: 0,
        ftw: AbridgedTagWord::ALL_EMPTY,
        reserved_5: 0,
        fop: 0,
        fip: 0,
        fdp: 0,
        mxcsr: Mxcsr::INITIAL,
        mxcsr_mask: 0,
        st: [[0; 16]; 8],
        xmm: [[0; 16]; 16],
        tail: [0; 96],
    };

    /// x87 to its initial configuration; everything else is kept.
    pub const fn initialise_x87(&mut self) {
        let Self {
            fcw,
            fsw,
            ftw,
            fop,
            fip,
            fdp,
            st,
            ..
        } = Self::INITIAL;
        (self.fcw, self.fsw, self.ftw) = (fcw, fsw, ftw);
        (self.fop, self.fip, self.fdp) = (fop, fip, fdp);
        self.st = st;
    }

    /// The XMM registers to their initial configuration; everything else, MXCSR too, is kept.
    pub const fn initialise_xmm(&mut self) {
        self.xmm = Self::INITIAL.xmm;
    }

    /// Reads all 512 bytes.
    #[must_use]
    #[inline] // Who looks at one field pays for one.
    pub fn from_bytes(bytes: &[u8; LEGACY_REGION_LEN]) -> Self {
        let mut reader = Reader(bytes);
        Self {
            fcw: u16::from_le_bytes(reader.take()),
            fsw: u16::from_le_bytes(reader.take()),
            ftw: AbridgedTagWord(u8::from_le_bytes(reader.take())),
            reserved_5: u8::from_le_bytes(reader.take()),
            fop: u16::from_le_bytes(reader.take()),
            fip: u64::from_le_bytes(reader.take()),
            fdp: u64::from_le_bytes(reader.take()),
            mxcsr: Mxcsr(u32::from_le_bytes(reader.take())),
            mxcsr_mask: u32::from_le_bytes(reader.take()),
            st: core::array::from_fn(|_| reader.take()),
            xmm: core::array::from_fn(|_| reader.take()),
            tail: reader.take(),
        }
    }

    /// Writes all 512 bytes.
    pub fn write_to(&self, bytes: &mut [u8; LEGACY_REGION_LEN]) {
        let Self {
            fcw,
            fsw,
            ftw,
            reserved_5,
            fop,
            fip,
            fdp,
            mxcsr,
            mxcsr_mask,
            st,
            xmm,
            tail,
        } = self;
        let mut writer = Writer(bytes);
        writer.put(&fcw.to_le_bytes());
        writer.put(&fsw.to_le_bytes());
        writer.put(&[ftw.bits(), *reserved_5]);
        writer.put(&fop.to_le_bytes());
        writer.put(&fip.to_le_bytes());
        writer.put(&fdp.to_le_bytes());
        writer.put(&mxcsr.bits().to_le_bytes());
        writer.put(&mxcsr_mask.to_le_bytes());
        st.iter().for_each(|register| writer.put(register));
        xmm.iter().for_each(|register| writer.put(register));
        writer.put(tail);
    }
}

const _: () =
    assert!(2 + 2 + 1 + 1 + 2 + 8 + 8 + 4 + 4 + 8 * 16 + 16 * 16 + 96 == LEGACY_REGION_LEN);

/// Consecutive fields of the region. The assertion above says that it never runs out.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// The same, to write. Each field goes in one move.
pub(crate) struct Writer<'a>(pub(crate) &'a mut [u8]);

impl Writer<'_> {
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, field: &[u8; N]) {
        if let Some((place, rest)) = mem::take(&mut self.0).split_first_chunk_mut() {
            *place = *field;
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_manual_puts_them() {
        let mut bytes = [0; LEGACY_REGION_LEN];
        for (value, byte) in (0u32..).zip(bytes.iter_mut()) {
            *byte = u8::try_from(value % 251).unwrap();
        }
        let region = LegacyRegion::from_bytes(&bytes);
        // SDM 1, table 10-2 (64-bit mode with REX.W).
        assert_eq!(region.fcw.to_le_bytes(), bytes[0..2]);
        assert_eq!(region.fsw.to_le_bytes(), bytes[2..4]);
        assert_eq!(region.ftw.bits(), bytes[4]);
        assert_eq!(region.fop.to_le_bytes(), bytes[6..8]);
        assert_eq!(region.fip.to_le_bytes(), bytes[8..16]);
        assert_eq!(region.fdp.to_le_bytes(), bytes[16..24]);
        assert_eq!(region.mxcsr.bits().to_le_bytes(), bytes[24..28]);
        assert_eq!(region.mxcsr_mask.to_le_bytes(), bytes[28..32]);
        assert_eq!(region.st[7], bytes[144..160]);
        assert_eq!(region.xmm[0], bytes[160..176]);
        assert_eq!(region.xmm[15], bytes[400..416]);
        assert_eq!(region.tail, bytes[416..512]);
        let mut again = [0; LEGACY_REGION_LEN];
        region.write_to(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn the_tag_word_of_fsave_becomes_its_abridged_form() {
        assert_eq!(
            AbridgedTagWord::from_full_tag_word(0xffff),
            AbridgedTagWord::ALL_EMPTY
        );
        assert_eq!(AbridgedTagWord::from_full_tag_word(0x0000).bits(), 0xff);
        // Physical register 7 valid (00), 6 zero (01), 5 special (10), the others empty.
        assert_eq!(
            AbridgedTagWord::from_full_tag_word(0b0001_1011_1111_1111).bits(),
            0b1110_0000
        );
    }

    #[test]
    fn mxcsr_is_judged_by_the_mask_of_the_cpu() {
        let denormals_are_zeros = Mxcsr::from_bits(0x1fc0);
        assert!(!denormals_are_zeros.is_valid_under(Mxcsr::DEFAULT_MASK));
        assert!(denormals_are_zeros.is_valid_under(0xffff));
        assert!(!Mxcsr::from_bits(0x1_1f80).is_valid_under(0xffff));
    }

    #[test]
    fn each_part_is_initialised_without_the_other() {
        let bytes = [0xa5; LEGACY_REGION_LEN];
        let (before, initial) = (LegacyRegion::from_bytes(&bytes), LegacyRegion::INITIAL);
        let mut region = before;
        region.initialise_x87();
        assert_eq!(
            (region.fcw, region.fsw, region.ftw),
            (initial.fcw, initial.fsw, initial.ftw)
        );
        assert_eq!((region.fop, region.fip, region.fdp), (0, 0, 0));
        assert_eq!(region.st, initial.st);
        assert_eq!((region.xmm, region.mxcsr), (before.xmm, before.mxcsr));
        region = before;
        region.initialise_xmm();
        assert_eq!(
            (region.st, region.fcw, region.mxcsr),
            (before.st, before.fcw, before.mxcsr)
        );
        assert_eq!(region.xmm, initial.xmm);
    }

    #[test]
    fn mxcsr_is_shown_in_hexadecimal() {
        extern crate alloc;
        assert_eq!(alloc::format!("{:#x}", Mxcsr::from_bits(0x1f80)), "0x1f80");
    }
}
