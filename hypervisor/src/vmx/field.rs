//! The fields of a VMCS that this kernel uses (SDM 3, appendix B).

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub enum Field {
    MsrBitmap = 0x2004,
    EptPointer = 0x201a,
    XssExitingBitmap = 0x202c,
    GuestPhysicalAddress = 0x2400,
    LinkPointer = 0x2800,
    GuestDebugctl = 0x2802,
    GuestEfer = 0x2806,
    HostEfer = 0x2c02,

    PinControls = 0x4000,
    ProcessorControls = 0x4002,
    ExceptionBitmap = 0x4004,
    PageFaultMask = 0x4006,
    PageFaultMatch = 0x4008,
    Cr3TargetCount = 0x400a,
    ExitControls = 0x400c,
    ExitMsrStoreCount = 0x400e,
    ExitMsrLoadCount = 0x4010,
    EntryControls = 0x4012,
    EntryMsrLoadCount = 0x4014,
    EntryInterruption = 0x4016,
    EntryErrorCode = 0x4018,
    SecondaryControls = 0x401e,

    InstructionError = 0x4400,
    ExitReason = 0x4402,
    ExitInterruption = 0x4404,
    ExitInstructionLen = 0x440c,

    GuestInterruptibility = 0x4824,
    GuestActivity = 0x4826,
    GuestSysenterCs = 0x482a,
    HostSysenterCs = 0x4c00,

    Cr0Mask = 0x6000,
    Cr4Mask = 0x6002,
    Cr0Shadow = 0x6004,
    Cr4Shadow = 0x6006,
    ExitQualification = 0x6400,

    GuestCr0 = 0x6800,
    GuestCr3 = 0x6802,
    GuestCr4 = 0x6804,
    GuestGdtrBase = 0x6816,
    GuestIdtrBase = 0x6818,
    GuestGdtrLimit = 0x4810,
    GuestIdtrLimit = 0x4812,
    GuestDr7 = 0x681a,
    GuestRsp = 0x681c,
    GuestRip = 0x681e,
    GuestRflags = 0x6820,
    GuestPendingDebug = 0x6822,
    GuestSysenterEsp = 0x6824,
    GuestSysenterEip = 0x6826,

    HostEs = 0xc00,
    HostCs = 0xc02,
    HostSs = 0xc04,
    HostDs = 0xc06,
    HostFs = 0xc08,
    HostGs = 0xc0a,
    HostTr = 0xc0c,
    HostCr0 = 0x6c00,
    HostCr3 = 0x6c02,
    HostCr4 = 0x6c04,
    HostFsBase = 0x6c06,
    HostGsBase = 0x6c08,
    HostTrBase = 0x6c0a,
    HostGdtrBase = 0x6c0c,
    HostIdtrBase = 0x6c0e,
    HostSysenterEsp = 0x6c10,
    HostSysenterEip = 0x6c12,
    HostRsp = 0x6c14,
    HostRip = 0x6c16,
}

/// A segment register of the guest: it has four fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub enum Segment {
    Es = 0,
    Cs = 2,
    Ss = 4,
    Ds = 6,
    Fs = 8,
    Gs = 10,
    Ldtr = 12,
    Tr = 14,
}

impl Segment {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Es,
        Self::Cs,
        Self::Ss,
        Self::Ds,
        Self::Fs,
        Self::Gs,
        Self::Ldtr,
        Self::Tr,
    ];

    pub(super) const fn selector(self) -> u32 {
        0x800 + self as u32
    }

    pub(super) const fn limit(self) -> u32 {
        0x4800 + self as u32
    }

    pub(super) const fn access_rights(self) -> u32 {
        0x4814 + self as u32
    }

    pub(super) const fn base(self) -> u32 {
        0x6806 + self as u32
    }
}
