//! What guests are offered, and what processes may do.

use std::sync::Arc;

use fpstate::{
    Grantee, GuestFeatures, GuestFeaturesError, Offer, PermissionError, Permissions, SignalStacks,
};
use fpstate_arch::Component;

use super::backend::Processes;
use crate::config::GuestMix;
use crate::report::TileGuests;
use crate::schedule::SliceError;

/// What guests are offered, and what processes may do.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// By a process that asked for tiles, if there are any.
    pub(super) offered: GuestFeatures,
    /// By one that did not.
    pub(super) offered_without_permission: GuestFeatures,
    pub(super) guests: GuestMix,
    /// Of tasks; where the CPU has tiles.
    pub(super) processes: Option<Arc<Processes>>,
}

impl World {
    /// # Errors
    /// Permissions and features that contradict the offer they were made of.
    pub(super) fn new(offer: &Offer<'_>, tiles: TileGuests) -> Result<Self, SliceError> {
        let mut did_not_ask = Permissions::new(offer);
        let (mut asked, guests) = match tiles {
            TileGuests::Run => (having_asked(offer)?, GuestMix::WithTiles),
            TileGuests::NoAmx | TileGuests::ModelOnly | TileGuests::Refused { .. } => {
                (Permissions::new(offer), GuestMix::WithoutTiles)
            }
        };
        let offered = features(offer, &mut asked)?;
        let offered_without_permission = features(offer, &mut did_not_ask)?;
        let processes = Arc::new(Processes { asked, did_not_ask });
        Ok(Self {
            offered,
            offered_without_permission,
            guests,
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
    permissions: &mut Permissions,
) -> Result<GuestFeatures, GuestFeaturesError> {
    let permit = permissions.freeze_guests();
    let (user, supervisor) = (permissions.guest_maximum(), offer.guest_supervisor());
    GuestFeatures::new(offer, permit, user, supervisor)
}
