//! The assembly: load registers, execute the instruction under test, look at what it left.
//!
//! A unit is one `asm!`: nothing that is compiled comes in between.

#![expect(
    unsafe_code,
    reason = "the registers of the compiler are replaced and put back"
)]

use std::arch::asm;
use std::mem::offset_of;

use super::fault_signals::{Attempt, with_faults_noted};
use crate::differential::instruction::{Between, Tested};

/// What a unit works on; R12 points to it from its first instruction to its last.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) attempt: Attempt,
    /// A standard-format image of `own`.
    pub(super) registers: *const u8,
    /// The same in its initial configuration.
    pub(super) initial: *const u8,
    /// Standard-format areas for `own`.
    pub(super) before: *mut u8,
    pub(super) after: *mut u8,
    /// The operand; it is overwritten with these bytes after the registers are loaded.
    pub(super) area: *mut u8,
    pub(super) overwrite_from: *const u8,
    pub(super) overwrite_len: usize,
    pub(super) own: [u32; 2],
    /// EDX:EAX, low half first: RFBM, then the result.
    pub(super) rfbm: [u32; 2],
    /// ECX of the XGETBV that follows the instruction.
    pub(super) xgetbv_operand: u32,
    pub(super) in_use: [u32; 2],
    /// The compiler's MXCSR and x87 control word, while the unit runs.
    pub(super) mxcsr: u32,
    pub(super) fcw: u16,
}

/// # Safety
/// 1. `registers` and `initial` are images that XRSTOR64 of `own` takes without an exception;
///    `before` and `after` are memory that XSAVE64 of `own` can write.
/// 2. `area` is valid for `overwrite_len` bytes, and for what the instruction under test reaches
///    before it faults or completes; the instruction loads no component outside `own`.
/// 3. XGETBV takes `xgetbv_operand`.
type Unit = unsafe fn(&mut Frame);

macro_rules! unit {
    ($name:ident: $(($before:literal))* $tested:literal) => {
        // Not inlined: for the caller it is a function, which by the ABI keeps no vector register.
        #[inline(never)]
        unsafe fn $name(frame: &mut Frame) {
            // SAFETY:
            // Memory: the conditions 1 and 2 of `Unit`; the stack is not used.
            // Registers: every register a component has is clobbered (`sysv64` preserves no vector,
            // mask or x87 register). The x87 stack is empty at the end, by the initial image; that
            // image also has no pending exception, so FLDCW raises none. MXCSR and the x87 control
            // word are the compiler's again.
            // Faults: the handler lets the thread go on at 3, which is the next instruction but for
            // two stores; all registers are as they were at 2.
            unsafe {
                asm!(
                    "stmxcsr [r12 + {mxcsr}]",
                    "fnstcw [r12 + {fcw}]",
                    "lea rax, [rip + 2f]",
                    "mov [r12 + {address}], rax",
                    "lea rax, [rip + 3f]",
                    "mov [r12 + {landing}], rax",
                    "mov rsi, [r12 + {registers}]",
                    "mov eax, [r12 + {own}]",
                    "mov edx, [r12 + {own} + 4]",
                    "xrstor64 [rsi]",
                    "mov rsi, [r12 + {before}]",
                    "xsave64 [rsi]",
                    "mov rdi, [r12 + {area}]",
                    "mov rsi, [r12 + {overwrite_from}]",
                    "mov rcx, [r12 + {overwrite_len}]",
                    "rep movsb",
                    "mov rsi, [r12 + {area}]",
                    "mov eax, [r12 + {rfbm}]",
                    "mov edx, [r12 + {rfbm} + 4]",
                    $($before,)*
                    "2:",
                    $tested,
                    "mov [r12 + {rfbm}], eax",
                    "mov [r12 + {rfbm} + 4], edx",
                    "3:",
                    "mov ecx, [r12 + {xgetbv_operand}]",
                    "xgetbv",
                    "mov [r12 + {in_use}], eax",
                    "mov [r12 + {in_use} + 4], edx",
                    "mov rsi, [r12 + {after}]",
                    "mov eax, [r12 + {own}]",
                    "mov edx, [r12 + {own} + 4]",
                    "xsave64 [rsi]",
                    "mov rsi, [r12 + {initial}]",
                    "xrstor64 [rsi]",
                    "ldmxcsr [r12 + {mxcsr}]",
                    "fldcw [r12 + {fcw}]",
                    in("r12") frame,
                    address = const offset_of!(Frame, attempt) + offset_of!(Attempt, tested),
                    landing = const offset_of!(Frame, attempt) + offset_of!(Attempt, landing),
                    registers = const offset_of!(Frame, registers),
                    initial = const offset_of!(Frame, initial),
                    before = const offset_of!(Frame, before),
                    after = const offset_of!(Frame, after),
                    area = const offset_of!(Frame, area),
                    overwrite_from = const offset_of!(Frame, overwrite_from),
                    overwrite_len = const offset_of!(Frame, overwrite_len),
                    own = const offset_of!(Frame, own),
                    rfbm = const offset_of!(Frame, rfbm),
                    xgetbv_operand = const offset_of!(Frame, xgetbv_operand),
                    in_use = const offset_of!(Frame, in_use),
                    mxcsr = const offset_of!(Frame, mxcsr),
                    fcw = const offset_of!(Frame, fcw),
                    clobber_abi("sysv64"),
                    options(nostack),
                );
            }
        }
    };
}

