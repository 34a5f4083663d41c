//! A guest uses AMX and its vCPU moves on, in the steps of KVM's selftest `amx_test`.
//!
//! At each of its synchronisations the vCPU's whole state is read and written to another one on
//! another machine. The selftest does so in one order; here it is done in each of the 120.

use conformance::contents::Contents;
use conformance::cpus::{CET, SAPPHIRE_RAPIDS};
use conformance::host::{Host, memory};
use conformance::memory::Memory;
use conformance::tiles::{self, TileValues};
use conformance::user_code::UserCode;
use conformance::vcpu::{Item, Saved, Vcpu};
use fastrand::Rng;
use fpstate::offer::Grantee;
use fpstate::{
    Errno, GuestFeatures, GuestFeaturesError, Interception, Permissions, ResizeError, SignalStacks,
};
use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Enumeration, Fault, Pkru, Processor};
use fpstate_model::ModelCpu;

const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
const NOTHING: ComponentSet = ComponentSet::EMPTY;
/// What `ARCH_REQ_XCOMP_GUEST_PERM` is asked for.
const XTILEDATA: u32 = 18;
/// XCR0 of a Sapphire Rapids: x87, SSE, AVX, AVX-512, PKRU, AMX.
const XCR0: ComponentSet = ComponentSet::from_bits(0x6_02e7);
/// IA32_XFD and IA32_XFD_ERR as the selftest has them.
const BIT_18: ComponentSet = ComponentSet::from_bits(0x4_0000);
/// CPUID.(0DH,18) of Sapphire Rapids: where tile data is in the standard format.
const TILE_DATA_OFFSET: usize = 2816;

fn host(enumeration: &Enumeration) -> Host<'_> {
    Host::new(&SAPPHIRE_RAPIDS, enumeration)
}

/// The permission flow of a VMM that offers tiles, and everything else.
fn with_tiles(host: &Host<'_>) -> GuestFeatures {
    let offer = host.offer();
    let mut permissions = Permissions::new(offer);
    permissions
        .request(offer, Grantee::Guests, XTILEDATA, SignalStacks::none())
        .expect("a permission");
    let permit = permissions.freeze_guests();
    GuestFeatures::new(offer, permit, XCR0, CET).expect("features")
}

/// A vCPU after RESET.
fn new_vcpu(enumeration: &Enumeration) -> Vcpu<'_> {
    let host = host(enumeration);
    let features = with_tiles(&host);
    Vcpu::new(host, features)
}

/// A vCPU whose guest has enabled everything.
fn booted(enumeration: &Enumeration) -> Vcpu<'_> {
    let mut vcpu = new_vcpu(enumeration);
    vcpu.guest.write_xcr0(XCR0).expect("XCR0");
    vcpu.guest.write_xss(CET).expect("IA32_XSS");
    vcpu
}

/// A vCPU whose guest has `values` in its tiles.
fn with_values<'e>(enumeration: &'e Enumeration, values: &TileValues) -> Vcpu<'e> {
    let mut vcpu = booted(enumeration);
    vcpu.execute(|cpu| values.load(cpu)).expect("the tiles");
    vcpu
}

/// A vCPU that a guest has used: values everywhere, IA32_XFD and IA32_XFD_ERR with bit 18.
fn used<'e>(enumeration: &'e Enumeration, random: &mut Rng) -> Vcpu<'e> {
    let mut vcpu = with_values(enumeration, &TileValues::random(random));
    write_everything(&mut vcpu, random);
    vcpu.guest.write_xfd_err(BIT_18).expect("IA32_XFD_ERR");
    vcpu.wrmsr_xfd(BIT_18);
    vcpu.leave();
    vcpu
}

/// The guest writes all registers of user components, but for tile data.
fn write_everything(vcpu: &mut Vcpu<'_>, random: &mut Rng) {
    let enumeration = vcpu.host.offer().enumeration();
    let written = XCR0.difference(TILE_DATA).without(Component::Pkru);
    let written = written.without(Component::TileConfig);
    let mut values = Contents::initial(enumeration, written);
    while values.not_initial() != written {
        let pointers = SAPPHIRE_RAPIDS.error_pointers();
        values.write_all(written, random, pointers);
    }
    let pkru = Pkru::from_bits(random.u32(..));
    vcpu.execute(|cpu| {
        cpu.write_all(written, &values);
        cpu.wrpkru(pkru)
    })
    .expect("WRPKRU");
}

