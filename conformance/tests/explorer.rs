//! The explorer: worlds that exhaust, and what it must find.

use std::fs;
use std::path::Path;

use conformance::explorer::{
    Limits, Machine, Mutant, Negligence, Outcome, Scope, Small, World, explore,
};

/// States.
const BEGINNING: usize = 150;

fn search(scope: Scope, negligence: Negligence, states: usize) -> Outcome {
    let small = Small::new();
    let machine = Machine::new(&small, &scope);
    let world = World::new(&machine, scope, negligence);
    explore(world, limits(2, states))
}

const fn limits(workers: usize, states: usize) -> Limits {
    Limits {
        workers,
        states,
        kept: 1_000,
    }
}

#[test]
fn a_world_of_switches_exhausts_without_a_violation() {
    let scope = Scope::by_name("switch").expect("a world");
    let outcome = search(scope, Negligence::None, usize::MAX);
    assert_eq!(outcome.violation, None);
    assert!(outcome.exhausted && outcome.states > 300, "{outcome:?}");
}

/// `explore` goes to the end, in release.
#[test]
fn the_beginning_of_every_world_has_no_violation() {
    for scope in Scope::ALL {
        let outcome = search(*scope, Negligence::None, BEGINNING);
        assert_eq!(outcome.violation, None, "{}", scope.name);
        assert!(outcome.states >= BEGINNING, "{}", scope.name);
    }
}

#[test]
fn the_figures_do_not_depend_on_how_the_work_is_shared() {
    let scope = Scope::by_name("switch").expect("a world");
    let small = Small::new();
    let machine = Machine::new(&small, &scope);
    let counted = |workers| {
        let world = World::new(&machine, scope, Negligence::None);
        let outcome = explore(world, limits(workers, 500));
        (outcome.states, outcome.transitions, outcome.depth)
    };
    assert_eq!(counted(1), counted(3));
}

#[test]
fn each_negligence_of_a_kernel_is_found_by_a_short_list_of_actions() {
    for (name, negligence, world) in Negligence::ALL {
        let scope = Scope::by_name(world).expect("a world");
        let outcome = search(scope, *negligence, usize::MAX);
        let violation = outcome.violation.expect(name);
        assert!(violation.actions.len() <= 6, "{name}: {violation}");
    }
}

/// `explore --mutants` builds each and finds it.
#[test]
fn each_mutant_still_applies_and_names_a_world() {
    let mutants = Mutant::all().expect("mutants");
    assert!(mutants.len() >= 9);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for mutant in mutants {
        assert!(Scope::by_name(&mutant.world).is_some(), "{}", mutant.name);
        for edit in &mutant.edits {
            let source = fs::read_to_string(root.join(&edit.file)).expect("a source");
            let mutated = edit.apply(&source).expect("an edit that applies");
            assert_ne!(mutated, source, "{}", mutant.name);
        }
    }
}
