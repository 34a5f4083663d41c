//! Finds what is odd in an enumeration, and in the dump it was read from.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, CpuidSource, Enumeration, Instruction, Xcr0,
};

use crate::component_facts::{HYBRID, features, len_of_registers};
use crate::dump::{Dump, Features};
use crate::oddity::{AreaLenOddity, Oddity};

/// Ends of areas that are followed at a time; a CPUID that gives every component another length
/// has 2^62 of them.
const MOST_ENDS: usize = 1 << 12;

/// What is odd in leaf 0DH itself, in the order of its sub-leaves.
#[must_use]
pub fn of_enumeration(enumeration: &Enumeration) -> Vec<Oddity> {
    let mut found = Vec::new();
    if !enumeration.has(Instruction::Xsave) {
        return found;
    }
    let user = enumeration.user_components();
    found.extend(Xcr0::new(user, user).err().map(Oddity::Xcr0Rule));
    let expected = standard_end(enumeration);
    if u64::from(enumeration.standard_len()) != expected {
        let found_len = enumeration.standard_len();
        found.push(Oddity::AreaLen(AreaLenOddity::Standard {
            found: found_len,
            expected,
        }));
    }
    for component in extended(enumeration.components()) {
        match enumeration.entry(component) {
            None => found.push(Oddity::WithoutLength { component }),
            Some(entry) => of_component(enumeration, component, entry, &mut found),
        }
    }
    found
}

/// What is odd in a dump: what [`of_enumeration`] finds in its first CPU, and what only the other
/// leaves and the other CPUs tell.
#[must_use]
pub fn of_dump(dump: &Dump) -> Vec<Oddity> {
    let enumeration = Enumeration::read(RecordedLeaves(dump.leaves()));
    let mut found = Vec::new();
    found.extend(missing_leaves(dump, &enumeration));
    found.extend(recorded_lengths(&enumeration).map(Oddity::AreaLen));
    found.extend(of_enumeration(&enumeration).into_iter().map(|oddity| {
        if let Oddity::WithoutLength { component } = oddity
            && !dump.has(0xd, u32::from(component.number()))
        {
            return Oddity::SubleafMissing { component };
        }
        oddity
    }));
    found.extend(
        extended(enumeration.components()).filter_map(|component| without_feature(dump, component)),
    );
    let (leaf, subleaf) = HYBRID.leaf();
    if HYBRID.is_set(leaf_of(dump, leaf, subleaf)) {
        found.push(Oddity::Hybrid { bit: HYBRID });
    }
    found.extend(dump.difference().map(|other| Oddity::OtherCpuDiffers {
        cpu: other.cpu,
        subleaf: other.subleaf,
    }));
    found.sort_by_key(Oddity::leaf);
    found
}

fn extended(components: ComponentSet) -> impl Iterator<Item = Component> {
    components.difference(ComponentSet::LEGACY).iter()
}

fn leaf_of(dump: &Dump, leaf: u32, subleaf: u32) -> CpuidRegisters {
    RecordedLeaves(dump.leaves()).cpuid(leaf, subleaf)
}

fn of_component(
    enumeration: &Enumeration,
    component: Component,
    entry: ComponentEntry,
    found: &mut Vec<Oddity>,
) {
    if let Some(expected) = len_of_registers(component)
        && expected != entry.len
    {
        found.push(Oddity::UnexpectedLength {
            component,
            found: entry.len,
            expected,
        });
    }
    let is_supervisor = enumeration.supervisor_components().contains(component);
    if is_supervisor != entry.is_supervisor() {
        let flags = entry.flags;
        found.push(Oddity::KindDisagrees { component, flags });
    }
    if component.number() == 62 {
        found.push(Oddity::LightweightProfiling);
    }
    let offset = entry.standard_offset;
    if is_supervisor {
        if offset != 0 {
            found.push(Oddity::SupervisorWithOffset {
                component,
                found: offset,
            });
        }
        return;
    }
    if u64::from(offset) < START_OF_EXTENDED {
        found.push(Oddity::InsideHeader {
            component,
            found: offset,
        });
    }
    let shares_bytes = |other: &Component| {
        other.number() < component.number()
            && enumeration.entry(*other).is_some_and(|other| {
                u64::from(other.standard_offset) < end_of(entry)
                    && u64::from(offset) < end_of(other)
            })
    };
    if let Some(first) = extended(enumeration.user_components()).find(shares_bytes) {
        found.push(Oddity::Overlap {
            first,
            second: component,
        });
    }
}

