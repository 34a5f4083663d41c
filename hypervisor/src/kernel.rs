//! The order of things.

use crate::cpu_features;
use crate::verdict::{self, Verdict};
use crate::{console, descriptors, heap, pic, println, scenario, scenarios};

/// The first CPU comes here from `boot`.
#[unsafe(no_mangle)]
extern "C" fn boot_processor(_magic: u32, _information: u32) -> ! {
    console::initialise();
    heap::initialise();
    cpu_features::enable();
    descriptors::load();
    pic::mask();
    let tally = scenario::run_all(scenarios::ALL.iter());
    println!(
        "# passed {} failed {} skipped {}",
        tally.passed, tally.failed, tally.skipped
    );
    verdict::end(if tally.failed == 0 {
        Verdict::Passed
    } else {
        Verdict::Failed
    })
}

/// Every other CPU comes here.
#[unsafe(no_mangle)]
extern "C" fn application_processor() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}
