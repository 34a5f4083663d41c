//! A state of one CPU on another: Intel and AMD place AVX-512 and PKRU differently, and not every
//! CPU has every component.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::generators::{ErrorPointers, seeds};
use conformance::images::{contents_of, standard_image, standard_place};
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::pair::Pair;
use fastrand::Rng;
use fpstate::{
    GuestStateError, ImageState, ImportError, Layout, Loss, LossError, Restoring, StandardImage,
    XsaveArea,
};
use fpstate_arch::{Component, ComponentSet, Enumeration};

const MASK: u32 = 0xffff;
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
/// What Sapphire Rapids and Genoa share: x87, SSE, AVX, AVX-512, PKRU.
const SHARED: ComponentSet = ComponentSet::from_bits(0x2e7);

fn parse<'b>(enumeration: &'b Enumeration, bytes: &'b [u8]) -> ImageState<'b> {
    let layout = Layout::standard(enumeration, enumeration.user_components()).expect("a layout");
    StandardImage::parse(bytes, layout, MASK)
        .expect("an image")
        .state()
}

fn new_values(enumeration: &Enumeration, components: ComponentSet, seed: u64) -> Contents {
    let mut values = Contents::initial(enumeration, components);
    let mut random = Rng::with_seed(seed);
    values.write_all(components, &mut random, ErrorPointers::Kept);
    values
}

#[test]
fn the_two_vendors_place_the_same_components_differently() {
    let (intel, amd) = (
        cpus::SAPPHIRE_RAPIDS.enumeration(),
        cpus::GENOA.enumeration(),
    );
    // peers.md 3: opmask, ZMM_Hi256, Hi16_ZMM, PKRU.
    for (number, on_intel, on_amd) in [
        (5, 1088, 832),
        (6, 1152, 896),
        (7, 1664, 1408),
        (9, 2688, 2432),
    ] {
        let component = Component::from_number(number).unwrap();
        assert_eq!(standard_place(&intel, component).start, on_intel);
        assert_eq!(standard_place(&amd, component).start, on_amd);
    }
}

#[test]
fn sapphire_rapids_to_genoa_and_back_keeps_every_register() {
    let (intel, amd) = (
        cpus::SAPPHIRE_RAPIDS.enumeration(),
        cpus::GENOA.enumeration(),
    );
    for seed in seeds(200) {
        let values = new_values(&intel, SHARED, seed);
        let here = standard_image(&intel, &values, SHARED);
        let there_layout = Layout::standard(&amd, amd.user_components()).unwrap();
        let mut there = vec![0xaa; there_layout.area_len()];
        let state = parse(&intel, here.bytes());
        state.write_standard(&there_layout, &mut there).unwrap();
        let found = contents_of(&amd, &there, SHARED);
        assert_eq!(values.difference(&found), None, "FPSTATE_SEED={seed}");

        let mut back = vec![0xaa; here.bytes().len()];
        let back_layout = Layout::standard(&intel, intel.user_components()).unwrap();
        let state = parse(&amd, &there);
        state.write_standard(&back_layout, &mut back).unwrap();
        let found = contents_of(&intel, &back, SHARED);
        assert_eq!(values.difference(&found), None, "FPSTATE_SEED={seed}");
    }
}

#[test]
fn an_area_of_the_other_vendor_takes_every_register_but_pkru() {
    let (intel, amd) = (
        cpus::SAPPHIRE_RAPIDS.enumeration(),
        cpus::GENOA.enumeration(),
    );
    let room = SHARED.difference(PKRU);
    for (from, to) in [(&intel, &amd), (&amd, &intel)] {
        let values = new_values(from, SHARED, 1);
        let image = standard_image(from, &values, SHARED);
        let state = parse(from, image.bytes());
        for layout in [Layout::standard(to, room), Layout::compacted(to, room)] {
            let layout = layout.unwrap();
            let mut memory = Memory::zeroed(layout.area_len());
            let mut area = XsaveArea::new(layout, memory.bytes_mut()).unwrap();
            let refused = ImportError::NoRoom {
                found: SHARED,
                room,
            };
            assert_eq!(
                area.import_state(&state, ComponentSet::EMPTY, Loss::Reject),
                Err(refused)
            );
            area.import_state(&state, PKRU, Loss::Reject).unwrap();
            for component in room.difference(ComponentSet::LEGACY).iter() {
                assert_eq!(area.extended(component), values.extended(component));
            }
            assert_eq!(area.legacy().xmm, values.legacy().xmm);
            assert_eq!(area.legacy().mxcsr, values.legacy().mxcsr);
        }
    }
}

