//! What XRSTOR and XRSTORS require of the header of an area (SDM 1, 13.8 and 13.12).

use fpstate_arch::{ComponentSet, Fault, XsaveHeader};

/// #GP(0) in the standard form (SDM 1, 13.8.1). Bytes 63:24 are not looked at.
pub(crate) fn require_standard(header: &XsaveHeader, enabled: ComponentSet) -> Result<(), Fault> {
    let bytes_23_16_are_zero = header.reserved.iter().take(8).all(|&byte| byte == 0);
    if enabled.contains_all(header.xstate_bv) && header.xcomp_bv == 0 && bytes_23_16_are_zero {
        Ok(())
    } else {
        Err(Fault::GeneralProtection)
    }
}

/// #GP(0) in the compacted form (SDM 1, 13.8.2 and 13.12). `enabled` is XCR0 for XRSTOR and
/// XCR0 | IA32_XSS for XRSTORS. XSTATE_BV\[63\] is refused too: seen on Zen 4.
pub(crate) fn require_compacted(header: &XsaveHeader, enabled: ComponentSet) -> Result<(), Fault> {
    let format = header.xcomp_bv_components();
    let bytes_63_16_are_zero = header.reserved.iter().all(|&byte| byte == 0);
    if enabled.contains_all(format) && format.contains_all(header.xstate_bv) && bytes_63_16_are_zero
    {
        Ok(())
    } else {
        Err(Fault::GeneralProtection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::Privilege;
    use crate::cpu::ModelCpu;
    use crate::recorded_cpus::{ALL, Area, cpu_with_avx};
    use fpstate_arch::Processor;

    type Restoring = fn(&mut ModelCpu, &[u8], ComponentSet) -> Result<(), Fault>;
    const RESTORES: [Restoring; 2] = [ModelCpu::xrstor, ModelCpu::xrstors];
    const REFUSED: Result<(), Fault> = Err(Fault::GeneralProtection);

    fn assert_refused(restore: Restoring, area: &Area, why: &str) {
        let mut cpu = cpu_with_avx();
        let before = cpu.registers().clone();
        assert_eq!(restore(&mut cpu, &area.0, ALL), REFUSED, "{why}");
        assert_eq!(*cpu.registers(), before, "{why}");
        // The header counts even if nothing is requested.
        assert_eq!(
            restore(&mut cpu, &area.0, ComponentSet::EMPTY),
            REFUSED,
            "{why}"
        );
    }

    fn with_byte(mut area: Area, offset: usize) -> Area {
        area.put(offset, &[1]);
        area
    }

    #[test]
    fn a_standard_header_is_refused_for_each_rule_it_breaks() {
        // SDM 2, XRSTOR, #GP(0); each row was also seen to fault on Zen 4.
        let xrstor = ModelCpu::xrstor;
        assert_refused(xrstor, &Area::standard(0x8), "XSTATE_BV outside XCR0");
        assert_refused(xrstor, &Area::standard(1 << 63), "XSTATE_BV[63]");
        assert_refused(xrstor, &Area::standard(0x800), "a supervisor component");
        assert_refused(xrstor, &with_byte(Area::standard(7), 520), "XCOMP_BV");
        assert_refused(xrstor, &with_byte(Area::standard(7), 526), "XCOMP_BV");
        assert_refused(xrstor, &with_byte(Area::standard(7), 528), "byte 16");
        assert_refused(xrstor, &with_byte(Area::standard(7), 535), "byte 23");
    }

    #[test]
    fn bytes_63_to_24_of_a_standard_header_do_not_matter() {
        for offset in [536, 575] {
            let area = with_byte(Area::standard(7), offset);
            assert_eq!(cpu_with_avx().xrstor(&area.0, ALL), Ok(()));
        }
    }

    #[test]
    fn a_compacted_header_is_refused_for_each_rule_it_breaks() {
        for restore in RESTORES {
            let outside = Area::compacted(0x7, 0xf);
            assert_refused(restore, &outside, "XCOMP_BV outside what is enabled");
            let not_placed = Area::compacted(0x7, 0x3);
            assert_refused(restore, &not_placed, "XSTATE_BV outside XCOMP_BV");
            let bit_63 = Area::compacted(1 << 63 | 0x7, 0x7);
            assert_refused(restore, &bit_63, "XSTATE_BV[63]");
            for offset in [528, 536, 575] {
                let reserved = with_byte(Area::compacted(0x7, 0x7), offset);
                assert_refused(restore, &reserved, "bytes 63:16");
            }
            let mut cpu = cpu_with_avx();
            assert_eq!(restore(&mut cpu, &Area::compacted(0x1, 0x1).0, ALL), Ok(()));
        }
    }

    #[test]
    fn supervisor_components_in_xcomp_bv_are_for_xrstors_alone() {
        let area = Area::compacted(0x800, 0x807);
        assert_refused(ModelCpu::xrstor, &area, "IA32_XSS does not count");
        assert_eq!(cpu_with_avx().xrstors(&area.0, ALL), Ok(()));
    }

    #[test]
    fn xrstors_refuses_the_standard_format_and_ring_3() {
        assert_refused(ModelCpu::xrstors, &Area::standard(0), "standard format");
        let area = Area::compacted(0x7, 0x7);
        let mut cpu = cpu_with_avx();
        cpu.set_cpl(Privilege::Ring3);
        assert_eq!(cpu.xrstors(&area.0, ALL), REFUSED);
        assert_eq!(cpu.xrstor(&area.0, ALL), Ok(()));
    }
}
