//! Random schedules of components that states grow for, with memory that runs out: no corruption, no
//! lost state, no leak.
//!
//! `FPSTATE_SCHEDULES` is the number of seeds; without it, what takes a few seconds in this build.

use conformance::cpus::RecordedCpu;
use conformance::generators::seeds;
use conformance::growth_world::{Failing, GrowthEvent, GrowthWorld, Totals};
use fastrand::Rng;
use fpstate::Offer;
use fpstate_arch::{Enumeration, Processor};
use fpstate_model::{
    InUseTracking, ModelCpu, Optimisation, Profile, VendorDifferences, XfdErrUpdate,
};

/// In a release build 10,000 in all, and the schedules of
/// [`nothing_is_lost_wherever_memory_runs_out`] beside them.
const SCHEDULES: u64 = if cfg!(debug_assertions) { 1000 } else { 10_000 };
const STEPS: usize = 100;

/// This test's part of the seeds of all, or the one to replay.
fn share_of_seeds(divisor: u64) -> Vec<u64> {
    let all = std::env::var("FPSTATE_SCHEDULES").map_or(SCHEDULES, |number| {
        number.parse().expect("FPSTATE_SCHEDULES is a number")
    });
    seeds(all.div_ceil(divisor))
}

/// Two or three processors that run threads and one that reads areas; how they choose what the
/// architecture leaves open is the seed's.
fn processors(cpu: &RecordedCpu, random: &mut Rng) -> Vec<ModelCpu> {
    let optimisations = [
        Optimisation::None,
        Optimisation::Initial,
        Optimisation::InitialAndModified,
        Optimisation::Poisoning,
    ];
    let mut processor = cpu.model();
    processor.set_optimisation(random.choice(optimisations).expect("four"));
    let updates = [XfdErrUpdate::Loaded, XfdErrUpdate::Accumulated];
    let tracking = [InUseTracking::SinceWritten, InUseTracking::ByContents];
    processor.set_vendor_differences(VendorDifferences {
        xfd_err_update: random.choice(updates).expect("two"),
        in_use: random.choice(tracking).expect("two"),
        ..processor.vendor_differences()
    });
    vec![processor; random.usize(3..=4)]
}

/// One kind of CPU, for many schedules.
struct Schedules {
    cpu: RecordedCpu,
    enumeration: Enumeration,
    count: u64,
    totals: Totals,
}

impl Schedules {
    fn on(profile: Profile) -> Self {
        let cpu = RecordedCpu::of(profile);
        Self {
            enumeration: cpu.enumeration(),
            cpu,
            count: 0,
            totals: Totals::default(),
        }
    }

    fn run(&mut self, seed: u64, failing: Failing) -> Totals {
        let mut random = Rng::with_seed(!seed);
        let processors = processors(&self.cpu, &mut random);
        let offer = Offer::for_ring0(&self.enumeration);
        // Another world for each kind of CPU.
        let mixed = random.u64(..) ^ u64::from(self.cpu.model().cpuid(1, 0).eax);
        let mut world = GrowthWorld::new(offer, processors, mixed, failing);
        if let Err(what) = world.run(STEPS) {
            let name = self.cpu.name;
            panic!("{name}, {failing:?}, FPSTATE_SEED={seed}: {what}");
        }
        self.count += 1;
        self.totals += world.totals();
        world.totals()
    }

    fn report(&self) {
        let Totals {
            allocation_points,
            failures,
            expansions,
            releases,
            reused,
        } = self.totals;
        println!(
            "{}: {} schedules, {allocation_points} allocation points, {failures} failures \
             injected, {expansions} expansions, {releases} releases, {reused} areas in used memory",
            self.cpu.name, self.count
        );
    }
}

fn nothing_is_lost_or_leaked(profile: Profile) {
    let mut schedules = Schedules::on(profile);
    for seed in share_of_seeds(2) {
        let failing = match seed % 4 {
            0 => Failing::Never,
            1 => Failing::OneIn(3),
            2 => Failing::OneIn(10),
            // Beyond those of the beginning.
            _ => Failing::Nth(seed / 4 % 32 + 1),
        };
        schedules.run(seed, failing);
    }
    schedules.report();
}

#[test]
fn nothing_is_lost_or_leaked_on_sapphire_rapids() {
    nothing_is_lost_or_leaked(Profile::SAPPHIRE_RAPIDS);
}

#[test]
fn nothing_is_lost_or_leaked_on_granite_rapids() {
    nothing_is_lost_or_leaked(Profile::GRANITE_RAPIDS);
}

#[test]
fn nothing_is_lost_wherever_memory_runs_out() {
    let mut schedules = Schedules::on(Profile::SAPPHIRE_RAPIDS);
    for seed in share_of_seeds(20) {
        let points = schedules.run(seed, Failing::Never).allocation_points;
        for point in 1..=points {
            // Up to that point it is the same schedule.
            let failed = schedules.run(seed, Failing::Nth(point)).failures;
            assert_eq!(failed, 1, "allocation {point}, FPSTATE_SEED={seed}");
        }
    }
    schedules.report();
}

#[test]
fn everything_that_can_happen_does_happen() {
    let cpu = RecordedCpu::of(Profile::SAPPHIRE_RAPIDS);
    let enumeration = cpu.enumeration();
    let offer = Offer::for_ring0(&enumeration);
    let worlds: Vec<_> = (1..=150)
        .map(|seed| {
            let processors = vec![cpu.model(); 3];
            let mut world = GrowthWorld::new(offer, processors, seed, Failing::OneIn(8));
            assert_eq!(world.run(300), Ok(()));
            world
        })
        .collect();
    for &event in GrowthEvent::ALL {
        let count: u64 = worlds.iter().map(|world| world.count_of(event)).sum();
        println!("{event:?}: {count}");
        assert!(count >= 10, "{event:?} happened {count} times");
    }
}
