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

mod image_with_tiles_while_the_guest_disables_them {
    use super::*;

    /// Of a vCPU whose guest has `values` in its tiles, and whose IA32_XFD is 0.
    fn image(enumeration: &Enumeration, values: &TileValues) -> Memory {
        let saved = with_values(enumeration, values).save();
        assert!(saved.xstate_bv().contains_all(TILE_DATA));
        saved.image
    }

    /// Each leaves the vCPU with tile data in an image, and IA32_XFD\[18\] = 1.
    type Write = fn(&mut Vcpu<'_>, &Memory);
    const ORDERS: [(&str, Write); 3] = [
        // The selftest's, CVE-2026-23005.
        ("WRMSR, image", |vcpu, image| {
            vcpu.wrmsr_xfd(BIT_18);
            vcpu.leave();
            vcpu.import(image);
        }),
        ("image, IA32_XFD", |vcpu, image| {
            vcpu.import(image);
            vcpu.guest.write_xfd(BIT_18).expect("IA32_XFD");
        }),
        ("IA32_XFD, image", |vcpu, image| {
            vcpu.guest.write_xfd(BIT_18).expect("IA32_XFD");
            vcpu.import(image);
        }),
    ];

    /// `Vcpu::execute` panics for a fault of the host.
    #[test]
    fn runs_without_a_fault_of_the_host() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(3));
        for (order, write) in ORDERS {
            for mut vcpu in [booted(enumeration), with_values(enumeration, &values)] {
                vcpu.leave();
                write(&mut vcpu, &image(enumeration, &values));
                assert_eq!(vcpu.execute(|cpu| cpu.tilerelease()), Ok(()), "{order}");
                assert_eq!(vcpu.rdmsr_xfd(), BIT_18, "{order}");
            }
        }
    }

    /// As `XRSTOR` of a kernel that dropped the bit would leave them.
    #[test]
    fn leaves_the_guest_tiles_in_their_initial_configuration() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut random = Rng::with_seed(4);
        let [older, values] = [(); 2].map(|()| TileValues::random(&mut random));
        for (order, write) in ORDERS {
            for mut vcpu in [booted(enumeration), with_values(enumeration, &older)] {
                vcpu.leave();
                write(&mut vcpu, &image(enumeration, &values));
                vcpu.enter();
                vcpu.wrmsr_xfd(NOTHING);
                assert_eq!(stored(&mut vcpu), Ok(TileValues::zero()), "{order}");
            }
        }
    }

    #[test]
    fn and_enabled_before_the_guest_runs_they_are_those_of_the_image() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(5));
        for (order, write) in ORDERS {
            let mut vcpu = booted(enumeration);
            write(&mut vcpu, &image(enumeration, &values));
            vcpu.guest.write_xfd(NOTHING).unwrap();
            assert_eq!(stored(&mut vcpu), Ok(values.clone()), "{order}");
        }
    }

    #[test]
    fn and_enabled_by_the_vmm_after_the_guest_has_run_they_are_lost() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(18));
        for (order, write) in ORDERS {
            let mut vcpu = booted(enumeration);
            write(&mut vcpu, &image(enumeration, &values));
            vcpu.execute(|_| Ok(())).unwrap();
            vcpu.leave();
            vcpu.guest.write_xfd(NOTHING).unwrap();
            assert_eq!(stored(&mut vcpu), Ok(TileValues::zero()), "{order}");
        }
    }

    #[test]
    fn goes_on_to_another_vcpu() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(6));
        for (order, write) in ORDERS {
            let mut vcpu = booted(enumeration);
            write(&mut vcpu, &image(enumeration, &values));
            let saved = vcpu.save();
            assert!(!saved.xstate_bv().intersects(TILE_DATA), "{order}");
            let mut next = new_vcpu(enumeration);
            next.load(&saved, Item::ALL).unwrap();
            assert_eq!(next.execute(|cpu| cpu.tilerelease()), Ok(()), "{order}");
            assert_eq!(next.rdmsr_xfd(), BIT_18, "{order}");
        }
    }
}

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

