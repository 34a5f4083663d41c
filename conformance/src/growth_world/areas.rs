//! All states of a world, and the bytes they lie in.

use fpstate::{Fpstate, StateId};
use fpstate_arch::{ComponentSet, XsaveHeader};

use super::touched::Touched;
use super::{GrowthWorld, Guest, Hardware, Lent, Thread};

/// A state's area, as its bytes have it.
pub(super) struct Area {
    pub(super) id: StateId,
    pub(super) address: usize,
    pub(super) len: usize,
    /// None with FXSAVE.
    pub(super) header: Option<XsaveHeader>,
    /// What it has room for if the state has not grown.
    pub(super) not_grown: ComponentSet,
}

impl<P: Hardware> GrowthWorld<'_, P> {
    /// The areas of the states in `places`.
    pub(super) fn areas(&mut self, places: &Touched) -> Vec<Area> {
        let threads = self.offer.default_components();
        let guests = threads.union(self.offer.guest_only());
        let mut areas = Vec::new();
        for &slot in &places.threads {
            let Some(thread) = self.threads[slot].as_mut() else {
                continue;
            };
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            let (bytes, guest) = thread.fpu.areas();
            areas.push(Area::of(own, bytes, threads));
            areas.extend(guest.map(|bytes| Area::of(active, bytes, guests)));
        }
        for &slot in &places.guests {
            if let Some(guest) = self.guests[slot].as_mut() {
                let id = guest.fpu.id();
                areas.extend(guest.fpu.area().map(|bytes| Area::of(id, bytes, guests)));
            }
        }
        areas
    }

    /// What a growth does that copies user components alone.
    pub(super) fn forget_supervisor_state(&mut self, id: StateId) {
        let user = self.offer.user_components().bits().to_le_bytes();
        let forget = |bytes: &mut [u8]| {
            for (byte, user) in bytes[512..520].iter_mut().zip(user) {
                *byte &= user;
            }
        };
        for thread in self.threads.iter_mut().flatten() {
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            let (bytes, guest) = thread.fpu.areas();
            if own == id {
                forget(bytes);
            }
            if let (true, Some(bytes)) = (active == id, guest) {
                forget(bytes);
            }
        }
        for guest in self.guests.iter_mut().flatten() {
            if let (true, Some(bytes)) = (guest.fpu.id() == id, guest.fpu.area()) {
                forget(bytes);
            }
        }
    }
}

impl Area {
    fn of(id: StateId, bytes: &[u8], not_grown: ComponentSet) -> Self {
        let header = bytes.get(512..).and_then(<[u8]>::first_chunk);
        Self {
            id,
            address: bytes.as_ptr().addr(),
            len: bytes.len(),
            header: header.map(XsaveHeader::from_bytes),
            not_grown,
        }
    }
}

/// The active states of threads, the parked ones, and those of guests that do not run, in `places`.
pub(super) fn states_of<'w, 'e>(
    threads: &'w [Option<Thread<'e>>],
    guests: &'w [Option<Guest<'e>>],
    places: &'w Touched,
) -> impl Iterator<Item = &'w Fpstate<'e, Lent>> {
    let threads = places.threads.iter().filter_map(|&t| threads[t].as_ref());
    let parked = threads.clone().filter(|t| t.guest.is_some());
    let guests = places.guests.iter().filter_map(|&g| guests[g].as_ref());
    threads
        .map(|t| t.fpu.active())
        .chain(parked.map(|t| t.fpu.own()))
        .chain(guests.filter_map(|g| g.fpu.fpstate()))
}
