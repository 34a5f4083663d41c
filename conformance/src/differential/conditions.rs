//! Which conditions of the manual a case reaches, so that the tests can demand each of them.

use std::collections::BTreeMap;
use std::fmt;

use fpstate_arch::xsave_header::COMPACTED_BIT;
use fpstate_arch::{Component, ComponentSet, Format, Instruction, XsaveHeader};

use super::case::{Case, Observed, Surroundings, header_of, legacy_of};
use super::comparison::Unmodified;
use super::instruction::{Operand, Tested};
use super::this_cpu::ThisCpu;

/// A rule whose breach is #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The instruction is for CPL 0.
    Ring0,
    /// XSAVE areas begin at a multiple of 64.
    Alignment64,
    /// FXSAVE areas begin at a multiple of 16.
    Alignment16,
    /// Standard: XSTATE_BV within XCR0.
    StandardXstateBv,
    /// Standard: XSTATE_BV\[63\] is 0.
    StandardXstateBv63,
    /// Standard: XCOMP_BV is 0.
    StandardXcompBv,
    /// Standard: bytes 23:16 of the header are 0.
    StandardReserved23To16,
    /// XCOMP_BV\[63\] is for CPUs with XSAVEC.
    Compaction,
    /// Compacted: XCOMP_BV within XCR0.
    CompactedXcompBv,
    /// Compacted: XSTATE_BV within XCOMP_BV.
    CompactedXstateBv,
    /// Compacted: XSTATE_BV\[63\] is 0.
    CompactedXstateBv63,
    /// Compacted: bytes 23:16 of the header are 0.
    CompactedReserved23To16,
    /// Compacted: bytes 63:24 of the header are 0.
    CompactedReserved63To24,
    /// Standard, RFBM\[1\]: no reserved bit in MXCSR.
    StandardMxcsrOfSse,
    /// Standard, RFBM\[2:1\] = 10B: the same.
    StandardMxcsrOfAvxAlone,
    /// Compacted, RFBM\[1\] and XSTATE_BV\[1\]: the same.
    CompactedMxcsr,
    /// FXRSTOR: the same.
    FxrstorMxcsr,
    /// LDMXCSR: the same.
    LdmxcsrMxcsr,
}

/// What becomes of a component in a save or a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// It is saved and its bit in XSTATE_BV is 1.
    SavedInUse,
    /// It is saved, or left out, and its bit is 0.
    SavedInitial,
    /// It is loaded from the area.
    Loaded,
    /// It is initialised.
    Initialised,
    /// It is not requested, and in use.
    NotRequested,
}

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The instruction completed.
    Completed(Tested),
    /// It was refused for breaking this rule and no other.
    Refused(Tested, Rule),
    /// Something that would be refused elsewhere, and here is not looked at.
    NotLookedAt(NotLookedAt),
    /// What became of a component.
    Treated(Tested, FormatOf, Component, Treatment),
    /// XSAVEOPT left out an unmodified component.
    LeftOut(Component),
    /// SSE saved by XSAVEC for MXCSR alone.
    SseForMxcsrAlone,
}

/// The format of the area of a restore; saves have only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormatOf {
    /// The instruction's own.
    Instruction,
    /// Standard.
    Standard,
    /// Compacted.
    Compacted,
}

/// What an instruction must not look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotLookedAt {
    /// Standard: bytes 63:24 of the header.
    StandardReserved63To24,
    /// Standard: reserved bits of MXCSR without RFBM\[2:1\].
    StandardMxcsr,
    /// Compacted: the same without RFBM\[1\] or XSTATE_BV\[1\].
    CompactedMxcsr,
    /// STMXCSR and LDMXCSR: alignment.
    MxcsrAlignment,
    /// FXSAVE: a multiple of 16 that is none of 64.
    FxsaveAlignment,
}

/// How often each condition was reached.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<Condition, u64>);

