//! Programs of guests: machine code that runs wherever it is put, copied into a guest's memory.
//!
//! At the beginning R15 is where `hypercall; ret` is, and the memory is as
//! [`guest_memory`](crate::guest_memory) says. A program reports by hypercalls: [`STEP`] or [`END`] in
//! RAX, a value in RBX.

use core::arch::global_asm;

/// The program has come to a point where the host may do what it likes; RBX says which.
pub const STEP: u64 = 1;
/// The program has ended; RBX is 0 if it found everything right, else what it found.
pub const END: u64 = 2;

/// Words of the parameters, by number.
pub mod parameter {
    /// XCR0 that the program sets.
    pub const XCR0: u64 = 0;
    /// Bits of CR4 that it sets before.
    pub const CR4: u64 = 1;
    /// How many steps it takes.
    pub const STEPS: u64 = 2;
    /// Bytes of an image, a multiple of 8.
    pub const IMAGE_LEN: u64 = 3;
    /// How many values of XCR0 it tries.
    pub const TRIALS: u64 = 4;
    /// PKRU that it is to find.
    pub const PKRU_FOUND: u64 = 5;
    /// PKRU that it writes.
    pub const PKRU_WRITTEN: u64 = 6;
    /// The first trial: five words each, see [`Trial`](super::Trial).
    pub const FIRST_TRIAL: u64 = 32;
}

/// An XSETBV that the program [`tries`](try_xcr0).
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// ECX.
    pub index: u64,
    /// EDX:EAX.
    pub value: u64,
    /// How many #GP it raises: 0 or 1.
    pub faults: u64,
    /// CPUID.(0DH,0):EBX from there on.
    pub len: u64,
    /// XCR0 from there on.
    pub xcr0: u64,
}

/// A program's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub(crate) start: *const u8,
    pub(crate) end: *const u8,
}

impl Program {
    /// The bytes.
    pub fn bytes(self) -> &'static [u8] {
        let len = self.end.addr() - self.start.addr();
        // SAFETY: both are labels of one section that nobody writes.
        unsafe { core::slice::from_raw_parts(self.start, len) }
    }
}

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident $start:ident $end:ident;)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }
        $($(#[$doc])*
        pub fn $name() -> $crate::guest_code::Program {
            $crate::guest_code::Program { start: &raw const $start, end: &raw const $end }
        })*
    };
}

pub(crate) use programs;

// `enable` has it as text.
const _: () = assert!(crate::guest_memory::PARAMETERS == 0x6000);

/// How a program begins, as text for `global_asm`: CR4, XCR0.
macro_rules! enable {
    () => {
        concat!(
            "mov edi, 0x6000\n",
            "mov rax, cr4\n",
            "or rax, [rdi + 8]\n",
            "mov cr4, rax\n",
            "xor ecx, ecx\n",
            "mov eax, [rdi]\n",
            "mov edx, [rdi + 4]\n",
            "xsetbv",
        )
    };
}

pub(crate) use enable;

/// How it ends, with the value in RBX.
macro_rules! end {
    () => {
        concat!("mov eax, 2\n", "call r15\n", "hlt")
    };
}

pub(crate) use end;

