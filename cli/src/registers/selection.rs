//! `--register`: registers by name, also those that are a part of another.

use std::ops::Range;

use fpstate_arch::{Component, ComponentSet};

use super::{Register, Shape};

/// A name that no register of the image has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?}: no register of that name in this image; it has {present}")]
pub(crate) struct NoSuchRegister {
    name: String,
    present: String,
}

/// The registers that `list`, names separated by commas, asks for, in its order.
pub(crate) fn select(list: &str, all: &[Register]) -> Result<Vec<Register>, NoSuchRegister> {
    let names = list.split(',').map(|name| name.trim().to_ascii_lowercase());
    names
        .map(|name| {
            let found = all.iter().find(|register| register.name == name);
            found
                .cloned()
                .or_else(|| part(&name, all))
                .ok_or_else(|| NoSuchRegister {
                    present: ranges(all),
                    name,
                })
        })
        .collect()
}

/// A part of a register of `all`: the low part of a vector register, MMX registers, and the halves
/// that gdb shows FIP and FDP in.
fn part(name: &str, all: &[Register]) -> Option<Register> {
    let whole = |name: &str| all.iter().find(|register| register.name == name);
    match name {
        "fioff" => return Some(number(name, whole("fip")?, 0..4)),
        "fiseg" => return Some(number(name, whole("fip")?, 4..6)),
        "fooff" => return Some(number(name, whole("fdp")?, 0..4)),
        "foseg" => return Some(number(name, whole("fdp")?, 4..6)),
        _ => {}
    }
    let (kind, index) = name.split_at_checked(name.find(|c: char| c.is_ascii_digit())?)?;
    match kind {
        "mm" => {
            let index: usize = index.parse().ok()?;
            let holds = |register: &&Register| matches!(register.shape, Shape::Float80 { mmx, .. } if mmx == index);
            let mut register = number(name, all.iter().find(holds)?, 0..8);
            register.shape = Shape::Vector;
            Some(register)
        }
        "xmm" => ["ymm", "zmm"]
            .iter()
            .find_map(|wider| whole(&format!("{wider}{index}")))
            .map(|register| low(name, register, 16, ComponentSet::only(Component::Sse))),
        "ymm" => {
            let register = whole(&format!("zmm{index}"))?;
            let parts = ComponentSet::only(Component::Sse).with(Component::Avx);
            Some(low(name, register, 32, parts))
        }
        _ => None,
    }
}

fn number(name: &str, whole: &Register, range: Range<usize>) -> Register {
    Register {
        name: name.to_owned(),
        shape: Shape::Number,
        bytes: whole.bytes[range].to_vec(),
        ..whole.clone()
    }
}

/// The low `len` bytes, which are in `parts` but for ZMM16 to ZMM31, which are in one component.
fn low(name: &str, whole: &Register, len: usize, parts: ComponentSet) -> Register {
    let components = match whole.components.intersection(parts) {
        none if none.is_empty() => whole.components,
        parts => parts,
    };
    Register {
        name: name.to_owned(),
        components,
        live: whole.live.intersection(components),
        bytes: whole.bytes[..len].to_vec(),
        ..whole.clone()
    }
}

/// The names with runs of numbers put together: `st0..7`.
fn ranges(all: &[Register]) -> String {
    let mut runs: Vec<(&str, Vec<&str>)> = Vec::new();
    for register in all {
        let stem = register.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let index = &register.name[stem.len()..];
        match runs.last_mut() {
            Some((last, indices)) if *last == stem && !index.is_empty() => indices.push(index),
            _ => runs.push((stem, vec![index])),
        }
    }
    let names = runs.iter().map(|(stem, indices)| match indices.as_slice() {
        [first, .., last] => format!("{stem}{first}..{last}"),
        [only] => format!("{stem}{only}"),
        [] => (*stem).to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Contents, Room};
    use super::*;
    use fpstate_arch::LegacyRegion;

    fn all() -> Vec<Register> {
        let mut legacy = LegacyRegion::INITIAL;
        legacy.fsw = 6 << 11;
        legacy.fip = 0x0000_7fff_1234_5678;
        legacy.st[0][0] = 0xaa;
        legacy.xmm[3] = [3; 16];
        let contents = Contents {
            legacy,
            live: ComponentSet::LEGACY,
            extended: std::collections::BTreeMap::new(),
        };
        contents.registers(&Room::default().with(Component::Avx, 256))
    }

    #[test]
    fn parts_have_names_of_their_own() {
        let found = select("XMM3, mm6,fioff,fiseg", &all()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|r| (r.name.as_str(), r.bytes.as_slice()))
            .collect();
        assert_eq!(
            found,
            [
                ("xmm3", &[3; 16][..]),
                ("mm6", &[0xaa, 0, 0, 0, 0, 0, 0, 0]),
                ("fioff", &[0x78, 0x56, 0x34, 0x12]),
                ("fiseg", &[0xff, 0x7f]),
            ]
        );
    }

    #[test]
    fn a_name_that_is_no_register_is_refused_with_those_there_are() {
        let error = select("ymm3,zmm0", &all()).unwrap_err().to_string();
        assert_eq!(
            error,
            "\"zmm0\": no register of that name in this image; it has fctrl, fstat, ftag, fop, \
             fip, fdp, st0..7, mxcsr, ymm0..15"
        );
        assert!(select("ymm16", &all()).is_err());
        assert!(select("", &all()).is_err());
        assert!(select("é9", &all()).is_err());
    }
}
