//! Kernel sections: the kernel uses the registers itself. Linux's `kernel_fpu_begin()`.

use core::fmt;

use fpstate_arch::legacy_region::Mxcsr;
use fpstate_arch::processor::Processor;

use crate::cpu::CpuFpu;
use crate::ownership::CpuId;
use crate::storage::AreaStorage;
use crate::switch::{RegisterContent, Switch, SwitchError};
use crate::thread::{ThreadFpu, require_current};

/// The registers of a CPU belong to the kernel until this is given back. Sections do not nest
/// (invariant I46), and no state is restored on the CPU meanwhile.
#[derive(Debug)]
#[must_use = "the registers stay the kernel's until the section is ended"]
pub struct KernelSection {
    cpu: CpuId,
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
    /// Gives this CPU's registers to the kernel, after saving `current`'s state if they hold the
    /// only copy. `current` is the user thread that runs on this CPU; `None` on a kernel thread.
    ///
    /// # Errors
    /// [`SwitchError::KernelSection`] inside a section; [`SwitchError::WouldDiscard`] if the
    /// registers hold the only copy of a state that is not `current`'s.
    pub fn begin_kernel_section<S: AreaStorage>(
        &mut self,
        current: Option<&mut ThreadFpu<'_, S>>,
        kernel_use: KernelUse,
    ) -> Result<(KernelSection, Switch), SwitchError> {
        let switch = self.decide_begin_kernel_section(current.as_deref())?;
        self.carry_out(switch, current.map(|thread| &mut thread.active), None)?;
        match kernel_use {
            KernelUse::IntegerVectors => {}
            KernelUse::FloatVectors => self.set_mxcsr_for_kernel()?,
            KernelUse::X87 => {
                self.set_mxcsr_for_kernel()?;
                self.set_registers(RegisterContent::Nobody);
                self.processor().fninit().map_err(SwitchError::Fault)?;
            }
        }
        Ok((self.take_for_kernel(), switch))
    }

    /// What the save at the beginning of a section would be.
    ///
    /// # Errors
    /// As [`begin_kernel_section`](Self::begin_kernel_section).
    pub fn decide_begin_kernel_section<S: AreaStorage>(
        &self,
        current: Option<&ThreadFpu<'_, S>>,
    ) -> Result<Switch, SwitchError> {
        match self.registers() {
            RegisterContent::Kernel => return Err(SwitchError::KernelSection { cpu: self.id() }),
            RegisterContent::OnlyCopyOf(state)
                if current.is_none_or(|thread| thread.active().id() != state) =>
            {
                return Err(SwitchError::WouldDiscard {
                    state,
                    cpu: self.id(),
                });
            }
            RegisterContent::OnlyCopyOf(_)
            | RegisterContent::CopyOf(_)
            | RegisterContent::Nobody => {}
        }
        current.map_or(Ok(Switch::NOTHING), |thread| {
            thread.decide_save_before_switch(self)
        })
    }

    /// Notes that somebody else carried out `switch`, which
    /// [`decide_begin_kernel_section`](Self::decide_begin_kernel_section) decided, and gives the
    /// registers to the kernel.
    ///
    /// # Errors
    /// [`SwitchError::Stale`] if that is not what the states call for now.
    pub fn commit_begin_kernel_section<S: AreaStorage>(
        &mut self,
        current: Option<&mut ThreadFpu<'_, S>>,
        switch: Switch,
    ) -> Result<KernelSection, SwitchError> {
        require_current(
            switch,
            self.decide_begin_kernel_section(current.as_deref())?,
        )?;
        self.note(switch, current.map(|thread| &mut thread.active), None);
        Ok(self.take_for_kernel())
    }

    /// The kernel is done with the registers; they are nobody's.
    ///
    /// # Errors
    /// [`OtherCpu`] with a section of another CPU, which goes on.
    pub fn end_kernel_section(&mut self, section: KernelSection) -> Result<(), OtherCpu> {
        if section.cpu != self.id() {
            return Err(OtherCpu {
                here: self.id(),
                section,
            });
        }
        self.set_registers(RegisterContent::Nobody);
        Ok(())
    }

    fn take_for_kernel(&mut self) -> KernelSection {
        self.set_registers(RegisterContent::Kernel);
        KernelSection { cpu: self.id() }
    }

    /// The registers are nobody's from the first change on (invariant I5).
    fn set_mxcsr_for_kernel(&mut self) -> Result<(), SwitchError> {
        self.set_registers(RegisterContent::Nobody);
        self.processor()
            .ldmxcsr(Mxcsr::INITIAL)
            .map_err(SwitchError::Fault)
    }
}

/// A kernel section was to be ended on a CPU where it did not begin.
#[derive(Debug)]
pub struct OtherCpu {
    /// The CPU asked.
    pub here: CpuId,
    /// The section, still open.
    pub section: KernelSection,
}

impl fmt::Display for OtherCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel section began on {}, not on {}",
            self.section.cpu, self.here
        )
    }
}

impl core::error::Error for OtherCpu {}
