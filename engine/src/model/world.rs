//! What guests are offered, and what processes may do.

use std::sync::Arc;

use fpstate::{
    Grantee, GuestCr4, GuestFeatures, GuestFeaturesError, Offer, PermissionError, Permissions,
    SignalStacks,
};
use fpstate_arch::Component;
use fpstate_arch::xsave_header::Format;

use super::backend::Processes;
use crate::config::GuestMix;
use crate::report::TileGuests;
use crate::schedule::SliceError;

const OSXSAVE: u64 = 1 << 18;
const PKE: u64 = 1 << 22;

/// What guests are offered, and what processes may do.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// By a process that asked for tiles, if there are any.
    pub(super) offered: GuestFeatures,
    /// By one that did not.
    pub(super) offered_without_permission: GuestFeatures,
    pub(super) guests: GuestMix,
    pub(super) guest_cr4: GuestCr4,
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
    permissions: &mut Permissions,
) -> Result<GuestFeatures, GuestFeaturesError> {
    let permit = permissions.freeze_guests();
    let (user, supervisor) = (permissions.guest_maximum(), offer.guest_supervisor());
    GuestFeatures::new(offer, permit, user, supervisor)
}

fn guest_cr4(offer: &Offer<'_>) -> GuestCr4 {
    let osxsave = match offer.instructions().save().format() {
        Format::Fxsave => 0,
        Format::Standard | Format::Compacted => OSXSAVE,
    };
    let has_keys = offer.user_components().contains(Component::Pkru);
    GuestCr4::from_bits(osxsave | if has_keys { PKE } else { 0 })
}
