//! What several projects had, each for itself.

use conformance::cpus;
use conformance::machine::Machine;
use conformance::pair::{Pair, observed, visible};
use fpstate::ThreadFpu;
use fpstate_arch::{Format, Processor};

/// C4 · peers · axcpu, Hermit, NOVA, Hyperlight, Asterinas, tgoskits · the abridged tag word of a new state was FFFFH, which is a full x87 stack, and not 0
///
/// XRSTOR ignores it where XSTATE_BV\[0\] is 0, FXRSTOR does not.
#[test]
fn the_x87_stack_of_a_new_state_was_full() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let mut new = ThreadFpu::new(pair.new_state());
        let tags = new.edit_own().unwrap().legacy().ftw;
        new.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, &machine);
        let mut other = machine.start(kind.model(), 1).unwrap();
        other.processor().fninit().unwrap();
        let x87 = &other.processor().registers().x87;
        assert_eq!(
            (found.legacy().ftw, tags),
            (x87.ftw, x87.ftw),
            "{}",
            kind.name
        );
        assert_eq!(found.legacy().fcw, x87.fcw, "{}", kind.name);
    }
}

/// C6 · peers · Haiku, WHPX and MSHV converters, Bochs f59ff867d · a compacted area without bit 63 of XCOMP_BV where no component is live, or one read as standard
#[test]
fn an_initial_compacted_area_lacked_bit_63_of_xcomp_bv() {
    let mut compacted = 0;
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let state = machine.state(machine.components(), machine.memory());
        let area = state.in_memory().unwrap();
        let field = *area.bytes()[520..].first_chunk().unwrap();
        let found = u64::from_le_bytes(field);
        assert_eq!(
            Some(found),
            machine.xcomp_bv(machine.components()),
            "{}",
            kind.name
        );
        compacted += u32::from(state.layout().format() == Format::Compacted);
        let mut processor = machine.reader(kind.model());
        let restore = machine.instructions().restore();
        let restored = restore.execute(&mut processor, area.bytes(), machine.components());
        assert_eq!(restored, Ok(()), "{}", kind.name);
    }
    assert_eq!(compacted, 4);
}
