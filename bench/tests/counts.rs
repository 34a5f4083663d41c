//! What each event executes under each policy, counted on the software CPU: the same on every machine,
//! whatever the time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fpstate::{Layout, RegisterMoves, SwitchInstructions};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, Enumeration, Processor, Xcr0};
use fpstate_bench::counts::{self, EventCounts};
use fpstate_bench::event::Event;
use fpstate_bench::expansion;
use fpstate_bench::policy_name::PolicyName;
use fpstate_bench::scenario::Scenario;
use fpstate_bench::setting::Setting;
use fpstate_bench::tally::{Counts, Operation};
use fpstate_model::{ModelCpu, Profile};

const LIBRARY: [PolicyName; 3] = [
    PolicyName::OursInstructions,
    PolicyName::OursFull,
    PolicyName::OursAbi,
];
const LINUX: [PolicyName; 2] = [PolicyName::TwoBuffers, PolicyName::PointerSwap];

fn counted(scenario: Scenario, event: Event) -> EventCounts {
    let cpu = Enumeration::read(RecordedLeaves(&Profile::GENOA.leaves()));
    let enabled = cpu.user_components().without(Component::Pkru);
    let instructions =
        SwitchInstructions::for_user_mode(&cpu).with_moves(RegisterMoves::WhereCovered);
    let setting = Setting {
        layout: Layout::for_instructions(&cpu, instructions, enabled).unwrap(),
        instructions,
        scenario,
        vcpus: 1,
    };
    counts::count(&setting, event, || Ok(processor(enabled))).unwrap()
}

fn processor(enabled: ComponentSet) -> ModelCpu {
    let mut cpu = Profile::GENOA.cpu();
    cpu.xsetbv(Xcr0::new(enabled, enabled).unwrap()).unwrap();
    cpu
}

fn of(counts: &EventCounts, name: PolicyName) -> Counts {
    *counts.counts.get(name).unwrap()
}

/// Exactly these, each so often.
fn assert_executed(counts: Counts, expected: &[(Operation, u64)]) {
    assert_eq!(counts.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn an_entry_that_leaves_at_once_executes_nothing_in_the_library() {
    for scenario in Scenario::ALL {
        let counts = counted(scenario, Event::LeavesAtOnce);
        for name in LIBRARY {
            assert!(of(&counts, name).is_nothing(), "{name:?}, {scenario:?}");
        }
    }
}

#[test]
fn linux_pays_a_round_trip_for_an_entry_that_leaves_at_once() {
    let counts = counted(Scenario::SseAvx, Event::LeavesAtOnce);
    for name in LINUX {
        let pairs = [(Operation::Xsave, 2), (Operation::Xrstor, 2)];
        assert_executed(of(&counts, name), &pairs);
    }
}

#[test]
fn states_that_are_both_in_memory_change_places_without_an_instruction_or_a_copy() {
    let counts = counted(Scenario::SseAvx, Event::SwapInMemory);
    for name in LIBRARY {
        assert!(of(&counts, name).is_nothing(), "{name:?}");
    }
    for name in LINUX {
        assert_eq!(counts.counts.get(name), None, "{name:?} has no such event");
    }
}

#[test]
fn a_preemption_of_a_state_in_memory_executes_nothing_anywhere() {
    let counts = counted(Scenario::SseAvx, Event::PreemptedInMemory);
    for name in LIBRARY.into_iter().chain(LINUX) {
        assert!(of(&counts, name).is_nothing(), "{name:?}");
    }
}

#[test]
fn a_round_trip_is_two_saves_and_two_restores_whoever_makes_it() {
    let counts = counted(Scenario::SseAvx, Event::RoundTrip);
    let pairs = [(Operation::Xsave, 2), (Operation::Xrstor, 2)];
    for name in LINUX
        .into_iter()
        .chain([PolicyName::InstructionsPair, PolicyName::OursInstructions])
    {
        assert_executed(of(&counts, name), &pairs);
    }
    let moves = [
        (Operation::SavedByMoves, 2),
        (Operation::RestoredByMoves, 2),
    ];
    for name in [PolicyName::PlainMoves, PolicyName::OursFull] {
        assert_executed(of(&counts, name), &moves);
    }
}

#[test]
fn a_host_that_called_a_function_saves_its_control_words_and_one_state() {
    let counts = of(
        &counted(Scenario::SseAvx, Event::RoundTrip),
        PolicyName::OursAbi,
    );
    assert_eq!(counts.of(Operation::SavedByMoves), 1);
    assert_eq!(counts.of(Operation::RestoredByMoves), 2);
    assert_eq!(counts.of(Operation::Stmxcsr), 1);
    assert_eq!(counts.of(Operation::Fnstcw), 1);
    assert_eq!(
        counts.of(Operation::Xsave) + counts.of(Operation::Xrstor),
        0
    );
}

#[test]
fn live_x87_registers_are_moved_like_the_others() {
    let counts = counted(Scenario::SseAvxX87, Event::RoundTrip);
    let moves = [
        (Operation::SavedByMoves, 2),
        (Operation::RestoredByMoves, 2),
    ];
    for name in [PolicyName::PlainMoves, PolicyName::OursFull] {
        assert_executed(of(&counts, name), &moves);
    }
}

#[test]
fn entry_after_entry_of_one_vcpu_only_saves_it() {
    let counts = counted(Scenario::SseAvx, Event::BackToBack);
    for name in LIBRARY {
        let counts = of(&counts, name);
        assert_eq!(
            counts.of(Operation::Xsave) + counts.of(Operation::SavedByMoves),
            1
        );
        assert_eq!(counts.of(Operation::Xrstor), 0, "{name:?}");
        assert_eq!(counts.of(Operation::RestoredByMoves), 0, "{name:?}");
    }
}

#[test]
fn only_two_buffers_copy_a_state_and_only_where_it_is_in_memory() {
    let direct = counted(Scenario::SseAvx, Event::RoundTrip);
    let preempted = counted(Scenario::SseAvx, Event::PreemptedRoundTrip);
    for name in LIBRARY.into_iter().chain(LINUX) {
        assert_eq!(of(&direct, name).bytes_copied, 0, "{name:?}");
        let copies = name == PolicyName::TwoBuffers;
        assert_eq!(of(&preempted, name).bytes_copied > 0, copies, "{name:?}");
    }
}

#[test]
fn the_first_use_of_tiles_copies_nothing_and_restores_nothing() {
    let first = expansion::count().unwrap();
    assert!(first.area_len_after >= first.area_len_before + 8192);
    assert_eq!(first.counts.bytes_copied, 0);
    assert_eq!(first.counts.of(Operation::Xsave), 0);
    assert_eq!(first.counts.of(Operation::Xrstor), 0);
    // IA32_XFD_ERR is read and cleared, IA32_XFD written: an exit by #NM cannot do without.
    assert_eq!(first.counts.of(Operation::Rdmsr), 1);
    assert!(first.counts.of(Operation::Wrmsr) >= 2);
}