/// [`EXTENDED_REGION_OFFSET`] in the width in which a dump's figures cannot overflow.
const START_OF_EXTENDED: u64 = 576;
const _: () = assert!(EXTENDED_REGION_OFFSET == 576);

fn end_of(entry: ComponentEntry) -> u64 {
    u64::from(entry.standard_offset).saturating_add(u64::from(entry.len))
}

/// Where the user component that ends last ends.
fn standard_end(enumeration: &Enumeration) -> u64 {
    extended(enumeration.user_components())
        .filter_map(|component| enumeration.entry(component))
        .map(end_of)
        .fold(START_OF_EXTENDED, u64::max)
}

fn missing_leaves(dump: &Dump, enumeration: &Enumeration) -> Vec<Oddity> {
    let mut found = Vec::new();
    if dump.features() == Features::Assumed {
        found.push(Oddity::FeaturesAssumed);
    } else if !dump.has(1, 0) {
        found.push(Oddity::LeafMissing {
            leaf: 1,
            subleaf: 0,
        });
    }
    if enumeration.has(Instruction::Xsave) {
        for subleaf in [0, 1] {
            if !dump.has(0xd, subleaf) {
                found.push(Oddity::LeafMissing { leaf: 0xd, subleaf });
            }
        }
    }
    found
}

/// Lengths for an XCR0 and IA32_XSS that are not in the dump.
fn recorded_lengths(enumeration: &Enumeration) -> impl Iterator<Item = AreaLenOddity> {
    let (found, everything) = (
        enumeration.standard_len_for_xcr0(),
        enumeration.standard_len(),
    );
    let standard =
        (found != everything).then_some(AreaLenOddity::StandardForPart { found, everything });
    standard.into_iter().chain(compacted_len(enumeration))
}

fn compacted_len(enumeration: &Enumeration) -> Option<AreaLenOddity> {
    let has_it = enumeration.has(Instruction::Xsavec) || enumeration.has(Instruction::Xsaves);
    if !has_it {
        return None;
    }
    let user = enumeration.user_components();
    let (found, standard) = (
        enumeration.compacted_len_for_xcr0_and_xss(),
        enumeration.standard_len_for_xcr0(),
    );
    let all_user = extended(user)
        .filter_map(|component| enumeration.entry(component))
        .fold(START_OF_EXTENDED, compacted_end);
    // XCR0 had no component that ends beyond the standard-format area of the same moment.
    let possible = extended(enumeration.components())
        .filter(|&component| {
            let entry = enumeration.entry(component);
            entry.is_some_and(|entry| end_of(entry) <= u64::from(standard))
        })
        .fold(enumeration.supervisor_components(), ComponentSet::with);
    let with_everything = if possible.contains_all(user.difference(ComponentSet::LEGACY)) {
        compacted_can_be(enumeration, user, possible, found)?
    } else {
        Explained::No
    };
    match with_everything {
        Explained::Yes => None,
        Explained::No => Some(
            match compacted_can_be(enumeration, ComponentSet::EMPTY, possible, found)? {
                Explained::Yes => AreaLenOddity::CompactedForPart { found, all_user },
                Explained::No => AreaLenOddity::CompactedUnexplained { found, all_user },
            },
        ),
    }
}

#[derive(Clone, Copy)]
enum Explained {
    Yes,
    No,
}

/// Whether a compacted area with all of `always`, and any others that are `possible`, can end at
/// `len`. `None` where there are too many ways to tell.
fn compacted_can_be(
    enumeration: &Enumeration,
    always: ComponentSet,
    possible: ComponentSet,
    len: u32,
) -> Option<Explained> {
    let mut ends = BTreeSet::from([START_OF_EXTENDED]);
    for component in extended(possible) {
        let Some(entry) = enumeration.entry(component) else {
            continue;
        };
        let with: BTreeSet<u64> = ends
            .iter()
            .map(|&end| compacted_end(end, entry))
            .filter(|&end| end <= u64::from(len))
            .collect();
        if always.contains(component) {
            ends = with;
        } else {
            ends.extend(with);
        }
        if ends.len() > MOST_ENDS {
            return None;
        }
    }
    Some(if ends.contains(&u64::from(len)) {
        Explained::Yes
    } else {
        Explained::No
    })
}

/// Where a component ends whose predecessor ends at `end`.
fn compacted_end(end: u64, entry: ComponentEntry) -> u64 {
    let start = if entry.is_aligned_64() {
        end.checked_next_multiple_of(64).unwrap_or(u64::MAX)
    } else {
        end
    };
    start.saturating_add(u64::from(entry.len))
}

