//! Threads that begin among others find nothing of them in any register.

use alloc::string::String;

use crate::rules::{KernelWork, LeftOut, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::user_thread::{Task, UserThread};
use crate::{percpu, smp};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-new-thread-finds-the-initial-configuration",
    run: |twin| attempt(twin).into(),
    left_out: "the restore before its first use",
};

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    // So that there is something to find on every CPU.
    rules.kernel = KernelWork::Sections;
    if twin == Twin::Broken {
        rules.left_out = LeftOut::FirstRestore;
    }
    let scheduler = Scheduler::new(rules);
    let count = smp::online().count() as u64;
    for number in 1..=count {
        scheduler.add(UserThread::filling(number)?);
    }
    for number in 1..=2 * count + 1 {
        let fpu = percpu::new_thread()?;
        scheduler.add(UserThread::comparing(100 + number, fpu)?);
    }
    scheduler.run().map(drop)
}

const fn wish(task: &Task) -> Wish {
    if task.preempted >= 5 && task.reports >= 10 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
