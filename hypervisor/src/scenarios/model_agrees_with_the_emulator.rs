//! Random cases of each instruction leave the same behind on the emulated CPU and on the model.

use alloc::format;
use alloc::string::String;

use crate::against_model::campaign::compare;
use crate::against_model::on_model::WrongRule;
use crate::against_model::tested::Tested;
use crate::against_model::this_emulator::ThisEmulator;
use crate::scenario::{Outcome, Scenario, Twin};

const fn scenario(name: &'static str, run: fn(Twin) -> Outcome) -> Scenario {
    Scenario {
        name,
        run,
        left_out: "a rule of the model",
    }
}

/// One scenario for each instruction.
pub const SCENARIOS: [Scenario; 9] = [
    scenario("model-and-emulator-agree-on-xsave", |twin| {
        run(Tested::Xsave, twin)
    }),
    scenario("model-and-emulator-agree-on-xsaveopt", |twin| {
        run(Tested::Xsaveopt, twin)
    }),
    scenario("model-and-emulator-agree-on-xsavec", |twin| {
        run(Tested::Xsavec, twin)
    }),
    scenario("model-and-emulator-agree-on-xsaves", |twin| {
        run(Tested::Xsaves, twin)
    }),
    scenario("model-and-emulator-agree-on-xrstor", |twin| {
        run(Tested::Xrstor, twin)
    }),
    scenario("model-and-emulator-agree-on-xrstors", |twin| {
        run(Tested::Xrstors, twin)
    }),
    scenario("model-and-emulator-agree-on-fxsave", |twin| {
        run(Tested::Fxsave, twin)
    }),
    scenario("model-and-emulator-agree-on-fxrstor", |twin| {
        run(Tested::Fxrstor, twin)
    }),
    scenario("model-and-emulator-agree-on-xgetbv-1", |twin| {
        run(Tested::XgetbvInUse, twin)
    }),
];

fn run(tested: Tested, twin: Twin) -> Outcome {
    let Some(this) = ThisEmulator::find() else {
        return Outcome::Skipped(String::from("neither QEMU's TCG nor Bochs with XSAVE"));
    };
    if !this.enumeration().has(tested.announced_by()) {
        return Outcome::Skipped(format!("this CPU has no {tested}"));
    }
    let wrong_rule = match twin {
        Twin::Whole => None,
        Twin::Broken => Some(WrongRule::of(tested)),
    };
    match compare(&this, tested, wrong_rule) {
        Ok(()) => Outcome::Passed,
        Err(difference) => Outcome::Failed(difference),
    }
}
