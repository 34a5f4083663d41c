//! From the multiboot loader to the first line of Rust: 32-bit code, page tables, long mode.
//!
//! The first 4 GB are mapped one to one with 2 MB pages, for the kernel only.

use core::arch::global_asm;

/// Bytes of the stack that the first CPU starts with.
pub const BOOT_STACK_LEN: usize = 64 * 1024;

global_asm!(
    ".pushsection .boot, \"awx\", @progbits",
    ".balign 8",
    "multiboot_header:",
    ".long 0x1badb002",
    ".long 0x10003", // aligned modules, memory information, and the addresses below
    ".long -(0x1badb002 + 0x10003)",
    ".long multiboot_header",
    ".long image_start",
    ".long image_end",
    ".long bss_end",
    ".long boot_start",
    ".code32",
    ".globl boot_start",
    "boot_start:",
    "cld",
    "mov esp, offset boot_stack_end",
    "mov edi, eax", // the loader's magic number
    "mov esi, ebx", // its information
    "mov eax, offset boot_pdpt + 3",
    "mov [boot_pml4], eax",
    "mov eax, offset boot_pd + 3",
    "mov ecx, 0",
    "2:",
    "mov [boot_pdpt + ecx * 8], eax",
    "add eax, 4096",
    "inc ecx",
    "cmp ecx, 4",
    "jne 2b",
    "mov eax, 0x83", // present, writable, 2 MB
    "mov ecx, 0",
    "3:",
    "mov [boot_pd + ecx * 8], eax",
    "add eax, 0x200000",
    "inc ecx",
    "cmp ecx, 2048",
    "jne 3b",
    ".globl boot_enter_long_mode",
    "boot_enter_long_mode:", // application processors come in here, with EDI = 0 and a stack
    "mov eax, cr4",
    "or eax, 0x20", // PAE
    "mov cr4, eax",
    "mov eax, offset boot_pml4",
    "mov cr3, eax",
    "mov ecx, 0xc0000080", // IA32_EFER
    "rdmsr",
    "or eax, 0x900", // LME, NXE
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80010001", // PG, WP, PE
    "mov cr0, eax",
    "lgdt [boot_gdt_pointer]",
    // A far jump, as bytes: assemblers differ about its syntax.
    ".byte 0xea",
    ".long boot_long_mode",
    ".word 8",
    ".balign 8",
    "boot_gdt:",
    ".quad 0",
    ".quad 0x00209a0000000000", // 64-bit code
    ".quad 0x0000920000000000", // data
    "boot_gdt_pointer:",
    ".word 23",
    ".long boot_gdt",
    ".code64",
    "boot_long_mode:",
    "mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov eax, 0",
    "mov fs, eax",
    "mov gs, eax",
    "mov eax, esp",
    "mov rsp, rax",
    "mov edi, edi",
    "mov esi, esi",
    "xor ebp, ebp",
    "test edi, edi",
    "jz 4f",
    "call boot_processor",
    "4:",
    "call application_processor",
    "ud2",
    ".popsection",
    ".pushsection .bss",
    ".balign 4096",
    ".globl boot_pml4",
    "boot_pml4: .skip 4096",
    "boot_pdpt: .skip 4096",
    "boot_pd: .skip 4 * 4096",
    "boot_stack: .skip {stack}",
    "boot_stack_end:",
    ".popsection",
    stack = const BOOT_STACK_LEN,
);