mod with_bit_18_in_the_guests_ia32_xfd {
    use super::*;

    /// A guest that has just raised #NM, and the values it wanted to load.
    fn raised(enumeration: &Enumeration) -> (Vcpu<'_>, TileValues) {
        let mut random = Rng::with_seed(9);
        let mut vcpu = with_values(enumeration, &TileValues::random(&mut random));
        vcpu.execute(|cpu| cpu.tilerelease()).expect("TILERELEASE");
        vcpu.wrmsr_xfd(BIT_18);
        let values = TileValues::random(&mut random);
        let refused = vcpu.execute(|cpu| values.load(cpu));
        assert_eq!(refused, Err(Fault::DeviceNotAvailable));
        (vcpu, values)
    }

    #[test]
    fn tileloadd_raises_nm_in_the_guest_with_ia32_xfd_err() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let (mut vcpu, _) = raised(enumeration);
        assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
        assert_eq!(vcpu.rdmsr_xfd(), BIT_18);
        assert_eq!(vcpu.expansions, 1, "no more than the first use's");
    }

    /// The state has no room, but it is the guest that wants no tile data.
    #[test]
    fn the_nm_is_the_guests_even_where_the_host_has_no_room() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut vcpu = booted(enumeration);
        vcpu.wrmsr_xfd(BIT_18);
        let values = TileValues::random(&mut Rng::with_seed(10));
        let refused = vcpu.execute(|cpu| values.load(cpu));
        assert_eq!(refused, Err(Fault::DeviceNotAvailable));
        assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
        assert_eq!(vcpu.expansions, 0);
    }

    /// The VMM may intercept WRMSR of IA32_XFD for longer than it has to.
    #[test]
    fn an_intercepted_wrmsr_counts_at_once() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let values = TileValues::random(&mut Rng::with_seed(20));
        let mut vcpu = with_values(enumeration, &values);
        let Vcpu {
            thread, guest, cpu, ..
        } = &mut vcpu;
        thread.write_guest_xfd(guest, cpu, BIT_18).unwrap();
        assert_eq!(cpu.processor().read_xfd(), Ok(BIT_18));
        assert_eq!(stored(&mut vcpu), Err(Fault::DeviceNotAvailable));
        assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
    }

    #[test]
    fn both_registers_are_preserved_over_a_save_and_a_load() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let (mut vcpu, _) = raised(enumeration);
        let saved = vcpu.save();
        assert_eq!((saved.xfd, saved.xfd_err), (BIT_18, BIT_18));
        let mut next = new_vcpu(enumeration);
        next.load(&saved, Item::ALL).unwrap();
        assert_eq!(next.rdmsr_xfd_err(), BIT_18);
        assert_eq!(next.rdmsr_xfd(), BIT_18);
    }

    /// `amx_test` compares what it saved many steps earlier; this is what is there now.
    #[test]
    fn once_both_are_cleared_the_load_succeeds_and_its_values_are_there() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let (mut vcpu, values) = raised(enumeration);
        vcpu.guest.write_xfd_err(NOTHING).unwrap();
        vcpu.wrmsr_xfd(NOTHING);
        assert_eq!(vcpu.execute(|cpu| values.load(cpu)), Ok(()));
        assert_eq!(vcpu.rdmsr_xfd_err(), NOTHING);
        let saved = vcpu.save();
        assert!(tile_data(&saved.image) == values.bytes());
        assert_eq!(stored(&mut vcpu), Ok(values));
    }
}

/// The selftest from its first to its last step.
mod all_steps {
    use super::*;

    /// What each of the selftest's synchronisations is.
    enum Sync<'e> {
        Stay,
        /// Another vCPU on another machine, to which everything is written in this order.
        Move(fn(&'e Enumeration) -> Vcpu<'e>, [Item; 5]),
    }

