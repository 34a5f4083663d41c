//! A guest's XCR0, IA32_XSS, IA32_XFD and IA32_XFD_ERR as it believes to have them, and what INIT and
//! RESET do.
//!
//! A value that the guest may not write leaves the register as it was; the VMM injects #GP(0), or
//! answers EINVAL where the write was its own (invariants I39 and I40).

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::pkru::Pkru;
use fpstate_arch::processor::Processor;
use fpstate_arch::xcr0::{Xcr0, Xcr0Error};
use fpstate_arch::xfd::{Xfd, XfdErr, XfdError};
use fpstate_arch::xss::{Xss, XssError};

use crate::cpu::CpuFpu;
use crate::errno::Errno;
use crate::guest::GuestFpu;
use crate::guest_features::GuestFeatures;
use crate::growth::{Expansion, ResizeError};
use crate::ownership::StateId;
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

/// The registers of a guest that are not in its XSAVE area. IA32_XFD is with the state, because what
/// a save and a restore do depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestRegisters {
    pub(crate) features: GuestFeatures,
    pub(crate) xcr0: Xcr0,
    pub(crate) xss: Xss,
    pub(crate) xfd_err: XfdErr,
    pub(crate) pkru: Pkru,
}

impl GuestRegisters {
    /// As after RESET.
    pub(crate) const fn after_reset(features: GuestFeatures) -> Self {
        Self {
            features,
            xcr0: Xcr0::AFTER_RESET,
            xss: Xss::AFTER_RESET,
            xfd_err: XfdErr::NOTHING,
            pkru: Pkru::INITIAL,
        }
    }
}

/// Who handles a guest's access to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interception {
    /// The VMM: the guest's access exits.
    Intercepted,
    /// The hardware.
    PassedThrough,
}

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
        let offered = self.registers.features.user();
        self.registers.xcr0 = Xcr0::new(value, offered).map_err(GuestRegisterError::Xcr0)?;
        Ok(())
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
        let offered = self.registers.features.supervisor();
        self.registers.xss = Xss::new(value, offered).map_err(GuestRegisterError::Xss)?;
        Ok(())
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
        let checked = self.check_xfd(value)?;
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
        let xfd = self.check_xfd(value)?;
        let guest = self.id();
        match &mut self.fpstate {
            Some(fpstate) => {
                fpstate.set_own_xfd(xfd);
                Ok(())
            }
            None => Err(GuestRegisterError::Running { guest }),
        }
    }

    fn check_xfd(&self, value: ComponentSet) -> Result<Xfd, GuestRegisterError> {
        let offered = self.registers.features.on_demand();
        Xfd::new(value, offered).map_err(GuestRegisterError::Xfd)
    }

    /// What the state would need to have room for `components`, which the guest is offered: before an
    /// image with them is imported. A running guest grows by itself.
    ///
    /// # Errors
    /// [`ResizeError`].
    pub fn expansion(&self, components: ComponentSet) -> Result<Expansion<'e>, ResizeError> {
        match &self.fpstate {
            Some(fpstate) => self.registers.expansion_of(fpstate, components),
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

impl GuestRegisters {
    pub(crate) fn expansion_of<'e, S: AreaStorage>(
        &self,
        fpstate: &Fpstate<'e, S>,
        components: ComponentSet,
    ) -> Result<Expansion<'e>, ResizeError> {
        let offered = self.features.on_demand();
        if offered.contains_all(components) {
            fpstate.expansion(components)
        } else {
            Err(ResizeError::NotOffered {
                found: components,
                offered,
            })
        }
    }
}

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
    /// [`GuestRegisterError`].
    pub fn write_guest_xfd(
        &mut self,
        guest: &GuestFpu<'e, S>,
        cpu: &mut CpuFpu<impl Processor>,
        value: ComponentSet,
    ) -> Result<(), GuestRegisterError> {
        self.require_running(guest)?;
        let xfd = guest.check_xfd(value)?;
        self.active.set_own_xfd(xfd);
        if self.is_in_registers_of(cpu) {
            let fault = |fault| GuestRegisterError::Switch(SwitchError::Fault(fault));
            cpu.write_xfd(self.active.xfd()).map_err(fault)?;
        }
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
        self.active.initialise_components(AFFECTED_BY_INIT);
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

impl GuestRegisters {
    pub(crate) fn interception<S: AreaStorage>(&self, fpstate: &Fpstate<'_, S>) -> Interception {
        let (on_demand, offered) = (
            fpstate.layout().xfd_components(),
            self.features.on_demand(),
        );
        if fpstate.without_room().is_empty() && offered == on_demand && !offered.is_empty() {
            Interception::PassedThrough
        } else {
            Interception::Intercepted
        }
    }
}

/// Why a guest's register cannot be read or written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestRegisterError {
    /// XSETBV of a register other than XCR0.
    NoSuchXcr {
        /// ECX.
        found: u32,
    },
    /// XCR0.
    Xcr0(Xcr0Error),
    /// IA32_XSS.
    Xss(XssError),
    /// IA32_XFD or IA32_XFD_ERR.
    Xfd(XfdError),
    /// A thread runs the vCPU, and the register is with the thread.
    Running {
        /// The guest's state.
        guest: StateId,
    },
    /// The thread does not run this guest.
    NotRunning {
        /// The guest's state.
        asked: StateId,
        /// The state of the guest that it runs.
        running: Option<StateId>,
    },
    /// The state could not be saved, or IA32_XFD not be written.
    Switch(SwitchError),
}

impl GuestRegisterError {
    /// What a VMM that wrote the value is answered; a guest gets #GP(0) where this is EINVAL.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoSuchXcr { .. } | Self::Xcr0(_) | Self::Xss(_) | Self::Xfd(_) => Errno::Einval,
            Self::Running { .. } | Self::NotRunning { .. } => Errno::Ebusy,
            Self::Switch(_) => Errno::Efault,
        }
    }
}

impl fmt::Display for GuestRegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchXcr { found } => write!(f, "XSETBV with ECX = {found}; allowed: 0"),
            Self::Xcr0(error) => error.fmt(f),
            Self::Xss(error) => error.fmt(f),
            Self::Xfd(error) => error.fmt(f),
            Self::Running { guest } => write!(f, "a thread runs the guest of {guest}"),
            Self::NotRunning { asked, running: None } => {
                write!(f, "the thread runs no guest, not that of {asked}")
            }
            Self::NotRunning {
                asked,
                running: Some(running),
            } => write!(f, "the thread runs the guest of {running}, not that of {asked}"),
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestRegisterError {}
