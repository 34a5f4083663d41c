//! XSAVE64, XSAVEOPT64, XSAVEC64, XSAVES64, XRSTOR64 and XRSTORS64 (SDM 1, 13.7 to 13.12).
//!
//! All six take an area and a requested-feature bitmap in EDX:EAX; the macro is the one place where
//! that happens. How far an instruction reaches into the area depends on the bitmap, XCR0, IA32_XSS
//! and, for a restore, on the area's header; it never follows from the pointer.

use core::arch::asm;

use fpstate_arch::ComponentSet;

/// Where the XSAVE family wants byte 0 of an area: at a multiple of this.
pub const XSAVE_ALIGNMENT: usize = 64;

macro_rules! area_instruction {
    (
        $(#[$doc:meta])*
        $name:ident, $template:literal, $area:ty, $option:ident $(, $clobbers:literal)?
    ) => {
        $(#[$doc])*
        #[inline]
        pub unsafe fn $name(area: $area, rfbm: ComponentSet) {
            let (low, high) = rfbm.halves();
            // SAFETY: the numbered conditions are the caller's; the instruction touches the area,
            // and, if it is a restore, the registers that the caller's last condition is about. Of
            // those, what a call need not preserve is clobbered.
            unsafe {
                asm!(
                    $template,
                    area = in(reg) area,
                    in("eax") low,
                    in("edx") high,
                    $(clobber_abi($clobbers),)?
                    options(nostack, $option),
                );
            }
        }
    };
}

area_instruction!(
    /// XSAVE64: the components in `rfbm` & XCR0 to an area in the standard format.
    ///
    /// # Safety
    /// 1. The legacy region, the header and every component in `rfbm` & XCR0, in the standard
    ///    format, are valid for reads and writes.
    /// 2. `area` is a multiple of 64; otherwise #GP.
    /// 3. The CPU has the instruction, CR4.OSXSAVE is 1 and CR0.TS is 0; otherwise #UD or #NM.
    xsave64, "xsave64 [{area}]", *mut u8, preserves_flags
);
area_instruction!(
    /// XSAVEOPT64: as XSAVE64, with what is initial or unmodified left out.
    ///
    /// # Safety
    /// As [`xsave64`], 1 to 3.
    xsaveopt64, "xsaveopt64 [{area}]", *mut u8, preserves_flags
);
area_instruction!(
    /// XSAVEC64: the components in `rfbm` & XCR0 to an area in the compacted format.
    ///
    /// # Safety
    /// 1. The legacy region, the header and every component in `rfbm` & XCR0, in the compacted
    ///    format, are valid for writes.
    /// 2. As [`xsave64`], 2 and 3.
    xsavec64, "xsavec64 [{area}]", *mut u8, preserves_flags
);
area_instruction!(
    /// XSAVES64: the components in `rfbm` & (XCR0 | IA32_XSS) to an area in the compacted format.
    ///
    /// # Safety
    /// 1. The legacy region, the header and every component in `rfbm` & (XCR0 | IA32_XSS), in the
    ///    compacted format, are valid for writes.
    /// 2. As [`xsave64`], 2 and 3.
    /// 3. CPL is 0; otherwise #GP.
    xsaves64, "xsaves64 [{area}]", *mut u8, preserves_flags
);
area_instruction!(
    /// XRSTOR64: the components in `rfbm` & XCR0 from an area in either format.
    ///
    /// # Safety
    /// 1. The legacy region, the header and every component that is in `rfbm` & XCR0 and in
    ///    XSTATE_BV, in the format that XCOMP_BV says, are valid for reads.
    /// 2. As [`xsave64`], 2 and 3.
    /// 3. The image meets the conditions of SDM 1, 13.8; otherwise #GP. It has no component that
    ///    IA32_XFD disables; otherwise #NM.
    /// 4. No code depends on the registers that the instruction replaces and that a call preserves
    ///    (MXCSR, the x87 control word, an empty x87 stack): the program is compiled without them
    ///    (soft-float), or what it expects is put back before compiled code goes on.
    xrstor64, "xrstor64 [{area}]", *const u8, readonly, "sysv64"
);
area_instruction!(
    /// XRSTORS64: the components in `rfbm` & (XCR0 | IA32_XSS) from an area in the compacted
    /// format.
    ///
    /// # Safety
    /// 1. The legacy region, the header and every component that is in `rfbm` & (XCR0 | IA32_XSS)
    ///    and in XSTATE_BV, in the compacted format, are valid for reads.
    /// 2. As [`xrstor64`], 2 to 4, with SDM 1, 13.12 for 13.8.
    /// 3. CPL is 0; otherwise #GP.
    /// 4. The supervisor components among them may be replaced: the shadow stack in use, the
    ///    interrupts, the trace are the caller's to lose.
    xrstors64, "xrstors64 [{area}]", *const u8, readonly, "sysv64"
);
