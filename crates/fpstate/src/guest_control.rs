//! A guest, or its VMM, reads and writes the guest's registers; INIT and RESET.
//!
//! IA32_XFD is with the state, because what a save and a restore do depends on it: where a thread
//! runs the vCPU, it is the thread that is asked.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::pkru::Pkru;
use fpstate_arch::processor::Processor;
use fpstate_arch::xcr0::Xcr0;
use fpstate_arch::xfd::{Xfd, XfdErr};
use fpstate_arch::xss::Xss;

use crate::cpu::CpuFpu;
use crate::decision::{require_host_control, require_only_copy};
use crate::growth::{Expansion, ResizeError};
use crate::guest::GuestFpu;
use crate::guest_features::GuestFeatures;
use crate::guest_registers::{GuestRegisterError, GuestRegisters, Interception};
use crate::ownership::Residence;
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

impl<'e, S: AreaStorage> GuestFpu<'e, S> {
    /// What the guest is offered.
    #[must_use]
    pub const fn features(&self) -> GuestFeatures {
        self.registers.features
    }

    /// XCR0.
    #[must_use]
    pub const fn xcr0(&self) -> Xcr0 {
        self.registers.xcr0
    }

    /// XSETBV, of the guest or of the VMM. CPL and CR4.OSXSAVE are checked by the caller, as the
    /// hardware does before it exits.
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn write_xcr0(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        self.registers.write_xcr0(value)
    }

    /// XSETBV with ECX = `index`, of which there is only 0.
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), GuestRegisterError> {
        match index {
            0 => self.write_xcr0(ComponentSet::from_bits(value)),
            found => Err(GuestRegisterError::NoSuchXcr { found }),
        }
    }

    /// IA32_XSS.
    #[must_use]
    pub const fn xss(&self) -> Xss {
        self.registers.xss
    }

    /// WRMSR of IA32_XSS.
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn write_xss(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        self.registers.write_xss(value)
    }

    /// IA32_XFD_ERR.
    #[must_use]
    pub const fn xfd_err(&self) -> XfdErr {
        self.registers.xfd_err
    }

    /// WRMSR of IA32_XFD_ERR, which stays intercepted.
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn write_xfd_err(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        let checked = self.registers.check_xfd(value)?;
        self.registers.xfd_err = XfdErr::from_components(checked.components());
        Ok(())
    }

    /// PKRU, as it was when the guest was last left.
    #[must_use]
    pub const fn pkru(&self) -> Pkru {
        self.registers.pkru
    }

    /// Sets PKRU for the next entry.
    pub const fn set_pkru(&mut self, pkru: Pkru) {
        self.registers.pkru = pkru;
    }

    /// IA32_XFD as the guest reads it.
    ///
    /// # Errors
    /// [`GuestRegisterError::Running`] while a thread runs the vCPU:
    /// [`ThreadFpu::guest_xfd`] has it then.
    pub fn xfd(&self) -> Result<Xfd, GuestRegisterError> {
        match &self.fpstate {
            Some(fpstate) => Ok(fpstate.own_xfd()),
            None => Err(GuestRegisterError::Running { guest: self.id() }),
        }
    }

    /// The VMM writes IA32_XFD while no thread runs the vCPU. What the state holds of a component
    /// that is disabled is set aside (hazard H2), and is back if it is enabled again before the
    /// guest runs.
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn write_xfd(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        let xfd = self.registers.check_xfd(value)?;
        let guest = self.id();
        match &mut self.fpstate {
            Some(fpstate) => {
                fpstate.set_own_xfd(xfd);
                Ok(())
            }
            None => Err(GuestRegisterError::Running { guest }),
        }
    }

    /// What the state would need to have room for `components`, which the guest is offered: before an
    /// image with them is imported. A running guest grows by itself.
    ///
    /// # Errors
    /// [`ResizeError`].
    pub fn expansion(&self, components: ComponentSet) -> Result<Expansion<'e>, ResizeError> {
        match &self.fpstate {
            Some(fpstate) => expansion_of(&self.registers, fpstate, components),
            None => Err(ResizeError::Running { guest: self.id() }),
        }
    }

    /// INIT while no thread runs the vCPU: MPX and CET components become initial, all else stays, the
    /// registers too (SDM 3, table 10-1).
    ///
    /// # Errors
    /// [`GuestRegisterError::Running`]: [`ThreadFpu::init_guest`] is for that.
    pub fn init(&mut self) -> Result<(), GuestRegisterError> {
        let guest = self.id();
        match &mut self.fpstate {
            Some(fpstate) => {
                fpstate.initialise_components(AFFECTED_BY_INIT);
                Ok(())
            }
            None => Err(GuestRegisterError::Running { guest }),
        }
    }

    /// RESET: every component initial, XCR0 = 1, the others 0. Room for on-demand components stays.
    ///
    /// # Errors
    /// [`GuestRegisterError::Running`].
    pub fn reset(&mut self) -> Result<(), GuestRegisterError> {
        let guest = self.id();
        match &mut self.fpstate {
            Some(fpstate) => {
                fpstate.reset();
                fpstate.set_own_xfd(Xfd::NOTHING);
                self.registers = GuestRegisters::after_reset(self.registers.features);
                Ok(())
            }
            None => Err(GuestRegisterError::Running { guest }),
        }
    }
}

