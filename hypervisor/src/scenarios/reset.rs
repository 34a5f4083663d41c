//! A CPU is reset between two turns of a thread, and started again: what it held is gone, what was saved is
//! not. The CPU has been made ready for guests before, where it can have any.

use alloc::string::{String, ToString};

use crate::rules::{LeftOut, Rules, Wish};
use crate::scenario::{Outcome, Scenario, Twin};
use crate::scheduler::Scheduler;
use crate::trap::cpu_number;
use crate::user_thread::{Task, UserThread};
use crate::virtualization::Virtualization;
use crate::{percpu, smp};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-thread-goes-on-on-a-cpu-that-was-reset",
    run,
    left_out: "the save before the reset",
};

fn run(twin: Twin) -> Outcome {
    let here = cpu_number();
    match smp::online().find(|&cpu| cpu != here) {
        Some(cpu) => attempt(twin, cpu).into(),
        None => Outcome::Skipped("there is one CPU".into()),
    }
}

fn attempt(twin: Twin, cpu: usize) -> Result<(), String> {
    let mut rules = Rules::plain(wish);
    if twin == Twin::Broken {
        rules.left_out = LeftOut::Save;
    }
    let scheduler = Scheduler::new(rules);
    scheduler.add(UserThread::filling(1)?);
    let turns = |most| on(cpu, || scheduler.run_some(most))?;
    on(cpu, percpu::bring_up)??;
    on(cpu, Virtualization::of_this_cpu)?;
    turns(5)?;
    on(cpu, Virtualization::leave_this_cpu)?;
    smp::restart(cpu).map_err(|error| error.to_string())?;
    turns(u32::MAX)
}

fn on<R: Send>(cpu: usize, f: impl FnOnce() -> R + Send) -> Result<R, String> {
    smp::run_on(cpu, f).map_err(|error| error.to_string())
}

const fn wish(task: &Task) -> Wish {
    if task.preempted >= 10 {
        Wish::Exit
    } else {
        Wish::GoOn
    }
}
