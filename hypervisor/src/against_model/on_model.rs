//! A case on the model.

use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xcr0, Xss};
use fpstate_model::{InUseTracking, ModelCpu};

use super::case::Case;
use super::difference::Observed;
use super::memory::Memory;
use super::on_emulator::supervisor_components;
use super::places::most_bytes;
use super::tested::{Operand, Tested};
use super::this_emulator::ThisEmulator;

/// A mistake put into the model, so that a comparison which still agrees is known to be worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongRule {
    /// RFBM\[1\] does not count.
    RfbmWithoutSse,
    /// MXCSR_MASK is that of a CPU without denormals-are-zeros.
    MxcsrMaskWithoutDaz,
    /// XINUSE of SSE is 0 when it is looked at.
    SseNeverInUse,
}

impl WrongRule {
    /// One that shows with `tested`.
    #[must_use]
    pub const fn of(tested: Tested) -> Self {
        match tested.operand() {
            Operand::Saved | Operand::Restored => Self::RfbmWithoutSse,
            Operand::Fxsaved | Operand::Fxrestored => Self::MxcsrMaskWithoutDaz,
            Operand::None => Self::SseNeverInUse,
        }
    }
}

/// The model.
#[derive(Debug)]
pub struct OnModel {
    cpu: ModelCpu,
    always_in_use: ComponentSet,
    full: (Xcr0, Option<Xss>),
    image: Memory,
    most_bytes: usize,
    supervisor: Option<ComponentSet>,
    wrong_rule: Option<WrongRule>,
}

const EVERYTHING: ComponentSet = ComponentSet::from_bits(!0);

impl OnModel {
    /// The model of `this` emulator's CPU, perhaps with a mistake.
    #[must_use]
    pub fn new(this: &ThisEmulator, wrong_rule: Option<WrongRule>) -> Self {
        let mut cpu = this.model();
        if wrong_rule == Some(WrongRule::MxcsrMaskWithoutDaz) {
            let mut vendor = cpu.vendor_differences();
            vendor.mxcsr_mask = 0xffbf;
            cpu.set_vendor_differences(vendor);
        }
        Self {
            cpu,
            always_in_use: this.always_in_use(),
            full: (this.full_xcr0(), this.full_xss()),
            image: Memory::zeroed(most_bytes(this.enumeration())),
            most_bytes: most_bytes(this.enumeration()),
            supervisor: supervisor_components(this),
            wrong_rule,
        }
    }

    /// Executes `case`.
    ///
    /// # Errors
    /// The fault of the restore or the save around the instruction.
    pub fn execute(&mut self, case: &Case, observed: &mut Observed) -> Result<(), Fault> {
        self.enable(self.full)?;
        self.image.bytes_mut().copy_from_slice(&case.registers);
        self.cpu.xrstor(self.image.bytes(), EVERYTHING)?;
        if let Some(supervisor) = self.supervisor {
            let image = self.image.bytes_mut();
            image.copy_from_slice(&case.supervisor_registers);
            self.cpu.xrstors(image, supervisor)?;
        }
        observed.surround(case.misalignment, &case.area);
        self.enable((case.xcr0, case.xss))?;
        self.presume_in_use();
        let mut rfbm = case.rfbm;
        match self.wrong_rule {
            Some(WrongRule::RfbmWithoutSse) => rfbm = rfbm.without(Component::Sse),
            Some(WrongRule::SseNeverInUse) => {
                let sse = ComponentSet::only(Component::Sse);
                self.cpu.registers_mut().initialise(sse);
            }
            Some(WrongRule::MxcsrMaskWithoutDaz) | None => {}
        }
        let operand = observed.operand_mut(case.misalignment);
        let result = case.tested.on_model(&mut self.cpu, operand, rfbm);
        observed.result = match result {
            // What comes back in place of a result is RFBM.
            Ok(_) if case.tested.operand() != Operand::None => Ok(case.rfbm),
            result => result.map_err(vector_of),
        };
        self.enable(self.full)?;
        self.presume_in_use();
        let registers = observed.registers.bytes_mut();
        registers.fill(0);
        let (user, behind) = registers.split_at_mut(self.most_bytes);
        self.cpu.xsave(user, EVERYTHING)?;
        match self.supervisor {
            Some(supervisor) => self.cpu.xsaves(behind, supervisor),
            None => Ok(()),
        }
    }

    fn enable(&mut self, (xcr0, xss): (Xcr0, Option<Xss>)) -> Result<(), Fault> {
        self.cpu.xsetbv(xcr0)?;
        match xss {
            Some(xss) => self.cpu.write_xss(xss),
            None => Ok(()),
        }
    }

    /// Shows with `InUseTracking::SinceWritten` alone.
    fn presume_in_use(&mut self) {
        if self.cpu.vendor_differences().in_use == InUseTracking::SinceWritten {
            let always = self.always_in_use;
            self.cpu.registers_mut().presume_in_use(always);
        }
    }
}

/// 0, of divisions, where no exception belongs to the fault.
const fn vector_of(fault: Fault) -> u8 {
    match fault {
        Fault::InvalidOpcode => 6,
        Fault::DeviceNotAvailable => 7,
        Fault::GeneralProtection => 13,
        Fault::PageFault { .. } => 14,
        Fault::AlignmentCheck => 17,
        Fault::OutsideArea { .. } | _ => 0,
    }
}
