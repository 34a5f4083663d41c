//! What a restore has done to the registers when it raises #PF.
//!
//! SDM 1, 13.12 lets each element of a component that XRSTORS was restoring hold its value from
//! before, the one from the area, or its initial value, and promises nothing of the components
//! before it. Intel and AMD count #PF with changed registers as architectural for XRSTOR too:
//! Linux assumed otherwise until CVE-2021-47226. A kernel whose XRSTOR from user memory
//! fails must take the registers for lost.

use core::ops::Range;

use fpstate_arch::xsave_header::COMPACTED_BIT;
use fpstate_arch::{Component, ComponentSet, Fault, LegacyRegion};

use crate::cpu::ModelCpu;
use crate::legacy_region::restored_x87;
use crate::xrstor::Restore;

/// Bytes 159:0 of an area.
const X87_BYTES: Range<usize> = 0..160;
/// MXCSR, its mask and the XMM registers.
const SSE_BYTES: Range<usize> = 24..416;
/// MXCSR and its mask.
const MXCSR_BYTES: Range<usize> = 24..32;

/// What the registers hold after a restore that raised #PF. Both are allowed, and so is much
/// between them: a component part of which is loaded is not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultingRestore {
    /// What they held before.
    LoadsNothing,
    /// The restore goes through RFBM from component 0 upwards, and what it did before the component
    /// that faulted stays done: loaded from the area, or initial where XSTATE_BV\[i\] is 0. MXCSR goes
    /// with SSE. What changed counts as modified, and XRSTOR_INFO stays. A fault in the header
    /// changes nothing.
    LoadsWhatItReached,
}

/// Where a restore stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    component: Component,
    offset: usize,
}

impl ModelCpu {
    /// The first component that the restore cannot read.
    pub(crate) fn first_stop(&self, area: &[u8], restore: &Restore) -> Option<Stop> {
        let to_be_restored = restore.to_be_restored;
        let x87 = to_be_restored
            .contains(Component::X87)
            .then_some((Component::X87, &X87_BYTES));
        let standard_mxcsr = restore.mxcsr.is_some() && restore.xcomp_bv & COMPACTED_BIT == 0;
        let sse = if to_be_restored.contains(Component::Sse) {
            Some((Component::Sse, &SSE_BYTES))
        } else {
            standard_mxcsr.then_some((Component::Sse, &MXCSR_BYTES))
        };
        let extended = restore
            .placed
            .iter()
            .map(|placed| (placed.component, &placed.range));
        x87.into_iter()
            .chain(sse)
            .chain(extended)
            .find_map(|(component, range)| {
                let offset = self.memory.not_present.first_in(area, range)?;
                Some(Stop { component, offset })
            })
    }

    /// A restore that raises #PF at `stop`.
    pub(crate) fn restore_until(
        &mut self,
        stop: Stop,
        area: &[u8],
        region: &LegacyRegion,
        restore: &Restore,
    ) -> Result<(), Fault> {
        match self.memory.faulting_restore {
            FaultingRestore::LoadsNothing => {}
            FaultingRestore::LoadsWhatItReached => {
                let reached = below(stop.component);
                self.restore_registers(area, region, restore, reached)?;
                let loaded = restore.to_be_restored.intersection(reached);
                let requested = restore.rfbm.intersection(reached);
                self.tracking
                    .restored_in_part(loaded, requested.difference(loaded));
                if restore.mxcsr.is_some() {
                    let sse = reached.intersection(ComponentSet::only(Component::Sse));
                    self.tracking.modified(sse);
                }
            }
        }
        Err(Fault::PageFault {
            offset: stop.offset,
        })
    }

    /// FXRSTOR that raises #PF: x87 comes first, and counts as restored if all of it is there.
    pub(crate) fn restore_x87_before(&mut self, area: &[u8], region: &LegacyRegion) {
        match self.memory.faulting_restore {
            FaultingRestore::LoadsNothing => {}
            FaultingRestore::LoadsWhatItReached => {
                if self.require_present(area, X87_BYTES).is_ok() {
                    self.registers.x87 = restored_x87(region, &self.registers.x87, self.vendor);
                    self.wrote(ComponentSet::only(Component::X87));
                }
            }
        }
    }
}