fn without_feature(dump: &Dump, component: Component) -> Option<Oddity> {
    let bits = features(component);
    let first = *bits.first()?;
    if dump.features() == Features::Assumed && first.leaf() == (1, 0) {
        return None;
    }
    // A leaf that was not recorded says nothing.
    let announced = bits.iter().any(|bit| {
        let (leaf, subleaf) = bit.leaf();
        !dump.has(leaf, subleaf) || bit.is_set(leaf_of(dump, leaf, subleaf))
    });
    (!announced).then_some(Oddity::WithoutFeature {
        component,
        feature: first,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use alloc::string::{String, ToString};

    fn texts(dump: &str) -> Vec<String> {
        let dump = Dump::parse(dump.as_bytes()).unwrap();
        of_dump(&dump).iter().map(Oddity::to_string).collect()
    }

    /// `profile` with the line of leaf 0DH, `subleaf`, replaced.
    fn replaced(profile: Profile, subleaf: &str, with: &str) -> String {
        let mark = alloc::format!("[SL {subleaf}]");
        let lines = profile.text().lines().map(|line| {
            if line.starts_with("CPUID 0000000D") && line.contains(&mark) {
                with
            } else {
                line
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn servers_recorded_under_a_system_that_enables_everything_have_nothing_odd() {
        for profile in [
            Profile::HASWELL_EP,
            Profile::SAPPHIRE_RAPIDS,
            Profile::EMERALD_RAPIDS,
            Profile::GRANITE_RAPIDS,
            Profile::APX_SYNTHETIC,
        ] {
            assert_eq!(texts(profile.text()), [""; 0], "{}", profile.name());
        }
    }

    #[test]
    fn rome_lists_a_pkru_that_it_does_not_announce() {
        assert_eq!(
            texts(Profile::ROME.text()),
            [
                "leaf 0DH, sub-leaf 0: EBX is 832, for an XCR0 that has not everything; expected 896",
                "leaf 0DH, sub-leaf 1: EBX is 832, for an XCR0 that has not everything; expected 896 \
                 and what IA32_XSS adds",
                "leaf 0DH, sub-leaf 9: PKRU has 64 bytes; expected the 8 of its registers",
                "leaf 0DH, sub-leaf 9: PKRU is listed and CPUID.(07H,0):ECX[3] is 0; expected 1",
            ]
        );
    }

    #[test]
    fn lengths_for_an_xcr0_without_pkru_are_said_and_the_hybrid_bit_too() {
        // XCR0 = 7: 832 bytes standard, and 976 with PT (128 bytes) and CET_U (16) in IA32_XSS.
        assert_eq!(
            texts(Profile::LUNAR_LAKE.text()),
            [
                "leaf 07H, sub-leaf 0: CPUID.(07H,0):EDX[15] is 1: a hybrid CPU, whose other cores \
                 may differ; expected cores all alike",
                "leaf 0DH, sub-leaf 0: EBX is 832, for an XCR0 that has not everything; expected 2696",
                "leaf 0DH, sub-leaf 1: EBX is 976, for an XCR0 that has not everything; expected 840 \
                 and what IA32_XSS adds",
            ]
        );
    }

    #[test]
    fn a_missing_sub_leaf_and_a_length_of_zero_are_two_different_things() {
        let missing = replaced(Profile::SAPPHIRE_RAPIDS, "05", "");
        assert!(texts(&missing).contains(
            &"leaf 0DH, sub-leaf 5: not in the dump; expected, as opmask is listed".to_string()
        ));
        let zero = "CPUID 0000000D: 00000000-00000440-00000000-00000000 [SL 05]";
        assert!(
            texts(&replaced(Profile::SAPPHIRE_RAPIDS, "05", zero)).contains(
                &"leaf 0DH, sub-leaf 5: opmask is listed and has 0 bytes; expected a length"
                    .to_string()
            )
        );
        let without_main = replaced(Profile::SAPPHIRE_RAPIDS, "00", "");
        assert!(texts(&without_main).contains(
            &"leaf 0DH, sub-leaf 0: not in the dump; expected its registers".to_string()
        ));
    }

    #[test]
    fn lightweight_profiling_is_named() {
        // Family 15H: XCR0 may have bits 0 to 2 and 62; LWP has 128 bytes at 832 (APM 2, 11.5.2).
        let bulldozer = "CPUID 00000001: 00600F12-00080800-1E98220B-178BFBFF\n\
             CPUID 0000000D: 00000007-000003C0-000003C0-40000000 [SL 00]\n\
             CPUID 0000000D: 00000000-00000000-00000000-00000000 [SL 01]\n\
             CPUID 0000000D: 00000100-00000240-00000000-00000000 [SL 02]\n\
             CPUID 0000000D: 00000080-00000340-00000000-00000000 [SL 3E]\n";
        assert_eq!(
            texts(bulldozer),
            [
                "leaf 0DH, sub-leaf 62: component 62 is AMD's lightweight profiling; expected none on a \
              later CPU"
            ]
        );
    }

    #[test]
    fn contradictions_of_cpuid_are_said() {
        for (subleaf, line, expected) in [
            (
                "13",
                "CPUID 0000000D: 00000080-00000400-00000001-00000000 [SL 13]",
                "leaf 0DH, sub-leaf 19: APX has ECX 0x1; expected bit 0 to agree with where it is listed",
            ),
            (
                "13",
                "CPUID 0000000D: 00000080-00000200-00000000-00000000 [SL 13]",
                "leaf 0DH, sub-leaf 19: APX at offset 512; expected 576 or more",
            ),
            (
                "13",
                "CPUID 0000000D: 00000080-00000440-00000000-00000000 [SL 13]",
                "leaf 0DH, sub-leaf 19: APX shares bytes with opmask; expected none",
            ),
            (
                "08",
                "CPUID 0000000D: 00000080-00000240-00000001-00000000 [SL 08]",
                "leaf 0DH, sub-leaf 8: PT is a supervisor component at offset 576; expected 0",
            ),
            (
                "00",
                "CPUID 0000000D: 000E02E7-00002B00-00002B08-00000000 [SL 00]",
                "leaf 0DH, sub-leaf 0: ECX is 11016; expected 11008, where the last user component ends",
            ),
            (
                "00",
                "CPUID 0000000D: 000C02E7-00002B00-00002B00-00000000 [SL 00]",
                "leaf 0DH, sub-leaf 0: XCR0 0xc02e7 (x87+SSE+AVX+opmask+ZMM_Hi256+Hi16_ZMM+PKRU+\
                 XTILEDATA+APX): XTILECFG and XTILEDATA go together; expected a valid XCR0",
            ),
            (
                "01",
                "CPUID 0000000D: 0000001F-00000241-0001DD00-00000000 [SL 01]",
                "leaf 0DH, sub-leaf 1: EBX is 577, which no XCR0 and IA32_XSS give; expected 10880 \
                 and what IA32_XSS adds",
            ),
        ] {
            let found = texts(&replaced(Profile::APX_SYNTHETIC, subleaf, line));
            assert!(found.iter().any(|text| text == expected), "{found:#?}");
        }
    }

    #[test]
    fn leaf_0dh_alone_is_enough() {
        let alone: Vec<&str> = Profile::SAPPHIRE_RAPIDS
            .text()
            .lines()
            .filter(|line| line.starts_with("CPUID 0000000D"))
            .collect();
        assert_eq!(
            texts(&alone.join("\n")),
            [
                "leaf 01H, sub-leaf 0: not in the dump; assumed FXSAVE and XSAVE, as leaf 0DH is there"
            ]
        );
    }

    #[test]
    fn sixty_components_of_different_lengths_do_not_take_for_ever() {
        let mut text = String::from(
            "CPUID 0000000D: FFFFFFFF-FFFFFFFF-FFFFFFFF-3FFFFFFF [SL 00]\n\
             CPUID 0000000D: 0000000F-FFFFFFFF-00000000-00000000 [SL 01]\n",
        );
        for component in 2..62 {
            let len = 3_u32.wrapping_pow(component) >> 8;
            text.push_str(&alloc::format!(
                "CPUID 0000000D: {len:08X}-00000240-00000000-00000000 [SL {component:02X}]\n"
            ));
        }
        let found = texts(&text);
        let of_the_length = found.iter().find(|text| text.contains("IA32_XSS adds"));
        assert_eq!(of_the_length, None, "there are too many ways to tell");
    }

    #[test]
    fn a_dump_with_any_digit_changed_is_read_or_refused() {
        let mut next = crate::recorded_cpus::generator(5);
        for profile in Profile::ALL.iter().cycle().take(2000) {
            let mut text = profile.text().as_bytes().to_vec();
            for _ in 0..1 + next() % 8 {
                let at = usize::try_from(next()).unwrap() % text.len();
                text[at] = b"0123456789ABCDEF- []\n"[usize::try_from(next() % 21).unwrap()];
            }
            if let Ok(dump) = Dump::parse(&text) {
                for oddity in of_dump(&dump) {
                    assert!(!oddity.to_string().contains('\n'));
                }
                let _ = crate::cpu::ModelCpu::new(dump.leaves());
            }
        }
    }
}
