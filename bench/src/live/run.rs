//! Everything, one thing after the other.

use std::fs;
use std::io;

use fpstate::{RegisterMoves, RestoreMask};
use fpstate_engine::footprint::LiveHeapBytes;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::bench_config::BenchConfig;
use crate::bench_error::BenchError;
use crate::counts::{self, EventCounts};
use crate::event::Event;
use crate::expansion;
use crate::live::bare::live_processor;
use crate::live::contest::{Competitor, Costs, Seat, Visits, measure, timer_overhead};
use crate::live::own_registers::OwnRegisters;
use crate::live::seats;
use crate::live::survival::{self, Promise};
use crate::live::this_cpu::ThisCpu;
use crate::memory;
use crate::policy::PolicyError;
use crate::policy_name::{PerPolicy, PolicyName};
use crate::report::{
    BenchReport, EventCosts, LostRegisters, Machine, Ratio, ScenarioCosts, SizeCosts,
    SizeEventCosts, Strategy, Survival, names,
};
use crate::scenario::Scenario;
use crate::setting::Setting;
use crate::spread::Spread;

/// Events that are shown for many vCPUs.
const OF_MANY: [Event; 3] = [Event::RoundTrip, Event::LeavesAtOnce, Event::SwapInMemory];
/// Rounds for each figure of many vCPUs: fewer, since a sample has more in it.
const ROUNDS_OF_MANY: usize = 390;

/// Measures. `live_heap_bytes` reads what the process's allocator has allocated; `watch` is told what
/// comes next.
///
/// # Errors
/// [`BenchError`]. Lost registers are none: they are in the report.
pub fn run(
    config: &BenchConfig,
    live_heap_bytes: LiveHeapBytes,
    watch: impl FnMut(&str),
) -> Result<BenchReport, BenchError> {
    let cpu = ThisCpu::read(config.switch_by)?;
    stay_on_this_cpu()?;
    let mut bench = Bench {
        config,
        cpu: &cpu,
        registers: OwnRegisters::new(&cpu)?,
        random: fastrand::Rng::with_seed(config.seed),
        timer: timer_overhead(),
        survival: Survival::default(),
        watch,
    };
    let mut scenarios = Vec::new();
    let mut counts = Vec::new();
    for scenario in Scenario::ALL {
        if scenario.is_possible_on(cpu.switched()) {
            scenarios.push(bench.scenario(scenario)?);
            counts.extend(bench.counts(scenario)?);
        }
    }
    let events = bench.events()?;
    let sizes = bench.sizes(live_heap_bytes)?;
    (bench.watch)("memory");
    let bytes_per_vcpu = memory::of_each_profile(live_heap_bytes).ok_or(PolicyError::NoMemory)?;
    let Bench {
        timer, survival, ..
    } = bench;
    let headline = scenarios
        .iter()
        .find(|costs| costs.scenario == Scenario::SseAvx);
    let (round_trip, round_trip_spread) = headline
        .map(|costs| (costs.round_trip.clone(), costs.spread.clone()))
        .unwrap_or_default();
    let swaps = events.iter().find(|cost| cost.event == Event::SwapInMemory);
    let swaps = swaps.and_then(|cost| cost.cost.get(PolicyName::OursFull).copied());
    Ok(BenchReport {
        machine: machine(&cpu),
        strategy: strategy(&cpu),
        timer_overhead: timer,
        ratio: Ratio::of(&round_trip, swaps),
        round_trip,
        round_trip_spread,
        scenarios,
        events,
        counts,
        sizes,
        cache_misses: "touch: the same cache lines in the same order, loaded and stored alone",
        first_expansion: expansion::count()?,
        bytes_per_vcpu,
        survival,
    })
}

struct Bench<'c, W> {
    config: &'c BenchConfig,
    cpu: &'c ThisCpu,
    registers: OwnRegisters<'c>,
    random: fastrand::Rng,
    timer: f64,
    survival: Survival,
    watch: W,
}