/// What the guest finds in its tiles. It configures nothing.
fn stored(vcpu: &mut Vcpu<'_>) -> Result<TileValues, Fault> {
    vcpu.execute(TileValues::stored)
}

fn tile_data(image: &Memory) -> &[u8] {
    &image.bytes()[TILE_DATA_OFFSET..][..tiles::TILE_DATA_LEN]
}

/// The guest's XSAVEC of the two tile components: XSTATE_BV and XCOMP_BV.
fn xsavec(vcpu: &mut Vcpu<'_>) -> (u64, u64) {
    let mut area = Memory::zeroed(576 + 64 + tiles::TILE_DATA_LEN);
    vcpu.execute(|cpu| cpu.xsavec(area.bytes_mut(), ComponentSet::TILES))
        .expect("XSAVEC");
    let field = |offset: usize| *area.bytes()[offset..].first_chunk().expect("a field");
    (
        u64::from_le_bytes(field(512)),
        u64::from_le_bytes(field(520)),
    )
}

mod permission {
    use super::*;

    #[test]
    fn asked_for_before_the_first_vcpu_it_is_granted() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut permissions = Permissions::new(host.offer());
        let before = permissions.granted(Grantee::Guests);
        assert_eq!(before, XCR0.difference(TILE_DATA));
        let asked = permissions.request(
            host.offer(),
            Grantee::Guests,
            XTILEDATA,
            SignalStacks::none(),
        );
        assert_eq!(asked, Ok(()));
        assert_eq!(permissions.granted(Grantee::Guests), XCR0);
        assert_eq!(permissions.freeze_guests().on_demand(), TILE_DATA);
    }

    /// C12 · peers · Firecracker, Kata, Cloud Hypervisor · the permission was asked for in the wrong order, and errors differ by version
    #[test]
    fn asked_for_after_the_first_vcpu_it_is_refused_with_ebusy() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut permissions = Permissions::new(host.offer());
        let _ = permissions.freeze_guests();
        let stacks = SignalStacks::none();
        let asked = permissions.request(host.offer(), Grantee::Guests, XTILEDATA, stacks);
        assert_eq!(asked.map_err(|error| error.errno()), Err(Errno::Ebusy));
        assert_eq!(permissions.freeze_guests().on_demand(), NOTHING);
    }

    #[test]
    fn granted_before_the_first_vcpu_it_may_be_asked_for_again() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut permissions = Permissions::new(host.offer());
        for _ in 0..2 {
            let stacks = SignalStacks::none();
            let asked = permissions.request(host.offer(), Grantee::Guests, XTILEDATA, stacks);
            assert_eq!(asked, Ok(()));
            let _ = permissions.freeze_guests();
        }
    }

    #[test]
    fn without_it_a_cpuid_with_tiles_is_refused_with_eperm() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let permit = Permissions::new(host.offer()).freeze_guests();
        let offered = GuestFeatures::new(host.offer(), permit, XCR0, NOTHING);
        let refused = offered.map_err(|error| error.errno());
        assert_eq!(refused, Err(Errno::Eperm));
    }

    /// The threads' permission is another one.
    #[test]
    fn that_of_the_threads_is_not_that_of_the_guests() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut permissions = Permissions::new(host.offer());
        let stacks = SignalStacks::none();
        permissions
            .request(host.offer(), Grantee::Threads, XTILEDATA, stacks)
            .unwrap();
        let permit = permissions.freeze_guests();
        let offered = GuestFeatures::new(host.offer(), permit, XCR0, NOTHING);
        assert!(matches!(offered, Err(GuestFeaturesError::NotPermitted(_))));
    }
}

mod cpuid {
    use super::*;

