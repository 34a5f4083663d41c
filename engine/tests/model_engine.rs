//! The model engine: the same schedule on software CPUs of several kinds, on any machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;

use fpstate_arch::CpuidRegisters;
use fpstate_engine::model::{ModelledCpu, run};
use fpstate_engine::{InjectedFault, RunConfig, RunLength, RunReport};

/// Every one of these derives from it; printed when a test fails.
const SEED: u64 = 20_211_017;

type Leaf = (u32, u32, CpuidRegisters);

const fn leaf(leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

/// An EPYC 9654, as its dump records it.
const GENOA: [Leaf; 11] = [
    leaf(0x0, 0, [0x10, 0x6874_7541, 0x444D_4163, 0x6974_6E65]),
    leaf(0x1, 0, [0x00A1_0F11, 0x00C0_0800, 0x7EFA_320B, 0x178B_FBFF]),
    leaf(0xd, 0, [0x2E7, 0x980, 0x988, 0]),
    leaf(0xd, 1, [0xF, 0x990, 0x1800, 0]),
    leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    leaf(0xd, 5, [0x40, 0x340, 0, 0]),
    leaf(0xd, 6, [0x200, 0x380, 0, 0]),
    leaf(0xd, 7, [0x400, 0x580, 0, 0]),
    leaf(0xd, 9, [0x8, 0x980, 0, 0]),
    leaf(0xd, 11, [0x10, 0, 1, 0]),
    leaf(0xd, 12, [0x18, 0, 1, 0]),
];

/// A CPU with FXSAVE and nothing newer.
const FXSAVE_ONLY: [Leaf; 1] = [leaf(0x1, 0, [0, 0, 0, 1 << 24])];

fn model(leaves: &[Leaf], threads: u32, inject: Option<InjectedFault>) -> RunReport {
    let config = RunConfig::new(16, threads, RunLength::Entries(3_000), SEED, inject).unwrap();
    let config = config.with_fault_odds(NonZeroU32::new(10).unwrap());
    run(
        ModelledCpu {
            name: "a model",
            leaves,
        },
        &config,
        || 0,
        |_| (),
    )
    .unwrap()
}

#[test]
fn software_cpus_lose_and_see_no_register() {
    let report = model(&GENOA, 3, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    let counts = report.counts;
    assert!(counts.preemptions > 0 && counts.migrations > 0 && counts.migrations_in_guest > 0);
    assert!(counts.exits > 0 && counts.known_answers.checked > 0 && counts.kernel_sections > 0);
    assert!(counts.saves_skipped > 0 && counts.restores_skipped > 0);
    assert!(counts.vcpus_renewed > 0 && counts.forks_and_execs > 0);
    for name in ["Hi16_ZMM", "PKRU", "CET_U"] {
        assert!(
            report.components.iter().any(|component| component == name),
            "{name}"
        );
    }
    assert_eq!(report.save_instruction, "XSAVES");
}

#[test]
fn a_cpu_with_fxsave_only_is_switched_too() {
    let report = model(&FXSAVE_ONLY, 2, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    assert_eq!(report.save_instruction, "FXSAVE");
    assert_eq!(report.components, ["x87", "SSE"]);
}

#[test]
fn every_injected_fault_is_seen_on_the_model_too() {
    for fault in InjectedFault::ALL {
        let report = model(&GENOA, 3, Some(fault));
        assert!(report.counts.faults_injected > 0, "{fault}, seed {SEED}");
        assert!(
            report.counts.corruptions > 0,
            "{fault}, seed {SEED}: {report:#?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, second) = (model(&GENOA, 3, None), model(&GENOA, 3, None));
    assert_eq!(first.counts, second.counts);
}
