//! Images from elsewhere: what is accepted, and what a state is after it.

use conformance::contents::Contents;
use conformance::cpus::{self, RecordedCpu};
use conformance::images::{set_header, set_legacy, standard_image};
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::pair::{Pair, in_memory, observed, visible};
use conformance::user_code::UserCode;
use fastrand::Rng;
use fpstate::{
    GuestStateError, ImageError, ImportError, Layout, MxcsrError, Residence, StandardImage,
};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{
    Component, ComponentSet, Enumeration, Format, LegacyRegion, Mxcsr, Processor, XsaveHeader,
};

const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
const MXCSR_MASK: u32 = 0xffff;

fn parse<'b>(
    enumeration: &'b Enumeration,
    components: ComponentSet,
    bytes: &'b [u8],
) -> Result<StandardImage<'b>, ImageError> {
    let layout = Layout::standard(enumeration, components).expect("a layout");
    StandardImage::parse(bytes, layout, MXCSR_MASK)
}

/// An image with values everywhere, live or not, and a random XSTATE_BV.
fn random_image(pair: &mut Pair<'_>, random: &mut Rng) -> Memory {
    let machine = pair.machine;
    let user = machine.user_components();
    let mut image = standard_image(&machine.enumeration, &pair.new_values(), user);
    let xstate_bv = ComponentSet::from_bits(random.u64(..)).intersection(user);
    set_header(&mut image, &XsaveHeader::standard(xstate_bv));
    image
}

/// What XRSTOR of the image itself would put into the registers.
fn as_xrstor_loads_it(kind: &RecordedCpu, machine: &Machine, image: &Memory) -> Contents {
    let mut processor = machine.reader(kind.model());
    let loaded = processor.xrstor(image.bytes(), machine.components());
    assert_eq!(loaded, Ok(()));
    processor.contents(machine.components())
}

/// The model executes XRSTOR from the standard-format image, and the library's import goes through
/// the area's own format, standard or compacted.
#[test]
fn an_imported_image_is_restored_as_xrstor_would_load_it() {
    let mut random = Rng::with_seed(2);
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let mut pair = Pair::new(&machine);
        for _ in 0..50 {
            let memory = random_image(&mut pair, &mut random);
            let user = machine.user_components();
            let image = parse(&machine.enumeration, user, memory.bytes()).unwrap();
            let mut state = pair.new_state();
            state.import(&image, ComponentSet::EMPTY).unwrap();
            let expected = as_xrstor_loads_it(kind, &machine, &memory);
            let found = in_memory(kind, &machine, &state);
            assert_eq!(expected.difference(&found), None, "{}", kind.name);
        }
    }
}

#[test]
fn nothing_of_the_user_components_before_survives_an_import() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let mut expected = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        let memory = standard_image(&machine.enumeration, &initial, ComponentSet::EMPTY);
        let user = machine.user_components();
        let image = parse(&machine.enumeration, user, memory.bytes()).unwrap();
        // No image has a supervisor component: those stay (invariant I35).
        expected.take_all_of(user, &initial);
        let area = pair.thread.edit_own().unwrap();
        area.import(&image, ComponentSet::EMPTY).unwrap();
        // The registers still hold the old values, as a copy that is void.
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(
            expected.difference(&visible(&mut cpu, &machine)),
            None,
            "{}",
            kind.name
        );
    }
}

#[test]
fn an_mxcsr_of_its_own_is_kept_even_where_nothing_is_live() {
    let flush_to_zero = Mxcsr::from_bits(0x9f80);
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let pair = Pair::new(&machine);
        let foreign = cpus::GENOA.enumeration();
        let mut values = Contents::initial(&foreign, ComponentSet::LEGACY);
        values.set_mxcsr(flush_to_zero);
        let memory = standard_image(&foreign, &values, ComponentSet::EMPTY);
        let mut state = pair.new_state();
        let image = parse(&foreign, foreign.user_components(), memory.bytes()).unwrap();
        state.import(&image, PKRU).unwrap();
        let mut expected = machine.initial_contents();
        expected.set_mxcsr(flush_to_zero);
        let found = in_memory(kind, &machine, &state);
        assert_eq!(expected.difference(&found), None, "{}", kind.name);
    }
}