    #[test]
    fn tile_data_is_at_offset_2816_and_8192_bytes_long() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let vcpu = new_vcpu(enumeration);
        let leaf = vcpu.guest.cpuid(0xd, 18, enumeration).unwrap().unwrap();
        assert_eq!((leaf.eax, leaf.ebx), (8192, 2816));
        assert_eq!(leaf.ecx & 4, 4, "IA32_XFD can disable it");
    }

    /// The fields of EAX, EBX and ECX: SDM 2, CPUID leaf 1DH.
    #[test]
    fn palette_1_has_8_tiles_of_1024_bytes_in_16_rows_of_64() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let vcpu = new_vcpu(enumeration);
        let leaf = |subleaf| vcpu.guest.cpuid(0x1d, subleaf, enumeration).unwrap();
        assert_eq!(leaf(0).unwrap().eax, 1, "the highest palette");
        let palette = leaf(1).unwrap();
        assert_eq!(palette.eax, 1024 << 16 | 8192);
        assert_eq!(palette.ebx, 8 << 16 | 64);
        assert_eq!(palette.ecx, 16);
    }

    /// SDM 2, CPUID leaf 1EH: 16 rows, 64 bytes each.
    #[test]
    fn tmul_takes_rows_and_columns_as_the_host_does() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let vcpu = new_vcpu(enumeration);
        let leaf = vcpu.guest.cpuid(0x1e, 0, enumeration).unwrap().unwrap();
        assert_eq!(leaf.ebx, 64 << 8 | 16);
    }

    #[test]
    fn without_permission_there_are_no_tiles_in_it() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let permit = Permissions::new(host.offer()).freeze_guests();
        let offered = XCR0.difference(ComponentSet::TILES);
        let features = GuestFeatures::new(host.offer(), permit, offered, CET).unwrap();
        let vcpu = Vcpu::new(host, features);
        let leaf = |leaf, subleaf| vcpu.guest.cpuid(leaf, subleaf, enumeration).unwrap();
        for (number, subleaf) in [(0xd, 17), (0xd, 18), (0x1d, 0), (0x1d, 1), (0x1e, 0)] {
            let expected = Some(CpuidRegisters::default());
            assert_eq!(leaf(number, subleaf), expected, "{number:#x}.{subleaf}");
        }
        assert_eq!(leaf(0xd, 1).unwrap().eax & 1 << 4, 0, "IA32_XFD");
    }

    #[test]
    fn xcr0_takes_both_tile_bits_and_not_one_of_them() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut vcpu = new_vcpu(enumeration);
        let both = 0x6_0003;
        for (value, taken) in [(0x2_0003, 1), (0x4_0003, 1), (both, both)] {
            let _ = vcpu.guest.xsetbv(0, value);
            assert_eq!(vcpu.guest.xcr0().components().bits(), taken, "{value:#x}");
        }
    }
}

/// What the guest's XCR0 does not enable its instructions do not find.
#[test]
fn a_guest_that_has_not_enabled_tiles_gets_ud() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut vcpu = booted(enumeration);
    vcpu.guest.xsetbv(0, 7).unwrap();
    assert_eq!(vcpu.execute(Processor::xgetbv).unwrap().bits(), 7);
    let refused = vcpu.execute(tiles::configure);
    assert_eq!(refused, Err(Fault::InvalidOpcode));
}

#[test]
fn what_the_guest_writes_to_pkru_is_saved() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let pkru = Pkru::from_bits(0x1234_5678);
    let mut vcpu = booted(enumeration);
    vcpu.execute(|cpu| cpu.wrpkru(pkru)).unwrap();
    assert_eq!(vcpu.save().pkru, pkru);
}

mod first_use {
    use super::*;

