//! What goes wrong in Linux 6.12 and 7.2 as far as reading shows, and must not here: registers that
//! are written and lost, IA32_XFD in the wrong order, memory that is never given back, permissions
//! that a child cannot ask for.

use std::cell::RefCell;
use std::rc::Rc;

use conformance::contents::Contents;
use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::on_demand::{
    KIND, TILE_DATA, cpu, guests_components, memory_for, permissions, small_pair,
    threads_components, use_all, use_tiles,
};
use conformance::pair::{Pair, visible};
use fpstate::{
    AreaError, AreaStorage, BoxedArea, DeviceNotAvailable, Fpstate, Grantee, Layout, LifeError,
    Offer, PermissionError, Permissions, Restoring, SignalStacks, StandardImage, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Fault, LegacyRegion, Mxcsr, Processor};

const NOW: Restoring = Restoring::Now;

/// H1 · Linux 6.12, 7.2 · `KVM_SET_FPU`, seen on 6.18.44 · registers are written and XSTATE_BV is not: the next restore ignores them
///
/// `KVM_SET_FPU` of a fresh vCPU: `KVM_GET_FPU` shows the values, the guest never has them.
#[test]
fn a_register_written_to_a_component_in_its_initial_configuration_is_not_lost() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let mut cpu = machine.start(kind.model(), 0).unwrap();
        let mut pair = Pair::new(&machine);
        let written = LegacyRegion {
            fcw: 0x27f,
            mxcsr: Mxcsr::from_bits(0x9fc0),
            xmm: [[0xaa; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        let area = pair.guest.edit().unwrap();
        area.set_legacy(&written, 0xffff).unwrap();
        let read = area.legacy();
        assert_eq!((read.fcw, read.mxcsr), (written.fcw, written.mxcsr));
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, NOW)
            .unwrap();
        let registers = cpu.processor().registers();
        assert_eq!(registers.x87.fcw, 0x27f, "{}", kind.name);
        assert_eq!(registers.sse.mxcsr.bits(), 0x9fc0, "{}", kind.name);
        assert_eq!(registers.sse.xmm, written.xmm, "{}", kind.name);
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, NOW)
            .unwrap();
        let read = pair.guest.edit().unwrap().legacy();
        assert_eq!((read.fcw, read.mxcsr), (written.fcw, written.mxcsr));
    }
}

/// A guest with room for tiles that has used them with its IA32_XFD 0, and what it left.
fn guest_that_used_tiles(machine: &Machine) -> (Pair<'_>, Contents) {
    let mut pair = small_pair(machine);
    let memory = machine.memory();
    let expansion = pair.guest.expansion(TILE_DATA).expect("what is offered");
    pair.guest.expand(expansion, memory).expect("growth");
    let mut cpu = cpu(machine, 7);
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, &mut cpu, NOW).expect("an entry");
    use_all(&mut pair, &mut cpu, guests_components(machine));
    use_tiles(cpu.processor(), 0x5a).expect("tiles");
    let values = visible(&mut cpu, machine);
    assert!(values.not_initial().contains_all(TILE_DATA));
    pair.thread
        .leave_guest(&mut pair.guest, &mut cpu, Restoring::Deferred)
        .expect("leaving");
    (pair, values)
}

/// The guest is entered on a fresh CPU; tiles are initial, because its IA32_XFD disables them.
fn assert_enters_without_tiles(mut pair: Pair<'_>, values: &Contents) {
    let machine = pair.machine;
    let mut cpu = cpu(machine, 0);
    let entered = pair.thread.enter_guest(&mut pair.guest, &mut cpu, NOW);
    assert!(entered.is_ok(), "{entered:?}");
    assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
    let mut expected = values.clone();
    expected.initialise(TILE_DATA);
    let found = visible(&mut cpu, machine);
    assert_eq!(expected.difference(&found), None);
}

/// `KVM_SET_MSRS` of IA32_XFD outside `KVM_RUN`: #NM in the host, at the next entry.
#[test]
fn an_xfd_that_the_vmm_writes_after_the_guest_used_tiles_makes_no_nm_in_the_host() {
    let machine = Machine::offered(&KIND);
    let (mut pair, values) = guest_that_used_tiles(&machine);
    pair.guest.write_xfd(TILE_DATA).unwrap();
    assert_enters_without_tiles(pair, &values);
}

/// What a VMM writes of a vCPU that it resumes.
#[derive(Clone, Copy, Debug)]
enum Written {
    Image,
    Xcr0,
    Xfd,
}

/// H2 · Linux 6.12, 7.2 · `fpu_update_guest_xfd()` outside of `KVM_RUN` · IA32_XFD written between runs disables a component that is live in memory
///
/// The order of QEMU is `KVM_SET_XSAVE`, `KVM_SET_XCRS`, `KVM_SET_MSRS`.
#[test]
fn an_image_with_tiles_and_an_xfd_that_disables_them_make_no_nm_in_any_order() {
    use Written::{Image, Xcr0, Xfd};
    let machine = Machine::offered(&KIND);
    let user = machine.user_components();
    let pkru = ComponentSet::only(Component::Pkru);
    for order in [[Image, Xcr0, Xfd], [Xfd, Xcr0, Image], [Image, Xfd, Xcr0]] {
        let (mut pair, _) = guest_that_used_tiles(&machine);
        pair.guest.reset().unwrap();
        let values = pair.new_values_for(user);
        let memory = standard_image(&machine.enumeration, &values, user);
        let layout = Layout::standard(&machine.enumeration, user).unwrap();
        let image = StandardImage::parse(memory.bytes(), layout, 0xffff).unwrap();
        for written in order {
            match written {
                Image => pair.guest.import(&image, pkru).unwrap(),
                Xcr0 => pair.guest.write_xcr0(user.union(pkru)).unwrap(),
                Xfd => pair.guest.write_xfd(TILE_DATA).unwrap(),
            }
        }
        assert_enters_without_tiles(pair, &values);
    }
}

