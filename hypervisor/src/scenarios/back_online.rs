//! A CPU goes offline between two turns of one thread, and its registers are lost.

use alloc::string::String;

use crate::rules::{Between, LeftOut, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-cpu-that-comes-back-online-believes-nothing",
    run: |twin| attempt(twin).into(),
    left_out: "the new CpuFpu",
};

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    rules.between = Between::Offline;
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Notice;
    }
    let scheduler = Scheduler::new(rules);
    scheduler.add(UserThread::filling(1)?);
    scheduler.run_alone().map(drop)
}

const fn wish(task: &Task) -> Wish {
    if task.preempted >= 20 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
