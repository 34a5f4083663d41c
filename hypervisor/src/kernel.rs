//! The order of things.

use alloc::string::String;
use alloc::vec::Vec;

use crate::multiboot::{self, Request};
use crate::scenario::{self, Scenario};
use crate::verdict::{self, Verdict};
use crate::{
    console, cpu_features, delay, descriptors, heap, lapic, mxcsr_probe, percpu, println,
    scenarios, smp, tick, trampoline, user_mode,
};

/// How long other CPUs have to appear after the last one that did.
const PATIENCE: u32 = 60;

/// The first CPU comes here from `boot`.
#[unsafe(no_mangle)]
extern "C" fn boot_processor(magic: u32, information: u32) -> ! {
    console::initialise();
    heap::initialise();
    prepare_cpu();
    lapic::initialise();
    user_mode::initialise();
    tick::initialise();
    start_others();
    println!("# {} CPUs", smp::online().count());
    tell_offer();
    match mxcsr_probe::probe() {
        Ok(true) => {}
        Ok(false) => {
            println!(
                "# XRSTORS does not initialise MXCSR where XSTATE_BV[1] is 0, against SDM 1, 13.8.2"
            )
        }
        Err(reason) => bail_out(&reason),
    }
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

/// Every other CPU comes here, and a CPU that was taken offline.
#[unsafe(no_mangle)]
extern "C" fn application_processor() -> ! {
    prepare_cpu();
    smp::idle()
}

fn tell_offer() {
    let offer = percpu::offer();
    let (every, on_demand) = (offer.default_components(), offer.on_demand());
    println!("# every state has {every}; on demand {on_demand}");
    for (component, reason) in offer.left_out() {
        println!("# left out: {component}, {reason}");
    }
}

fn prepare_cpu() {
    cpu_features::enable();
    descriptors::load();
    lapic::enable();
    match percpu::bring_up() {
        Ok(()) => smp::come_online(),
        Err(reason) => bail_out(&reason),
    }
}

/// Starts every other CPU that there is.
fn start_others() {
    trampoline::install();
    lapic::reset_others();
    delay::milliseconds(10);
    lapic::start_others(smp::TRAMPOLINE_PAGE);
    delay::milliseconds(1);
    lapic::start_others(smp::TRAMPOLINE_PAGE);
    let (mut found, mut waited) = (smp::online().count(), 0);
    while waited < PATIENCE {
        delay::milliseconds(1);
        waited += 1;
        let count = smp::online().count();
        if count != found {
            (found, waited) = (count, 0);
        }
    }
}

fn bail_out(reason: &String) -> ! {
    println!("Bail out! {reason}");
    verdict::end(Verdict::Failed)
}
