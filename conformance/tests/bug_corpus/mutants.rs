//! The patches that put the bugs into the library: `conformance/mutants/bite` requires that with each
//! of them its tests fail.

use std::fs;

use crate::marks::{Test, root};

/// One patch: what is above its first `diff` line.
#[derive(Debug, Default)]
pub(crate) struct Mutant {
    pub file: String,
    pub bugs: Vec<String>,
    pub tests: Vec<Test>,
    /// What is taken out.
    pub without: String,
}

/// Where the patches are, from the repository's root.
pub(crate) const FOLDER: &str = "conformance/mutants/corpus";

/// All patches, by name.
pub(crate) fn read() -> Vec<Mutant> {
    let folder = fs::read_dir(root().join(FOLDER)).expect("the folder of patches");
    let mut paths: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).expect("a patch");
        let file = path.file_name().and_then(|name| name.to_str());
        Mutant::parse(file.expect("a name"), &text).expect("the head of a patch")
    };
    paths.iter().map(read).collect()
}

impl Mutant {
    fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut mutant = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        let (head, _) = text.split_once("\ndiff --git ").ok_or("no diff")?;
        for line in head.lines() {
            let (key, value) = line.split_once(": ").ok_or_else(|| line.to_owned())?;
            match key {
                "Bug" => mutant.bugs.extend(value.split(", ").map(str::to_owned)),
                "Without" => value.clone_into(&mut mutant.without),
                "Test" => {
                    let (file, name) = value.split_once(' ').ok_or_else(|| line.to_owned())?;
                    mutant.tests.push(Test {
                        file: file.to_owned(),
                        name: name.to_owned(),
                    });
                }
                _ => return Err(format!("{file}: {line}")),
            }
        }
        Ok(mutant)
    }
}
