//! The kernel computes with extended registers in timer interrupts, whatever they interrupt, and in
//! system calls.

use alloc::string::String;

use crate::rules::{KernelWork, Rules, Wish};
use crate::scenario::{Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-kernel-section-in-an-interrupt-costs-no-thread-its-registers",
    run: |twin| attempt(twin).into(),
    left_out: "the kernel section",
};

fn attempt(twin: Twin) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    rules.kernel = match twin {
        Twin::Whole => KernelWork::Sections,
        Twin::Broken => KernelWork::WithoutSections,
    };
    let scheduler = Scheduler::new(rules);
    for number in 1..=smp::online().count() as u64 + 1 {
        scheduler.add(UserThread::filling(number)?);
    }
    scheduler.run().map(drop)
}

const fn wish(task: &Task) -> Wish {
    if task.preempted >= 10 && task.reports >= 40 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
