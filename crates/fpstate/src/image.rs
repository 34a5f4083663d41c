//! A standard-format image that comes from elsewhere: a signal frame, a debugger, a VMM.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion};
use fpstate_arch::xsave_header::{Format, XsaveHeader};

use crate::area::{MxcsrError, XsaveArea, as_restored};
use crate::layout::Layout;
use crate::ownership::{CpuId, Residence};
use crate::storage::AreaStorage;

/// A standard-format XSAVE image, checked, still in the bytes it came in.
///
/// The rules for the header are those of Linux for images from outside (`KVM_SET_XSAVE`, `ptrace`),
/// which are stricter than XRSTOR's: XCOMP_BV and all 48 reserved bytes are 0, while XRSTOR ignores the
/// last 40 of them. MXCSR is judged and taken as XRSTOR does and as in a signal frame; `KVM_SET_XSAVE`
/// and `ptrace` ignore it where XSTATE_BV has neither SSE nor AVX.
///
/// Holding one is the proof that its header and MXCSR were checked; whether it fits a state is
/// checked when it is imported.
#[derive(Clone, Copy, Debug)]
pub struct StandardImage<'b> {
    bytes: &'b [u8],
    layout: Layout<'b>,
    legacy: LegacyRegion,
    xstate_bv: ComponentSet,
}

impl<'b> StandardImage<'b> {
    /// Checks `bytes` as an image of `layout`, for a CPU whose MXCSR has the bits of `mxcsr_mask`.
    /// MXCSR is judged whatever XSTATE_BV is, as XRSTOR does (SDM 1, 13.8.1).
    ///
    /// # Errors
    /// The first rule broken, with what was found and what is allowed.
    pub fn parse(bytes: &'b [u8], layout: Layout<'b>, mxcsr_mask: u32) -> Result<Self, ImageError> {
        let (found, needed) = (bytes.len(), layout.area_len());
        if layout.format() != Format::Standard {
            return Err(ImageError::NotStandard {
                format: layout.format(),
            });
        }
        let Some((legacy, rest)) = bytes.split_first_chunk::<LEGACY_REGION_LEN>() else {
            return Err(ImageError::TooShort { found, needed });
        };
        let (Some(header), true) = (rest.first_chunk(), found >= needed) else {
            return Err(ImageError::TooShort { found, needed });
        };
        let header = XsaveHeader::from_bytes(header);
        let legacy = LegacyRegion::from_bytes(legacy);
        check_header(&header, layout.components())?;
        MxcsrError::check(legacy.mxcsr, mxcsr_mask).map_err(ImageError::Mxcsr)?;
        Ok(Self {
            bytes,
            layout,
            legacy,
            xstate_bv: header.xstate_bv,
        })
    }

    /// The components that are not in their initial configuration.
    #[must_use]
    pub const fn xstate_bv(&self) -> ComponentSet {
        self.xstate_bv
    }

    /// The bytes of an extended component that is not in its initial configuration.
    #[must_use]
    pub fn extended(&self, component: Component) -> Option<&'b [u8]> {
        if !self.xstate_bv.contains(component) {
            return None;
        }
        self.bytes.get(self.layout.place_of(component)?.range())
    }

    /// The legacy region as XRSTOR would load it: initial where XSTATE_BV says so, MXCSR from the
    /// image in either case (SDM 1, 13.8.1).
    #[must_use]
    pub fn legacy(&self) -> LegacyRegion {
        as_restored(self.legacy, self.xstate_bv, Format::Standard)
    }
}

fn check_header(header: &XsaveHeader, allowed: ComponentSet) -> Result<(), ImageError> {
    if header.xcomp_bv != 0 {
        return Err(ImageError::XcompBv {
            found: header.xcomp_bv,
        });
    }
    if let Some((offset, &value)) = (528..).zip(&header.reserved).find(|(_, byte)| **byte != 0) {
        return Err(ImageError::ReservedHeaderByte { offset, value });
    }
    if !allowed.contains_all(header.xstate_bv) {
        return Err(ImageError::ComponentsNotAllowed {
            found: header.xstate_bv,
            allowed,
        });
    }
    Ok(())
}

