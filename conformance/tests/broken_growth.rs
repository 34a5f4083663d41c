//! The growth world can fail: it notices processors that do not do what they are told, and kernels
//! that break the library's rules.

use conformance::broken::{Broken, Defect};
use conformance::cpus::SAPPHIRE_RAPIDS;
use conformance::generators::seeds;
use conformance::growth_world::{Failing, GrowthNegligence, GrowthWorld};
use fpstate::Offer;
use fpstate_arch::Component;
use fpstate_model::{ModelCpu, Optimisation};

const SCHEDULES: u64 = 6;
/// A schedule ends where it is noticed, mostly long before.
const STEPS: usize = 8000;
const PROCESSORS: usize = 3;

fn model() -> ModelCpu {
    let mut processor = SAPPHIRE_RAPIDS.model();
    processor.set_optimisation(Optimisation::InitialAndModified);
    processor
}

/// What a defect is noticed by in each schedule.
fn findings(defect: Defect, negligence: GrowthNegligence) -> Vec<Result<(), String>> {
    let enumeration = SAPPHIRE_RAPIDS.enumeration();
    let offer = Offer::for_ring0(&enumeration);
    let schedule = |seed| {
        let mut processors: Vec<_> = (1..PROCESSORS)
            .map(|_| Broken::new(model(), defect))
            .collect();
        // The last one reads areas for the check itself.
        processors.push(Broken::new(model(), Defect::None));
        GrowthWorld::new(offer, processors, seed, Failing::OneIn(16))
            .with_negligence(negligence)
            .run(STEPS)
    };
    seeds(SCHEDULES).into_iter().map(schedule).collect()
}

/// Every schedule notices, and says one of `expected`.
fn assert_noticed(defect: Defect, negligence: GrowthNegligence, expected: &[&str]) {
    for found in findings(defect, negligence) {
        let what = found.expect_err("nothing was noticed");
        let what = what.lines().next().unwrap_or_default();
        println!("{defect:?}, {negligence:?}: {what}");
        let named = expected.iter().any(|expected| what.contains(expected));
        assert!(named, "{what}; expected one of {expected:?}");
    }
}

fn assert_defect_noticed(defect: Defect, expected: &[&str]) {
    assert_noticed(defect, GrowthNegligence::None, expected);
}

fn assert_negligence_noticed(negligence: GrowthNegligence, expected: &[&str]) {
    assert_noticed(Defect::None, negligence, expected);
}

#[test]
fn a_wrapper_without_a_defect_changes_nothing() {
    for found in findings(Defect::None, GrowthNegligence::None) {
        assert_eq!(found, Ok(()));
    }
}

#[test]
fn a_lost_write_of_xfd_is_noticed() {
    let expected = ["I10", "I11", "DeviceNotAvailable", "#NM", "at entry"];
    assert_defect_noticed(Defect::LosesXfdWrites(1), &expected);
    assert_defect_noticed(Defect::LosesXfdWrites(5), &expected);
}

#[test]
fn tile_data_left_out_of_a_save_or_a_restore_is_noticed() {
    let lost = ["XTILEDATA", "I23"];
    assert_defect_noticed(Defect::SavesWithout(Component::TileData), &lost);
    assert_defect_noticed(Defect::RestoresWithout(Component::TileData), &lost);
    assert_defect_noticed(Defect::SavesWithout(Component::TileConfig), &["XTILECFG"]);
}

#[test]
fn tiles_of_another_owner_where_there_is_no_room_are_noticed() {
    assert_defect_noticed(Defect::RestoresOnlyWhatTheAreaHas, &["I7"]);
}

#[test]
fn a_skipped_save_or_restore_is_noticed() {
    assert_defect_noticed(Defect::SkipsSaves(7), &["I2:", "I6", "I7"]);
    assert_defect_noticed(Defect::SkipsRestores(7), &["I6", "I7"]);
}

#[test]
fn memory_that_is_not_given_back_is_noticed() {
    assert_negligence_noticed(GrowthNegligence::LosesFormerMemory, &["lost"]);
}

#[test]
fn memory_that_is_given_back_twice_is_noticed() {
    let negligence = GrowthNegligence::ReturnsFormerMemoryTwice;
    assert_negligence_noticed(negligence, &["returned twice"]);
}

#[test]
fn a_growth_that_forgets_supervisor_state_is_noticed() {
    let negligence = GrowthNegligence::ForgetsSupervisorState;
    assert_negligence_noticed(negligence, &["I6, I23"]);
}

#[test]
fn a_component_enabled_without_room_is_noticed() {
    let negligence = GrowthNegligence::EnablesWithoutRoom;
    assert_negligence_noticed(negligence, &["I10"]);
}

#[test]
fn a_growth_without_permission_is_noticed() {
    let negligence = GrowthNegligence::GrowsWithoutPermission;
    assert_negligence_noticed(negligence, &["I20"]);
}

#[test]
fn an_expansion_that_outlives_its_program_is_noticed() {
    let negligence = GrowthNegligence::KeepsExpansionAtExec;
    assert_negligence_noticed(negligence, &["I20"]);
}

#[test]
fn a_cpu_that_wakes_without_its_registers_is_noticed() {
    let negligence = GrowthNegligence::WakesWithoutResume;
    assert_negligence_noticed(negligence, &["I10", "I29", "I2:"]);
}
