//! GDT, TSS and IDT of each CPU. Every exception has a stack of its own.

use alloc::boxed::Box;
use alloc::vec;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

use crate::trap::stub_address;

const STACK_LEN: usize = 32 * 1024;
/// Interrupt stack table entries: NMI, #DF, #MC; all other exceptions; interrupts.
const FATAL_STACK: u16 = 0;
const EXCEPTION_STACK: u16 = 1;
const INTERRUPT_STACK: u16 = 2;

/// The selectors of a CPU's GDT.
#[derive(Clone, Copy, Debug)]
pub struct Selectors {
    /// Kernel code.
    pub kernel_code: SegmentSelector,
    /// Kernel data.
    pub kernel_data: SegmentSelector,
    /// User data.
    pub user_data: SegmentSelector,
    /// User code.
    pub user_code: SegmentSelector,
}

/// Loads this CPU's tables; they live for ever.
pub fn load() -> Selectors {
    let tss = Box::leak(Box::new(TaskStateSegment::new()));
    for entry in [FATAL_STACK, EXCEPTION_STACK, INTERRUPT_STACK] {
        tss.interrupt_stack_table[usize::from(entry)] = new_stack();
    }
    tss.privilege_stack_table[0] = new_stack();
    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let selectors = Selectors {
        kernel_code: gdt.append(Descriptor::kernel_code_segment()),
        kernel_data: gdt.append(Descriptor::kernel_data_segment()),
        user_data: gdt.append(Descriptor::user_data_segment()),
        user_code: gdt.append(Descriptor::user_code_segment()),
    };
    let tss = gdt.append(Descriptor::tss_segment(tss));
    gdt.load();
    // SAFETY: the selectors are those of the GDT that was just loaded.
    unsafe { CS::set_reg(selectors.kernel_code) };
    // SAFETY: as above.
    unsafe { DS::set_reg(selectors.kernel_data) };
    // SAFETY: as above.
    unsafe { ES::set_reg(selectors.kernel_data) };
    // SAFETY: as above.
    unsafe { SS::set_reg(selectors.kernel_data) };
    // SAFETY: as above; the TSS lives for ever.
    unsafe { load_tss(tss) };
    load_idt();
    selectors
}

fn new_stack() -> VirtAddr {
    let stack = Box::leak(vec![0u8; STACK_LEN].into_boxed_slice());
    VirtAddr::from_ptr(stack.as_ptr_range().end).align_down(16u64)
}

fn load_idt() {
    let idt = Box::leak(Box::new(InterruptDescriptorTable::new()));
    let table: *mut [u128; 256] = (&raw mut *idt).cast();
    for vector in 0..=u8::MAX {
        let stack = match vector {
            2 | 8 | 18 => FATAL_STACK,
            0..32 => EXCEPTION_STACK,
            _ => INTERRUPT_STACK,
        };
        // INT3 and the system call may come from user mode.
        let privilege = match vector {
            3 | 0x80 => 3,
            _ => 0,
        };
        let entry = gate(stub_address(vector), stack, privilege);
        // SAFETY: an IDT is 256 gates of 16 bytes.
        unsafe { (*table)[usize::from(vector)] = entry };
    }
    idt.load();
}

/// An interrupt gate of the kernel's code segment (SDM 3, 6.14.1), for INT n at `privilege` and above.
fn gate(handler: u64, stack: u16, privilege: u8) -> u128 {
    const KERNEL_CODE: u128 = 8;
    const PRESENT_INTERRUPT_GATE: u128 = 0x8e;
    let handler = u128::from(handler);
    let low = handler & 0xffff;
    let middle = handler >> 16 & 0xffff;
    let high = handler >> 32;
    low | KERNEL_CODE << 16
        | (u128::from(stack) + 1) << 32
        | (PRESENT_INTERRUPT_GATE | u128::from(privilege) << 5) << 40
        | middle << 48
        | high << 64
}