    /// A run of the selftest.
    struct Run<'e> {
        enumeration: &'e Enumeration,
        vcpu: Vcpu<'e>,
        sync: Sync<'e>,
    }

    impl<'e> Run<'e> {
        fn new(enumeration: &'e Enumeration, sync: Sync<'e>) -> Self {
            let vcpu = new_vcpu(enumeration);
            Self {
                enumeration,
                vcpu,
                sync,
            }
        }

        fn sync(&mut self) {
            let Sync::Move(target, order) = self.sync else {
                return;
            };
            let saved = self.vcpu.save();
            self.vcpu = target(self.enumeration);
            self.vcpu.load(&saved, order).expect("nothing to refuse");
            let differences = saved.differences(&self.vcpu.save());
            assert!(differences.is_empty(), "{differences:?}, {order:?}");
        }

        fn all(&mut self) {
            let mut random = Rng::with_seed(11);
            let earlier = self.first_use(&TileValues::random(&mut random));
            self.restored_while_disabled(&earlier);
            self.released();
            self.device_not_available(&TileValues::random(&mut random));
        }

        fn first_use(&mut self, values: &TileValues) -> Saved {
            self.vcpu.guest.write_xcr0(XCR0).expect("XCR0");
            self.vcpu.guest.write_xss(CET).expect("IA32_XSS");
            self.sync();
            self.vcpu.wrmsr_xfd(NOTHING);
            self.sync();
            self.vcpu.execute(tiles::configure).expect("LDTILECFG");
            self.sync();
            let loaded = self
                .vcpu
                .execute(|cpu| cpu.tileloadd(0, values.bytes(), 64));
            assert_eq!(loaded, Ok(()));
            self.sync();
            let saved = self.vcpu.save();
            assert!(tile_data(&saved.image)[..1024] == values.bytes()[..1024]);
            saved
        }

        fn restored_while_disabled(&mut self, earlier: &Saved) {
            self.vcpu.wrmsr_xfd(BIT_18);
            self.vcpu.leave();
            self.vcpu.import(&earlier.image);
            assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
            self.sync();
            assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
        }

        fn released(&mut self) {
            self.vcpu.wrmsr_xfd(NOTHING);
            self.vcpu
                .execute(|cpu| cpu.tilerelease())
                .expect("TILERELEASE");
            self.sync();
            for xfd in [NOTHING, BIT_18] {
                self.vcpu.wrmsr_xfd(xfd);
                assert_eq!(xsavec(&mut self.vcpu), (0, 0x6_0000 | 1 << 63));
                self.sync();
                assert_eq!(xsavec(&mut self.vcpu), (0, 0x6_0000 | 1 << 63));
            }
        }

        fn device_not_available(&mut self, values: &TileValues) {
            self.vcpu.execute(tiles::configure).expect("LDTILECFG");
            self.sync();
            let load = |cpu: &mut ModelCpu| cpu.tileloadd(0, values.bytes(), 64);
            let refused = self.vcpu.execute(load);
            assert_eq!(refused, Err(Fault::DeviceNotAvailable));
            for _ in 0..2 {
                assert_eq!(self.vcpu.rdmsr_xfd_err(), BIT_18);
                assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
                self.sync();
            }
            self.vcpu
                .guest
                .write_xfd_err(NOTHING)
                .expect("IA32_XFD_ERR");
            self.sync();
            assert_eq!(self.vcpu.rdmsr_xfd_err(), NOTHING);
            self.vcpu.wrmsr_xfd(NOTHING);
            self.sync();
            assert_eq!(self.vcpu.execute(load), Ok(()));
            self.sync();
            let now = self.vcpu.save();
            assert!(tile_data(&now.image)[..1024] == values.bytes()[..1024]);
            let found = stored(&mut self.vcpu).expect("the tiles");
            assert!(found.bytes()[..1024] == values.bytes()[..1024]);
        }
    }

    fn used_before(enumeration: &Enumeration) -> Vcpu<'_> {
        used(enumeration, &mut Rng::with_seed(12))
    }

    #[test]
    fn on_one_vcpu() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        Run::new(enumeration, Sync::Stay).all();
    }

    #[test]
    fn on_a_new_vcpu_after_each_in_every_order_of_loading() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        for order in Item::orders() {
            Run::new(enumeration, Sync::Move(new_vcpu, order)).all();
        }
    }

    #[test]
    fn on_a_vcpu_that_was_used_after_each_in_every_order_of_loading() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        for order in Item::orders() {
            Run::new(enumeration, Sync::Move(used_before, order)).all();
        }
    }
}

