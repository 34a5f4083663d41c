//! What a switch has to do, decided as a plain value.
//!
//! Deciding and doing are apart. The functions here are pure: from where two states are and what a
//! CPU's registers hold they make a [`Switch`], which somebody else carries out - [`CpuFpu`] at once
//! through its [`Processor`](fpstate_arch::Processor), or, in a process whose compiler uses vector
//! registers itself, one assembly unit that saves, restores and jumps. No executor holds policy.
//!
//! The order within a switch is fixed (invariants I11, I24-I30): save the outgoing state while XFD is
//! still its own; write XFD; restore the incoming state.
//!
//! [`CpuFpu`]: crate::CpuFpu

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::fault::Fault;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xsave_header::Format;

use crate::instructions::{RestoreInstruction, SaveInstruction, SwitchInstructions};
use crate::ownership::{CpuId, Residence, StateId};

/// When the incoming state goes into the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restoring {
    /// As part of the switch.
    Now,
    /// At the last moment before the registers are used:
    /// [`ThreadFpu::restore_before_use`](crate::ThreadFpu::restore_before_use).
    Deferred,
}

/// What happens to the outgoing state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Save {
    /// The registers hold the only copy: execute this.
    Registers {
        /// The instruction.
        instruction: SaveInstruction,
        /// Its requested-feature bitmap: the components of the outgoing area.
        rfbm: ComponentSet,
    },
    /// Skipped: its area holds it already.
    AlreadyInMemory,
    /// There is no state to save, or the hardware keeps it.
    Nothing,
}

/// What happens to the incoming state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restore {
    /// Execute this.
    Area {
        /// The instruction.
        instruction: RestoreInstruction,
        /// Its requested-feature bitmap: every component the CPU switches, not only those of the
        /// incoming area, so that nothing of the previous owner survives (invariant I7) - except,
        /// on AMD CPUs without `XSaveErPtr`, FIP, FDP and FOP, which XRSTOR leaves alone there unless
        /// an exception is pending (CVE-2006-1056).
        rfbm: ComponentSet,
    },
    /// Skipped: the registers hold it already.
    AlreadyInRegisters,
    /// Later, before the registers are used.
    Deferred,
    /// There is no state to restore, or the hardware keeps it.
    Nothing,
}

/// What a switch has to do, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch {
    /// First.
    pub save: Save,
    /// Then: the value for IA32_XFD, where it changes.
    pub xfd: Option<Xfd>,
    /// Last.
    pub restore: Restore,
}

impl Switch {
    /// Nothing to do.
    pub const NOTHING: Self = Self {
        save: Save::Nothing,
        xfd: None,
        restore: Restore::Nothing,
    };
}

/// A decision, and for which states and which CPU it was made: what somebody else carries out and
/// then commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a decision that is not carried out and committed changes nothing"]
pub struct Decided {
    switch: Switch,
    outgoing: Option<(StateId, u32)>,
    incoming: Option<(StateId, u32)>,
    cpu: CpuId,
    uses: u32,
}

impl Decided {
    pub(crate) const fn new(
        switch: Switch,
        outgoing: Option<StateFacts>,
        incoming: Option<StateFacts>,
        (cpu, uses): (CpuId, u32),
    ) -> Self {
        Self {
            switch,
            outgoing: version(outgoing),
            incoming: version(incoming),
            cpu,
            uses,
        }
    }

    /// What to do.
    #[must_use]
    pub const fn switch(&self) -> Switch {
        self.switch
    }

    /// A decision is committed only if it is still the one that the states call for.
    pub(crate) fn require_current(self, now: Self) -> Result<(), SwitchError> {
        if self == now {
            Ok(())
        } else {
            Err(SwitchError::Stale)
        }
    }
}

const fn version(state: Option<StateFacts>) -> Option<(StateId, u32)> {
    match state {
        Some(facts) => Some((facts.id, facts.version)),
        None => None,
    }
}

/// What a decision needs to know of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateFacts {
    /// Its identity.
    pub id: StateId,
    /// How often its memory changed.
    pub version: u32,
    /// Where it is.
    pub residence: Residence,
    /// The format of its area.
    pub format: Format,
    /// The components its area has room for.
    pub components: ComponentSet,
    /// Its IA32_XFD.
    pub xfd: Xfd,
}

