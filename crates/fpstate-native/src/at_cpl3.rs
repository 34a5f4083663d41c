//! What a processor at CPL 3 knows of its CPU, and what it refuses.
//!
//! An ordinary process is an operating system's: XCR0 is given, ring 0's registers are out of reach,
//! and an exception would be a signal, so a restore is judged before it is executed.

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{
    Component, ComponentSet, Enumeration, Fault, Format, Instruction, Mxcsr, XsaveHeader,
};

use crate::cpuid::cpuid;
use crate::extended_control::{XgetbvOperand, xgetbv};
use crate::fxsave::{FXSAVE_ALIGNMENT, mxcsr_mask};
use crate::reach::{Reach, require_alignment, require_legacy_region};
use crate::register_moves::plans::MovePlans;
use crate::register_moves::{ErrorPointersLeft, MovePlan};
use crate::usual_image::{Asked, Judged, NONE_YET, UsualImage, UsualImages};
use crate::xrstor_conditions::{BOTH_FORMATS, STANDARD_ONLY, XrstorConditions, mxcsr_in};
use crate::xsave_family::XSAVE_ALIGNMENT;

/// The CPU as CPUID and XCR0 show it, and the components that a restore may replace.
#[derive(Debug)]
pub(crate) struct AtCpl3 {
    pub(crate) reach: Reach,
    pub(crate) conditions: XrstorConditions,
    pub(crate) own: ComponentSet,
    pub(crate) plans: MovePlans,
    /// Under `conditions` and for `own` as they are.
    pub(crate) usual: UsualImages,
}

/// What decides about the process's own accesses and branches.
const THREADS_OWN: ComponentSet = ComponentSet::MPX.with(Component::Pkru);

impl AtCpl3 {
    /// The CPU that executes this. A restore may replace what XCR0 has, but for what is the thread's
    /// own and what IA32_XFD can disable.
    ///
    /// # Safety
    /// 1. CR0.TS and CR0.EM are 0.
    /// 2. XCR0 and what CPUID says of leaves 1 and 0DH stay the same while the value lives.
    pub(crate) unsafe fn read(error_pointers: ErrorPointersLeft) -> Self {
        let enumeration = Enumeration::read(cpuid);
        let xcr0 = if enumeration.has(Instruction::Xsave) && operating_system_uses_xsave() {
            // SAFETY: 1: the line above. 2: not that operand.
            unsafe { xgetbv(XgetbvOperand::Xcr0) }
        } else {
            ComponentSet::EMPTY
        };
        let withheld = enumeration.xfd_components().union(THREADS_OWN);
        // SAFETY: 1: the caller's; an x86-64 operating system sets CR4.OSFXSR.
        let mxcsr_mask = unsafe { mxcsr_mask() };
        Self {
            plans: MovePlans::new(mxcsr_mask, error_pointers),
            usual: NONE_YET,
            conditions: XrstorConditions {
                xcr0,
                mxcsr_mask,
                formats: if enumeration.has(Instruction::Xsavec) {
                    BOTH_FORMATS
                } else {
                    STANDARD_ONLY
                },
            },
            own: xcr0.difference(withheld),
            reach: Reach::new(enumeration),
        }
    }

    /// Restores by moves leave the error pointers like that.
    pub(crate) fn leave_error_pointers(&mut self, left: ErrorPointersLeft) {
        self.plans = MovePlans::new(self.conditions.mxcsr_mask, left);
    }

    pub(crate) const fn enumeration(&self) -> &Enumeration {
        self.reach.enumeration()
    }

    pub(crate) const fn xcr0(&self) -> ComponentSet {
        self.conditions.xcr0
    }

    /// The components that a restore may replace; nothing without XSAVE.
    pub(crate) const fn own(&self) -> ComponentSet {
        self.own
    }

    /// Those of `components` that only IA32_XFD kept out of [`own`](Self::own) are now in it.
    pub(crate) fn permit(&mut self, components: ComponentSet) -> ComponentSet {
        let permitted = components
            .intersection(self.enumeration().xfd_components())
            .intersection(self.xcr0());
        self.own = self.own.union(permitted);
        self.usual = NONE_YET;
        permitted
    }

