//! A CPUID dump as text: the leaves of one CPU out of it.
//!
//! Two forms are read, also mixed, and every line that is neither is passed over:
//! `CPUID 0000000D: 00000007-00000340-00000340-00000000 [SL 00]`, and what `cpuid -r` prints:
//! `0x0000000d 0x00: eax=0x00000007 ebx=0x00000340 ecx=0x00000340 edx=0x00000000`.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use fpstate_arch::CpuidRegisters;

use crate::dump_line::{self, Line, Subleaf};

/// Longest dump that is read, in bytes. One of 512 logical CPUs with 100 lines each has 3.5 MiB.
pub const LONGEST_DUMP: usize = 4 << 20;

/// Bytes of a refused line that the error shows.
const SHOWN: usize = 60;

type Leaves = BTreeMap<(u32, u32), CpuidRegisters>;

/// What a dump says of its first CPU, and where the others differ from it in leaf 0DH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    leaves: Vec<(u32, u32, CpuidRegisters)>,
    features: Features,
    cpus: usize,
    difference: Option<Difference>,
}

/// Where leaf 1 is from, without which leaf 0DH means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// From the dump, if it has one at all.
    Recorded,
    /// The dump has leaf 0DH alone, so the CPU has FXSAVE and XSAVE; the other bits are 0.
    Assumed,
}

/// The first leaf 0DH of another CPU that is not that of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The other CPU's place in the dump; the first CPU is 0.
    pub cpu: usize,
    /// The sub-leaf of leaf 0DH.
    pub subleaf: u32,
}

impl Dump {
    /// Reads a dump. Several CPUs may follow one another: a leaf and sub-leaf that was there before
    /// begins the next one, and so does a line `CPU 1:`.
    ///
    /// # Errors
    /// [`DumpError`] for what is no dump, and for a line of figures that is cut.
    pub fn parse(text: &[u8]) -> Result<Self, DumpError> {
        if text.len() > LONGEST_DUMP {
            return Err(DumpError::TooLong {
                found: text.len(),
                allowed: LONGEST_DUMP,
            });
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut reader = Reader::default();
        let mut lines = 0;
        for (line, number) in text.split_inclusive(|&byte| byte == b'\n').zip(1..) {
            reader.read(line, number)?;
            lines = number;
        }
        reader.finish(lines)
    }

    /// `(leaf, sub-leaf, registers)` of the first CPU in ascending order: what
    /// [`ModelCpu::new`](crate::ModelCpu::new) takes.
    #[must_use]
    pub fn leaves(&self) -> &[(u32, u32, CpuidRegisters)] {
        &self.leaves
    }

    /// Whether the dump has this leaf and sub-leaf.
    #[must_use]
    pub fn has(&self, leaf: u32, subleaf: u32) -> bool {
        self.leaves
            .binary_search_by_key(&(leaf, subleaf), |&(leaf, subleaf, _)| (leaf, subleaf))
            .is_ok()
    }

    /// Where leaf 1 is from.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// How many CPUs the dump has.
    #[must_use]
    pub const fn cpus(&self) -> usize {
        self.cpus
    }

    /// Where another CPU differs from the first in leaf 0DH.
    #[must_use]
    pub const fn difference(&self) -> Option<Difference> {
        self.difference
    }
}

/// The lines read so far.
#[derive(Default)]
struct Reader {
    first: Leaves,
    /// CPUs before the one that `current` is of.
    cpus: usize,
    current: Leaves,
    difference: Option<Difference>,
}

impl Reader {
    fn read(&mut self, line: &[u8], number: usize) -> Result<(), DumpError> {
        let cut = || DumpError::Cut {
            line: number,
            found: shown(line),
        };
        match dump_line::read(line).map_err(|dump_line::Cut| cut())? {
            Line::Other => {}
            Line::NextCpu => self.end_cpu(),
            Line::Figures {
                leaf,
                subleaf,
                registers,
            } => {
                let key = (leaf, subleaf.number());
                if self.current.contains_key(&key) {
                    // A last line that loses its sub-leaf looks like the next CPU's first.
                    if subleaf == Subleaf::LeftOut && leaf != 0 && !line.ends_with(b"\n") {
                        return Err(cut());
                    }
                    self.end_cpu();
                }
                self.current.insert(key, registers);
            }
        }
        Ok(())
    }

    fn end_cpu(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let leaves = core::mem::take(&mut self.current);
        if self.cpus == 0 {
            self.first = leaves;
        } else if self.difference.is_none() {
            self.difference = leaves
                .range((0xd, 0)..=(0xd, u32::MAX))
                .find(|(key, registers)| self.first.get(key) != Some(registers))
                .map(|(&(_, subleaf), _)| Difference {
                    cpu: self.cpus,
                    subleaf,
                });
        }
        self.cpus = self.cpus.saturating_add(1);
    }

