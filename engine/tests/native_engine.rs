//! The native engine on this machine's own CPU: nothing is corrupted, and every fault is found out.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;

use fpstate_engine::{InjectedFault, RunConfig, RunLength, RunReport, native};

/// Every one of these derives from it; printed when a test fails.
const SEED: u64 = 20_211_017;

fn run(vcpus: u32, threads: u32, entries: u64, inject: Option<InjectedFault>) -> RunReport {
    let length = RunLength::Entries(entries);
    let config = RunConfig::new(vcpus, threads, length, SEED, inject).unwrap();
    let odds = NonZeroU32::new(10).unwrap();
    native::run(&config.with_fault_odds(odds), || 0, |_| ()).unwrap()
}

#[test]
fn many_vcpus_on_two_cpus_lose_and_see_no_register() {
    let report = run(32, 2, 5_000, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    let counts = report.counts;
    assert!(counts.preemptions > 0 && counts.migrations > 0 && counts.migrations_in_guest > 0);
    assert!(counts.exits > 0 && counts.known_answers.checked > 0 && counts.kernel_sections > 0);
    assert!(counts.saves_skipped > 0 && counts.restores_skipped > 0);
    assert!(counts.vcpus_renewed > 0 && counts.forks_and_execs > 0);
}

#[test]
fn one_vcpu_on_one_cpu_works_too() {
    let report = run(1, 1, 500, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    assert_eq!(report.counts.migrations, 0);
}

#[test]
fn more_cpus_than_the_machine_has_only_take_turns() {
    let report = run(8, 5, 1_000, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
}

#[test]
fn every_injected_fault_is_reported_as_a_corruption() {
    // Guests that grow are the model's.
    for fault in InjectedFault::ALL.into_iter().filter(|f| !f.needs_growth()) {
        let report = run(16, 2, 5_000, Some(fault));
        let counts = report.counts;
        assert!(
            counts.faults_injected > 0,
            "{fault}, seed {SEED}: {counts:#?}"
        );
        assert!(counts.corruptions > 0, "{fault}, seed {SEED}: {counts:#?}");
        assert!(!report.is_clean());
        let first = report.corruption_reports.first().unwrap();
        assert_ne!(first.expected, first.found, "{fault}");
    }
}

#[test]
fn a_skipped_restore_shows_on_the_side_it_was_skipped_on() {
    let owners = |fault| -> Vec<String> {
        let report = run(16, 2, 5_000, Some(fault));
        report
            .corruption_reports
            .into_iter()
            .map(|corruption| corruption.owner)
            .collect()
    };
    for owner in owners(InjectedFault::SkipGuestRestore) {
        assert!(owner.starts_with("vCPU"), "{owner}, seed {SEED}");
    }
    for owner in owners(InjectedFault::SkipHostRestore) {
        assert!(owner.starts_with("host task"), "{owner}, seed {SEED}");
    }
}
