//! Decides what a switch has to do: pure functions, which an explorer can enumerate.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::xfd::Xfd;

use crate::ownership::{CpuId, Residence, StateId};
use crate::switch::{
    ControlOwner, CpuFacts, RegisterContent, Restore, Restoring, Save, StateFacts, Switch,
};
use crate::switch_error::SwitchError;

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

/// Decides the save of `outgoing`.
///
/// # Errors
/// [`SwitchError`] when the bookkeeping says that this cannot be: nothing is guessed.
#[inline(always)]
pub fn decide_save(outgoing: StateFacts, cpu: CpuFacts) -> Result<Save, SwitchError> {
    require_host_control(cpu)?;
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
#[inline(always)]
pub fn decide_restore(
    incoming: StateFacts,
    cpu: CpuFacts,
    restoring: Restoring,
) -> Result<(Option<Xfd>, Restore), SwitchError> {
    require_host_control(cpu)?;
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
            error_pointers: cpu.instructions.error_pointers(),
        },
        // Invariant I28: the XFD update and nothing else.
        Residence::Sealed => Restore::Nothing,
    };
    let xfd = (cpu.instructions.has_xfd() && cpu.xfd != incoming.xfd).then_some(incoming.xfd);
    Ok((xfd, restore))
}

/// Decides the exchange of a thread's own state for a guest's, where the host keeps nothing in
/// `volatile` but the control words. Deferred, it leaves the registers to the thread: what they
/// hold is saved when they are needed, by whoever needs them.
///
/// # Errors
/// As [`decide_save`] and [`decide_restore`].
#[inline(always)]
pub fn decide_entry(
    own: StateFacts,
    guest: StateFacts,
    cpu: CpuFacts,
    (restoring, volatile): (Restoring, ComponentSet),
) -> Result<Switch, SwitchError> {
    let save = match decide_save(own, cpu)? {
        Save::Registers { .. } if restoring == Restoring::Deferred => Save::Deferred,
        Save::Registers { .. } if volatile.contains_all(own.components) => Save::ControlWords,
        save @ (Save::Registers { .. }
        | Save::ControlWords
        | Save::AlreadyInMemory
        | Save::Deferred
        | Save::Nothing) => save,
    };
    let (xfd, restore) = decide_restore(guest, cpu.after(save, own.id), restoring)?;
    Ok(Switch { save, xfd, restore })
}

/// Decides the exchange of `outgoing` for `incoming`, with `outgoing` in memory at the end.
///
/// # Errors
/// As [`decide_save`] and [`decide_restore`].
#[inline(always)]
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
    #[inline(always)]
    const fn after(self, save: Save, state: StateId) -> Self {
        match save {
            Save::Registers { .. } => Self {
                registers: RegisterContent::CopyOf(state),
                ..self
            },
            // Of what they hold, memory has but a part.
            Save::ControlWords => Self {
                registers: RegisterContent::Nobody,
                ..self
            },
            Save::AlreadyInMemory | Save::Deferred | Save::Nothing => self,
        }
    }
}

/// No save and no restore between the load of a guest's XCR0 and that of the host's.
#[inline(always)]
pub(crate) const fn require_host_control(cpu: CpuFacts) -> Result<(), SwitchError> {
    match cpu.control {
        ControlOwner::Host => Ok(()),
        ControlOwner::Guest => Err(SwitchError::GuestControl { cpu: cpu.id }),
    }
}

/// What can never be switched on this CPU is refused before it is entered, not when it is restored.
#[inline(always)]
fn require_fitting_area(state: StateFacts, cpu: CpuFacts) -> Result<(), SwitchError> {
    let of_format = state.format == cpu.instructions.save().format();
    // Mostly it has room for what the CPU switches, no more and no less: nothing else is looked at then.
    let of_components = state.components == cpu.switched
        || cpu.switched.contains_all(state.components) && without_room(state, cpu).is_empty();
    if of_format && of_components {
        Ok(())
    } else {
        Err(unfit(state, cpu))
    }
}

/// Components that user code can use and the area cannot hold: they would be lost at the next save.
#[inline(always)]
fn without_room(state: StateFacts, cpu: CpuFacts) -> ComponentSet {
    let disabled = if cpu.instructions.has_xfd() {
        state.xfd
    } else {
        Xfd::NOTHING
    };
    cpu.switched
        .difference(state.components)
        .difference(disabled.components())
        // A guest without room for them is not offered them, and a thread cannot use them.
        .difference(cpu.instructions.guest_only())
}

/// Why `state` does not fit.
#[inline(always)]
fn unfit(state: StateFacts, cpu: CpuFacts) -> SwitchError {
    let needed = cpu.instructions.save().format();
    if state.format != needed {
        return SwitchError::OtherFormat {
            cpu: cpu.id,
            found: state.format,
            needed,
        };
    }
    let found = state.components;
    if !cpu.switched.contains_all(found) {
        return SwitchError::NotEnabled {
            cpu: cpu.id,
            found,
            enabled: cpu.switched,
        };
    }
    SwitchError::NoRoom {
        cpu: cpu.id,
        found,
        missing: without_room(state, cpu),
    }
}

