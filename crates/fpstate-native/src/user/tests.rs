extern crate std;

mod compilers_registers;
mod refusals;
mod round_trips;
mod silicon;

use std::eprintln;
use std::hint::black_box;
use std::vec::Vec;

use super::*;
use crate::random_image::{ANY_BYTES, Area, Random, assert_same, random_image};
use crate::reach::Reach;
use crate::xrstor_conditions::XrstorConditions;
use fpstate_arch::{
    AbridgedTagWord, Component, CpuidRegisters, LegacyRegion, Xcr0, Xfd, XfdErr, XsaveHeader, Xss,
};

const ROUNDS: usize = 200;
const ALL: ComponentSet = ComponentSet::from_bits(!0);

fn processor(memory: &mut Area) -> UserProcessor<'_> {
    // SAFETY: 1, 2: Linux, on one kind of CPU. 3: the tests keep nothing there.
    unsafe { UserProcessor::assume_user_mode(memory.bytes_mut()) }.unwrap()
}

fn hand_over() -> Area {
    Area::zeroed(UserProcessor::hand_over_len())
}

/// A processor, an area as large as any, and the components to try; `None`, loudly, without XSAVE.
fn with_xsave(test: impl FnOnce(UserProcessor<'_>, Area, ComponentSet)) {
    let mut memory = hand_over();
    let cpu = processor(&mut memory);
    let tried = cpu.handed_over().intersection(ANY_BYTES);
    let Form::Xsave(own) = cpu.hand_over.form() else {
        eprintln!("SKIPPED: no XSAVE here");
        return;
    };
    let untried = own.difference(tried);
    if !untried.is_empty() {
        eprintln!("SKIPPED: not every byte is legal in {untried}");
    }
    let area = Area::zeroed(cpu.enumeration().standard_len().try_into().unwrap());
    test(cpu, area, tried);
}

fn random(random: &mut Random, cpu: &UserProcessor<'_>, components: ComponentSet) -> Area {
    let mask = cpu.cpu.conditions.mxcsr_mask;
    random_image(random, cpu.enumeration(), components, mask)
}

/// What compiled code does between two calls: it uses registers of every kind.
fn disturb_registers() {
    let numbers: Vec<f64> = (0..64).map(|n| f64::from(black_box(n)) * 1.5).collect();
    black_box(numbers.iter().map(|n| n.sqrt()).sum::<f64>());
    black_box(std::format!("{:.3} {numbers:?}", black_box(1.0f32 / 3.0)));
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has it, and the operating system, by the line above.
        unsafe { disturb_avx512(&numbers) };
    } else if std::is_x86_feature_detected!("avx") {
        // SAFETY: the CPU has it, and the operating system, by the line above.
        unsafe { disturb_avx(&numbers) };
    }
}

#[target_feature(enable = "avx512f")]
fn disturb_avx512(numbers: &[f64]) {
    let doubled: Vec<f64> = numbers.iter().map(|n| n * 2.0 + 1.0).collect();
    black_box(doubled);
    // SAFETY: the function's target feature; the registers are declared.
    unsafe {
        core::arch::asm!(
            "vpternlogd zmm0, zmm0, zmm0, 255", "vpternlogd zmm31, zmm31, zmm31, 255",
            "kxnorw k7, k7, k7",
            out("zmm0") _, out("zmm31") _, out("k7") _, options(nomem, nostack),
        );
    }
}

#[target_feature(enable = "avx")]
fn disturb_avx(numbers: &[f64]) {
    let doubled: Vec<f64> = numbers.iter().map(|n| n * 2.0 + 1.0).collect();
    black_box(doubled);
}

/// The registers of the compiler that a call must leave as they are: MXCSR, and the x87
/// environment (control, status, full tag word).
fn compilers_registers() -> (u32, [u16; 3]) {
    let (mut mxcsr, mut environment) = (0u32, [0u16; 14]);
    // SAFETY: writes the two variables; FNSTENV masks all exceptions, FLDENV takes that back.
    unsafe {
        core::arch::asm!(
            "stmxcsr [{mxcsr}]", "fnstenv [{environment}]", "fldenv [{environment}]",
            mxcsr = in(reg) &raw mut mxcsr,
            environment = in(reg) &raw mut environment,
            options(nostack),
        );
    }
    let [fcw, _, fsw, _, tag, ..] = environment;
    (mxcsr, [fcw, fsw, tag])
}

/// Every method that changes registers or reads them, with registers that are unlike the compiler's.
fn call_everything(cpu: &mut UserProcessor<'_>, image: &Area, area: &mut Area) {
    cpu.xrstor(image.bytes(), ALL).unwrap();
    cpu.xsave(area.bytes_mut(), ALL).unwrap();
    _ = cpu.xsaveopt(area.bytes_mut(), ALL);
    _ = cpu.xsavec(area.bytes_mut(), ALL);
    _ = cpu.xgetbv_in_use();
    cpu.fxsave(area.bytes_mut()).unwrap();
    cpu.fxrstor(image.bytes()).unwrap();
    let mxcsr = cpu.stmxcsr().unwrap();
    cpu.ldmxcsr(mxcsr).unwrap();
    cpu.fninit().unwrap();
}
