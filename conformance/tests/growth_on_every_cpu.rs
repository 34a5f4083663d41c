//! The growth world on CPUs of every kind: those without tiles, without XFD, without XSAVES, without
//! XSAVE. What cannot grow must be in order too.

use conformance::cpus::{self, RecordedCpu};
use conformance::generators::seeds;
use conformance::growth_world::{Failing, GrowthEvent, GrowthWorld};
use fpstate::Offer;
use fpstate_model::{Optimisation, Profile};

const SCHEDULES: u64 = 4;
const STEPS: usize = 400;
const PROCESSORS: usize = 3;

/// What happens on any CPU, tiles or not.
const ANYWHERE: [GrowthEvent; 8] = [
    GrowthEvent::Executed,
    GrowthEvent::Forked,
    GrowthEvent::Migrated,
    GrowthEvent::PreemptedInGuest,
    GrowthEvent::RestoreSkipped,
    GrowthEvent::Slept,
    GrowthEvent::Restarted,
    GrowthEvent::Reset,
];

/// All profiles, and the kinds that are none.
fn every_kind() -> Vec<RecordedCpu> {
    let others = [
        cpus::FXSAVE_ONLY,
        cpus::XSAVE_ONLY,
        cpus::GENOA_WITHOUT_XSAVES,
    ];
    let profiles = Profile::ALL.iter().copied().map(RecordedCpu::of);
    profiles.chain(others).collect()
}

#[test]
fn every_value_stays_where_it_belongs_on_every_kind_of_cpu() {
    for cpu in every_kind() {
        let enumeration = cpu.enumeration();
        let offer = Offer::for_ring0(&enumeration);
        let mut processor = cpu.model();
        processor.set_optimisation(Optimisation::InitialAndModified);
        let mut counts = [0; ANYWHERE.len()];
        for seed in seeds(SCHEDULES) {
            let processors = vec![processor.clone(); PROCESSORS];
            let mut world = GrowthWorld::new(offer, processors, seed, Failing::OneIn(16));
            if let Err(what) = world.run(STEPS) {
                panic!("{}, FPSTATE_SEED={seed}: {what}", cpu.name);
            }
            for (count, event) in counts.iter_mut().zip(ANYWHERE) {
                *count += world.count_of(event);
            }
        }
        for (count, event) in counts.into_iter().zip(ANYWHERE) {
            assert!(count > 0, "{}: {event:?} did not happen", cpu.name);
        }
    }
}
