//! Runs a case on the software CPU.

use fpstate_arch::{Component, ComponentSet, Fault, Instruction, Mxcsr, Processor, Xcr0, Xfd};
use fpstate_arch::{XfdErr, Xss};
use fpstate_model::{InUseTracking, ModelCpu, Optimisation, VendorDifferences};

use super::case::{Case, LoadedFrom, Observed, Surroundings, header_of};
use super::instruction::{Between, Tested};
use super::this_cpu::ThisCpu;
use super::wrong_rules::{Execution, WrongRule};
use crate::memory::Memory;

/// The software CPU, and memory for one execution at a time.
#[derive(Debug)]
pub struct OnModel {
    cpu: ModelCpu,
    compared: ComponentSet,
    vendor: VendorDifferences,
    rule: Option<WrongRule>,
    registers: Memory,
    observed: Observed,
    /// The operand's surroundings if XSAVEOPT finds everything modified.
    everything_modified: Surroundings,
}

impl OnModel {
    /// `this` CPU in software.
    #[must_use]
    pub fn new(this: &ThisCpu) -> Self {
        Self {
            cpu: this.model(),
            compared: this.compared(),
            vendor: this.vendor(),
            rule: None,
            registers: Memory::zeroed(this.area_len()),
            observed: Observed::new(this.area_len()),
            everything_modified: Surroundings::new(this.area_len()),
        }
    }

    /// The same with a mistake.
    #[must_use]
    pub fn with_wrong_rule(self, rule: WrongRule) -> Self {
        Self {
            rule: Some(rule),
            ..self
        }
    }

    /// Executes `case` up to the instruction under test and no further. `in_use` is how the CPU
    /// finds XINUSE; where that leaves a choice, it can be [adopted](Self::adopt_in_use).
    ///
    /// # Panics
    /// If the software CPU does not take the image of the registers.
    pub fn load(&mut self, case: &Case, in_use: InUseTracking) {
        let Self { cpu, observed, .. } = self;
        cpu.set_vendor_differences(VendorDifferences {
            in_use,
            ..self.vendor
        });
        match case.loaded_from {
            LoadedFrom::Elsewhere => {
                // An image that XRSTOR takes lies at a multiple of 64.
                self.registers.bytes_mut().copy_from_slice(&case.registers);
                cpu.xrstor(self.registers.bytes(), self.compared)
            }
            LoadedFrom::TheOperand => {
                observed.memory.surround(case.misalignment, &case.registers);
                let operand = observed.memory.operand_mut(case.misalignment);
                cpu.xrstor(operand, self.compared)
            }
        }
        .expect("an image that XRSTOR takes");
        observed.memory.surround(case.misalignment, &case.area);
    }

    /// Takes over the silicon's choice of XINUSE, where the manual leaves one: for components in
    /// their initial configuration (SDM 1, 13.6).
    pub fn adopt_in_use(&mut self, chosen: ComponentSet) {
        match self.cpu.vendor_differences().in_use {
            InUseTracking::ByContents => return,
            InUseTracking::SinceWritten => {}
        }
        for component in self.compared.iter() {
            let is_in_use = self.cpu.in_use().contains(component);
            if !self.cpu.registers().is_initial(component)
                || is_in_use == chosen.contains(component)
            {
                continue;
            }
            let mut registers = self.cpu.registers_mut();
            if is_in_use {
                registers.initialise(ComponentSet::only(component));
            } else {
                registers.presume_in_use(ComponentSet::only(component));
            }
        }
    }

    /// The instruction under test, after [`load`](Self::load); XINUSE may be `chosen` when it begins.
    ///
    /// # Panics
    /// If the software CPU lacks a component that the case uses.
    pub fn execute(&mut self, case: &Case, chosen: ComponentSet) {
        let Self { cpu, observed, .. } = self;
        save_all(cpu, self.compared, observed.before.bytes_mut());
        modify(cpu, case.between);
        if case.between.is_move() {
            // No processor known goes by contents then.
            cpu.set_vendor_differences(VendorDifferences {
                in_use: InUseTracking::SinceWritten,
                ..self.vendor
            });
        }
        self.adopt_in_use(chosen);
        let Self { cpu, observed, .. } = self;
        if let Some(mut other) = without_modified_optimisation(cpu, case) {
            self.everything_modified
                .surround(case.misalignment, &case.area);
            let operand = self.everything_modified.operand_mut(case.misalignment);
            let _ = other.xsaveopt(operand, case.rfbm);
        }
        let mut execution = Execution {
            cpu,
            case,
            operand: observed.memory.operand_mut(case.misalignment),
        };
        let outcome = match self.rule {
            Some(rule) => rule.execute(&mut execution),
            None => execution.execute(),
        };
        observed.fault = outcome.err();
        observed.result = outcome.ok();
    }

