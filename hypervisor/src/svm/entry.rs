//! VMRUN, with what it leaves to software: general-purpose registers, FS, GS, TR, LDTR.

use core::arch::asm;

use crate::page::physical;
use crate::svm::vmcb::Vmcb;
use crate::vcpu::GeneralRegisters;

/// Runs the guest until it exits. RAX is in `guest`; FS, GS, TR and LDTR of the host go to `host` meanwhile.
/// Interrupts are off before and after; between CLGI and VMRUN they are on for the guest's sake: one
/// that comes exits, and stays pending until the kernel allows it.
///
/// # Safety
/// 1. SVM is enabled on this CPU, interrupts are off.
/// 2. `guest` describes a guest that reaches no memory but its own, and whose exits
///    the caller knows; the maps and page tables that it names live.
/// 3. What the guest does to extended registers, XCR0 and PKRU is no surprise to the caller.
pub unsafe fn run(guest: &mut Vmcb, host: &mut Vmcb, registers: &mut GeneralRegisters) {
    guest.state.rax = registers.rax;
    let pointer: *mut GeneralRegisters = registers;
    // SAFETY: 1 to 3: the caller's. Every register that the guest leaves with a value of its own is
    // stored and declared, or pushed and popped; RSP is restored by the exit. The blocks are
    // the CPU's until the last VMSAVE, and this function has both of them alone.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push rdi", // the registers
            "push rsi", // the host's block
            "push rax", // the guest's
            "clgi",
            "sti",
            "mov rax, rsi",
            "vmsave rax",
            "mov rax, [rsp]",
            "vmload rax",
            "mov rbx, [rdi + 8]",
            "mov rcx, [rdi + 16]",
            "mov rdx, [rdi + 24]",
            "mov rsi, [rdi + 32]",
            "mov rbp, [rdi + 48]",
            "mov r8, [rdi + 56]; mov r9, [rdi + 64]",
            "mov r10, [rdi + 72]; mov r11, [rdi + 80]",
            "mov r12, [rdi + 88]; mov r13, [rdi + 96]",
            "mov r14, [rdi + 104]; mov r15, [rdi + 112]",
            "mov rdi, [rdi + 40]",
            "vmrun rax",
            "vmsave rax",
            "mov rax, [rsp + 16]",
            "mov [rax + 8], rbx",
            "mov [rax + 16], rcx",
            "mov [rax + 24], rdx",
            "mov [rax + 32], rsi",
            "mov [rax + 40], rdi",
            "mov [rax + 48], rbp",
            "mov [rax + 56], r8; mov [rax + 64], r9",
            "mov [rax + 72], r10; mov [rax + 80], r11",
            "mov [rax + 88], r12; mov [rax + 96], r13",
            "mov [rax + 104], r14; mov [rax + 112], r15",
            "mov rax, [rsp + 8]",
            "vmload rax",
            "cli",
            "stgi",
            "pop rax",
            "pop rsi",
            "pop rdi",
            "pop rbp",
            "pop rbx",
            inout("rax") physical(guest) => _,
            inout("rsi") physical(host) => _,
            inout("rdi") pointer => _,
            out("rcx") _,
            out("rdx") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
        );
    }
    registers.rax = guest.state.rax;
}
