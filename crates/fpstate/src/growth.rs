//! A state grows when a component is first used, and gives the memory back when it no longer is.
//!
//! On-demand components (those IA32_XFD can disable: AMX tile data, 8 KB) have no room at first, so
//! a state's IA32_XFD disables them. The first use raises #NM; whoever handles it gets an
//! [`Expansion`], lends memory for its layout, and lets the instruction happen again. Nothing is
//! changed until the memory is there.

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::processor::Processor;
use fpstate_arch::xfd::Xfd;

use crate::cpu::CpuFpu;
use crate::decision::require_only_copy;
use crate::guest::GuestFpu;
use crate::layout::{Layout, LayoutError};
use crate::ownership::{Residence, StateId};
use crate::state::{Fpstate, MoveError};
use crate::storage::AreaStorage;
use crate::switch::{ControlOwner, RegisterContent};
use crate::switch_error::SwitchError;
use crate::thread::ThreadFpu;

/// What a state needs in order to have room for more components: memory for a
/// [`layout`](Self::layout).
#[derive(Clone, Copy, Debug)]
#[must_use = "the instruction that needs the components raises #NM until the state has grown"]
pub struct Expansion<'e> {
    state: StateId,
    layout: Layout<'e>,
}

impl<'e> Expansion<'e> {
    /// The state that is to grow.
    #[must_use]
    pub const fn state(&self) -> StateId {
        self.state
    }

    /// What the memory has to have room for.
    #[must_use]
    pub const fn layout(&self) -> &Layout<'e> {
        &self.layout
    }
}

impl<'e, S: AreaStorage> Fpstate<'e, S> {
    /// The expansion by `components`, which something has permitted.
    pub(crate) fn expansion(&self, components: ComponentSet) -> Result<Expansion<'e>, ResizeError> {
        let on_demand = self.layout().xfd_components();
        if !on_demand.contains_all(components) {
            return Err(ResizeError::NotOnDemand {
                found: components,
                on_demand,
            });
        }
        let layout = self
            .layout()
            .with(components)
            .map_err(ResizeError::Layout)?;
        let state = self.id();
        Ok(Expansion { state, layout })
    }

    /// IA32_XFD once the area is one of `layout`.
    fn xfd_with(&self, layout: &Layout<'e>) -> Xfd {
        let on_demand = layout.xfd_components();
        let without_room = on_demand.difference(layout.components());
        let disabled = self.own_xfd().components().union(without_room);
        Xfd::new(disabled, on_demand).unwrap_or_default()
    }

    fn grow(&mut self, expansion: Expansion<'e>, storage: S) -> Result<S, (ResizeError, S)> {
        if let Err(error) = self.require_larger(expansion) {
            return Err((error, storage));
        }
        self.move_to(expansion.layout, storage)
            .map_err(|(error, storage)| (ResizeError::Move(error), storage))
    }

    fn require_larger(&self, expansion: Expansion<'e>) -> Result<(), ResizeError> {
        let (found, planned) = (self.components(), expansion.layout.components());
        if expansion.state != self.id() {
            let asked = expansion.state;
            return Err(ResizeError::OtherState {
                found: self.id(),
                asked,
            });
        }
        // In registers only what is modified since the restore is saved, which would be into memory
        // that does not have the rest if an expansion without effect brought it back.
        if planned.contains_all(found) && planned != found {
            Ok(())
        } else {
            Err(ResizeError::Outgrown { found, planned })
        }
    }

    /// IA32_XFD for the grown state, if it is in `cpu`'s registers: before the memory, because this
    /// can fail.
    fn enable_ahead(
        &self,
        expansion: Expansion<'e>,
        cpu: &mut CpuFpu<impl Processor>,
    ) -> Result<(), ResizeError> {
        self.require_larger(expansion)?;
        let (facts, here) = (self.facts(), cpu.facts());
        if here.control == ControlOwner::Guest {
            let error = SwitchError::GuestControl { cpu: here.id };
            return Err(ResizeError::Switch(error));
        }
        let Residence::Registers(holder) = facts.residence else {
            return Ok(());
        };
        require_only_copy(facts, holder, here).map_err(ResizeError::Switch)?;
        cpu.write_xfd(self.xfd_with(&expansion.layout))
            .map_err(|fault| ResizeError::Switch(SwitchError::Fault(fault)))
    }

    fn shrink(&mut self, storage: S) -> Result<S, (ResizeError, S)> {
        if self.grown_by().is_empty() {
            return Err((ResizeError::NotGrown, storage));
        }
        let layout = match self.released_layout() {
            Ok(layout) => layout,
            Err(error) => return Err((ResizeError::Layout(error), storage)),
        };
        // What is in registers may be live; only memory tells.
        if let Residence::Registers(cpu) = self.residence() {
            return Err((ResizeError::InRegisters { cpu }, storage));
        }
        self.move_to(layout, storage)
            .map_err(|(error, storage)| (ResizeError::Move(error), storage))
    }
}

