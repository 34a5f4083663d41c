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
pub mod avx512_guests;
pub mod guest_cet;
pub mod no_tiles_left;
pub mod tile_product;
pub mod tiles_beside_avx512;
pub mod tiles_of_two_guests;
pub mod preemption;
pub mod migration;
pub mod kernel_section;
pub mod new_thread;
pub mod fork_and_exec;
pub mod idle;
pub mod back_online;
pub mod reset;
pub mod memory_again;
pub mod imbalance;
pub mod two_vcpus;
pub mod guest_preempted;
pub mod vcpu_migration;
pub mod guest_cr0_ts;
pub mod guest_msrs;
pub mod vcpu_in_memory_of_another;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    preemption::SCENARIO,
    migration::SCENARIO,
    kernel_section::SCENARIO,
    new_thread::SCENARIO,
    fork_and_exec::SCENARIO,
    idle::SCENARIO,
    back_online::SCENARIO,
    reset::SCENARIO,
    memory_again::SCENARIO,
    imbalance::SCENARIO,
    a_guest_runs::SCENARIO,
    registers_across_exits::SCENARIO,
    avx512_guests::SCENARIO,
    guest_cet::SCENARIO,
    tiles_beside_avx512::SCENARIO,
    tiles_of_two_guests::SCENARIO,
    tile_product::SCENARIO,
    no_tiles_left::SCENARIO,
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
    guest_preempted::SCENARIO,
    vcpu_migration::SCENARIO,
    guest_cr0_ts::SCENARIO,
    guest_msrs::SCENARIO,
];
