//! The life of a CPU: it comes online, sleeps, idles.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::fault::Fault;
use fpstate_arch::processor::Processor;
use fpstate_arch::xcr0::Xcr0;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xsave_header::Format;
use fpstate_arch::xss::Xss;

use crate::cpu::CpuFpu;
use crate::decision::require_host_control;
use crate::instructions::SwitchInstructions;
use crate::ownership::Identities;
use crate::switch::{ControlOwner, RegisterContent};
use crate::switch_error::SwitchError;
use crate::transfer::BeyondMoves;

impl<P: Processor> CpuFpu<P> {
    /// Takes over a CPU as it is: reads XCR0, and IA32_XSS and IA32_XFD where `instructions` reach
    /// them. CR4.OSXSAVE (or CR4.OSFXSR) is 1 and CR0.TS is 0, now and later.
    ///
    /// # Errors
    /// The processor's fault.
    pub fn adopt(
        mut processor: P,
        number: u32,
        identities: &Identities,
        instructions: SwitchInstructions,
    ) -> Result<Self, Fault> {
        let xcr0 = match instructions.save().format() {
            Format::Fxsave => ComponentSet::LEGACY,
            Format::Standard | Format::Compacted => processor.xgetbv()?,
        };
        let xss = if instructions.reaches_xss() {
            processor.read_xss()?
        } else {
            ComponentSet::EMPTY
        };
        let xfd = if instructions.has_xfd() {
            let disabled = processor.read_xfd()?;
            Xfd::new(disabled, disabled).unwrap_or_default()
        } else {
            Xfd::NOTHING
        };
        let id = identities.cpu(number);
        let switched = xcr0
            .union(xss)
            .without(Component::Pkru)
            .difference(instructions.withheld());
        let registers = RegisterContent::Nobody;
        Ok(Self {
            processor,
            id,
            registers,
            uses: 0,
            beyond_moves: BeyondMoves::Unknown,
            switched,
            // What a register holds is by definition legal.
            xcr0: Xcr0::new(xcr0, xcr0).unwrap_or(Xcr0::AFTER_RESET),
            xss: Xss::new(xss, xss).unwrap_or_default(),
            xfd,
            instructions,
            control: ControlOwner::Host,
        })
    }

    /// Brings a CPU up in ring 0: writes IA32_XFD, XCR0 and IA32_XSS, in this order, so that no
    /// on-demand component is ever enabled without being disabled by XFD first (invariant I49).
    ///
    /// # Errors
    /// [`BringUpError`]; registers that the CPU does not have, or that `instructions` do not reach,
    /// must be given as after RESET.
    pub fn bring_up(
        mut processor: P,
        number: u32,
        identities: &Identities,
        instructions: SwitchInstructions,
        registers: ControlRegisters,
    ) -> Result<Self, BringUpError> {
        let ControlRegisters { xcr0, xss, xfd } = registers;
        if instructions.has_xfd() {
            processor.write_xfd(xfd).map_err(BringUpError::Fault)?;
        } else if xfd != Xfd::NOTHING {
            return Err(BringUpError::Xfd {
                found: xfd.components(),
            });
        }
        match instructions.save().format() {
            Format::Fxsave if xcr0 != Xcr0::AFTER_RESET => {
                return Err(BringUpError::Xcr0 {
                    found: xcr0.components(),
                });
            }
            Format::Fxsave => {}
            Format::Standard | Format::Compacted => {
                processor.xsetbv(xcr0).map_err(BringUpError::Fault)?;
            }
        }
        if instructions.reaches_xss() {
            processor.write_xss(xss).map_err(BringUpError::Fault)?;
        } else if xss != Xss::AFTER_RESET {
            return Err(BringUpError::Xss {
                found: xss.components(),
            });
        }
        Self::adopt(processor, number, identities, instructions).map_err(BringUpError::Fault)
    }