unit!(xsave: "xsave64 [rsi]");
unit!(xsaveopt: "xsaveopt64 [rsi]");
unit!(xsaveopt_after_pcmpeqd: ("pcmpeqd xmm5, xmm5") "xsaveopt64 [rsi]");
unit!(xsaveopt_after_kxnorw: ("kxnorw k5, k5, k5") "xsaveopt64 [rsi]");
unit!(xsaveopt_after_fninit: ("fninit") "xsaveopt64 [rsi]");
unit!(xsavec: "xsavec64 [rsi]");
unit!(xsaves: "xsaves64 [rsi]");
unit!(xrstor: "xrstor64 [rsi]");
unit!(xrstors: "xrstors64 [rsi]");
unit!(fxsave: "fxsave64 [rsi]");
unit!(fxrstor: "fxrstor64 [rsi]");
unit!(stmxcsr: "stmxcsr [rsi]");
unit!(ldmxcsr: "ldmxcsr [rsi]");
unit!(fninit: "fninit");
unit!(xgetbv: ("xor ecx, ecx") "xgetbv");
unit!(xgetbv_in_use: ("mov ecx, 1") "xgetbv");
unit!(xsetbv: ("xor ecx, ecx") "xsetbv");
unit!(read_xss: ("mov ecx, 0xda0") "rdmsr");
unit!(write_xss: ("mov ecx, 0xda0") "wrmsr");
unit!(read_xfd: ("mov ecx, 0x1c4") "rdmsr");
unit!(write_xfd: ("mov ecx, 0x1c4") "wrmsr");
unit!(read_xfd_err: ("mov ecx, 0x1c5") "rdmsr");
unit!(write_xfd_err: ("mov ecx, 0x1c5") "wrmsr");

const fn unit_of(tested: Tested, between: Between) -> Unit {
    match tested {
        Tested::Xsave => xsave,
        Tested::Xsaveopt => match between {
            Between::Nothing => xsaveopt,
            Between::SetXmm5 => xsaveopt_after_pcmpeqd,
            Between::SetK5 => xsaveopt_after_kxnorw,
            Between::Fninit => xsaveopt_after_fninit,
        },
        Tested::Xsavec => xsavec,
        Tested::Xsaves => xsaves,
        Tested::Xrstor => xrstor,
        Tested::Xrstors => xrstors,
        Tested::Fxsave => fxsave,
        Tested::Fxrstor => fxrstor,
        Tested::Stmxcsr => stmxcsr,
        Tested::Ldmxcsr => ldmxcsr,
        Tested::Fninit => fninit,
        Tested::Xgetbv => xgetbv,
        Tested::XgetbvInUse => xgetbv_in_use,
        Tested::Xsetbv => xsetbv,
        Tested::ReadXss => read_xss,
        Tested::WriteXss => write_xss,
        Tested::ReadXfd => read_xfd,
        Tested::WriteXfd => write_xfd,
        Tested::ReadXfdErr => read_xfd_err,
        Tested::WriteXfdErr => write_xfd_err,
    }
}

/// Executes `tested` on `frame`; its fault is in `frame.attempt` then.
///
/// # Safety
/// 1. As `Unit`, 1 to 3.
/// 2. If the CPU has no AVX-512, `between` does not use it.
pub(super) unsafe fn execute(tested: Tested, between: Between, frame: &mut Frame) {
    let unit = unit_of(tested, between);
    let attempt = &raw mut frame.attempt;
    with_faults_noted(attempt, || {
        // SAFETY: 1, 2: the caller's.
        unsafe { unit(frame) };
    });
}
