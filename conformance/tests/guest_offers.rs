//! What a vCPU is offered can change while no thread runs it.

use conformance::cpus;
use conformance::machine::Machine;
use conformance::pair::{Pair, in_memory};
use fpstate::{
    GuestFeatures, GuestStateError, NotInMemory, Offer, Permissions, Residence, Restoring,
};
use fpstate_arch::{Component, ComponentSet};

const AVX: ComponentSet = ComponentSet::LEGACY.with(Component::Avx);

fn features(offer: &Offer<'_>, user: ComponentSet) -> GuestFeatures {
    let permit = Permissions::new(offer).freeze_guests();
    GuestFeatures::new(offer, permit, user, ComponentSet::EMPTY).expect("legal features")
}

#[test]
fn a_new_offer_keeps_the_state_and_what_it_allows() {
    let kind = &cpus::GENOA;
    let machine = Machine::ring0(kind);
    let offer = Offer::for_ring0(&machine.enumeration);
    let mut cpu = machine.start(kind.model(), 0).unwrap();
    let mut pair = Pair::new(&machine);
    let values = pair.run_guest(&mut cpu);
    pair.guest.offer(features(&offer, AVX)).unwrap();
    pair.guest.xsetbv(0, 7).unwrap();
    assert!(pair.guest.xsetbv(0, 0xe7).is_err());
    let state = pair.guest.fpstate().unwrap();
    let found = in_memory(kind, &machine, state);
    assert_eq!(values.difference(&found), None);
}

#[test]
fn what_the_guest_has_enabled_stays_offered() {
    let machine = Machine::ring0(&cpus::GENOA);
    let offer = Offer::for_ring0(&machine.enumeration);
    let mut pair = Pair::new(&machine);
    pair.guest.xsetbv(0, 0xe7).unwrap();
    let before = pair.guest.features();
    assert!(matches!(
        pair.guest.offer(features(&offer, AVX)),
        Err(GuestStateError::Enabled { .. })
    ));
    assert_eq!(pair.guest.features(), before);
}

#[test]
fn a_state_without_room_is_not_offered_more() {
    let machine = Machine::ring0(&cpus::GENOA);
    let offer = Offer::for_ring0(&machine.enumeration);
    let pair = Pair::new(&machine);
    let small = pair.new_state_for(AVX);
    let mut guest = fpstate::GuestFpu::new(small);
    let all = features(&offer, offer.user_components());
    assert!(matches!(
        guest.offer(all),
        Err(GuestStateError::NoRoom { .. })
    ));
}

/// Also L61.
#[test]
fn a_vcpu_that_was_set_up_can_be_sealed_and_a_running_one_cannot() {
    let machine = Machine::ring0(&cpus::GENOA);
    let mut cpu = machine.start(cpus::GENOA.model(), 0).unwrap();
    let mut pair = Pair::new(&machine);
    pair.thread
        .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now)
        .unwrap();
    let guest = pair.guest.id();
    assert_eq!(pair.guest.seal(), Err(GuestStateError::Running { guest }));
    pair.thread
        .leave_guest(&mut pair.guest, &mut cpu, Restoring::Now)
        .unwrap();
    pair.guest.seal().unwrap();
    assert_eq!(pair.guest.fpstate().unwrap().residence(), Residence::Sealed);
    assert_eq!(
        pair.guest.edit().err(),
        Some(GuestStateError::NotInMemory(NotInMemory::Sealed))
    );
}
