//! A host that calls a function to run a guest: what is saved of it, and what it finds again.

use std::rc::Rc;

use conformance::cpus;
use conformance::faulting::Victim;
use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::moving::{MoveCounts, Moving};
use conformance::pair::{Observed, Pair, observed, visible, write};
use conformance::user_code::UserCode;
use fpstate::switch::RegisterContent;
use fpstate::{CallerSaved, CpuFpu, RegisterMoves, Residence, Restore, Restoring, Save, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Instruction, LegacyRegion, Mxcsr, Xcr0, Xss};
use fpstate_model::Profile;

const NOW: Restoring = Restoring::Now;
const LATER: Restoring = Restoring::Deferred;

/// Round up, flush to zero.
const MXCSR: u32 = 0xdf80;
/// What exceptions left there.
const FLAGS: u32 = 0x21;
/// Double precision, round down.
const FCW: u16 = 0x067f;

/// A machine of `kind` whose threads have no component but those that the calling convention speaks of.
fn machine(kind: &cpus::RecordedCpu) -> Machine {
    let enumeration = kind.enumeration();
    let user = enumeration.user_components().difference(ComponentSet::MPX);
    let xcr0 = if enumeration.has(Instruction::Xsave) {
        Xcr0::new(user, user).expect("a legal XCR0")
    } else {
        Xcr0::AFTER_RESET
    };
    Machine::ring0_with(kind, xcr0, Xss::AFTER_RESET)
}

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = machine(kind);
        test(
            kind,
            &machine,
            observed(kind, &machine, 0),
            Pair::new(&machine),
        );
    }
}

fn restore_of(machine: &Machine, cpu: &CpuFpu<Observed>) -> Executed {
    Executed::Restore(machine.instructions().restore(), cpu.switched_components())
}

/// The host's registers: `fcw` and `mxcsr`, and something in all others that a call does not preserve.
fn host_computes(
    pair: &mut Pair<'_>,
    cpu: &mut CpuFpu<Observed>,
    machine: &Machine,
    (fcw, mxcsr): (u16, u32),
) {
    pair.use_registers(cpu).expect("the host's registers");
    let used = machine.components().difference(ComponentSet::TILES);
    let mut values = pair.new_values_for(used);
    let legacy = LegacyRegion {
        fcw,
        mxcsr: Mxcsr::from_bits(mxcsr),
        ..*values.legacy()
    };
    values = conformance::contents::Contents::from_parts(
        &legacy,
        used.iter()
            .filter_map(|c| Some((c, values.extended(c)?.to_vec()))),
    );
    write(cpu, &values);
    cpu.processor().take_trace();
}

#[test]
fn the_control_words_and_nothing_else_come_back() {
    for (fcw, mxcsr) in [
        (0x037f, 0x1f80),
        (FCW, MXCSR),
        (FCW, 0x1f80),
        (0x037f, MXCSR),
    ] {
        on_every_cpu(|kind, machine, mut cpu, mut pair| {
            host_computes(&mut pair, &mut cpu, machine, (fcw, mxcsr | FLAGS));
            let Pair { thread, guest, .. } = &mut pair;
            let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
            assert_eq!(entered.unwrap().save, Save::ControlWords, "{}", kind.name);
            let guests = pair.new_values();
            write(&mut cpu, &guests);
            let Pair { thread, guest, .. } = &mut pair;
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
            let found = visible(&mut cpu, machine);
            let legacy = found.legacy();
            assert_eq!(
                (legacy.fcw, legacy.mxcsr.bits()),
                (fcw, mxcsr),
                "{}: the flags are nobody's",
                kind.name
            );
            let mut expected = machine.initial_contents();
            expected.take_legacy(&found);
            let initial = LegacyRegion {
                fcw,
                mxcsr: Mxcsr::from_bits(mxcsr),
                ..*machine.initial_contents().legacy()
            };
            assert_eq!((legacy.xmm, legacy.st), (initial.xmm, initial.st));
            assert_eq!((legacy.fsw, legacy.ftw), (initial.fsw, initial.ftw));
            assert_eq!(expected.difference(&found), None, "{}", kind.name);
            // The guest has all of its own.
            thread.enter_guest(guest, &mut cpu, NOW).unwrap();
            let found = visible(&mut cpu, machine);
            assert_eq!(guests.difference(&found), None, "{}", kind.name);
        });
    }
}

