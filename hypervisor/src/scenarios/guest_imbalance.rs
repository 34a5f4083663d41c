//! What does not go together is refused, and nothing is lost by it.

use alloc::format;

use fpstate::{EnterError, GuestEntryError, GuestRegisterError, LeaveError, LifeError, Restoring};

use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu_run::{enter, leave, run_entered};
use crate::workbench::{Workbench, outcome, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "an-imbalance-around-a-guest-is-refused",
    run: |twin| outcome(run(twin)),
    left_out: "leave_guest before the thread ends",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut other = bench.new_thread()?;
    let mut first = bench.new_holder(7, 2)?;
    let mut second = bench.new_holder(8, 1)?;
    let (one, two) = (first.vcpu.fpu.id(), second.vcpu.fpu.id());
    bench.user_writes(71)?;
    let (thread, cpu) = (&mut bench.thread, &mut bench.cpu);

    let left = thread.leave_guest(&mut first.vcpu.fpu, cpu, Restoring::Now);
    refused(left, &LeaveError::NotInGuest)?;
    let loaded = thread.load_guest_registers(&mut first.vcpu.fpu, cpu);
    let not_running = GuestEntryError::NotRunning {
        asked: one,
        running: None,
    };
    refused(loaded.map(drop), &not_running)?;

    enter(&mut bench.host(), &mut first.vcpu).map_err(failed)?;
    let (thread, cpu) = (&mut bench.thread, &mut bench.cpu);
    let again = thread.enter_guest(&mut second.vcpu.fpu, cpu, Restoring::Now);
    refused(again, &EnterError::AlreadyInGuest { running: one })?;
    let stolen = other.enter_guest(&mut first.vcpu.fpu, cpu, Restoring::Now);
    refused(stolen, &EnterError::GuestInUse { guest: one })?;
    let loaded = thread.load_guest_registers(&mut first.vcpu.fpu, cpu);
    refused(
        loaded.map(drop),
        &GuestEntryError::NotInRegisters { guest: one },
    )?;
    let left = thread.leave_guest(&mut second.vcpu.fpu, cpu, Restoring::Now);
    let other_guest = LeaveError::OtherGuest {
        running: one,
        asked: two,
    };
    refused(left, &other_guest)?;
    refused(
        first.vcpu.fpu.init(),
        &GuestRegisterError::Running { guest: one },
    )?;

    let stop = run_entered(&mut bench.host(), &mut first.vcpu).map_err(failed)?;
    require_step(stop)?;
    let Err((in_guest, thread)) = bench.thread.exit(&mut bench.cpu) else {
        return Err(failed("a thread ends inside a guest"));
    };
    refused(Err::<(), _>(in_guest), &LifeError::InGuest { guest: one })?;
    bench.thread = thread;
    if twin == Twin::Whole {
        leave(&mut bench.host(), &mut first.vcpu).map_err(failed)?;
        bench.run_to_step(&mut first)?;
        bench.run_to_end(&mut first)?;
        bench.user_finds(71)?;
    }
    let ended = bench.thread.exit(&mut bench.cpu);
    ended.map(drop).map_err(|(error, _)| failed(error))
}

fn refused<T, E: PartialEq + core::fmt::Display>(
    result: Result<T, E>,
    expected: &E,
) -> Result<(), Outcome> {
    match result {
        Err(error) if error == *expected => Ok(()),
        Err(error) => Err(failed(format!("refused because {error}, not {expected}"))),
        Ok(_) => Err(failed(format!("not refused: {expected}"))),
    }
}
