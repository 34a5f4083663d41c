//! What memory does to an instruction besides holding bytes: part of it may not be present (#PF),
//! and alignment checking may be on (#AC).
//!
//! An instruction meets its faults in this order: #UD, #NM for CR0.TS, #GP(0) for CPL, #GP(0) or #AC
//! for the alignment, then memory. A save that would fault anywhere writes nothing here; the
//! manual lets a processor have written part of the area. A save may access every byte of a
//! component it operates on (SDM 1, 13.13), so all of RFBM must be present, the components that
//! the optimisations leave out too. A restore reads the header first, so #PF there comes before
//! the #GP(0) of the header, and #GP(0) or #NM of the header before #PF elsewhere.

use core::ops::Range;

use fpstate_arch::Fault;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;

use crate::control_state::{AlignmentCheck, Privilege};
use crate::cpu::ModelCpu;
use crate::faulting_restore::FaultingRestore;
use crate::offsets::{self, Placed, require_reach};
use crate::vendor::AlignmentCheckWidth;

/// Of the XSAVE and XRSTOR families.
pub(crate) const XSAVE_ALIGNMENT: usize = 64;

/// Bytes 27:24 of an area.
const MXCSR_BYTES: Range<usize> = 24..28;

/// The linear addresses that no page maps, for reads and for writes. One range, to the byte: page
/// boundaries are for whoever sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPresent {
    start: usize,
    end: usize,
}

impl NotPresent {
    /// All memory is present.
    pub const NOTHING: Self = Self { start: 0, end: 0 };

    /// The addresses of `range`.
    #[must_use]
    pub const fn addresses(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }

    /// Every address from `start` on.
    #[must_use]
    pub const fn from_address(start: usize) -> Self {
        Self {
            start,
            end: usize::MAX,
        }
    }

    /// Where, from byte 0 of `area`, the first of its bytes `range` lies that is not present.
    pub(crate) fn first_in(self, area: &[u8], range: &Range<usize>) -> Option<usize> {
        let base = area.as_ptr().addr();
        let first = base.saturating_add(range.start).max(self.start);
        let end = base.saturating_add(range.end).min(self.end);
        (first < end).then(|| first.saturating_sub(base))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) not_present: NotPresent,
    pub(crate) faulting_restore: FaultingRestore,
    alignment_check_width: AlignmentCheckWidth,
}

impl Memory {
    /// All of it is there, and a misaligned area gets #GP(0).
    pub(crate) const PRESENT: Self = Self {
        not_present: NotPresent::NOTHING,
        faulting_restore: FaultingRestore::LoadsNothing,
        alignment_check_width: AlignmentCheckWidth::Never,
    };
}

impl ModelCpu {
    /// Unmaps memory; [`NotPresent::NOTHING`] unless set.
    pub const fn set_not_present(&mut self, not_present: NotPresent) {
        self.memory.not_present = not_present;
    }

    /// Chooses what a restore has done when it raises #PF; [`FaultingRestore::LoadsNothing`] unless
    /// set.
    pub const fn set_faulting_restore(&mut self, faulting_restore: FaultingRestore) {
        self.memory.faulting_restore = faulting_restore;
    }

    /// MOV to CR0, bit 18, and POPF, bit 18; [`AlignmentCheck::Off`] unless set.
    pub const fn set_alignment_check(&mut self, alignment_check: AlignmentCheck) {
        self.control.alignment_check = alignment_check;
    }

    /// Chooses which misaligned areas get #AC while alignment checking is on;
    /// [`AlignmentCheckWidth::Never`] unless set.
    pub const fn set_alignment_check_width(&mut self, width: AlignmentCheckWidth) {
        self.memory.alignment_check_width = width;
    }

    /// #GP(0) or #AC for an area that does not begin at a multiple of `boundary`.
    pub(crate) fn require_aligned(&self, area: &[u8], boundary: usize) -> Result<(), Fault> {
        let address = area.as_ptr().addr();
        if address.is_multiple_of(boundary) {
            return Ok(());
        }
        Err(
            match (self.control.alignment_check, self.control.privilege) {
                (AlignmentCheck::On, Privilege::Ring3) => {
                    self.memory.alignment_check_width.fault_at(address)
                }
                (AlignmentCheck::Off, Privilege::Ring0 | Privilege::Ring3)
                | (AlignmentCheck::On, Privilege::Ring0) => Fault::GeneralProtection,
            },
        )
    }

    /// #PF for the bytes `range` of `area`.
    pub(crate) fn require_present(&self, area: &[u8], range: Range<usize>) -> Result<(), Fault> {
        match self.memory.not_present.first_in(area, &range) {
            None => Ok(()),
            Some(offset) => Err(Fault::PageFault { offset }),
        }
    }

    /// Whether a restore gets as far as to judge MXCSR.
    pub(crate) fn mxcsr_is_present(&self, area: &[u8]) -> bool {
        self.require_present(area, MXCSR_BYTES).is_ok()
    }