#[test]
fn an_entry_restores_and_saves_nothing() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        host_computes(&mut pair, &mut cpu, machine, (FCW, MXCSR));
        let Pair { thread, guest, .. } = &mut pair;
        thread
            .enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW)
            .unwrap();
        let trace = cpu.processor().take_trace();
        let restored = restore_of(machine, &cpu);
        assert_eq!(trace, [restored], "{}", kind.name);
    });
}

#[test]
fn a_deferred_entry_keeps_the_control_words_when_it_is_carried_out() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        host_computes(&mut pair, &mut cpu, machine, (FCW, MXCSR));
        let Pair { thread, guest, .. } = &mut pair;
        let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, LATER);
        assert_eq!(entered.unwrap().save, Save::Deferred, "{}", kind.name);
        let restored = thread.restore_before_use_as::<CallerSaved>(&mut cpu);
        assert_eq!(restored.unwrap().save, Save::ControlWords, "{}", kind.name);
        assert_eq!(thread.own().residence(), Residence::Memory);
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(found.legacy().fcw, FCW);
    });
}

#[test]
fn a_state_that_the_convention_does_not_speak_of_is_saved_whole() {
    let mut tried = 0;
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let supervisor = machine.enumeration.supervisor_components();
        if !machine
            .components()
            .intersects(supervisor.union(ComponentSet::MPX))
        {
            continue;
        }
        tried += 1;
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let threads = pair.use_registers(&mut cpu).unwrap();
        let Pair { thread, guest, .. } = &mut pair;
        let entered = thread
            .enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW)
            .unwrap();
        assert!(matches!(entered.save, Save::Registers { .. }));
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, &machine);
        assert_eq!(threads.difference(&found), None, "{}", kind.name);
    }
    assert!(tried >= 2);
}

#[test]
fn a_state_in_memory_stays_what_it_is() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let Pair { thread, guest, .. } = &mut pair;
        thread.save_before_switch(&mut cpu).unwrap();
        let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
        assert_eq!(entered.unwrap().save, Save::AlreadyInMemory);
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(threads.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn after_a_restore_that_faults_the_registers_are_nobodys_and_the_host_has_its_words() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        host_computes(&mut pair, &mut cpu, machine, (FCW, MXCSR));
        let Pair { thread, guest, .. } = &mut pair;
        cpu.processor().inner().let_fault(Victim::Restore);
        let refused = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
        assert!(refused.is_err(), "{}", kind.name);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        assert_eq!(thread.running_guest(), None);
        thread.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        let legacy = found.legacy();
        assert_eq!((legacy.fcw, legacy.mxcsr.bits()), (FCW, MXCSR));
    });
}

/// A host whose state was last restored by moves writes whatever compiled code may use; the guest after
/// it finds none of that, though nobody asked what is in use.
#[test]
fn a_guest_finds_nothing_of_what_its_host_computed() {
    let counts = Rc::new(MoveCounts::default());
    for profile in Profile::ALL {
        let kind = cpus::RecordedCpu::of(*profile);
        let machine = machine(&kind).with_moves(RegisterMoves::WhereCovered);
        let moving = Moving::new(kind.model(), Rc::clone(&counts));
        let mut cpu = machine.start(moving, 0).unwrap();
        let mut pair = Pair::new(&machine);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        for round in 0..2 {
            let by_host = machine
                .user_components()
                .difference(ComponentSet::TILES)
                .without(Component::Pkru)
                .without(Component::X87);
            let values = pair.new_values();
            for component in by_host.iter() {
                cpu.processor().write(component, &values);
            }
            let Pair { thread, guest, .. } = &mut pair;
            let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
            assert_eq!(entered.unwrap().save, Save::ControlWords);
            let found = visible(&mut cpu, &machine);
            let difference = machine.initial_contents().difference(&found);
            assert_eq!(difference, None, "{}, round {round}", kind.name);
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        }
    }
    assert!(counts.done.get() > 20, "{counts:?}");
}

