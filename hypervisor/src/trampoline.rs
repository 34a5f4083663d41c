//! Where the other CPUs begin: 16-bit code below 1 MB, which is copied there, up to
//! `boot_enter_long_mode`. Each takes a stack that nobody had before.

use core::arch::global_asm;
use core::ptr;

use crate::smp::TRAMPOLINE_PAGE;

const ADDRESS: usize = TRAMPOLINE_PAGE as usize * 4096;
const STACK_LEN: usize = 64 * 1024;
/// Starts that there are stacks for: a CPU that is started again takes another.
const MOST_STARTS: usize = 32;

/// Copies the code to [`TRAMPOLINE_PAGE`].
pub fn install() {
    let first = &raw const trampoline_start;
    let len = (&raw const trampoline_end).addr() - first.addr();
    let target = ptr::with_exposed_provenance_mut::<u8>(ADDRESS);
    // SAFETY: the code is between the two symbols; nothing else uses that page of low memory.
    unsafe { ptr::copy_nonoverlapping(first, target, len) };
}

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

global_asm!(
    ".pushsection .boot, \"awx\", @progbits",
    ".balign 16",
    ".globl trampoline_start",
    "trampoline_start:",
    ".code16",
    "jmp trampoline_real",
    ".balign 8",
    ".quad 0", // the descriptor table, at 8
    ".quad 0x00cf9a000000ffff", // 32-bit code
    ".quad 0x00cf92000000ffff", // data
    ".word 23", // the pointer to it, at 32
    ".long {address} + 8",
    "trampoline_real:",
    "cli",
    "cld",
    "xor eax, eax",
    "mov ds, ax",
    "lgdt [{address} + 32]",
    "mov eax, cr0",
    "and eax, 0x9fffffff", // CD and NW, which INIT sets
    "or eax, 1", // PE
    "mov cr0, eax",
    // A far jump, as bytes: assemblers differ about its syntax.
    ".byte 0x66, 0xea",
    ".long {address} + trampoline_protected - trampoline_start",
    ".word 8",
    ".code32",
    "trampoline_protected:",
    "mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov eax, 1",
    "lock xadd [trampoline_starts], eax",
    "cmp eax, {starts}",
    "jae 2f",
    "imul eax, eax, {stack}",
    "lea esp, [eax + trampoline_stacks + {stack}]",
    "xor edi, edi",
    "xor esi, esi",
    "mov eax, offset boot_enter_long_mode",
    "jmp eax",
    "2:",
    "hlt",
    "jmp 2b",
    ".globl trampoline_end",
    "trampoline_end:",
    ".code64",
    ".popsection",
    ".pushsection .bss",
    ".balign 16",
    "trampoline_starts: .skip 16",
    "trampoline_stacks: .skip {starts} * {stack}",
    ".popsection",
    address = const ADDRESS,
    starts = const MOST_STARTS,
    stack = const STACK_LEN,
);
