//! What CPUs have in common, and whether a guest's image can go from one to another.

use fpstate::{Layout, LayoutError};
use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::{Component, ComponentSet, Enumeration, Format, Instruction, Xcr0, Xcr0Error};

use crate::cpu_choice::CpuChoice;

/// What every one of a set of CPUs can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommonGround {
    /// The most that every CPU takes for XCR0, of components with one length everywhere; `None`
    /// where there is no such value.
    pub(crate) xcr0: Option<Xcr0>,
    /// The most of it whose components have one standard-format offset everywhere: such an image is
    /// the same bytes on each of the CPUs.
    pub(crate) xcr0_of_same_bytes: Option<Xcr0>,
    /// Supervisor components of every CPU, with one length everywhere.
    pub(crate) supervisor: ComponentSet,
    pub(crate) instructions: Vec<Instruction>,
}

impl CommonGround {
    pub(crate) fn of(cpus: &[CpuChoice]) -> Self {
        let in_all = |set: fn(&CpuChoice) -> ComponentSet| {
            let sets = cpus.iter().map(set);
            sets.reduce(ComponentSet::intersection).unwrap_or_default()
        };
        let user = of_one(in_all(user_components), |component| {
            one_value(cpus, component, |entry| entry.len)
        });
        let in_one_place = of_one(user, |component| {
            one_value(cpus, component, |entry| entry.standard_offset)
        });
        let supervisor = in_all(|cpu| cpu.enumeration.supervisor_components());
        Self {
            xcr0: largest_xcr0(user),
            xcr0_of_same_bytes: largest_xcr0(in_one_place),
            supervisor: of_one(supervisor, |component| {
                one_value(cpus, component, |entry| entry.len)
            }),
            instructions: Instruction::ALL
                .into_iter()
                .filter(|&instruction| cpus.iter().all(|cpu| cpu.enumeration.has(instruction)))
                .collect(),
        }
    }

    /// The formats that an instruction of every CPU reads and writes.
    pub(crate) fn formats(&self) -> Vec<Format> {
        let has = |instruction| self.instructions.contains(&instruction);
        let formats = [
            (Format::Fxsave, has(Instruction::Fxsave)),
            (Format::Standard, has(Instruction::Xsave)),
            (Format::Compacted, has(Instruction::Xsavec)),
        ];
        let available = formats.into_iter().filter(|(_, is_there)| *is_there);
        available.map(|(format, _)| format).collect()
    }
}

/// The components a guest may be given: of a CPU that runs, those its kernel enabled.
pub(crate) fn user_components(cpu: &CpuChoice) -> ComponentSet {
    let user = cpu.enumeration.user_components();
    cpu.running
        .map_or(user, |running| running.xcr0.intersection(user))
}

fn of_one(set: ComponentSet, is_wanted: impl Fn(Component) -> bool) -> ComponentSet {
    set.iter()
        .filter(|&component| is_wanted(component))
        .fold(ComponentSet::EMPTY, ComponentSet::with)
}

