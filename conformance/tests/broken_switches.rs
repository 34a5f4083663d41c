//! The world can fail: it notices processors that do not do what they are told, and kernels that
//! break the library's rules.

use conformance::broken::{Broken, Defect};
use conformance::cpus::{self, RecordedCpu};
use conformance::faulting::{Faulting, Victim};
use conformance::generators::seeds;
use conformance::machine::Machine;
use conformance::world::{Event, Negligence, World};
use fpstate_arch::Component;

const SCHEDULES: u64 = 4;
/// A schedule ends where it is noticed, mostly long before.
const STEPS: usize = 3000;
const PROCESSORS: usize = 4;

/// `defect` is noticed in every schedule, on every kind of CPU in `kinds`.
fn assert_noticed(defect: Defect, kinds: &[RecordedCpu]) {
    for cpu in kinds {
        let machine = Machine::ring0(cpu);
        for seed in seeds(SCHEDULES) {
            let mut processors: Vec<_> = (1..PROCESSORS)
                .map(|_| Broken::new(cpu.model(), defect))
                .collect();
            // The last one reads areas for the check itself.
            processors.push(Broken::new(cpu.model(), Defect::None));
            let noticed = World::new(&machine, processors, seed).run(STEPS);
            assert!(noticed.is_err(), "{defect:?} on {}, seed {seed}", cpu.name);
        }
    }
}

fn assert_negligence_noticed(negligence: Negligence) {
    for cpu in &cpus::ALL {
        let machine = Machine::ring0(cpu);
        // With supervisor components no image takes the place of a save.
        let takes_images = machine.user_components() == machine.components();
        if negligence == Negligence::EditsBehindTheLibrary && !takes_images {
            continue;
        }
        for seed in seeds(SCHEDULES) {
            let processors = vec![cpu.model(); PROCESSORS];
            let mut world = World::new(&machine, processors, seed).with_negligence(negligence);
            let noticed = world.run(STEPS);
            assert!(
                noticed.is_err(),
                "{negligence:?} on {}, seed {seed}",
                cpu.name
            );
        }
    }
}

#[test]
fn a_wrapper_without_a_defect_changes_nothing() {
    for cpu in &cpus::ALL {
        let machine = Machine::ring0(cpu);
        let processors = (0..PROCESSORS).map(|_| Broken::new(cpu.model(), Defect::None));
        let mut world = World::new(&machine, processors.collect(), 1);
        assert!(world.run(STEPS).is_ok(), "{}", cpu.name);
    }
}

#[test]
fn a_skipped_save_is_noticed() {
    assert_noticed(Defect::SkipsSaves(1), &cpus::ALL);
    assert_noticed(Defect::SkipsSaves(7), &cpus::ALL);
}

/// H8 · Linux 6.12, 7.2 · selftest `amx_test` · the last comparison of a test looks at data saved long before
#[test]
fn a_skipped_restore_is_noticed() {
    assert_noticed(Defect::SkipsRestores(1), &cpus::ALL);
    assert_noticed(Defect::SkipsRestores(7), &cpus::ALL);
}

#[test]
fn a_restore_of_the_areas_own_components_only_is_noticed() {
    // In the standard format it is what is not initial; in the compacted one, only tiles may have no
    // room.
    let noticing = [cpus::XSAVE_ONLY, cpus::HASWELL, cpus::SAPPHIRE_RAPIDS];
    assert_noticed(Defect::RestoresOnlyWhatTheAreaHas, &noticing);
}

#[test]
fn a_component_left_out_of_a_save_is_noticed() {
    for component in [Component::X87, Component::Sse, Component::Avx] {
        assert_noticed(Defect::SavesWithout(component), cpus::with_xsave());
    }
    assert_noticed(Defect::SavesWithout(Component::CetU), &[cpus::GENOA]);
    assert_noticed(
        Defect::SavesWithout(Component::TileData),
        &[cpus::SAPPHIRE_RAPIDS],
    );
}

#[test]
fn a_component_left_out_of_a_restore_is_noticed() {
    for component in [Component::X87, Component::Sse, Component::Avx] {
        assert_noticed(Defect::RestoresWithout(component), cpus::with_xsave());
    }
    assert_noticed(
        Defect::RestoresWithout(Component::Hi16Zmm),
        &[cpus::SKYLAKE_SP],
    );
    assert_noticed(
        Defect::RestoresWithout(Component::BndCsr),
        &[cpus::SKYLAKE_SP],
    );
}

#[test]
fn a_restore_of_another_threads_image_is_noticed() {
    assert_noticed(Defect::RestoresThePreviousImage(5), &cpus::ALL);
}

#[test]
fn an_mxcsr_that_is_not_restored_is_noticed() {
    assert_noticed(Defect::KeepsMxcsr, &cpus::ALL);
}

#[test]
fn a_header_that_lost_xcomp_bv_is_noticed() {
    let compacted = [cpus::GENOA_WITHOUT_XSAVES, cpus::GENOA, cpus::SKYLAKE_SP];
    assert_noticed(Defect::ForgetsXcompBv, &compacted);
}

#[test]
fn a_kernel_that_uses_registers_in_silence_is_noticed() {
    assert_negligence_noticed(Negligence::ClobbersInSilence);
}

#[test]
fn a_kernel_that_forgets_to_restore_is_noticed() {
    assert_negligence_noticed(Negligence::ForgetsToRestore);
}

#[test]
fn a_save_after_an_image_took_its_place_is_noticed() {
    assert_negligence_noticed(Negligence::EditsBehindTheLibrary);
}

#[test]
fn everything_that_can_happen_does_happen() {
    // Images take the place of saves on the first, supervisor components exist on the second.
    let kinds = [&cpus::HASWELL, &cpus::GENOA];
    let machines = kinds.map(Machine::ring0);
    let world = |machine, kind: &RecordedCpu| {
        let processors = (0..PROCESSORS).map(|_| Faulting::new(kind.model()));
        World::new(machine, processors.collect(), 1)
    };
    let mut worlds: Vec<_> = kinds
        .into_iter()
        .zip(&machines)
        .flat_map(|(kind, machine)| {
            let with_faults = world(machine, kind).with_disturbance(|processor, random| {
                let victims = [Victim::Nothing, Victim::Save, Victim::Restore];
                processor.let_fault(victims[usize::from(random.u8(0..12)).saturating_sub(9)]);
            });
            [world(machine, kind), with_faults]
        })
        .collect();
    for world in &mut worlds {
        assert!(world.run(STEPS).is_ok());
    }
    for event in Event::ALL {
        let count: u64 = worlds.iter().map(|world| world.count_of(event)).sum();
        println!("{event:?}: {count}");
        assert!(count >= 20, "{event:?} happened {count} times");
    }
}
