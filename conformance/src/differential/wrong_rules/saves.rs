//! The saves, FNINIT and XGETBV with a rule broken.

use fpstate_arch::{Component, Fault, Mxcsr, Processor};
use fpstate_model::Optimisation;

use super::{Execution, Outcome};
use crate::differential::case::{header_of, set_header};
use crate::differential::instruction::{Operand, Tested};

pub(super) fn xsave_replaces_xstate_bv(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is(&[Tested::Xsave, Tested::Xsaveopt]) {
        let mut header = header_of(e.operand);
        header.xstate_bv = header.xstate_bv.intersection(e.case.rfbm);
        set_header(e.operand, &header);
    }
    Ok(outcome)
}

pub(super) fn xsave_clears_xcomp_bv(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is(&[Tested::Xsave]) {
        e.operand[520..528].fill(0);
    }
    Ok(outcome)
}

pub(super) fn xsave_leaves_out_initial(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::Xsave]) && e.registers().is_initial(Component::Sse) {
        return e.execute_without_writing(160..416);
    }
    e.execute()
}

pub(super) fn x87_takes_mxcsr_along(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is(&[Tested::Xsave]) && e.requests(Component::X87) {
        let mxcsr = e.registers().sse.mxcsr;
        e.operand[24..28].copy_from_slice(&mxcsr.bits().to_le_bytes());
    }
    Ok(outcome)
}

pub(super) fn xsavec_writes_initial(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    let initial = e.registers().is_initial(Component::Sse);
    if e.is(&[Tested::Xsavec]) && initial && e.requests(Component::Sse) {
        e.operand[160..416].fill(0);
    }
    Ok(outcome)
}

pub(super) fn xsavec_forgets_mxcsr(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::Xsavec]) && e.registers().is_initial(Component::Sse) {
        let mxcsr = e.registers().sse.mxcsr;
        e.cpu.registers_mut().set_mxcsr(Mxcsr::INITIAL);
        let outcome = e.execute();
        e.cpu.registers_mut().set_mxcsr(mxcsr);
        return outcome;
    }
    e.execute()
}

pub(super) fn xcomp_bv_is_xcr0(e: &mut Execution<'_>) -> Outcome {
    let xcr0 = e.cpu.xgetbv().unwrap_or_default();
    let outcome = e.execute()?;
    if e.is(&[Tested::Xsavec]) {
        let mut header = header_of(e.operand);
        header.xcomp_bv = xcr0.bits() | 1 << 63;
        set_header(e.operand, &header);
    }
    Ok(outcome)
}

pub(super) fn xsavec_clears_reserved(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is(&[Tested::Xsavec]) {
        e.operand[528..576].fill(0);
    }
    Ok(outcome)
}

pub(super) fn xsaveopt_trusts_any_area(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::Xsaveopt]) && !e.case.may_leave_out_unmodified() {
        return e.execute_without_writing(160..416);
    }
    e.execute()
}

pub(super) fn xsaveopt_leaves_out_modified(e: &mut Execution<'_>) -> Outcome {
    if e.case.may_leave_out_unmodified() && !e.case.between.modifies().is_empty() {
        let places = if e.case.between.modifies().contains(Component::Sse) {
            160..416
        } else {
            32..160
        };
        return e.execute_without_writing(places);
    }
    e.execute()
}

pub(super) fn alignment_16(e: &mut Execution<'_>) -> Outcome {
    if e.case.tested.operand() == Operand::SavedArea && e.case.misalignment.is_multiple_of(16) {
        return e.execute().or(Ok(e.case.rfbm));
    }
    e.execute()
}

pub(super) fn fxsave_wants_64(e: &mut Execution<'_>) -> Outcome {
    if e.case.tested.operand() == Operand::FxsaveArea && e.case.misalignment != 0 {
        return Err(Fault::GeneralProtection);
    }
    e.execute()
}

pub(super) fn fninit_clears(e: &mut Execution<'_>) -> Outcome {
    let outcome = e.execute()?;
    if e.is(&[Tested::Fninit]) {
        e.cpu.registers_mut().x87().st = [[0; 10]; 8];
    }
    Ok(outcome)
}

pub(super) fn everything_is_in_use(e: &mut Execution<'_>) -> Outcome {
    if e.is(&[Tested::XgetbvInUse]) {
        return e.execute_with_optimisation(Optimisation::None);
    }
    e.execute()
}
