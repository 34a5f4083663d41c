//! Which conditions a run must have reached, on a CPU that has what they need.

use fpstate_arch::{Component, Instruction};
use fpstate_model::Optimisation;

use super::conditions::{Condition, FormatOf, NotLookedAt, Rule, Treatment};
use super::instruction::{Operand, Tested};
use super::this_cpu::ThisCpu;

/// Every condition that `this` CPU can reach.
#[must_use]
pub fn demands_on(this: &ThisCpu) -> Vec<Condition> {
    let comparable = Tested::ALL
        .into_iter()
        .filter(|tested| tested.is_comparable_on(this.enumeration()));
    let mut demands: Vec<_> = comparable
        .flat_map(|tested| {
            if tested.is_privileged() {
                vec![Condition::Refused(tested, Rule::Ring0)]
            } else {
                demands_on_instruction(tested, this)
            }
        })
        .collect();
    demands.extend(xrstor_refusals(this));
    if this.optimisation() == Optimisation::InitialAndModified {
        demands.extend(this.compared().iter().map(Condition::LeftOut));
    }
    if has_xsavec(this) && this.optimisation() != Optimisation::None {
        demands.push(Condition::SseForMxcsrAlone);
    }
    demands
}

fn has_xsavec(this: &ThisCpu) -> bool {
    this.enumeration().has(Instruction::Xsavec)
}

fn demands_on_instruction(tested: Tested, this: &ThisCpu) -> Vec<Condition> {
    let mut demands = vec![Condition::Completed(tested)];
    let (formats, treatments) = match tested.operand() {
        Operand::SavedArea => {
            demands.push(Condition::Refused(tested, Rule::Alignment64));
            (vec![FormatOf::Instruction], saved(this))
        }
        Operand::RestoredArea => {
            demands.push(Condition::Refused(tested, Rule::Alignment64));
            let mut formats = vec![FormatOf::Standard];
            formats.extend(has_xsavec(this).then_some(FormatOf::Compacted));
            let restored = [
                Treatment::Loaded,
                Treatment::Initialised,
                Treatment::NotRequested,
            ];
            (formats, restored.to_vec())
        }
        Operand::FxsaveArea => {
            demands.push(Condition::Refused(tested, Rule::Alignment16));
            demands.push(Condition::NotLookedAt(NotLookedAt::FxsaveAlignment));
            return demands;
        }
        Operand::Mxcsr => {
            demands.push(Condition::NotLookedAt(NotLookedAt::MxcsrAlignment));
            return demands;
        }
        Operand::None => return demands,
    };
    for component in this.compared().iter() {
        for &format in &formats {
            demands.extend(
                treatments
                    .iter()
                    .map(|&treatment| Condition::Treated(tested, format, component, treatment)),
            );
        }
    }
    demands
}

fn saved(this: &ThisCpu) -> Vec<Treatment> {
    let mut treatments = vec![Treatment::SavedInUse, Treatment::NotRequested];
    if this.optimisation() != Optimisation::None {
        treatments.push(Treatment::SavedInitial);
    }
    treatments
}

fn xrstor_refusals(this: &ThisCpu) -> Vec<Condition> {
    let mut rules = vec![
        Rule::StandardXstateBv,
        Rule::StandardXstateBv63,
        Rule::StandardXcompBv,
        Rule::StandardReserved23To16,
        Rule::StandardMxcsrOfSse,
    ];
    let mut not_looked_at = vec![
        NotLookedAt::StandardReserved63To24,
        NotLookedAt::StandardMxcsr,
    ];
    if this.compared().contains(Component::Avx) {
        rules.push(Rule::StandardMxcsrOfAvxAlone);
    }
    if has_xsavec(this) {
        rules.extend([
            Rule::CompactedXcompBv,
            Rule::CompactedXstateBv,
            Rule::CompactedXstateBv63,
            Rule::CompactedReserved23To16,
            Rule::CompactedReserved63To24,
            Rule::CompactedMxcsr,
        ]);
        not_looked_at.push(NotLookedAt::CompactedMxcsr);
    } else {
        rules.push(Rule::Compaction);
    }
    let refusals = rules
        .into_iter()
        .map(|rule| Condition::Refused(Tested::Xrstor, rule));
    let others = [
        Condition::Refused(Tested::Fxrstor, Rule::FxrstorMxcsr),
        Condition::Refused(Tested::Ldmxcsr, Rule::LdmxcsrMxcsr),
    ];
    refusals
        .chain(others)
        .chain(not_looked_at.into_iter().map(Condition::NotLookedAt))
        .collect()
}
