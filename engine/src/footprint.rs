//! What a vCPU costs in memory beyond its thread's own state: measured from what is allocated.

use fpstate::{BoxedArea, Fpstate, GuestFpu, Identities, Layout};

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
