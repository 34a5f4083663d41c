//! The timer interrupts a guest that computes, and the kernel uses vector registers at each interrupt.

use crate::guest_code;
use crate::percpu::{self, InterruptWork};
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::scenarios::known_answer::{check, give, require_avx2};
use crate::tick;
use crate::vcpu_thread::{Leaving, enter, leave, turn};
use crate::workbench::{Workbench, outcome, require_end, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-computes-on-when-the-timer-interrupts-it",
    run: |twin| outcome(run(twin)),
    left_out: "the kernel section in the interrupt",
};

const STEPS: u64 = 40;

fn run(twin: Twin) -> Result<(), Outcome> {
    let result = compute(twin);
    tick::stop();
    // Nothing is left of the guest's registers, nor of the interrupt's work.
    percpu::bring_up().map_err(failed)?;
    result
}

fn compute(twin: Twin) -> Result<(), Outcome> {
    let bench = Workbench::new()?;
    require_avx2(&bench)?;
    let mut guest = bench.new_guest(guest_code::compute())?;
    give(&guest, STEPS);
    let mut thread = bench.into_thread();
    enter(&mut thread, &mut guest.vcpu).map_err(failed)?;
    percpu::with(|cpu| {
        cpu.work = match twin {
            Twin::Whole => InterruptWork::KernelSection,
            Twin::Broken => InterruptWork::WithoutSection,
        }
    });
    tick::start();
    let mut interrupted = 0;
    for _ in 0..STEPS {
        let turn = turn(thread, &mut guest.vcpu, Leaving::Saves);
        thread = turn.thread;
        interrupted += turn.interrupted;
        require_step(turn.result.map_err(failed)?)?;
    }
    let turn = turn(thread, &mut guest.vcpu, Leaving::Saves);
    thread = turn.thread;
    require_end(turn.result.map_err(failed)?)?;
    leave(&mut thread, &mut guest.vcpu).map_err(failed)?;
    if interrupted == 0 {
        return Err(failed("no interrupt came while the guest ran"));
    }
    check(&guest, STEPS)
}
