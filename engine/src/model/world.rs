//! What guests are offered, and what processes may do.

use fpstate::{
    Grantee, GuestCr4, GuestFeatures, GuestFeaturesError, Offer, PermissionError, Permissions,
    SignalStacks,
};
use fpstate_arch::xsave_header::Format;
use fpstate_arch::{Component, ComponentSet};

use super::backend::Processes;
use crate::config::GuestMix;
use crate::report::TileGuests;
use crate::schedule::SliceError;

const OSXSAVE: u64 = 1 << 18;
const PKE: u64 = 1 << 22;

/// What guests are offered, and what processes may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    /// By a process that asked for tiles, if there are any.
    pub(super) offered: GuestFeatures,
    /// By one that did not.
    pub(super) offered_without_permission: GuestFeatures,
    pub(super) guests: GuestMix,
    pub(super) guest_cr4: GuestCr4,
    /// Of tasks; where the CPU has tiles.
    pub(super) processes: Option<Processes>,
}

impl World {
    /// # Errors
    /// Permissions and features that contradict the offer they were made of.
    pub(super) fn new(offer: &Offer<'_>, tiles: TileGuests) -> Result<Self, SliceError> {
        let did_not_ask = Permissions::new(offer);
        let (asked, guests) = match tiles {
            TileGuests::Run => (having_asked(offer)?, GuestMix::WithTiles),
            TileGuests::NoAmx | TileGuests::ModelOnly | TileGuests::Refused { .. } => {
                (did_not_ask, GuestMix::WithoutTiles)
            }
        };
        let processes = Processes { asked, did_not_ask };
        Ok(Self {
            offered: features(offer, asked)?,
            offered_without_permission: features(offer, did_not_ask)?,
            guests,
            guest_cr4: guest_cr4(offer),
            processes: (guests == GuestMix::WithTiles).then_some(processes),
        })
    }
}

/// `ARCH_REQ_XCOMP_PERM` and `ARCH_REQ_XCOMP_GUEST_PERM`.
fn having_asked(offer: &Offer<'_>) -> Result<Permissions, PermissionError> {
    let mut permissions = Permissions::new(offer);
    for grantee in [Grantee::Threads, Grantee::Guests] {
        let number = u32::from(Component::TileData.number());
        permissions.request(offer, grantee, number, SignalStacks::none())?;
    }
    Ok(permissions)
}

/// Everything, or without permission everything but tiles.
fn features(
    offer: &Offer<'_>,
    mut permissions: Permissions,
) -> Result<GuestFeatures, GuestFeaturesError> {
    let permit = permissions.freeze_guests();
    let (user, supervisor) = (offer.user_components(), offer.guest_supervisor());
    match GuestFeatures::new(offer, permit, user, supervisor) {
        Err(GuestFeaturesError::NotPermitted(_)) => {
            let user = user.difference(ComponentSet::TILES);
            GuestFeatures::new(offer, permit, user, supervisor)
        }
        done => done,
    }
}

fn guest_cr4(offer: &Offer<'_>) -> GuestCr4 {
    let osxsave = match offer.instructions().save().format() {
        Format::Fxsave => 0,
        Format::Standard | Format::Compacted => OSXSAVE,
    };
    let has_keys = offer.user_components().contains(Component::Pkru);
    GuestCr4::from_bits(osxsave | if has_keys { PKE } else { 0 })
}
