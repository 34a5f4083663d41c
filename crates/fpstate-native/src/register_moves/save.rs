//! The stores.

#![expect(
    clippy::too_many_lines,
    reason = "the routine is one piece: compiled code may use the registers"
)]

use core::arch::naked_asm;
use core::mem::offset_of;

use super::each_register::{each_high_register, each_low_register, each_opmask};
use super::{MovePlan, Outcome};

/// What XSAVEC, or XSAVEOPT, of the plan's RFBM would store, to `area`: MXCSR, the components in
/// use, XSTATE_BV and XCOMP_BV. With x87, which FXSAVE64 stores, XMM is stored whether in use or not.
///
/// Nothing is written where a component is in use that moves do not cover. Nor is it asked what is
/// in use where `area` says, from the save before, that such a component was: a state that uses it
/// mostly goes on doing so, and the instruction that is then executed brings the bit up to date.
///
/// Callable from assembly by the System V ABI: RDI, RSI; RAX, RDX. It reads the extended registers
/// and changes none, clobbers RAX, RCX, RDX, R8 to R10 and the flags, and uses 16 bytes of stack.
///
/// # Safety
/// 1. `plan` is for this CPU, with XCR0 and the rest of [`MovingCpu`](super::plan::MovingCpu) as
///    they are, and made by [`MovePlan::for_saves`].
/// 2. [`MovePlan::reach`] bytes from `area` on are valid for reads and writes, and `area` is a
///    multiple of 16.
/// 3. CR4.OSXSAVE and CR4.OSFXSR are 1, CR0.TS and CR0.EM are 0; at CPL 0 EFER.FFXSR is 0, with which
///    FXSAVE64 and FXRSTOR64 leave XMM out.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn save_by_moves(area: *mut u8, plan: *const MovePlan) -> Outcome {
    naked_asm!(
        // The header of the save before: an instruction's case, and of this format?
        "mov r8, [rdi + 512]",
        "test r8, [rsi + {not_saved}]",
        "jz 2f",
        "mov r9, [rdi + 520]",
        "cmp r9, [rsi + {xcomp_bv}]",
        "je 8f",
        // RAX: what is in use.
        "2:",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "mov ecx, 1",
        "xgetbv",
        "shl rdx, 32",
        "or rax, rdx",
        "mov ecx, [rsp]",
        "add rsp, 8",
        "mov r9, rax",
        "or r9, 2",
        "cmp ecx, 0x1f80",
        "cmovne rax, r9",
        "test rax, [rsi + {not_saved}]",
        "jnz 7f",
        // MXCSR and MXCSR_MASK; XSTATE_BV; XCOMP_BV, which the standard format's saves do not write.
        "mov [rdi + 24], ecx",
        "mov r10d, [rsi + {mxcsr_mask}]",
        "mov [rdi + 28], r10d",
        "mov rdx, rax",
        "and rdx, [rsi + {rfbm}]",
        "and r8, [rsi + {kept}]",
        "or r8, rdx",
        "mov [rdi + 512], r8",
        "mov r9, [rsi + {xcomp_bv}]",
        "test r9, r9",
        "jz 2f",
        "mov [rdi + 520], r9",
        "2:",
        "mov ecx, [rsi + {avx}]",
        "cmp edx, 0x6",
        "jne 3f",
        // SSE and AVX.
        each_low_register!("vmovaps [rdi + 160 + 16 * \\n], xmm\\n; vextractf128 [rdi + rcx + 16 * \\n], ymm\\n, 1"),
        "mov edx, {done}",
        "ret",
        // Any of the six. SSE by VEX where the upper parts are in use: no transition.
        "3:",
        "test edx, 0x1",
        "jz 2f",
        "fxsave64 [rdi]",
        "and edx, -4",
        "2:",
        "test edx, 0x2",
        "jz 3f",
        "test eax, 0x44",
        "jnz 2f",
        each_low_register!("movaps [rdi + 160 + 16 * \\n], xmm\\n"),
        "jmp 3f",
        "2:",
        each_low_register!("vmovaps [rdi + 160 + 16 * \\n], xmm\\n"),
        "3:",
        "test edx, 0x4",
        "jz 3f",
        each_low_register!("vextractf128 [rdi + rcx + 16 * \\n], ymm\\n, 1"),
        "3:",
        "test edx, 0x20",
        "jz 3f",
        "mov ecx, [rsi + {opmask}]",
        each_opmask!("kmovq [rdi + rcx + 8 * \\n], k\\n"),
        "3:",
        "test edx, 0x40",
        "jz 3f",
        "mov ecx, [rsi + {zmm_hi256}]",
        each_low_register!("vextractf64x4 [rdi + rcx + 32 * \\n], zmm\\n, 1"),
        "3:",
        "test edx, 0x80",
        "jz 3f",
        "mov ecx, [rsi + {hi16_zmm}]",
        each_high_register!("vmovups [rdi + rcx + 64 * (\\n - 16)], zmm\\n"),
        "3:",
        "mov edx, {done}",
        "ret",
        "7:",
        "mov edx, {not_covered}",
        "ret",
        "8:",
        "xor eax, eax",
        "xor edx, edx",
        "ret",
        rfbm = const offset_of!(MovePlan, rfbm),
        xcomp_bv = const offset_of!(MovePlan, xcomp_bv),
        kept = const offset_of!(MovePlan, kept),
        not_saved = const offset_of!(MovePlan, not_saved),
        mxcsr_mask = const offset_of!(MovePlan, mxcsr_mask),
        avx = const offset_of!(MovePlan, avx),
        opmask = const offset_of!(MovePlan, opmask),
        zmm_hi256 = const offset_of!(MovePlan, zmm_hi256),
        hi16_zmm = const offset_of!(MovePlan, hi16_zmm),
        done = const Outcome::DONE,
        not_covered = const Outcome::NOT_COVERED,
    )
}
