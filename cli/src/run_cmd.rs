//! `fpstate run`

use std::io;
use std::path::Path;
use std::thread::available_parallelism;

use fpstate_engine::model::{self, ModelledCpu};
use fpstate_engine::native;
use fpstate_engine::{Progress, RunConfig, RunError, RunReport, TileGuests};
use fpstate_model::Profile;
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{Engine, RunArguments};
use crate::cpu_choice::CpuChoice;
use crate::output::{align_right, grouped, is_watched, print_json, print_line, print_table, table};
use crate::{Answer, CommandError, heap};

/// Steps of the progress bar.
const STEPS: u32 = 1000;

pub(crate) fn execute(arguments: &RunArguments) -> Result<Answer, CommandError> {
    let threads = arguments.threads.unwrap_or_else(default_threads);
    let length = RunConfig::seconds(arguments.seconds)?;
    // Shown as it is, and within what JSON numbers carry exactly.
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let inject = arguments.inject.map(|name| name.0);
    let config = RunConfig::new(arguments.vcpus, threads, length, seed, inject)?
        .switching_by(arguments.switch_by.0);
    let engine = engine_for(arguments)?;
    let bar = progress_bar();
    let watch = |progress| show(&bar, progress);
    let report = match &engine {
        Chosen::Native => native::run(&config, heap::live_bytes, watch),
        Chosen::Model(cpu) => {
            let modelled = ModelledCpu {
                name: &cpu.name,
                leaves: &cpu.leaves,
            };
            model::run(modelled, &config, heap::live_bytes, watch)
        }
    };
    bar.finish_and_clear();
    let report = report?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print_report(&report)?;
    }
    Ok(if report.is_clean() {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// What runs.
enum Chosen {
    Native,
    Model(Box<CpuChoice>),
}

fn engine_for(arguments: &RunArguments) -> Result<Chosen, CommandError> {
    match (arguments.engine, &arguments.cpu) {
        (Some(Engine::Native), Some(_)) => Err(CommandError::CpuOfNative),
        (Some(Engine::Native), None) => Ok(Chosen::Native),
        (None, None) if native::IS_HERE => Ok(Chosen::Native),
        (None, None) => {
            if !arguments.json {
                print_line(&RunError::NoNativeEngine.to_string())?;
            }
            modelled(None)
        }
        (Some(Engine::Model) | None, cpu) => modelled(cpu.as_deref()),
    }
}

fn modelled(cpu: Option<&Path>) -> Result<Chosen, CommandError> {
    let default = Path::new(Profile::GENOA.name());
    let cpu = CpuChoice::of(Some(cpu.unwrap_or(default)))?;
    Ok(Chosen::Model(Box::new(cpu)))
}

/// A vCPU can only migrate where there are two CPUs to act on.
fn default_threads() -> u32 {
    available_parallelism()
        .map_or(2, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
        .clamp(2, 64)
}

fn progress_bar() -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {msg}");
    ProgressBar::new(u64::from(STEPS))
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: Progress) {
    let steps = (0..=STEPS)
        .rev()
        .find(|&step| f64::from(step) <= progress.done * f64::from(STEPS));
    bar.set_position(u64::from(steps.unwrap_or(0)));
    bar.set_message(format!(
        "{} entries, {} corruptions",
        grouped(progress.entries),
        grouped(progress.corruptions)
    ));
}

fn print_report(report: &RunReport) -> io::Result<()> {
    print_line(&format!(
        "{} on {}: {}, {}{} to save, {} to restore, by {}",
        report.engine,
        report.cpu,
        report.components.join("+"),
        if report.strategy == report.save_instruction {
            ""
        } else {
            "plain moves before "
        },
        report.save_instruction,
        report.restore_instruction,
        report.strategy_by
    ))?;
    print_line(&format!(
        "{} vCPUs and {} plain tasks on {} threads for {:.1} s, seed {}{}",
        report.vcpus,
        report.host_tasks - report.vcpus,
        report.threads,
        report.seconds,
        report.seed,
        report
            .inject
            .as_ref()
            .map_or(String::new(), |fault| format!(", injecting {fault}"))
    ))?;
    if report.tiles != TileGuests::Run {
        print_line(&report.tiles.to_string())?;
    }
    print_table(&counts(report))?;
    if report.is_clean() {
        return print_line("No register of anyone was seen by, or lost to, anyone else.");
    }
    for corruption in &report.corruption_reports {
        print_line(&format!(
            "{} after {}: {} is {}, expected {} ({} registers differ)",
            corruption.owner,
            corruption.after,
            corruption.register,
            corruption.found,
            corruption.expected,
            corruption.registers
        ))?;
    }
    Ok(())
}

fn counts(report: &RunReport) -> comfy_table::Table {
    let counts = &report.counts;
    let mut table = table(&["event", "count", "of which"]);
    let switches_out = counts.saves + counts.saves_skipped;
    let switches_in = counts.restores + counts.restores_skipped;
    let bytes = |bytes: usize| grouped(bytes as u64);
    for (event, count, of_which) in [
        ("guest entries", counts.entries, String::new()),
        ("came back by a call", counts.exits, String::new()),
        (
            "taken off by a timer signal",
            counts.preemptions,
            String::new(),
        ),
        (
            "migrations",
            counts.migrations,
            format!("{} inside a guest", grouped(counts.migrations_in_guest)),
        ),
        ("kernel sections", counts.kernel_sections, String::new()),
        (
            "vCPUs ended and begun anew",
            counts.vcpus_renewed,
            String::new(),
        ),
        ("forks and execs", counts.forks_and_execs, String::new()),
        (
            "states switched out",
            switches_out,
            format!("{} saved", grouped(counts.saves)),
        ),
        (
            "states switched in",
            switches_in,
            format!("{} restored", grouped(counts.restores)),
        ),
        ("registers checked", counts.registers_checked, String::new()),
        ("corruptions", counts.corruptions, injected(report)),
        (
            "known answers",
            counts.known_answers.checked,
            format!("{} wrong", grouped(counts.known_answers.wrong)),
        ),
        (
            "bytes per vCPU",
            report.bytes_per_vcpu as u64,
            format!("{} of them area", bytes(report.area_len)),
        ),
        (
            "bytes per vCPU, two buffers",
            report.bytes_per_vcpu_two_buffers as u64,
            String::new(),
        ),
    ] {
        table.add_row([event.to_owned(), grouped(count), of_which]);
    }
    if report.tiles == TileGuests::Run {
        add_growth(&mut table, report);
    }
    align_right(&mut table, &[1]);
    table
}

/// What only a CPU with on-demand components has.
fn add_growth(table: &mut comfy_table::Table, report: &RunReport) {
    let counts = &report.counts;
    let bytes = |bytes: Option<usize>| bytes.unwrap_or_default() as u64;
    for (event, count) in [
        ("#NM because of IA32_XFD", counts.xfd_faults),
        ("states that grew", counts.expansions),
        ("states that gave memory back", counts.releases),
        ("uses of tiles denied", counts.denied),
        (
            "bytes per vCPU, tiles unused",
            bytes(report.bytes_per_vcpu_idle),
        ),
        (
            "bytes per vCPU, tiles in use",
            bytes(report.bytes_per_vcpu_tiles),
        ),
    ] {
        table.add_row([event.to_owned(), grouped(count), String::new()]);
    }
}

fn injected(report: &RunReport) -> String {
    match report.counts.faults_injected {
        0 => String::new(),
        faults => format!("{} faults injected", grouped(faults)),
    }
}