impl Tally {
    /// Counts what `case` reached.
    pub fn count(
        &mut self,
        case: &Case,
        observed: &Observed,
        unmodified: Unmodified,
        this: &ThisCpu,
    ) {
        let mut reached = |condition| *self.0.entry(condition).or_default() += 1;
        let tested = case.tested;
        if observed.fault.is_some() {
            if let [rule] = broken_rules(case, this)[..] {
                reached(Condition::Refused(tested, rule));
            }
            return;
        }
        reached(Condition::Completed(tested));
        if let Some(sight) = not_looked_at(case, this) {
            reached(Condition::NotLookedAt(sight));
        }
        for component in unmodified.left_out.iter() {
            reached(Condition::LeftOut(component));
        }
        let operand = Surroundings::operand_offset(case.misalignment);
        let after = header_of(&observed.memory.bytes()[operand..]);
        for (format, component, treatment) in treatments(case, &after, observed, this) {
            reached(Condition::Treated(tested, format, component, treatment));
        }
        let in_use = header_of(observed.before.bytes()).xstate_bv;
        let sse = Component::Sse;
        if tested == Tested::Xsavec && after.xstate_bv.contains(sse) && !in_use.contains(sse) {
            reached(Condition::SseForMxcsrAlone);
        }
    }

    /// Adds what another tally counted.
    pub fn add(&mut self, other: &Self) {
        for (&condition, count) in &other.0 {
            *self.0.entry(condition).or_default() += count;
        }
    }

    /// How often `condition` was reached.
    #[must_use]
    pub fn count_of(&self, condition: Condition) -> u64 {
        self.0.get(&condition).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        lines.try_for_each(|(condition, count)| writeln!(f, "{count:>8} {condition:?}"))
    }
}

/// The rules of SDM 1, 13.8, and of the other instructions, that `case` breaks.
#[must_use]
pub fn broken_rules(case: &Case, this: &ThisCpu) -> Vec<Rule> {
    if case.tested.is_privileged() {
        return vec![Rule::Ring0];
    }
    let mut broken = Vec::new();
    let mxcsr = legacy_of(&case.area).mxcsr;
    let mxcsr_is_reserved = !mxcsr.is_valid_under(this.vendor().mxcsr_mask);
    match case.tested.operand() {
        Operand::SavedArea | Operand::RestoredArea if case.misalignment != 0 => {
            broken.push(Rule::Alignment64);
        }
        Operand::FxsaveArea if !case.misalignment.is_multiple_of(16) => {
            broken.push(Rule::Alignment16);
        }
        Operand::SavedArea
        | Operand::RestoredArea
        | Operand::FxsaveArea
        | Operand::Mxcsr
        | Operand::None => {}
    }
    if case.tested == Tested::Xrstor {
        let header = header_of(&case.area);
        broken.extend(match header.format() {
            Format::Compacted => broken_by_compacted_header(&header, this),
            Format::Standard | Format::Fxsave => broken_by_standard_header(&header, this),
        });
        broken.extend(mxcsr_rule(case, &header).filter(|_| mxcsr_is_reserved));
    }
    if case.tested == Tested::Fxrstor && mxcsr_is_reserved {
        broken.push(Rule::FxrstorMxcsr);
    }
    if case.tested == Tested::Ldmxcsr {
        let bits = u32::from_le_bytes(*case.area.first_chunk().unwrap_or(&[0; 4]));
        if bits & !this.vendor().mxcsr_mask != 0 {
            broken.push(Rule::LdmxcsrMxcsr);
        }
    }
    broken
}

fn broken_by_standard_header(header: &XsaveHeader, this: &ThisCpu) -> Vec<Rule> {
    let foreign = header.xstate_bv.difference(this.xcr0()).bits();
    let rules = [
        (foreign & !COMPACTED_BIT != 0, Rule::StandardXstateBv),
        (foreign & COMPACTED_BIT != 0, Rule::StandardXstateBv63),
        (header.xcomp_bv != 0, Rule::StandardXcompBv),
        (header.reserved[..8] != [0; 8], Rule::StandardReserved23To16),
    ];
    broken_of(&rules)
}