/// What the registers of a CPU hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterContent {
    /// Nobody's state: what is in them may be overwritten and must not be believed.
    Nobody,
    /// A copy of what this state has in memory.
    CopyOf(StateId),
    /// This state, which is nowhere else.
    OnlyCopyOf(StateId),
    /// The kernel's own values, until its section ends.
    Kernel,
}

impl RegisterContent {
    /// The state that the registers hold.
    #[must_use]
    #[inline]
    pub const fn owner(self) -> Option<StateId> {
        match self {
            Self::CopyOf(id) | Self::OnlyCopyOf(id) => Some(id),
            Self::Nobody | Self::Kernel => None,
        }
    }
}

/// What a decision needs to know of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CpuFacts {
    /// Its number.
    pub id: CpuId,
    /// What its registers hold.
    pub registers: RegisterContent,
    /// The components it switches: XCR0 and IA32_XSS without PKRU.
    pub switched: ComponentSet,
    /// What is in IA32_XFD.
    pub xfd: Xfd,
    /// What it switches with.
    pub instructions: SwitchInstructions,
}

/// Decides the save of `outgoing`.
///
/// # Errors
/// [`SwitchError`] when the bookkeeping says that this cannot be: nothing is guessed.
#[inline]
pub fn decide_save(outgoing: StateFacts, cpu: CpuFacts) -> Result<Save, SwitchError> {
    match outgoing.residence {
        Residence::Memory | Residence::MemoryAndRegisters(_) => Ok(Save::AlreadyInMemory),
        Residence::Sealed => Ok(Save::Nothing),
        Residence::Registers(holder) => {
            require_only_copy(outgoing, holder, cpu)?;
            let instruction = cpu.instructions.save();
            Ok(Save::Registers {
                instruction,
                rfbm: outgoing.components,
            })
        }
    }
}

/// Decides the restore of `incoming`, and with it the value of IA32_XFD: XFD changes when the
/// registers change hands, never before.
///
/// # Errors
/// [`SwitchError`] when the bookkeeping says that this cannot be.
#[inline]
pub fn decide_restore(
    incoming: StateFacts,
    cpu: CpuFacts,
    restoring: Restoring,
) -> Result<(Option<Xfd>, Restore), SwitchError> {
    require_fitting_area(incoming, cpu)?;
    if restoring == Restoring::Deferred {
        return Ok((None, Restore::Deferred));
    }
    match cpu.registers {
        RegisterContent::Kernel => return Err(SwitchError::KernelSection { cpu: cpu.id }),
        RegisterContent::OnlyCopyOf(state) if state != incoming.id => {
            return Err(SwitchError::WouldDiscard { state, cpu: cpu.id });
        }
        RegisterContent::OnlyCopyOf(_) | RegisterContent::CopyOf(_) | RegisterContent::Nobody => {}
    }
    let restore = match incoming.residence {
        Residence::Registers(holder) => {
            require_only_copy(incoming, holder, cpu)?;
            Restore::AlreadyInRegisters
        }
        Residence::MemoryAndRegisters(last)
            if last == cpu.id && cpu.registers.owner() == Some(incoming.id) =>
        {
            Restore::AlreadyInRegisters
        }
        Residence::Memory | Residence::MemoryAndRegisters(_) => Restore::Area {
            instruction: cpu.instructions.restore(),
            rfbm: cpu.switched,
        },
        // Invariant I28: the XFD update and nothing else.
        Residence::Sealed => Restore::Nothing,
    };
    let xfd = (cpu.instructions.has_xfd() && cpu.xfd != incoming.xfd).then_some(incoming.xfd);
    Ok((xfd, restore))
}

/// Decides the exchange of `outgoing` for `incoming`: both directions of a guest switch.
///
/// # Errors
/// As [`decide_save`] and [`decide_restore`].
#[inline]
pub fn decide_exchange(
    outgoing: StateFacts,
    incoming: StateFacts,
    cpu: CpuFacts,
    restoring: Restoring,
) -> Result<Switch, SwitchError> {
    let save = decide_save(outgoing, cpu)?;
    let (xfd, restore) = decide_restore(incoming, cpu.after(save, outgoing.id), restoring)?;
    Ok(Switch { save, xfd, restore })
}

