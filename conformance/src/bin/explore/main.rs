//! `explore`: every interleaving of small worlds of the library on the software CPU.

mod arguments;
mod mutants;
mod report;

use std::process::ExitCode;

use conformance::explorer::{Limits, Machine, Small, World, explore};

use arguments::{Arguments, Request};
use report::Report;

/// States of a level: some 10 KiB each.
const KEPT: usize = 100_000;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Request::Help) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Request::Explore(arguments)) => arguments,
        Ok(Request::Mutants(names)) => return mutants::run(&names),
        Err(error) => {
            eprintln!("explore: {error}");
            return ExitCode::from(2);
        }
    };
    let small = Small::new();
    let limits = Limits {
        workers: arguments.workers,
        states: arguments.states,
        kept: KEPT,
    };
    let mut report = Report::new(arguments.output, arguments.coverage);
    for scope in &arguments.scopes {
        let machine = Machine::new(&small, scope);
        let world = World::new(&machine, *scope, arguments.negligence);
        report.add(scope, explore(world, limits));
    }
    report.end()
}