    /// Looks at the registers, after [`execute`](Self::execute), as the silicon did: XGETBV(1), then
    /// XSAVE, before each of which XINUSE may be what `silicon` shows.
    pub fn observe(&mut self, silicon: &Observed) {
        let has_in_use = self.cpu.enumeration().has(Instruction::XgetbvInUse);
        if let Some(in_use) = silicon.in_use {
            self.adopt_in_use(in_use);
        }
        let in_use = has_in_use.then(|| self.cpu.xgetbv_in_use().unwrap_or_default());
        self.observed.in_use = in_use;
        self.adopt_in_use(header_of(silicon.after.bytes()).xstate_bv);
        let Self { cpu, observed, .. } = self;
        save_all(cpu, self.compared, observed.after.bytes_mut());
    }

    /// What was observed.
    #[must_use]
    pub const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What was observed, with the other legal bytes where XSAVEOPT had a choice.
    pub const fn observed_and_choice(&mut self) -> (&mut Observed, &Surroundings) {
        (&mut self.observed, &self.everything_modified)
    }
}

/// XSAVE of every component that is compared.
fn save_all(cpu: &mut ModelCpu, compared: ComponentSet, area: &mut [u8]) {
    cpu.xsave(area, compared).expect("XSAVE");
}

fn modify(cpu: &mut ModelCpu, between: Between) {
    match between {
        Between::Nothing => {}
        Between::SetXmm5 => cpu.registers_mut().xmm()[5] = [0xff; 16],
        Between::SetK5 => {
            let opmask = cpu.registers_mut().component(Component::Opmask);
            opmask.expect("AVX-512")[40..48].copy_from_slice(&0xffff_u64.to_le_bytes());
        }
        Between::Fninit => cpu.fninit().expect("FNINIT"),
    }
}

/// A CPU for which everything is modified, if it makes a difference to `case`.
fn without_modified_optimisation(cpu: &ModelCpu, case: &Case) -> Option<ModelCpu> {
    if !case.may_leave_out_unmodified() {
        return None;
    }
    let mut cpu = cpu.clone();
    cpu.set_optimisation(Optimisation::Initial);
    Some(cpu)
}

impl Case {
    /// Whether XSAVEOPT may find components unmodified.
    #[must_use]
    pub fn may_leave_out_unmodified(&self) -> bool {
        self.tested == Tested::Xsaveopt && self.loaded_from == LoadedFrom::TheOperand
    }
}

impl Execution<'_> {
    /// The instruction as the model has it; EDX:EAX afterwards.
    ///
    /// # Errors
    /// Its fault.
    ///
    /// # Panics
    /// If the operand has no four bytes.
    pub fn execute(&mut self) -> Result<ComponentSet, Fault> {
        let Self { cpu, case, operand } = self;
        let rfbm = case.rfbm;
        match case.tested {
            Tested::Xsave => cpu.xsave(operand, rfbm)?,
            Tested::Xsaveopt => cpu.xsaveopt(operand, rfbm)?,
            Tested::Xsavec => cpu.xsavec(operand, rfbm)?,
            Tested::Xsaves => cpu.xsaves(operand, rfbm)?,
            Tested::Xrstor => cpu.xrstor(operand, rfbm)?,
            Tested::Xrstors => cpu.xrstors(operand, rfbm)?,
            Tested::Fxsave => cpu.fxsave(operand)?,
            Tested::Fxrstor => cpu.fxrstor(operand)?,
            Tested::Stmxcsr => {
                let mxcsr = cpu.stmxcsr()?;
                operand[..4].copy_from_slice(&mxcsr.bits().to_le_bytes());
            }
            Tested::Ldmxcsr => {
                let bytes = operand.first_chunk().expect("four bytes");
                cpu.ldmxcsr(Mxcsr::from_bits(u32::from_le_bytes(*bytes)))?;
            }
            Tested::Fninit => cpu.fninit()?,
            Tested::Xgetbv => return cpu.xgetbv(),
            Tested::XgetbvInUse => return cpu.xgetbv_in_use(),
            Tested::Xsetbv => cpu.xsetbv(Xcr0::AFTER_RESET)?,
            Tested::ReadXss => return cpu.read_xss(),
            Tested::WriteXss => cpu.write_xss(Xss::AFTER_RESET)?,
            Tested::ReadXfd => return cpu.read_xfd(),
            Tested::WriteXfd => cpu.write_xfd(Xfd::NOTHING)?,
            Tested::ReadXfdErr => return cpu.read_xfd_err().map(XfdErr::components),
            Tested::WriteXfdErr => cpu.write_xfd_err(XfdErr::NOTHING)?,
        }
        Ok(rfbm)
    }
}