/// Invariants I36 and I44.
mod every_order_of_loading {
    use super::*;

    /// Where a vCPU is loaded to: one after RESET, one with values and IA32_XFD\[18\] = 1, and one with
    /// values and IA32_XFD = 0.
    fn targets<'e>(enumeration: &'e Enumeration, random: &mut Rng) -> [Vcpu<'e>; 3] {
        let mut enabled = used(enumeration, random);
        enabled.guest.write_xfd(NOTHING).expect("IA32_XFD");
        [new_vcpu(enumeration), used(enumeration, random), enabled]
    }

    /// `saved` and what follows from it, in every order.
    fn arrives(enumeration: &Enumeration, saved: &Saved, expected: &Saved, tiles: &TileValues) {
        let mut random = Rng::with_seed(13);
        for order in Item::orders() {
            for mut vcpu in targets(enumeration, &mut random) {
                vcpu.load(saved, order).expect("nothing to refuse");
                let differences = expected.differences(&vcpu.save());
                assert!(differences.is_empty(), "{differences:?}, {order:?}");
                vcpu.enter();
                assert_eq!(vcpu.rdmsr_xfd(), saved.xfd, "{order:?}");
                assert_eq!(vcpu.rdmsr_xfd_err(), saved.xfd_err, "{order:?}");
                let differences = expected.differences(&vcpu.save());
                assert!(differences.is_empty(), "{differences:?}, {order:?}");
                vcpu.enter();
                vcpu.wrmsr_xfd(NOTHING);
                let found = stored(&mut vcpu);
                assert_eq!(found.as_ref(), Ok(tiles), "{order:?}");
            }
        }
    }

    #[test]
    fn gives_a_vcpu_with_values_everywhere() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut random = Rng::with_seed(14);
        let values = TileValues::random(&mut random);
        let mut vcpu = with_values(enumeration, &values);
        write_everything(&mut vcpu, &mut random);
        let saved = vcpu.save();
        assert_eq!(saved.xstate_bv(), XCR0.without(Component::Pkru));
        arrives(enumeration, &saved, &saved, &values);
    }

    #[test]
    fn gives_a_vcpu_whose_guest_disables_tile_data() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let saved = used(enumeration, &mut Rng::with_seed(15)).save();
        assert_eq!((saved.xfd, saved.xfd_err), (BIT_18, BIT_18));
        arrives(enumeration, &saved, &saved, &TileValues::zero());
    }

    /// Which no vCPU that was saved has, but a VMM may write it (hazard H2).
    #[test]
    fn gives_a_vcpu_with_disabled_tile_data_without_it() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let mut random = Rng::with_seed(16);
        let mut vcpu = with_values(enumeration, &TileValues::random(&mut random));
        write_everything(&mut vcpu, &mut random);
        let mut expected = vcpu.save();
        let mut saved = vcpu.save();
        (saved.xfd, expected.xfd) = (BIT_18, BIT_18);
        let left = expected.xstate_bv().difference(TILE_DATA);
        expected.image.bytes_mut()[512..520].copy_from_slice(&left.bits().to_le_bytes());
        expected.image.bytes_mut()[TILE_DATA_OFFSET..].fill(0);
        arrives(enumeration, &saved, &expected, &TileValues::zero());
    }
}

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