const AFFECTED_BY_INIT: ComponentSet = ComponentSet::MPX
    .with(Component::CetU)
    .with(Component::CetS);

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// IA32_XFD as `guest`, which this thread runs, reads it.
    ///
    /// # Errors
    /// [`GuestRegisterError::NotRunning`].
    pub fn guest_xfd(&self, guest: &GuestFpu<'e, S>) -> Result<Xfd, GuestRegisterError> {
        self.require_running(guest)?;
        Ok(self.active().own_xfd())
    }

    /// `guest`, which this thread runs, writes IA32_XFD: an intercepted WRMSR. In `cpu`'s registers
    /// the value counts at once, joined with the host's arming.
    ///
    /// # Errors
    /// [`GuestRegisterError`]; nothing is changed then.
    pub fn write_guest_xfd(
        &mut self,
        guest: &GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        value: ComponentSet,
    ) -> Result<(), GuestRegisterError> {
        self.require_running(guest)?;
        let xfd = guest.registers.check_xfd(value)?;
        let here = cpu.facts();
        require_host_control(here).map_err(GuestRegisterError::Switch)?;
        // The register first: a save under one value and a restore under the other would be #NM in
        // the kernel.
        if let Residence::Registers(holder) = self.active().residence() {
            require_only_copy(self.active().facts(), holder, here)
                .map_err(GuestRegisterError::Switch)?;
            let fault = |fault| GuestRegisterError::Switch(SwitchError::Fault(fault));
            cpu.write_xfd(self.active().xfd_beside(xfd.components()))
                .map_err(fault)?;
        }
        self.active_mut().set_own_xfd(xfd);
        Ok(())
    }

    /// How accesses to IA32_XFD are handled for `guest`, which this thread runs: intercepted as long
    /// as the host's arming is in the register. IA32_XFD_ERR may be read without exit, is written
    /// with one; #NM exits, always, for a guest that is offered on-demand components.
    ///
    /// # Errors
    /// [`GuestRegisterError::NotRunning`].
    pub fn guest_xfd_interception(
        &self,
        guest: &GuestFpu<'e, S>,
    ) -> Result<Interception, GuestRegisterError> {
        self.require_running(guest)?;
        Ok(guest.registers.interception(self.active()))
    }

    /// INIT of `guest`, which this thread runs; see [`GuestFpu::init`]. The state is saved first if
    /// need be (Linux, commit 8819a49f9ff8).
    ///
    /// # Errors
    /// [`GuestRegisterError`].
    pub fn init_guest(
        &mut self,
        guest: &GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<(), GuestRegisterError> {
        self.require_running(guest)?;
        self.save_before_switch(cpu)
            .map_err(GuestRegisterError::Switch)?;
        self.active_mut().initialise_components(AFFECTED_BY_INIT);
        Ok(())
    }

    pub(crate) fn require_running(
        &self,
        guest: &GuestFpu<'e, S>,
    ) -> Result<(), GuestRegisterError> {
        if self.running_guest() == Some(guest.id()) {
            Ok(())
        } else {
            let asked = guest.id();
            let running = self.running_guest();
            Err(GuestRegisterError::NotRunning { asked, running })
        }
    }
}

/// What `fpstate` would need for `components`, if they are offered to the guest.
pub(crate) fn expansion_of<'e, S: AreaStorage>(
    registers: &GuestRegisters,
    fpstate: &Fpstate<'e, S>,
    components: ComponentSet,
) -> Result<Expansion<'e>, ResizeError> {
    let offered = registers.features.on_demand();
    if offered.contains_all(components) {
        fpstate.expansion(components)
    } else {
        Err(ResizeError::NotOffered {
            found: components,
            offered,
        })
    }
}