/// A state that says `Registers(holder)` must be on that CPU, and the CPU must say so too.
#[inline(always)]
pub(crate) fn require_only_copy(
    state: StateFacts,
    holder: CpuId,
    cpu: CpuFacts,
) -> Result<(), SwitchError> {
    if holder == cpu.id && cpu.registers == RegisterContent::OnlyCopyOf(state.id) {
        Ok(())
    } else {
        Err(not_there(state.id, holder, cpu))
    }
}

/// Why `state`, which should be in `holder`'s registers, is not in `cpu`'s.
#[inline(always)]
fn not_there(state: StateId, holder: CpuId, cpu: CpuFacts) -> SwitchError {
    if holder == cpu.id {
        let (cpu, found) = (cpu.id, cpu.registers);
        return SwitchError::NotInRegisters { state, cpu, found };
    }
    SwitchError::InRegistersOf {
        state,
        cpu: holder,
        here: cpu.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instructions::SwitchInstructions;
    use crate::ownership::Identities;
    use crate::save_and_restore::{RestoreInstruction, SaveInstruction};
    use fpstate_arch::ErrorPointers;
    use fpstate_arch::component::Component;
    use fpstate_arch::cpuid::CpuidRegisters;
    use fpstate_arch::enumeration::Enumeration;
    use fpstate_arch::xsave_header::Format;

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
                control: ControlOwner::Host,
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
                rfbm: AVX.union(tiles),
                error_pointers: ErrorPointers::Restored,
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

    #[test]
    fn what_is_in_the_registers_already_is_used_where_it_is() {
        let w = world();
        let live = w.cpu(RegisterContent::OnlyCopyOf(w.a));
        let here = state(w.a, Residence::Registers(w.here));
        assert_eq!(
            decide_restore(here, live, Restoring::Now),
            Ok((None, Restore::AlreadyInRegisters))
        );
        let elsewhere = state(w.a, Residence::Registers(w.elsewhere));
        assert_eq!(
            decide_restore(elsewhere, live, Restoring::Now),
            Err(SwitchError::InRegistersOf {
                state: w.a,
                cpu: w.elsewhere,
                here: w.here
            })
        );
    }

    #[test]
    fn nothing_is_switched_under_a_guests_xcr0() {
        let w = world();
        let cpu = CpuFacts {
            control: ControlOwner::Guest,
            ..w.cpu(RegisterContent::OnlyCopyOf(w.a))
        };
        let refused = SwitchError::GuestControl { cpu: w.here };
        let live = state(w.a, Residence::Registers(w.here));
        assert_eq!(decide_save(live, cpu), Err(refused));
        assert_eq!(decide_restore(live, cpu, Restoring::Now), Err(refused));
    }

    #[test]
    fn a_cpu_without_xfd_is_not_given_any() {
        let w = world();
        let tiles = ComponentSet::only(Component::TileData);
        let mut incoming = state(w.a, Residence::Memory);
        let nobody = w.cpu(RegisterContent::Nobody);
        let without = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                ..Default::default()
            },
            (0xd, 1) => CpuidRegisters {
                eax: 0xf,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        });
        let old = CpuFacts {
            instructions: SwitchInstructions::for_ring0(&without),
            ..nobody
        };
        let xfd_of = |state, cpu| decide_restore(state, cpu, Restoring::Now).unwrap().0;
        assert_eq!(xfd_of(incoming, nobody), None);
        incoming.xfd = Xfd::new(tiles, tiles).unwrap();
        assert_eq!(xfd_of(incoming, nobody), Some(incoming.xfd));
        assert_eq!(xfd_of(incoming, old), None);
    }

    #[test]
    fn a_decision_is_stale_once_a_state_or_the_cpu_has_changed() {
        let w = world();
        let nothing = Switch {
            save: Save::Nothing,
            xfd: None,
            restore: Restore::Nothing,
        };
        let (a, b) = (state(w.a, Residence::Memory), state(w.b, Residence::Memory));
        let edited = StateFacts { version: 1, ..a };
        let decided = Decided::new(nothing, Some(a), Some(b), (w.here, 1));
        assert_eq!(decided.require_current(decided), Ok(()));
        for now in [
            Decided::new(nothing, Some(edited), Some(b), (w.here, 1)),
            Decided::new(nothing, Some(b), Some(b), (w.here, 1)),
            Decided::new(nothing, Some(a), None, (w.here, 1)),
            Decided::new(nothing, Some(a), Some(b), (w.elsewhere, 1)),
            Decided::new(nothing, Some(a), Some(b), (w.here, 2)),
        ] {
            assert_eq!(decided.require_current(now), Err(SwitchError::Stale));
        }
    }
}
