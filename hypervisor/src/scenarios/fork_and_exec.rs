//! A child has its parent's registers, also when the parent has others by then; what a thread becomes by
//! exec has none of them.

use alloc::format;
use alloc::string::String;

use crate::rules::{LeftOut, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-forked-thread-has-its-parents-registers-and-an-executed-one-has-none",
    run: |twin| attempt(twin).into(),
    left_out: "the exec",
};

/// Children have numbers from here on.
const CHILDREN: u64 = 1000;
/// Reports between two turns of a life.
const A_WHILE: u32 = 6;

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Exec;
    }
    let parents = smp::online().count() + 1;
    let scheduler = Scheduler::new(rules);
    for number in 1..=parents as u64 {
        scheduler.add(UserThread::filling(number)?);
    }
    let tasks = scheduler.run()?;
    let executed = tasks.iter().filter(|task| task.executed == 1).count();
    if tasks.len() == 2 * parents && executed == parents {
        Ok(())
    } else {
        Err(format!("{} threads, {executed} executed", tasks.len()))
    }
}

const fn wish(task: &Task) -> Wish {
    match task.reports {
        0..A_WHILE => Wish::GoOn,
        _ if task.forked == 0 => Wish::Fork,
        _ if task.number >= CHILDREN && task.executed == 0 => Wish::Exec,
        _ => Wish::Exit,
    }
}