/// L65 · 2026 · b45f72177594, CVE-2026-23005 · a component was live in memory and disabled by IA32_XFD: #NM in the host's restore
/// C15 · peers · Linux (CVE-2026-23005) · XSTATE_BV and IA32_XFD have the same bit: #NM in the host
///
/// CVE-2026-23005: an interrupt saves the guest between its WRMSR of IA32_XFD and the emulation.
#[test]
fn an_xfd_that_a_preempted_guest_writes_makes_no_nm_in_the_host() {
    let machine = Machine::offered(&KIND);
    let (mut pair, values) = guest_that_used_tiles(&machine);
    let mut cpu = cpu(&machine, 0);
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    thread.write_guest_xfd(guest, &mut cpu, TILE_DATA).unwrap();
    cpu.registers_taken().unwrap();
    let restored = thread.restore_before_use(&mut cpu);
    assert!(restored.is_ok(), "{restored:?}");
    let mut expected = values;
    expected.initialise(TILE_DATA);
    assert_eq!(expected.difference(&visible(&mut cpu, &machine)), None);
}

/// Memory that notes where it ends.
struct Lent {
    area: BoxedArea,
    number: usize,
    dropped: Rc<RefCell<Vec<usize>>>,
}

impl AreaStorage for Lent {
    fn bytes(&self) -> &[u8] {
        self.area.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.area.bytes_mut()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.number);
    }
}

/// H3 · Linux 6.12, 7.2 · `fpstate_reset()` · exec loses the memory of a state that had grown
///
/// `fpstate_reset()` at exec overwrites the pointer to what `vzalloc()` gave.
#[test]
fn every_area_lent_to_a_thread_that_grows_executes_and_ends_is_given_back_once() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let permissions = permissions(&offer);
    let (small, dropped) = (threads_components(&machine), Rc::default());
    let lent = |number, components| Lent {
        area: memory_for(&machine, components),
        number,
        dropped: Rc::clone(&dropped),
    };
    let layout = machine.layout(small);
    let own = Fpstate::new(layout, lent(0, small), machine.identities());
    let mut thread = ThreadFpu::new(own.map_err(|refused| refused.error).unwrap());
    let mut cpu = cpu(&machine, 0);
    thread.restore_before_use(&mut cpu).unwrap();

    let used = use_tiles(cpu.processor(), 1);
    assert_eq!(used, Err(Fault::DeviceNotAvailable));
    let needed = thread.device_not_available(&mut cpu, &permissions).unwrap();
    let DeviceNotAvailable::Expand(expansion) = needed else {
        panic!("no expansion");
    };
    let large = lent(1, small.union(TILE_DATA));
    let former = thread.expand(expansion, &mut cpu, large);
    let first = former.map_err(|(error, _)| error).unwrap();
    use_tiles(cpu.processor(), 1).unwrap();

    let grown = LifeError::Grown {
        components: TILE_DATA,
    };
    assert_eq!(thread.exec(&mut cpu), Err(grown));
    assert!(thread.is_in_registers_of(&cpu));
    let short = lent(2, ComponentSet::LEGACY);
    let (error, short) = thread
        .exec_and_release(&mut cpu, short)
        .map(drop)
        .unwrap_err();
    let is_short = matches!(error, LifeError::Area(AreaError::TooShort { .. }));
    assert!(is_short, "{error}");
    assert!(thread.is_in_registers_of(&cpu));

    let former = thread.exec_and_release(&mut cpu, lent(3, small));
    let second = former.map_err(|(error, _)| error).unwrap();
    thread.restore_before_use(&mut cpu).unwrap();
    let found = visible(&mut cpu, &machine);
    assert_eq!(machine.initial_contents().difference(&found), None);
    let used = use_tiles(cpu.processor(), 1);
    assert_eq!(
        used,
        Err(Fault::DeviceNotAvailable),
        "nothing is permitted now"
    );
    let third = thread.exit(&mut cpu).map_err(|(error, _)| error).unwrap();

    assert_eq!(*dropped.borrow(), [], "areas that the library dropped");
    let back = [first, second, short, third].map(|lent| lent.number);
    assert_eq!(back, [0, 1, 2, 3]);
}

/// H6 · Linux 6.12, 7.2 · `fpu_inherit_perms()` · a child inherits that requests for guests have ended
///
/// `FPU_GUEST_PERM_LOCKED` is copied by fork.
#[test]
fn a_child_of_a_vmm_can_ask_for_its_guests() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let mut vmm = Permissions::new(&offer);
    let _ = vmm.freeze_guests();
    let asked = vmm.request(&offer, Grantee::Guests, 18, SignalStacks::none());
    assert_eq!(asked, Err(PermissionError::GuestsFrozen));
    let mut child = vmm.fork();
    let asked = child.request(&offer, Grantee::Guests, 18, SignalStacks::none());
    assert_eq!(asked, Ok(()));
    assert_eq!(child.freeze_guests().on_demand(), TILE_DATA);
    let asked = vmm.request(&offer, Grantee::Guests, 18, SignalStacks::none());
    assert_eq!(asked, Err(PermissionError::GuestsFrozen));
}