#[test]
fn tiles_in_use_are_refused_and_initial_ones_may_be_dropped() {
    let (intel, amd) = (
        cpus::SAPPHIRE_RAPIDS.enumeration(),
        cpus::GENOA.enumeration(),
    );
    let everything = intel.user_components();
    assert_eq!(everything, SHARED.union(ComponentSet::TILES));
    let layout = Layout::standard(&amd, amd.user_components()).unwrap();
    let mut values = (1..)
        .map(|seed| new_values(&intel, everything, seed))
        .find(|values| values.not_initial() == everything)
        .unwrap();
    let image = standard_image(&intel, &values, everything);
    let state = parse(&intel, image.bytes());
    let refused = LossError::NoRoom {
        found: everything,
        refused: ComponentSet::TILES,
        room: SHARED,
    };
    for loss in [Loss::Reject, Loss::DropInitial] {
        assert_eq!(state.limited_to(&layout, loss).unwrap_err(), refused);
    }
    assert_eq!(
        refused.to_string(),
        "the image has XTILECFG+XTILEDATA; there is room for \
         x87+SSE+AVX+opmask+ZMM_Hi256+Hi16_ZMM+PKRU"
    );
    let dropped = state.limited_to(&layout, Loss::Drop(ComponentSet::TILES));
    assert_eq!(dropped.unwrap().live(), SHARED);

    values.initialise(ComponentSet::TILES);
    let image = standard_image(&intel, &values, everything);
    let state = parse(&intel, image.bytes());
    assert!(
        state.limited_to(&layout, Loss::Reject).is_err(),
        "announced"
    );
    let dropped = state.limited_to(&layout, Loss::DropInitial).unwrap();
    let mut out = vec![0; layout.area_len()];
    dropped.write_standard(&layout, &mut out).unwrap();
    let found = contents_of(&amd, &out, SHARED);
    assert_eq!(values.limited_to(SHARED).difference(&found), None);
}

#[test]
fn a_cpu_with_fxsave_alone_takes_x87_and_sse_and_says_what_else_there_is() {
    let (genoa, old) = (cpus::GENOA.enumeration(), cpus::FXSAVE_ONLY.enumeration());
    let layout = Layout::fxsave(&old).unwrap();
    let values = new_values(&genoa, SHARED, 1);
    let live = ComponentSet::LEGACY.with(Component::Avx);
    let mut image = standard_image(&genoa, &values, SHARED);
    image.bytes_mut()[512..520].copy_from_slice(&live.bits().to_le_bytes());
    let state = parse(&genoa, image.bytes());
    let mut memory = Memory::zeroed(512);
    let mut area = XsaveArea::new(layout, memory.bytes_mut()).unwrap();
    let nothing = ComponentSet::EMPTY;
    let refused = ImportError::NoRoom {
        found: live,
        room: ComponentSet::LEGACY,
    };
    assert_eq!(
        area.import_state(&state, nothing, Loss::Reject),
        Err(refused)
    );
    let avx = ComponentSet::only(Component::Avx);
    area.import_state(&state, nothing, Loss::Drop(avx)).unwrap();
    let expected = values.limited_to(ComponentSet::LEGACY);
    let found = Contents::from_parts(&area.legacy(), []);
    assert_eq!(expected.difference(&found), None);
}

#[test]
fn a_vcpu_takes_the_registers_of_the_other_vendor_unless_a_thread_runs_it() {
    let (kind, intel) = (&cpus::GENOA, cpus::SAPPHIRE_RAPIDS.enumeration());
    let machine = Machine::ring0(kind);
    let mut pair = Pair::new(&machine);
    let values = new_values(&intel, SHARED, 1);
    let image = standard_image(&intel, &values, SHARED);
    let state = parse(&intel, image.bytes());
    let imported = pair.guest.import_state(&state, PKRU, Loss::Reject);
    imported.unwrap();
    let area = pair.guest.fpstate().unwrap().in_memory().unwrap();
    let extended = SHARED.difference(PKRU).difference(ComponentSet::LEGACY);
    for component in extended.iter() {
        assert_eq!(area.extended(component), values.extended(component));
    }
    assert_eq!(area.legacy().xmm, values.legacy().xmm);

    let mut cpu = machine.start(kind.model(), 0).unwrap();
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, &mut cpu, Restoring::Now).unwrap();
    let refused = GuestStateError::Running { guest: guest.id() };
    let imported = guest.import_state(&state, PKRU, Loss::Reject);
    assert_eq!(imported, Err(refused));
}
