//! XGETBV, XSETBV, RDMSR and WRMSR with operands that the library would not use: their exception
//! comes back.
//!
//! None of them touches an extended register.

use core::arch::asm;

use crate::trap::{Exception, attempt};

/// A register's number and its value.
struct Access {
    number: u64,
    value: u64,
}

/// XGETBV.
///
/// # Errors
/// Its exception.
pub fn try_xgetbv(rcx: u64) -> Result<u64, Exception> {
    let mut access = Access {
        number: rcx,
        value: 0,
    };
    // SAFETY: 1: `xgetbv` owns nothing.
    unsafe { attempt(xgetbv, address(&mut access))? };
    Ok(access.value)
}

/// XSETBV.
///
/// # Errors
/// Its exception.
///
/// # Safety
/// 1. If the CPU accepts the value, nothing executes before the next XSETBV that needs a component
///    which it disables.
pub unsafe fn try_xsetbv(rcx: u64, value: u64) -> Result<(), Exception> {
    let mut access = Access { number: rcx, value };
    // SAFETY: 1: `xsetbv` owns nothing. What the value does is the caller's.
    unsafe { attempt(xsetbv, address(&mut access)) }
}

/// RDMSR.
///
/// # Errors
/// Its exception.
pub fn try_rdmsr(number: u32) -> Result<u64, Exception> {
    let mut access = Access {
        number: number.into(),
        value: 0,
    };
    // SAFETY: 1: `rdmsr` owns nothing.
    unsafe { attempt(rdmsr, address(&mut access))? };
    Ok(access.value)
}

/// WRMSR.
///
/// # Errors
/// Its exception.
///
/// # Safety
/// 1. If the CPU accepts the value, the kernel goes on with it.
pub unsafe fn try_wrmsr(number: u32, value: u64) -> Result<(), Exception> {
    let mut access = Access {
        number: number.into(),
        value,
    };
    // SAFETY: 1: `wrmsr` owns nothing. What the value does is the caller's.
    unsafe { attempt(wrmsr, address(&mut access)) }
}

fn address(access: &mut Access) -> u64 {
    (&raw mut *access).expose_provenance() as u64
}

fn given<'a>(argument: u64) -> &'a mut Access {
    let address = usize::try_from(argument).unwrap_or(0);
    let access = core::ptr::with_exposed_provenance_mut::<Access>(address);
    // SAFETY: the functions above gave it, and wait.
    unsafe { &mut *access }
}

const fn joined(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

fn halves(value: u64) -> (u64, u64) {
    (value & 0xffff_ffff, value >> 32)
}

extern "C" fn xgetbv(argument: u64) {
    let access = given(argument);
    let (low, high);
    // SAFETY: it writes EDX:EAX alone.
    unsafe {
        asm!(
            "xgetbv",
            in("rcx") access.number,
            out("eax") low,
            out("edx") high,
            options(nostack, nomem, preserves_flags),
        );
    }
    access.value = joined(low, high);
}

extern "C" fn xsetbv(argument: u64) {
    let access = given(argument);
    let (low, high) = halves(access.value);
    // SAFETY: it writes XCR0 alone; the value is the caller's of `try_xsetbv`.
    unsafe {
        asm!(
            "xsetbv",
            in("rcx") access.number,
            in("rax") low,
            in("rdx") high,
            options(nostack, preserves_flags),
        );
    }
}

extern "C" fn rdmsr(argument: u64) {
    let access = given(argument);
    let (low, high);
    // SAFETY: it writes EDX:EAX alone.
    unsafe {
        asm!(
            "rdmsr",
            in("rcx") access.number,
            out("eax") low,
            out("edx") high,
            options(nostack, nomem, preserves_flags),
        );
    }
    access.value = joined(low, high);
}

extern "C" fn wrmsr(argument: u64) {
    let access = given(argument);
    let (low, high) = halves(access.value);
    // SAFETY: it writes the register alone; the value is the caller's of `try_wrmsr`.
    unsafe {
        asm!(
            "wrmsr",
            in("rcx") access.number,
            in("rax") low,
            in("rdx") high,
            options(nostack, preserves_flags),
        );
    }
}
