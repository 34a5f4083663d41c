//! The guest's code: it takes a pattern into every vector register, stops, and writes out what it has.
//!
//! RSI points at the patterns, RDI at the results: 64 bytes for each of 32 vector registers, then 8 for
//! each opmask, then 16 for each x87 register, then MXCSR, FCW and XCR0. It stops by a write to a port,
//! with IOPL 3, at CPL 3: some hosts run no guest code but that natively.

use core::arch::global_asm;

/// Where a field of patterns and results begins.
pub(crate) const OPMASKS: usize = 32 * 64;
pub(crate) const X87: usize = OPMASKS + 8 * 8;
pub(crate) const MXCSR: usize = X87 + 8 * 16;
pub(crate) const FCW: usize = MXCSR + 4;
pub(crate) const XCR0: usize = FCW + 4;
pub(crate) const LEN: usize = XCR0 + 8;

/// The port that stops the guest with every pattern in its register.
pub(crate) const HOLDS: u16 = 0x10;
/// The port that stops it when the results are written.
pub(crate) const WROTE: u16 = 0x11;

global_asm!(
    ".pushsection .rodata.fpstate_guest, \"a\"",
    ".macro legacy_in",
    "fninit",
    ".irp i, 7,6,5,4,3,2,1,0",
    "fld tbyte ptr [rsi + {x87} + 16 * \\i]",
    ".endr",
    "fldcw [rsi + {fcw}]",
    "ldmxcsr [rsi + {mxcsr}]",
    ".endm",
    ".macro legacy_out",
    "stmxcsr [rdi + {mxcsr}]",
    "fnstcw [rdi + {fcw}]",
    ".irp i, 0,1,2,3,4,5,6,7",
    "fstp tbyte ptr [rdi + {x87} + 16 * \\i]",
    ".endr",
    "xor ecx, ecx",
    "xgetbv",
    "mov [rdi + {xcr0}], eax",
    "mov [rdi + {xcr0} + 4], edx",
    ".endm",
    ".macro stop port",
    "mov dx, \\port",
    "out dx, al",
    ".endm",
    // AVX: sixteen registers of 32 bytes.
    "fpstate_guest_avx:",
    "legacy_in",
    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "vmovdqu ymm\\i, [rsi + 64 * \\i]",
    ".endr",
    "stop {holds}",
    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "vmovdqu [rdi + 64 * \\i], ymm\\i",
    ".endr",
    "legacy_out",
    "stop {wrote}",
    "fpstate_guest_avx_end:",
    // AVX-512: thirty-two registers of 64 bytes, eight opmasks of 8.
    "fpstate_guest_avx512:",
    "legacy_in",
    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "vmovdqu64 zmm\\i, [rsi + 64 * \\i]",
    ".endr",
    ".irp i, 0,1,2,3,4,5,6,7",
    "kmovq k\\i, [rsi + {opmasks} + 8 * \\i]",
    ".endr",
    "stop {holds}",
    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "vmovdqu64 [rdi + 64 * \\i], zmm\\i",
    ".endr",
    ".irp i, 0,1,2,3,4,5,6,7",
    "kmovq [rdi + {opmasks} + 8 * \\i], k\\i",
    ".endr",
    "legacy_out",
    "stop {wrote}",
    "fpstate_guest_avx512_end:",
    ".popsection",
    opmasks = const OPMASKS,
    x87 = const X87,
    mxcsr = const MXCSR,
    fcw = const FCW,
    xcr0 = const XCR0,
    holds = const HOLDS,
    wrote = const WROTE,
);

unsafe extern "C" {
    static fpstate_guest_avx: u8;
    static fpstate_guest_avx_end: u8;
    static fpstate_guest_avx512: u8;
    static fpstate_guest_avx512_end: u8;
}

/// The widest vectors that the guest uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectors {
    Avx,
    Avx512,
}

impl Vectors {
    /// The guest's code; it runs at any address.
    pub(crate) fn code(self) -> &'static [u8] {
        let (first, end) = match self {
            Self::Avx => (
                &raw const fpstate_guest_avx,
                &raw const fpstate_guest_avx_end,
            ),
            Self::Avx512 => (
                &raw const fpstate_guest_avx512,
                &raw const fpstate_guest_avx512_end,
            ),
        };
        let len = end.addr() - first.addr();
        // SAFETY: the bytes between two labels of one section, which nobody writes to.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// Vector registers, and bytes of each.
    pub(crate) fn registers(self) -> (usize, usize) {
        match self {
            Self::Avx => (16, 32),
            Self::Avx512 => (32, 64),
        }
    }
}
