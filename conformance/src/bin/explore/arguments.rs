//! What the command is asked.

use conformance::explorer::{Negligence, Scope, Size};

pub(crate) const HELP: &str = "\
Searches small worlds of the library on the software CPU exhaustively. Exit status: 0 nothing found, 1 a violation,
an action that was done in no exhausted world (unless worlds are named), or a mutant that was not found, 2 bad arguments.

  explore [--json] [--world NAME]... [--long] [--workers N] [--states N] [--negligence NAME]
  explore --mutants [NAME]...

  --world NAME       this world (all that the suite has time for)
  --long             the longer ones, too
  --workers N        threads that share the work (as many as there are CPUs)
  --states N         give up after about so many states of a world
  --negligence NAME  a kernel that does this wrong
  --mutants          builds the library with each mutant of conformance/mutants/explorer in a copy of the sources, and
                     searches the mutant's world for it
";

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    Json,
}

/// Whether every action must be done in a world that is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// The worlds are those of the suite, or all.
    Required,
    /// Somebody chose the worlds.
    AsItComes,
}

/// What to search.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) scopes: Vec<Scope>,
    pub(crate) coverage: Coverage,
    pub(crate) output: Output,
    pub(crate) workers: usize,
    pub(crate) states: usize,
    pub(crate) negligence: Negligence,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Request {
    Help,
    Explore(Arguments),
    Mutants(Vec<String>),
}

impl Arguments {
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Request, String> {
        let mut arguments = Self {
            scopes: Vec::new(),
            coverage: Coverage::AsItComes,
            output: Output::Text,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            states: usize::MAX,
            negligence: Negligence::None,
        };
        let mut size = Size::Suite;
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(Request::Help),
                "--json" => arguments.output = Output::Json,
                "--long" => size = Size::Long,
                "--world" => arguments.scopes.push(world(&value()?)?),
                "--workers" => arguments.workers = number(&value()?)?,
                "--states" => arguments.states = number(&value()?)?,
                "--negligence" => arguments.negligence = negligence(&value()?)?,
                "--mutants" => return Ok(Request::Mutants(given.collect())),
                other => return Err(format!("{other} is not an option; see --help")),
            }
        }
        if arguments.scopes.is_empty() {
            arguments.coverage = Coverage::Required;
            let wanted = |scope: &&Scope| size == Size::Long || scope.size == Size::Suite;
            arguments.scopes = Scope::ALL.iter().filter(wanted).copied().collect();
        }
        Ok(Request::Explore(arguments))
    }
}

fn world(name: &str) -> Result<Scope, String> {
    let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.name).collect();
    Scope::by_name(name).ok_or(format!(
        "no world is called {name}; there are {}",
        names.join(", ")
    ))
}

fn negligence(name: &str) -> Result<Negligence, String> {
    let mut all = Negligence::ALL.iter();
    let found = all.find(|negligence| negligence.0 == name);
    let names: Vec<_> = Negligence::ALL
        .iter()
        .map(|negligence| negligence.0)
        .collect();
    found.map(|negligence| negligence.1).ok_or(format!(
        "no negligence is called {name}; there are {}",
        names.join(", ")
    ))
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(format!("{text} is not a number from 1")),
    }
}
