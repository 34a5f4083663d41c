//! What tests say of themselves: which bug they are the test of.

use std::fs;
use std::path::{Path, PathBuf};

use crate::numbers::is_number;

/// Where tests are.
const FOLDERS: [&str; 5] = ["crates", "engine", "conformance", "hypervisor", "cli"];

/// A test, by its file from the repository's root and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub file: String,
    pub name: String,
}

/// A bug's own test, and what its doc comment says of the bug.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub number: String,
    /// A year or a version.
    pub when: String,
    /// Commits, CVEs, or who had it.
    pub reference: String,
    pub what: String,
    pub test: Test,
}

/// Everything that tests say.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub own: Vec<Mark>,
    /// Number of a bug, and another test of it.
    pub also: Vec<(String, Test)>,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Marks {
    /// Reads all tests of the repository.
    pub(crate) fn read() -> Self {
        let (root, mut marks) = (root(), Self::default());
        for folder in FOLDERS {
            let mut files = Vec::new();
            collect_sources(&root.join(folder), &mut files);
            files.sort();
            for path in files {
                let source = fs::read_to_string(&path).expect("a source file");
                let file = path.strip_prefix(&root).expect("below the root");
                let file = file.to_str().expect("UTF-8").to_owned();
                marks.take_file(&file, &source).expect("marks");
            }
        }
        marks
    }

    /// The marks of one file; or what is wrong with one.
    fn take_file(&mut self, file: &str, source: &str) -> Result<(), String> {
        let (mut docs, mut is_test) = (Vec::new(), false);
        for line in source.lines().map(str::trim_start) {
            if let Some(doc) = line.strip_prefix("/// ") {
                docs.push(doc);
            } else if line.starts_with("#[") {
                is_test |= line == "#[test]";
            } else if line != "///" {
                let name = function_in(line).filter(|_| is_test);
                for doc in docs.drain(..) {
                    self.take_line(file, name, doc)?;
                }
                is_test = false;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, file: &str, name: Option<&str>, doc: &str) -> Result<(), String> {
        let fields: Vec<_> = doc.split(" · ").collect();
        let also = doc.strip_prefix("Also ").map(|list| {
            let list = list.trim_end_matches('.');
            list.split(", ").map(str::to_owned).collect::<Vec<_>>()
        });
        let also = also.filter(|numbers| numbers.iter().all(|number| is_number(number)));
        if !is_number(fields[0]) && also.is_none() {
            return Ok(());
        }
        let wrong = |what: &str| format!("{file}: {doc:?} {what}");
        let test = Test {
            file: file.to_owned(),
            name: name.ok_or_else(|| wrong("is not at a test"))?.to_owned(),
        };
        if let Some(numbers) = also {
            let tests = numbers.into_iter().map(|number| (number, test.clone()));
            self.also.extend(tests);
            return Ok(());
        }
        let [number, when, reference, what] = fields[..] else {
            return Err(wrong("does not have four fields"));
        };
        self.own.push(Mark {
            number: number.to_owned(),
            when: when.to_owned(),
            reference: reference.to_owned(),
            what: what.trim_end_matches('.').to_owned(),
            test,
        });
        Ok(())
    }
}

fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect_sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// The name of the function that a line begins.
fn function_in(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("fn ")?.split_once('(')?;
    Some(name)
}

#[test]
fn a_mark_is_read_with_its_test_and_a_wrong_one_is_refused() {
    let mut marks = Marks::default();
    let source = "
        /// {L}23 · 2017 · 814fb7bb7db5, CVE-2017-15537 · what went wrong.
        ///
        /// Prose - and · dots.
        /// Also {L}7, H2.
        #[test]
        fn a_test() {}

        /// Also prose.
        fn no_test() {}"
        .replace("{L}", "L");
    marks.take_file("a.rs", &source).unwrap();
    let [mark] = &marks.own[..] else {
        panic!("{marks:?}");
    };
    let Mark {
        number,
        when,
        reference,
        what,
        test,
    } = mark;
    assert_eq!([number, when, what], ["L23", "2017", "what went wrong"]);
    assert_eq!(reference, "814fb7bb7db5, CVE-2017-15537");
    assert_eq!([&*test.file, &*test.name], ["a.rs", "a_test"]);
    let also: Vec<_> = marks.also.iter().map(|(number, _)| &**number).collect();
    assert_eq!(also, ["L7", "H2"]);
    for wrong in [
        "/// L1 · 2017 · what\n#[test]\nfn a() {}",
        "/// L1 · 2017 · id · what\nfn a() {}",
        "/// Also L1.\nconst A: u8 = 0;",
    ] {
        assert!(marks.take_file("a.rs", wrong).is_err(), "{wrong}");
    }
}
