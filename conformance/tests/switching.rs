//! Random schedules of everything a kernel does with extended state, on every kind of CPU.

use conformance::cpus::{self, RecordedCpu};
use conformance::faulting::{Faulting, Victim};
use conformance::generators::seeds;
use conformance::machine::Machine;
use conformance::world::World;
use fastrand::Rng;
use fpstate::RegisterMoves;
use fpstate_model::{ModelCpu, Optimisation};

const SCHEDULES: u64 = 40;
const STEPS: usize = 250;
/// Three that run threads and one that reads areas.
const PROCESSORS: usize = 4;

/// CPUs that save as little as the architecture lets them, or everything, or in between, or that
/// poison what they do not save.
fn processors(cpu: &RecordedCpu, seed: u64) -> Vec<ModelCpu> {
    let optimisation = match seed % 4 {
        0 => Optimisation::None,
        1 => Optimisation::Initial,
        2 => Optimisation::Poisoning,
        _ => Optimisation::InitialAndModified,
    };
    let mut processor = cpu.model();
    processor.set_optimisation(optimisation);
    vec![processor; PROCESSORS]
}

fn every_value_stays_where_it_belongs(cpu: &RecordedCpu) {
    for seed in seeds(SCHEDULES) {
        // Every other schedule by register moves, where there are any.
        let moves = match seed / 4 % 2 {
            0 => RegisterMoves::Never,
            _ => RegisterMoves::WhereCovered,
        };
        let machine = Machine::ring0(cpu).with_moves(moves);
        let mut world = World::new(&machine, processors(cpu, seed), seed);
        if let Err(discrepancy) = world.run(STEPS) {
            panic!("{}, FPSTATE_SEED={seed}: {discrepancy}", cpu.name);
        }
    }
}

fn nothing_is_lost_when_instructions_fault(cpu: &RecordedCpu) {
    let machine = Machine::ring0(cpu);
    for seed in seeds(SCHEDULES / 2) {
        let faulting = processors(cpu, seed).into_iter().map(Faulting::new);
        let mut world = World::new(&machine, faulting.collect(), seed).with_disturbance(sometimes);
        if let Err(discrepancy) = world.run(STEPS) {
            panic!(
                "{}, with faults, FPSTATE_SEED={seed}: {discrepancy}",
                cpu.name
            );
        }
    }
}

fn sometimes(processor: &mut Faulting<ModelCpu>, random: &mut Rng) {
    processor.let_fault(match random.u8(0..16) {
        0 | 1 => Victim::Save,
        2 | 3 => Victim::Restore,
        4 => Victim::XfdWrite,
        _ => Victim::Nothing,
    });
}

macro_rules! on_every_cpu {
    ($($name:ident: $cpu:ident),+ $(,)?) => {
        mod every_value_stays_where_it_belongs {
            $(#[test] fn $name() { super::every_value_stays_where_it_belongs(&super::cpus::$cpu); })+
        }
        mod nothing_is_lost_when_instructions_fault {
            $(#[test] fn $name() { super::nothing_is_lost_when_instructions_fault(&super::cpus::$cpu); })+
        }
        #[test]
        fn no_kind_of_cpu_is_left_out() {
            assert_eq!([$(cpus::$cpu.name),+], cpus::ALL.map(|cpu| cpu.name));
        }
    };
}

on_every_cpu! {
    with_fxsave_only: FXSAVE_ONLY,
    with_xsave_only: XSAVE_ONLY,
    with_xsaveopt: HASWELL,
    with_xsavec: GENOA_WITHOUT_XSAVES,
    with_xsaves: GENOA,
    with_mpx: SKYLAKE_SP,
    with_amx: SAPPHIRE_RAPIDS,
}
