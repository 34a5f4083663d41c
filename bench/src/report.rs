//! Every figure.

use fpstate_arch::{Component, ComponentSet};
use serde::Serialize;

use crate::counts::EventCounts;
use crate::event::Event;
use crate::expansion::FirstExpansion;
use crate::memory::ProfileBytes;
use crate::policy_name::{PerPolicy, PolicyName};
use crate::scenario::Scenario;
use crate::spread::Spread;

/// What was found out. Costs are in cycles of the time-stamp counter.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// On what.
    pub machine: Machine,
    /// How the library switches there.
    pub strategy: Strategy,
    /// What two readings of the time take, subtracted from each sample.
    pub timer_overhead: f64,
    /// The headline: into a guest and back, SSE and AVX live on both sides; medians.
    pub round_trip: PerPolicy<f64>,
    /// How far its samples spread.
    pub round_trip_spread: PerPolicy<Spread>,
    /// What it comes to.
    pub ratio: Ratio,
    /// Round trips with other registers live.
    pub scenarios: Vec<ScenarioCosts>,
    /// What else happens, SSE and AVX live.
    pub events: Vec<EventCosts>,
    /// What each event executes, once.
    pub counts: Vec<EventCounts>,
    /// One vCPU, many, very many.
    pub sizes: Vec<SizeCosts>,
    /// How `touch` stands for cache misses.
    pub cache_misses: &'static str,
    /// A guest that uses tiles for the first time, on the software CPU.
    pub first_expansion: FirstExpansion,
    /// On each recorded CPU.
    pub bytes_per_vcpu: Vec<ProfileBytes>,
    /// Whether anybody lost registers.
    pub survival: Survival,
}

/// What was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Its name.
    pub cpu: String,
    /// What is switched there.
    pub components: Vec<String>,
    /// Whether a hypervisor is under it.
    pub virtual_machine: bool,
    /// The kernel's release.
    pub kernel: Option<String>,
}

/// How the library switches.
#[derive(Clone, Debug, Serialize)]
pub struct Strategy {
    /// In this process, at CPL 3.
    pub save_instruction: String,
    /// The one that restores what it wrote.
    pub restore_instruction: String,
    /// Whether plain moves are tried first.
    pub register_moves: &'static str,
    /// Which components what restores is asked for.
    pub restored: &'static str,
    /// Who chose.
    pub chosen_by: String,
}

/// The headline's figures, divided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The library to Linux's design by the best instruction.
    pub full_to_pointer_swap: Option<f64>,
    /// The same where `vcpu_run` is a function that its thread calls.
    pub abi_to_pointer_swap: Option<f64>,
    /// A swap of the library's with both states in memory to one save and one restore.
    pub swap_in_memory_to_pair: Option<f64>,
}

/// Round trips with certain registers live.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioCosts {
    /// Which.
    pub scenario: Scenario,
    /// By name.
    pub live: Vec<String>,
    /// Medians; `null` where a policy does not cover what is live.
    pub round_trip: PerPolicy<f64>,
    /// Their spread.
    pub spread: PerPolicy<Spread>,
}

/// Another event than a round trip.
#[derive(Clone, Debug, Serialize)]
pub struct EventCosts {
    /// Which.
    pub event: Event,
    /// Medians; `null` where a design has no such event.
    pub cost: PerPolicy<f64>,
    /// Their spread.
    pub spread: PerPolicy<Spread>,
}

/// An event, the thread going through many vCPUs in a random order.
#[derive(Clone, Debug, Serialize)]
pub struct SizeCosts {
    /// How many.
    pub vcpus: usize,
    /// Allocated for each of them.
    pub bytes_per_vcpu: PerPolicy<f64>,
    /// What was measured.
    pub events: Vec<SizeEventCosts>,
}

/// One event at one number of vCPUs.
#[derive(Clone, Debug, Serialize)]
pub struct SizeEventCosts {
    /// Which.
    pub event: Event,
    /// Medians.
    pub cost: PerPolicy<f64>,
    /// Their spread.
    pub spread: PerPolicy<Spread>,
    /// The loads and stores of the same cache lines alone; for round trips.
    pub touch: Option<Spread>,
}

/// Whether the values in the registers were brought back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Survival {
    /// Policies times scenarios, before and after they were timed.
    pub checked: u32,
    /// What was lost.
    pub lost: Vec<LostRegisters>,
}

/// Registers that a policy did not bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostRegisters {
    /// Who.
    pub policy: &'static str,
    /// With what live.
    pub scenario: Scenario,
    /// Whose, and which.
    pub what: String,
}

impl BenchReport {
    /// Nobody lost registers.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.survival.lost.is_empty()
    }
}

impl Ratio {
    /// From round trips and from the cost of two swaps in memory.
    #[must_use]
    pub fn of(round_trip: &PerPolicy<f64>, two_swaps_in_memory: Option<f64>) -> Self {
        let to = |part: Option<f64>, whole: PolicyName| Some(part? / round_trip.get(whole)?);
        let cost = |name| round_trip.get(name).copied();
        Self {
            full_to_pointer_swap: to(cost(PolicyName::OursFull), PolicyName::PointerSwap),
            abi_to_pointer_swap: to(cost(PolicyName::OursAbi), PolicyName::PointerSwap),
            swap_in_memory_to_pair: to(two_swaps_in_memory, PolicyName::InstructionsPair),
        }
    }
}

/// Components by name.
#[must_use]
pub fn names(components: ComponentSet) -> Vec<String> {
    components
        .iter()
        .map(|c: Component| c.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_headline_and_null_where_there_is_no_figure() {
        let mut round_trip = PerPolicy::default();
        round_trip.set(PolicyName::PointerSwap, 800.0);
        round_trip.set(PolicyName::OursFull, 200.0);
        let ratio = Ratio::of(&round_trip, Some(20.0));
        assert_eq!(ratio.full_to_pointer_swap, Some(0.25));
        assert_eq!(ratio.abi_to_pointer_swap, None);
        assert_eq!(ratio.swap_in_memory_to_pair, None);
        round_trip.set(PolicyName::InstructionsPair, 1000.0);
        assert_eq!(
            Ratio::of(&round_trip, Some(20.0)).swap_in_memory_to_pair,
            Some(0.02)
        );
    }
}
