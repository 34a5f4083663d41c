//! Kernel sections: the kernel uses the registers itself. Linux's `kernel_fpu_begin()`.

use core::fmt;

use fpstate_arch::legacy_region::Mxcsr;
use fpstate_arch::processor::Processor;

use crate::cpu::CpuFpu;
use crate::decision::Decided;
use crate::ownership::CpuId;
use crate::storage::AreaStorage;
use crate::switch::{RegisterContent, Switch};
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

/// The registers of a CPU belong to the kernel until this is given back. Sections do not nest
/// (invariant I46), and no state is restored on the CPU meanwhile.
#[derive(Debug)]
#[must_use = "the registers stay the kernel's until the section is ended"]
pub struct KernelSection {
    cpu: CpuId,
    /// The use of the CPU's registers that it is.
    uses: u32,
}

/// What the kernel needs the registers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelUse {
    /// Integer vector code: MXCSR and x87 as they were found.
    IntegerVectors,
    /// SSE or AVX floating point: MXCSR in its initial configuration.
    FloatVectors,
    /// x87 as well: FNINIT and the initial MXCSR.
    X87,
}

impl<P: Processor> CpuFpu<P> {
    /// Gives this CPU's registers to the kernel on a user thread, `current`, after saving its
    /// active state - or the own one, while an entry into a guest is deferred - if they hold the only
    /// copy.
    ///
    /// # Errors
    /// [`SwitchError::KernelSection`] inside a section; [`SwitchError::WouldDiscard`] if the
    /// registers hold the only copy of a state that is not that one.
    pub fn begin_kernel_section<S: AreaStorage>(
        &mut self,
        current: &mut ThreadFpu<'_, S>,
        kernel_use: KernelUse,
    ) -> Result<(KernelSection, Switch), SwitchError> {
        let switch = self.plan_section(current)?;
        self.carry_out(switch, Some(current.to_save_mut()), None)?;
        Ok((self.begin_for(kernel_use)?, switch))
    }

    /// The same on a kernel thread, which has no state of its own.
    ///
    /// # Errors
    /// [`SwitchError::KernelSection`] inside a section; [`SwitchError::WouldDiscard`] if the
    /// registers hold the only copy of a state: it should have been saved when its thread was
    /// switched away from.
    pub fn begin_kernel_thread_section(
        &mut self,
        kernel_use: KernelUse,
    ) -> Result<KernelSection, SwitchError> {
        self.registers_taken()?;
        self.begin_for(kernel_use)
    }

    fn plan_section<S: AreaStorage>(
        &self,
        current: &ThreadFpu<'_, S>,
    ) -> Result<Switch, SwitchError> {
        match self.registers() {
            RegisterContent::Kernel => Err(SwitchError::KernelSection { cpu: self.id() }),
            RegisterContent::OnlyCopyOf(state) if current.to_save().id() != state => {
                Err(SwitchError::WouldDiscard {
                    state,
                    cpu: self.id(),
                })
            }
            RegisterContent::OnlyCopyOf(_)
            | RegisterContent::CopyOf(_)
            | RegisterContent::Nobody => current.plan_save(self),
        }
    }

    /// What the save at the beginning of a section would be.
    ///
    /// # Errors
    /// As [`begin_kernel_section`](Self::begin_kernel_section).
    pub fn decide_begin_kernel_section<S: AreaStorage>(
        &self,
        current: &ThreadFpu<'_, S>,
    ) -> Result<Decided, SwitchError> {
        let switch = self.plan_section(current)?;
        Ok(Decided::new(
            switch,
            Some(current.to_save().facts()),
            None,
            (self.id(), self.uses()),
        ))
    }

    /// Notes that somebody else carried out what
    /// [`decide_begin_kernel_section`](Self::decide_begin_kernel_section) decided, and gives the
    /// registers to the kernel as they are.
    ///
    /// # Errors
    /// [`SwitchError::Stale`] if that is not what the states call for now.
    pub fn commit_begin_kernel_section<S: AreaStorage>(
        &mut self,
        current: &mut ThreadFpu<'_, S>,
        decided: Decided,
    ) -> Result<KernelSection, SwitchError> {
        decided.require_current(self.decide_begin_kernel_section(current)?)?;
        self.note(decided.switch(), Some(current.to_save_mut()), None);
        Ok(self.open_section())
    }

    /// The kernel is done with the registers; they are nobody's.
    ///
    /// # Errors
    /// [`OtherSection`] with a section of another CPU, or of this one before it went offline or
    /// before [`discard_registers`](Self::discard_registers); nothing is changed.
    pub fn end_kernel_section(&mut self, section: KernelSection) -> Result<(), OtherSection> {
        let opened_here = section.cpu == self.id() && section.uses == self.uses();
        if !opened_here || self.registers() != RegisterContent::Kernel {
            return Err(OtherSection {
                here: self.id(),
                section,
            });
        }
        self.set_registers(RegisterContent::Nobody);
        Ok(())
    }

    /// The registers, which nobody's only copy is in, as `kernel_use` needs them.
    fn begin_for(&mut self, kernel_use: KernelUse) -> Result<KernelSection, SwitchError> {
        // Nobody's from the first change on (invariant I5), should an instruction fault.
        self.set_registers(RegisterContent::Nobody);
        match kernel_use {
            KernelUse::IntegerVectors => {}
            KernelUse::FloatVectors => self.initialise_mxcsr()?,
            KernelUse::X87 => {
                self.initialise_mxcsr()?;
                self.processor().fninit().map_err(SwitchError::Fault)?;
            }
        }
        Ok(self.open_section())
    }

    fn open_section(&mut self) -> KernelSection {
        self.set_registers(RegisterContent::Kernel);
        KernelSection {
            cpu: self.id(),
            uses: self.uses(),
        }
    }

    fn initialise_mxcsr(&mut self) -> Result<(), SwitchError> {
        self.processor()
            .ldmxcsr(Mxcsr::INITIAL)
            .map_err(SwitchError::Fault)
    }
}

/// A kernel section was to be ended that is not open here.
#[derive(Debug)]
pub struct OtherSection {
    /// The CPU asked.
    pub here: CpuId,
    /// The section.
    pub section: KernelSection,
}

impl fmt::Display for OtherSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel section of {} is not open on {}",
            self.section.cpu, self.here
        )
    }
}

impl core::error::Error for OtherSection {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_section_closed_elsewhere_names_both_cpus() {
        static IDENTITIES: Identities = Identities::new();
        let _first = IDENTITIES.state();
        let _second = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        let here = IDENTITIES.cpu(9);
        let section = KernelSection { cpu, uses: 1 };
        assert_eq!(
            OtherSection { here, section }.to_string(),
            "the kernel section of CPU 7 is not open on CPU 9"
        );
    }
}
