//! XGETBV, XSETBV and the MSRs refuse what the manual says: the matrix of kvm-unit-tests'
//! `x86/xsave.c`, on the CPU that the kernel runs on, and the MSRs besides.

use alloc::format;
use alloc::string::String;

use fastrand::Rng;
use fpstate_arch::{ComponentSet, Enumeration, Instruction, Xcr0};
use fpstate_native::cpuid;
use fpstate_native::msr::Msr;
use x86_64::registers::control::{Cr4, Cr4Flags};

use crate::against_model::this_emulator::ThisEmulator;
use crate::control_registers::{try_rdmsr, try_wrmsr, try_xgetbv, try_xsetbv};
use crate::println;
use crate::scenario::{Outcome, Scenario, Twin};
use crate::trap::Exception;

/// The scenarios.
pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "without-cr4-osxsave-xgetbv-and-xsetbv-are-invalid-and-cpuid-says-so",
        run: |twin| run(twin, osxsave),
        left_out: "clearing CR4.OSXSAVE",
    },
    Scenario {
        name: "xsetbv-refuses-each-illegal-value-and-leaves-xcr0-alone",
        run: |twin| run(twin, illegal_values),
        left_out: "what makes the values illegal",
    },
    Scenario {
        name: "xsetbv-accepts-exactly-what-the-library-takes-for-legal",
        run: |twin| run(twin, random_values),
        left_out: "the library's opinion",
    },
    Scenario {
        name: "only-index-0-is-written-only-0-and-1-are-read-and-rcx-63-32-does-not-count",
        run: |twin| run(twin, indices),
        left_out: "the index",
    },
    Scenario {
        name: "ia32-xss-ia32-xfd-and-ia32-xfd-err-refuse-as-cpuid-says",
        run: |twin| run(twin, msrs),
        left_out: "the register's number",
    },
];

type Checked = Result<(), String>;

const INVALID_OPCODE: Exception = Exception {
    vector: 6,
    error_code: 0,
};
const GENERAL_PROTECTION: Exception = Exception {
    vector: 13,
    error_code: 0,
};

fn run(twin: Twin, check: fn(Twin, &Enumeration) -> Checked) -> Outcome {
    let enumeration = Enumeration::read(cpuid);
    if !enumeration.has(Instruction::Xsave) {
        return Outcome::Skipped(String::from("this CPU has no XSAVE"));
    }
    match check(twin, &enumeration) {
        Ok(()) => Outcome::Passed,
        Err(reason) => Outcome::Failed(reason),
    }
}

fn require<T: core::fmt::Debug>(
    what: &str,
    found: Result<T, Exception>,
    wanted: Exception,
) -> Checked {
    match found {
        Err(exception) if exception == wanted => Ok(()),
        found => Err(format!("{what}: {found:?}, not vector {}", wanted.vector)),
    }
}

/// XSETBV; nothing of the kernel's needs a component.
fn set(rcx: u64, value: u64) -> Result<(), Exception> {
    // SAFETY: 1: soft-float; whoever uses components sets XCR0 first.
    unsafe { try_xsetbv(rcx, value) }
}

fn with_osxsave(flags: Cr4Flags) {
    // SAFETY: CR4.OSXSAVE changes and nothing uses the XSAVE instructions meanwhile.
    unsafe { Cr4::write(flags) };
}

fn osxsave(twin: Twin, _: &Enumeration) -> Checked {
    const OSXSAVE: u32 = 1 << 27;
    let set_before = Cr4::read();
    if twin == Twin::Whole {
        with_osxsave(set_before - Cr4Flags::OSXSAVE);
    }
    let clear = (cpuid(1, 0).ecx & OSXSAVE, try_xgetbv(0), set(0, 1));
    with_osxsave(set_before);
    require("XGETBV", clear.1, INVALID_OPCODE)?;
    require("XSETBV", clear.2, INVALID_OPCODE)?;
    if clear.0 != 0 || cpuid(1, 0).ecx & OSXSAVE == 0 {
        return Err(String::from("CPUID.1:ECX[27] does not follow CR4.OSXSAVE"));
    }
    Ok(())
}

/// What XCR0 holds; put back at the end.
struct Xcr0Kept(u64);

impl Xcr0Kept {
    fn keep() -> Result<Self, String> {
        try_xgetbv(0)
            .map(Self)
            .map_err(|exception| format!("XGETBV: {exception:?}"))
    }
}

impl Drop for Xcr0Kept {
    fn drop(&mut self) {
        // It was there before.
        let _ = set(0, self.0);
    }
}

