//! Bugs that Linux and KVM had and fixed, by the commits that fixed them.

use conformance::contents::Contents;
use conformance::cpus::SKYLAKE_SP;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::on_demand::{KIND, TILE_DATA, cpu, small_pair, xfd};
use conformance::pair::{Pair, in_memory, visible};
use fpstate::{GuestFeatures, GuestFeaturesError, Offer, Permissions, Restoring, VmExit};
use fpstate_arch::{Component, ComponentSet, LegacyRegion, Pkru, Processor};

const NOW: Restoring = Restoring::Now;
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
const HOSTS: Pkru = Pkru::from_bits(0x5555_5554);
const GUESTS: Pkru = Pkru::from_bits(0x1234_5678);

/// L55 · 2020 · 37486135d3a7 · PKRU was switched only where the guest's CR4.PKE was set, and a guest can change it by XRSTOR
///
/// 37486135d3a7: with CR4.PKE = 0 the guest has no WRPKRU, but XRSTOR writes the register if its
/// XCR0 has PKRU; with CR4.PKE = 1, which it may set without an exit, WRPKRU does.
#[test]
fn the_hosts_pkru_survives_a_guest_that_can_change_the_register_by_any_way() {
    let machine = Machine::offered(&KIND);
    let with_pkru = ComponentSet::LEGACY.union(PKRU);
    for xcr0 in [with_pkru, ComponentSet::LEGACY] {
        let (mut pair, mut cpu) = (small_pair(&machine), cpu(&machine, 0));
        let Pair { thread, guest, .. } = &mut pair;
        cpu.processor().wrpkru(HOSTS).unwrap();
        guest.write_xcr0(xcr0).unwrap();
        thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        for seen in [Pkru::INITIAL, GUESTS] {
            let mut entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
            assert_eq!(entry.processor().rdpkru(), Ok(seen), "{xcr0}");
            if xcr0.contains(Component::Pkru) {
                let value = u64::from(GUESTS.bits()).to_le_bytes().to_vec();
                let values = [(Component::Pkru, value)];
                let values = Contents::from_parts(&LegacyRegion::INITIAL, values);
                let image = standard_image(&machine.enumeration, &values, PKRU);
                entry.processor().xrstor(image.bytes(), PKRU).unwrap();
            } else {
                entry.processor().wrpkru(GUESTS).unwrap();
            }
            let _ = entry.load_host_registers(VmExit::Other).unwrap();
            assert_eq!(cpu.processor().rdpkru(), Ok(HOSTS), "{xcr0}");
            assert_eq!(guest.pkru(), GUESTS, "{xcr0}");
        }
    }
}

/// Where the guest's state is when its vCPU gets INIT.
#[derive(Clone, Copy, Debug)]
enum At {
    InRegisters,
    Preempted,
    NotRunning,
}

/// L7 · 2020 · f958bd2314d1 · INIT outside of `KVM_RUN` saved registers that held no guest's state
/// L60 · 2022 · be4f3b3f8227, 4c282e51e445, 05a9e065059e · INIT cleared IA32_XSS, and CPUID did not follow it
/// L63 · 2025 · 8819a49f9ff8 · INIT outside of `KVM_RUN` put away and loaded a guest's state that was not loaded: a null pointer
/// H10 · Linux 6.12, 7.2 · `fpstate_clear_xstate_component()` · clearing a component wrote zeros and left its bit set
///
/// 8819a49f9ff8: KVM put and loaded a guest's state that was not loaded. be4f3b3f8227: it cleared
/// IA32_XSS. SDM 3, table 10-1: MPX and CET become initial, nothing else.
#[test]
fn init_changes_mpx_and_cet_and_nothing_else_wherever_the_state_is() {
    let cet = ComponentSet::EMPTY
        .with(Component::CetU)
        .with(Component::CetS);
    for (kind, affected) in [(&KIND, cet), (&SKYLAKE_SP, ComponentSet::MPX)] {
        let machine = Machine::offered(kind);
        for at in [At::InRegisters, At::Preempted, At::NotRunning] {
            let mut pair = Pair::new(&machine);
            let mut cpu = machine.start(kind.model(), 0).unwrap();
            let user = pair.guest.features().user();
            let supervisor = pair.guest.features().supervisor();
            pair.guest.write_xcr0(user).unwrap();
            pair.guest.write_xss(supervisor).unwrap();
            let threads = pair.use_registers(&mut cpu).unwrap();
            let (thread, guest) = (&mut pair.thread, &mut pair.guest);
            thread.enter_guest(guest, &mut cpu, NOW).unwrap();
            let mut expected = pair.use_registers(&mut cpu).unwrap();
            assert!(expected.not_initial().contains_all(affected));
            expected.initialise(affected);
            let (thread, guest) = (&mut pair.thread, &mut pair.guest);
            match at {
                At::InRegisters => thread.init_guest(guest, &mut cpu).unwrap(),
                At::Preempted => {
                    thread.save_before_switch(&mut cpu).unwrap();
                    thread.init_guest(guest, &mut cpu).unwrap();
                }
                At::NotRunning => {
                    thread.leave_guest(guest, &mut cpu, NOW).unwrap();
                    assert!(thread.init_guest(guest, &mut cpu).is_err());
                    guest.init().unwrap();
                    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
                }
            }
            thread.restore_before_use(&mut cpu).unwrap();
            let found = visible(&mut cpu, &machine);
            assert_eq!(expected.difference(&found), None, "{} {at:?}", kind.name);
            let registers = (guest.xcr0().components(), guest.xss().components());
            assert_eq!(registers, (user, supervisor));
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
            let found = in_memory(kind, &machine, guest.fpstate().unwrap());
            assert_eq!(expected.difference(&found), None, "{} {at:?}", kind.name);
            assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
        }
    }
}

#[test]
fn init_keeps_xfd_and_reset_does_not() {
    let machine = Machine::offered(&KIND);
    let mut pair = small_pair(&machine);
    let guest = &mut pair.guest;
    guest.write_xfd(TILE_DATA).unwrap();
    guest.write_xfd_err(TILE_DATA).unwrap();
    guest.init().unwrap();
    assert_eq!(guest.xfd(), Ok(xfd(TILE_DATA)));
    assert_eq!(guest.xfd_err().components(), TILE_DATA);
    guest.reset().unwrap();
    assert_eq!(guest.xfd(), Ok(xfd(ComponentSet::EMPTY)));
    assert_eq!(guest.xfd_err().components(), ComponentSet::EMPTY);
}

/// Also L58.
///
/// 55cd57b596e8: XTILECFG was offered where XTILEDATA was not permitted, and an XSETBV of what CPUID
/// announced raised #GP.
#[test]
fn what_a_guests_cpuid_announces_it_can_enable_all_at_once() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let permit = Permissions::new(&offer).freeze_guests();
    let (user, nothing) = (offer.user_components(), ComponentSet::EMPTY);
    let half = user.difference(TILE_DATA);
    let refused = GuestFeatures::new(&offer, permit, half, nothing);
    assert!(matches!(refused, Err(GuestFeaturesError::User(_))));
    let refused = GuestFeatures::new(&offer, permit, user, nothing).unwrap_err();
    assert!(matches!(refused, GuestFeaturesError::NotPermitted(_)));
    assert_eq!(refused.errno().number(), 1); // EPERM
    let without = user.difference(ComponentSet::TILES);
    let features = GuestFeatures::new(&offer, permit, without, nothing);
    assert_eq!(features.unwrap().user(), without);
}
