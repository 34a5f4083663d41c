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

/// Interrupts that should come while the guest runs.
const ENOUGH: u32 = 5;
/// Steps after which the scenario stops waiting for them: a loaded machine's timer is late.
const MOST_STEPS: u64 = 4000;
/// R12 among R8 to R15: the steps that the program has before it.
const R12: usize = 4;

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
    give(&guest, MOST_STEPS);
    let mut thread = bench.into_thread();
    enter(&mut thread, &mut guest.vcpu).map_err(failed)?;
    percpu::with(|cpu| {
        cpu.work = match twin {
            Twin::Whole => InterruptWork::KernelSection,
            Twin::Broken => InterruptWork::WithoutSection,
        }
    });
    tick::start();
    let (mut interrupted, mut steps) = (0, 0);
    while interrupted < ENOUGH && steps < MOST_STEPS {
        let turn = turn(thread, &mut guest.vcpu, Leaving::Saves);
        thread = turn.thread;
        interrupted += turn.interrupted;
        require_step(turn.result.map_err(failed)?)?;
        steps += 1;
    }
    guest.vcpu.registers.r8_to_r15[R12] = 1;
    let turn = turn(thread, &mut guest.vcpu, Leaving::Saves);
    thread = turn.thread;
    require_end(turn.result.map_err(failed)?)?;
    leave(&mut thread, &mut guest.vcpu).map_err(failed)?;
    if interrupted < ENOUGH {
        return Err(failed("hardly an interrupt came while the guest ran"));
    }
    check(&guest, steps)
}