/// The components with lower numbers.
fn below(component: Component) -> ComponentSet {
    let bit = ComponentSet::only(component).bits();
    ComponentSet::from_bits(bit.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::NotPresent;
    use crate::recorded_cpus::{ALL, Area, cpu_with_avx, generator, set};
    use crate::register_file::X87;
    use fpstate_arch::{Mxcsr, Processor};

    type Restoring = fn(&mut ModelCpu, &[u8], ComponentSet) -> Result<(), Fault>;
    const RESTORES: [Restoring; 2] = [ModelCpu::xrstor, ModelCpu::xrstors];
    const AVX: ComponentSet = ComponentSet::only(Component::Avx);

    /// Values in all registers, and none in the area, which ends at byte `present`.
    fn cpu_that_stops(area: &Area, present: usize, what: FaultingRestore) -> ModelCpu {
        let mut cpu = cpu_with_avx();
        cpu.set_faulting_restore(what);
        let first = area.0.as_ptr().addr() + present;
        cpu.set_not_present(NotPresent::from_address(first));
        cpu
    }

    #[test]
    fn a_restore_that_faults_changes_nothing_or_what_comes_before_the_fault() {
        // The header is present in each case. SDM 1, 13.12 allows both.
        for restore in RESTORES {
            let area = Area::compacted(0x7, 0x7);
            let fault = Err(Fault::PageFault { offset: 600 });
            let mut cpu = cpu_that_stops(&area, 600, FaultingRestore::LoadsNothing);
            let before = cpu.registers().clone();
            assert_eq!(restore(&mut cpu, &area.0, ALL), fault);
            assert_eq!(*cpu.registers(), before);

            let mut cpu = cpu_that_stops(&area, 600, FaultingRestore::LoadsWhatItReached);
            assert_eq!(restore(&mut cpu, &area.0, ALL), fault);
            assert_eq!(
                cpu.registers().x87,
                X87 {
                    ftw: cpu.registers().x87.ftw,
                    ..X87::INITIAL
                }
            );
            assert_eq!(cpu.registers().sse.xmm, [[0; 16]; 16]);
            assert_eq!(cpu.registers().sse.mxcsr, Mxcsr::INITIAL);
            let (now, then) = (cpu.registers(), &before);
            for untouched in [Component::Avx, Component::CetU] {
                assert_eq!(now.component(untouched), then.component(untouched));
            }
        }
    }

    #[test]
    fn what_comes_before_the_fault_becomes_initial_where_xstate_bv_says_so() {
        for (xstate_bv, mxcsr) in [(0x4, 0x1f80), (0x6, 0x1fa0)] {
            let mut area = Area::compacted(xstate_bv, 0x7);
            area.put(24, &0x1fa0_u32.to_le_bytes());
            let mut cpu = cpu_that_stops(&area, 576, FaultingRestore::LoadsWhatItReached);
            let fault = Err(Fault::PageFault { offset: 576 });
            assert_eq!(cpu.xrstors(&area.0, ALL), fault);
            assert!(cpu.registers().is_initial(Component::X87));
            assert!(!cpu.in_use().contains(Component::X87));
            assert_eq!(cpu.stmxcsr().unwrap().bits(), mxcsr); // SDM 1, 13.8.2
            // XINUSE[1] is 1 after a load (SDM 1, 13.8.3), even of zeros.
            assert_eq!(cpu.in_use().contains(Component::Sse), xstate_bv == 0x6);
        }
    }

    #[test]
    fn the_components_that_are_not_read_need_not_be_present() {
        let area = Area::compacted(0x0, 0x7);
        let mut cpu = cpu_that_stops(&area, 576, FaultingRestore::LoadsNothing);
        assert_eq!(cpu.xrstors(&area.0, ALL), Ok(()));
        // The standard form reads MXCSR for AVX (SDM 1, 13.8.1); in the compacted form MXCSR becomes
        // 1F80H without being read (13.8.2).
        let fault = Err(Fault::PageFault { offset: 24 });
        for (area, rfbm, result) in [
            (Area::standard(0x0), AVX, fault),
            (Area::compacted(0x0, 0x7), AVX, Ok(())),
            (Area::compacted(0x0, 0x7), ALL, Ok(())),
        ] {
            let base = area.0.as_ptr().addr();
            let mut cpu = cpu_with_avx();
            cpu.set_not_present(NotPresent::addresses(base..base + 512));
            assert_eq!(cpu.xrstor(&area.0, rfbm), result);
            assert_eq!(cpu.registers().is_initial(Component::Avx), result.is_ok());
        }
    }

    #[test]
    fn mxcsr_goes_with_sse_and_stays_if_sse_faults() {
        let area = Area::standard(0x7);
        let mut cpu = cpu_that_stops(&area, 192, FaultingRestore::LoadsWhatItReached);
        let base = area.0.as_ptr().addr();
        cpu.set_not_present(NotPresent::addresses(base + 192..base + 256));
        let before = cpu.registers().clone();
        let fault = Err(Fault::PageFault { offset: 192 });
        assert_eq!(cpu.xrstor(&area.0, ALL), fault);
        assert_ne!(cpu.registers().x87, before.x87);
        assert_eq!(cpu.registers().sse, before.sse);
    }

    #[test]
    fn a_fault_in_the_header_changes_nothing_in_either_case() {
        let area = Area::compacted(0x7, 0x7);
        for what in [
            FaultingRestore::LoadsNothing,
            FaultingRestore::LoadsWhatItReached,
        ] {
            let mut cpu = cpu_that_stops(&area, 512, what);
            let before = cpu.registers().clone();
            let fault = Err(Fault::PageFault { offset: 512 });
            assert_eq!(cpu.xrstors(&area.0, ALL), fault);
            assert_eq!(*cpu.registers(), before);
        }
    }

    #[test]
    fn fxrstor_that_faults_between_x87_and_sse_has_loaded_x87_or_nothing() {
        for (what, present, x87_loaded) in [
            (FaultingRestore::LoadsNothing, 192, false),
            (FaultingRestore::LoadsWhatItReached, 192, true),
            (FaultingRestore::LoadsWhatItReached, 128, false),
        ] {
            let area = Area::standard(0);
            let mut cpu = cpu_that_stops(&area, present, what);
            let before = cpu.registers().clone();
            let fault = Err(Fault::PageFault { offset: present });
            assert_eq!(cpu.fxrstor(&area.0), fault);
            assert_eq!(cpu.registers().x87 != before.x87, x87_loaded);
            assert_eq!(cpu.registers().sse, before.sse);
        }
    }

    /// A kernel that goes on with the registers after the fault: they hold the area's values, and
    /// the area of the restore before must get them.
    #[test]
    fn what_a_faulting_restore_changed_is_modified_since_the_restore_before() {
        let own = set(&[Component::X87, Component::Avx]);
        let mut cpu = cpu_with_avx();
        cpu.registers_mut().fill(own, generator(1));
        let mut saved = Area::of(0);
        cpu.xsaves(&mut saved.0, own).unwrap();
        cpu.xrstors(&saved.0, own).unwrap();
        saved.put(32, &[0x77]);
        saved.put(576, &[0x77]);
        let from_user = Area::compacted(0x5, 0x5);
        let avx = from_user.0.as_ptr().addr() + 576;
        cpu.set_faulting_restore(FaultingRestore::LoadsWhatItReached);
        cpu.set_not_present(NotPresent::addresses(avx..avx + 256));
        let fault = Err(Fault::PageFault { offset: 576 });
        assert_eq!(cpu.xrstor(&from_user.0, own), fault);
        cpu.xsaves(&mut saved.0, own).unwrap();
        // x87 came from the other area; AVX is as restored, so XSAVES leaves it (SDM 1, 13.11).
        assert_eq!((saved.0[32], saved.0[576]), (0, 0x77));
    }
}
