//! Threads go on on whichever CPU is free, with their registers.

use alloc::format;
use alloc::string::String;

use crate::rules::{LeftOut, Placement, Rules, Wish};
use crate::scenario::{Outcome, Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "threads-migrate-and-keep-their-registers",
    run,
    left_out: "the save before the switch",
};

/// Migrations that each thread should have.
const ENOUGH: u32 = 15;

fn run(twin: Twin) -> Outcome {
    if smp::online().count() < 2 {
        return Outcome::Skipped("there is one CPU".into());
    }
    attempt(twin).into()
}

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    rules.placement = Placement::Elsewhere;
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Save;
    }
    let scheduler = Scheduler::new(rules);
    for number in 1..=smp::online().count() as u64 + 1 {
        scheduler.add(UserThread::filling(number)?);
    }
    let tasks = scheduler.run()?;
    match tasks.iter().find(|task| task.migrated < ENOUGH) {
        Some(task) => Err(format!("thread {} stayed where it was", task.number)),
        None => Ok(()),
    }
}

const fn wish(task: &Task) -> Wish {
    if task.preempted > ENOUGH && task.reports >= 20 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