impl<S: AreaStorage> XsaveArea<'_, S> {
    /// Replaces the state in this area by `image`. Components the image does not have become
    /// initial; supervisor components, which no standard-format image has, stay as they are, and
    /// so do the components `kept_elsewhere` (PKRU, which is switched on its own), which are
    /// neither read nor written.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn import(
        &mut self,
        image: &StandardImage<'_>,
        kept_elsewhere: ComponentSet,
    ) -> Result<(), ImportError> {
        if kept_elsewhere.intersects(ComponentSet::LEGACY) {
            return Err(ImportError::LegacyKeptElsewhere {
                found: kept_elsewhere,
            });
        }
        let wanted = image.xstate_bv().difference(kept_elsewhere);
        let room = self.layout().components();
        if !room.contains_all(wanted) {
            return Err(ImportError::NoRoom {
                found: wanted,
                room,
            });
        }
        self.check_lengths(wanted, |component| image.extended(component))?;
        let supervisor = self.layout().enumeration().supervisor_components();
        let preserved = supervisor.union(kept_elsewhere);
        self.replace(&image.legacy(), wanted, preserved, |component| {
            image.extended(component)
        });
        Ok(())
    }

    /// Replaces the state by the `wanted` components of `source`'s, as far as there is room; the
    /// others become initial.
    ///
    /// # Errors
    /// [`ImportError::Length`]; nothing is changed then.
    pub(crate) fn take_over<T: AreaStorage>(
        &mut self,
        source: &XsaveArea<'_, T>,
        wanted: ComponentSet,
    ) -> Result<(), ImportError> {
        let room = self.layout().components();
        let wanted = source.xstate_bv().intersection(wanted).intersection(room);
        self.check_lengths(wanted, |component| source.extended(component))?;
        let nothing = ComponentSet::EMPTY;
        self.replace(&source.legacy(), wanted, nothing, |component| {
            source.extended(component)
        });
        Ok(())
    }

    fn check_lengths<'b>(
        &self,
        wanted: ComponentSet,
        bytes_of: impl Fn(Component) -> Option<&'b [u8]>,
    ) -> Result<(), ImportError> {
        for placed in self.layout().extended_components() {
            let (component, needed) = (placed.component(), placed.range().len());
            match bytes_of(component).map(<[u8]>::len) {
                Some(found) if found != needed && wanted.contains(component) => {
                    return Err(ImportError::Length {
                        component,
                        found,
                        needed,
                    });
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// Why bytes are not a standard-format image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The layout to read it by has another format.
    NotStandard {
        /// The layout's format.
        format: Format,
    },
    /// Fewer bytes than the layout has.
    TooShort {
        /// Bytes there are.
        found: usize,
        /// Bytes the layout needs.
        needed: usize,
    },
    /// XCOMP_BV (bytes 527:520) must be 0 in the standard format.
    XcompBv {
        /// Its value.
        found: u64,
    },
    /// Bytes 575:528 must be 0.
    ReservedHeaderByte {
        /// Offset from byte 0 of the image.
        offset: usize,
        /// Its value.
        value: u8,
    },
    /// XSTATE_BV has components that the layout does not.
    ComponentsNotAllowed {
        /// XSTATE_BV.
        found: ComponentSet,
        /// The layout's components.
        allowed: ComponentSet,
    },
    /// MXCSR (bytes 27:24) has a bit the CPU lacks.
    Mxcsr(MxcsrError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStandard { format } => {
                write!(f, "a layout of {format} format; allowed: standard")
            }
            Self::TooShort { found, needed } => {
                write!(f, "image of {found} bytes; the layout needs {needed}")
            }
            Self::XcompBv { found } => {
                write!(
                    f,
                    "XCOMP_BV at byte 520 is {found:#x}; allowed: 0 in the standard format"
                )
            }
            Self::ReservedHeaderByte { offset, value } => {
                write!(f, "reserved header byte {offset} is {value:#x}; allowed: 0")
            }
            Self::ComponentsNotAllowed { found, allowed } => {
                let refused = found.difference(*allowed);
                write!(f, "XSTATE_BV at byte 512 has {refused}; allowed: {allowed}")
            }
            Self::Mxcsr(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ImageError {}

/// Why an image cannot become this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// The image has live components for which the state has no room.
    NoRoom {
        /// The image's live components.
        found: ComponentSet,
        /// The state's components.
        room: ComponentSet,
    },
    /// A component's length differs between the image's CPU and this one.
    Length {
        /// The component.
        component: Component,
        /// Bytes in the image.
        found: usize,
        /// Bytes in the state.
        needed: usize,
    },
    /// x87 and SSE cannot be kept elsewhere: they are one region with MXCSR.
    LegacyKeptElsewhere {
        /// The components given.
        found: ComponentSet,
    },
    /// The state has supervisor components, which are in registers and in no image of this format.
    NotInImage {
        /// These components.
        found: ComponentSet,
    },
    /// The state is not in memory.
    NotInMemory(NotInMemory),
    /// The state is not in the registers of the CPU that the image was made of.
    NotInRegisters {
        /// The CPU.
        cpu: CpuId,
        /// Where the state is.
        residence: Residence,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { found, room } => {
                write!(
                    f,
                    "the image has {}; the state has room for {room}",
                    found.difference(*room)
                )
            }
            Self::Length {
                component,
                found,
                needed,
            } => {
                write!(
                    f,
                    "{component} has {found} bytes in the image and {needed} here"
                )
            }
            Self::NotInRegisters { cpu, residence } => {
                write!(
                    f,
                    "the state is not in the registers of {cpu} but {residence:?}"
                )
            }
            Self::LegacyKeptElsewhere { found } => {
                write!(f, "{found} kept elsewhere; allowed: extended components")
            }
            Self::NotInImage { found } => {
                write!(
                    f,
                    "{found} would be lost: a standard-format image has no supervisor state"
                )
            }
            Self::NotInMemory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ImportError {}

/// The area does not hold the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotInMemory {
    /// The registers of a CPU hold the only copy.
    InRegisters {
        /// The CPU.
        cpu: CpuId,
    },
    /// The hardware keeps the state (SEV-ES, TDX).
    Sealed,
}

impl fmt::Display for NotInMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRegisters { cpu } => write!(f, "the state is in the registers of {cpu}"),
            Self::Sealed => f.write_str("the state is sealed by the hardware"),
        }
    }
}

impl core::error::Error for NotInMemory {}