    /// The CPU comes back from a sleep in which it lost its registers (S3, S4): writes IA32_XFD, XCR0
    /// and IA32_XSS as they were. Linux writes IA32_XFD there without its shadow (hazard H4).
    ///
    /// # Errors
    /// As [`registers_taken`](Self::registers_taken): states are saved before the sleep. Or the
    /// processor's fault.
    pub fn resume(&mut self) -> Result<(), SwitchError> {
        self.registers_taken()?;
        if self.instructions.has_xfd() {
            self.processor
                .write_xfd(self.xfd)
                .map_err(SwitchError::Fault)?;
        }
        if self.instructions.save().format() != Format::Fxsave {
            self.processor
                .xsetbv(self.xcr0)
                .map_err(SwitchError::Fault)?;
        }
        if self.instructions.reaches_xss() {
            self.processor
                .write_xss(self.xss)
                .map_err(SwitchError::Fault)?;
        }
        Ok(())
    }

    /// Before the CPU idles: TILERELEASE if tiles are in use, which would keep the CPU out of its
    /// deepest states. Gives the components that were released. What the registers held a copy of
    /// is restored from memory when it is needed again (invariant I5).
    ///
    /// # Errors
    /// As [`registers_taken`](Self::registers_taken): a thread's state is saved when it is switched
    /// away from, before the CPU can idle. Or the processor's fault.
    pub fn release_tiles(&mut self) -> Result<ComponentSet, SwitchError> {
        require_host_control(self.facts())?;
        if !self.switched.contains_all(ComponentSet::TILES) {
            return Ok(ComponentSet::EMPTY);
        }
        let in_use = self.processor.xgetbv_in_use().map_err(SwitchError::Fault)?;
        let tiles = in_use.intersection(ComponentSet::TILES);
        if !tiles.is_empty() {
            self.registers_taken()?;
            self.processor.tilerelease().map_err(SwitchError::Fault)?;
        }
        Ok(tiles)
    }
}

/// What [`CpuFpu::bring_up`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegisters {
    /// XCR0.
    pub xcr0: Xcr0,
    /// IA32_XSS.
    pub xss: Xss,
    /// IA32_XFD: the on-demand components.
    pub xfd: Xfd,
}

/// Why a CPU cannot be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BringUpError {
    /// A value for XCR0 on a CPU without XSAVE.
    Xcr0 {
        /// The value.
        found: ComponentSet,
    },
    /// A value for IA32_XSS where XSAVES is not used.
    Xss {
        /// The value.
        found: ComponentSet,
    },
    /// A value for IA32_XFD on a CPU without it.
    Xfd {
        /// The value.
        found: ComponentSet,
    },
    /// The processor refused.
    Fault(Fault),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xcr0 { found } => write!(f, "XCR0 {found} on a CPU without XSAVE"),
            Self::Xss { found } => write!(f, "IA32_XSS {found} where XSAVES is not used"),
            Self::Xfd { found } => write!(f, "IA32_XFD {found} on a CPU without it"),
            Self::Fault(fault) => write!(f, "the processor refused: {fault}"),
        }
    }
}

impl core::error::Error for BringUpError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Xcr0 { .. } | Self::Xss { .. } | Self::Xfd { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_cpu_that_is_refused_says_which_register_had_what() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                BringUpError::Xcr0 { found: AVX }.to_string(),
                "XCR0 AVX on a CPU without XSAVE",
            ),
            (
                BringUpError::Xss { found: AVX }.to_string(),
                "IA32_XSS AVX where XSAVES is not used",
            ),
            (
                BringUpError::Xfd { found: TILES }.to_string(),
                "IA32_XFD XTILECFG+XTILEDATA on a CPU without it",
            ),
            (
                BringUpError::Fault(Fault::GeneralProtection).to_string(),
                "the processor refused: #GP(0)",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_processors_fault_is_the_source_of_a_refused_cpu() {
        use core::error::Error as _;
        let refused = BringUpError::Fault(Fault::GeneralProtection);
        assert_eq!(
            refused.source().map(ToString::to_string),
            Some("#GP(0)".to_string())
        );
        let found = ComponentSet::only(Component::Avx);
        assert!(BringUpError::Xcr0 { found }.source().is_none());
    }
}
