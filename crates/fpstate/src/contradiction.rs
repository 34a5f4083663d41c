//! How CPUID leaf 0DH contradicts itself, or the manuals.
//!
//! Nothing that is computed from such figures can be trusted: a save would write outside the place
//! it was given. Hypervisors have shown such figures (APX beside MPX: Linux ea68e39190cf).

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::Enumeration;
use fpstate_arch::register_len::len_of_registers;
use fpstate_arch::tile_config::TilePalette;
use fpstate_arch::xcr0::Xcr0Error;
use fpstate_arch::xsave_header::Format;

use crate::layout::{Layout, LayoutError};
use crate::left_out::SUPERVISOR;

/// A contradiction in CPUID for which XSAVE is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contradiction {
    /// XSAVE without x87 or SSE.
    WithoutLegacy {
        /// The user components.
        found: ComponentSet,
    },
    /// No XCR0 has all components that go together otherwise: APX beside MPX.
    Xcr0(Xcr0Error),
    /// A user component among the supervisor components, or the other way round.
    WrongKind {
        /// The component.
        component: Component,
    },
    /// A component has no place in an area.
    Layout(LayoutError),
    /// A component's length is not that of its registers.
    Len {
        /// The component.
        component: Component,
        /// CPUID.(0DH,i):EAX.
        found: u32,
        /// The length of its registers.
        allowed: u32,
    },
    /// The length for all user components is less than where the last of them ends.
    StandardLen {
        /// CPUID.(0DH,0):ECX.
        found: u32,
        /// Where the last one ends.
        needed: usize,
    },
    /// A CPU that was brought up says another length for what is enabled.
    EnabledLen {
        /// The format.
        format: Format,
        /// CPUID.(0DH,0):EBX or CPUID.(0DH,1):EBX.
        found: u32,
        /// The length by the components' own figures.
        needed: usize,
    },
    /// The tiles of palette 1 do not fill XTILEDATA.
    Tiles {
        /// CPUID.(1DH,1).
        palette: Option<TilePalette>,
        /// The length of XTILEDATA.
        len: u32,
    },
}

/// Checks each of the `components` that would be used by itself.
pub(crate) fn check_components(
    enumeration: &Enumeration,
    components: ComponentSet,
) -> Result<(), Contradiction> {
    for component in components.difference(ComponentSet::LEGACY).iter() {
        check_kind(enumeration, component)?;
        check_len(enumeration, component)?;
    }
    Ok(())
}

fn check_kind(enumeration: &Enumeration, component: Component) -> Result<(), Contradiction> {
    let supervisor = SUPERVISOR.contains(component);
    // Without an entry it has no length: reported as that.
    let flag_agrees = enumeration
        .entry(component)
        .is_none_or(|entry| entry.is_supervisor() == supervisor);
    if enumeration.supervisor_components().contains(component) == supervisor
        && enumeration.user_components().contains(component) != supervisor
        && flag_agrees
    {
        Ok(())
    } else {
        Err(Contradiction::WrongKind { component })
    }
}

fn check_len(enumeration: &Enumeration, component: Component) -> Result<(), Contradiction> {
    let (Some(entry), Some(allowed)) = (enumeration.entry(component), len_of_registers(component))
    else {
        return Ok(());
    };
    let found = entry.len;
    // LBR is never in a state; its owner asks CPUID how long it is.
    if component != Component::Lbr && found != allowed {
        return Err(Contradiction::Len {
            component,
            found,
            allowed,
        });
    }
    if component == Component::TileData {
        let palette = enumeration.tiles().palette_1();
        if !palette.is_some_and(|palette| fills(palette, found)) {
            return Err(Contradiction::Tiles {
                palette,
                len: found,
            });
        }
    }
    Ok(())
}

fn fills(palette: TilePalette, len: u32) -> bool {
    let tiles = u32::from(palette.names).checked_mul(u32::from(palette.bytes_per_tile));
    tiles == Some(len) && u32::from(palette.total_bytes) == len
}

/// Checks that CPUID's own length for all user components has room for `standard`.
pub(crate) fn check_standard_len(standard: &Layout<'_>) -> Result<(), Contradiction> {
    let (found, needed) = (standard.enumeration().standard_len(), standard.area_len());
    if usize::try_from(found).is_ok_and(|found| found >= needed) {
        Ok(())
    } else {
        Err(Contradiction::StandardLen { found, needed })
    }
}

