//! A policy that loses registers is fast. Each has to bring back what its thread and its guest had.

use std::fmt;

use fpstate::{AreaStorage, BoxedArea, XsaveArea};
use fpstate_arch::{Component, ComponentSet};

use crate::contestant::Contestant;
use crate::event::Event;
use crate::live::own_registers::OwnRegisters;
use crate::policy::PolicyError;
use crate::setting::Setting;

/// Registers that were somebody else's, or nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose registers they should have been.
    pub whose: Whose,
    /// Which components.
    pub components: ComponentSet,
}

/// Whose registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The guest's at its first entry.
    Guest,
    /// The thread's after it.
    Thread,
    /// The guest's at its second, what it computed in between.
    GuestAgain,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Guest => "the guest's at its first entry",
            Whose::Thread => "the thread's",
            Whose::GuestAgain => "the guest's at its second entry",
        };
        write!(f, "{} not {whose}", self.components)
    }
}

/// What of the thread's registers its design promises to bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// All.
    Everything,
    /// What a function call preserves.
    CallPreserved,
}

/// The state that a guest computes, and no state begins with.
const COMPUTED: u64 = u64::MAX;

/// Takes the thread into vCPU 0 twice; the guest changes all its registers in between. The
/// thread is switched out before and after.
pub(super) fn check(
    contestant: &mut dyn Contestant,
    setting: &Setting<'_>,
    registers: &mut OwnRegisters<'_>,
    promise: Promise,
) -> Result<Option<Lost>, PolicyError> {
    let (thread, guest) = (setting.thread_area()?, setting.guest_area(0)?);
    let computed = setting.filled(COMPUTED)?;
    let memory = || BoxedArea::for_layout(&setting.layout).map_err(|_| PolicyError::NoMemory);
    let (mut in_guest, mut in_thread, mut again) = (memory()?, memory()?, memory()?);
    contestant.prepare(Event::RoundTrip)?;
    contestant.enter(0)?;
    registers.store(in_guest.bytes_mut())?;
    registers.load(&computed)?;
    contestant.leave(0)?;
    registers.store(in_thread.bytes_mut())?;
    contestant.enter(0)?;
    registers.store(again.bytes_mut())?;
    // The guest's first state comes back, so that the check can be repeated.
    registers.load(&guest)?;
    contestant.leave(0)?;
    contestant.finish(Event::RoundTrip)?;
    let found = [
        (Whose::Guest, &in_guest, &guest),
        (Whose::Thread, &in_thread, &thread),
        (Whose::GuestAgain, &again, &computed),
    ];
    let checked = found
        .into_iter()
        .filter(|&(whose, ..)| whose != Whose::Thread || promise == Promise::Everything);
    for (whose, found, expected) in checked {
        let components = differing(setting, found.bytes(), expected);
        if !components.is_empty() {
            return Ok(Some(Lost { whose, components }));
        }
    }
    Ok(None)
}

/// Live components that differ. Of some registers nothing can be told: compiled code between a restore
/// and the next save uses XMM registers, and a C library's `memcpy` and `memcmp`, which it may call, ZMM16
/// to ZMM23 and opmasks. Neither uses x87 or what is above bit 127 of the others.
fn differing(
    setting: &Setting<'_>,
    found: &[u8],
    expected: &XsaveArea<'_, BoxedArea>,
) -> ComponentSet {
    let live = setting.scenario.live();
    let mut differing = ComponentSet::EMPTY;
    for placed in setting.layout.extended_components() {
        let (component, range) = (placed.component(), placed.range());
        let not_compared = if component == Component::Hi16Zmm {
            range.len() / 2
        } else if component == Component::Opmask {
            range.len()
        } else {
            0
        };
        let compared = range.start + not_compared..range.end;
        let found = found.get(compared.clone());
        if live.contains(component) && found != expected.bytes().get(compared) {
            differing = differing.with(component);
        }
    }
    let st = 32..160;
    if live.contains(Component::X87) && found.get(st.clone()) != expected.bytes().get(st) {
        differing = differing.with(Component::X87);
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::seats;
    use crate::live::this_cpu::ThisCpu;
    use crate::policy_name::PolicyName;
    use crate::scenario::Scenario;
    use crate::setting::Boxed;
    use fpstate_engine::SwitchBy;

    /// What a policy under test leaves out.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum LeftOut {
        Nothing,
        /// The guest's registers are not loaded.
        Enter,
        /// The thread's registers are not loaded, and the guest's not saved.
        Leave,
    }

    struct Broken<'p> {
        inner: Boxed<'p>,
        left_out: LeftOut,
    }

    impl Contestant for Broken<'_> {
        fn prepare(&mut self, event: Event) -> Result<(), PolicyError> {
            self.inner.prepare(event)
        }

        fn happen(&mut self, event: Event, order: &[usize]) -> Result<(), PolicyError> {
            self.inner.happen(event, order)
        }

        fn finish(&mut self, event: Event) -> Result<(), PolicyError> {
            self.inner.finish(event)
        }

        fn enter(&mut self, vcpu: usize) -> Result<(), PolicyError> {
            match self.left_out {
                LeftOut::Enter => Ok(()),
                LeftOut::Nothing | LeftOut::Leave => self.inner.enter(vcpu),
            }
        }

        fn leave(&mut self, vcpu: usize) -> Result<(), PolicyError> {
            match self.left_out {
                LeftOut::Leave => Ok(()),
                LeftOut::Nothing | LeftOut::Enter => self.inner.leave(vcpu),
            }
        }

        fn bytes_copied(&self) -> u64 {
            self.inner.bytes_copied()
        }
    }

    /// Whose registers the bare pair loses where `left_out` is left out, each scenario in turn.
    fn lost(left_out: LeftOut) -> Vec<Option<Whose>> {
        let Ok(cpu) = ThisCpu::read(SwitchBy::Moves(None)) else {
            eprintln!("SKIPPED: no XSAVE here");
            return Vec::new();
        };
        let mut registers = OwnRegisters::new(&cpu).unwrap();
        let mut lost = Vec::new();
        for scenario in [Scenario::SseAvx, Scenario::SseAvxX87, Scenario::Avx512] {
            if !scenario.is_possible_on(cpu.switched()) {
                continue;
            }
            let setting = Setting {
                layout: cpu.layout().unwrap(),
                instructions: cpu.instructions(),
                scenario,
                vcpus: 1,
            };
            let all = seats::contestants(&cpu, &setting).unwrap();
            let pair = all
                .into_iter()
                .find(|(name, _)| *name == PolicyName::InstructionsPair);
            let inner = pair.unwrap().1;
            let mut broken = Broken { inner, left_out };
            registers.initialise().unwrap();
            let found = check(&mut broken, &setting, &mut registers, Promise::Everything);
            registers.initialise().unwrap();
            lost.push(found.unwrap().map(|lost| lost.whose));
        }
        lost
    }

    #[test]
    fn a_policy_that_brings_everything_back_loses_nothing() {
        assert!(lost(LeftOut::Nothing).iter().all(Option::is_none));
    }

    #[test]
    fn a_guest_that_is_not_restored_is_noticed() {
        let lost = lost(LeftOut::Enter);
        assert!(lost.iter().all(|&whose| whose == Some(Whose::Guest)));
    }

    #[test]
    fn a_thread_that_is_not_restored_is_noticed() {
        let lost = lost(LeftOut::Leave);
        assert!(lost.iter().all(|&whose| whose == Some(Whose::Thread)));
    }
}
