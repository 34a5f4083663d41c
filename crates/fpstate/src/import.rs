//! A state that comes from elsewhere becomes the state of an area.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};

use crate::area::XsaveArea;
use crate::image::StandardImage;
use crate::image_state::ImageState;
use crate::layout::Layout;
use crate::loss::{Loss, LossError};
use crate::ownership::{CpuId, Residence};
use crate::storage::AreaStorage;

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
        self.import_state(&image.state(), kept_elsewhere, Loss::Reject)
    }

    /// Replaces the state in this area by `state`, of whatever form and of whatever CPU.
    ///
    /// * Components that the image speaks of (its layout's) are as they are there.
    /// * Other user components become initial; other supervisor components stay as they are.
    /// * Components `kept_elsewhere` (PKRU, which is switched on its own) are neither read nor
    ///   written.
    /// * An MXCSR of its own makes SSE live in a compacted area, where nothing else would carry it
    ///   (SDM 1, 13.10): the one difference from Linux, which leaves XSTATE_BV as the image had it
    ///   and loses MXCSR at the next XRSTORS.
    ///
    /// # Errors
    /// What has no room here and may not be lost. Nothing is changed then.
    pub fn import_state(
        &mut self,
        state: &ImageState<'_>,
        kept_elsewhere: ComponentSet,
        loss: Loss,
    ) -> Result<(), ImportError> {
        if kept_elsewhere.intersects(ComponentSet::LEGACY) {
            return Err(ImportError::LegacyKeptElsewhere {
                found: kept_elsewhere,
            });
        }
        let state = state
            .without(kept_elsewhere)
            .limited_to(self.layout(), loss)?;
        let supervisor = self.layout().enumeration().supervisor_components();
        let preserved = supervisor
            .difference(state.layout().components())
            .union(kept_elsewhere);
        let extended = state.extended_components();
        self.replace(&state.legacy(), state.live(), preserved, extended);
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
        self.check_lengths(wanted, source.layout())?;
        let (state, nothing) = (source.state(), ComponentSet::EMPTY);
        let extended = state.extended_components();
        self.replace(&state.legacy(), wanted, nothing, extended);
        Ok(())
    }

    fn check_lengths(&self, wanted: ComponentSet, source: &Layout<'_>) -> Result<(), ImportError> {
        for component in wanted.iter() {
            match (source.len_of(component), self.layout().len_of(component)) {
                (Some(found), Some(needed)) if found != needed => {
                    return Err(ImportError::Length {
                        component,
                        found,
                        needed,
                    });
                }
                (Some(_) | None, _) => {}
            }
        }
        Ok(())
    }
}

/// Why an image cannot become this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// The image has live components for which the state has no room.
    NoRoom {
        /// The image's live components, but for those that may be lost.
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

impl From<LossError> for ImportError {
    fn from(error: LossError) -> Self {
        match error {
            LossError::NoRoom {
                found,
                refused,
                room,
            } => Self::NoRoom {
                found: found.intersection(room).union(refused),
                room,
            },
            LossError::Length {
                component,
                found,
                needed,
            } => Self::Length {
                component,
                found,
                needed,
            },
        }
    }
}

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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_refused_import_says_what_would_be_lost() {
        static IDENTITIES: Identities = Identities::new();
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        let cpu = IDENTITIES.cpu(7);
        let here = IDENTITIES.cpu(9);
        for (shown, sentence) in [
            (
                ImportError::NoRoom {
                    found: AVX.union(TILES),
                    room: AVX,
                }
                .to_string(),
                "the image has XTILECFG+XTILEDATA; the state has room for AVX",
            ),
            (
                ImportError::Length {
                    component: Component::Avx,
                    found: 128,
                    needed: 256,
                }
                .to_string(),
                "AVX has 128 bytes in the image and 256 here",
            ),
            (
                ImportError::LegacyKeptElsewhere {
                    found: ComponentSet::LEGACY,
                }
                .to_string(),
                "x87+SSE kept elsewhere; allowed: extended components",
            ),
            (
                ImportError::NotInImage {
                    found: ComponentSet::only(Component::CetU),
                }
                .to_string(),
                "CET_U would be lost: a standard-format image has no supervisor state",
            ),
            (
                ImportError::NotInRegisters {
                    cpu,
                    residence: Residence::Memory,
                }
                .to_string(),
                "the state is not in the registers of CPU 7 but Memory",
            ),
            (
                ImportError::NotInMemory(NotInMemory::InRegisters { cpu: here }).to_string(),
                "the state is in the registers of CPU 9",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