/// What is in use of a host that was restored by moves is known without XGETBV(1): at most what moves
/// cover. Not so with APX, whose registers compiled code may use and moves do not cover.
#[test]
fn only_a_host_with_apx_is_asked_what_is_in_use_when_its_guest_is_restored() {
    let mut hosts = (0, 0);
    for profile in Profile::ALL {
        let kind = cpus::RecordedCpu::of(*profile);
        let machine = machine(&kind).with_moves(RegisterMoves::WhereCovered);
        let counts = Rc::new(MoveCounts::default());
        let moving = Moving::new(kind.model(), Rc::clone(&counts));
        let (mut cpu, mut pair) = (machine.start(moving, 0).unwrap(), Pair::new(&machine));
        let Pair { thread, guest, .. } = &mut pair;
        thread.restore_before_use(&mut cpu).unwrap();
        if counts.done.get() == 0 {
            // This CPU has no XGETBV(1), or its restores leave FIP, FDP and FOP alone.
            continue;
        }
        let before = counts.asked.get();
        let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
        assert_eq!(entered.unwrap().save, Save::ControlWords, "{}", kind.name);
        let asked = counts.asked.get() - before;
        if machine.components().contains(Component::Apx) {
            hosts.0 += 1;
            assert_eq!(asked, 1, "{}", kind.name);
        } else {
            hosts.1 += 1;
            assert_eq!(asked, 0, "{}", kind.name);
        }
    }
    let (with_apx, without) = hosts;
    assert!(with_apx >= 1 && without >= 2, "{hosts:?}");
}

/// What a restore by moves found is void once somebody else has carried out a switch.
#[test]
fn what_a_restore_found_does_not_outlive_it() {
    let kind = cpus::GENOA_WITHOUT_XSAVES;
    let machine = machine(&kind).with_moves(RegisterMoves::WhereCovered);
    let counts = Rc::new(MoveCounts::default());
    let mut cpu = machine.start(Moving::new(kind.model(), counts), 0).unwrap();
    let mut pair = Pair::new(&machine);
    let mut other = ThreadFpu::new(pair.new_state());
    pair.thread.restore_before_use(&mut cpu).unwrap();

    let saved = pair.thread.decide_save_before_switch(&cpu).unwrap();
    let Save::Registers { instruction, rfbm } = saved.switch().save else {
        panic!("{saved:?}");
    };
    let area = pair.thread.areas().0;
    instruction.execute(cpu.processor(), area, rfbm).unwrap();
    pair.thread
        .commit_save_before_switch(&mut cpu, saved)
        .unwrap();
    let restored = other.decide_restore_before_use(&cpu).unwrap();
    let Restore::Area {
        instruction, rfbm, ..
    } = restored.switch().restore
    else {
        panic!("{restored:?}");
    };
    let area = other.areas().0;
    instruction.execute(cpu.processor(), area, rfbm).unwrap();
    other.commit_restore_before_use(&mut cpu, restored).unwrap();

    let values = pair.new_values();
    cpu.processor().write(Component::X87, &values);
    let guest = &mut pair.guest;
    let entered = other.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
    assert_eq!(entered.unwrap().save, Save::ControlWords);
    let found = visible(&mut cpu, &machine);
    assert_eq!(machine.initial_contents().difference(&found), None);
}

/// A control word of its own makes x87 of a host's image live; moves load it, and it is in use then.
#[test]
fn a_guest_does_not_find_the_control_word_of_a_host_that_was_restored_by_moves() {
    let counts = Rc::new(MoveCounts::default());
    for kind in [
        cpus::GENOA_WITHOUT_XSAVES,
        cpus::RecordedCpu::of(Profile::GRANITE_RAPIDS),
    ] {
        let machine = machine(&kind).with_moves(RegisterMoves::WhereCovered);
        let moving = Moving::new(kind.model(), Rc::clone(&counts));
        let (mut cpu, mut pair) = (machine.start(moving, 0).unwrap(), Pair::new(&machine));
        let Pair { thread, guest, .. } = &mut pair;
        thread.restore_before_use(&mut cpu).unwrap();
        // With SSE, for moves do not cover x87 without.
        let region = LegacyRegion {
            fcw: FCW,
            xmm: [[1; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        let host = conformance::contents::Contents::from_parts(&region, []);
        cpu.processor().write_all(ComponentSet::LEGACY, &host);
        thread.save_before_switch(&mut cpu).unwrap();
        cpu.registers_taken().unwrap();
        thread.restore_before_use(&mut cpu).unwrap();
        for round in 0..2 {
            let entered = thread.enter_guest_as::<CallerSaved>(guest, &mut cpu, NOW);
            assert_eq!(entered.unwrap().save, Save::ControlWords);
            let found = visible(&mut cpu, &machine);
            let difference = machine.initial_contents().difference(&found);
            assert_eq!(difference, None, "{}, round {round}", kind.name);
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
            assert_eq!(visible(&mut cpu, &machine).legacy().fcw, FCW);
        }
    }
    assert!(counts.done.get() > 4, "{counts:?}");
}
