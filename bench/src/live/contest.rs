//! Many rounds; in each, every policy has a turn.

use crate::bench_error::BenchError;
use crate::event::Event;
use crate::live::bare::timestamp;
use crate::live::own_registers::OwnRegisters;
use crate::policy::PolicyError;
use crate::policy_name::PolicyName;
use crate::setting::Boxed;
use crate::spread::Spread;

/// What sits in a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Competitor {
    /// A design.
    Policy(PolicyName),
    /// Nothing but the loads and stores of the vCPU's cache lines.
    Touch,
}

pub(super) struct Seat<'p> {
    pub(super) competitor: Competitor,
    pub(super) contestant: Boxed<'p>,
}

/// Times that an event happens in a sample.
const MOST_IN_A_SAMPLE: usize = 256;
const LEAST_IN_A_SAMPLE: usize = 64;
/// Times that it has happened before the first of a sample, where there are few vCPUs.
const WARM_UP: usize = 2;

/// In which order vCPUs are visited, one sample after the other.
#[derive(Debug)]
pub(super) struct Visits {
    order: Vec<usize>,
    next: usize,
}

impl Visits {
    /// All of `vcpus`, each as often as the others, in a random order.
    pub(super) fn new(vcpus: usize, random: &mut fastrand::Rng) -> Self {
        let times = LEAST_IN_A_SAMPLE.div_ceil(vcpus.max(1));
        let mut order: Vec<_> = (0..vcpus).cycle().take(vcpus * times).collect();
        random.shuffle(&mut order);
        Self { order, next: 0 }
    }

    /// The vCPUs of the next sample. They were visited longest ago.
    fn next(&mut self) -> &[usize] {
        let len = self.order.len().min(MOST_IN_A_SAMPLE);
        if self.next + len > self.order.len() {
            self.next = 0;
        }
        let first = self.next;
        self.next += len;
        self.order.get(first..first + len).unwrap_or(&[])
    }
}

/// What a policy took for an event, in cycles.
pub(super) type Costs = Vec<(Competitor, Option<Spread>)>;

/// Lets `event` happen to everybody in `rounds` rounds, in another order each time. `timer` is
/// subtracted from each sample. A policy that does not cover what is live has no figure.
pub(super) fn measure(
    seats: &mut [Seat<'_>],
    event: Event,
    rounds: usize,
    visits: &mut Visits,
    timer: f64,
    registers: &mut OwnRegisters<'_>,
    random: &mut fastrand::Rng,
) -> Result<Costs, BenchError> {
    let mut samples: Vec<Vec<f64>> = seats.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut turns: Vec<usize> = (0..seats.len())
        .filter(|&turn| seats.get(turn).is_some_and(|seat| seat.has(event)))
        .collect();
    for _ in 0..rounds {
        random.shuffle(&mut turns);
        let order = visits.next();
        let mut out = Vec::new();
        for &turn in &turns {
            let (Some(seat), Some(samples)) = (seats.get_mut(turn), samples.get_mut(turn)) else {
                continue;
            };
            match sample(seat, event, order, registers) {
                Ok(cycles) => samples.push((cycles - timer) / order.len() as f64),
                Err(PolicyError::NotCovered) => out.push(turn),
                Err(error) => return Err(seat.blame(error)),
            }
        }
        turns.retain(|turn| !out.contains(turn));
    }
    Ok(seats
        .iter()
        .map(|seat| seat.competitor)
        .zip(samples.iter_mut().map(|samples| Spread::of(samples)))
        .collect())
}

/// The median of what two readings of the time take with nothing between them.
pub(super) fn timer_overhead() -> f64 {
    let mut samples: Vec<_> = (0..10_000)
        .map(|_| {
            let before = timestamp();
            timestamp().wrapping_sub(before) as f64
        })
        .collect();
    Spread::of(&mut samples).map_or(0.0, |spread| spread.median)
}

fn sample(
    seat: &mut Seat<'_>,
    event: Event,
    order: &[usize],
    registers: &mut OwnRegisters<'_>,
) -> Result<f64, PolicyError> {
    registers.initialise()?;
    let cycles = timed(seat, event, order);
    registers.initialise()?;
    Ok(cycles? as f64)
}

fn timed(seat: &mut Seat<'_>, event: Event, order: &[usize]) -> Result<u64, PolicyError> {
    let contestant = &mut seat.contestant;
    contestant.prepare(event)?;
    contestant.happen(event, order.get(..WARM_UP).unwrap_or(order))?;
    let before = timestamp();
    let happened = contestant.happen(event, order);
    let after = timestamp();
    happened?;
    contestant.finish(event)?;
    Ok(after.wrapping_sub(before))
}

impl Seat<'_> {
    fn has(&self, event: Event) -> bool {
        match self.competitor {
            Competitor::Policy(name) => event.is_of(name),
            Competitor::Touch => true,
        }
    }

    pub(super) fn blame(&self, error: PolicyError) -> BenchError {
        match self.competitor {
            Competitor::Policy(name) => BenchError::Policy { name, error },
            Competitor::Touch => BenchError::Setting(error),
        }
    }
}
