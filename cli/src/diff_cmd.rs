//! `fpstate diff`

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::diff_report::Difference;
use crate::file_kind::FileKind;
use crate::image_cpu::Candidates;
use crate::inspect_arguments::DiffArguments;
use crate::inspect_cmd::with_cpus;
use crate::inspect_text;
use crate::output::{print_json, print_line};
use crate::saved_file::SavedFile;
use crate::saved_image::fx_only;
use crate::subject::{BrokenImage, Subject, Thread};
use crate::{Answer, CommandError};

/// Both files in JSON, written one pair of threads after the other.
struct DiffReport<'s> {
    a: &'s Subject,
    b: &'s Subject,
    pairs: Vec<Pair<'s>>,
    /// What was found of the pairs written so far.
    equal: Cell<bool>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    kind: &'static str,
    len: u64,
    /// Of a signal frame: why it is no whole one.
    fx_only: Option<String>,
}

/// Two threads, or one that the other file has not.
#[derive(Debug, Serialize)]
struct PairReport {
    a: Option<u32>,
    b: Option<u32>,
    #[serde(skip)]
    title: String,
    #[serde(flatten)]
    difference: Difference,
    equal: bool,
}

type Pair<'s> = (Option<&'s Thread>, Option<&'s Thread>);

pub(crate) fn execute(arguments: &DiffArguments) -> Result<Answer, CommandError> {
    let for_a = Candidates::of(arguments.cpu.as_deref())?;
    let for_b = Candidates::of(arguments.cpu_b.as_deref().or(arguments.cpu.as_deref()))?;
    let read = |path: &Path, candidates: &Candidates| {
        let file = SavedFile::read(path, arguments.kind)?;
        let in_core = arguments.thread.filter(|_| file.kind == FileKind::ElfCore);
        with_cpus(file.of_thread(in_core)?, candidates)
    };
    let (a, b) = (read(&arguments.a, &for_a)?, read(&arguments.b, &for_b)?);
    let pairs = pairs(&a.threads, &b.threads);
    let report = DiffReport {
        a: &a,
        b: &b,
        pairs,
        equal: Cell::new(true),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        for (name, subject) in [("A", &a), ("B", &b)] {
            print_line(&format!("{name}: {}", inspect_text::of_subject(subject)))?;
            let frame = subject.threads.iter().find_map(Thread::frame_form);
            frame
                .map(inspect_text::of_frame)
                .map_or(Ok(()), |line| print_line(&line))?;
        }
        for pair in &report.pairs {
            report.compared(*pair)?.print()?;
        }
    }
    Ok(if report.equal.get() {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// Threads by their ids where the files share one, otherwise in their order: cores of two processes.
fn pairs<'s>(a: &'s [Thread], b: &'s [Thread]) -> Vec<Pair<'s>> {
    let by_tid = |threads: &'s [Thread]| -> BTreeMap<u32, &'s Thread> {
        threads
            .iter()
            .filter_map(|thread| Some((thread.image.place.tid?, thread)))
            .collect()
    };
    let (in_a, in_b) = (by_tid(a), by_tid(b));
    if in_a.keys().any(|tid| in_b.contains_key(tid)) {
        let of_a = in_a
            .iter()
            .map(|(tid, thread)| (Some(*thread), in_b.get(tid).copied()));
        let of_b_alone = in_b.iter().filter(|(tid, _)| !in_a.contains_key(tid));
        return of_a
            .chain(of_b_alone.map(|(_, thread)| (None, Some(*thread))))
            .collect();
    }
    let longest = a.len().max(b.len());
    (0..longest)
        .map(|index| (a.get(index), b.get(index)))
        .collect()
}

impl PairReport {
    fn of(pair: Pair<'_>) -> Result<Self, BrokenImage> {
        let difference = match pair {
            (Some(in_a), Some(in_b)) => Difference::between(&in_a.state()?, &in_b.state()?),
            _ => Difference {
                components: Vec::new(),
                registers: Vec::new(),
            },
        };
        Ok(Self {
            a: pair.0.and_then(|thread| thread.image.place.tid),
            b: pair.1.and_then(|thread| thread.image.place.tid),
            equal: pair.0.is_some() == pair.1.is_some() && difference.is_none(),
            title: match pair {
                (Some(a), Some(b)) if a.image.place.tid == b.image.place.tid => a.image.title(),
                (Some(a), Some(b)) => format!("{} and {}", a.image.title(), b.image.title()),
                (Some(only), None) => format!("{}: in A only", only.image.title()),
                (None, Some(only)) => format!("{}: in B only", only.image.title()),
                (None, None) => String::new(),
            },
            difference,
        })
    }

    fn print(&self) -> io::Result<()> {
        let verdict = if self.equal {
            "the same registers"
        } else {
            "differ"
        };
        if self.difference.components.is_empty() {
            return print_line(&self.title);
        }
        print_line(&format!("{}: {verdict}", self.title))?;
        for component in &self.difference.components {
            let same = if component.equal { "equal" } else { "differs" };
            let (a, b) = (component.a.name(), component.b.name());
            let presence = if a == b {
                a.to_owned()
            } else {
                format!("{a} in A, {b} in B")
            };
            print_line(&format!("  {:10} {same:8} {presence}", component.name))?;
        }
        for register in &self.difference.registers {
            print_line(&format!("  {:6} A {}", register.name, register.a))?;
            print_line(&format!("  {:6} B {}", "", register.b))?;
        }
        Ok(())
    }
}

impl DiffReport<'_> {
    fn compared(&self, pair: Pair<'_>) -> Result<PairReport, CommandError> {
        let report = PairReport::of(pair).map_err(|error| CommandError::Subject {
            path: self.a.path.clone(),
            error: error.into(),
        })?;
        self.equal.set(self.equal.get() && report.equal);
        Ok(report)
    }
}

impl Serialize for DiffReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("DiffReport", 4)?;
        report.serialize_field("a", &FileReport::of(self.a))?;
        report.serialize_field("b", &FileReport::of(self.b))?;
        report.serialize_field("threads", &Pairs(self))?;
        report.serialize_field("equal", &self.equal.get())?;
        report.end()
    }
}

struct Pairs<'r>(&'r DiffReport<'r>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = serializer.serialize_seq(Some(self.0.pairs.len()))?;
        for pair in &self.0.pairs {
            pairs.serialize_element(&self.0.compared(*pair).map_err(S::Error::custom)?)?;
        }
        pairs.end()
    }
}

impl FileReport {
    fn of(subject: &Subject) -> Self {
        Self {
            file: subject.path.to_string_lossy().into_owned(),
            kind: subject.kind.name(),
            len: subject.len,
            fx_only: subject
                .threads
                .iter()
                .find_map(Thread::frame_form)
                .and_then(fx_only),
        }
    }
}
