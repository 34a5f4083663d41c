//! More threads than CPUs, each with values of its own in every register, preempted at any instruction.

use alloc::string::String;

use crate::rules::{LeftOut, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "threads-keep-their-registers-under-preemption",
    run: |twin| attempt(twin).into(),
    left_out: "the restore before use",
};

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Restore;
    }
    let scheduler = Scheduler::new(rules);
    for number in 1..=2 * smp::online().count() as u64 + 1 {
        scheduler.add(UserThread::filling(number)?);
    }
    scheduler.run().map(drop)
}

const fn wish(task: &Task) -> Wish {
    if task.preempted >= 30 && task.reports >= 30 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
