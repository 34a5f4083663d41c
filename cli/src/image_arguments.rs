//! What can be asked of an image: whether and how it goes to another CPU.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::file_kind::FileKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AreaFormat {
    /// Each component at the offset CPUID gives it: XSAVE, XSAVEOPT
    Standard,
    /// One component after the other: XSAVEC, XSAVES
    Compacted,
}

#[derive(Debug, Args)]
pub(crate) struct BaselineArguments {
    /// CPU profiles, files with CPUID dumps, or `host` for this machine
    #[arg(required = true, value_name = "PROFILE|FILE|host")]
    pub(crate) cpus: Vec<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// One image of a file.
#[derive(Debug, Args)]
pub(crate) struct ImageArguments {
    /// An XSAVE or KVM image, the extended state of a signal frame, a snapshot of fpstate-kvm as JSON, or an
    /// ELF core
    #[arg(value_name = "IMAGE")]
    pub(crate) path: PathBuf,
    /// What the file is [default: what its content says]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub(crate) kind: Option<FileKind>,
    /// This thread of a core
    #[arg(long, value_name = "TID")]
    pub(crate) thread: Option<u32>,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) image: ImageArguments,
    /// The CPU that it is to be restored on [default: this machine]
    #[arg(long, value_name = "PROFILE|FILE|host")]
    pub(crate) cpu: Option<PathBuf>,
    /// The CPU that made it, which no bare image says: then components at other places are found too
    /// [default: what a snapshot or a core says]
    #[arg(long, value_name = "PROFILE|FILE|host")]
    pub(crate) from: Option<PathBuf>,
    /// What guests may have there, a number or components by name [default: what the CPU has, as far
    /// as the file has bytes for it]
    #[arg(long, value_name = "XCR0")]
    pub(crate) xcr0: Option<String>,
    /// Ask this machine's kernel too: set the image on a fresh vCPU of KVM
    #[arg(long)]
    pub(crate) kvm: bool,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    #[command(flatten)]
    pub(crate) image: ImageArguments,
    /// The CPU that made it: a profile, a file with a CPUID dump, or `host` [default: what a snapshot or
    /// a core says, otherwise this machine]
    #[arg(long, visible_alias = "from", value_name = "PROFILE|FILE|host")]
    pub(crate) cpu: Option<PathBuf>,
    /// The CPU that it is to be restored on
    #[arg(long, value_name = "PROFILE|FILE|host")]
    pub(crate) to: PathBuf,
    /// Format to write; standard as KVM takes it: 4096 bytes or more
    #[arg(long, value_enum, default_value_t = AreaFormat::Standard)]
    pub(crate) format: AreaFormat,
    /// What may be lost where there is no room: nothing (reject), what is announced and yet initial
    /// (initial), or components by name as well, separated by commas
    #[arg(long, value_name = "reject|initial|LIST", default_value = "reject")]
    pub(crate) loss: String,
    /// XCR0 of the guest there, a number or components by name [default: what the image has room for
    /// and the CPU has]
    #[arg(long, value_name = "XCR0")]
    pub(crate) xcr0: Option<String>,
    /// The file to write; it is replaced as a whole or not at all
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}
