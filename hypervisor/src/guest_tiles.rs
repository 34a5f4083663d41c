//! Programs of guests that use tiles or shadow-stack MSRs, and what the host does to registers.

use core::arch::global_asm;

use crate::guest_code::{enable, end, programs};
use crate::guest_memory::{FOUND_IMAGE, GIVEN_IMAGE, PARAMETERS};

/// Where a program stores a tile.
pub const TILE_FOUND: u64 = FOUND_IMAGE;
/// Parameters: what `write_cet` writes.
pub const CET_PARAMETERS: u64 = 8;

programs! {
    /// Loads all registers from the given image; as many steps as its parameter says; TMM0 += TMM1 *
    /// TMM2, of signed bytes; stores TMM0.
    multiply guest_multiply guest_multiply_end;
    /// Writes IA32_XSS, `IA32_U_CET` and `IA32_PL3_SSP` from its parameters; a step; the last two are what
    /// it wrote.
    write_cet guest_write_cet guest_write_cet_end;
    /// Finds `IA32_U_CET` and `IA32_PL3_SSP` to be 0, with the same IA32_XSS.
    examine_cet guest_examine_cet guest_examine_cet_end;
}

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl guest_multiply, guest_multiply_end",
    "guest_multiply:",
    enable!(),
    "mov r12, [rdi + 16]", // steps
    "mov esi, {given}",
    "mov eax, -1",
    "mov edx, -1",
    "xrstor64 [rsi]",
    "2:",
    "mov rbx, r12",
    "mov eax, 1",
    "call r15",
    "dec r12",
    "jnz 2b",
    "tdpbssd tmm0, tmm1, tmm2",
    "mov edi, {found}",
    "mov ecx, 64",
    "tilestored [rdi + rcx*1], tmm0",
    "xor ebx, ebx",
    end!(),
    "guest_multiply_end:",
    ".popsection",
    given = const GIVEN_IMAGE,
    found = const TILE_FOUND,
);

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".macro guest_write_msr msr word",
    "mov ecx, \\msr",
    "mov eax, [rsi + 8 * \\word]",
    "mov edx, [rsi + 8 * \\word + 4]",
    "wrmsr",
    ".endm",
    // Ends with the MSR's number if it is not [rdi].
    ".macro guest_require_msr msr word",
    "mov ecx, \\msr",
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov rbx, rcx",
    "cmp rax, [rdi + 8 * \\word]",
    "jne 9f",
    ".endm",
    ".globl guest_write_cet, guest_write_cet_end",
    "guest_write_cet:",
    enable!(),
    "mov esi, {cet}",
    "guest_write_msr 0xda0, 0",
    "guest_write_msr 0x6a0, 1",
    "guest_write_msr 0x6a7, 2",
    "mov eax, 1",
    "mov ebx, 1",
    "call r15",
    "mov edi, {cet}",
    "guest_require_msr 0x6a0, 1",
    "guest_require_msr 0x6a7, 2",
    "xor ebx, ebx",
    "9:",
    end!(),
    "guest_write_cet_end:",
    ".globl guest_examine_cet, guest_examine_cet_end",
    "guest_examine_cet:",
    enable!(),
    "mov esi, {cet}",
    "guest_write_msr 0xda0, 0",
    "mov edi, {zeros}",
    "guest_require_msr 0x6a0, 0",
    "guest_require_msr 0x6a7, 0",
    "xor ebx, ebx",
    "9:",
    end!(),
    "guest_examine_cet_end:",
    ".popsection",
    cet = const PARAMETERS + 8 * CET_PARAMETERS,
    zeros = const FOUND_IMAGE,
);
