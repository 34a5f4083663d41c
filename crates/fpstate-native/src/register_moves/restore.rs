//! The loads.

#![expect(
    clippy::too_many_lines,
    reason = "the routine is one piece: compiled code may use the registers"
)]

use core::arch::naked_asm;
use core::mem::offset_of;

use super::each_register::{each_high_register, each_low_register, each_opmask};
use super::plan::ErrorPointersLeft;
use super::{MovePlan, Outcome};
use crate::initial_image::INITIAL_IMAGE;

/// What XRSTOR of the plan's RFBM would load from `area`, with the initial configuration for what
/// the image does not have.
///
/// Nothing is loaded where the image has a component that moves do not cover, such a one is in use,
/// or the image is one that XRSTOR refuses. The image is looked at first: XGETBV(1) is asked only if
/// `known` is 0, or `in_use` has all of [`counted_when_zeroed`](super::plan::MovingCpu); otherwise no
/// component is in use that `in_use` does not have.
///
/// Callable from assembly by the System V ABI: RDI, RSI, RDX, RCX; RAX, RDX. The extended registers
/// are as loaded when it returns. It clobbers RAX, RCX, RDX, R8 to R11 and the flags.
///
/// The `in_use` that it returns is that of XGETBV(1): MXCSR, which is loaded, has no part in it.
///
/// # Safety
/// 1. `plan` is for this CPU, with XCR0 and the rest of [`MovingCpu`](super::plan::MovingCpu) as
///    they are.
/// 2. [`MovePlan::reach`] bytes from `area` on are valid for reads, and `area` is a multiple of 16.
/// 3. CR4.OSXSAVE and CR4.OSFXSR are 1, CR0.TS and CR0.EM are 0; at CPL 0 EFER.FFXSR is 0, with which
///    FXSAVE64 and FXRSTOR64 leave XMM out.
/// 4. If `known` is not 0, no component is in use that `in_use` does not have.
/// 5. No code depends on the registers that are loaded and that a call preserves (MXCSR).
#[unsafe(naked)]
pub unsafe extern "sysv64" fn restore_by_moves(
    area: *const u8,
    plan: *const MovePlan,
    in_use: u64,
    known: u64,
) -> Outcome {
    naked_asm!(
        "mov rax, rdx",
        // The image: of this format, nothing of an instruction's, no reserved bit, a legal MXCSR.
        "mov r8, [rdi + 512]",
        "mov r9, [rdi + 520]",
        "cmp r9, [rsi + {xcomp_bv}]",
        "jne 7f",
        "test r8, [rsi + {not_loaded}]",
        "jnz 7f",
        "mov r10, [rdi + 528]",
        "or r10, [rdi + 536]",
        "or r10, [rdi + 544]",
        "or r10, [rdi + 552]",
        "or r10, [rdi + 560]",
        "or r10, [rdi + 568]",
        "jnz 7f",
        "and r8, [rsi + {rfbm}]",
        // R10: where MXCSR comes from. The compacted format takes it with SSE alone.
        "lea r10, [rdi + 24]",
        "lea r11, [rsi + {mxcsr_initial}]",
        "test r9, r9",
        "jz 2f",
        "test r8d, 0x2",
        "cmovz r10, r11",
        "2:",
        "mov r9d, [r10]",
        "test r9d, [rsi + {mxcsr_refused}]",
        "jnz 7f",
        // RAX: what is in use.
        "test rcx, rcx",
        "jz 3f",
        "mov rdx, rax",
        "not rdx",
        "test rdx, [rsi + {asked_again}]",
        "jnz 2f",
        "3:",
        "mov ecx, 1",
        "xgetbv",
        "shl rdx, 32",
        "or rax, rdx",
        "2:",
        "test rax, [rsi + {not_replaced}]",
        "jnz 6f",
        "mov edx, eax",
        "or edx, r8d",
        "test dl, [rsi + {x87}]",
        "jnz 5f",
        // x87 is initial before and after, but for what XGETBV(1) does not tell.
        "cmp byte ptr [rsi + {error_pointers}], {zeroed}",
        "jb 2f",
        "je 3f",
        "fild dword ptr [rsi + {zero}]",
        "fstp st(0)",
        "fnclex",
        "jmp 2f",
        "3:",
        "fninit",
        "2:",
        "9:",
        "ldmxcsr [r10]",
        "mov r9d, [rsi + {avx}]",
        "cmp r8d, 0x6",
        "jne 3f",
        // SSE and AVX; the load of XMM by VEX zeroes what is above.
        each_low_register!("vmovaps xmm\\n, [rdi + 160 + 16 * \\n]; vinsertf128 ymm\\n, ymm\\n, [rdi + r9 + 16 * \\n], 1"),
        "test eax, 0xa0",
        "jnz 4f",
        "mov edx, {done}",
        "ret",
        // Any of the five, and any of them in use. First all above XMM to 0.
        "3:",
        "test eax, 0x44",
        "jz 3f",
        "vzeroupper",
        "3:",
        "test r8d, 0x2",
        "jz 2f",
        each_low_register!("movaps xmm\\n, [rdi + 160 + 16 * \\n]"),
        "jmp 3f",
        "2:",
        "test eax, 0x2",
        "jz 3f",
        each_low_register!("xorps xmm\\n, xmm\\n"),
        "3:",
        "8:",
        "test r8d, 0x4",
        "jz 3f",
        each_low_register!("vinsertf128 ymm\\n, ymm\\n, [rdi + r9 + 16 * \\n], 1"),
        "3:",
        "test r8d, 0x40",
        "jz 3f",
        "mov r9d, [rsi + {zmm_hi256}]",
        each_low_register!("vinsertf64x4 zmm\\n, zmm\\n, [rdi + r9 + 32 * \\n], 1"),
        // From here on too where nothing but SSE and AVX is in the image.
        "3:",
        "4:",
        "test r8d, 0x20",
        "jz 2f",
        "mov r9d, [rsi + {opmask}]",
        each_opmask!("kmovq k\\n, [rdi + r9 + 8 * \\n]"),
        "jmp 3f",
        "2:",
        "test eax, 0x20",
        "jz 3f",
        each_opmask!("kxorq k\\n, k\\n, k\\n"),
        "3:",
        "test r8d, 0x80",
        "jz 2f",
        "mov r9d, [rsi + {hi16_zmm}]",
        each_high_register!("vmovups zmm\\n, [rdi + r9 + 64 * (\\n - 16)]"),
        "jmp 3f",
        "2:",
        "test eax, 0x80",
        "jz 3f",
        each_high_register!("vpxord zmm\\n, zmm\\n, zmm\\n"),
        "3:",
        "mov edx, {done}",
        "ret",
        // x87 from the image, and with it XMM and MXCSR, if it has them too.
        "5:",
        "test r8d, 0x1",
        "jz 2f",
        "test r8d, 0x2",
        "jz 6f",
        "fxrstor64 [rdi]",
        "mov r9d, [rsi + {avx}]",
        "test eax, 0x44",
        "jz 8b",
        "vzeroupper",
        "jmp 8b",
        // In use, and initial in the image.
        "2:",
        "cmp byte ptr [rsi + {x87_initialised}], 0",
        "je 6f",
        "fxrstor64 [rip + {initial}]",
        "jmp 9b",
        "6:",
        "mov edx, {not_covered}",
        "ret",
        // The image is an instruction's: what is in use is known or not, as before.
        "7:",
        "xor edx, edx",
        "test rcx, rcx",
        "setnz dl",
        "ret",
        rfbm = const offset_of!(MovePlan, rfbm),
        xcomp_bv = const offset_of!(MovePlan, xcomp_bv),
        not_replaced = const offset_of!(MovePlan, not_replaced),
        not_loaded = const offset_of!(MovePlan, not_loaded),
        asked_again = const offset_of!(MovePlan, asked_again),
        mxcsr_refused = const offset_of!(MovePlan, mxcsr_refused),
        mxcsr_initial = const offset_of!(MovePlan, mxcsr_initial),
        x87 = const offset_of!(MovePlan, x87),
        x87_initialised = const offset_of!(MovePlan, x87_initialised),
        initial = sym INITIAL_IMAGE,
        error_pointers = const offset_of!(MovePlan, error_pointers),
        zeroed = const ErrorPointersLeft::Zeroed.number(),
        zero = const offset_of!(MovePlan, zero),
        avx = const offset_of!(MovePlan, avx),
        opmask = const offset_of!(MovePlan, opmask),
        zmm_hi256 = const offset_of!(MovePlan, zmm_hi256),
        hi16_zmm = const offset_of!(MovePlan, hi16_zmm),
        done = const Outcome::DONE,
        not_covered = const Outcome::NOT_COVERED,
    )
}

// Where nothing was moved the status is 0 or 1 by whether `known` was 0.
const _: () = assert!(Outcome::UNKNOWN == 0 && Outcome::NOT_COVERED == 1);