/// Checks CPUID's length for what is enabled against `layout`'s.
pub(crate) fn check_enabled_len(layout: &Layout<'_>, found: u32) -> Result<(), Contradiction> {
    let (format, needed) = (layout.format(), layout.area_len());
    if usize::try_from(found).is_ok_and(|found| found == needed) {
        Ok(())
    } else {
        Err(Contradiction::EnabledLen {
            format,
            found,
            needed,
        })
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutLegacy { found } => {
                write!(
                    f,
                    "CPUID gives XSAVE {found}; x87 and SSE are always managed"
                )
            }
            Self::Xcr0(error) => error.fmt(f),
            Self::EnabledLen {
                format,
                found,
                needed,
            } => {
                write!(
                    f,
                    "CPUID gives a {format} area of what is enabled {found} bytes; its components take {needed}"
                )
            }
            Self::WrongKind { component } => {
                write!(
                    f,
                    "CPUID does not say clearly whether {component} is user or supervisor state"
                )
            }
            Self::Layout(error) => error.fmt(f),
            Self::Len {
                component,
                found,
                allowed,
            } => {
                write!(
                    f,
                    "CPUID gives {component} {found} bytes; its registers are {allowed}"
                )
            }
            Self::StandardLen { found, needed } => write!(
                f,
                "CPUID gives all user components {found} bytes; the last one ends at {needed}"
            ),
            Self::Tiles {
                palette: Some(palette),
                len,
            } => write!(
                f,
                "palette 1 has {} tiles of {} bytes, {} in all; XTILEDATA is {len}",
                palette.names, palette.bytes_per_tile, palette.total_bytes
            ),
            Self::Tiles { palette: None, len } => {
                write!(f, "XTILEDATA is {len} bytes and there is no tile palette")
            }
        }
    }
}

impl core::error::Error for Contradiction {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        // Xcr0 and Layout are displayed as they are, and have no source themselves.
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::{RecordedCpu, emerald_rapids};
    use std::string::ToString;

    fn check(cpu: &RecordedCpu) -> Result<(), Contradiction> {
        let enumeration = cpu.enumeration();
        check_components(
            &enumeration,
            enumeration.components().without(Component::Pt),
        )
    }

    #[test]
    fn a_recorded_cpu_agrees_with_the_manuals() {
        assert_eq!(check(&emerald_rapids()), Ok(()));
    }

    #[test]
    fn every_component_in_a_state_has_the_length_of_its_registers() {
        for number in [2, 5, 6, 7, 9, 10, 11, 12, 14, 17, 18] {
            for change in [1, u32::MAX] {
                let cpu =
                    emerald_rapids().with(0xd, number, |r| r.eax = r.eax.wrapping_add(change));
                let number = u8::try_from(number).unwrap();
                let component = Component::from_number(number).unwrap();
                let allowed = len_of_registers(component).unwrap();
                let found = allowed.wrapping_add(change);
                assert_eq!(
                    check(&cpu),
                    Err(Contradiction::Len {
                        component,
                        found,
                        allowed
                    })
                );
            }
        }
    }

    #[test]
    fn user_and_supervisor_components_are_not_mixed() {
        let (avx, cet) = (Component::Avx, Component::CetU);
        for (cpu, component) in [
            (emerald_rapids().with(0xd, 2, |r| r.ecx |= 1), avx),
            (emerald_rapids().with(0xd, 1, |r| r.ecx |= 1 << 2), avx),
            (emerald_rapids().with(0xd, 11, |r| r.ecx &= !1), cet),
            (emerald_rapids().with(0xd, 0, |r| r.eax |= 1 << 11), cet),
            (
                emerald_rapids()
                    .with(0xd, 0, |r| r.eax |= 1 << 11)
                    .with(0xd, 1, |r| r.ecx &= !(1 << 11))
                    .with(0xd, 11, |r| r.ecx &= !1),
                cet,
            ),
        ] {
            assert_eq!(check(&cpu), Err(Contradiction::WrongKind { component }));
        }
    }

    #[test]
    fn the_tiles_of_palette_1_fill_the_component() {
        let cases: [fn() -> RecordedCpu; 4] = [
            || emerald_rapids().with(0x1d, 0, |r| r.eax = 0),
            || emerald_rapids().with(0x1d, 1, |r| r.eax = 0x0400_1fff),
            || emerald_rapids().with(0x1d, 1, |r| r.eax = 0x0200_2000),
            || emerald_rapids().with(0x1d, 1, |r| r.ebx = 0x0007_0040),
        ];
        for cpu in cases.map(|cpu| cpu()) {
            let palette = cpu.enumeration().tiles().palette_1();
            let contradiction = Contradiction::Tiles { palette, len: 8192 };
            assert_eq!(check(&cpu), Err(contradiction));
        }
    }

    #[test]
    fn each_contradiction_says_what_cpuid_gave() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        for (shown, sentence) in [
            (
                Contradiction::WithoutLegacy { found: AVX }.to_string(),
                "CPUID gives XSAVE AVX; x87 and SSE are always managed",
            ),
            (
                Contradiction::WrongKind {
                    component: Component::CetU,
                }
                .to_string(),
                "CPUID does not say clearly whether CET_U is user or supervisor state",
            ),
            (
                Contradiction::Len {
                    component: Component::Avx,
                    found: 128,
                    allowed: 256,
                }
                .to_string(),
                "CPUID gives AVX 128 bytes; its registers are 256",
            ),
            (
                Contradiction::StandardLen {
                    found: 800,
                    needed: 832,
                }
                .to_string(),
                "CPUID gives all user components 800 bytes; the last one ends at 832",
            ),
            (
                Contradiction::EnabledLen {
                    format: Format::Compacted,
                    found: 800,
                    needed: 832,
                }
                .to_string(),
                "CPUID gives a compacted area of what is enabled 800 bytes; its components take 832",
            ),
            (
                Contradiction::Tiles {
                    palette: None,
                    len: 8192,
                }
                .to_string(),
                "XTILEDATA is 8192 bytes and there is no tile palette",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
