//! Many cases of one instruction through both, and every difference explained or told.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::case::Case;
use super::difference::{Difference, Observed, Place, differences};
use super::explained::{self, Explained, Layouts, Seen};
use super::generate::Generator;
use super::on_emulator::OnEmulator;
use super::on_model::{OnModel, WrongRule};
use super::places::most_bytes;
use super::tested::Tested;
use super::this_emulator::{Emulator, ThisEmulator};
use crate::println;

/// When differences are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    ByLine,
    InTheEnd,
}

/// What the cases came to.
#[derive(Debug, Default)]
pub struct Findings {
    cases: u64,
    refused: u64,
    unexplained: u64,
    explained: Vec<u64>,
    first: Option<String>,
    /// The instruction's own, so that a line is printed for each kind of place once.
    printed: Vec<Kind>,
}

/// A kind of difference: one line is printed for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exception(u64, u64),
    Result,
    /// Of the legacy region and the header, in bytes of eight; of what is behind, all.
    Area(usize),
    Registers(usize),
}

const fn kind_of(difference: &Difference) -> Kind {
    match difference.place {
        Place::Exception => Kind::Exception(difference.model, difference.emulator),
        Place::Result => Kind::Result,
        Place::BeforeArea => Kind::Area(usize::MAX),
        Place::Area(offset) => Kind::Area(coarse(offset)),
        Place::Registers(offset) => Kind::Registers(coarse(offset)),
    }
}

const fn coarse(offset: usize) -> usize {
    match offset {
        0..8 => offset,
        8..32 | 512..576 => 100 + offset / 8,
        32..160 => 32,
        160..416 => 160,
        416..512 => 416,
        576.. => 576 + offset / 64,
    }
}

/// The seed of every campaign: a run is the same as the one before.
pub const SEED: u64 = 20_261_123;

const fn cases_on(emulator: Emulator) -> u64 {
    match emulator {
        Emulator::Qemu => 2000,
        Emulator::Bochs => 300,
    }
}

/// Compares `tested`, with nothing printed if the model has a mistake: the first difference that is
/// not explained ends it then.
///
/// # Errors
/// The first difference that is not explained, with their number.
pub fn compare(
    this: &ThisEmulator,
    tested: Tested,
    wrong_rule: Option<WrongRule>,
) -> Result<(), String> {
    let table = explained::of(this.emulator());
    let told = match wrong_rule {
        None => Told::ByLine,
        Some(_) => Told::InTheEnd,
    };
    let most = most_bytes(this.enumeration());
    let (mut on_model, mut on_emulator) = (Observed::new(most), Observed::new(most));
    let mut model = OnModel::new(this, wrong_rule);
    let mut emulator = OnEmulator::new(this);
    let mut generator = Generator::new(this, tested, SEED);
    let mut findings = Findings {
        explained: vec![0; table.len()],
        ..Findings::default()
    };
    for number in 0..cases_on(this.emulator()) {
        let case = generator.case();
        model
            .execute(&case, &mut on_model)
            .map_err(|fault| format!("the model, around case {number}: {fault}; {case}"))?;
        emulator
            .execute(&case, &mut on_emulator)
            .map_err(|fault| format!("the emulator, around case {number}: {fault:?}; {case}"))?;
        findings.cases += 1;
        findings.refused += u64::from(on_emulator.result.is_err());
        let found = differences(case.misalignment, &on_model, &on_emulator);
        findings.judge((this, number), &case, &found, told);
        if wrong_rule.is_some() && findings.unexplained > 0 {
            break;
        }
    }
    drop(emulator);
    if wrong_rule.is_none() {
        findings.print(table, tested);
    }
    match findings.first {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} cases differ, first {first}",
            findings.unexplained
        )),
    }
}

impl Findings {
    /// Counts the case for each explanation once, and as differing if one difference has none.
    fn judge(
        &mut self,
        (this, number): (&ThisEmulator, u64),
        case: &Case,
        found: &[Difference],
        told: Told,
    ) {
        if found.is_empty() {
            return;
        }
        let table = explained::of(this.emulator());
        let layouts = Layouts::of(this.enumeration(), case);
        let mut used = vec![false; table.len()];
        let mut differs = false;
        for difference in found {
            let explanation = table.iter().position(|explained| {
                (explained.covers)(&Seen {
                    layouts: &layouts,
                    case,
                    difference,
                })
            });
            if let Some(explanation) = explanation {
                used[explanation] = true;
                continue;
            }
            differs = true;
            let line = || format!("{difference}; seed {SEED}, case {number}: {case}");
            let kind = kind_of(difference);
            if told == Told::ByLine && !self.printed.contains(&kind) {
                println!("# {}", line());
                self.printed.push(kind);
            }
            if self.first.is_none() {
                self.first = Some(line());
            }
        }
        self.unexplained += u64::from(differs);
        for (count, used) in self.explained.iter_mut().zip(used) {
            *count += u64::from(used);
        }
    }

    fn print(&self, table: &[Explained], tested: Tested) {
        let Self {
            cases,
            refused,
            unexplained,
            ..
        } = self;
        println!(
            "# {tested}: seed {SEED}, {cases} cases, {refused} with an exception, {unexplained} \
             with a difference that is not explained"
        );
        for (explained, count) in table.iter().zip(&self.explained) {
            if *count > 0 {
                println!("# explained: {} {count}", explained.name);
            }
        }
    }
}
