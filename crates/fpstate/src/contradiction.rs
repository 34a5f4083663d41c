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
    /// The tiles of palette 1 do not fill XTILEDATA.
    Tiles {
        /// CPUID.(1DH,1).
        palette: Option<TilePalette>,
        /// The length of XTILEDATA.
        len: u32,
    },
}

/// Checks the `components` that would be used, each by itself, and then all user components in
/// the `standard` layout.
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
    let kinds = [
        SUPERVISOR.contains(component),
        enumeration.supervisor_components().contains(component),
        !enumeration.user_components().contains(component),
    ];
    let flag = enumeration
        .entry(component)
        .map(|entry| entry.is_supervisor());
    // Without an entry it has no length, and no layout: reported as that.
    if kinds.into_iter().chain(flag).all(|kind| kind)
        || !kinds.into_iter().chain(flag).any(|kind| kind)
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