impl CpuFacts {
    /// The facts once `save` of `state` is done.
    #[inline]
    const fn after(self, save: Save, state: StateId) -> Self {
        match save {
            Save::Registers { .. } => Self {
                registers: RegisterContent::CopyOf(state),
                ..self
            },
            Save::AlreadyInMemory | Save::Nothing => self,
        }
    }
}

/// What can never be switched on this CPU is refused before it is entered, not when it is restored.
#[inline]
fn require_fitting_area(state: StateFacts, cpu: CpuFacts) -> Result<(), SwitchError> {
    let StateFacts {
        components: found,
        format,
        xfd,
        ..
    } = state;
    let needed = cpu.instructions.save().format();
    if format != needed {
        return Err(SwitchError::OtherFormat {
            cpu: cpu.id,
            found: format,
            needed,
        });
    }
    if !cpu.switched.contains_all(found) {
        return Err(SwitchError::NotEnabled {
            cpu: cpu.id,
            found,
            enabled: cpu.switched,
        });
    }
    // What user code can use and the area cannot hold would be lost at the next save.
    let disabled = if cpu.instructions.has_xfd() {
        xfd
    } else {
        Xfd::NOTHING
    };
    let missing = cpu
        .switched
        .difference(found)
        .difference(disabled.components());
    if !missing.is_empty() {
        return Err(SwitchError::NoRoom {
            cpu: cpu.id,
            found,
            missing,
        });
    }
    Ok(())
}

/// A state that says `Registers(holder)` must be on that CPU, and the CPU must say so too.
#[inline]
fn require_only_copy(state: StateFacts, holder: CpuId, cpu: CpuFacts) -> Result<(), SwitchError> {
    if holder != cpu.id {
        return Err(SwitchError::InRegistersOf {
            state: state.id,
            cpu: holder,
            here: cpu.id,
        });
    }
    if cpu.registers != RegisterContent::OnlyCopyOf(state.id) {
        let found = cpu.registers;
        return Err(SwitchError::NotInRegisters {
            state: state.id,
            cpu: cpu.id,
            found,
        });
    }
    Ok(())
}

/// Why a switch cannot be decided, or was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwitchError {
    /// The only copy of the state is in another CPU's registers.
    InRegistersOf {
        /// The state.
        state: StateId,
        /// The CPU that holds it.
        cpu: CpuId,
        /// The CPU asked to switch.
        here: CpuId,
    },
    /// The state should be in this CPU's registers, and another one is.
    NotInRegisters {
        /// The state.
        state: StateId,
        /// The CPU.
        cpu: CpuId,
        /// What its registers hold.
        found: RegisterContent,
    },
    /// The registers hold the only copy of another state, which would be lost (invariant I6).
    WouldDiscard {
        /// The state that would be lost.
        state: StateId,
        /// The CPU.
        cpu: CpuId,
    },
    /// The state has room for components this CPU does not have enabled: its image would be laid
    /// out differently here.
    NotEnabled {
        /// The CPU.
        cpu: CpuId,
        /// The state's components.
        found: ComponentSet,
        /// The components the CPU switches.
        enabled: ComponentSet,
    },
    /// The kernel is using this CPU's registers itself.
    KernelSection {
        /// The CPU.
        cpu: CpuId,
    },
    /// The state's area is not in the format that this CPU's instruction writes.
    OtherFormat {
        /// The CPU.
        cpu: CpuId,
        /// The area's format.
        found: Format,
        /// The format the CPU writes.
        needed: Format,
    },
    /// The state has no room for components that are enabled on this CPU and that its IA32_XFD does
    /// not disable.
    NoRoom {
        /// The CPU.
        cpu: CpuId,
        /// The state's components.
        found: ComponentSet,
        /// The components without room.
        missing: ComponentSet,
    },
    /// A decision was committed that is not what the states call for now, or that was made for
    /// other states or another CPU.
    Stale,
    /// The processor refused an instruction. The state that was to be saved is where it was; the
    /// registers belong to nobody if it was the restore that failed. A ring-0 processor refuses
    /// only what it can see beforehand: the #GP of a bad image goes to the kernel's handler.
    Fault(Fault),
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRegistersOf { state, cpu, here } => {
                write!(
                    f,
                    "{state} is in the registers of {cpu}; asked to switch it on {here}"
                )
            }
            Self::NotInRegisters { state, cpu, found } => {
                write!(
                    f,
                    "{state} should be in the registers of {cpu}, which hold {found:?}"
                )
            }
            Self::WouldDiscard { state, cpu } => {
                write!(f, "the registers of {cpu} hold the only copy of {state}")
            }
            Self::NotEnabled {
                cpu,
                found,
                enabled,
            } => {
                write!(f, "the state has {found}; enabled on {cpu}: {enabled}")
            }
            Self::KernelSection { cpu } => {
                write!(f, "the kernel is using the registers of {cpu}")
            }
            Self::OtherFormat { cpu, found, needed } => {
                write!(
                    f,
                    "an area of {found} format; {cpu} switches with {needed} ones"
                )
            }
            Self::NoRoom {
                cpu,
                found,
                missing,
            } => {
                write!(f, "the state has {found}; {cpu} has {missing} enabled too")
            }
            Self::Stale => f.write_str("the decision is not what the states call for now"),
            Self::Fault(fault) => write!(f, "the processor refused: {fault}"),
        }
    }
}

