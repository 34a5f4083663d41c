//! `docs/bug-corpus.md`, made from the tests, the patches and the list of what cannot be.
//!
//! `FPSTATE_WRITE=1 cargo test -p conformance --test bug_corpus` writes it anew.

use std::fmt::Write as _;
use std::fs;

use crate::impossible::{IMPOSSIBLE, Impossible};
use crate::marks::{Mark, Marks, Test, root};
use crate::mutants::{self, Mutant};
use crate::numbers;

const DOCUMENT: &str = "docs/bug-corpus.md";
const LAST_RUN: &str = "conformance/mutants/last-run.txt";

const HEAD: &str = "\
# The bug corpus

The bugs that others have had in this code, and the test that each has here. Made from the tests by
`FPSTATE_WRITE=1 cargo test -p conformance --test bug_corpus`; the same test without the variable fails
where this file is not what the tests say. A test carries its bug in the first line of its doc comment.

Each test is shown to bite: `conformance/mutants/corpus` has a patch that puts the bug into the library, and

    conformance/mutants/bite            # every patch, in a copy of the tree: its tests must fail
    conformance/mutants/bite L65 C4     # those of these bugs
    conformance/mutants/bite --check    # only whether each patch still applies; part of .ci/run

builds the library with each of them and requires that the test named in the patch is red. The last run:
";

const LINUX: &str = "
## Linux, 2017 to 2026

Numbers as in the project's notes on Linux; there is no 35.
";

const HAZARDS: &str = "
## Hazards

What reading Linux 6.12 and 7.2 showed; [linux-map](linux-map.md) has more of each.
";

const CLASSES: &str = "
## What several other projects had
";

const TABLE: &str = "
| | when | commit, CVE, or who | what went wrong | here | the guard that its mutant takes out |
|---|---|---|---|---|---|
";

/// Everything that the table is made from.
struct Corpus {
    marks: Marks,
    mutants: Vec<Mutant>,
}

impl Corpus {
    fn read() -> Self {
        Self {
            marks: Marks::read(),
            mutants: mutants::read(),
        }
    }

    fn own(&self, number: &str) -> Vec<&Mark> {
        let own = self.marks.own.iter();
        own.filter(|mark| mark.number == number).collect()
    }

    /// Its own test and those that are witnesses of it, too.
    fn tests_of(&self, number: &str) -> Vec<&Test> {
        let own = self.own(number).into_iter().map(|mark| &mark.test);
        let also = self.marks.also.iter().filter(|(n, _)| n == number);
        own.chain(also.map(|(_, test)| test)).collect()
    }

    fn document(&self) -> String {
        let last_run = fs::read_to_string(root().join(LAST_RUN)).unwrap_or_default();
        let mut text = HEAD.to_owned();
        text.push('\n');
        for line in last_run.lines() {
            writeln!(text, "    {line}").expect("a string");
        }
        for (letter, head) in [('L', LINUX), ('H', HAZARDS), ('C', CLASSES)] {
            text.push_str(head);
            text.push_str(TABLE);
            for number in numbers::all().iter().filter(|n| n.starts_with(letter)) {
                text.push_str(&self.row(number));
            }
        }
        text
    }

    fn row(&self, number: &str) -> String {
        let tested = self.own(number).into_iter().next().map(|mark| {
            let tests: Vec<_> = self.tests_of(number).into_iter().map(cell_of).collect();
            let bites = self
                .mutants
                .iter()
                .filter(|m| m.bugs.iter().any(|b| b == number));
            let bites: Vec<_> = bites.map(|m| m.without.clone()).collect();
            let Mark {
                when,
                reference,
                what,
                ..
            } = mark;
            let (tests, bites) = (tests.join(", "), bites.join("; "));
            format!("| {number} | {when} | {reference} | {what} | {tests} | {bites} |\n")
        });
        let untested = || {
            let Impossible {
                when,
                reference,
                what,
                why,
                ..
            } = IMPOSSIBLE.iter().find(|entry| entry.number == number)?;
            Some(format!(
                "| {number} | {when} | {reference} | {what} | cannot be: {why} | |\n"
            ))
        };
        tested.or_else(untested).unwrap_or_default()
    }
}

fn cell_of(Test { file, name }: &Test) -> String {
    format!("`{name}` (`{file}`)")
}

#[test]
fn every_bug_has_one_test_of_its_own_or_one_reason_why_it_cannot_be() {
    let corpus = Corpus::read();
    let all = numbers::all();
    let mut failures = Vec::new();
    for number in &all {
        let tested = corpus.own(number).len();
        let untested = IMPOSSIBLE
            .iter()
            .filter(|entry| entry.number == number)
            .count();
        if tested + untested != 1 {
            failures.push(format!("{number}: {tested} tests, {untested} reasons"));
        }
    }
    let own = corpus.marks.own.iter().map(|mark| &mark.number);
    let unknown = own.clone().filter(|number| !all.contains(number));
    failures.extend(unknown.map(|number| format!("{number}: no such bug")));
    let also = corpus.marks.also.iter().map(|(number, _)| number);
    let alone = also.filter(|number| !own.clone().any(|tested| tested == *number));
    failures.extend(alone.map(|number| format!("{number}: a witness and no test of its own")));
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_test_of_a_bug_has_a_mutant_that_it_must_catch() {
    let corpus = Corpus::read();
    let mut failures = Vec::new();
    for mark in &corpus.marks.own {
        let (number, test) = (&mark.number, &mark.test);
        let of_bug = |m: &&Mutant| m.bugs.contains(number) && m.tests.contains(test);
        if !corpus.mutants.iter().any(|mutant| of_bug(&mutant)) {
            failures.push(format!("{number}: no patch for {}", cell_of(test)));
        }
    }
    for mutant in &corpus.mutants {
        for number in &mutant.bugs {
            let tests = corpus.tests_of(number);
            if !tests.iter().any(|test| mutant.tests.contains(test)) {
                failures.push(format!("{}: {number} has another test", mutant.file));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_table_is_what_the_tests_say() {
    let (path, made) = (root().join(DOCUMENT), Corpus::read().document());
    if std::env::var_os("FPSTATE_WRITE").is_some() {
        fs::write(&path, &made).expect("the document");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let same = found
        .lines()
        .zip(made.lines())
        .take_while(|(a, b)| a == b)
        .count();
    assert!(
        found == made,
        "{DOCUMENT} differs from line {} on; FPSTATE_WRITE=1 writes it anew",
        same + 1
    );
}
