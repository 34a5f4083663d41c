//! What an instruction that restores is asked for: everything but what is initial before and after.

use conformance::cpus::{self, RecordedCpu};
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, observed, visible};
use conformance::user_code::UserCode as _;
use fpstate::{CpuFpu, RestoreMask, Restoring, SaveInstruction};
use fpstate_arch::{Component, ComponentSet, Instruction, Processor};

/// SSE, for its MXCSR, is never left out.
const LEFT_OUT_AT_TIMES: ComponentSet = ComponentSet::AVX512
    .with(Component::X87)
    .with(Component::Avx);

/// `test` on every kind of CPU with XSAVE.
fn on_every_cpu(test: impl Fn(&RecordedCpu, &mut CpuFpu<Observed>, &mut Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        if machine.instructions().save() != SaveInstruction::Fxsave {
            test(
                kind,
                &mut observed(kind, &machine, 0),
                &mut Pair::new(&machine),
            );
        }
    }
}

/// What the restores since the last call were asked for.
fn asked_for(cpu: &mut CpuFpu<Observed>) -> Vec<ComponentSet> {
    let trace = cpu.processor().take_trace().into_iter();
    trace
        .filter_map(|executed| {
            let Executed::Restore(_, rfbm) = executed else {
                return None;
            };
            Some(rfbm)
        })
        .collect()
}

/// What a restore leaves out where nothing is in use and the image has nothing. AMD's XINUSE says nothing
/// of FIP, FDP and FOP (docs/surprises.md, "XGETBV(1) on Zen 4").
fn left_out(cpu: &mut CpuFpu<Observed>) -> ComponentSet {
    const AUTHENTIC_AMD: [u8; 4] = *b"Auth";
    let all = LEFT_OUT_AT_TIMES.intersection(cpu.switched_components());
    if cpu.processor().cpuid(0, 0).ebx.to_le_bytes() == AUTHENTIC_AMD {
        all.without(Component::X87)
    } else {
        all
    }
}

fn round_trip(cpu: &mut CpuFpu<Observed>, pair: &mut Pair<'_>) {
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread
        .enter_guest(guest, cpu, Restoring::Now)
        .expect("an entry");
    thread
        .leave_guest(guest, cpu, Restoring::Now)
        .expect("leaving");
}

#[test]
fn what_is_initial_before_and_after_is_left_out() {
    on_every_cpu(|kind, cpu, pair| {
        pair.thread.restore_before_use(cpu).unwrap();
        asked_for(cpu);
        round_trip(cpu, pair);
        let left_out = left_out(cpu);
        let expected = cpu.switched_components().difference(left_out);
        assert_eq!(asked_for(cpu), [expected; 2], "{}", kind.name);
    });
}

#[test]
fn what_is_in_use_before_or_after_is_asked_for_and_nothing_more() {
    for component in LEFT_OUT_AT_TIMES.iter() {
        let only = ComponentSet::only(component);
        on_every_cpu(|kind, cpu, pair| {
            let tried = left_out(cpu);
            if !tried.contains(component) {
                return;
            }
            pair.thread.restore_before_use(cpu).unwrap();
            let values = pair.new_values_for(only);
            cpu.processor().write(component, &values);
            asked_for(cpu);
            round_trip(cpu, pair);
            let in_use = cpu.switched_components().difference(tried).union(only);
            // Loaded, it may not have what is left out before it, but for x87 (Bochs).
            let before = ComponentSet::from_bits(only.bits() - 1).without(Component::X87);
            let loaded = in_use.union(tried.intersection(before));
            let what = format!("{component} on {}", kind.name);
            assert_eq!(asked_for(cpu), [in_use, loaded], "{what}");
            let found = visible(cpu, pair.machine);
            assert_eq!(values.difference(&found), None, "{what}");
        });
    }
}

#[test]
fn where_no_save_tells_xgetbv_does_or_everything_is_asked_for() {
    on_every_cpu(|kind, cpu, pair| {
        pair.thread.restore_before_use(cpu).unwrap();
        pair.thread.save_before_switch(cpu).unwrap();
        cpu.registers_taken().unwrap();
        asked_for(cpu);
        pair.thread.restore_before_use(cpu).unwrap();
        let all = cpu.switched_components();
        let told = kind.enumeration().has(Instruction::XgetbvInUse);
        let expected = if told {
            all.difference(left_out(cpu))
        } else {
            all
        };
        assert_eq!(asked_for(cpu), [expected], "{}", kind.name);
    });
}

#[test]
fn who_wants_everything_restored_gets_it() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let all = machine.instructions().with_mask(RestoreMask::Switched);
        let machine = machine.switching_with(all);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        pair.thread.restore_before_use(&mut cpu).unwrap();
        round_trip(&mut cpu, &mut pair);
        let switched = cpu.switched_components();
        assert_eq!(asked_for(&mut cpu), [switched; 3], "{}", kind.name);
    }
}