fn broken_by_compacted_header(header: &XsaveHeader, this: &ThisCpu) -> Vec<Rule> {
    let room = header.xcomp_bv_components();
    let without_room = header.xstate_bv.difference(room).bits();
    let has_compaction = this.enumeration().has(Instruction::Xsavec);
    let rules = [
        (!has_compaction, Rule::Compaction),
        (!this.xcr0().contains_all(room), Rule::CompactedXcompBv),
        (without_room & !COMPACTED_BIT != 0, Rule::CompactedXstateBv),
        (without_room & COMPACTED_BIT != 0, Rule::CompactedXstateBv63),
        (
            header.reserved[..8] != [0; 8],
            Rule::CompactedReserved23To16,
        ),
        (
            header.reserved[8..] != [0; 40],
            Rule::CompactedReserved63To24,
        ),
    ];
    broken_of(&rules)
}

fn broken_of(rules: &[(bool, Rule)]) -> Vec<Rule> {
    let broken = rules.iter().filter(|(is_broken, _)| *is_broken);
    broken.map(|&(_, rule)| rule).collect()
}

/// The rule by which XRSTOR judges MXCSR, if it does.
fn mxcsr_rule(case: &Case, header: &XsaveHeader) -> Option<Rule> {
    let has_sse = case.rfbm.contains(Component::Sse);
    match header.format() {
        Format::Compacted => {
            (has_sse && header.xstate_bv.contains(Component::Sse)).then_some(Rule::CompactedMxcsr)
        }
        Format::Standard | Format::Fxsave if has_sse => Some(Rule::StandardMxcsrOfSse),
        Format::Standard | Format::Fxsave => case
            .rfbm
            .contains(Component::Avx)
            .then_some(Rule::StandardMxcsrOfAvxAlone),
    }
}

fn not_looked_at(case: &Case, this: &ThisCpu) -> Option<NotLookedAt> {
    let header = header_of(&case.area);
    match case.tested.operand() {
        Operand::Mxcsr if !case.misalignment.is_multiple_of(4) => Some(NotLookedAt::MxcsrAlignment),
        Operand::FxsaveArea if case.misalignment != 0 => Some(NotLookedAt::FxsaveAlignment),
        Operand::RestoredArea => {
            let mxcsr = legacy_of(&case.area).mxcsr;
            let is_compacted = header.format() == Format::Compacted;
            if !mxcsr.is_valid_under(this.vendor().mxcsr_mask) {
                Some(if is_compacted {
                    NotLookedAt::CompactedMxcsr
                } else {
                    NotLookedAt::StandardMxcsr
                })
            } else if !is_compacted && header.reserved[8..] != [0; 40] {
                Some(NotLookedAt::StandardReserved63To24)
            } else {
                None
            }
        }
        Operand::SavedArea | Operand::FxsaveArea | Operand::Mxcsr | Operand::None => None,
    }
}

fn treatments(
    case: &Case,
    after: &XsaveHeader,
    observed: &Observed,
    this: &ThisCpu,
) -> Vec<(FormatOf, Component, Treatment)> {
    let in_use = header_of(observed.before.bytes()).xstate_bv;
    let format = match (case.tested.operand(), header_of(&case.area).format()) {
        (Operand::SavedArea, _) => FormatOf::Instruction,
        (Operand::RestoredArea, Format::Compacted) => FormatOf::Compacted,
        (Operand::RestoredArea, Format::Standard | Format::Fxsave) => FormatOf::Standard,
        (Operand::FxsaveArea | Operand::Mxcsr | Operand::None, _) => return Vec::new(),
    };
    let treatment = |component: Component| {
        let is_named = |set: ComponentSet| set.contains(component);
        if !is_named(case.rfbm) {
            return is_named(in_use).then_some(Treatment::NotRequested);
        }
        Some(match (format, is_named(after.xstate_bv)) {
            (FormatOf::Instruction, true) => Treatment::SavedInUse,
            (FormatOf::Instruction, false) => Treatment::SavedInitial,
            (FormatOf::Standard | FormatOf::Compacted, true) => Treatment::Loaded,
            (FormatOf::Standard | FormatOf::Compacted, false) => Treatment::Initialised,
        })
    };
    let components = this.compared().iter();
    components
        .filter_map(|component| Some((format, component, treatment(component)?)))
        .collect()
}
