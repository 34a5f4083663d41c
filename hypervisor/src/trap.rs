//! Exceptions and interrupts: one entry for all vectors, and a way to try an instruction that may
//! fault.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::println;
use crate::verdict::{self, Verdict};

/// What the entry pushes; the frame of the CPU behind it.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct TrapFrame {
    /// General-purpose registers, R15 first.
    pub r15: u64,
    /// R14.
    pub r14: u64,
    /// R13.
    pub r13: u64,
    /// R12.
    pub r12: u64,
    /// R11.
    pub r11: u64,
    /// R10.
    pub r10: u64,
    /// R9.
    pub r9: u64,
    /// R8.
    pub r8: u64,
    /// RBP.
    pub rbp: u64,
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
    /// RCX.
    pub rcx: u64,
    /// RBX.
    pub rbx: u64,
    /// RAX.
    pub rax: u64,
    /// The vector.
    pub vector: u64,
    /// The error code, or 0.
    pub error_code: u64,
    /// Where it happened.
    pub rip: u64,
    /// The code segment; its low bits are the CPL.
    pub cs: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// The stack segment.
    pub ss: u64,
}

impl TrapFrame {
    /// All zero.
    pub const ZERO: Self = Self {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        r11: 0,
        r10: 0,
        r9: 0,
        r8: 0,
        rbp: 0,
        rdi: 0,
        rsi: 0,
        rdx: 0,
        rcx: 0,
        rbx: 0,
        rax: 0,
        vector: 0,
        error_code: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    };
}

/// CPUs that can be told apart by their local APIC's number.
pub const MOST_CPUS: usize = 16;

/// What runs at a vector; gets the frame, which it may change.
pub type Handler = fn(&mut TrapFrame);

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// What runs at whatever happens in ring 3.
static FROM_USER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `handler` run at every exception, interrupt and system call in ring 3, on every CPU.
pub fn handle_from_user(handler: Handler) {
    FROM_USER.store(handler as *mut (), Ordering::Release);
}

/// Lets `handler` run at `vector` in ring 0, on every CPU.
pub fn handle(vector: u8, handler: Handler) {
    let handler = handler as *mut ();
    HANDLERS[usize::from(vector)].store(handler, Ordering::Release);
}

/// Where the first instruction of `vector` is.
pub fn stub_address(vector: u8) -> u64 {
    (&raw const trap_stubs).addr() as u64 + 16 * u64::from(vector)
}

unsafe extern "C" {
    static trap_stubs: u8;
}

/// Where this CPU goes on if the instruction that it tries faults; 0 if none is tried.
static RECOVERY: [AtomicU64; MOST_CPUS] = [const { AtomicU64::new(0) }; MOST_CPUS];

/// This CPU's number: the initial local APIC ID.
pub fn cpu_number() -> usize {
    (fpstate_native::cpuid(1, 0).ebx >> 24) as usize % MOST_CPUS
}

/// An exception that an instruction raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code, or 0.
    pub error_code: u64,
}

/// Calls `code` with `argument`; a fault in it comes back as the exception. Interrupts stay as they
/// are.
///
/// # Errors
/// The exception that `code` raised. What it had done by then is done.
///
/// # Safety
/// 1. `code` can be left at any instruction that faults: it owns nothing and holds no lock then.
pub unsafe fn attempt(code: extern "C" fn(u64), argument: u64) -> Result<(), Exception> {
    let (vector, error_code): (u64, u64);
    let recovery = RECOVERY[cpu_number()].as_ptr();
    // SAFETY: the call keeps to the ABI; a fault continues at label 3 with the stack pointer that
    // was kept in memory, and every register the ABI lets a function change is clobbered. Those it
    // does not are restored from the stack. 1: the caller's.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "lea rax, [rip + 3f]",
            "push rax",
            "push r8",
            "mov [r8], rsp",
            "call r9",
            "xor eax, eax",
            "xor edx, edx",
            "not rax",
            "3:", // RAX, RDX: vector and error code
            "pop r8",
            "mov qword ptr [r8], 0",
            "pop rcx",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            in("r8") recovery,
            in("r9") code,
            in("rdi") argument,
            lateout("rax") vector,
            lateout("rdx") error_code,
            clobber_abi("sysv64"),
        );
    }
    match u8::try_from(vector) {
        Ok(vector) => Err(Exception { vector, error_code }),
        Err(_) => Ok(()),
    }
}

/// Called by the entry with every exception and interrupt.
extern "C" fn trap_dispatch(frame: &mut TrapFrame) {
    let vector = usize::from(frame.vector.to_le_bytes()[0]);
    let recovery = RECOVERY[cpu_number()].load(Ordering::Relaxed);
    if vector < 32 && recovery != 0 && frame.cs & 3 == 0 {
        // The stack has the recovery's own address, then where to go on.
        let go_on = (recovery + 8) as *const u64;
        // SAFETY: `attempt` put both words there and has not returned.
        frame.rip = unsafe { go_on.read() };
        frame.rsp = recovery;
        (frame.rax, frame.rdx) = (frame.vector, frame.error_code);
        return;
    }
    let handler = match frame.cs & 3 {
        0 => HANDLERS[vector].load(Ordering::Acquire),
        _ => FROM_USER.load(Ordering::Acquire),
    };
    if handler.is_null() {
        println!(
            "Bail out! vector {vector}, error code {:#x}, RIP {:#x}, CR2 {:#x}",
            frame.error_code,
            frame.rip,
            x86_64::registers::control::Cr2::read_raw()
        );
        verdict::end(Verdict::Failed);
    }
    // SAFETY: `handle` or `handle_from_user` stored a `Handler` there.
    let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
    handler(frame);
}

global_asm!(
    ".pushsection .text.trap, \"ax\", @progbits",
    ".balign 16",
    ".globl trap_stubs",
    "trap_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    // These push an error code themselves (SDM 3, table 6-1).
    ".if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp trap_entry",
    ".set vector, vector + 1",
    ".endr",
    "trap_entry:",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rdi, rsp",
    "cld",
    "call {dispatch}",
    ".globl trap_return",
    "trap_return:", // RSP points to a frame
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    ".popsection",
    dispatch = sym trap_dispatch,
);
