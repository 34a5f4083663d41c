//! Large random worlds: nothing is wrong on CPUs of any kind, and what is broken on purpose is found
//! and made short.
//!
//! `FPSTATE_SEED` is the seed of the first world.

use std::time::{Duration, Instant};

use conformance::generators::seeds;
use conformance::growth_world::{GrowthEvent, Room};
use conformance::simulator::{
    Campaign, Counts, Ending, Fault, Schedule, Setting, Trial, cpu_names, shrunk,
};

const ACTIONS: usize = if cfg!(debug_assertions) { 300 } else { 3000 };
const LARGE: Room = Room {
    threads: 500,
    guests: 1000,
};
const MEDIUM: Room = Room {
    threads: 40,
    guests: 60,
};

fn setting(room: Room, fault: Fault) -> Setting {
    Setting {
        cpu: "sapphire-rapids",
        cpus: 64,
        room,
        seed: seeds(1)[0],
        fault,
    }
}

/// The shortest list that fails, as what a test is made of.
fn report(setting: &Setting, found: &conformance::simulator::Finding) -> String {
    let shrunk = shrunk(setting, found);
    format!("{}\nin {setting}\n{}", shrunk.finding, shrunk.schedule)
}

#[test]
fn a_large_world_on_every_kind_of_cpu_keeps_every_value_where_it_belongs() {
    let campaign = Campaign {
        first: setting(LARGE, Fault::NONE),
        cpus: cpu_names().collect(),
        actions: ACTIONS,
    };
    let worlds = u64::try_from(campaign.cpus.len()).unwrap();
    let mut counts = Counts::default();
    let deadline = Instant::now() + Duration::from_secs(3600);
    if let Err((setting, found)) = campaign.run(worlds, deadline, &mut counts) {
        panic!("{}", report(&setting, &found));
    }
    assert_eq!(counts.worlds, worlds);
    assert_eq!(counts.actions, worlds * u64::try_from(ACTIONS).unwrap());
    assert!(counts.states > 1300, "{} states", counts.states);
    for event in [GrowthEvent::Migrated, GrowthEvent::PreemptedInGuest] {
        let place = GrowthEvent::ALL.iter().position(|&known| known == event);
        assert!(counts.events[place.unwrap()] > 0, "{event:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_world_and_its_actions_replay() {
    let setting = setting(MEDIUM, Fault::by_name("skips-saves").unwrap());
    let live = || Trial::of(&setting, Ending::AllEnd).live(20_000);
    let found = live().expect_err("saves that are skipped are found");
    assert_eq!(live().unwrap_err(), found);
    let schedule = Schedule {
        setting,
        actions: found.actions.clone(),
    };
    assert_eq!(schedule.replay().unwrap_err(), found);
    let read: Schedule = schedule.to_string().parse().unwrap();
    assert_eq!(read, schedule);
}

#[test]
fn every_fault_is_found_and_made_short() {
    for &fault in Fault::ALL {
        let setting = setting(MEDIUM, fault);
        let found = Trial::of(&setting, Ending::AllEnd).live(20_000);
        let found = found.expect_err(fault.name());
        let shrunk = shrunk(&setting, &found);
        let len = shrunk.schedule.actions.len();
        let name = fault.name();
        println!("{name}: {} of {}: {}", len, shrunk.from, shrunk.finding);
        assert!(len <= 12, "{name}: {}", shrunk.schedule);
        // As from a file, or pasted into a test.
        let read: Schedule = shrunk.schedule.to_string().parse().unwrap();
        let again = read.replay().expect_err(name);
        assert_eq!(again.kind(), found.kind(), "{name}");
        // It is the fault that was found.
        let mut right = shrunk.schedule;
        right.setting.fault = Fault::NONE;
        assert!(right.replay().is_ok(), "{name}");
    }
}
