//! Threads end, and their memory becomes the state of new ones, which find nothing in it.

use alloc::format;
use alloc::string::String;

use crate::rules::{LeftOut, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-thread-exits-and-its-memory-is-used-again",
    run: |twin| attempt(twin).into(),
    left_out: "the exit",
};

/// Successors have numbers from here on.
const SUCCESSORS: u64 = 3000;

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Exit;
    }
    let first = smp::online().count() + 2;
    let scheduler = Scheduler::new(rules);
    for number in 1..=first as u64 {
        scheduler.add(UserThread::filling(number)?);
    }
    match scheduler.run()?.len() {
        ended if ended == 2 * first => Ok(()),
        ended => Err(format!("{ended} threads ended, not {}", 2 * first)),
    }
}

const fn wish(task: &Task) -> Wish {
    match task.reports {
        0..8 => Wish::GoOn,
        _ if task.number < SUCCESSORS => Wish::Successor,
        _ => Wish::Exit,
    }
}