impl<'e, S: AreaStorage> ThreadFpu<'e, S> {
    /// Lends `storage` to the state that `expansion` is about, the thread's own or that of the guest
    /// it runs, and gives back the memory it had. Wherever the state is, it is preserved: in
    /// registers it stays there, and IA32_XFD is written at once.
    ///
    /// # Errors
    /// [`ResizeError`], with `storage` given back; nothing is changed then.
    pub fn expand(
        &mut self,
        expansion: Expansion<'e>,
        cpu: &mut CpuFpu<impl Processor>,
        storage: S,
    ) -> Result<S, (ResizeError, S)> {
        let state = match &mut self.guest {
            Some(guest) if self.own.id() != expansion.state => guest,
            Some(_) | None => &mut self.own,
        };
        if let Err(error) = state.enable_ahead(expansion, cpu) {
            return Err((error, storage));
        }
        let grown = state.grow(expansion, storage);
        let loaded = cpu.registers() == RegisterContent::OnlyCopyOf(state.id());
        if let (Err(_), true) = (&grown, loaded) {
            // Back to what has room. A fault here repeats at the next switch.
            let _ = cpu.write_xfd(state.xfd());
        }
        grown
    }

    /// Takes the memory for on-demand components away from the thread's own state, which goes on in
    /// `storage` with them disabled; gives the larger memory back. The state is saved first if need
    /// be.
    ///
    /// # Errors
    /// [`ResizeError`], with `storage` given back: the components are in use, or the thread is in a
    /// guest whose state is active.
    pub fn release(
        &mut self,
        cpu: &mut CpuFpu<impl Processor>,
        storage: S,
    ) -> Result<S, (ResizeError, S)> {
        let in_memory = self.guest.is_some() && self.put_off().is_none();
        if !in_memory && let Err(error) = self.save_before_switch(cpu) {
            return Err((ResizeError::Switch(error), storage));
        }
        self.own.shrink(storage)
    }
}

impl<'e, S: AreaStorage> GuestFpu<'e, S> {
    /// Lends `storage` to the state, which no thread runs, and gives back the memory it had. What
    /// the state holds is preserved (Linux loses it: hazard H5).
    ///
    /// # Errors
    /// [`ResizeError`], with `storage` given back; nothing is changed then.
    pub fn expand(&mut self, expansion: Expansion<'e>, storage: S) -> Result<S, (ResizeError, S)> {
        match &mut self.fpstate {
            Some(fpstate) => fpstate.grow(expansion, storage),
            None => Err((ResizeError::Running { guest: self.id() }, storage)),
        }
    }

