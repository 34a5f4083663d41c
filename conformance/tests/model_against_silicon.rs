//! The software CPU held against the CPU that executes this: random registers, RFBM and areas
//! through `fpstate-model` and through the real instructions, and nothing may differ.
//!
//! `FPSTATE_CASES=<n>` compares n cases instead of 200,000; a failure prints `FPSTATE_SEED=<seed>`,
//! with which its thousand cases are compared again.
#![cfg(target_arch = "x86_64")]

use std::time::Instant;

use conformance::differential::campaign::{BATCH, cases_until_caught, compare_all};
use conformance::differential::case::{Case, LoadedFrom, Surroundings, header_of};
use conformance::differential::case::{set_header, set_legacy};
use conformance::differential::demands::demands_on;
use conformance::differential::instruction::{Between, Tested};
use conformance::differential::silicon::Silicon;
use conformance::differential::this_cpu::ThisCpu;
use conformance::differential::wrong_rules::WrongRule;
use fpstate_arch::{Component, ComponentSet, Instruction, LegacyRegion, XsaveHeader};
use fpstate_model::{Optimisation, VendorDifferences};
use fpstate_native::cpuid;

const CASES: u64 = 200_000;
/// Few enough that a wrong rule cannot hide in the 200,000.
const CASES_PER_RULE: u64 = 20_000;

/// A variable of the environment that is a number.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a decimal number"))
}

/// Says so, loudly, where there is nothing to compare with.
fn on_this_cpu(test: impl FnOnce(Silicon, ThisCpu)) {
    let Some(mut silicon) = Silicon::new() else {
        eprintln!("SKIPPED: no XSAVE here");
        return;
    };
    let this = ThisCpu::new(&mut silicon);
    test(silicon, this);
}

#[test]
fn random_cases_come_out_alike_and_reach_every_condition() {
    on_this_cpu(|_, this| {
        eprintln!("{this}");
        for what in this.not_compared() {
            eprintln!("not compared here: {what}");
        }
        let replayed = variable("FPSTATE_SEED");
        let cases = variable("FPSTATE_CASES").unwrap_or(CASES);
        let seeds = match replayed {
            Some(seed) => vec![seed],
            None => (1..=cases.div_ceil(BATCH)).collect(),
        };
        let started = Instant::now();
        let campaign = compare_all(&this, &seeds).unwrap_or_else(|failure| panic!("{failure}"));
        let (tally, unrepeated) = (campaign.tally, campaign.unrepeated);
        let compared = u64::try_from(seeds.len()).unwrap() * BATCH;
        eprintln!(
            "{compared} cases in {:?}: 0 differences, {unrepeated} that did not show again",
            started.elapsed()
        );
        assert!(
            unrepeated <= 1 + compared / 500_000,
            "more than interrupts explain"
        );
        if std::env::var_os("FPSTATE_TALLY").is_some() {
            eprintln!("{tally}");
        }
        if compared >= CASES {
            for condition in demands_on(&this) {
                assert!(tally.count_of(condition) > 0, "{condition:?} never reached");
            }
        }
    });
}

#[test]
fn every_wrong_rule_is_caught() {
    on_this_cpu(|_, this| {
        for rule in WrongRule::ALL {
            if !rule.shows_on(&this) {
                eprintln!("SKIPPED: \"{}\" would not show here", rule.name);
                continue;
            }
            let caught = cases_until_caught(&this, rule, CASES_PER_RULE);
            eprintln!("{:>6} cases: {}", caught.unwrap_or(0), rule.name);
            assert!(caught.is_some(), "not caught: {}", rule.name);
        }
    });
}

#[test]
fn the_software_cpu_reports_the_area_sizes_of_this_one() {
    on_this_cpu(|_, this| {
        let xss = this.xss_that_explains_sizes();
        eprintln!("IA32_XSS may be {xss:?}");
        assert!(xss.is_some());
    });
}

/// CPUID.1:EAX without the stepping: family 19H, model 11H.
const ZEN_4_SERVER: u32 = 0x000a_10f1;

/// As [`on_this_cpu`], for what was seen on one CPU and is promised by nobody.
fn on_zen_4(test: impl FnOnce(Silicon, ThisCpu)) {
    on_this_cpu(|silicon, this| {
        if cpuid(1, 0).eax >> 4 == ZEN_4_SERVER && this.enumeration().has(Instruction::Xsaveopt) {
            test(silicon, this);
        } else {
            eprintln!("SKIPPED: no Zen 4 here");
        }
    });
}

#[test]
fn the_differences_named_after_amd_are_those_of_zen_4() {
    on_zen_4(|_, this| {
        assert_eq!(this.vendor(), VendorDifferences::AMD);
        assert_eq!(this.optimisation(), Optimisation::InitialAndModified);
    });
}

/// docs/surprises.md: XSAVEOPT may announce bytes that nobody wrote.
#[test]
fn xsaveopt_on_zen_4_announces_stale_bytes_of_a_component_that_a_move_put_in_use() {
    const STALE: u8 = 0x55;
    on_zen_4(|mut silicon, this| {
        let avx = Component::Avx;
        if !this.compared().contains_all(ComponentSet::AVX512.with(avx)) {
            eprintln!("SKIPPED: no AVX-512 here");
            return;
        }
        // XRSTOR makes AVX initial, whatever its bytes in the image, and ZMM_Hi256 not.
        let mut image = vec![STALE; this.area_len()];
        set_legacy(&mut image, &LegacyRegion::INITIAL);
        let zmm_hi256 = ComponentSet::only(Component::ZmmHi256);
        set_header(&mut image, &XsaveHeader::standard(zmm_hi256));
        let case = Case {
            tested: Tested::Xsaveopt,
            rfbm: this.compared(),
            registers: image.clone(),
            loaded_from: LoadedFrom::TheOperand,
            between: Between::SetXmm5,
            area: image,
            misalignment: 0,
        };
        let entry = this.enumeration().entry(avx).unwrap();
        let avx_offset = usize::try_from(entry.standard_offset).unwrap();
        // An interrupt would end what the CPU knows of the XRSTOR.
        let seen = (0..50).any(|_| {
            let observed = silicon.execute(&case);
            assert_eq!(observed.after.bytes()[avx_offset], 0, "AVX is initial");
            let area = &observed.memory.bytes()[Surroundings::operand_offset(0)..];
            header_of(area).xstate_bv.contains(avx) && area[avx_offset] == STALE
        });
        assert!(seen);
    });
}
