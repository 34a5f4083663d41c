//! One turn of a thread: restored just before ring 3, its system calls, until it is off the CPU.

use alloc::format;
use alloc::string::{String, ToString};

use crate::percpu::{self, KernelThreadFpu, PerCpu};
use crate::rules::{KernelWork, LeftOut, Rules, Wish};
use crate::trap::cpu_number;
use crate::user_code::{CALL_REPORT, Program};
use crate::user_mode::{self, SYSTEM_CALL};
use crate::user_thread::{Task, UserThread};
use crate::{lapic, tick};

/// Why a thread is off the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Another one's turn.
    Preempted,
    /// It wants to end.
    Exit,
    /// It wants to end, and a new thread in its memory.
    Successor,
}

/// The thread in ring 3, again and again until it is off the CPU; its children are given to `add`.
///
/// # Errors
/// What went wrong: a register that changed, a refusal of the library's, a fault.
pub fn run(
    rules: &Rules,
    task: &mut Task,
    mut add: impl FnMut(UserThread),
) -> Result<Stop, String> {
    loop {
        if restores(rules, task) {
            with_current(|cpu, fpu| {
                let restored = fpu.restore_before_use(&mut cpu.fpu);
                restored.map(drop).map_err(|error| error.to_string())
            })?;
        }
        user_mode::run(&mut task.frame);
        match task.frame.vector {
            vector if vector == u64::from(lapic::TIMER_VECTOR) => {
                tick::on_interrupt();
                task.preempted += 1;
                return Ok(Stop::Preempted);
            }
            vector if vector == u64::from(lapic::WAKE_VECTOR) => lapic::end_of_interrupt(),
            SYSTEM_CALL if task.frame.rax == CALL_REPORT => {
                task.reports += 1;
                kernel_work(rules, task)?;
                match (rules.wish)(task) {
                    Wish::GoOn => {}
                    Wish::Exit => return Ok(Stop::Exit),
                    Wish::Successor => return Ok(Stop::Successor),
                    Wish::Fork => add(fork(task)?),
                    Wish::Exec => exec(rules, task)?,
                }
            }
            SYSTEM_CALL => {
                let frame = &task.frame;
                let at = 8 * frame.rcx.wrapping_sub(1);
                return Err(format!(
                    "registers changed: byte {at:#x} of the pattern is {:#x}, not {:#x}, on CPU {}",
                    frame.rbx,
                    frame.rdx,
                    cpu_number()
                ));
            }
            vector => {
                let rip = task.frame.rip;
                return Err(format!("exception {vector} at {rip:#x}"));
            }
        }
    }
}

/// Whether the restore before use is not left out.
fn restores(rules: &Rules, task: &Task) -> bool {
    match rules.left_out {
        LeftOut::Restore => false,
        LeftOut::FirstRestore => task.reports != 0 || task.program == Program::FillAndCompare,
        LeftOut::Nothing | LeftOut::Save | LeftOut::Exec | LeftOut::Exit | LeftOut::Notice => true,
    }
}

/// In a system call the registers are the thread's still, and interrupts are let in.
fn kernel_work(rules: &Rules, task: &Task) -> Result<(), String> {
    match rules.kernel {
        KernelWork::Nothing => tick::let_in(),
        // Now and then the call lasts until the timer interrupts it.
        _ if task.reports.is_multiple_of(16) => tick::wait(),
        KernelWork::WithoutSections => {}
        KernelWork::Sections => {
            percpu::with(tick::use_registers).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn fork(task: &mut Task) -> Result<UserThread, String> {
    task.forked += 1;
    let child = percpu::new_state()?;
    let fpu = with_current(|cpu, parent| {
        let forked = parent.fork(&mut cpu.fpu, child);
        forked.map_err(|(error, _)| error.to_string())
    })?;
    let number = task.number + 1000;
    let child = task.forked(number)?;
    task.refill(task.number + 2000);
    Ok(UserThread { fpu, task: child })
}

fn exec(rules: &Rules, task: &mut Task) -> Result<(), String> {
    if rules.left_out != LeftOut::Exec {
        with_current(|cpu, fpu| fpu.exec(&mut cpu.fpu).map_err(|error| error.to_string()))?;
    }
    task.execute();
    Ok(())
}

/// This CPU and the thread on it, apart.
fn with_current<R>(
    f: impl FnOnce(&mut PerCpu, &mut KernelThreadFpu) -> Result<R, String>,
) -> Result<R, String> {
    percpu::with(|cpu| {
        let Some(mut fpu) = cpu.current.take() else {
            return Err("no thread runs here".to_string());
        };
        let result = f(cpu, &mut fpu);
        cpu.current = Some(fpu);
        result
    })
}
