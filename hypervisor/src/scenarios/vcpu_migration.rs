//! A thread inside a guest goes from CPU to CPU, and the guest's registers with it.

use alloc::vec::Vec;

use crate::percpu::{self, KernelThreadFpu};
use crate::println;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::smp;
use crate::vcpu_thread::{Leaving, Turn, enter, leave, turn};
use crate::workbench::{Guest, Workbench, outcome, require_end, require_step, skipped};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "the-migration-of-a-running-vcpu",
    run: |twin| outcome(run(twin)),
    left_out: "the save before the switch",
};

const STEPS: usize = 12;

fn run(twin: Twin) -> Result<(), Outcome> {
    let cpus: Vec<usize> = smp::online().collect();
    if cpus.len() < 2 {
        return Err(skipped("there is one CPU"));
    }
    let leaving = match twin {
        Twin::Whole => Leaving::Saves,
        Twin::Broken => Leaving::Loses,
    };
    let result = migrate(&cpus, leaving);
    smp::run_on_all(|| {
        if let Err(reason) = percpu::bring_up() {
            println!("# {reason}");
        }
    });
    result
}

fn migrate(cpus: &[usize], leaving: Leaving) -> Result<(), Outcome> {
    let bench = Workbench::new()?;
    let mut guest = bench.new_holder(12, STEPS as u64)?;
    let mut thread = bench.into_thread();
    enter(&mut thread, &mut guest.vcpu).map_err(failed)?;
    for &cpu in cpus.iter().cycle().take(STEPS) {
        let turn = turn_on(cpu, thread, &mut guest, leaving)?;
        thread = turn.thread;
        require_step(turn.result.map_err(failed)?)?;
    }
    let turn = turn_on(cpus[0], thread, &mut guest, leaving)?;
    thread = turn.thread;
    require_end(turn.result.map_err(failed)?)?;
    leave(&mut thread, &mut guest.vcpu).map_err(failed)
}

fn turn_on(
    cpu: usize,
    thread: KernelThreadFpu,
    guest: &mut Guest,
    leaving: Leaving,
) -> Result<Turn, Outcome> {
    smp::run_on(cpu, || turn(thread, &mut guest.vcpu, leaving)).map_err(failed)
}
