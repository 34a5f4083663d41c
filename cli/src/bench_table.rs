//! The figures of `fpstate bench` in the terminal.

use std::io;

use comfy_table::Table;
use fpstate_bench::BenchReport;
use fpstate_bench::event::Event;
use fpstate_bench::policy_name::PolicyName;
use fpstate_bench::report::{Ratio, SizeEventCosts};
use fpstate_bench::spread::Spread;

use crate::output::{align_right, grouped, print_line, print_table, table};

/// The policies that every scenario and size is shown for.
const SHOWN: [PolicyName; 8] = PolicyName::ALL;

pub(crate) fn print(report: &BenchReport) -> io::Result<()> {
    let machine = &report.machine;
    print_line(&format!(
        "{}{}: {}; {} and {}, moves {}, chosen by {}",
        machine.cpu,
        if machine.virtual_machine {
            " (virtual machine)"
        } else {
            ""
        },
        machine.components.join("+"),
        report.strategy.save_instruction,
        report.strategy.restore_instruction,
        report.strategy.register_moves,
        report.strategy.chosen_by,
    ))?;
    print_line("cycles of the time-stamp counter, medians; at CPL 3, on one CPU")?;
    print_table(&round_trips(report))?;
    print_line(&ratios(report.ratio))?;
    print_table(&events(report))?;
    print_table(&sizes(report))?;
    print_table(&memory(report))?;
    let expansion = &report.first_expansion;
    print_line(&format!(
        "first use of tiles ({}): {} to {} bytes, {} of them copied; {}",
        expansion.cpu,
        grouped(expansion.area_len_before as u64),
        grouped(expansion.area_len_after as u64),
        grouped(expansion.counts.bytes_copied),
        expansion
            .counts
            .iter()
            .map(|(operation, count)| format!("{count} {}", operation.key()))
            .collect::<Vec<_>>()
            .join(", ")
    ))?;
    for lost in &report.survival.lost {
        print_line(&format!("{} lost registers: {}", lost.policy, lost.what))?;
    }
    if report.is_clean() {
        print_line("Every policy brought every register back.")?;
    }
    Ok(())
}

fn round_trips(report: &BenchReport) -> Table {
    let mut header = vec!["round trip", "x87 initial", "p25 to p75"];
    let others: Vec<_> = report
        .scenarios
        .iter()
        .filter(|costs| costs.round_trip != report.round_trip)
        .collect();
    header.extend(others.iter().map(|costs| costs.scenario.title()));
    let mut table = table(&header);
    for name in SHOWN {
        let mut row = vec![
            name.title().to_owned(),
            cycles(report.round_trip.get(name)),
            spread(report.round_trip_spread.get(name)),
        ];
        row.extend(
            others
                .iter()
                .map(|costs| cycles(costs.round_trip.get(name))),
        );
        table.add_row(row);
    }
    align_right(&mut table, &[1, 2, 3, 4, 5]);
    table
}

fn ratios(ratio: Ratio) -> String {
    let shown = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(
        "to the pointer swap: fpstate {}, as a function {}; a swap in memory to a save and a restore: {}",
        shown(ratio.full_to_pointer_swap),
        shown(ratio.abi_to_pointer_swap),
        shown(ratio.swap_in_memory_to_pair)
    )
}

/// The designs that have more events than a round trip.
const WITH_BOOKKEEPING: [PolicyName; 4] = [
    PolicyName::TwoBuffers,
    PolicyName::PointerSwap,
    PolicyName::OursFull,
    PolicyName::OursAbi,
];

fn events(report: &BenchReport) -> Table {
    let mut table = table(&[
        "SSE and AVX live",
        "two buffers",
        "pointer swap",
        "fpstate",
        "as a function",
    ]);
    for costs in &report.events {
        let mut row = vec![costs.event.title().to_owned()];
        row.extend(WITH_BOOKKEEPING.map(|name| {
            let counted = report.counts.iter().find(|counts| {
                counts.event == costs.event
                    && Some(counts.scenario) == report.counts.first().map(|first| first.scenario)
            });
            let executed = counted.and_then(|counted| counted.counts.get(name));
            match (costs.cost.get(name), executed) {
                (None, _) => "-".to_owned(),
                (cost, Some(counts)) if counts.is_nothing() => {
                    format!("{} (nothing)", cycles(cost))
                }
                (cost, _) => cycles(cost),
            }
        }));
        table.add_row(row);
    }
    align_right(&mut table, &[1, 2, 3, 4]);
    table
}

fn sizes(report: &BenchReport) -> Table {
    let mut table = table(&[
        "vCPUs",
        "two buffers",
        "pointer swap",
        "fpstate",
        "as a function",
        "bare moves",
        "touch alone",
        "bytes each",
    ]);
    for size in &report.sizes {
        let Some(costs) = size
            .events
            .iter()
            .find(|costs| costs.event == Event::RoundTrip)
        else {
            continue;
        };
        let SizeEventCosts { cost, touch, .. } = costs;
        let mut row = vec![grouped(size.vcpus as u64)];
        row.extend(WITH_BOOKKEEPING.map(|name| cycles(cost.get(name))));
        row.push(cycles(cost.get(PolicyName::PlainMoves)));
        row.push(cycles(touch.map(|touch| touch.median).as_ref()));
        row.push(cycles(size.bytes_per_vcpu.get(PolicyName::OursFull)));
        table.add_row(row);
    }
    align_right(&mut table, &[0, 1, 2, 3, 4, 5, 6, 7]);
    table
}

fn memory(report: &BenchReport) -> Table {
    let mut table = table(&["bytes per vCPU", "fpstate", "two buffers", "tiles at once"]);
    for profile in &report.bytes_per_vcpu {
        let bytes = |bytes: usize| grouped(bytes as u64);
        table.add_row([
            profile.cpu.to_owned(),
            bytes(profile.ours),
            bytes(profile.two_buffers),
            bytes(profile.everything_at_once),
        ]);
    }
    align_right(&mut table, &[1, 2, 3]);
    table
}

fn cycles(cost: Option<&f64>) -> String {
    cost.map_or("-".to_owned(), |cost| format!("{cost:.0}"))
}

fn spread(spread: Option<&Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| {
        format!("{:.0} to {:.0}", spread.p25, spread.p75)
    })
}
