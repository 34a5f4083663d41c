//! The virtual machine control block (AMD APM 2, appendix B).

use core::mem::offset_of;

/// A segment register.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Bits 40 to 47 and 52 to 55 of the descriptor.
    pub attributes: u16,
    /// Limit.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// What the hypervisor asks for, and why the guest exited.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Control {
    /// Reads of CR0 to CR15, then writes.
    pub intercept_cr: u32,
    /// The same of debug registers.
    pub intercept_dr: u32,
    /// Exceptions, a bit a vector.
    pub intercept_exceptions: u32,
    /// Instructions and events, first word.
    pub intercept_first: u32,
    /// Instructions and events, second word.
    pub intercept_second: u32,
    reserved_1: [u8; 0x40 - 0x14],
    /// Where the I/O permission map is.
    pub io_permissions: u64,
    /// Where the MSR permission map is.
    pub msr_permissions: u64,
    /// Added to the TSC.
    pub tsc_offset: u64,
    /// Address space identifier; the host's is 0.
    pub asid: u32,
    /// 1: flush all translations at the entry.
    pub tlb_control: u32,
    /// Bit 24: the guest's RFLAGS.IF does not mask the host's interrupts.
    pub virtual_interrupt: u64,
    /// Bit 0: the guest is behind STI or MOV SS.
    pub interrupt_shadow: u64,
    /// Why it exited.
    pub exit_code: u64,
    /// More about that.
    pub exit_info_1: u64,
    /// More about that.
    pub exit_info_2: u64,
    /// An event whose delivery exited.
    pub exit_event: u64,
    /// Bit 0: nested pages.
    pub nested_paging: u64,
    reserved_2: [u8; 0xa8 - 0x98],
    /// An event to deliver at the entry.
    pub inject: u64,
    /// Where the nested page tables are.
    pub nested_cr3: u64,
    reserved_3: [u8; 0x400 - 0xb8],
}

/// The guest's registers that the CPU loads and stores.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct State {
    /// ES.
    pub es: Segment,
    /// CS.
    pub cs: Segment,
    /// SS.
    pub ss: Segment,
    /// DS.
    pub ds: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// GDTR.
    pub gdtr: Segment,
    /// LDTR.
    pub ldtr: Segment,
    /// IDTR.
    pub idtr: Segment,
    /// TR.
    pub tr: Segment,
    reserved_1: [u8; 0x4d0 - 0x4a0],
    /// EFER.
    pub efer: u64,
    reserved_2: [u8; 0x548 - 0x4d8],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    reserved_3: [u8; 0x5d8 - 0x580],
    /// RSP.
    pub rsp: u64,
    reserved_4: [u8; 0x5f8 - 0x5e0],
    /// RAX.
    pub rax: u64,
    reserved_5: [u8; 0x668 - 0x600],
    /// `IA32_PAT`.
    pub pat: u64,
    reserved_6: [u8; 0x1000 - 0x670],
}

/// The block.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// Control area.
    pub control: Control,
    /// State save area.
    pub state: State,
}

const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Control, io_permissions) == 0x40);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, nested_paging) == 0x90);
    assert!(offset_of!(Control, inject) == 0xa8);
    assert!(offset_of!(Control, nested_cr3) == 0xb0);
    assert!(offset_of!(Vmcb, state) == 0x400);
    assert!(offset_of!(Vmcb, state.efer) == 0x4d0);
    assert!(offset_of!(Vmcb, state.cr4) == 0x548);
    assert!(offset_of!(Vmcb, state.rip) == 0x578);
    assert!(offset_of!(Vmcb, state.rsp) == 0x5d8);
    assert!(offset_of!(Vmcb, state.rax) == 0x5f8);
    assert!(offset_of!(Vmcb, state.pat) == 0x668);
};

impl Vmcb {
    /// Zeros: no intercept, no state.
    pub const ZEROED: Self = Self {
        control: Control {
            intercept_cr: 0,
            intercept_dr: 0,
            intercept_exceptions: 0,
            intercept_first: 0,
            intercept_second: 0,
            reserved_1: [0; 0x40 - 0x14],
            io_permissions: 0,
            msr_permissions: 0,
            tsc_offset: 0,
            asid: 0,
            tlb_control: 0,
            virtual_interrupt: 0,
            interrupt_shadow: 0,
            exit_code: 0,
            exit_info_1: 0,
            exit_info_2: 0,
            exit_event: 0,
            nested_paging: 0,
            reserved_2: [0; 0xa8 - 0x98],
            inject: 0,
            nested_cr3: 0,
            reserved_3: [0; 0x400 - 0xb8],
        },
        state: State {
            es: NO_SEGMENT,
            cs: NO_SEGMENT,
            ss: NO_SEGMENT,
            ds: NO_SEGMENT,
            fs: NO_SEGMENT,
            gs: NO_SEGMENT,
            gdtr: NO_SEGMENT,
            ldtr: NO_SEGMENT,
            idtr: NO_SEGMENT,
            tr: NO_SEGMENT,
            reserved_1: [0; 0x4d0 - 0x4a0],
            efer: 0,
            reserved_2: [0; 0x548 - 0x4d8],
            cr4: 0,
            cr3: 0,
            cr0: 0,
            dr7: 0,
            dr6: 0,
            rflags: 0,
            rip: 0,
            reserved_3: [0; 0x5d8 - 0x580],
            rsp: 0,
            reserved_4: [0; 0x5f8 - 0x5e0],
            rax: 0,
            reserved_5: [0; 0x668 - 0x600],
            pat: 0,
            reserved_6: [0; 0x1000 - 0x670],
        },
    };
}

const NO_SEGMENT: Segment = Segment {
    selector: 0,
    attributes: 0,
    limit: 0,
    base: 0,
};
