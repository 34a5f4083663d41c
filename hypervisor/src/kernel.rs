//! The order of things.

use alloc::vec::Vec;

use crate::multiboot::{self, Request};
use crate::scenario::{self, Scenario};
use crate::verdict::{self, Verdict};
use crate::{console, cpu_features, descriptors, heap, pic, println, scenarios};

/// The first CPU comes here from `boot`.
#[unsafe(no_mangle)]
extern "C" fn boot_processor(magic: u32, information: u32) -> ! {
    console::initialise();
    heap::initialise();
    cpu_features::enable();
    descriptors::load();
    pic::mask();
    // SAFETY: 1: `boot` hands both on. 2: it has mapped them, and the loader leaves them outside of
    // the image, whose `.bss` has the heap and the stacks.
    let command_line = unsafe { multiboot::command_line(magic, information) };
    let tally = scenario::run_all(chosen(Request::parse(command_line)).into_iter());
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

/// What is to be run; ends here if that is nothing.
fn chosen(request: Request<'_>) -> Vec<&'static Scenario> {
    match request {
        Request::All => scenarios::ALL.iter().collect(),
        Request::List => {
            for scenario in scenarios::ALL {
                println!("scenario {}", scenario.name);
            }
            verdict::end(Verdict::Passed)
        }
        Request::Named(name) => {
            let named = scenario::named(scenarios::ALL, name);
            if named.is_empty() {
                println!("Bail out! no scenario is called {name}");
                verdict::end(Verdict::Failed);
            }
            named
        }
    }
}

/// Every other CPU comes here.
#[unsafe(no_mangle)]
extern "C" fn application_processor() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}
