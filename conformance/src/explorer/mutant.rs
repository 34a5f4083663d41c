//! Guards of the library that can be taken out: the files of `conformance/mutants/explorer`.
//!
//! A mutant is text that is replaced, not a patch with context, so that it goes on to apply while the code around
//! it changes; a test holds that each finds its text exactly once.
//!
//! ```text
//! what: one line
//! world: the one in which it is found
//! file: crates/fpstate/src/...
//! old:
//! ...
//! new:
//! ...
//! ```
//! `file`, `old` and `new` can follow several times.

use std::fs;
use std::path::Path;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The file's name.
    pub name: String,
    /// What is taken out, and which bug it is.
    pub what: String,
    /// The world in which it is found.
    pub world: String,
    /// What changes.
    pub edits: Vec<Edit>,
}

/// Text that becomes other text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Edit {
    /// From the root of the workspace.
    pub file: String,
    /// Lines.
    pub old: String,
    /// Lines, or nothing.
    pub new: String,
}

impl Edit {
    /// The mutant's source.
    ///
    /// # Errors
    /// If the old text is not there exactly once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.old).count() {
            1 if !self.old.is_empty() => Ok(source.replace(&self.old, &self.new)),
            found => Err(format!("{}: {found} times:\n{}", self.file, self.old)),
        }
    }
}

impl Mutant {
    /// All of them, by name.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn all() -> Result<Vec<Self>, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants/explorer");
        let entries = fs::read_dir(&folder).map_err(|error| error.to_string())?;
        let mut mutants = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            mutants.push(Self::parse(&name, &text)?);
        }
        mutants.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(mutants)
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut mutant = Self {
            name: name.to_owned(),
            what: String::new(),
            world: String::new(),
            edits: Vec::new(),
        };
        let mut part = Part::Header;
        for line in text.lines() {
            if let Some(file) = line.strip_prefix("file: ") {
                let file = file.to_owned();
                mutant.edits.push(Edit {
                    file,
                    ..Edit::default()
                });
                part = Part::Header;
            } else if line == "old:" || line == "new:" {
                part = if line == "old:" { Part::Old } else { Part::New };
            } else {
                mutant.take_line(part, line)?;
            }
        }
        if mutant.what.is_empty() || mutant.world.is_empty() || mutant.edits.is_empty() {
            return Err(format!("{name}: without what, world or file"));
        }
        Ok(mutant)
    }

    fn take_line(&mut self, part: Part, line: &str) -> Result<(), String> {
        let edit = self.edits.last_mut();
        match (part, edit) {
            (Part::Old, Some(edit)) => edit.old.push_str(&format!("{line}\n")),
            (Part::New, Some(edit)) => edit.new.push_str(&format!("{line}\n")),
            _ => match line.split_once(": ") {
                Some(("what", what)) => what.clone_into(&mut self.what),
                Some(("world", world)) => world.clone_into(&mut self.world),
                _ => return Err(format!("{}: {line}", self.name)),
            },
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Part {
    Header,
    Old,
    New,
}