/// Whether `figure` of `component` is the same on every CPU. x87 and SSE have no figures; they are
/// the legacy region everywhere.
fn one_value(
    cpus: &[CpuChoice],
    component: Component,
    figure: impl Fn(ComponentEntry) -> u32,
) -> bool {
    let mut values = cpus
        .iter()
        .map(|cpu| cpu.enumeration.entry(component).map(&figure));
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// The largest part of `set` that XSETBV takes: of what must come together and does not, nothing.
/// Where APX and MPX exclude each other it is APX, which is not deprecated.
pub(crate) fn largest_xcr0(set: ComponentSet) -> Option<Xcr0> {
    let mut left = set;
    loop {
        let dropped = match Xcr0::new(left, set) {
            Ok(xcr0) => return Some(xcr0),
            Err(Xcr0Error::AvxWithoutSse { .. }) => ComponentSet::only(Component::Avx),
            Err(Xcr0Error::PartialMpx { .. } | Xcr0Error::ApxWithMpx { .. }) => ComponentSet::MPX,
            Err(Xcr0Error::PartialAvx512 { .. } | Xcr0Error::Avx512WithoutAvx { .. }) => {
                ComponentSet::AVX512
            }
            Err(Xcr0Error::PartialTiles { .. }) => ComponentSet::TILES,
            // Without x87, or by a rule that is none of dropping components.
            Err(_) => return None,
        };
        left = left.difference(dropped);
    }
}

/// `set` and what XSETBV wants to come with it.
pub(crate) fn with_companions(set: ComponentSet) -> ComponentSet {
    let groups = [ComponentSet::MPX, ComponentSet::AVX512, ComponentSet::TILES];
    let whole = groups
        .into_iter()
        .filter(|group| group.intersects(set))
        .fold(set, ComponentSet::union);
    let avx512 = whole.intersects(ComponentSet::AVX512);
    let with_avx = if avx512 {
        whole.with(Component::Avx)
    } else {
        whole
    };
    with_avx.union(ComponentSet::LEGACY)
}

/// What becomes of a guest's standard-format image on another CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// It is read as it is.
    SameBytes,
    /// It must be converted: these components lie elsewhere.
    AfterConversion(Vec<Moved>),
    Impossible(Obstacle),
}

/// A component with two places in the standard format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) component: Component,
    /// Offsets from byte 0 of the image.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} and {}", self.component, self.from, self.to)
    }
}

/// Why a guest cannot go from one CPU to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("lacks {missing}")]
    Lacks { missing: ComponentSet },
    #[error("{component} has {from} bytes on one and {to} on the other")]
    Length {
        component: Component,
        from: u32,
        to: u32,
    },
    #[error("CPUID of the first: {0}")]
    From(LayoutError),
    #[error("CPUID of the second: {0}")]
    To(LayoutError),
    #[error("no XCR0 that both take")]
    NoXcr0,
}

impl Exchange {
    /// Of a guest with the components of `xcr0`.
    pub(crate) fn between(from: &CpuChoice, to: &CpuChoice, xcr0: Option<Xcr0>) -> Self {
        match xcr0 {
            Some(xcr0) => {
                Self::of_components(from, to, xcr0.components()).unwrap_or_else(Self::Impossible)
            }
            None => Self::Impossible(Obstacle::NoXcr0),
        }
    }

    fn of_components(
        from: &CpuChoice,
        to: &CpuChoice,
        xcr0: ComponentSet,
    ) -> Result<Self, Obstacle> {
        let source = Layout::standard(&from.enumeration, xcr0).map_err(Obstacle::From)?;
        let missing = xcr0.difference(user_components(to));
        if !missing.is_empty() {
            return Err(Obstacle::Lacks { missing });
        }
        let target = Layout::standard(&to.enumeration, xcr0).map_err(Obstacle::To)?;
        check_lengths(&from.enumeration, &to.enumeration, xcr0)?;
        let places = source
            .extended_components()
            .zip(target.extended_components());
        let moved: Vec<_> = places
            .filter(|(from, to)| from.offset() != to.offset())
            .map(|(from, to)| Moved {
                component: from.component(),
                from: from.offset(),
                to: to.offset(),
            })
            .collect();
        Ok(if moved.is_empty() {
            Self::SameBytes
        } else {
            Self::AfterConversion(moved)
        })
    }

    /// In one word.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::SameBytes => "same",
            Self::AfterConversion(_) => "convert",
            Self::Impossible(_) => "no",
        }
    }

    /// What moves, or what is in the way; nothing where the bytes stay the same.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::SameBytes => String::new(),
            Self::AfterConversion(moved) => moved
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            Self::Impossible(obstacle) => obstacle.to_string(),
        }
    }
}

