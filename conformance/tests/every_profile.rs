//! Random schedules on the CPU of every profile, with every XCR0 that is legal there.

use conformance::cpus::{self, RecordedCpu};
use conformance::generators::seeds;
use conformance::machine::Machine;
use conformance::world::World;
use fastrand::Rng;
use fpstate_arch::{Xcr0, Xss};
use fpstate_model::{ModelCpu, Optimisation, Profile};

/// As many as the CPU with the most has legal values for XCR0.
const SCHEDULES: u64 = 32;
const STEPS: usize = 200;
/// Two that run threads and one that reads areas.
const PROCESSORS: usize = 3;

/// What a seed makes of a CPU. XCR0 goes through the legal values in turn, so that none is left out.
struct Configuration {
    xcr0: Xcr0,
    xss: Xss,
    optimisation: Optimisation,
}

impl Configuration {
    fn of(seed: u64, cpu: &RecordedCpu) -> Self {
        let enumeration = cpu.enumeration();
        let xcr0s = cpus::legal_xcr0s(&enumeration);
        let mut random = Rng::with_seed(!seed);
        let turn = usize::try_from(seed).expect("a small seed") % xcr0s.len();
        let optimisations = [
            Optimisation::None,
            Optimisation::Initial,
            Optimisation::InitialAndModified,
            Optimisation::Poisoning,
        ];
        Self {
            xcr0: xcr0s[turn],
            xss: random
                .choice(cpus::legal_xsss(&enumeration))
                .expect("at least 0"),
            optimisation: random.choice(optimisations).expect("four"),
        }
    }

    fn processors(&self, cpu: &RecordedCpu) -> Vec<ModelCpu> {
        let mut processor = cpu.model();
        processor.set_optimisation(self.optimisation);
        vec![processor; PROCESSORS]
    }
}

fn every_value_stays_where_it_belongs(profile: Profile) {
    let cpu = RecordedCpu::of(profile);
    for seed in seeds(SCHEDULES) {
        let configuration = Configuration::of(seed, &cpu);
        let Configuration { xcr0, xss, .. } = configuration;
        let machine = Machine::ring0_with(&cpu, xcr0, xss);
        let mut world = World::new(&machine, configuration.processors(&cpu), seed);
        if let Err(discrepancy) = world.run(STEPS) {
            panic!(
                "{}, XCR0 {:#x}, IA32_XSS {:#x}, FPSTATE_SEED={seed}: {discrepancy}",
                cpu.name,
                xcr0.components().bits(),
                xss.components().bits(),
            );
        }
    }
}

macro_rules! on_every_profile {
    ($($name:ident: $profile:ident),+ $(,)?) => {
        mod every_value_stays_where_it_belongs {
            $(#[test] fn $name() {
                super::every_value_stays_where_it_belongs(super::Profile::$profile);
            })+
        }
        #[test]
        fn no_profile_is_left_out() {
            assert_eq!([$(Profile::$profile),+], Profile::ALL);
        }
    };
}

on_every_profile! {
    on_haswell_ep: HASWELL_EP,
    on_skylake_sp: SKYLAKE_SP,
    on_cascade_lake_sp: CASCADE_LAKE_SP,
    on_ice_lake_client: ICE_LAKE_CLIENT,
    on_sapphire_rapids: SAPPHIRE_RAPIDS,
    on_emerald_rapids: EMERALD_RAPIDS,
    on_granite_rapids: GRANITE_RAPIDS,
    on_lunar_lake: LUNAR_LAKE,
    on_panther_lake: PANTHER_LAKE,
    on_rome: ROME,
    on_milan: MILAN,
    on_genoa: GENOA,
    on_turin: TURIN,
    on_apx_synthetic: APX_SYNTHETIC,
}

#[test]
fn the_seeds_reach_every_legal_xcr0() {
    for &profile in Profile::ALL {
        let cpu = RecordedCpu::of(profile);
        let mut reached: Vec<_> = (1..=SCHEDULES)
            .map(|seed| Configuration::of(seed, &cpu).xcr0.components().bits())
            .collect();
        reached.sort_unstable();
        reached.dedup();
        let legal = cpus::legal_xcr0s(&cpu.enumeration());
        let legal: Vec<_> = legal.iter().map(|xcr0| xcr0.components().bits()).collect();
        assert_eq!(reached, legal, "{}", cpu.name);
        assert!(legal.starts_with(&[1, 3, 7]), "{}", cpu.name);
    }
}
