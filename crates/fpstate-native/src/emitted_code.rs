//! Whether each wrapper is the instruction that its name says, read from its machine code.
//!
//! Most of them cannot be executed in a test: they belong to ring 0.

use crate::{
    cpuid::cpuid, extended_control, fxsave, msr, pkru, tile, timestamp::timestamp, xsave_family,
};

/// How an instruction is encoded (SDM 2).
#[derive(Clone, Copy)]
enum Encoding {
    /// These bytes.
    Plain(&'static [u8]),
    /// REX.W, these bytes, and a `ModRM` byte with a memory operand and this in its middle.
    Rex(&'static [u8], u8),
    /// The same without REX.W.
    Memory(&'static [u8], u8),
}

const ENCODINGS: [(&str, Encoding); 22] = [
    ("fxsave64", Encoding::Rex(&[0x0f, 0xae], 0)),
    ("fxrstor64", Encoding::Rex(&[0x0f, 0xae], 1)),
    ("xsave64", Encoding::Rex(&[0x0f, 0xae], 4)),
    ("xrstor64", Encoding::Rex(&[0x0f, 0xae], 5)),
    ("xsaveopt64", Encoding::Rex(&[0x0f, 0xae], 6)),
    ("xrstors64", Encoding::Rex(&[0x0f, 0xc7], 3)),
    ("xsavec64", Encoding::Rex(&[0x0f, 0xc7], 4)),
    ("xsaves64", Encoding::Rex(&[0x0f, 0xc7], 5)),
    ("ldmxcsr", Encoding::Memory(&[0x0f, 0xae], 2)),
    ("stmxcsr", Encoding::Memory(&[0x0f, 0xae], 3)),
    ("fnstcw", Encoding::Memory(&[0xd9], 7)),
    ("fninit", Encoding::Plain(&[0xdb, 0xe3])),
    ("xgetbv", Encoding::Plain(&[0x0f, 0x01, 0xd0])),
    ("xsetbv", Encoding::Plain(&[0x0f, 0x01, 0xd1])),
    ("fnclex", Encoding::Plain(&[0xdb, 0xe2])),
    ("rdpkru", Encoding::Plain(&[0x0f, 0x01, 0xee])),
    ("wrpkru", Encoding::Plain(&[0x0f, 0x01, 0xef])),
    ("tilerelease", Encoding::Plain(&[0xc4, 0xe2, 0x78, 0x49])),
    ("rdmsr", Encoding::Plain(&[0x0f, 0x32])),
    ("wrmsr", Encoding::Plain(&[0x0f, 0x30])),
    ("cpuid", Encoding::Plain(&[0x0f, 0xa2])),
    ("rdtsc", Encoding::Plain(&[0x0f, 0x31])),
];

impl Encoding {
    fn begins(self, code: &[u8]) -> bool {
        match self {
            Self::Plain(bytes) => code.starts_with(bytes),
            Self::Rex(bytes, middle) => {
                code[0] & 0xf8 == 0x48 && Self::Memory(bytes, middle).begins(&code[1..])
            }
            Self::Memory(bytes, middle) => {
                let mod_rm = code[bytes.len()];
                code.starts_with(bytes) && mod_rm >> 6 != 3 && mod_rm >> 3 & 7 == middle
            }
        }
    }
}

/// The first instruction of the table in the code that begins at `function`.
fn first_emitted(function: *const ()) -> &'static str {
    const LONGEST: usize = 4;
    // SAFETY: the text of a test program goes on for far more than this behind any of its
    // functions, and is readable.
    let code: &[u8; 512] = unsafe { &*function.cast() };
    code.windows(LONGEST)
        .find_map(|at| {
            let (name, _) = ENCODINGS.iter().find(|(_, e)| e.begins(at))?;
            Some(*name)
        })
        .unwrap_or("none of them")
}

macro_rules! assert_emits {
    ($($function:path => $name:literal),+ $(,)?) => {
        $(assert_eq!(first_emitted($function as *const ()), $name, stringify!($function));)+
    };
}

/// C5 · peers · Hermit, SVSM, Hedron · XSAVE without REX.W keeps 32 bits of FIP and FDP
#[test]
fn each_wrapper_is_the_instruction_of_its_name() {
    assert_emits! {
        xsave_family::xsave64 => "xsave64",
        xsave_family::xsaveopt64 => "xsaveopt64",
        xsave_family::xsavec64 => "xsavec64",
        xsave_family::xsaves64 => "xsaves64",
        xsave_family::xrstor64 => "xrstor64",
        xsave_family::xrstors64 => "xrstors64",
        fxsave::fxsave64 => "fxsave64",
        fxsave::fxrstor64 => "fxrstor64",
        fxsave::fninit => "fninit",
        fxsave::fnstcw => "fnstcw",
        fxsave::ldmxcsr => "ldmxcsr",
        fxsave::stmxcsr => "stmxcsr",
        fxsave::overwrite_error_pointers => "fnclex",
        pkru::rdpkru => "rdpkru",
        pkru::wrpkru => "wrpkru",
        tile::tilerelease => "tilerelease",
        extended_control::xgetbv => "xgetbv",
        extended_control::xsetbv => "xsetbv",
        msr::rdmsr => "rdmsr",
        msr::wrmsr => "wrmsr",
        cpuid => "cpuid",
        timestamp => "rdtsc",
    }
}
