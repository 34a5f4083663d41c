//! What can be asked about the registers in a file, and the JSON of the answers.

use std::path::PathBuf;

use clap::Args;

use crate::file_kind::FileKind;
use crate::registers::lanes::Values;

/// The JSON of `inspect`, which programs rely on.
pub(crate) const INSPECT_JSON: &str = "\
The file is a KVM or XSAVE image, a compacted image, 512 bytes of FXSAVE, the extended state of a signal frame, the ELF
core of a 64-bit process, or a snapshot of fpstate-kvm in JSON.

JSON: file, kind (as --as has it), len in bytes, threads, one each or one for an image:
  tid, signal     null outside a core
  image           form, offset in the file (0 of a snapshot's), len, format (standard, compacted, FXSAVE), xstate_bv, xcomp_bv,
                  xcr0 (null where the image does not say), xss, xfd, xfd_err (of snapshots), layout (whose it is, and why),
                  fx_only (of signal frames: why sigreturn restores 512 bytes of it only; null: all of it, or no frame),
                  components: number, name, offset, len, initial
  registers       name, components, initial (every bit as after INIT), hex (one number), and where they apply:
                  value (x87: decimal), tag, flags, rows and colsb (tiles), lanes (--values, lane 0 first)
Bytes and offsets are numbers; registers are text, because JSON's numbers end at 53 bits.";

/// The JSON of `diff`.
pub(crate) const DIFF_JSON: &str = "\
JSON: a, b (file, kind, len), equal, threads:
  a, b            thread ids; null for an image, or where the other file has no such thread
  components      name, a and b (live, initial, absent), equal
  registers       those that differ: name, a, b (hexadecimal)";

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