fn check_lengths(from: &Enumeration, to: &Enumeration, set: ComponentSet) -> Result<(), Obstacle> {
    for component in set.iter() {
        let len = |cpu: &Enumeration| cpu.entry(component).map_or(0, |entry| entry.len);
        let (from, to) = (len(from), len(to));
        if from != to {
            return Err(Obstacle::Length {
                component,
                from,
                to,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn cpus(names: &[&str]) -> Vec<CpuChoice> {
        names
            .iter()
            .map(|name| CpuChoice::of(Some(Path::new(name))).unwrap())
            .collect()
    }

    fn xcr0(bits: u64) -> Option<Xcr0> {
        let set = ComponentSet::from_bits(bits);
        Some(Xcr0::new(set, set).unwrap())
    }

    #[test]
    fn intel_and_amd_have_avx512_and_pkru_in_common_and_avx_in_one_place() {
        let both = CommonGround::of(&cpus(&["sapphire-rapids", "genoa"]));
        assert_eq!(both.xcr0, xcr0(0x2e7));
        assert_eq!(both.xcr0_of_same_bytes, xcr0(7));
        assert_eq!(both.supervisor.bits(), 0x1800);
        assert!(!both.instructions.contains(&Instruction::Xfd));
    }

    #[test]
    fn a_group_that_must_come_together_is_in_common_as_a_whole_or_not_at_all() {
        for (set, largest) in [
            (0x67, 7),            // opmask and ZMM_Hi256 without Hi16_ZMM
            (0xe3, 3),            // AVX-512 without AVX
            (0xf, 7),             // BNDREGS without BNDCSR
            (0x2_0007, 7),        // XTILECFG alone
            (0x8_001f, 0x8_0007), // APX and MPX
            (0xe5, 1),            // AVX without SSE takes AVX-512 along
        ] {
            let largest = xcr0(largest);
            assert_eq!(
                largest_xcr0(ComponentSet::from_bits(set)),
                largest,
                "{set:#x}"
            );
        }
        assert_eq!(largest_xcr0(ComponentSet::EMPTY), None);
    }

    #[test]
    fn a_set_with_its_companions_is_an_xcr0() {
        for (set, whole) in [(0, 3), (4, 7), (0x20, 0xe7), (1 << 17, 0x6_0003), (8, 0x1b)] {
            let found = with_companions(ComponentSet::from_bits(set));
            assert_eq!(found.bits(), whole, "{set:#x}");
            assert!(Xcr0::new(found, found).is_ok());
        }
    }

    #[test]
    fn an_image_keeps_its_bytes_where_every_component_keeps_its_place() {
        let all = cpus(&["sapphire-rapids", "emerald-rapids", "genoa", "milan"]);
        let exchange =
            |from: usize, to: usize, bits| Exchange::between(&all[from], &all[to], xcr0(bits));
        assert_eq!(exchange(0, 1, 0x602e7), Exchange::SameBytes);
        assert_eq!(exchange(0, 2, 7), Exchange::SameBytes);
        assert_eq!(
            exchange(2, 3, 0x207),
            Exchange::SameBytes,
            "PKRU at 2432 on both"
        );
        let moved = |component, from, to| Moved {
            component,
            from,
            to,
        };
        assert_eq!(
            exchange(0, 2, 0x2e7),
            Exchange::AfterConversion(vec![
                moved(Component::Opmask, 1088, 832),
                moved(Component::ZmmHi256, 1152, 896),
                moved(Component::Hi16Zmm, 1664, 1408),
                moved(Component::Pkru, 2688, 2432),
            ])
        );
    }

    #[test]
    fn what_the_other_cpu_lacks_is_in_the_way() {
        let both = cpus(&["sapphire-rapids", "genoa"]);
        let exchange = Exchange::between(&both[0], &both[1], xcr0(0x602e7));
        assert_eq!(
            exchange,
            Exchange::Impossible(Obstacle::Lacks {
                missing: ComponentSet::TILES
            })
        );
        assert_eq!(exchange.reason(), "lacks XTILECFG+XTILEDATA");
    }
}