    /// #UD without the instruction, and for the XSAVE family without CR4.OSXSAVE.
    #[inline]
    pub(crate) fn require(&self, instruction: Instruction) -> Result<(), Fault> {
        let usable = match instruction {
            Instruction::Fxsave => true,
            Instruction::Xsave
            | Instruction::Xsaveopt
            | Instruction::Xsavec
            | Instruction::XgetbvInUse
            | Instruction::Xsaves
            | Instruction::Xfd => !self.xcr0().is_empty(),
        };
        if usable && self.enumeration().has(instruction) {
            Ok(())
        } else {
            Err(Fault::InvalidOpcode)
        }
    }

    /// XGETBV with ECX = 1.
    #[inline]
    pub(crate) fn require_xgetbv_in_use(&self) -> Result<(), Fault> {
        self.require(Instruction::Xsave)?;
        if self.enumeration().has(Instruction::XgetbvInUse) {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }

    /// `instruction` of `rfbm` in the standard format: what it saves.
    #[inline]
    pub(crate) fn require_standard_save(
        &mut self,
        instruction: Instruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<ComponentSet, Fault> {
        self.require(instruction)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let saved = rfbm.intersection(self.xcr0());
        self.reach.require_standard(saved, area.len())?;
        Ok(saved)
    }

    /// XSAVEC of `rfbm`: what it saves.
    #[inline]
    pub(crate) fn require_compacted_save(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsavec)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let saved = rfbm.intersection(self.xcr0());
        self.reach.require_compacted(saved, area.len())?;
        Ok(saved)
    }

    /// XRSTOR of `rfbm`: what it may replace.
    #[inline]
    pub(crate) fn require_restore(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<ComponentSet, Fault> {
        if let Some(image) = Judged::of(area)
            && let asked = (image.xcomp_bv(), rfbm.union(self.left_out_at_times()))
            && let Some(usual) = self.usual.get(asked, || {
                usual_image(&mut self.reach, &self.conditions, self.own, asked)
            })
            && image.is(usual, area.len())
        {
            return Ok(rfbm.intersection(self.own));
        }
        self.judge_restore(area, rfbm)
    }

    /// What a caller asks for or not, as it finds it initial.
    #[inline]
    const fn left_out_at_times(&self) -> ComponentSet {
        self.plans.told_by_xinuse().intersection(self.own)
    }

    /// The same, of any image.
    #[cold]
    #[inline(never)]
    fn judge_restore(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsave)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let header = self.reach.require_restore(area, rfbm)?;
        self.conditions.check(legacy_region(area)?, &header, rfbm)?;
        let loaded = rfbm.intersection(header.xstate_bv).difference(self.own);
        if loaded.intersects(self.enumeration().xfd_components()) {
            return Err(Fault::DeviceNotAvailable);
        }
        Ok(rfbm.intersection(self.own))
    }

    /// The plan for a save by moves, if they cover anything of it.
    #[inline]
    pub(crate) fn plan_save(
        &mut self,
        area: &[u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Option<&MovePlan>, Fault> {
        let (enumeration, xcr0) = (self.reach.enumeration(), self.conditions.xcr0);
        self.plans.save(enumeration, || xcr0, area, (format, rfbm))
    }

    /// The plan for a restore by moves, if they cover anything of it.
    #[inline]
    pub(crate) fn plan_restore(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<Option<&MovePlan>, Fault> {
        let (enumeration, xcr0) = (self.reach.enumeration(), self.conditions.xcr0);
        self.plans.restore(enumeration, || xcr0, area, rfbm)
    }

    pub(crate) fn require_fxsave(&self, area: &[u8]) -> Result<(), Fault> {
        self.require(Instruction::Fxsave)?;
        require_alignment(area, FXSAVE_ALIGNMENT)?;
        require_legacy_region(area.len())
    }

    pub(crate) fn require_fxrstor(&self, area: &[u8]) -> Result<(), Fault> {
        self.require_fxsave(area)?;
        self.require_mxcsr(mxcsr_in(legacy_region(area)?))
    }

    #[inline]
    pub(crate) const fn require_mxcsr(&self, mxcsr: Mxcsr) -> Result<(), Fault> {
        self.conditions.check_mxcsr(mxcsr)
    }
}

/// What needs no second look, if it may be restored at all.
#[cold]
#[inline(never)]
fn usual_image(
    reach: &mut Reach,
    conditions: &XrstorConditions,
    own: ComponentSet,
    (xcomp_bv, rfbm): Asked,
) -> Option<UsualImage> {
    let header = XsaveHeader {
        xstate_bv: ComponentSet::EMPTY,
        xcomp_bv,
        ..XsaveHeader::standard(ComponentSet::EMPTY)
    };
    // There is no XCR0 without XSAVE.
    if conditions.xcr0.is_empty() || conditions.check_header(&header).is_err() {
        return None;
    }
    let withheld = rfbm.difference(own);
    let withheld = withheld.intersection(reach.enumeration().xfd_components());
    let room = conditions.room(&header);
    Some(UsualImage {
        not_in_xstate_bv: ComponentSet::from_bits(!room.bits()).union(withheld),
        not_in_mxcsr: !conditions.mxcsr_mask,
        reach: reach.of_restore(&header, rfbm),
    })
}

#[inline]
fn legacy_region(area: &[u8]) -> Result<&[u8; LEGACY_REGION_LEN], Fault> {
    area.first_chunk().ok_or(Fault::OutsideArea {
        reach: LEGACY_REGION_LEN,
        len: area.len(),
    })
}

/// CPUID.1:ECX\[27\]: CR4.OSXSAVE.
fn operating_system_uses_xsave() -> bool {
    cpuid(1, 0).ecx & 1 << 27 != 0
}

/// CPUID.(7,0):ECX\[4\]: CR4.PKE.
pub(crate) fn require_ospke() -> Result<(), Fault> {
    match cpuid(7, 0).ecx & 1 << 4 {
        0 => Err(Fault::InvalidOpcode),
        _ => Ok(()),
    }
}

/// The methods of [`Processor`](fpstate_arch::Processor) that are CPL 3's, not the registers':
/// CPUID, XGETBV of XCR0, and what is refused. For a type with a field `cpu: AtCpl3`.
macro_rules! given_at_cpl3 {
    () => {
        fn cpuid(&mut self, leaf: u32, subleaf: u32) -> fpstate_arch::CpuidRegisters {
            $crate::cpuid::cpuid(leaf, subleaf)
        }

        fn xgetbv(&mut self) -> Result<ComponentSet, Fault> {
            self.cpu.require(Instruction::Xsave)?;
            // SAFETY: 1: the line above. 2: not that operand.
            Ok(unsafe {
                $crate::extended_control::xgetbv($crate::extended_control::XgetbvOperand::Xcr0)
            })
        }

        fn xsetbv(&mut self, _: fpstate_arch::Xcr0) -> Result<(), Fault> {
            self.cpu.require(Instruction::Xsave)?;
            Err(Fault::GeneralProtection)
        }

        fn read_xss(&mut self) -> Result<ComponentSet, Fault> {
            Err(Fault::GeneralProtection)
        }

        fn write_xss(&mut self, _: fpstate_arch::Xss) -> Result<(), Fault> {
            Err(Fault::GeneralProtection)
        }

        fn read_xfd(&mut self) -> Result<ComponentSet, Fault> {
            Err(Fault::GeneralProtection)
        }

        fn write_xfd(&mut self, _: fpstate_arch::Xfd) -> Result<(), Fault> {
            Err(Fault::GeneralProtection)
        }

        fn read_xfd_err(&mut self) -> Result<fpstate_arch::XfdErr, Fault> {
            Err(Fault::GeneralProtection)
        }

        fn write_xfd_err(&mut self, _: fpstate_arch::XfdErr) -> Result<(), Fault> {
            Err(Fault::GeneralProtection)
        }

        fn xsaves(&mut self, _: &mut [u8], _: ComponentSet) -> Result<(), Fault> {
            self.cpu.require(Instruction::Xsaves)?;
            Err(Fault::GeneralProtection)
        }

        fn xrstors(&mut self, _: &[u8], _: ComponentSet) -> Result<(), Fault> {
            self.cpu.require(Instruction::Xsaves)?;
            Err(Fault::GeneralProtection)
        }

        /// The thread's own PKRU.
        fn rdpkru(&mut self) -> Result<fpstate_arch::Pkru, Fault> {
            $crate::at_cpl3::require_ospke()?;
            // SAFETY: 1: the line above.
            Ok(unsafe { $crate::pkru::rdpkru() })
        }

        /// Not executed: PKRU stays the thread's.
        fn wrpkru(&mut self, _: fpstate_arch::Pkru) -> Result<(), Fault> {
            $crate::at_cpl3::require_ospke()?;
            Err(Fault::GeneralProtection)
        }
    };
}
pub(crate) use given_at_cpl3;
