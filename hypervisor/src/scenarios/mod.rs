//! One behaviour a file.

pub mod a_guest_runs;
pub mod bad_xcr0;
pub mod confidential_guest;
pub mod guest_pkru;
pub mod host_and_guest_apart;
pub mod guest_imbalance;
pub mod init_of_a_vcpu;
pub mod known_answer;
pub mod preemption_inside_the_swap;
pub mod registers_across_exits;
pub mod ring0_keeps_registers;
pub mod two_vcpus;
pub mod vcpu_in_memory_of_another;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    a_guest_runs::SCENARIO,
    registers_across_exits::SCENARIO,
    host_and_guest_apart::SCENARIO,
    preemption_inside_the_swap::SCENARIO,
    two_vcpus::SCENARIO,
    known_answer::SCENARIO,
    bad_xcr0::SCENARIO,
    guest_pkru::SCENARIO,
    init_of_a_vcpu::SCENARIO,
    confidential_guest::SCENARIO,
    guest_imbalance::SCENARIO,
    vcpu_in_memory_of_another::SCENARIO,
];
