//! Invariant I42.

use super::*;

const PKRU: Pkru = Pkru::from_bits(0x5555_5554);

/// A guest that has enabled and written everything there is on this CPU.
fn used(kind: &Kind) -> Vcpu<'_> {
    let (user, supervisor) = (kind.user(), kind.supervisor());
    let mut vcpu = Vcpu::new(kind.host(), kind.features(user, supervisor));
    vcpu.guest.xsetbv(0, user).expect("XCR0");
    vcpu.guest.write_xss(bits(supervisor)).expect("IA32_XSS");
    vcpu.guest.set_pkru(PKRU);
    let by_instructions = ComponentSet::TILES.with(Component::Pkru);
    let written = bits(user | supervisor).difference(by_instructions);
    let mut values = Contents::initial(&kind.enumeration, written);
    let mut random = Rng::with_seed(1);
    while values.not_initial() != written {
        values.write_all(written, &mut random, kind.cpu.error_pointers());
    }
    let tiles = TileValues::random(&mut random);
    vcpu.execute(|cpu| {
        cpu.write_all(written, &values);
        if user & TILES != 0 {
            tiles.load(cpu)?;
        }
        Ok(())
    })
    .expect("the guest's instructions");
    vcpu.leave();
    vcpu
}

/// The same, and IA32_XFD and IA32_XFD_ERR have their bit where there is one.
fn with_tile_data_disabled(kind: &Kind) -> Vcpu<'_> {
    let mut vcpu = used(kind);
    let on_demand = vcpu.guest.features().on_demand();
    vcpu.guest.write_xfd(on_demand).expect("IA32_XFD");
    vcpu.guest.write_xfd_err(on_demand).expect("IA32_XFD_ERR");
    vcpu
}

fn registers(vcpu: &mut Vcpu<'_>) -> [ComponentSet; 4] {
    vcpu.leave();
    let guest = &vcpu.guest;
    [
        guest.xcr0().components(),
        guest.xss().components(),
        guest.xfd().expect("IA32_XFD").components(),
        guest.xfd_err().components(),
    ]
}

#[test]
fn reset_gives_the_control_registers_their_first_values() {
    for kind in Kind::all() {
        let mut vcpu = with_tile_data_disabled(&kind);
        assert_eq!(vcpu.guest.reset(), Ok(()));
        assert_eq!(registers(&mut vcpu).map(ComponentSet::bits), [1, 0, 0, 0]);
        assert_eq!(vcpu.guest.pkru(), Pkru::INITIAL);
    }
}

#[test]
fn reset_makes_every_component_initial() {
    for kind in Kind::all() {
        let mut vcpu = used(&kind);
        let before = vcpu.contents();
        let usable = bits(kind.user() | kind.supervisor()).without(Component::Pkru);
        assert_eq!(before.not_initial(), usable, "{}", kind.cpu.name);
        vcpu.guest.reset().unwrap();
        let initial = Contents::initial(&kind.enumeration, before.components());
        assert_eq!(initial.difference(&vcpu.contents()), None);
    }
}

/// What IA32_XFD disabled is not back with IA32_XFD = 0.
#[test]
fn reset_makes_tile_data_initial_that_was_disabled() {
    for kind in Kind::all() {
        let mut vcpu = with_tile_data_disabled(&kind);
        vcpu.guest.reset().unwrap();
        let found = vcpu.contents();
        let initial = Contents::initial(&kind.enumeration, found.components());
        assert_eq!(initial.difference(&found), None, "{}", kind.cpu.name);
    }
}

/// With values everywhere.
fn init_clears_mpx_and_cet_and_nothing_else(init: fn(&mut Vcpu<'_>)) {
    for kind in Kind::all() {
        let mut vcpu = used(&kind);
        let mut expected = vcpu.contents();
        init(&mut vcpu);
        expected.initialise(bits(MPX | CET));
        let difference = expected.difference(&vcpu.contents());
        assert_eq!(difference, None, "{}", kind.cpu.name);
    }
}

#[test]
fn init_between_runs_clears_mpx_and_cet_and_nothing_else() {
    init_clears_mpx_and_cet_and_nothing_else(|vcpu| {
        vcpu.guest.init().expect("between runs");
    });
}

#[test]
fn init_during_a_run_clears_mpx_and_cet_and_nothing_else() {
    init_clears_mpx_and_cet_and_nothing_else(|vcpu| {
        vcpu.enter();
        let Vcpu {
            thread, guest, cpu, ..
        } = vcpu;
        thread.init_guest(guest, cpu).expect("during a run");
    });
}

#[test]
fn init_leaves_all_registers_alone() {
    for kind in Kind::all() {
        let mut vcpu = with_tile_data_disabled(&kind);
        let before = registers(&mut vcpu);
        vcpu.guest.init().unwrap();
        assert_eq!(registers(&mut vcpu), before, "{}", kind.cpu.name);
        assert_eq!(vcpu.guest.pkru(), PKRU);
    }
}
