//! A state goes from CPU to CPU.

use conformance::cpus;
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, observed, visible};
use fpstate::{ControlRegisters, CpuFpu, Restore, SwitchError, ThreadFpu};
use fpstate_arch::{ComponentSet, Xcr0, Xfd, Xss};

/// `test` on every kind of CPU, with two of them.
fn on_every_pair_of_cpus(test: impl Fn(&Machine, [CpuFpu<Observed>; 2], Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let both = [observed(kind, &machine, 0), observed(kind, &machine, 1)];
        test(&machine, both, Pair::new(&machine));
    }
}

#[test]
fn values_follow_the_thread() {
    on_every_pair_of_cpus(|machine, [mut first, mut second], mut pair| {
        let mut values = pair.use_registers(&mut first).unwrap();
        pair.thread.save_before_switch(&mut first).unwrap();
        for _ in 0..4 {
            pair.thread.restore_before_use(&mut second).unwrap();
            assert_eq!(values.difference(&visible(&mut second, machine)), None);
            values = pair.use_registers(&mut second).unwrap();
            pair.thread.save_before_switch(&mut second).unwrap();
            std::mem::swap(&mut first, &mut second);
        }
    });
}

/// CPU 0 still names the state as its owner, and its registers are two steps old.
#[test]
fn a_copy_left_behind_is_not_believed_after_the_state_moved_on() {
    on_every_pair_of_cpus(|machine, [mut first, mut second], mut pair| {
        pair.use_registers(&mut first).unwrap();
        pair.thread.save_before_switch(&mut first).unwrap();
        let newer = pair.use_registers(&mut second).unwrap();
        pair.thread.save_before_switch(&mut second).unwrap();
        let switch = pair.thread.restore_before_use(&mut first).unwrap();
        assert!(matches!(switch.restore, Restore::Area { .. }));
        assert_eq!(newer.difference(&visible(&mut first, machine)), None);
    });
}

#[test]
fn a_return_to_an_untouched_cpu_restores_nothing() {
    on_every_pair_of_cpus(|machine, [mut cpu, _], mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(switch.restore, Restore::AlreadyInRegisters);
        assert_eq!(cpu.processor().take_trace(), []);
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_return_after_somebody_else_restores_and_gives_nothing_away() {
    on_every_pair_of_cpus(|machine, [mut cpu, _], mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let mut other = ThreadFpu::new(pair.new_state());
        other.restore_before_use(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        assert_eq!(initial.difference(&visible(&mut cpu, machine)), None);
        other.save_before_switch(&mut cpu).unwrap();
        cpu.processor().take_trace();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let trace = cpu.processor().take_trace();
        assert!(matches!(trace[..], [Executed::Restore(..)]), "{trace:?}");
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_cpu_that_came_back_online_believes_nothing() {
    on_every_pair_of_cpus(|machine, [mut cpu, _], mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let before = cpu.id();
        let mut processor = cpu.into_processor();
        let others = pair.new_values();
        use conformance::user_code::UserCode;
        processor.write_all(machine.components(), &others);
        let mut cpu = machine.start(processor, before.number()).unwrap();
        assert_ne!(cpu.id(), before);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_state_in_the_registers_of_one_cpu_is_refused_on_another() {
    on_every_pair_of_cpus(|_, [mut here, mut there], mut pair| {
        pair.use_registers(&mut here).unwrap();
        let refused = Err(SwitchError::InRegistersOf {
            state: pair.thread.active().id(),
            cpu: here.id(),
            here: there.id(),
        });
        assert_eq!(pair.thread.save_before_switch(&mut there), refused);
        assert_eq!(pair.thread.restore_before_use(&mut there), refused);
        assert_eq!(there.processor().take_trace(), []);
    });
}

/// C18 · peers · Motor OS, Linux 9bc610b6a2a7 · a path that leaves early, such as a page fault, switched without a save
#[test]
fn a_thread_cannot_take_a_cpu_whose_registers_are_the_only_copy_of_another() {
    on_every_pair_of_cpus(|machine, [mut cpu, _], mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        let state = pair.thread.active().id();
        let mut other = ThreadFpu::new(pair.new_state());
        let refused = Err(SwitchError::WouldDiscard {
            state,
            cpu: cpu.id(),
        });
        assert_eq!(other.restore_before_use(&mut cpu), refused);
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_cpu_with_fewer_components_enabled_refuses_the_state_with_both_sets() {
    let machine = Machine::ring0(&cpus::GENOA);
    let mut pair = Pair::new(&machine);
    let enabled = ComponentSet::from_bits(0x7);
    let mut cpu = CpuFpu::bring_up(
        cpus::GENOA.model(),
        3,
        machine.identities(),
        machine.instructions(),
        ControlRegisters {
            xcr0: Xcr0::new(enabled, enabled).unwrap(),
            xss: Xss::AFTER_RESET,
            xfd: Xfd::NOTHING,
        },
    )
    .unwrap();
    let refused = Err(SwitchError::NotEnabled {
        cpu: cpu.id(),
        found: machine.components(),
        enabled,
    });
    assert_eq!(pair.thread.restore_before_use(&mut cpu), refused);
}