    /// All that a save of `placed` may access.
    pub(crate) fn require_writable(&self, area: &[u8], placed: &[Placed]) -> Result<(), Fault> {
        require_reach(area, offsets::reach(placed))?;
        self.require_present(area, 0..EXTENDED_REGION_OFFSET)?;
        for Placed { range, .. } in placed {
            self.require_present(area, range.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::{Osxsave, TaskSwitched};
    use crate::recorded_cpus::{ALL, Area, cpu_with_avx, emerald_rapids, generator};
    use fpstate_arch::{ComponentSet, Processor};

    type Save = fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>;
    const SAVES: [Save; 5] = [
        ModelCpu::xsave,
        ModelCpu::xsaveopt,
        ModelCpu::xsavec,
        ModelCpu::xsaves,
        |cpu, area, _| cpu.fxsave(area),
    ];
    type Restoring = fn(&mut ModelCpu, &[u8], ComponentSet) -> Result<(), Fault>;
    const RESTORES: [Restoring; 3] = [ModelCpu::xrstor, ModelCpu::xrstors, |cpu, area, _| {
        cpu.fxrstor(area)
    }];
    const LEGACY_AND_AVX: ComponentSet = ComponentSet::from_bits(0x7);

    /// Bytes `range` of `area` are not present.
    fn unmap(cpu: &mut ModelCpu, area: &Area, range: Range<usize>) {
        let base = area.0.as_ptr().addr();
        cpu.set_not_present(NotPresent::addresses(base + range.start..base + range.end));
    }

    #[test]
    fn a_save_to_memory_that_is_not_present_faults_at_the_first_such_byte_and_writes_nothing() {
        for save in SAVES {
            for (range, offset) in [(0..1, 0), (100..4096, 100), (511..512, 511)] {
                let mut cpu = emerald_rapids();
                cpu.registers_mut().fill(ALL, generator(1));
                let mut area = Area::of(0xaa);
                unmap(&mut cpu, &area, range);
                let fault = Err(Fault::PageFault { offset });
                assert_eq!(save(&mut cpu, &mut area.0, LEGACY_AND_AVX), fault);
                assert!(area.0 == Area::of(0xaa).0);
            }
        }
    }

    #[test]
    fn memory_that_becomes_present_lets_the_instruction_complete() {
        let mut cpu = emerald_rapids();
        let mut area = Area::of(0);
        unmap(&mut cpu, &area, 700..701);
        let fault = Err(Fault::PageFault { offset: 700 });
        assert_eq!(cpu.xsave(&mut area.0, LEGACY_AND_AVX), fault);
        cpu.set_not_present(NotPresent::NOTHING);
        assert_eq!(cpu.xsave(&mut area.0, LEGACY_AND_AVX), Ok(()));
    }

    #[test]
    fn a_save_needs_all_of_rfbm_to_be_present_and_nothing_beyond() {
        // SDM 1, 13.13. AVX is initial and at 576 in both formats.
        for save in &SAVES[..4] {
            let mut cpu = emerald_rapids();
            let mut area = Area::of(0);
            let avx = area.0.as_ptr().addr() + 576;
            cpu.set_not_present(NotPresent::from_address(avx));
            let fault = Err(Fault::PageFault { offset: 576 });
            assert_eq!(save(&mut cpu, &mut area.0, LEGACY_AND_AVX), fault);
            assert_eq!(save(&mut cpu, &mut area.0, ComponentSet::LEGACY), Ok(()));
        }
        let mut cpu = emerald_rapids();
        let mut area = Area::of(0);
        unmap(&mut cpu, &area, 512..4096);
        assert_eq!(cpu.fxsave(&mut area.0), Ok(()));
    }

    #[test]
    fn ud_nm_gp_and_misalignment_come_before_a_page_fault() {
        // SDM 3, 6.9, "Priority Among Concurrent Events": a page fault comes with the access.
        type Execute = fn(&mut ModelCpu, &mut [u8]) -> Result<(), Fault>;
        let instructions: [Execute; 6] = [
            |cpu, area| cpu.xsave(area, ALL),
            |cpu, area| cpu.xsaveopt(area, ALL),
            |cpu, area| cpu.xsavec(area, ALL),
            |cpu, area| cpu.xsaves(area, ALL),
            |cpu, area| cpu.xrstor(area, ALL),
            |cpu, area| cpu.xrstors(area, ALL),
        ];
        for execute in instructions {
            let mut cpu = emerald_rapids();
            cpu.set_not_present(NotPresent::from_address(0));
            let mut area = Area::of(0);
            let misaligned = &mut area.0[1..];
            assert_eq!(execute(&mut cpu, misaligned), Err(Fault::GeneralProtection));
            cpu.set_cr0_ts(TaskSwitched::Set);
            let not_available = Err(Fault::DeviceNotAvailable);
            assert_eq!(execute(&mut cpu, misaligned), not_available);
            cpu.set_cr4_osxsave(Osxsave::Clear);
            assert_eq!(execute(&mut cpu, misaligned), Err(Fault::InvalidOpcode));
        }
        let mut cpu = emerald_rapids();
        cpu.set_not_present(NotPresent::from_address(0));
        cpu.set_cpl(Privilege::Ring3);
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.xsaves(&mut Area::of(0).0, ALL), refused);
        assert_eq!(cpu.xrstors(&Area::of(0).0, ALL), refused);
    }

    #[test]
    fn a_restore_reads_the_header_before_it_judges_it_and_judges_it_before_it_reads_on() {
        let mut xcomp_bv_bit_0 = Area::standard(0x7);
        xcomp_bv_bit_0.put(520, &[1]);
        let mut cpu = cpu_with_avx();
        unmap(&mut cpu, &xcomp_bv_bit_0, 570..4096);
        let header = Err(Fault::PageFault { offset: 570 });
        assert_eq!(cpu.xrstor(&xcomp_bv_bit_0.0, ALL), header);
        unmap(&mut cpu, &xcomp_bv_bit_0, 576..4096);
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.xrstor(&xcomp_bv_bit_0.0, ALL), refused);
        let area = Area::compacted(0x7, 0x7);
        unmap(&mut cpu, &area, 576..4096);
        let avx = Err(Fault::PageFault { offset: 576 });
        assert_eq!(cpu.xrstors(&area.0, ALL), avx);
        assert_eq!(cpu.xrstor(&area.0, ALL), avx);
    }

    #[test]
    fn mxcsr_is_judged_if_it_is_present() {
        for restore in RESTORES {
            let mut area = Area::compacted(0x7, 0x7);
            area.put(24, &u32::MAX.to_le_bytes());
            let mut cpu = cpu_with_avx();
            unmap(&mut cpu, &area, 400..512);
            let refused = Err(Fault::GeneralProtection);
            assert_eq!(restore(&mut cpu, &area.0, ALL), refused);
            unmap(&mut cpu, &area, 27..512);
            let fault = Err(Fault::PageFault { offset: 27 });
            assert_eq!(restore(&mut cpu, &area.0, ALL), fault);
        }
    }

    #[test]
    fn a_misaligned_area_gets_ac_only_at_cpl_3_with_the_check_on_and_a_processor_that_signals_it() {
        let mut area = Area::standard(0);
        let (on, off) = (AlignmentCheck::On, AlignmentCheck::Off);
        let (operand, never) = (AlignmentCheckWidth::Operand, AlignmentCheckWidth::Never);
        for (check, privilege, width, fault) in [
            (on, Privilege::Ring3, operand, Fault::AlignmentCheck),
            (off, Privilege::Ring3, operand, Fault::GeneralProtection),
            (on, Privilege::Ring0, operand, Fault::GeneralProtection),
            (on, Privilege::Ring3, never, Fault::GeneralProtection),
        ] {
            let mut cpu = emerald_rapids();
            cpu.set_alignment_check(check);
            cpu.set_cpl(privilege);
            cpu.set_alignment_check_width(width);
            let misaligned = &mut area.0[8..];
            for save in [SAVES[0], SAVES[1], SAVES[2], SAVES[4]] {
                assert_eq!(save(&mut cpu, misaligned, ALL), Err(fault));
            }
            for restore in [RESTORES[0], RESTORES[2]] {
                assert_eq!(restore(&mut cpu, misaligned, ALL), Err(fault));
            }
            // At CPL 3 these have #GP(0) for the CPL.
            let refused = Err(Fault::GeneralProtection);
            assert_eq!(cpu.xsaves(misaligned, ALL), refused);
            assert_eq!(cpu.xrstors(misaligned, ALL), refused);
        }
    }

    #[test]
    fn the_width_of_the_alignment_check_divides_misaligned_areas_between_ac_and_gp() {
        use AlignmentCheckWidth::{Bytes2, Bytes4, Bytes8, Bytes16, Never, Operand};
        // The offset from a multiple of 64 from which on a misalignment gets #GP(0).
        for (width, first_gp) in [
            (Never, 1),
            (Bytes2, 2),
            (Bytes4, 4),
            (Bytes8, 8),
            (Bytes16, 16),
            (Operand, 64),
        ] {
            let mut cpu = emerald_rapids();
            cpu.set_cpl(Privilege::Ring3);
            cpu.set_alignment_check(AlignmentCheck::On);
            cpu.set_alignment_check_width(width);
            let mut area = Area::of(0);
            for offset in [1, 2, 4, 8, 16, 32] {
                let fault = if offset < first_gp {
                    Fault::AlignmentCheck
                } else {
                    Fault::GeneralProtection
                };
                assert_eq!(cpu.xsave(&mut area.0[offset..], ALL), Err(fault));
                let fxsave = if offset < 16 { Err(fault) } else { Ok(()) };
                assert_eq!(cpu.fxsave(&mut area.0[offset..]), fxsave);
            }
        }
    }
}