programs! {
    /// A step with 17, then HLT.
    hello guest_hello guest_hello_end;
    /// Loads every register from the given image, and after each step finds all as it was.
    hold guest_hold guest_hold_end;
    /// Puts all registers, as it found them, into the found image.
    examine guest_examine guest_examine_end;
    /// A thousand rounds of xorshift in 32 lanes of YMM0 to YMM3 between steps, from the given image to
    /// the found one.
    compute guest_compute guest_compute_end;
    /// Tries values of XCR0, and what CPUID says after each.
    try_xcr0 guest_try_xcr0 guest_try_xcr0_end;
    /// Finds a PKRU, writes another, and finds that one after a step.
    write_pkru guest_write_pkru guest_write_pkru_end;
}

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl guest_hello, guest_hello_end",
    "guest_hello:",
    "mov eax, 1",
    "mov ebx, 17",
    "call r15",
    "hlt",
    "guest_hello_end:",
    ".globl guest_hold, guest_hold_end",
    "guest_hold:",
    enable!(),
    "mov r12, [rdi + 16]", // steps
    "mov r13, [rdi + 24]", // bytes of the image
    "movabs r14, 0x5a5aa5a50ff01234",
    "mov esi, {given}",
    "mov eax, -1",
    "mov edx, -1",
    "xrstor64 [rsi]",
    "2:",
    "mov rbx, r12",
    "mov eax, 1",
    "mov rbp, rsp",
    "call r15",
    "cmp rbp, rsp",
    "jne 8f",
    "movabs rax, 0x5a5aa5a50ff01234",
    "cmp rax, r14",
    "jne 8f",
    "cmp rbx, r12",
    "jne 8f",
    "xor eax, eax",
    "mov edi, {found}",
    "mov rcx, r13",
    "rep stosb",
    "mov edi, {found}",
    "mov eax, -1",
    "mov edx, -1",
    "xsave64 [rdi]",
    "mov esi, {given}",
    "mov eax, [rdi + 28]", // MXCSR_MASK is not a register
    "mov [rsi + 28], eax",
    "mov rcx, r13",
    "repe cmpsb",
    "jne 7f",
    "dec r12",
    "jnz 2b",
    "xor ebx, ebx",
    "jmp 9f",
    "7:", // the first byte that differs, from 1 on
    "lea rbx, [rsi - {given}]",
    "jmp 9f",
    "8:", // a general-purpose register
    "mov ebx, -1",
    "9:",
    end!(),
    "guest_hold_end:",
    ".globl guest_examine, guest_examine_end",
    "guest_examine:",
    enable!(),
    "mov edi, {found}",
    "mov eax, -1",
    "mov edx, -1",
    "xsave64 [rdi]",
    "xor ebx, ebx",
    end!(),
    "guest_examine_end:",
    ".popsection",
    given = const crate::guest_memory::GIVEN_IMAGE,
    found = const crate::guest_memory::FOUND_IMAGE,
);

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".macro xorshift register",
    "vpslld ymm8, \\register, 13",
    "vpxor \\register, \\register, ymm8",
    "vpsrld ymm8, \\register, 17",
    "vpxor \\register, \\register, ymm8",
    "vpslld ymm8, \\register, 5",
    "vpxor \\register, \\register, ymm8",
    ".endm",
    ".globl guest_compute, guest_compute_end",
    "guest_compute:",
    enable!(),
    "mov r12, [rdi + 16]", // steps
    "mov esi, {given}",
    "vmovdqu ymm0, [rsi]",
    "vmovdqu ymm1, [rsi + 32]",
    "vmovdqu ymm2, [rsi + 64]",
    "vmovdqu ymm3, [rsi + 96]",
    "2:",
    "mov ecx, 1000",
    "3:",
    "xorshift ymm0",
    "xorshift ymm1",
    "xorshift ymm2",
    "xorshift ymm3",
    "dec ecx",
    "jnz 3b",
    "mov rbx, r12",
    "mov eax, 1",
    "call r15",
    "dec r12",
    "jnz 2b",
    "mov edi, {found}",
    "vmovdqu [rdi], ymm0",
    "vmovdqu [rdi + 32], ymm1",
    "vmovdqu [rdi + 64], ymm2",
    "vmovdqu [rdi + 96], ymm3",
    "xor ebx, ebx",
    end!(),
    "guest_compute_end:",
    ".popsection",
    given = const crate::guest_memory::GIVEN_IMAGE,
    found = const crate::guest_memory::FOUND_IMAGE,
);

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl guest_try_xcr0, guest_try_xcr0_end",
    "guest_try_xcr0:",
    "lea rax, [rip + 8f]", // the gate of #GP
    "mov ebx, {gate}",
    "mov [rbx], ax",
    "mov word ptr [rbx + 2], 8",
    "mov word ptr [rbx + 4], 0x8e00",
    "shr rax, 16",
    "mov [rbx + 6], ax",
    "shr rax, 16",
    "mov [rbx + 8], eax",
    "mov r10d, 1 << 16", // CPUID.1:ECX.OSXSAVE is CR4's
    "mov eax, 1",
    "cpuid",
    "bt ecx, 27",
    "jc 7f",
    "mov edi, {parameters}",
    "mov rax, cr4",
    "or rax, [rdi + 8]",
    "mov cr4, rax",
    "mov eax, 1",
    "cpuid",
    "bt ecx, 27",
    "jnc 7f",
    "mov r14, [rdi + 32]", // trials
    "lea r13, [rdi + 256]", // the first
    "mov r10d, 1", // its number
    "2:",
    "xor r12d, r12d",
    "mov ecx, [r13]",
    "mov eax, [r13 + 8]",
    "mov edx, [r13 + 12]",
    "xsetbv",
    "bts r10, 17",
    "cmp r12, [r13 + 16]",
    "jne 7f",
    "btr r10, 17",
    "mov eax, 13",
    "xor ecx, ecx",
    "cpuid",
    "bts r10, 18",
    "cmp ebx, [r13 + 24]",
    "jne 7f",
    "btr r10, 18",
    "xor ecx, ecx",
    "xgetbv",
    "bts r10, 19",
    "cmp eax, [r13 + 32]",
    "jne 7f",
    "cmp edx, [r13 + 36]",
    "jne 7f",
    "btr r10, 19",
    "mov rbx, r10",
    "mov eax, 1",
    "call r15",
    "inc r10",
    "add r13, 40",
    "dec r14",
    "jnz 2b",
    "xor r10d, r10d",
    "7:", // bits 15:0 are the trial, bits 19:16 what was wrong
    "mov rbx, r10",
    end!(),
    "8:", // #GP: its error code is 0, XSETBV has three bytes
    "cmp qword ptr [rsp], 0",
    "jne 9f",
    "inc r12",
    "9:",
    "add rsp, 8",
    "add qword ptr [rsp], 3",
    "iretq",
    "guest_try_xcr0_end:",
    ".globl guest_write_pkru, guest_write_pkru_end",
    "guest_write_pkru:",
    enable!(),
    "mov esi, edi",
    "xor ecx, ecx",
    "rdpkru",
    "lea ebx, [rax + 1]",
    "cmp eax, [rsi + 40]",
    "jne 9f",
    "mov eax, [rsi + 48]",
    "xor edx, edx",
    "wrpkru",
    "xor ebx, ebx",
    "mov eax, 1",
    "call r15",
    "xor ecx, ecx",
    "rdpkru",
    "lea ebx, [rax + 1]",
    "cmp eax, [rsi + 48]",
    "jne 9f",
    "xor ebx, ebx",
    "9:",
    end!(),
    "guest_write_pkru_end:",
    ".popsection",
    gate = const crate::guest_memory::IDT + 13 * 16,
    parameters = const crate::guest_memory::PARAMETERS,
);
