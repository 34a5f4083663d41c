//! What a vCPU costs in memory beyond its thread's own state: measured from what is allocated.

use fpstate::{BoxedArea, Fpstate, GuestFeatures, GuestFpu, Identities, Layout};

/// vCPUs allocated for a measurement.
const SAMPLE: usize = 64;

/// Reads how many bytes of heap are allocated now.
pub type LiveHeapBytes = fn() -> usize;

/// Bytes per vCPU in two designs, with their bookkeeping.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// One guest state, which changes places with the thread's own.
    pub one_state: usize,
    /// A user and a guest buffer per vCPU, as before Linux 5.16, where each was a whole `struct
    /// fpu`: two states with the same bookkeeping.
    pub two_buffers: usize,
    /// Where guests are offered on-demand components.
    pub with_tiles: Option<TileFootprint>,
}

/// Bytes per vCPU that is offered tiles.
#[derive(Clone, Copy, Debug)]
pub struct TileFootprint {
    /// It uses none.
    pub idle: usize,
    /// It uses some.
    pub in_use: usize,
}

impl Footprint {
    /// Allocates vCPUs of both designs and reads the allocator's count. No other thread may
    /// allocate meanwhile. `None` if memory runs out.
    pub fn measure(layout: Layout<'_>, live: LiveHeapBytes) -> Option<Self> {
        let identities = Identities::new();
        let new_vcpu = || {
            let area = BoxedArea::for_layout(&layout).ok()?;
            let fpstate = Fpstate::new(layout, area, &identities).ok()?;
            Some(Box::new(GuestFpu::new(fpstate)))
        };
        let one_state = per_vcpu(live, new_vcpu)?;
        let two_buffers = per_vcpu(live, || Some((new_vcpu()?, new_vcpu()?)))?;
        Some(Self {
            one_state,
            two_buffers,
            with_tiles: None,
        })
    }

    /// The same, and what a vCPU costs that is offered `features`, some of them on demand.
    pub fn measure_growth(
        layout: Layout<'_>,
        features: GuestFeatures,
        live: LiveHeapBytes,
    ) -> Option<Self> {
        let identities = Identities::new();
        let idle = || {
            let area = BoxedArea::for_layout(&layout).ok()?;
            let fpstate = Fpstate::new(layout, area, &identities).ok()?;
            Some(Box::new(GuestFpu::offered(fpstate, features).ok()?))
        };
        let in_use = || {
            let mut guest = idle()?;
            let expansion = guest.expansion(features.on_demand()).ok()?;
            let area = BoxedArea::for_layout(expansion.layout()).ok()?;
            // The former memory is freed here.
            guest.expand(expansion, area).ok().map(drop)?;
            Some(guest)
        };
        Some(Self {
            with_tiles: Some(TileFootprint {
                idle: per_vcpu(live, idle)?,
                in_use: per_vcpu(live, in_use)?,
            }),
            ..Self::measure(layout, live)?
        })
    }
}

fn per_vcpu<T>(live: LiveHeapBytes, new_vcpu: impl Fn() -> Option<T>) -> Option<usize> {
    let mut vcpus = Vec::with_capacity(SAMPLE);
    let before = live();
    for _ in 0..SAMPLE {
        vcpus.push(new_vcpu()?);
    }
    let grown = live().saturating_sub(before);
    drop(vcpus);
    Some(grown / SAMPLE)
}