    /// Takes the memory for on-demand components away from the state, which goes on in `storage`;
    /// gives the larger memory back. The guest's first use of such a component makes it grow again.
    ///
    /// When that pays is the caller's choice, by [`unused_exits`](Self::unused_exits).
    ///
    /// # Errors
    /// [`ResizeError`], with `storage` given back: the components are in use, or a thread runs the
    /// vCPU.
    pub fn release(&mut self, storage: S) -> Result<S, (ResizeError, S)> {
        let id = self.id();
        let released = match &mut self.fpstate {
            Some(fpstate) => fpstate.shrink(storage),
            None => Err((ResizeError::Running { guest: id }, storage)),
        };
        if released.is_ok() {
            self.unused_exits = 0;
        }
        released
    }
}

/// Why a state cannot grow, or give memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeError {
    /// Components that are no on-demand ones.
    NotOnDemand {
        /// The components asked for.
        found: ComponentSet,
        /// The on-demand ones.
        on_demand: ComponentSet,
    },
    /// The guest may not use these components.
    NotOffered {
        /// The components asked for.
        found: ComponentSet,
        /// The on-demand ones that it is offered.
        offered: ComponentSet,
    },
    /// No layout has them all.
    Layout(LayoutError),
    /// The expansion is another state's.
    OtherState {
        /// This state.
        found: StateId,
        /// The one the expansion is for.
        asked: StateId,
    },
    /// The state has that room already, or has grown since in another way.
    Outgrown {
        /// What it has room for now.
        found: ComponentSet,
        /// What it would have room for.
        planned: ComponentSet,
    },
    /// There is no on-demand component to release.
    NotGrown,
    /// The state is in the registers of a CPU: save it first.
    InRegisters {
        /// The CPU.
        cpu: crate::ownership::CpuId,
    },
    /// A thread runs the guest.
    Running {
        /// The guest's state.
        guest: StateId,
    },
    /// The memory does not do, or not for what is in use.
    Move(MoveError),
    /// The registers are not as they should be.
    Switch(SwitchError),
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnDemand { found, on_demand } => {
                write!(f, "{found} on demand; there is {on_demand}")
            }
            Self::NotOffered { found, offered } => {
                write!(f, "{found} for a guest that is offered {offered}")
            }
            Self::Layout(error) => error.fmt(f),
            Self::OtherState { found, asked } => {
                write!(f, "an expansion of {asked}, given to {found}")
            }
            Self::Outgrown { found, planned } => {
                write!(f, "an expansion to {planned} for a state that has {found}")
            }
            Self::NotGrown => f.write_str("no on-demand component has room"),
            Self::InRegisters { cpu } => write!(f, "the state is in the registers of {cpu}"),
            Self::Running { guest } => write!(f, "a thread runs the guest of {guest}"),
            Self::Move(error) => error.fmt(f),
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ResizeError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use fpstate_arch::Component;
    use std::string::ToString;

    #[test]
    fn a_refused_resize_says_what_was_found_and_what_was_asked() {
        static IDENTITIES: Identities = Identities::new();
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        let first = IDENTITIES.state();
        let second = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        for (shown, sentence) in [
            (
                ResizeError::NotOnDemand {
                    found: AVX,
                    on_demand: TILES,
                }
                .to_string(),
                "AVX on demand; there is XTILECFG+XTILEDATA",
            ),
            (
                ResizeError::NotOffered {
                    found: TILES,
                    offered: AVX,
                }
                .to_string(),
                "XTILECFG+XTILEDATA for a guest that is offered AVX",
            ),
            (
                ResizeError::OtherState {
                    found: first,
                    asked: second,
                }
                .to_string(),
                "an expansion of state 2, given to state 1",
            ),
            (
                ResizeError::Outgrown {
                    found: TILES,
                    planned: AVX,
                }
                .to_string(),
                "an expansion to AVX for a state that has XTILECFG+XTILEDATA",
            ),
            (
                ResizeError::NotGrown.to_string(),
                "no on-demand component has room",
            ),
            (
                ResizeError::InRegisters { cpu }.to_string(),
                "the state is in the registers of CPU 7",
            ),
            (
                ResizeError::Running { guest: first }.to_string(),
                "a thread runs the guest of state 1",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
