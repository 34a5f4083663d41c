//! The kernel's image: what a loader starts, and what happens at a panic.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use fpstate_hypervisor as _;
use fpstate_hypervisor::console::print;
use fpstate_hypervisor::verdict;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(format_args!("Bail out! {info}\n"));
    verdict::end(verdict::Verdict::Failed)
}
