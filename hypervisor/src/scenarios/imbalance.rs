//! Calls in an order that would lose somebody's registers are refused, with the reason as a type, and
//! nothing is changed by them.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Debug;

use fpstate::{KernelUse, LifeError, OtherSection, SwitchError};

use crate::percpu::{self, KernelThreadFpu, PerCpu};
use crate::scenario::{Scenario, Twin};
use crate::smp;
use crate::trap::cpu_number;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "imbalance-is-refused",
    run: |twin| attempt(twin).into(),
    left_out: "the restore that loads the first thread",
};

fn attempt(twin: Twin) -> Result<(), String> {
    percpu::bring_up()?;
    let (mut first, mut second) = (percpu::new_thread()?, percpu::new_thread()?);
    if twin == Twin::Whole {
        let loaded = percpu::with(|cpu| first.restore_before_use(&mut cpu.fpu));
        loaded.map_err(|error| error.to_string())?;
    }
    percpu::with(|cpu| while_loaded(cpu, &mut first, &mut second))?;
    let here = cpu_number();
    for cpu in smp::online().filter(|&cpu| cpu != here) {
        first = smp::run_on(cpu, || from_elsewhere(first)).map_err(|error| error.to_string())??;
    }
    percpu::with(|cpu| {
        in_a_section(cpu, &mut first)?;
        after_a_loss(cpu, &mut first)
    })
}

/// The registers hold the only copy of `first`.
fn while_loaded(
    cpu: &mut PerCpu,
    first: &mut KernelThreadFpu,
    second: &mut KernelThreadFpu,
) -> Result<(), String> {
    let fpu = &mut cpu.fpu;
    let would_discard = |error: &_| matches!(error, SwitchError::WouldDiscard { .. });
    refused(
        "a restore over it",
        second.restore_before_use(fpu),
        would_discard,
    )?;
    refused("taking them", fpu.registers_taken(), would_discard)?;
    let section = fpu.begin_kernel_section(second, KernelUse::X87);
    refused("another thread's section", section, would_discard)?;
    let section = fpu.begin_kernel_thread_section(KernelUse::IntegerVectors);
    refused("a kernel thread's section", section, would_discard)?;
    match first.is_in_registers_of(fpu) {
        true => Ok(()),
        false => Err("a refusal changed where the state is".to_string()),
    }
}

/// The same, asked on another CPU.
fn from_elsewhere(mut first: KernelThreadFpu) -> Result<KernelThreadFpu, String> {
    percpu::with(|cpu| {
        let fpu = &mut cpu.fpu;
        let elsewhere = |error: &_| matches!(error, SwitchError::InRegistersOf { .. });
        refused("a save elsewhere", first.save_before_switch(fpu), elsewhere)?;
        refused(
            "a restore elsewhere",
            first.restore_before_use(fpu),
            elsewhere,
        )?;
        let executed = first.exec(fpu);
        let elsewhere = |error: &_| matches!(error, LifeError::InRegistersOf { .. });
        refused("exec elsewhere", executed, elsewhere)?;
        match first.exit(fpu) {
            Err((LifeError::InRegistersOf { .. }, first)) => Ok(first),
            other => Err(format!("exit elsewhere: {other:?}")),
        }
    })
}

/// Sections do not nest, threads do not run in them, and they end once.
fn in_a_section(cpu: &mut PerCpu, first: &mut KernelThreadFpu) -> Result<(), String> {
    let fpu = &mut cpu.fpu;
    let in_section = |error: &_| matches!(error, SwitchError::KernelSection { .. });
    let begun = fpu.begin_kernel_section(first, KernelUse::FloatVectors);
    let (section, _) = begun.map_err(|error| error.to_string())?;
    let nested = fpu.begin_kernel_section(first, KernelUse::X87);
    refused("a section in a section", nested, in_section)?;
    refused(
        "a restore in a section",
        first.restore_before_use(fpu),
        in_section,
    )?;
    refused("taking them in it", fpu.registers_taken(), in_section)?;
    fpu.discard_registers();
    let ended = fpu.end_kernel_section(section);
    refused("the end of a lost section", ended, |_: &OtherSection| true)
}

/// The registers of a thread that ran are gone.
fn after_a_loss(cpu: &mut PerCpu, first: &mut KernelThreadFpu) -> Result<(), String> {
    let fpu = &mut cpu.fpu;
    let restored = first.restore_before_use(fpu);
    restored.map_err(|error| error.to_string())?;
    fpu.discard_registers();
    let lost = |error: &_| matches!(error, SwitchError::NotInRegisters { .. });
    refused(
        "a save of what is lost",
        first.save_before_switch(fpu),
        lost,
    )
}

fn refused<T: Debug, E: Debug>(
    what: &str,
    result: Result<T, E>,
    expected: impl Fn(&E) -> bool,
) -> Result<(), String> {
    match result {
        Err(error) if expected(&error) => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    }
}
