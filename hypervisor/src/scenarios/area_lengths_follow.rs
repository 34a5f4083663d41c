//! CPUID leaf 0DH says how long an area is for the XCR0 and IA32_XSS of the moment, as the model does.

use alloc::format;
use alloc::string::String;

use fastrand::Rng;
use fpstate_arch::{ComponentSet, Instruction, Processor, Xcr0, Xss};
use fpstate_native::cpuid;
use fpstate_native::msr::Msr;

use crate::against_model::this_emulator::ThisEmulator;
use crate::control_registers::{try_wrmsr, try_xgetbv, try_xsetbv};
use crate::scenario::{Outcome, Scenario, Twin};
use crate::trap::Exception;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "cpuid-says-the-lengths-of-areas-for-xcr0-and-ia32-xss-as-the-model-does",
    run,
    left_out: "the model's XSETBV",
};

const ATTEMPTS: usize = 500;

fn run(twin: Twin) -> Outcome {
    let Some(this) = ThisEmulator::find() else {
        return Outcome::Skipped(String::from("neither QEMU's TCG nor Bochs with XSAVE"));
    };
    let Ok(kept) = try_xgetbv(0) else {
        return Outcome::Failed(String::from("XGETBV"));
    };
    let compared = compare(&this, twin);
    let restored = set(kept, this.full_xss().map(|_| Xss::AFTER_RESET));
    match (compared, restored) {
        (Ok(()), Ok(())) => Outcome::Passed,
        (Err(reason), _) => Outcome::Failed(reason),
        (_, Err(exception)) => Outcome::Failed(format!("{exception:?}")),
    }
}

fn set(xcr0: u64, xss: Option<Xss>) -> Result<(), Exception> {
    // SAFETY: 1: soft-float.
    unsafe { try_xsetbv(0, xcr0)? };
    match xss {
        // SAFETY: 1: nothing uses supervisor components.
        Some(xss) => unsafe { try_wrmsr(Msr::Xss.number(), xss.components().bits()) },
        None => Ok(()),
    }
}

fn compare(this: &ThisEmulator, twin: Twin) -> Result<(), String> {
    let enumeration = this.enumeration();
    let user = enumeration.user_components();
    let mut model = this.model();
    let mut random = Rng::with_seed(1);
    let mut any = |of: ComponentSet| ComponentSet::from_bits(random.u64(..)).intersection(of);
    for _ in 0..ATTEMPTS {
        let Ok(xcr0) = Xcr0::new(any(user), user) else {
            continue;
        };
        let xss = this
            .full_xss()
            .and_then(|full| Xss::new(any(full.components()), full.components()).ok());
        set(xcr0.components().bits(), xss).map_err(|exception| format!("{exception:?}"))?;
        if twin == Twin::Whole {
            model.xsetbv(xcr0).map_err(|fault| format!("{fault}"))?;
        }
        if let Some(xss) = xss {
            model.write_xss(xss).map_err(|fault| format!("{fault}"))?;
        }
        let has_compaction = enumeration.has(Instruction::Xsavec);
        let compacted = |ebx: u32| if has_compaction { ebx } else { 0 };
        let real = (cpuid(0xd, 0).ebx, compacted(cpuid(0xd, 1).ebx));
        let said = (model.cpuid(0xd, 0).ebx, compacted(model.cpuid(0xd, 1).ebx));
        if real == said {
            continue;
        }
        let (xcr0, xss) = (xcr0.components(), xss.map(Xss::components));
        return Err(format!(
            "XCR0={xcr0:?} XSS={xss:?}: CPUID {real:?}, model {said:?}"
        ));
    }
    Ok(())
}
