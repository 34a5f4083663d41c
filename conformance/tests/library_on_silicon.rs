//! The library with real instructions: the same world, on CPUs made of the one that executes this.
#![cfg(target_arch = "x86_64")]

use conformance::broken::{Broken, Defect};
use conformance::generators::seeds;
use conformance::intercept::{Executed, Intercept};
use std::rc::Rc;

use conformance::machine::Machine;
use conformance::moving::{MoveCounts, Moving};
use conformance::silicon::{hand_over_memory, processors};
use conformance::traced::Traced;
use conformance::world::{Event, World};
use fpstate::{RegisterMoves, Strategies, SwitchInstructions};
use fpstate_arch::{Component, ComponentSet};
use fpstate_native::UserProcessor;

const SCHEDULES: u64 = 40;
const STEPS: usize = 250;
const PROCESSORS: usize = 4;

/// Any bytes are a legal value of these; the others (MPX, PKRU, AMX, APX) belong to the process or
/// have rules of their own.
const ANY_BYTES: ComponentSet = ComponentSet::LEGACY
    .with(Component::Avx)
    .union(ComponentSet::AVX512);

fn machine_of(processor: &UserProcessor<'_>) -> Machine {
    let components = processor.handed_over().intersection(ANY_BYTES);
    Machine::user_mode(processor.enumeration().clone(), components)
}

/// Says so, loudly, where there is nothing to test on.
fn with_silicon(test: impl FnOnce(&Machine, Vec<UserProcessor<'_>>)) {
    let mut memory = hand_over_memory(PROCESSORS);
    match processors(&mut memory) {
        Some(processors) => test(&machine_of(&processors[0]), processors),
        None => eprintln!("SKIPPED: no XSAVE here"),
    }
}

#[test]
fn every_value_stays_where_it_belongs() {
    for seed in seeds(SCHEDULES) {
        with_silicon(|machine, processors| {
            let mut world = World::new(machine, processors, seed);
            if let Err(discrepancy) = world.run(STEPS) {
                panic!("FPSTATE_SEED={seed}: {discrepancy}");
            }
            assert!(world.count_of(Event::Write) > 0);
        });
    }
}

/// Every way in which such a process can switch.
fn ways(machine: &Machine) -> Vec<SwitchInstructions> {
    let strategies = Strategies::for_user_mode(&machine.enumeration, machine.components());
    strategies.iter().collect()
}

#[test]
fn every_value_stays_where_it_belongs_whatever_saves_and_whatever_restores_are_asked_for() {
    let mut count = 0;
    with_silicon(|machine, _| count = ways(machine).len());
    for seed in seeds(SCHEDULES / 8) {
        for way in 0..count {
            with_silicon(|machine, processors| {
                let way = ways(machine)[way];
                let components = machine.components();
                let machine = Machine::user_mode(machine.enumeration.clone(), components);
                let machine = machine.switching_with(way);
                let mut world = World::new(&machine, processors, seed);
                if let Err(discrepancy) = world.run(STEPS) {
                    let strategy = way.strategy();
                    panic!("{strategy}, FPSTATE_SEED={seed}: {discrepancy}");
                }
            });
        }
    }
}

#[test]
fn every_value_stays_where_it_belongs_by_moves() {
    let counts = Rc::new(MoveCounts::default());
    for seed in seeds(SCHEDULES) {
        with_silicon(|machine, processors| {
            let components = machine.components();
            let machine = Machine::user_mode(machine.enumeration.clone(), components)
                .with_moves(RegisterMoves::WhereCovered);
            let moving = processors
                .into_iter()
                .map(|processor| Moving::new(processor, Rc::clone(&counts)));
            let mut world = World::new(&machine, moving.collect(), seed);
            if let Err(discrepancy) = world.run(STEPS) {
                panic!("FPSTATE_SEED={seed}: {discrepancy}");
            }
        });
    }
    println!("{counts:?}");
    assert!(
        counts.done.get() * 20 > counts.not_covered.get(),
        "{counts:?}"
    );
}

#[test]
fn a_skipped_save_or_restore_is_noticed() {
    for defect in [
        Defect::SkipsSaves(7),
        Defect::SkipsRestores(7),
        Defect::RestoresThePreviousImage(5),
        Defect::KeepsMxcsr,
    ] {
        with_silicon(|machine, mut processors| {
            let reader = processors.pop().map(|cpu| Broken::new(cpu, Defect::None));
            let broken = processors.into_iter().map(|cpu| Broken::new(cpu, defect));
            let mut world = World::new(machine, broken.chain(reader).collect(), 1);
            assert!(world.run(8 * STEPS).is_err(), "{defect:?}");
        });
    }
}

#[test]
fn no_instruction_of_ring_0_is_tried() {
    with_silicon(|machine, mut processors| {
        let first = processors.remove(0);
        let mut cpu = machine.start(Traced::new(first), 0).unwrap();
        assert_eq!(cpu.processor().take_trace(), []);
        assert!(!cpu.instructions().has_xfd());
        assert!(cpu.switched_components().contains_all(machine.components()));
        let own = machine.state(machine.components(), machine.memory());
        let mut thread = fpstate::ThreadFpu::new(own);
        thread.restore_before_use(&mut cpu).unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        let restore = machine.instructions().restore();
        let save = machine.instructions().save();
        let trace = cpu.processor().take_trace();
        let [Executed::Restore(with, asked_for), saved] = trace[..] else {
            panic!("{trace:?}");
        };
        assert_eq!(with, restore);
        assert!(cpu.switched_components().contains_all(asked_for));
        assert_eq!(saved, Executed::Save(save, machine.components()));
        assert!(
            cpu.processor()
                .inner()
                .enumeration()
                .has(fpstate_arch::Instruction::Xsave)
        );
    });
}
