//! What `--cpu` means: this machine, a profile by name, or a file with a CPUID dump.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{ComponentSet, CpuidRegisters, CpuidSource, Enumeration};
use fpstate_engine::{HostCpu, HostError};
use fpstate_model::dump::LONGEST_DUMP;
use fpstate_model::{Dump, DumpError, Oddity, Profile, examine};
use serde::Serialize;

/// The argument that names this machine.
const HOST: &str = "host";

/// A CPU to show.
#[derive(Debug)]
pub(crate) struct CpuChoice {
    /// The name it gives itself.
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) enumeration: Enumeration,
    /// The recorded leaves; none for this machine.
    pub(crate) leaves: Vec<(u32, u32, CpuidRegisters)>,
    /// What CPUID does not tell; `None` for a CPU that is not here.
    pub(crate) running: Option<Running>,
    pub(crate) oddities: Vec<Oddity>,
}

/// Where the figures are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    ThisMachine,
    Profile(Profile),
    File(PathBuf),
}

/// What only a CPU that executes can be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) xcr0: ComponentSet,
    pub(crate) mxcsr_mask: u32,
}

/// An [`Oddity`] in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct OddityReport {
    leaf: u32,
    subleaf: u32,
    what: String,
}

impl std::fmt::Display for OddityReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Why there is no such CPU.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpuError {
    #[error("(this machine): {0}")]
    Host(#[from] HostError),
    #[error("{name:?}: no such file, and no such profile; profiles: {profiles}")]
    Unknown { name: PathBuf, profiles: String },
    #[error("{path:?}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path:?}: {error}")]
    Dump { path: PathBuf, error: DumpError },
}

impl CpuChoice {
    /// The CPU that `argument` names; none, and `host`, mean this machine. A profile's name means the
    /// profile also where there is a file of that name; `./NAME` means the file.
    pub(crate) fn of(argument: Option<&Path>) -> Result<Self, CpuError> {
        let Some(argument) = argument.filter(|argument| *argument != Path::new(HOST)) else {
            return Self::this_machine();
        };
        if let Some(profile) = argument.to_str().and_then(Profile::by_name) {
            return Self::recorded(profile.text().as_bytes(), Source::Profile(profile));
        }
        let names_a_path = argument.as_os_str().as_encoded_bytes().contains(&b'/');
        if !names_a_path && !argument.exists() {
            return Err(CpuError::Unknown {
                name: argument.to_owned(),
                profiles: Profile::ALL
                    .iter()
                    .map(Profile::name)
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        let text = read_capped(argument)?;
        Self::recorded(&text, Source::File(argument.to_owned()))
    }

    fn this_machine() -> Result<Self, CpuError> {
        let host = HostCpu::read()?;
        Ok(Self {
            name: host.name().to_owned(),
            source: Source::ThisMachine,
            enumeration: host.enumeration().clone(),
            leaves: Vec::new(),
            running: Some(Running {
                xcr0: host.xcr0(),
                mxcsr_mask: host.mxcsr_mask(),
            }),
            oddities: examine::of_enumeration(host.enumeration()),
        })
    }

    fn recorded(text: &[u8], source: Source) -> Result<Self, CpuError> {
        let dump = Dump::parse(text).map_err(|error| CpuError::Dump {
            path: source.to_path(),
            error,
        })?;
        Ok(Self {
            name: name(&mut RecordedLeaves(dump.leaves())),
            enumeration: Enumeration::read(RecordedLeaves(dump.leaves())),
            leaves: dump.leaves().to_vec(),
            running: None,
            oddities: examine::of_dump(&dump),
            source,
        })
    }

    /// The bits MXCSR may have. Of a CPU that is not here it is worked out: CPUID announces one bit of
    /// AMD's alone (MM, by `MisAlignSse`: APM 2, 11.5.9), and every CPU with XSAVE has DAZ.
    pub(crate) fn mxcsr_mask(&self) -> u32 {
        const MISALIGNED_EXCEPTION_MASK: u32 = 1 << 17;
        const MISALIGN_SSE: u32 = 1 << 7;
        let features = RecordedLeaves(&self.leaves).cpuid(0x8000_0001, 0);
        match self.running {
            Some(running) => running.mxcsr_mask,
            None if features.ecx & MISALIGN_SSE != 0 => 0xffff | MISALIGNED_EXCEPTION_MASK,
            None => 0xffff,
        }
    }

    pub(crate) fn oddity_reports(&self) -> Vec<OddityReport> {
        let reports = self.oddities.iter().map(|oddity| {
            let (leaf, subleaf) = oddity.leaf();
            OddityReport {
                leaf,
                subleaf,
                what: oddity.to_string(),
            }
        });
        reports.collect()
    }
}

impl Source {
    fn to_path(&self) -> PathBuf {
        match self {
            Self::ThisMachine => PathBuf::new(),
            Self::Profile(profile) => PathBuf::from(profile.name()),
            Self::File(path) => path.clone(),
        }
    }

    /// What it is, for people.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::ThisMachine => "this machine".to_owned(),
            Self::Profile(profile) => format!("profile {}", profile.name()),
            Self::File(path) => format!("file {path:?}"),
        }
    }

    /// The argument that chooses it again.
    pub(crate) fn argument(&self) -> Option<PathBuf> {
        match self {
            Self::ThisMachine => None,
            Self::Profile(_) | Self::File(_) => Some(self.to_path()),
        }
    }
}

/// Reads a file that is no longer than a dump can be; of a longer one only a byte too many.
fn read_capped(path: &Path) -> Result<Vec<u8>, CpuError> {
    let failed = |error| CpuError::Read {
        path: path.to_owned(),
        error,
    };
    let too_long = |found| CpuError::Dump {
        path: path.to_owned(),
        error: DumpError::TooLong {
            found,
            allowed: LONGEST_DUMP,
        },
    };
    let file = File::open(path).map_err(failed)?;
    let len = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    if len > LONGEST_DUMP {
        return Err(too_long(len));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_DUMP as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// The brand string of leaves 8000\_0002H to 8000\_0004H, or the vendor of leaf 0. A dump is
/// somebody else's text: what is not printable is left out.
fn name(source: &mut impl CpuidSource) -> String {
    let brand = (0x8000_0002..=0x8000_0004).flat_map(|leaf| {
        let CpuidRegisters { eax, ebx, ecx, edx } = source.cpuid(leaf, 0);
        [eax, ebx, ecx, edx]
    });
    let brand = printable(brand.collect());
    if !brand.is_empty() {
        return brand;
    }
    let CpuidRegisters {
        eax: _,
        ebx,
        ecx,
        edx,
    } = source.cpuid(0, 0);
    match printable(vec![ebx, edx, ecx]) {
        vendor if vendor.is_empty() => "unnamed".to_owned(),
        vendor => vendor,
    }
}

fn printable(registers: Vec<u32>) -> String {
    let text: String = registers
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .filter(|byte| matches!(byte, b' '..=b'~'))
        .map(char::from)
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_named_as_its_leaves_name_it() {
        let chosen = |name: &str| CpuChoice::of(Some(Path::new(name))).unwrap().name;
        assert_eq!(chosen("sapphire-rapids"), "Intel(R) Xeon(R) w7-2475X");
        assert_eq!(chosen("genoa"), "AMD EPYC 9654 96-Core Processor");
        assert_eq!(
            chosen("apx-synthetic"),
            "Synthetic: Granite Rapids with APX"
        );
    }

    #[test]
    fn the_mxcsr_mask_of_a_recorded_cpu_has_amds_bit_on_amd_only() {
        let mask = |name: &str| CpuChoice::of(Some(Path::new(name))).unwrap().mxcsr_mask();
        assert_eq!(mask("sapphire-rapids"), 0xffff);
        assert_eq!(mask("genoa"), 0x2_ffff);
    }

    #[test]
    fn a_name_of_control_characters_does_not_reach_the_terminal() {
        let escape = CpuidRegisters {
            eax: u32::from_le_bytes(*b"\x1b[2J"),
            ..CpuidRegisters::default()
        };
        assert_eq!(name(&mut |_, _| escape), "[2J [2J [2J".replace(' ', ""));
        assert_eq!(name(&mut |_, _| CpuidRegisters::default()), "unnamed");
    }
}
