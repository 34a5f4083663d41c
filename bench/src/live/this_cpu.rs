//! This machine's CPU: how it is switched here, at CPL 3.

use fpstate::{Layout, SwitchInstructions};
use fpstate_arch::{Component, ComponentSet, Enumeration};
use fpstate_engine::{Chosen, ChosenBy, HostCpu, SwitchBy};

use crate::bench_error::BenchError;

/// This machine's CPU, as read.
#[derive(Debug)]
pub struct ThisCpu {
    host: HostCpu,
    chosen: Chosen,
}

impl ThisCpu {
    /// Reads it; `by` decides with what it is switched.
    ///
    /// # Errors
    /// [`BenchError::ThisMachine`]: no x86 CPU, or no XSAVE. [`BenchError::SwitchBy`]: it cannot be
    /// switched so.
    pub fn read(by: SwitchBy) -> Result<Self, BenchError> {
        let host = HostCpu::read()?;
        Ok(Self {
            chosen: by.on(&host)?,
            host,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        self.host.enumeration()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The pair of instructions that everybody has, and whether the library tries moves first.
    #[must_use]
    pub const fn instructions(&self) -> SwitchInstructions {
        self.chosen.instructions
    }

    /// Who decided that.
    #[must_use]
    pub const fn chosen_by(&self) -> ChosenBy {
        self.chosen.by
    }

    /// What is switched: what the operating system enabled, without PKRU, which is the process's, and
    /// without what IA32_XFD can disable.
    #[must_use]
    pub fn switched(&self) -> ComponentSet {
        let xcr0 = self.host.xcr0().without(Component::Pkru);
        xcr0.difference(self.instructions().withheld())
    }

    /// The layout of every area here.
    ///
    /// # Errors
    /// A CPUID that contradicts itself.
    pub fn layout(&self) -> Result<Layout<'_>, BenchError> {
        let switched = self.switched();
        Ok(Layout::for_instructions(
            self.enumeration(),
            self.instructions(),
            switched,
        )?)
    }

    /// CPUID.1:ECX\[31\], which no manual defines and every hypervisor sets.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        fpstate_native::cpuid(1, 0).ecx & 1 << 31 != 0
    }
}
