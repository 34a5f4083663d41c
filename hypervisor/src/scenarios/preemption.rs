//! More threads than CPUs, each with values of its own in every register, preempted at any instruction.

use crate::scenario::{Scenario, Twin};
use crate::scheduler::{KernelWork, LeftOut, Rules, Scheduler, Wish};
use crate::smp;
use crate::user_thread::{Task, UserThread};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "threads-keep-their-registers-under-preemption",
    run: |twin| attempt(twin).into(),
    left_out: "the restore before use",
};

fn attempt(twin: Twin) -> Result<(), alloc::string::String> {
    let scheduler = Scheduler::new(Rules {
        left_out: match twin {
            Twin::Whole => LeftOut::Nothing,
            Twin::Broken => LeftOut::Restore,
        },
        kernel: KernelWork::Nothing,
        wish,
    });
    for number in 1..=2 * smp::online().count() as u64 + 1 {
        scheduler.add(UserThread::filling(number)?);
    }
    scheduler.run().map(drop)
}

fn wish(task: &Task) -> Wish {
    if task.preempted >= 30 && task.reports >= 30 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