    fn finish(mut self, lines: usize) -> Result<Dump, DumpError> {
        self.end_cpu();
        if self.cpus == 0 {
            return Err(DumpError::WithoutFigures { lines });
        }
        let features = assume_features(&mut self.first);
        let leaves = self.first.into_iter();
        Ok(Dump {
            leaves: leaves
                .map(|((leaf, subleaf), registers)| (leaf, subleaf, registers))
                .collect(),
            features,
            cpus: self.cpus,
            difference: self.difference,
        })
    }
}

/// Adds leaf 1 to a dump of leaf 0DH alone: `cpuid -r -l 0xd`.
fn assume_features(leaves: &mut Leaves) -> Features {
    const FXSR: u32 = 1 << 24;
    const XSAVE: u32 = 1 << 26;
    let lists_something = leaves.get(&(0xd, 0)).is_some_and(|main| main.eax != 0);
    if leaves.contains_key(&(1, 0)) || !lists_something {
        return Features::Recorded;
    }
    let leaf_1 = CpuidRegisters {
        ecx: XSAVE,
        edx: FXSR,
        ..CpuidRegisters::default()
    };
    leaves.insert((1, 0), leaf_1);
    Features::Assumed
}

fn shown(line: &[u8]) -> String {
    let line = line.trim_ascii();
    line.get(..SHOWN).unwrap_or(line).escape_ascii().to_string()
}

/// Why bytes are no CPUID dump. Its text is one line whatever the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpError {
    /// More bytes than any dump has.
    TooLong {
        /// Length found, in bytes.
        found: usize,
        /// Longest length read.
        allowed: usize,
    },
    /// No line has figures.
    WithoutFigures {
        /// Number of lines.
        lines: usize,
    },
    /// A line begins like figures and ends early or goes on as something else.
    Cut {
        /// Its number; the first line is 1.
        line: usize,
        /// Its first bytes, escaped.
        found: String,
    },
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { found, allowed } => {
                write!(f, "{found} bytes; a CPUID dump has at most {allowed}")
            }
            Self::WithoutFigures { lines } => write!(
                f,
                "no CPUID dump: none of {lines} lines is like `CPUID 0000000D: EAX-EBX-ECX-EDX \
                 [SL 00]` or `0x0000000d 0x00: eax=0x... ebx=0x... ecx=0x... edx=0x...`"
            ),
            Self::Cut { line, found } => write!(
                f,
                "line {line} is cut or garbled: \"{found}\"; expected four registers of 8 \
                 hexadecimal digits and the sub-leaf"
            ),
        }
    }
}

impl core::error::Error for DumpError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const RAW: &str = "CPU 0:
   0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x0000000d 0x00: eax=0x00000007 ebx=0x00000340 ecx=0x00000340 edx=0x00000000
CPU 1:
   0x0000000d 0x00: eax=0x00000003 ebx=0x00000240 ecx=0x00000240 edx=0x00000000
";

    #[test]
    fn of_several_cpus_the_first_counts_and_another_leaf_0dh_is_noticed() {
        let dump = Dump::parse(RAW.as_bytes()).unwrap();
        assert_eq!(dump.cpus(), 2);
        assert_eq!(dump.features(), Features::Assumed);
        assert_eq!(dump.leaves().len(), 3);
        let (leaf, subleaf, registers) = dump.leaves()[2];
        assert_eq!((leaf, subleaf, registers.eax), (0xd, 0, 7));
        assert_eq!(dump.difference(), Some(Difference { cpu: 1, subleaf: 0 }));
    }

    #[test]
    fn a_leaf_that_was_there_before_begins_the_next_cpu() {
        let once = "CPUID 00000000: 00000016-756E6547-6C65746E-49656E69 [GenuineIntel]\n\
                    CPUID 0000000D: 00000007-00000340-00000340-00000000 [SL 00]\n\
                    some other line\n";
        let dump = Dump::parse(once.repeat(3).as_bytes()).unwrap();
        assert_eq!((dump.cpus(), dump.leaves().len()), (3, 3));
        assert_eq!(dump.difference(), None);
    }

    #[test]
    fn bytes_without_figures_are_refused() {
        for (bytes, lines) in [(&b""[..], 0), (b"\n\n", 2), (b"\x00\xff\n\x1b[31m", 2)] {
            let error = Dump::parse(bytes).unwrap_err();
            assert_eq!(error, DumpError::WithoutFigures { lines });
        }
        // Noise, as from /dev/urandom.
        let mut next = crate::recorded_cpus::generator(3);
        let noise: Vec<u8> = (0..1 << 17).flat_map(|_| next().to_le_bytes()).collect();
        assert!(matches!(
            Dump::parse(&noise),
            Err(DumpError::WithoutFigures { .. })
        ));
    }

    #[test]
    fn a_dump_cut_in_a_line_of_figures_is_refused_with_the_number_of_the_line() {
        let whole = "CPUID 0000000D: 00000007-00000340-00000340-00000000 [SL 00]\n\
                     CPUID 0000000D: 0000000F-00000340-00000000-00000000 [SL 01]\n";
        for end in [whole.len() - 2, whole.len() - 9, whole.len() - 30] {
            let error = Dump::parse(&whole.as_bytes()[..end]).unwrap_err();
            assert!(
                matches!(&error, DumpError::Cut { line: 2, found } if found.starts_with("CPUID 0000000D: 0")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_text_too_long_is_refused_before_it_is_read() {
        let error = Dump::parse(&vec![b'\n'; LONGEST_DUMP + 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4194305 bytes; a CPUID dump has at most 4194304"
        );
    }

    #[test]
    fn the_longest_text_of_figures_is_read_in_one_go() {
        let mut text = String::new();
        for leaf in 0.. {
            if text.len() > LONGEST_DUMP - 80 {
                break;
            }
            let figures = alloc::format!("CPUID {leaf:08X}: 00000000-00000000-00000000-00000000\n");
            text.push_str(&figures);
        }
        assert_eq!(Dump::parse(text.as_bytes()).unwrap().cpus(), 1);
    }

    #[test]
    fn an_error_is_one_line_whatever_the_bytes() {
        let error = Dump::parse(b"CPUID 0000000D: \x1b[2J\xff\x0b garbage").unwrap_err();
        let text = error.to_string();
        assert!(
            text.is_ascii() && !text.contains(char::is_control),
            "{text:?}"
        );
    }
}
