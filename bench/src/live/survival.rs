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

/// Live components that differ. Of SSE nothing can be told: compiled code between a restore and the
/// next save uses XMM registers, but neither x87 nor what is above bit 127.
fn differing(
    setting: &Setting<'_>,
    found: &[u8],
    expected: &XsaveArea<'_, BoxedArea>,
) -> ComponentSet {
    let live = setting.scenario.live();
    let mut differing = ComponentSet::EMPTY;
    for placed in setting.layout.extended_components() {
        let (component, range) = (placed.component(), placed.range());
        let found = found.get(range);
        if live.contains(component) && found != expected.extended(component) {
            differing = differing.with(component);
        }
    }
    let st = 32..160;
    if live.contains(Component::X87) && found.get(st.clone()) != expected.bytes().get(st) {
        differing = differing.with(Component::X87);
    }
    differing
}
