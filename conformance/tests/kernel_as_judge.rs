//! The kernel of this machine held against the library: generated images through both, by each way into
//! a kernel, and neither the verdict nor a byte of the state after it may differ.
//!
//! `FPSTATE_CASES=<n>` compares n images for each way instead of a few seconds' worth; a failure prints
//! `FPSTATE_SEED=<seed>`, with which its thousand images are compared again.
#![cfg(target_arch = "x86_64")]

use std::time::Instant;

use conformance::generators::seeds;
use conformance::judge::answer::Verdict;
use conformance::judge::campaign::{BATCH, Campaign};
use conformance::judge::court::Court;
use conformance::judge::door::Door;
use conformance::judge::generator::Generator;
use conformance::judge::wrong_rules::WrongRule;

/// Images for each door, enough that each change is made hundreds of times.
const CASES: u64 = 10_000;

/// As many images as the environment asks for.
fn cases() -> u64 {
    let asked = std::env::var("FPSTATE_CASES").ok();
    asked.map_or(CASES, |text| {
        text.parse().expect("FPSTATE_CASES is a number")
    })
}

/// Compares as many images as are asked for; `None` where there is no such door.
fn compare_all(door: Door) -> Option<Campaign> {
    let court = Court::open(door)?;
    let seeds = seeds(cases().div_ceil(BATCH));
    let started = Instant::now();
    let campaign = court
        .compare(&seeds)
        .unwrap_or_else(|failure| panic!("{failure}"));
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    eprintln!(
        "{door}, seeds {first} to {last}: {campaign}; {:?}",
        started.elapsed()
    );
    if campaign.compared >= CASES {
        for change in Generator::changes(door) {
            let made = campaign.made.get(change).copied().unwrap_or(0);
            assert!(made >= 100, "{change} was made {made} times");
        }
    }
    Some(campaign)
}

fn assert_reached(campaign: Option<Campaign>, verdicts: &[Verdict]) {
    let Some(campaign) = campaign else { return };
    if campaign.compared < CASES {
        return;
    }
    for verdict in verdicts {
        assert!(campaign.count_of(*verdict) >= BATCH / 100, "{verdict}");
    }
}

#[test]
fn a_vcpu_takes_and_hands_out_what_the_kernels_does() {
    let campaign = compare_all(Door::Vcpu);
    assert_reached(
        campaign,
        &[Verdict::Taken, Verdict::EINVAL, Verdict::EFAULT],
    );
}

#[test]
fn a_thread_takes_and_hands_out_the_nt_x86_xstate_that_the_kernels_does() {
    let campaign = compare_all(Door::X86Xstate);
    assert_reached(
        campaign,
        &[Verdict::Taken, Verdict::EINVAL, Verdict::EFAULT],
    );
}

#[test]
fn a_thread_takes_and_hands_out_the_nt_prfpreg_that_the_kernels_does() {
    let campaign = compare_all(Door::Prfpreg);
    assert_reached(campaign, &[Verdict::Taken, Verdict::EINVAL]);
}

#[test]
fn a_signal_returns_to_the_registers_that_the_kernels_does() {
    let campaign = compare_all(Door::SignalFrame);
    assert_reached(campaign, &[Verdict::Taken, Verdict::Killed]);
}

/// Few enough that a wrong rule cannot hide.
const BATCHES_PER_RULE: u64 = 20;

fn assert_every_wrong_rule_is_caught_at(door: Door) {
    let Some(court) = Court::open(door) else {
        return;
    };
    let seeds: Vec<_> = (1..=BATCHES_PER_RULE).collect();
    let (shown, hidden) = WrongRule::at(door, court.shape().components());
    for rule in hidden {
        eprintln!("SKIPPED: \"{}\" would not show here", rule.name);
    }
    for rule in shown {
        let caught = rule.cases_until_caught(&court, &seeds);
        eprintln!("{:>6} images: {}", caught.unwrap_or(0), rule.name);
        assert!(caught.is_some(), "not caught: {}", rule.name);
    }
}

#[test]
fn every_wrong_rule_of_a_vcpu_is_caught() {
    assert_every_wrong_rule_is_caught_at(Door::Vcpu);
}

#[test]
fn every_wrong_rule_of_nt_x86_xstate_is_caught() {
    assert_every_wrong_rule_is_caught_at(Door::X86Xstate);
}

#[test]
fn every_wrong_rule_of_nt_prfpreg_is_caught() {
    assert_every_wrong_rule_is_caught_at(Door::Prfpreg);
}

#[test]
fn every_wrong_rule_of_sigreturn_is_caught() {
    assert_every_wrong_rule_is_caught_at(Door::SignalFrame);
}
