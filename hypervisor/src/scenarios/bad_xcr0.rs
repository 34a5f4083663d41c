//! A guest writes values to XCR0 that it may not: the matrix of kvm-unit-tests, and good ones behind each.

use alloc::boxed::Box;
use alloc::vec::Vec;

use fpstate::Layout;
use fpstate_arch::{Component, ComponentSet};

use crate::guest_code::{self, Trial, parameter};
use crate::guest_memory::PARAMETERS;
use crate::host_registers::enumeration;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::without_injection::WithoutInjection;
use crate::workbench::{Guest, Workbench, outcome};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-guest-that-writes-a-bad-xcr0-gets-gp",
    run: |twin| outcome(run(twin)),
    left_out: "the injection of #GP",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_guest(guest_code::try_xcr0())?;
    let trials = trials(bench.guest_components())?;
    write(&guest, &trials);
    if twin == Twin::Broken {
        let inner = guest.vcpu.hardware;
        guest.vcpu.hardware = Box::new(WithoutInjection(inner));
    }
    for _ in &trials {
        bench.run_to_step(&mut guest)?;
    }
    bench.run_to_end(&mut guest)
}

fn trials(offered: ComponentSet) -> Result<Vec<Trial>, Outcome> {
    let [x87, sse] = [Component::X87, Component::Sse].map(ComponentSet::only);
    let avx = ComponentSet::only(Component::Avx);
    let opmask = ComponentSet::only(Component::Opmask);
    let not_offered = ComponentSet::from_bits(1 << 62);
    let reserved = ComponentSet::from_bits(1 << 63);
    let one_bound = ComponentSet::only(Component::BndRegs);
    let mut trials = Vec::new();
    let mut last = x87;
    let bad = [
        (0, ComponentSet::EMPTY),
        (0, sse),
        (0, x87.union(avx)),
        (0, avx.union(sse)),
        (0, x87.union(sse).union(opmask)),
        (0, x87.union(one_bound)),
        (0, offered.union(not_offered)),
        (0, offered.union(reserved)),
        (1, offered),
        (u32::MAX, x87),
    ];
    let good = [
        x87,
        x87.union(sse),
        offered.intersection(x87.union(sse).union(avx)),
        offered,
    ];
    for ((index, value), good) in bad.into_iter().zip(good.into_iter().cycle()) {
        trials.push(trial(index, value, last)?);
        trials.push(trial(0, good, good)?);
        last = good;
    }
    Ok(trials)
}

/// XCR0 is `after` from there on; if that is not `value` the write was refused.
fn trial(index: u32, value: ComponentSet, after: ComponentSet) -> Result<Trial, Outcome> {
    let layout = Layout::standard(enumeration(), after).map_err(failed)?;
    let good = index == 0 && value == after;
    Ok(Trial {
        index: index.into(),
        value: value.bits(),
        faults: if good { 0 } else { 1 },
        len: layout.area_len() as u64,
        xcr0: after.bits(),
    })
}

fn write(guest: &Guest, trials: &[Trial]) {
    guest.set(parameter::TRIALS, trials.len() as u64);
    let first = PARAMETERS + 8 * parameter::FIRST_TRIAL;
    for (trial, number) in trials.iter().zip(0..) {
        let words = [
            trial.index,
            trial.value,
            trial.faults,
            trial.len,
            trial.xcr0,
        ];
        let bytes = words.map(u64::to_le_bytes);
        guest
            .memory
            .write(first + 40 * number, bytes.as_flattened());
    }
}
