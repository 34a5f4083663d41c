//! [`SvmVcpu`]: a guest that begins in 64-bit mode, and exits for all that the run loop emulates.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::guest_memory::{self, GuestMemory};
use crate::svm::enable;
use crate::svm::entry;
use crate::svm::nested_pages::NestedPages;
use crate::svm::permission_maps::{IoPermissions, MsrPermissions};
use crate::svm::vmcb::{Segment, State, Vmcb};
use crate::vcpu::{Exit, GeneralRegisters, Hardware, MsrAccess};

/// INTR, NMI, INIT; CPUID, INVD, HLT, I/O, MSRs, task switches, shutdown.
const FIRST: u32 = 0b1011 | 1 << 18 | 1 << 22 | 1 << 24 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 31;
/// VMRUN, VMMCALL and the other instructions of SVM; MONITOR, MWAIT; XSETBV.
const SECOND: u32 = 0x7f | 1 << 10 | 1 << 11 | 1 << 13;
const DEVICE_NOT_AVAILABLE: u32 = 1 << 7;
const MACHINE_CHECK: u32 = 1 << 18;
const MASK_VIRTUAL_INTERRUPTS: u64 = 1 << 24;
/// The vCPU may come from another CPU, and another guest may have used the ASID.
const FLUSH_ALL: u32 = 1;
/// EFER.SVME, LMA, LME.
const EFER: u64 = 1 << 12 | 1 << 10 | 1 << 8;

/// A vCPU of SVM's.
#[derive(Debug)]
pub struct SvmVcpu {
    guest: Box<Vmcb>,
    host: Box<Vmcb>,
    msrs: Box<MsrPermissions>,
    _ports: Box<IoPermissions>,
    _pages: NestedPages,
    _memory: Arc<GuestMemory>,
    instruction_len: u64,
}

impl SvmVcpu {
    /// VMMCALL.
    pub const HYPERCALL: [u8; 3] = [0x0f, 0x01, 0xd9];

    /// A vCPU that begins at `memory`'s program. The CPU has SVM.
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        let pages = NestedPages::for_memory(&memory);
        let ports = IoPermissions::all_exit();
        let msrs = MsrPermissions::all_exit();
        let mut guest = Box::new(Vmcb::ZEROED);
        let control = &mut guest.control;
        control.intercept_exceptions = DEVICE_NOT_AVAILABLE | MACHINE_CHECK;
        control.intercept_first = FIRST;
        control.intercept_second = SECOND;
        control.io_permissions = ports.address();
        control.msr_permissions = msrs.address();
        control.asid = 1;
        control.virtual_interrupt = MASK_VIRTUAL_INTERRUPTS;
        control.nested_paging = 1;
        control.nested_cr3 = pages.cr3();
        begin(&mut guest.state);
        Self {
            guest,
            host: Box::new(Vmcb::ZEROED),
            msrs,
            _ports: ports,
            _pages: pages,
            _memory: memory,
            instruction_len: 0,
        }
    }

    /// What the exit was, and how long the instruction is that exited; guests use no prefixes there.
    fn exit(&self) -> (Exit, u64) {
        let control = &self.guest.control;
        match control.exit_code {
            0x47 => (Exit::DeviceNotAvailable, 0),
            0x60 => (Exit::Interrupt, 0),
            0x72 => (Exit::Cpuid, 2),
            0x78 => (Exit::Halt, 1),
            0x7c if control.exit_info_1 == 0 => (Exit::ReadMsr, 2),
            0x7c => (Exit::WriteMsr, 2),
            0x81 => (Exit::Hypercall, 3),
            0x8d => (Exit::Xsetbv, 3),
            other => (Exit::Other(other), 0),
        }
    }
}

fn begin(state: &mut State) {
    const CODE: u16 = 0x29b;
    const DATA: u16 = 0xc93;
    const BUSY_TSS: u16 = 0x8b;
    const LDT: u16 = 0x82;
    let segment = |selector, attributes| Segment {
        selector,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    let table = |base| Segment {
        limit: 0xfff,
        base,
        ..Segment::default()
    };
    state.cs = segment(guest_memory::CODE_SELECTOR, CODE);
    let data = segment(guest_memory::DATA_SELECTOR, DATA);
    (state.ss, state.ds, state.es) = (data, data, data);
    (state.fs, state.gs) = (data, data);
    (state.tr, state.ldtr) = (segment(0, BUSY_TSS), segment(0, LDT));
    state.gdtr = table(guest_memory::GDT);
    state.idtr = table(guest_memory::IDT);
    state.efer = EFER;
    state.cr0 = guest_memory::CR0;
    state.cr3 = guest_memory::PAGE_TABLES;
    state.cr4 = guest_memory::CR4;
    state.dr6 = 0xffff_0ff0;
    state.dr7 = 0x400;
    state.rflags = 2;
    state.rip = guest_memory::PROGRAM;
    state.rsp = guest_memory::STACK;
    state.pat = 0x0007_0406_0007_0406;
}

impl Hardware for SvmVcpu {
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit {
        enable::enable();
        self.guest.control.tlb_control = FLUSH_ALL;
        // SAFETY: 1: the first line; interrupts are off by the
        // trait's contract. 2: `new` made the block, and `self` owns all of it. 3: the trait's
        // contract.
        unsafe { entry::run(&mut self.guest, &mut self.host, registers) };
        self.guest.control.inject = 0;
        let (exit, instruction_len) = self.exit();
        self.instruction_len = instruction_len;
        exit
    }

    fn skip_instruction(&mut self) {
        self.guest.state.rip += self.instruction_len;
        self.guest.control.interrupt_shadow = 0;
    }

    fn inject(&mut self, vector: u8, error_code: Option<u32>) {
        const EXCEPTION: u64 = 3 << 8;
        const ERROR_CODE_VALID: u64 = 1 << 11;
        const VALID: u64 = 1 << 31;
        let error_code = error_code.map_or(0, |code| u64::from(code) << 32 | ERROR_CODE_VALID);
        self.guest.control.inject = VALID | EXCEPTION | error_code | u64::from(vector);
    }

    fn cr0(&self) -> u64 {
        self.guest.state.cr0
    }

    fn cr4(&self) -> u64 {
        self.guest.state.cr4
    }

    fn intercept_msr(&mut self, msr: u32, access: MsrAccess) {
        self.msrs.set(msr, access);
    }
}
