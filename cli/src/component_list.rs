//! Components as somebody writes them on the command line.

use fpstate_arch::{Component, ComponentSet, Enumeration, Xcr0, Xcr0Error};

/// Why a list of components means none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ComponentsError {
    #[error("{found:?}: no component of that name; this CPU has {present}")]
    Unknown { found: String, present: String },
    #[error("{found:?}: no number of 64 bits")]
    NoNumber { found: String },
    #[error("{0}")]
    Xcr0(#[from] Xcr0Error),
}

/// The components of `list`, by name, separated by commas or, as they are printed, by +.
pub(crate) fn parse(list: &str, cpu: &Enumeration) -> Result<ComponentSet, ComponentsError> {
    list.split([',', '+'])
        .map(|name| named(name.trim(), cpu))
        .try_fold(ComponentSet::EMPTY, |set, component| {
            Ok(set.with(component?))
        })
}

/// An XCR0 that may have the `supported` components of `cpu`: a number, 0x before hexadecimal
/// digits, or a list of components.
pub(crate) fn parse_xcr0(
    text: &str,
    cpu: &Enumeration,
    supported: ComponentSet,
) -> Result<Xcr0, ComponentsError> {
    let set = if text.starts_with(|first: char| first.is_ascii_digit()) {
        ComponentSet::from_bits(number(text)?)
    } else {
        parse(text, cpu)?
    };
    Ok(Xcr0::new(set, supported)?)
}

fn number(text: &str) -> Result<u64, ComponentsError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| ComponentsError::NoNumber {
        found: text.to_owned(),
    })
}

fn named(name: &str, cpu: &Enumeration) -> Result<Component, ComponentsError> {
    (0..=62)
        .filter_map(Component::from_number)
        .find(|component| component.to_string().eq_ignore_ascii_case(name))
        .ok_or_else(|| ComponentsError::Unknown {
            found: name.to_owned(),
            present: match names(cpu.components()) {
                none if none.is_empty() => "none".to_owned(),
                names => names.join(", "),
            },
        })
}

/// The name of each component.
pub(crate) fn names(components: ComponentSet) -> Vec<String> {
    components
        .iter()
        .map(|component| component.to_string())
        .collect()
}

/// Names as they are printed.
pub(crate) fn joined(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join("+"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_choice::CpuChoice;
    use std::path::Path;

    #[test]
    fn an_xcr0_is_a_number_or_a_list_and_obeys_xsetbv() {
        let genoa = CpuChoice::of(Some(Path::new("genoa"))).unwrap().enumeration;
        let user = genoa.user_components();
        let xcr0 = |text: &str| {
            let xcr0 = parse_xcr0(text, &genoa, user);
            xcr0.map(|xcr0| xcr0.components().bits())
        };
        for (text, bits) in [
            ("0x2e7", 0x2e7),
            ("7", 7),
            ("x87,SSE,avx", 7),
            ("x87+SSE+AVX+PKRU", 0x207),
        ] {
            assert_eq!(xcr0(text), Ok(bits), "{text}");
        }
        let found = ComponentSet::from_bits;
        let refused = |text: &str| xcr0(text).unwrap_err();
        assert_eq!(
            refused("0x602e7"),
            ComponentsError::Xcr0(Xcr0Error::Unsupported {
                found: found(0x602e7),
                supported: user
            })
        );
        assert_eq!(
            refused("0x27"),
            ComponentsError::Xcr0(Xcr0Error::PartialAvx512 { found: found(0x27) })
        );
        assert_eq!(refused("0xx").to_string(), "\"0xx\": no number of 64 bits");
        assert!(refused("x87,YMM").to_string().contains("\"YMM\""));
    }
}
