//! User programs, and what the kernel does to vector registers in a section of its own: the only code
//! of this kernel's that names extended registers, in the section `.user_code`.
//!
//! Programs are copied to user memory, so they go without absolute addresses. Between two system calls
//! RDI points to the thread's block, RSI is the [`Width`], and R13 counts rounds.

use core::arch::global_asm;

use fpstate::Offer;
use fpstate_arch::{Component, ComponentSet};

/// Bytes of a pattern: FXSAVE's 512, 32 vector registers, 8 opmask registers.
pub const PATTERN_LEN: usize = OPMASKS + 64;
/// Where the vector registers are in a pattern.
pub const VECTORS: usize = 0x200;
/// Where the opmask registers are in a pattern.
pub const OPMASKS: usize = VECTORS + 32 * 64;
/// Where in a block a program stores what it found.
pub const FOUND: usize = 0x1000;
/// Rounds between two reports.
const ROUNDS: usize = 8;

/// In RSI: MXCSR is not compared.
pub const WITHOUT_MXCSR: u64 = 1 << WITHOUT_MXCSR_BIT;
const WITHOUT_MXCSR_BIT: u32 = 8;

/// The system call in RAX: `ROUNDS` more rounds found what they should.
pub const CALL_REPORT: u64 = 1;
/// The system call in RAX: the 8 bytes that RCX counts from 1 are RBX and not RDX.
pub const CALL_MISMATCH: u64 = 2;

/// How wide the vector registers are that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// XMM0 to XMM15.
    Xmm = 0,
    /// YMM0 to YMM15.
    Ymm = 1,
    /// ZMM0 to ZMM31 and the opmask registers.
    Zmm = 2,
}

impl Width {
    /// What threads have under `offer`.
    #[must_use]
    pub fn of(offer: &Offer<'_>) -> Self {
        let components = offer.default_components();
        let avx512 = ComponentSet::only(Component::Opmask)
            .with(Component::ZmmHi256)
            .with(Component::Hi16Zmm);
        if components.contains_all(avx512) {
            Self::Zmm
        } else if components.contains(Component::Avx) {
            Self::Ymm
        } else {
            Self::Xmm
        }
    }

    /// Bytes of a vector register, and how many there are.
    #[must_use]
    pub const fn extent(self) -> (usize, usize) {
        match self {
            Self::Xmm => (16, 16),
            Self::Ymm => (32, 16),
            Self::Zmm => (64, 32),
        }
    }
}

/// Where a program begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Fills every register from the pattern in its block and then compares again and again.
    FillAndCompare,
    /// Compares again and again.
    Compare,
}

impl Program {
    /// Bytes behind the beginning of all programs.
    #[must_use]
    pub fn offset(self) -> usize {
        let entry = match self {
            Self::FillAndCompare => (&raw const user_fill).addr(),
            Self::Compare => (&raw const user_compare).addr(),
        };
        entry - start()
    }
}

/// Where all programs are in the image.
pub fn start() -> usize {
    (&raw const user_programs_start).addr()
}

/// Bytes of all programs.
pub fn len() -> usize {
    (&raw const user_programs_end).addr() - start()
}

/// The kernel's own use of extended registers: all of them have other values, MXCSR and the x87 control
/// word too.
pub fn smash(width: Width) {
    // SAFETY: it keeps to the ABI and changes extended registers alone, which no compiled code has
    // anything in; the CPU has what `width` says enabled.
    unsafe { smash_registers(width as u64) };
}

unsafe extern "C" {
    static user_programs_start: u8;
    static user_programs_end: u8;
    static user_fill: u8;
    static user_compare: u8;
    fn smash_registers(width: u64);
}

global_asm!(
    ".pushsection .user_code, \"ax\", @progbits",
    ".balign 16",
    ".globl user_programs_start",
    "user_programs_start:",
    ".globl user_fill",
    "user_fill:",
    "fxrstor64 [rdi]",
    "test sil, sil",
    "jz user_compare",
    "cmp sil, 2",
    "je 2f",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "vmovups ymm\\i, [rdi + {vectors} + 64 * \\i]",
    ".endr",
    "jmp user_compare",
    "2:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "vmovups zmm\\i, [rdi + {vectors} + 64 * \\i]",
    ".endr",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
    "kmovq k\\i, [rdi + {opmasks} + 8 * \\i]",
    ".endr",
    ".globl user_compare",
    "user_compare:",
    "inc r13",
    "fxsave64 [rdi + {found}]",
    // What the pattern says nothing about: FOP, the pointers and MXCSR_MASK.
    "mov word ptr [rdi + {found} + 6], 0",
    "mov qword ptr [rdi + {found} + 8], 0",
    "mov qword ptr [rdi + {found} + 16], 0",
    "mov dword ptr [rdi + {found} + 28], 0",
    "bt esi, {without_mxcsr}",
    "jnc 9f",
    "mov eax, [rdi + 24]",
    "mov [rdi + {found} + 24], eax",
    "9:",
    "test sil, sil",
    "jz 4f",
    "cmp sil, 2",
    "je 3f",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "vmovups [rdi + {found} + {vectors} + 64 * \\i], ymm\\i",
    ".endr",
    "jmp 4f",
    "3:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "vmovups [rdi + {found} + {vectors} + 64 * \\i], zmm\\i",
    ".endr",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
    "kmovq [rdi + {found} + {opmasks} + 8 * \\i], k\\i",
    ".endr",
    "4:",
    "mov ecx, {len} / 8",
    "5:",
    "mov rax, [rdi + rcx * 8 - 8]",
    "cmp rax, [rdi + rcx * 8 - 8 + {found}]",
    "jne 6f",
    "dec ecx",
    "jnz 5b",
    "test r13, {rounds} - 1",
    "jnz user_compare",
    "mov eax, {report}",
    "int 0x80",
    "jmp user_compare",
    "6:",
    "mov rdx, rax",
    "mov rbx, [rdi + rcx * 8 - 8 + {found}]",
    "mov eax, {mismatch}",
    "int 0x80",
    "ud2",
    ".globl user_programs_end",
    "user_programs_end:",
    ".balign 16",
    ".globl smash_registers",
    "smash_registers:",
    "fninit",
    "fldpi",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "pcmpeqd xmm\\i, xmm\\i",
    ".endr",
    "test edi, edi",
    "jz 8f",
    "cmp edi, 2",
    "je 7f",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "vinsertf128 ymm\\i, ymm\\i, xmm\\i, 1",
    ".endr",
    "jmp 8f",
    "7:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "vpternlogd zmm\\i, zmm\\i, zmm\\i, 0xff",
    ".endr",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
    "kxnorq k\\i, k\\i, k\\i",
    ".endr",
    "8:",
    "push 0x7f80",
    "ldmxcsr [rsp]",
    "mov dword ptr [rsp], 0x27f",
    "fldcw [rsp]",
    "pop rax",
    "ret",
    ".popsection",
    vectors = const VECTORS,
    opmasks = const OPMASKS,
    found = const FOUND,
    len = const PATTERN_LEN,
    rounds = const ROUNDS,
    without_mxcsr = const WITHOUT_MXCSR_BIT,
    report = const CALL_REPORT,
    mismatch = const CALL_MISMATCH,
);
