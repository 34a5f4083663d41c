//! Programs of guests that fault, and handle it themselves.

use core::arch::global_asm;

use crate::guest_code::{enable, end, programs};

programs! {
    /// Sets CR0.TS and computes with x87: its #NM handler clears the flag, once each step. The value of
    /// the end is 0 if that happened once for each.
    lazy guest_lazy guest_lazy_end;
    /// Reads IA32_XSS, IA32_XFD and IA32_XFD_ERR, and writes IA32_XSS with a bit that nothing has:
    /// #GP unless CPUID announces the register, and always.
    read_msrs guest_read_msrs guest_read_msrs_end;
}

/// A gate for `vector`, to the handler at label 8. Changes RAX and RBX.
macro_rules! gate {
    ($vector:literal) => {
        concat!(
            "lea rax, [rip + 8f]\n",
            "mov ebx, 0x5000 + 16 * ",
            $vector,
            "\n",
            "mov [rbx], ax\n",
            "mov word ptr [rbx + 2], 8\n",
            "mov word ptr [rbx + 4], 0x8e00\n",
            "shr rax, 16\n",
            "mov [rbx + 6], ax\n",
            "shr rax, 16\n",
            "mov [rbx + 8], eax",
        )
    };
}

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl guest_lazy, guest_lazy_end",
    "guest_lazy:",
    gate!(7),
    enable!(),
    "mov r12, [rdi + 16]", // steps
    "xor r13d, r13d",      // how often #NM came
    "mov r14, r12",
    "2:",
    "mov rax, cr0",
    "or rax, 8", // TS
    "mov cr0, rax",
    "fld1",
    "fstp st(0)",
    "mov rbx, r12",
    "mov eax, 1",
    "call r15",
    "dec r12",
    "jnz 2b",
    "mov rbx, r14",
    "sub rbx, r13",
    end!(),
    "8:",
    "clts",
    "inc r13",
    "iretq",
    "guest_lazy_end:",
    ".globl guest_read_msrs, guest_read_msrs_end",
    "guest_read_msrs:",
    gate!(13),
    enable!(),
    "mov eax, 0xd",
    "mov ecx, 1",
    "cpuid",
    "mov r10d, eax", // bit 3: IA32_XSS; bit 4: the other two
    "mov r11d, 1",   // which of the four
    "xor r12d, r12d",
    "mov ecx, 0xda0",
    "rdmsr",
    "bt r10, 3",
    "call 6f",
    "mov ecx, 0x1c4",
    "rdmsr",
    "bt r10, 4",
    "call 6f",
    "mov ecx, 0x1c5",
    "rdmsr",
    "bt r10, 4",
    "call 6f",
    "mov ecx, 0xda0",
    "xor eax, eax",
    "mov edx, 0x80000000",
    "wrmsr",
    "clc",
    "call 6f",
    "xor ebx, ebx",
    "5:",
    end!(),
    "6:", // CF: it is announced; R12: how often #GP came
    "setnc al",
    "movzx eax, al",
    "mov rbx, r11",
    "cmp rax, r12",
    "jne 5b",
    "xor r12d, r12d",
    "inc r11",
    "ret",
    "8:", // #GP: its error code is 0; both instructions have two bytes
    "cmp qword ptr [rsp], 0",
    "jne 9f",
    "inc r12",
    "9:",
    "add rsp, 8",
    "add qword ptr [rsp], 2",
    "iretq",
    "guest_read_msrs_end:",
    ".popsection",
);