/// C7 · peers · Asterinas, QEMU's TCG · MXCSR of an image was not checked before the restore
///
/// Whatever is accepted must not fault when it is restored (invariant I12); what XRSTOR would
/// refuse must be refused.
#[test]
fn no_image_is_accepted_that_xrstor_would_refuse() {
    let mut random = Rng::with_seed(3);
    let (mut accepted, mut refused) = (0, 0);
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let mut pair = Pair::new(&machine);
        for _ in 0..100 {
            let mut memory = random_image(&mut pair, &mut random);
            let damaged = match random.u8(0..8) {
                0 | 1 => 512 + random.usize(0..64),
                2 => 24 + random.usize(0..4),
                _ => random.usize(0..512),
            };
            memory.bytes_mut()[damaged] ^= 1 << random.u8(0..8);
            let user = machine.enumeration.user_components();
            let parsed = parse(&machine.enumeration, user, memory.bytes());
            let mut processor = machine.reader(kind.model());
            let loaded = processor.xrstor(memory.bytes(), user);
            match (parsed, loaded) {
                (Ok(image), Ok(())) => {
                    let mut state = pair.new_state();
                    state.import(&image, PKRU).unwrap();
                    let _ = in_memory(kind, &machine, &state);
                    accepted += 1;
                }
                (Err(_), _) => refused += 1,
                (Ok(_), Err(fault)) => panic!("byte {damaged}, {}: {fault}", kind.name),
            }
        }
    }
    assert!(
        accepted > 50 && refused > 50,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn each_rule_that_an_image_breaks_is_named_with_its_figures() {
    let machine = Machine::ring0(&cpus::GENOA);
    let mut pair = Pair::new(&machine);
    let enumeration = &machine.enumeration;
    let user = machine.user_components();
    let good = standard_image(enumeration, &pair.new_values(), user);
    let header = XsaveHeader::standard(user);
    let refused = |change: &dyn Fn(&mut Memory)| {
        let mut memory = Memory::holding(good.bytes());
        change(&mut memory);
        parse(enumeration, user, memory.bytes()).unwrap_err()
    };
    let xcomp_bv = XsaveHeader {
        xcomp_bv: 2,
        ..header
    };
    assert_eq!(
        refused(&|m| set_header(m, &xcomp_bv)),
        ImageError::XcompBv { found: 2 }
    );
    let reserved = ImageError::ReservedHeaderByte {
        offset: 540,
        value: 9,
    };
    assert_eq!(refused(&|m| m.bytes_mut()[540] = 9), reserved);
    let (found, allowed) = (user.union(PKRU), user);
    let outside = XsaveHeader::standard(found);
    let not_allowed = ImageError::ComponentsNotAllowed { found, allowed };
    assert_eq!(refused(&|m| set_header(m, &outside)), not_allowed);
    let mxcsr = LegacyRegion {
        mxcsr: Mxcsr::from_bits(0x1_1f80),
        ..LegacyRegion::INITIAL
    };
    let mask = MXCSR_MASK;
    assert_eq!(
        refused(&|m| set_legacy(m, &mxcsr)),
        ImageError::Mxcsr(MxcsrError {
            found: 0x1_1f80,
            mask
        })
    );
}

/// C11 · peers · libkrun, `OpenVMM`, Cloud Hypervisor · an image shorter than the state was read beyond its end
#[test]
fn an_image_shorter_than_its_layout_is_refused_and_a_longer_one_is_not() {
    let machine = Machine::ring0(&cpus::GENOA);
    let mut pair = Pair::new(&machine);
    let (enumeration, user) = (&machine.enumeration, machine.user_components());
    let memory = standard_image(enumeration, &pair.new_values(), user);
    let needed = Layout::standard(enumeration, user).unwrap().area_len();
    for found in [0, 511, 512, 575, 576, needed - 1] {
        let error = parse(enumeration, user, &memory.bytes()[..found]).unwrap_err();
        assert_eq!(error, ImageError::TooShort { found, needed });
    }
    assert!(parse(enumeration, user, &memory.bytes()[..needed]).is_ok());
    assert!(parse(enumeration, user, memory.bytes()).is_ok());
}

/// Also C6.
#[test]
fn an_image_cannot_be_read_by_a_layout_of_another_format() {
    let machine = Machine::ring0(&cpus::GENOA);
    let layout = machine.layout(machine.components());
    let format = Format::Compacted;
    let error = StandardImage::parse(&[0; 4096], layout, MXCSR_MASK).unwrap_err();
    assert_eq!(error, ImageError::NotStandard { format });
}

/// The CPU of `kind`, but its AVX component is 8 bytes longer.
fn with_longer_avx(kind: &RecordedCpu) -> Enumeration {
    let mut leaves = kind.leaves();
    for (leaf, subleaf, registers) in &mut leaves {
        if (*leaf, *subleaf) == (0xd, 2) {
            registers.eax += 8;
        } else if (*leaf, *subleaf) == (0xd, 0) {
            registers.ecx += 8;
        }
    }
    Enumeration::read(RecordedLeaves(&leaves))
}

/// L11 · 2021 · 484cea4f362e, CVE-2021-47227 · a refused image had overwritten the header in memory, and the next restore faulted
/// H12 · Linux 6.12, 7.2 · `copy_uabi_to_xstate()` · a copy from user memory that faults half-way leaves half of an image
#[test]
fn an_import_that_is_refused_changes_no_byte() {
    let machine = Machine::ring0(&cpus::GENOA);
    let (mut cpu, mut pair) = (observed(&cpus::GENOA, &machine, 0), Pair::new(&machine));
    pair.run_guest(&mut cpu);
    let before = pair.guest.area().unwrap().to_vec();
    let avx = ComponentSet::from_bits(7);
    let longer = with_longer_avx(&cpus::HASWELL);
    let values = Contents::initial(&longer, avx);
    let memory = standard_image(&longer, &values, avx);
    let image = parse(&longer, avx, memory.bytes()).unwrap();
    let component = Component::Avx;
    let (found, needed) = (264, 256);
    let length = ImportError::Length {
        component,
        found,
        needed,
    };
    let refused = Err(GuestStateError::Import(length));
    assert_eq!(pair.guest.import(&image, PKRU), refused);
    assert_eq!(pair.guest.area().unwrap(), before);
    assert_eq!(
        pair.guest.fpstate().unwrap().residence(),
        Residence::MemoryAndRegisters(cpu.id())
    );
    let mut small = pair.new_state_for(ComponentSet::LEGACY);
    let no_room = ImportError::NoRoom {
        found: avx,
        room: ComponentSet::LEGACY,
    };
    let before = small.in_memory().unwrap().bytes().to_vec();
    assert_eq!(small.import(&image, PKRU), Err(no_room));
    assert_eq!(small.in_memory().unwrap().bytes(), before);
}

/// C19 · peers · chef-bcpc, KVM's own rule, Bochs fe1597f20 · PKRU of an image was taken where it should be kept, or kept where it is 0
#[test]
fn pkru_in_an_image_is_for_the_caller_and_never_for_the_area() {
    let kind = &cpus::GENOA;
    let machine = Machine::ring0(kind);
    let pair = Pair::new(&machine);
    let enumeration = &machine.enumeration;
    let with_pkru = machine.user_components().union(PKRU);
    let mut values = Contents::initial(enumeration, with_pkru);
    values.write_all(with_pkru, &mut Rng::with_seed(4), machine.error_pointers);
    let memory = standard_image(enumeration, &values, with_pkru);
    let image = parse(enumeration, with_pkru, memory.bytes()).unwrap();
    assert_eq!(
        image.extended(Component::Pkru),
        values.extended(Component::Pkru)
    );
    let mut state = pair.new_state();
    let room = state.components();
    let no_room = ImportError::NoRoom {
        found: with_pkru,
        room,
    };
    assert_eq!(state.import(&image, ComponentSet::EMPTY), Err(no_room));
    state.import(&image, PKRU).unwrap();
    assert!(!state.in_memory().unwrap().xstate_bv().intersects(PKRU));
}

#[test]
fn what_is_read_of_an_area_is_what_a_restore_would_load() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        // The area has values; now x87 and SSE become initial, and the next save may leave stale
        // bytes where they were.
        pair.thread.restore_before_use(&mut cpu).unwrap();
        cpu.processor().initialise(ComponentSet::LEGACY);
        cpu.processor().ldmxcsr(Mxcsr::INITIAL).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let read = pair.thread.own().in_memory().unwrap().legacy();
        let read = Contents::from_parts(&read, []);
        let loaded = in_memory(kind, &machine, pair.thread.own());
        assert_eq!(read.legacy(), loaded.legacy(), "{}", kind.name);
    }
}