    /// Linux loses it: hazard H5.
    #[test]
    fn room_made_between_runs_leaves_all_else_as_it_was() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut vcpu = booted(enumeration);
        write_everything(&mut vcpu, &mut Rng::with_seed(19));
        let before = vcpu.save();
        let expansion = vcpu.guest.expansion(TILE_DATA).unwrap();
        let storage = memory(expansion.layout());
        vcpu.guest.expand(expansion, storage).unwrap();
        let differences = before.differences(&vcpu.save());
        assert!(differences.is_empty(), "{differences:?}");
    }

    #[test]
    fn makes_the_state_grow_and_the_guest_never_learns_of_it() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut vcpu = booted(enumeration);
        let values = TileValues::random(&mut Rng::with_seed(1));
        vcpu.execute(tiles::configure).unwrap();
        assert_eq!(vcpu.expansions, 0, "LDTILECFG needs no tile data");
        assert_eq!(vcpu.execute(|cpu| values.load(cpu)), Ok(()));
        assert_eq!(vcpu.expansions, 1);
        assert_eq!(vcpu.rdmsr_xfd_err(), NOTHING);
        assert_eq!(vcpu.rdmsr_xfd(), NOTHING);
        assert_eq!(stored(&mut vcpu), Ok(values));
    }

    /// Whatever IA32_XFD has for the host's sake.
    #[test]
    fn until_then_the_guest_reads_an_ia32_xfd_of_0() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut vcpu = booted(enumeration);
        vcpu.enter();
        assert_eq!(vcpu.cpu.processor().read_xfd(), Ok(BIT_18));
        let interception = vcpu.thread.guest_xfd_interception(&vcpu.guest);
        assert_eq!(interception, Ok(Interception::Intercepted));
        assert_eq!(vcpu.rdmsr_xfd(), NOTHING);
    }

    #[test]
    fn the_host_finds_tmm0_in_the_image() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(2));
        let saved = with_values(enumeration, &values).save();
        assert!(saved.xstate_bv().contains_all(ComponentSet::TILES));
        let tmm0 = &tile_data(&saved.image)[..1024];
        assert!(tmm0 == &values.bytes()[..1024]);
        assert!(tile_data(&saved.image) == values.bytes());
    }
}

mod image_with_tiles_while_the_guest_disables_them;

mod after_tilerelease {
    use super::*;

    #[test]
    fn xsavec_announces_no_tile_data_whether_it_is_enabled_or_not() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(7));
        for xfd in [NOTHING, BIT_18] {
            let mut vcpu = with_values(enumeration, &values);
            vcpu.execute(|cpu| cpu.tilerelease()).unwrap();
            vcpu.wrmsr_xfd(xfd);
            assert_eq!(xsavec(&mut vcpu), (0, 0x6_0000 | 1 << 63), "{xfd}");
        }
    }

    #[test]
    fn an_image_has_no_tiles() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(8));
        let mut vcpu = with_values(enumeration, &values);
        vcpu.execute(|cpu| cpu.tilerelease()).unwrap();
        assert!(!vcpu.save().xstate_bv().intersects(ComponentSet::TILES));
    }
}

mod with_bit_18_in_the_guests_ia32_xfd;

mod all_steps;

mod every_order_of_loading;

/// L57 · 2022, 2023 · ad856280ddea, 8647c52e9504, 18164f66e6c5 · states of older hosts were refused because the guest was not offered all of their components
/// H9 · Linux 6.12, 7.2 · `KVM_SET_XSAVE` · an image may have components that the guest's CPUID does not
///
/// As `state_test` has it: a vCPU whose VMM has not said yet what it is offered.
#[test]
fn a_vcpu_that_is_offered_nothing_takes_an_image_of_all_that_needs_no_permission() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut random = Rng::with_seed(17);
    let mut source = booted(enumeration);
    write_everything(&mut source, &mut random);
    let saved = source.save();
    let host = host(enumeration);
    let mut vcpu = Vcpu::new(host, GuestFeatures::WITHOUT_XSAVE);
    vcpu.import(&saved.image);
    assert!(vcpu.save().image.bytes() == saved.image.bytes());
}

#[test]
fn a_vcpu_that_is_offered_no_tiles_gets_no_room_for_an_image_with_them() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let vcpu = Vcpu::new(host(enumeration), GuestFeatures::WITHOUT_XSAVE);
    let refused = vcpu.guest.expansion(TILE_DATA).map(|_| ());
    let not_offered = ResizeError::NotOffered {
        found: TILE_DATA,
        offered: NOTHING,
    };
    assert_eq!(refused, Err(not_offered));
}
