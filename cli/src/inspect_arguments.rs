//! What can be asked about the registers in a file.

use std::path::PathBuf;

use clap::Args;

use crate::file_kind::FileKind;
use crate::registers::lanes::Values;

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// An image or a core
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the file is [default: what its content says]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub(crate) kind: Option<FileKind>,
    /// Whose layout it has: a CPU profile, or a file with a CPUID dump [default: one that it fits]
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu: Option<PathBuf>,
    /// These registers only: names separated by commas, as zmm31,k1,st0,mm0,mxcsr,tmm0,pkru,xcr0
    #[arg(long, value_name = "LIST")]
    pub(crate) register: Option<String>,
    /// This thread of a core only
    #[arg(long, value_name = "TID")]
    pub(crate) thread: Option<u32>,
    /// How vector registers and tiles are shown
    #[arg(long, value_enum, default_value_t = Values::Hex)]
    pub(crate) values: Values,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// An image or a core
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Another one, of the same form or not
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// What both files are [default: what their content says]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub(crate) kind: Option<FileKind>,
    /// Whose layout A has, and B without --cpu-b [default: one that it fits]
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu: Option<PathBuf>,
    /// Whose layout B has
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu_b: Option<PathBuf>,
    /// This thread only, of each file that is a core
    #[arg(long, value_name = "TID")]
    pub(crate) thread: Option<u32>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}
