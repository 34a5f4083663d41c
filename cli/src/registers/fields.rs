//! The registers inside a component whose bytes are whole registers, one after the other: MSRs,
//! opmasks, bounds, keys.

use fpstate_arch::Component;

/// A run of `count` registers of `len` bytes, from `offset` of the component; their names are `name`
/// and, for more than one, their number from `first`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    name: &'static str,
    first: Option<u8>,
    count: u8,
    offset: usize,
    len: usize,
}

const fn one(name: &'static str, offset: usize, len: usize) -> Run {
    Run {
        name,
        first: None,
        count: 1,
        offset,
        len,
    }
}

const fn many(name: &'static str, first: u8, count: u8, len: usize) -> Run {
    Run {
        name,
        first: Some(first),
        count,
        offset: 0,
        len,
    }
}

/// The registers of `component`, with their bytes in it; none for the legacy and vector components,
/// tiles, and components that are not described here.
pub(crate) fn of(component: Component) -> Vec<(String, std::ops::Range<usize>)> {
    let fixed = runs(component).iter().flat_map(Run::registers);
    let records = if component == Component::Lbr {
        LBR_RECORDS
    } else {
        0..0
    };
    fixed.chain(records.flat_map(branch_record)).collect()
}

/// Records of LBR: 32 is the most (SDM 3, 20.1.3), and what its length in CPUID is for.
const LBR_RECORDS: std::ops::Range<usize> = 0..32;

fn branch_record(record: usize) -> [(String, std::ops::Range<usize>); 3] {
    let mut start = 40 + record * 24;
    ["from_ip", "to_ip", "info"].map(|field| {
        let range = start..start + 8;
        start = range.end;
        (format!("lbr{record}_{field}"), range)
    })
}

/// SDM 1, 13.5.3 to 13.5.12, and the APX specification, 3.1.4.
fn runs(component: Component) -> &'static [Run] {
    const BND_REGS: [Run; 1] = [many("bnd", 0, 4, 16)];
    const BND_CSR: [Run; 2] = [one("bndcfgu", 0, 8), one("bndstatus", 8, 8)];
    const OPMASK: [Run; 1] = [many("k", 0, 8, 8)];
    const PT: [Run; 9] = [
        one("rtit_ctl", 0, 8),
        one("rtit_output_base", 8, 8),
        one("rtit_output_mask_ptrs", 16, 8),
        one("rtit_status", 24, 8),
        one("rtit_cr3_match", 32, 8),
        one("rtit_addr0_a", 40, 8),
        one("rtit_addr0_b", 48, 8),
        one("rtit_addr1_a", 56, 8),
        one("rtit_addr1_b", 64, 8),
    ];
    const PKRU: [Run; 1] = [one("pkru", 0, 4)];
    const PASID: [Run; 1] = [one("pasid", 0, 8)];
    const CET_U: [Run; 2] = [one("u_cet", 0, 8), one("pl3_ssp", 8, 8)];
    const CET_S: [Run; 3] = [
        one("pl0_ssp", 0, 8),
        one("pl1_ssp", 8, 8),
        one("pl2_ssp", 16, 8),
    ];
    const HDC: [Run; 1] = [one("pm_ctl1", 0, 8)];
    const UINTR: [Run; 6] = [
        one("uintr_handler", 0, 8),
        one("uintr_stackadjust", 8, 8),
        one("uintr_misc", 16, 8),
        one("uintr_pd", 24, 8),
        one("uintr_rr", 32, 8),
        one("uintr_tt", 40, 8),
    ];
    const LBR: [Run; 5] = [
        one("lbr_ctl", 0, 8),
        one("lbr_depth", 8, 8),
        one("ler_from_ip", 16, 8),
        one("ler_to_ip", 24, 8),
        one("ler_info", 32, 8),
    ];
    const HWP: [Run; 1] = [one("hwp_request", 0, 8)];
    const APX: [Run; 1] = [many("r", 16, 16, 8)];
    match component {
        Component::BndRegs => &BND_REGS,
        Component::BndCsr => &BND_CSR,
        Component::Opmask => &OPMASK,
        Component::Pt => &PT,
        Component::Pkru => &PKRU,
        Component::Pasid => &PASID,
        Component::CetU => &CET_U,
        Component::CetS => &CET_S,
        Component::Hdc => &HDC,
        Component::Uintr => &UINTR,
        Component::Lbr => &LBR,
        Component::Hwp => &HWP,
        Component::Apx => &APX,
        Component::X87
        | Component::Sse
        | Component::Avx
        | Component::ZmmHi256
        | Component::Hi16Zmm
        | Component::TileConfig
        | Component::TileData
        | Component::Unnamed(_) => &[],
    }
}

impl Run {
    fn registers(&self) -> impl Iterator<Item = (String, std::ops::Range<usize>)> + use<> {
        let Self {
            name,
            first,
            count,
            offset,
            len,
        } = *self;
        (0..count).map(move |index| {
            let start = offset + usize::from(index) * len;
            let name = match first {
                Some(first) => format!("{name}{}", first + index),
                None => name.to_owned(),
            };
            (name, start..start + len)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_one_after_the_other_inside_their_component() {
        for number in 0..=62 {
            let component = Component::from_number(number).unwrap();
            let len = fpstate_arch::register_len::len_of_registers(component);
            let mut end = 0;
            for (name, range) in of(component) {
                assert_eq!(range.start, end, "{name}");
                end = range.end;
            }
            if let Some(len) = len {
                assert!(end <= usize::try_from(len).unwrap(), "{component}");
            }
        }
        assert_eq!(of(Component::Apx)[15], ("r31".to_owned(), 120..128));
        assert_eq!(of(Component::Opmask)[7], ("k7".to_owned(), 56..64));
    }
}
