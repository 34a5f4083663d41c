//! The bits of control registers by the names the manuals give them.

use fpstate_arch::ComponentSet;

/// The names of what is set in `value`, and the fields of it; empty for a register without such.
pub(crate) fn of(register: &str, value: u64) -> Vec<String> {
    match register {
        "fctrl" => with_bits(value, &FCTRL, [precision(value), rounding(value >> 10)]),
        "fstat" => with_bits(value, &FSTAT, [format!("TOP={}", value >> 11 & 7)]),
        "mxcsr" => with_bits(value, &MXCSR, [rounding(value >> 13)]),
        "u_cet" => with_bits(value, &CET, []),
        "pkru" => keys(value),
        "xcr0" | "xss" | "xfd" | "xfd_err" => ComponentSet::from_bits(value)
            .iter()
            .map(|component| component.to_string())
            .collect(),
        _ => Vec::new(),
    }
}

/// SDM 1, figure 8-6.
const FCTRL: [(u8, &str); 7] = [
    (0, "IM"),
    (1, "DM"),
    (2, "ZM"),
    (3, "OM"),
    (4, "UM"),
    (5, "PM"),
    (12, "X"),
];
/// SDM 1, figure 8-4.
const FSTAT: [(u8, &str); 13] = [
    (0, "IE"),
    (1, "DE"),
    (2, "ZE"),
    (3, "OE"),
    (4, "UE"),
    (5, "PE"),
    (6, "SF"),
    (7, "ES"),
    (8, "C0"),
    (9, "C1"),
    (10, "C2"),
    (14, "C3"),
    (15, "B"),
];
/// SDM 1, figure 10-3; MM is AMD's misaligned-exception mask (APM 1, 4.2.2).
const MXCSR: [(u8, &str); 15] = [
    (0, "IE"),
    (1, "DE"),
    (2, "ZE"),
    (3, "OE"),
    (4, "UE"),
    (5, "PE"),
    (6, "DAZ"),
    (7, "IM"),
    (8, "DM"),
    (9, "ZM"),
    (10, "OM"),
    (11, "UM"),
    (12, "PM"),
    (15, "FZ"),
    (17, "MM"),
];
/// `IA32_U_CET` (SDM 1, 17.1.2).
const CET: [(u8, &str); 8] = [
    (0, "SH_STK_EN"),
    (1, "WR_SHSTK_EN"),
    (2, "ENDBR_EN"),
    (3, "LEG_IW_EN"),
    (4, "NO_TRACK_EN"),
    (5, "SUPPRESS_DIS"),
    (10, "SUPPRESS"),
    (11, "TRACKER"),
];

fn with_bits<const N: usize>(value: u64, names: &[(u8, &str)], fields: [String; N]) -> Vec<String> {
    let set = names.iter().filter(|(bit, _)| value >> bit & 1 == 1);
    set.map(|(_, name)| (*name).to_owned())
        .chain(fields)
        .collect()
}

fn precision(field: u64) -> String {
    let name = match field >> 8 & 3 {
        0 => "single",
        2 => "double",
        3 => "extended",
        _ => "reserved",
    };
    format!("PC={name}")
}

fn rounding(field: u64) -> String {
    let name = match field & 3 {
        0 => "nearest",
        1 => "down",
        2 => "up",
        _ => "zero",
    };
    format!("RC={name}")
}

/// What each protection key denies: AD is every access, WD writes.
fn keys(value: u64) -> Vec<String> {
    let rights = (0..16).filter_map(|key| match value >> (2 * key) & 3 {
        0 => None,
        2 => Some(format!("key {key} WD")),
        1 => Some(format!("key {key} AD")),
        _ => Some(format!("key {key} AD+WD")),
    });
    rights.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_control_registers_mask_every_exception() {
        assert_eq!(
            of("fctrl", 0x37f),
            [
                "IM",
                "DM",
                "ZM",
                "OM",
                "UM",
                "PM",
                "PC=extended",
                "RC=nearest"
            ]
        );
        assert_eq!(
            of("mxcsr", 0x1f80),
            ["IM", "DM", "ZM", "OM", "UM", "PM", "RC=nearest"]
        );
        assert_eq!(of("mxcsr", 0xe041), ["IE", "DAZ", "FZ", "RC=zero"]);
        assert_eq!(of("fstat", 0xb881), ["IE", "ES", "B", "TOP=7"]);
    }

    #[test]
    fn keys_say_what_they_deny() {
        assert_eq!(of("pkru", 0b10_0100), ["key 1 AD", "key 2 WD"]);
        // What Linux starts a thread with: all keys but 0 deny everything.
        assert_eq!(of("pkru", 0x5555_5554).len(), 15);
        assert!(of("pkru", 0).is_empty());
    }

    #[test]
    fn registers_without_flags_have_none() {
        assert!(of("fop", u64::MAX).is_empty());
        assert_eq!(of("xcr0", 7), ["x87", "SSE", "AVX"]);
    }
}
