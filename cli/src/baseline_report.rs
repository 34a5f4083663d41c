//! What `fpstate baseline` says, in JSON.

use fpstate_arch::{Component, ComponentSet, Xcr0};
use serde::Serialize;

use crate::baseline::{CommonGround, Exchange, largest_xcr0, user_components};
use crate::component_list::names;
use crate::cpu_choice::{CpuChoice, OddityReport};
use crate::layout_picture::alignment_of;

/// What a set of hosts has in common.
#[derive(Debug, Serialize)]
pub(crate) struct BaselineReport {
    pub(crate) hosts: Vec<HostReport>,
    pub(crate) common: CommonReport,
    /// Every component that a host has.
    pub(crate) components: Vec<ComponentReport>,
    /// Every host with every other one, in the order of `from` and `to`.
    pub(crate) pairs: Vec<PairReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct HostReport {
    /// From 1, in the order of the arguments.
    pub(crate) number: usize,
    pub(crate) cpu: String,
    pub(crate) source: String,
    /// What a guest may have: CPUID's, of this machine what its kernel enabled.
    pub(crate) user_components: u64,
    pub(crate) supervisor_components: u64,
    /// Not in CPUID: `null` for a CPU that is not here.
    pub(crate) mxcsr_mask: Option<u32>,
    pub(crate) oddities: Vec<OddityReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CommonReport {
    /// The largest XCR0 that every host takes; `null` where there is none.
    pub(crate) xcr0: Option<SetReport>,
    /// The largest part of it whose standard-format image is the same bytes on every host.
    pub(crate) xcr0_same_bytes: Option<SetReport>,
    pub(crate) xss: SetReport,
    pub(crate) instructions: Vec<String>,
    pub(crate) formats: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SetReport {
    pub(crate) bits: u64,
    pub(crate) components: Vec<String>,
}

/// One component, with every value that a host gives it; one value is a rule in common.
#[derive(Debug, Serialize)]
pub(crate) struct ComponentReport {
    pub(crate) number: u8,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// Whether it is in the common XCR0 or IA32_XSS.
    pub(crate) common: bool,
    /// Hosts that have it, and that lack it.
    pub(crate) hosts: Vec<usize>,
    pub(crate) lacking: Vec<usize>,
    /// In bytes; `null` for x87 and SSE.
    pub(crate) len: Vec<Option<u32>>,
    pub(crate) standard_offset: Vec<Option<u32>>,
    pub(crate) compacted_alignment: Vec<u32>,
    pub(crate) xfd: Vec<bool>,
}

/// What becomes of a guest on its way from one host to another.
#[derive(Debug, Serialize)]
pub(crate) struct PairReport {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Of a guest with the common XCR0.
    pub(crate) common_xcr0: ExchangeReport,
    /// Of a guest with every user component of the host it comes from.
    pub(crate) whole_xcr0: ExchangeReport,
}

#[derive(Debug, Serialize)]
pub(crate) struct ExchangeReport {
    /// `same`: its standard-format image is read as it is; `convert`: it must be converted; `no`.
    pub(crate) answer: &'static str,
    /// Empty for `same`.
    pub(crate) reason: String,
}

impl BaselineReport {
    pub(crate) fn of(cpus: &[CpuChoice]) -> Self {
        let common = CommonGround::of(cpus);
        let all = cpus.iter().map(components_of);
        let all = all.fold(ComponentSet::EMPTY, ComponentSet::union);
        Self {
            hosts: (1..).zip(cpus).map(HostReport::of).collect(),
            components: all
                .iter()
                .map(|component| ComponentReport::of(component, cpus, &common))
                .collect(),
            pairs: pairs(cpus, common.xcr0),
            common: CommonReport::of(&common),
        }
    }

    /// Whether a guest with the common XCR0 can go everywhere.
    pub(crate) fn is_one_pool(&self) -> bool {
        self.common.xcr0.is_some()
            && self
                .pairs
                .iter()
                .all(|pair| pair.common_xcr0.answer != "no")
    }
}

/// What a guest and its kernel may have on `cpu`.
fn components_of(cpu: &CpuChoice) -> ComponentSet {
    user_components(cpu).union(cpu.enumeration.supervisor_components())
}

fn pairs(cpus: &[CpuChoice], common: Option<Xcr0>) -> Vec<PairReport> {
    let numbered = || (1..).zip(cpus);
    let all = numbered().flat_map(|from| numbered().map(move |to| (from, to)));
    all.filter(|((from, _), (to, _))| from != to)
        .map(|((from, source), (to, target))| PairReport {
            from,
            to,
            common_xcr0: ExchangeReport::of(&Exchange::between(source, target, common)),
            whole_xcr0: ExchangeReport::of(&Exchange::between(
                source,
                target,
                largest_xcr0(user_components(source)),
            )),
        })
        .collect()
}

impl HostReport {
    fn of((number, cpu): (usize, &CpuChoice)) -> Self {
        Self {
            number,
            cpu: cpu.name.clone(),
            source: cpu.source.description(),
            user_components: user_components(cpu).bits(),
            supervisor_components: cpu.enumeration.supervisor_components().bits(),
            mxcsr_mask: cpu.running.map(|running| running.mxcsr_mask),
            oddities: cpu.oddity_reports(),
        }
    }
}

impl CommonReport {
    fn of(common: &CommonGround) -> Self {
        let set = |xcr0: Xcr0| SetReport::of(xcr0.components());
        Self {
            xcr0: common.xcr0.map(set),
            xcr0_same_bytes: common.xcr0_of_same_bytes.map(set),
            xss: SetReport::of(common.supervisor),
            instructions: common
                .instructions
                .iter()
                .map(ToString::to_string)
                .collect(),
            formats: common.formats().iter().map(ToString::to_string).collect(),
        }
    }
}

impl SetReport {
    fn of(set: ComponentSet) -> Self {
        Self {
            bits: set.bits(),
            components: names(set),
        }
    }

    /// The bitmap and the names, for people.
    pub(crate) fn description(&self) -> String {
        let Self { bits, components } = self;
        if components.is_empty() {
            return "none".to_owned();
        }
        format!("{bits:#x}: {}", components.join("+"))
    }
}

impl ComponentReport {
    fn of(component: Component, cpus: &[CpuChoice], common: &CommonGround) -> Self {
        let has = |cpu: &CpuChoice| components_of(cpu).contains(component);
        let numbers = |wanted: &dyn Fn(&CpuChoice) -> bool| {
            let numbered = (1..).zip(cpus);
            numbered
                .filter(|(_, cpu)| wanted(cpu))
                .map(|(number, _)| number)
                .collect()
        };
        let entries: Vec<_> = cpus
            .iter()
            .filter(|cpu| has(cpu))
            .map(|cpu| cpu.enumeration.entry(component))
            .collect();
        let is_supervisor = cpus
            .iter()
            .any(|cpu| cpu.enumeration.supervisor_components().contains(component));
        let xcr0 = common.xcr0.map_or(ComponentSet::EMPTY, Xcr0::components);
        Self {
            number: component.number(),
            name: component.to_string(),
            kind: if is_supervisor { "supervisor" } else { "user" },
            common: xcr0.union(common.supervisor).contains(component),
            hosts: numbers(&has),
            lacking: numbers(&|cpu| !has(cpu)),
            len: distinct(entries.iter().map(|entry| entry.map(|entry| entry.len))),
            standard_offset: distinct(entries.iter().map(|entry| {
                let entry = entry.filter(|entry| !entry.is_supervisor())?;
                Some(entry.standard_offset)
            })),
            compacted_alignment: distinct(entries.iter().map(|entry| alignment_of(*entry))),
            xfd: distinct(
                entries
                    .iter()
                    .map(|entry| entry.is_some_and(|entry| entry.has_xfd())),
            ),
        }
    }
}

impl ExchangeReport {
    fn of(exchange: &Exchange) -> Self {
        Self {
            answer: exchange.word(),
            reason: exchange.reason(),
        }
    }
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}
