//! An image's code, and where each instruction comes from.

use std::io;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::elf::SHF_EXECINSTR;
use object::{Object, ObjectSection, ObjectSymbol, Section, SectionFlags};

/// Why an image cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("{path:?}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path:?}: {error}")]
    Format { path: PathBuf, error: object::Error },
    #[error("{path:?}: its line tables: {error}")]
    LineTables { path: PathBuf, error: String },
    #[error("{path:?}: no line tables that say what an instruction comes from")]
    NoLineTables { path: PathBuf },
    #[error("{path:?}: no symbols that say where functions begin")]
    NoSymbols { path: PathBuf },
}

/// An executable section.
#[derive(Debug)]
pub(crate) struct CodeSection {
    pub(crate) name: String,
    address: u64,
    bytes: Vec<u8>,
    /// Where a function or a label is, ascending.
    symbols: Vec<(u64, String)>,
}

/// An image's executable sections.
pub(crate) struct ImageCode {
    pub(crate) sections: Vec<CodeSection>,
    lines: Loader,
    path: PathBuf,
}

/// The line of source that an instruction comes from, which may be inlined in another function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
}

impl ImageCode {
    /// Reads an ELF image.
    pub(crate) fn read(path: &Path) -> Result<Self, ImageError> {
        let path = path.to_owned();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(ImageError::Read { path, error }),
        };
        let sections = match code_sections(&bytes) {
            Ok(sections) => sections,
            Err(error) => return Err(ImageError::Format { path, error }),
        };
        if sections.iter().all(|section| section.symbols.is_empty()) {
            return Err(ImageError::NoSymbols { path });
        }
        match Loader::new(&path) {
            Ok(lines) => Ok(Self {
                sections,
                lines,
                path,
            }),
            Err(error) => Err(ImageError::LineTables {
                path,
                error: error.to_string(),
            }),
        }
    }

    /// What the instruction at `address` comes from; `None` where no compiler made the code.
    pub(crate) fn place(&self, address: u64) -> Result<Option<Place>, ImageError> {
        let location =
            (self.lines.find_location(address)).map_err(|error| ImageError::LineTables {
                path: self.path.clone(),
                error: error.to_string(),
            })?;
        Ok(location.and_then(|location| {
            Some(Place {
                file: location.file?.to_owned(),
                line: location.line?,
            })
        }))
    }

    /// That there are no line tables.
    pub(crate) fn no_line_tables(&self) -> ImageError {
        ImageError::NoLineTables {
            path: self.path.clone(),
        }
    }
}

impl CodeSection {
    /// Decodes it as 64-bit code, beginning anew at each symbol: between functions there may be
    /// bytes that are none. Calls `each` with the name of the last symbol.
    pub(crate) fn for_each_instruction<E>(
        &self,
        mut each: impl FnMut(&str, &Instruction) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.address + self.bytes.len() as u64;
        let first = [(self.address, self.name.clone())];
        let starts: Vec<&(u64, String)> = first.iter().chain(&self.symbols).collect();
        for (place, (start, name)) in starts.iter().enumerate() {
            let next = starts.get(place + 1).map_or(end, |(next, _)| *next);
            let offset = |address: u64| usize::try_from(address - self.address);
            let (Ok(from), Ok(to)) = (offset(*start), offset(next)) else {
                continue; // No section of an image in memory is that long.
            };
            let bytes = &self.bytes[from..to];
            for instruction in &mut Decoder::with_ip(64, bytes, *start, DecoderOptions::NONE) {
                each(name, &instruction)?;
            }
        }
        Ok(())
    }
}

fn code_sections(bytes: &[u8]) -> Result<Vec<CodeSection>, object::Error> {
    let file = object::File::parse(bytes)?;
    let mut sections = Vec::new();
    for section in file.sections().filter(is_code) {
        let (address, len) = (section.address(), section.size());
        let mut symbols: Vec<(u64, String)> = (file.symbols())
            .filter(|symbol| {
                symbol.section_index() == Some(section.index())
                    && (address..address + len).contains(&symbol.address())
            })
            .filter_map(|symbol| Some((symbol.address(), demangled(symbol.name().ok()?))))
            .collect();
        symbols.sort();
        symbols.dedup_by_key(|(address, _)| *address);
        sections.push(CodeSection {
            name: section.name()?.to_owned(),
            address,
            bytes: section.data()?.to_owned(),
            symbols,
        });
    }
    Ok(sections)
}

fn is_code(section: &Section<'_, '_>) -> bool {
    let SectionFlags::Elf {
        sh_flags,
        sh_type: _,
    } = section.flags()
    else {
        return false;
    };
    sh_flags.contains(SHF_EXECINSTR) && section.size() != 0
}

/// Without the hash that tells two crates of one name apart.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
