//! On this CPU.

use std::time::{Duration, Instant};

use criterion::Criterion;
use fpstate_bench::event::Event;
use fpstate_bench::live::contestants;
use fpstate_bench::live::this_cpu::ThisCpu;
use fpstate_bench::policy::PolicyError;
use fpstate_bench::scenario::Scenario;
use fpstate_bench::setting::{Boxed, Setting};
use fpstate_engine::SwitchBy;

const BATCH: [usize; 64] = [0; 64];

pub(crate) fn measure() {
    let cpu = ThisCpu::read(SwitchBy::Auto).expect("an x86 CPU with XSAVE");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    // Not x87: criterion computes between two samples, and these two leave the program's x87 alone.
    for scenario in [Scenario::SseAvx, Scenario::Avx512] {
        if scenario.is_possible_on(cpu.switched()) {
            round_trips(&mut criterion, &cpu, scenario);
        }
    }
    criterion.final_summary();
}

fn round_trips(criterion: &mut Criterion, cpu: &ThisCpu, scenario: Scenario) {
    let setting = Setting {
        layout: cpu.layout().expect("a layout"),
        instructions: cpu.instructions(),
        scenario,
        vcpus: 1,
    };
    let mut group = criterion.benchmark_group(format!("64 round trips, {}", scenario.title()));
    for (name, mut contestant) in contestants(cpu, &setting).expect("policies") {
        group.bench_function(name.key(), |bencher| {
            bencher.iter_custom(|times| took(&mut contestant, times).expect("a round trip"));
        });
    }
    group.finish();
}

fn took(contestant: &mut Boxed<'_>, times: u64) -> Result<Duration, PolicyError> {
    contestant.prepare(Event::RoundTrip)?;
    let begun = Instant::now();
    for _ in 0..times {
        contestant.happen(Event::RoundTrip, &BATCH)?;
    }
    let took = begun.elapsed();
    contestant.finish(Event::RoundTrip)?;
    Ok(took)
}
