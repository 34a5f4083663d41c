//! Bytes per vCPU on each recorded CPU, as allocated.

use fpstate::Offer;
use fpstate_arch::Enumeration;
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_engine::footprint::{Footprint, LiveHeapBytes};
use fpstate_model::Profile;
use serde::Serialize;

/// Bytes per vCPU with their bookkeeping. A kernel's, in ring 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProfileBytes {
    /// The profile's name.
    pub cpu: &'static str,
    /// The area's alone.
    pub area_len: usize,
    /// One state, which changes places with the thread's.
    pub ours: usize,
    /// Two, with the same bookkeeping.
    pub two_buffers: usize,
    /// One state with room for everything a guest can be offered from the start, as Linux allocates
    /// it when tiles are offered; the same as `ours` where nothing is on demand.
    pub everything_at_once: usize,
}

/// Allocates vCPUs for each profile and reads `live`. `None` if memory runs out.
pub fn of_each_profile(live: LiveHeapBytes) -> Option<Vec<ProfileBytes>> {
    Profile::ALL
        .iter()
        .map(|profile| of_profile(*profile, live))
        .collect()
}

fn of_profile(profile: Profile, live: LiveHeapBytes) -> Option<ProfileBytes> {
    let cpu = Enumeration::read(RecordedLeaves(&profile.leaves()));
    let offer = Offer::for_ring0(&cpu);
    let layout = offer.guest_layout();
    let on_demand = layout.xfd_components().difference(layout.components());
    let whole = layout.with(on_demand).ok()?;
    let footprint = Footprint::measure(layout, live)?;
    Some(ProfileBytes {
        cpu: profile.name(),
        area_len: layout.area_len(),
        ours: footprint.one_state,
        two_buffers: footprint.two_buffers,
        everything_at_once: Footprint::measure(whole, live)?.one_state,
    })
}
