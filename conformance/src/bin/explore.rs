//! `explore`: every interleaving of small worlds.

use std::process::ExitCode;

use conformance::explorer::{Limits, Machine, Negligence, Scope, Small, World, explore};

fn main() -> ExitCode {
    let small = Small::new();
    let machine = Machine::new(&small);
    let limits = Limits {
        workers: 2,
        states: usize::MAX,
    };
    for scope in Scope::ALL {
        let world = World::new(&machine, *scope, Negligence::None);
        println!("{} {:?}", scope.name, explore(world, limits));
    }
    for (name, negligence) in Negligence::ALL {
        let world = World::new(&machine, Scope::ALL[0], *negligence);
        let outcome = explore(world, limits);
        println!("{name}: {}", outcome.violation.expect("found"));
    }
    ExitCode::SUCCESS
}