fn illegal_values(twin: Twin, enumeration: &Enumeration) -> Checked {
    const PARTIAL: [(&str, u64); 11] = [
        ("nothing", 0),
        ("SSE without x87", 0x2),
        ("AVX without x87", 0x6),
        ("AVX without SSE", 0x5),
        ("BNDREGS without BNDCSR", 0xb),
        ("BNDCSR without BNDREGS", 0x13),
        ("opmask alone", 0x27),
        ("ZMM_Hi256 without Hi16_ZMM", 0x67),
        ("AVX-512 without AVX", 0xe3),
        ("TILECFG without TILEDATA", 0x2_0003),
        ("TILEDATA without TILECFG", 0x4_0003),
    ];
    let kept = Xcr0Kept::keep()?;
    let unsupported = (2..64)
        .map(|bit| 1u64 << bit | 0x3)
        .filter(|bits| bits & !enumeration.user_components().bits() != 0)
        .map(|bits| ("a bit that CPUID does not have", bits));
    for (what, value) in PARTIAL.into_iter().chain(unsupported) {
        let value = match twin {
            Twin::Whole => value,
            Twin::Broken => 1,
        };
        let what = format!("XSETBV of {value:#x}, {what}");
        require(&what, set(0, value), GENERAL_PROTECTION)?;
        if try_xgetbv(0) != Ok(kept.0) {
            return Err(format!("{what} changed XCR0"));
        }
    }
    Ok(())
}

fn random_values(twin: Twin, enumeration: &Enumeration) -> Checked {
    let _kept = Xcr0Kept::keep()?;
    let user = enumeration.user_components();
    let mut random = Rng::with_seed(1);
    for _ in 0..1000 {
        let value = ComponentSet::from_bits(random.u64(..)).intersection(user);
        let legal = match twin {
            Twin::Whole => Xcr0::new(value, user).is_ok(),
            Twin::Broken => true,
        };
        let accepted = set(0, value.bits());
        if accepted.is_ok() != legal {
            return Err(format!("XSETBV of {:#x}: {accepted:?}", value.bits()));
        }
    }
    Ok(())
}

fn indices(twin: Twin, enumeration: &Enumeration) -> Checked {
    const HIGH: u64 = 0xffff_ffff << 32;
    let kept = Xcr0Kept::keep()?;
    let index = |index: u64| match twin {
        Twin::Whole => index,
        Twin::Broken => 0,
    };
    for number in [1, 2, 0xffff_ffff] {
        let found = set(index(number), kept.0);
        require("XSETBV of another index", found, GENERAL_PROTECTION)?;
    }
    for number in [2, 3, 0xffff_ffff] {
        let found = try_xgetbv(index(number));
        require("XGETBV of another index", found, GENERAL_PROTECTION)?;
    }
    if !enumeration.has(Instruction::XgetbvInUse) {
        require("XGETBV(1)", try_xgetbv(index(1)), GENERAL_PROTECTION)?;
    }
    if set(HIGH, kept.0).is_err() || try_xgetbv(HIGH) != Ok(kept.0) {
        return Err(String::from("RCX[63:32] counts"));
    }
    Ok(())
}

fn msrs(twin: Twin, enumeration: &Enumeration) -> Checked {
    const IA32_EFER: u32 = 0xc000_0080;
    let xfd = enumeration.xfd_components();
    let registers = [
        (
            Msr::Xss,
            Instruction::Xsaves,
            enumeration.supervisor_components(),
        ),
        (Msr::Xfd, Instruction::Xfd, xfd),
        (Msr::XfdErr, Instruction::Xfd, xfd),
    ];
    for (msr, announced_by, accepted) in registers {
        let number = match twin {
            Twin::Whole => msr.number(),
            Twin::Broken => IA32_EFER,
        };
        if !enumeration.has(announced_by) {
            require_absent(&format!("{msr:?}"), number)?;
            continue;
        }
        let before = try_rdmsr(number).map_err(|exception| format!("{msr:?}: {exception:?}"))?;
        for bit in (0..64).map(|bit| 1u64 << bit) {
            let legal = accepted.bits() & bit != 0;
            let found = write(number, before | bit);
            if found.is_ok() != legal {
                return Err(format!("{msr:?} with {bit:#x}: {found:?}"));
            }
        }
        // It was there before.
        let _ = write(number, before);
    }
    Ok(())
}

fn write(number: u32, value: u64) -> Result<(), Exception> {
    // SAFETY: 1: the three registers concern extended state, which nothing uses meanwhile; IA32_EFER
    // keeps what it has.
    unsafe { try_wrmsr(number, value) }
}

/// SDM 2, RDMSR and WRMSR: #GP(0) "if the value in ECX specifies a reserved or unimplemented MSR
/// address". QEMU 10.0's TCG reads 0 and ignores writes, and so does Bochs 3.0 unless it is
/// started with `ignore_bad_msrs=0`.
fn require_absent(what: &str, number: u32) -> Checked {
    let (read, written) = (try_rdmsr(number), write(number, 0));
    if ThisEmulator::find().is_some() && (read, written) == (Ok(0), Ok(())) {
        println!("# explained: an-msr-that-is-absent-reads-as-0 ({what})");
        return Ok(());
    }
    require(what, read, GENERAL_PROTECTION)?;
    require(what, written, GENERAL_PROTECTION)
}