impl core::error::Error for SwitchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::InRegistersOf { .. }
            | Self::NotInRegisters { .. }
            | Self::WouldDiscard { .. }
            | Self::NotEnabled { .. }
            | Self::KernelSection { .. }
            | Self::OtherFormat { .. }
            | Self::NoRoom { .. }
            | Self::Stale => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::Identities;
    use fpstate_arch::component::Component;
    use fpstate_arch::cpuid::CpuidRegisters;
    use fpstate_arch::enumeration::Enumeration;

    static IDENTITIES: Identities = Identities::new();

    struct World {
        here: CpuId,
        elsewhere: CpuId,
        a: StateId,
        b: StateId,
    }

    fn world() -> World {
        let identities = &IDENTITIES;
        World {
            here: identities.cpu(0),
            elsewhere: identities.cpu(1),
            a: identities.state(),
            b: identities.state(),
        }
    }

    impl World {
        fn cpu(&self, registers: RegisterContent) -> CpuFacts {
            let enumeration = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
                (1, _) => CpuidRegisters {
                    ecx: 1 << 26,
                    ..Default::default()
                },
                (0xd, 1) => CpuidRegisters {
                    eax: 0x1f,
                    ..Default::default()
                },
                _ => CpuidRegisters::default(),
            });
            CpuFacts {
                id: self.here,
                registers,
                switched: AVX,
                xfd: Xfd::NOTHING,
                instructions: SwitchInstructions::for_ring0(&enumeration),
            }
        }
    }

    const AVX: ComponentSet = ComponentSet::LEGACY.with(Component::Avx);

    fn state(id: StateId, residence: Residence) -> StateFacts {
        let (components, format) = (AVX, Format::Compacted);
        StateFacts {
            id,
            version: 0,
            residence,
            format,
            components,
            xfd: Xfd::NOTHING,
        }
    }

    #[test]
    fn only_the_only_copy_is_saved_and_all_of_it() {
        let w = world();
        let live = w.cpu(RegisterContent::OnlyCopyOf(w.a));
        let instruction = SaveInstruction::Xsaves;
        assert_eq!(
            decide_save(state(w.a, Residence::Registers(w.here)), live),
            Ok(Save::Registers {
                instruction,
                rfbm: AVX
            })
        );
        for residence in [Residence::Memory, Residence::MemoryAndRegisters(w.here)] {
            assert_eq!(
                decide_save(state(w.b, residence), live),
                Ok(Save::AlreadyInMemory)
            );
        }
        assert_eq!(
            decide_save(state(w.b, Residence::Sealed), live),
            Ok(Save::Nothing)
        );
    }

    #[test]
    fn a_restore_covers_every_component_of_the_cpu() {
        let w = world();
        let tiles = ComponentSet::only(Component::TileData);
        let incoming = StateFacts {
            xfd: Xfd::new(tiles, tiles).unwrap(),
            ..state(w.a, Residence::Memory)
        };
        let cpu = CpuFacts {
            switched: AVX.union(tiles),
            ..w.cpu(RegisterContent::Nobody)
        };
        let (_, restore) = decide_restore(incoming, cpu, Restoring::Now).unwrap();
        let instruction = RestoreInstruction::Xrstors;
        assert_eq!(
            restore,
            Restore::Area {
                instruction,
                rfbm: AVX.union(tiles)
            }
        );
    }

    #[test]
    fn a_restore_is_skipped_only_if_state_and_cpu_agree() {
        let w = world();
        let restored = |residence, registers| {
            let (_, restore) =
                decide_restore(state(w.a, residence), w.cpu(registers), Restoring::Now).unwrap();
            restore == Restore::AlreadyInRegisters
        };
        let here = Residence::MemoryAndRegisters(w.here);
        let elsewhere = Residence::MemoryAndRegisters(w.elsewhere);
        assert!(restored(here, RegisterContent::CopyOf(w.a)));
        assert!(!restored(here, RegisterContent::CopyOf(w.b)));
        assert!(!restored(here, RegisterContent::Nobody));
        assert!(!restored(elsewhere, RegisterContent::CopyOf(w.a)));
        assert!(!restored(Residence::Memory, RegisterContent::CopyOf(w.a)));
    }

    #[test]
    fn what_contradicts_the_bookkeeping_is_refused() {
        let w = world();
        let (a, b, here) = (w.a, w.b, w.here);
        let live = w.cpu(RegisterContent::OnlyCopyOf(b));
        assert_eq!(
            decide_save(state(a, Residence::Registers(w.elsewhere)), live),
            Err(SwitchError::InRegistersOf {
                state: a,
                cpu: w.elsewhere,
                here
            })
        );
        assert_eq!(
            decide_save(state(a, Residence::Registers(here)), live),
            Err(SwitchError::NotInRegisters {
                state: a,
                cpu: here,
                found: live.registers
            })
        );
        let in_memory = state(a, Residence::Memory);
        assert_eq!(
            decide_restore(in_memory, live, Restoring::Now),
            Err(SwitchError::WouldDiscard {
                state: b,
                cpu: here
            })
        );
        assert_eq!(
            decide_restore(in_memory, w.cpu(RegisterContent::Kernel), Restoring::Now),
            Err(SwitchError::KernelSection { cpu: here })
        );
    }

    #[test]
    fn an_area_that_does_not_fit_the_cpu_is_refused_even_if_it_is_restored_later() {
        let w = world();
        let (cpu, nobody) = (w.here, w.cpu(RegisterContent::Nobody));
        let refusal = |facts: StateFacts| decide_restore(facts, nobody, Restoring::Deferred);
        let fitting = state(w.a, Residence::Memory);
        let found = AVX.with(Component::TileData);
        assert_eq!(
            refusal(StateFacts {
                components: found,
                ..fitting
            }),
            Err(SwitchError::NotEnabled {
                cpu,
                found,
                enabled: AVX
            })
        );
        let (found, missing) = (ComponentSet::LEGACY, ComponentSet::only(Component::Avx));
        assert_eq!(
            refusal(StateFacts {
                components: found,
                ..fitting
            }),
            Err(SwitchError::NoRoom {
                cpu,
                found,
                missing
            })
        );
        let (found, needed) = (Format::Standard, Format::Compacted);
        assert_eq!(
            refusal(StateFacts {
                format: found,
                ..fitting
            }),
            Err(SwitchError::OtherFormat { cpu, found, needed })
        );
        assert_eq!(refusal(fitting), Ok((None, Restore::Deferred)));
    }

    #[test]
    fn xfd_changes_with_the_registers_and_not_before() {
        let w = world();
        let tiles = ComponentSet::only(Component::TileData);
        let xfd = Xfd::new(tiles, tiles).unwrap();
        let guest = StateFacts {
            xfd,
            ..state(w.b, Residence::Memory)
        };
        let host = state(w.a, Residence::Registers(w.here));
        let live = w.cpu(RegisterContent::OnlyCopyOf(w.a));
        let later = decide_exchange(host, guest, live, Restoring::Deferred).unwrap();
        assert_eq!((later.xfd, later.restore), (None, Restore::Deferred));
        let now = decide_exchange(host, guest, live, Restoring::Now).unwrap();
        assert_eq!(now.xfd, Some(xfd));
        let sealed = StateFacts {
            residence: Residence::Sealed,
            ..guest
        };
        let switch = decide_exchange(host, sealed, live, Restoring::Now).unwrap();
        assert_eq!((switch.xfd, switch.restore), (Some(xfd), Restore::Nothing));
    }
}
