//! XRSTOR and FXRSTOR with a rule broken.

use fpstate_arch::{Component, ComponentSet, Fault, Processor};

use super::{Execution, Outcome};
use crate::differential::case::{header_of, legacy_of, set_header};
use crate::differential::instruction::Tested;

pub(super) fn avx_alone_keeps_mxcsr(e: &mut Execution<'_>) -> Outcome {
    if e.is_standard_xrstor() && !e.requests(Component::Sse) {
        return e.execute_keeping_mxcsr();
    }
    e.execute()
}

pub(super) fn mxcsr_only_with_xstate_bv(e: &mut Execution<'_>) -> Outcome {
    let is_clear = || !header_of(e.operand).xstate_bv.contains(Component::Sse);
    if e.is_standard_xrstor() && is_clear() {
        return e.execute_keeping_mxcsr();
    }
    e.execute()
}

pub(super) fn compacted_mxcsr_always(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is_compacted_xrstor() && e.requests(Component::Sse) {
        let mxcsr = legacy_of(e.operand).mxcsr;
        e.cpu.registers_mut().set_mxcsr(mxcsr);
    }
    Ok(outcome)
}

pub(super) fn mxcsr_unchecked(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::Xrstor, Tested::Fxrstor]) {
        return e.execute_with(|area| {
            area[26..28].fill(0);
        });
    }
    e.execute()
}

pub(super) fn xrstor_never_initialises(e: &mut Execution<'_>) -> Outcome {
    let before = e.registers().clone();
    let cleared = e
        .case
        .rfbm
        .difference(header_of(&e.case.area).xstate_bv)
        .intersection(ComponentSet::only(Component::Sse));
    let outcome = e.execute()?;
    if e.is(&[Tested::Xrstor]) && !cleared.is_empty() && before.sse.xmm != [[0; 16]; 16] {
        *e.cpu.registers_mut().xmm() = before.sse.xmm;
    }
    Ok(outcome)
}

pub(super) fn xstate_bv_judged_by_rfbm(e: &mut Execution<'_>) -> Outcome {
    let rfbm = e.case.rfbm;
    if e.is_standard_xrstor() {
        return e.execute_with(|area| {
            let mut header = header_of(area);
            header.xstate_bv = header.xstate_bv.intersection(rfbm);
            set_header(area, &header);
        });
    }
    e.execute()
}

pub(super) fn standard_judges_all_reserved(e: &mut Execution<'_>) -> Outcome {
    if e.is_standard_xrstor() && header_of(e.operand).reserved.iter().any(|&byte| byte != 0) {
        return Err(Fault::GeneralProtection);
    }
    e.execute()
}

pub(super) fn standard_ignores_reserved(e: &mut Execution<'_>) -> Outcome {
    if e.is_standard_xrstor() {
        return e.execute_with(|area| area[528..536].fill(0));
    }
    e.execute()
}

pub(super) fn compacted_ignores_reserved(e: &mut Execution<'_>) -> Outcome {
    if e.is_compacted_xrstor() {
        return e.execute_with(|area| area[536..576].fill(0));
    }
    e.execute()
}

pub(super) fn xstate_bv_may_exceed_xcomp_bv(e: &mut Execution<'_>) -> Outcome {
    if e.is_compacted_xrstor() {
        return e.execute_with(|area| {
            let mut header = header_of(area);
            let room = header.xcomp_bv_components();
            header.xstate_bv = header.xstate_bv.intersection(room);
            set_header(area, &header);
        });
    }
    e.execute()
}

pub(super) fn xcomp_bv_may_exceed_xcr0(e: &mut Execution<'_>) -> Outcome {
    let xcr0 = e.cpu.xgetbv().unwrap_or_default();
    if e.is_compacted_xrstor() {
        return e.execute_with(|area| {
            let mut header = header_of(area);
            header.xcomp_bv &= xcr0.bits() | 1 << 63;
            set_header(area, &header);
        });
    }
    e.execute()
}

pub(super) fn fxrstor_keeps_mxcsr(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::Fxrstor]) {
        return e.execute_keeping_mxcsr();
    }
    e.execute()
}