impl<'c, W: FnMut(&str)> Bench<'c, W> {
    fn setting(&self, scenario: Scenario, vcpus: usize) -> Result<Setting<'c>, BenchError> {
        Ok(Setting {
            layout: self.cpu.layout()?,
            instructions: self.cpu.instructions(),
            scenario,
            vcpus,
        })
    }

    /// Round trips of one vCPU; before and after, whether registers survive them.
    fn scenario(&mut self, scenario: Scenario) -> Result<ScenarioCosts, BenchError> {
        (self.watch)(scenario.title());
        let setting = self.setting(scenario, 1)?;
        let mut seats = seats::all(self.cpu, &setting, &mut self.registers)?;
        self.check_survival(&mut seats, &setting)?;
        let costs = self.measure(&mut seats, Event::RoundTrip, self.config.rounds, 1)?;
        self.check_survival(&mut seats, &setting)?;
        let spread = by_policy(&costs);
        Ok(ScenarioCosts {
            scenario,
            live: names(scenario.live()),
            round_trip: spread.map(|spread| spread.median),
            spread,
        })
    }

    fn events(&mut self) -> Result<Vec<EventCosts>, BenchError> {
        let setting = self.setting(Scenario::SseAvx, 1)?;
        let mut seats = seats::all(self.cpu, &setting, &mut self.registers)?;
        let mut events = Vec::new();
        for event in Event::ALL {
            (self.watch)(event.title());
            let costs = self.measure(&mut seats, event, self.config.rounds, 1)?;
            let spread = by_policy(&costs);
            let cost = spread.map(|spread| spread.median);
            events.push(EventCosts {
                event,
                cost,
                spread,
            });
        }
        Ok(events)
    }

    fn counts(&mut self, scenario: Scenario) -> Result<Vec<EventCounts>, BenchError> {
        let setting = self.setting(scenario, 1)?;
        let events = Event::ALL.into_iter();
        // With other registers live only what moves them differs.
        let counted =
            events.filter(|&event| scenario == Scenario::SseAvx || event == Event::RoundTrip);
        let counted = counted
            .map(|event| {
                counts::count(&setting, event, || {
                    self.registers.initialise()?;
                    Ok(live_processor())
                })
            })
            .collect::<Result<_, _>>();
        self.registers.initialise()?;
        Ok(counted?)
    }

    fn sizes(&mut self, live: LiveHeapBytes) -> Result<Vec<SizeCosts>, BenchError> {
        let sizes = &self.config.sizes;
        sizes.iter().map(|&vcpus| self.size(vcpus, live)).collect()
    }

    fn size(&mut self, vcpus: usize, live: LiveHeapBytes) -> Result<SizeCosts, BenchError> {
        (self.watch)(&format!("{vcpus} vCPUs"));
        let setting = self.setting(Scenario::SseAvx, vcpus)?;
        let bytes_per_vcpu = seats::bytes_per_vcpu(self.cpu, &setting, &mut self.registers, live)?;
        let mut seats = seats::all(self.cpu, &setting, &mut self.registers)?;
        seats.push(seats::touch(&setting)?);
        let rounds = self.config.rounds.min(ROUNDS_OF_MANY);
        let mut events = Vec::new();
        for event in OF_MANY {
            let costs = self.measure(&mut seats, event, rounds, vcpus)?;
            let touch = costs.iter().find(|(who, _)| *who == Competitor::Touch);
            let spread = by_policy(&costs);
            events.push(SizeEventCosts {
                event,
                cost: spread.map(|spread| spread.median),
                spread,
                touch: touch
                    .and_then(|&(_, spread)| spread)
                    .filter(|_| event == Event::RoundTrip),
            });
        }
        Ok(SizeCosts {
            vcpus,
            bytes_per_vcpu,
            events,
        })
    }

    fn measure(
        &mut self,
        seats: &mut [Seat<'_>],
        event: Event,
        rounds: usize,
        vcpus: usize,
    ) -> Result<Costs, BenchError> {
        let mut visits = Visits::new(vcpus, &mut self.random);
        let (registers, random) = (&mut self.registers, &mut self.random);
        measure(
            seats,
            event,
            rounds,
            &mut visits,
            self.timer,
            registers,
            random,
        )
    }

    fn check_survival(
        &mut self,
        seats: &mut [Seat<'_>],
        setting: &Setting<'_>,
    ) -> Result<(), BenchError> {
        for seat in seats {
            let Competitor::Policy(policy) = seat.competitor else {
                continue;
            };
            let promise = match policy {
                PolicyName::OursAbi => Promise::CallPreserved,
                PolicyName::InstructionsPair
                | PolicyName::PlainMoves
                | PolicyName::TwoBuffers
                | PolicyName::PointerSwap
                | PolicyName::XsaveCrate
                | PolicyName::OursInstructions
                | PolicyName::OursFull => Promise::Everything,
            };
            self.registers.initialise()?;
            let checked =
                survival::check(&mut *seat.contestant, setting, &mut self.registers, promise);
            self.registers.initialise()?;
            match checked {
                Ok(None) => self.survival.checked += 1,
                Ok(Some(lost)) => self.survival.lost.push(LostRegisters {
                    policy: policy.key(),
                    scenario: setting.scenario,
                    what: lost.to_string(),
                }),
                Err(PolicyError::NotCovered) => {}
                Err(error) => return Err(seat.blame(error)),
            }
        }
        Ok(())
    }
}

fn by_policy(costs: &Costs) -> PerPolicy<Spread> {
    let mut spread = PerPolicy::default();
    for &(competitor, cost) in costs {
        if let (Competitor::Policy(name), Some(cost)) = (competitor, cost) {
            spread.set(name, cost);
        }
    }
    spread
}

fn machine(cpu: &ThisCpu) -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    Machine {
        cpu: cpu.name().to_owned(),
        components: names(cpu.switched()),
        virtual_machine: cpu.is_virtual(),
        kernel: kernel.map(|release| release.trim().to_owned()),
    }
}

fn strategy(cpu: &ThisCpu) -> Strategy {
    let instructions = cpu.instructions();
    Strategy {
        save_instruction: instructions.save().to_string(),
        restore_instruction: instructions.restore().to_string(),
        register_moves: match instructions.moves() {
            RegisterMoves::Never => "never",
            RegisterMoves::WhereCovered => "where they cover what is live",
        },
        restored: match instructions.mask() {
            RestoreMask::Switched => "all",
            RestoreMask::InUse => "in use before or after",
        },
        chosen_by: cpu.chosen_by().to_string(),
    }
}

fn stay_on_this_cpu() -> Result<(), BenchError> {
    let pinned = sched_getcpu().and_then(|cpu| {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)
    });
    pinned.map_err(|errno| BenchError::Pin(io::Error::from(errno)))
}
