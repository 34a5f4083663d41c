//! What the instructions cost on the CPU that runs the tests: the figures of docs/surprises.md and
//! ARCHITECTURE.md. It asserts nothing.

extern crate std;

use std::println;

use fpstate_arch::{Component, ComponentSet, Processor};

use crate::LiveProcessor;
use crate::extended_control::{XgetbvOperand, xgetbv};
use crate::fxsave::{fxrstor64, fxsave64};
use crate::random_image::{Area, Random, random_image};
use crate::timestamp::timestamp;
use crate::xsave_family::{xrstor64, xsavec64};

const EVENTS: u32 = 64;
const SAMPLES: usize = 3001;

/// The median of samples of 64 events each, in cycles of the time-stamp counter.
fn cost_of(mut event: impl FnMut()) -> f64 {
    let mut samples = [0; SAMPLES];
    for sample in &mut samples {
        // SAFETY: 1: an ordinary process of Linux.
        let before = unsafe { timestamp() };
        for _ in 0..EVENTS {
            event();
        }
        // SAFETY: as above.
        *sample = unsafe { timestamp() } - before;
    }
    samples.sort_unstable();
    f64::from(u32::try_from(samples[SAMPLES / 2]).unwrap()) / f64::from(EVENTS)
}

#[test]
#[ignore = "figures for a reader: cargo test --release -p fpstate-native -- --ignored --nocapture costs"]
fn what_a_restore_costs_by_what_it_is_asked_for() {
    // SAFETY: 1, 2: Linux, on one kind of CPU. 3: so are the tests. 4: what is loaded has the MXCSR and
    // the x87 of a program, and the last restore initialises the rest.
    let mut cpu = unsafe { LiveProcessor::assume_caller_saved() };
    let (on, all) = (cpu.enumeration().clone(), cpu.replaced());
    if cpu.xgetbv_in_use().is_err() {
        println!("SKIPPED: no XGETBV(1) here");
        return;
    }
    let usual = ComponentSet::only(Component::Sse).with(Component::Avx);
    let len = on.standard_len().try_into().unwrap();
    let (mut first, mut second) = (Area::zeroed(len), Area::zeroed(len));
    let image = random_image(&mut Random::seeded(), &on, usual, 0);
    let (one, other) = (
        first.bytes_mut().as_mut_ptr(),
        second.bytes_mut().as_mut_ptr(),
    );
    // SAFETY: 1: the areas are as long as any of this CPU's. 2: XSAVEC is there where XGETBV(1) is.
    let save = |area| unsafe { xsavec64(area, all) };
    // SAFETY: 1 to 3: as above; it loads what the saves wrote. 4: as to `cpu`.
    let restore = |area: *const u8, rfbm| unsafe { xrstor64(area, rfbm) };
    let live = || {
        restore(image.bytes().as_ptr(), all);
        save(one);
        save(other);
    };
    live();
    println!("twice XSAVEC of {all} and XRSTOR of RFBM, {usual} live:");
    for rfbm in [0xe7, 0x07, 0xe6, 0xc6, 0x46, 0x06] {
        let rfbm = ComponentSet::from_bits(rfbm).intersection(all);
        live();
        let cost = cost_of(|| {
            save(one);
            restore(other, rfbm);
            save(other);
            restore(one, rfbm);
        });
        println!("  {:02x}: {cost:.0}", rfbm.bits());
    }
    // SAFETY: 1, 2: the area is longer. 3: Linux has it so.
    println!("FXSAVE64: {:.0}", cost_of(|| unsafe { fxsave64(one) }));
    // SAFETY: 1 to 4: the same, and as it was saved. 5: as 4 to `cpu`.
    println!("FXRSTOR64: {:.0}", cost_of(|| unsafe { fxrstor64(one) }));
    // SAFETY: 1, 2: it was asked for above.
    let in_use = || _ = unsafe { xgetbv(XgetbvOperand::InUse) };
    println!("XGETBV(1): {:.0}", cost_of(in_use));
    let nothing = Area::zeroed(len);
    cpu.xrstor(nothing.bytes(), all.without(Component::Sse))
        .unwrap();
}
