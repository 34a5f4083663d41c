//! SVM on this CPU: EFER.SVME and a page where VMRUN keeps the host's state.

use alloc::boxed::Box;

use fpstate_native::cpuid;
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

use crate::page::{Page, physical};

const VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// Whether this CPU has SVM with nested pages.
pub fn is_offered() -> bool {
    let has_leaf = cpuid(0x8000_0000, 0).eax >= 0x8000_000a;
    let svm = cpuid(0x8000_0001, 0).ecx & 1 << 2 != 0;
    has_leaf && svm && cpuid(0x8000_000a, 0).edx & 1 != 0 && !is_locked()
}

fn is_locked() -> bool {
    // SAFETY: a CPU with SVM has the register; `is_offered` asks in this order.
    let vm_cr = unsafe { Msr::new(VM_CR).read() };
    vm_cr & VM_CR_SVMDIS != 0
}

/// Enables it on this CPU, once; the page lives as long as the kernel.
pub fn enable() {
    let efer = Efer::read();
    if efer.contains(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE) {
        return;
    }
    // SAFETY: the CPU has SVM (the caller asked); no instruction of other code changes its meaning.
    unsafe { Efer::write(efer | EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE) };
    let host_state = Box::leak(Page::zeroed());
    // SAFETY: SVM is enabled, and the page is nobody else's.
    unsafe { Msr::new(VM_HSAVE_PA).write(physical(host_state)) };
}
