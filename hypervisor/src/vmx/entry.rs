//! VMLAUNCH, and the way back.

use core::arch::global_asm;
use core::mem::offset_of;

use super::field::Field;
use super::vmcs::CurrentVmcs;
use crate::vcpu::GeneralRegisters;

unsafe extern "C" {
    /// 0: the guest ran. 1: the CPU refused the VMCS (`VMfailValid`). 2: no VMCS is current.
    fn vmx_launch(registers: &mut GeneralRegisters) -> u64;
}

/// An entry that the CPU refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The VM-instruction error (SDM 3, 31.4).
    pub error: u64,
}

/// Enters the guest; comes back at the next exit.
///
/// # Errors
/// [`Refused`]; the guest has not run then.
///
/// # Safety
/// 1. The host's fields are this CPU's registers.
/// 2. The guest reaches its own memory alone.
pub unsafe fn launch(
    vmcs: &CurrentVmcs<'_>,
    registers: &mut GeneralRegisters,
) -> Result<(), Refused> {
    // SAFETY: 1, 2: the caller's; a VMCS is current.
    match unsafe { vmx_launch(registers) } {
        0 => Ok(()),
        1 => Err(Refused {
            error: vmcs.read(Field::InstructionError),
        }),
        _ => Err(Refused { error: 0 }),
    }
}

global_asm!(
    ".pushsection .text.vmx, \"ax\", @progbits",
    "vmx_launch:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "mov eax, {host_rsp}",
    "vmwrite rax, rsp",
    "lea rdx, [rip + vmx_exited]",
    "mov eax, {host_rip}",
    "vmwrite rax, rdx",
    "mov rax, [rdi + {rax}]",
    "mov rbx, [rdi + {rbx}]",
    "mov rcx, [rdi + {rcx}]",
    "mov rdx, [rdi + {rdx}]",
    "mov rsi, [rdi + {rsi}]",
    "mov rbp, [rdi + {rbp}]",
    "mov r8, [rdi + {r8} + 0]",
    "mov r9, [rdi + {r8} + 8]",
    "mov r10, [rdi + {r8} + 16]",
    "mov r11, [rdi + {r8} + 24]",
    "mov r12, [rdi + {r8} + 32]",
    "mov r13, [rdi + {r8} + 40]",
    "mov r14, [rdi + {r8} + 48]",
    "mov r15, [rdi + {r8} + 56]",
    "mov rdi, [rdi + {rdi}]",
    "vmlaunch",
    // Here only if it was refused: CF or ZF is set.
    "mov eax, 2",
    "mov ecx, 1",
    "cmovz eax, ecx",
    "pop rdi",
    "jmp 2f",
    "vmx_exited:",
    "xchg rdi, [rsp]",
    "mov [rdi + {rax}], rax",
    "mov [rdi + {rbx}], rbx",
    "mov [rdi + {rcx}], rcx",
    "mov [rdi + {rdx}], rdx",
    "mov [rdi + {rsi}], rsi",
    "mov [rdi + {rbp}], rbp",
    "mov [rdi + {r8} + 0], r8",
    "mov [rdi + {r8} + 8], r9",
    "mov [rdi + {r8} + 16], r10",
    "mov [rdi + {r8} + 24], r11",
    "mov [rdi + {r8} + 32], r12",
    "mov [rdi + {r8} + 40], r13",
    "mov [rdi + {r8} + 48], r14",
    "mov [rdi + {r8} + 56], r15",
    "pop rax",
    "mov [rdi + {rdi}], rax",
    "xor eax, eax",
    "2:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
    host_rsp = const Field::HostRsp as u32,
    host_rip = const Field::HostRip as u32,
    rax = const offset_of!(GeneralRegisters, rax),
    rbx = const offset_of!(GeneralRegisters, rbx),
    rcx = const offset_of!(GeneralRegisters, rcx),
    rdx = const offset_of!(GeneralRegisters, rdx),
    rsi = const offset_of!(GeneralRegisters, rsi),
    rdi = const offset_of!(GeneralRegisters, rdi),
    rbp = const offset_of!(GeneralRegisters, rbp),
    r8 = const offset_of!(GeneralRegisters, r8_to_r15),
);
