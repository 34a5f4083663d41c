//! `explore`: every interleaving of small worlds.

use std::process::ExitCode;

use conformance::explorer::{Limits, Machine, Negligence, Scope, Small, World, explore};

fn main() -> ExitCode {
    let small = Small::new();
    let limits = Limits {
        workers: 2,
        states: 10_000_000,
    };
    for scope in Scope::ALL {
        let machine = Machine::new(&small, scope);
        let world = World::new(&machine, *scope, Negligence::None);
        if std::env::args()
            .nth(1)
            .is_some_and(|name| name != scope.name)
        {
            continue;
        }
        println!("{} {:?}", scope.name, explore(world, limits));
    }
    for (name, negligence, scope) in Negligence::ALL {
        let scope = Scope::by_name(scope).expect("a world");
        let machine = Machine::new(&small, &scope);
        let world = World::new(&machine, scope, *negligence);
        let outcome = explore(world, limits);
        println!("{name}: {}", outcome.violation.expect("found"));
    }
    ExitCode::SUCCESS
}
