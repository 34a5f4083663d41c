//! What must hold after every step.

use std::collections::BTreeMap;

use fpstate::switch::RegisterContent;
use fpstate::{BoxedArea, Fpstate, Residence, StateId};
use fpstate_arch::ComponentSet;

use super::{Mode, Step, World, contents_of, is_sealed, states_of};
use crate::machine::Machine;
use crate::user_code::UserCode;

impl<'e, P: UserCode> World<'e, P> {
    pub(super) fn check(&mut self) -> Step {
        for cpu in 0..self.cpus.len() {
            self.check_cpu(cpu)?;
        }
        self.check_states()?;
        self.check_areas()?;
        self.check_guests()
    }

    /// The code that runs on `cpu` sees its own values and nobody else's, in every register.
    pub(super) fn check_visible(&mut self, cpu: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let (Mode::User, Some(thread)) = (on.mode, on.current) else {
            return Ok(());
        };
        let state = self.threads[thread]
            .as_ref()
            .expect("a thread")
            .fpu
            .active();
        let (id, owner) = (state.id(), on.fpu.registers());
        if is_sealed(state) {
            return match owner {
                RegisterContent::Nobody => Ok(()),
                RegisterContent::CopyOf(_)
                | RegisterContent::OnlyCopyOf(_)
                | RegisterContent::Kernel => Err(format!("{owner:?} while {id} is the hardware's")),
            };
        }
        if owner != RegisterContent::OnlyCopyOf(id)
            || state.residence() != Residence::Registers(on.fpu.id())
        {
            return Err(format!(
                "I1: {id} runs in {:?}, the CPU says {owner:?}",
                state.residence()
            ));
        }
        let found = contents_of(on.fpu.processor(), self.machine.components());
        match self.reference[&id].difference(&found) {
            Some(difference) => Err(format!("{id} sees {difference}")),
            None => Ok(()),
        }
    }

    fn check_cpu(&mut self, cpu: usize) -> Step {
        self.check_visible(cpu)?;
        let registers = self.cpus[cpu].fpu.registers();
        match registers {
            RegisterContent::Kernel => return Err("a kernel section without end".into()),
            RegisterContent::OnlyCopyOf(id) => {
                let current = self.cpus[cpu]
                    .current
                    .and_then(|slot| self.thread(slot).fpu.only_in_registers());
                if current.is_none_or(|state| state.id() != id) {
                    return Err(format!(
                        "I9: CPU {cpu} has the only copy of {id}, which is not current"
                    ));
                }
            }
            RegisterContent::CopyOf(id) => self.check_copy(cpu, id)?,
            RegisterContent::Nobody => {}
        }
        let on = &mut self.cpus[cpu];
        let other = on.fpu.processor().components();
        let other = other.difference(self.machine.components());
        if contents_of(on.fpu.processor(), other) != on.unswitched {
            return Err(format!("I32: a switch changed {other} of CPU {cpu}"));
        }
        let facts = on.fpu.facts();
        if facts.instructions.has_xfd()
            && on.fpu.processor().read_xfd() != Ok(facts.xfd.components())
        {
            return Err(format!("I10: IA32_XFD of CPU {cpu} is not {:?}", facts.xfd));
        }
        Ok(())
    }

    /// I2: where state and CPU agree that the registers hold a copy, they do.
    fn check_copy(&mut self, cpu: usize, id: StateId) -> Step {
        let here = Residence::MemoryAndRegisters(self.cpus[cpu].fpu.id());
        let agreed = self
            .states()
            .any(|state| state.id() == id && state.residence() == here);
        if !agreed {
            return Ok(());
        }
        let processor = self.cpus[cpu].fpu.processor();
        let found = contents_of(processor, self.machine.components());
        match self.reference[&id].difference(&found) {
            Some(difference) => Err(format!(
                "I2: the copy of {id} on CPU {cpu} has {difference}"
            )),
            None => Ok(()),
        }
    }

    fn check_states(&mut self) -> Step {
        self.states()
            .try_for_each(|state| self.check_bookkeeping(state))?;
        self.check_images()
    }

    /// I3, I6: a state is in one place; I18: it has no more than the CPUs.
    fn check_bookkeeping(&self, state: &Fpstate<'e, BoxedArea>) -> Step {
        let id = state.id();
        if let Residence::Registers(holder) = state.residence() {
            let claims = |fpu: RegisterContent| fpu == RegisterContent::OnlyCopyOf(id);
            let on = self.cpus.iter().find(|on| on.fpu.id() == holder);
            if on.is_none_or(|on| !claims(on.fpu.registers())) {
                return Err(format!("I6: {id} is nowhere: {holder} does not have it"));
            }
        }
        if !self.machine.components().contains_all(state.components()) {
            return Err(format!("I18: {id} has {}", state.components()));
        }
        Ok(())
    }

    /// I16, I17, I28, wherever the states are.
    fn check_areas(&mut self) -> Step {
        let Self {
            machine,
            threads,
            guests,
            sealed,
            ..
        } = self;
        for thread in threads.iter_mut().flatten() {
            let facts = AreaFacts::of(thread.fpu.active());
            let (own, guest) = thread.fpu.areas();
            facts.check(machine, sealed, guest.unwrap_or(own))?;
            let facts = AreaFacts::of(thread.fpu.own());
            facts.check(machine, sealed, thread.fpu.areas().0)?;
        }
        for guest in guests.iter_mut().flatten() {
            let facts = guest.fpu.fpstate().map(AreaFacts::of);
            if let (Some(facts), Some(bytes)) = (facts, guest.fpu.area()) {
                facts.check(machine, sealed, bytes)?;
            }
        }
        Ok(())
    }

    /// What is in memory is what was written: nothing is lost, and nothing else is there.
    fn check_images(&mut self) -> Step {
        let Self {
            machine,
            threads,
            guests,
            reader,
            reference,
            ..
        } = self;
        for state in states_of(threads, guests) {
            let Ok(area) = state.in_memory() else {
                continue;
            };
            let all = machine.components();
            let restore = machine.instructions().restore();
            let loaded = restore.execute(reader, area.bytes(), all);
            loaded.map_err(|fault| format!("{} in memory: {fault}", state.id()))?;
            let found = contents_of(reader, all);
            if let Some(difference) = reference[&state.id()].difference(&found) {
                return Err(format!("I6: {} in memory has {difference}", state.id()));
            }
        }
        Ok(())
    }

    /// I24: a guest's state is in its place, or in exactly one thread.
    fn check_guests(&self) -> Step {
        for guest in self.guests.iter().flatten() {
            let id = guest.fpu.id();
            let runs = |t: &&super::Thread<'e>| t.fpu.running_guest() == Some(id);
            let running = self.threads.iter().flatten().filter(runs).count();
            let expected = usize::from(guest.fpu.fpstate().is_none());
            if running != expected {
                return Err(format!(
                    "I24: {running} threads run the guest of {id}, not {expected}"
                ));
            }
        }
        for thread in self.threads.iter().flatten() {
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            if (own != active) != thread.guest.is_some() {
                return Err(format!(
                    "I24: own {own}, active {active}, guest {:?}",
                    thread.guest
                ));
            }
        }
        Ok(())
    }
}

/// What an area must agree with.
struct AreaFacts {
    id: StateId,
    components: ComponentSet,
    len: usize,
}

impl AreaFacts {
    fn of(state: &Fpstate<'_, BoxedArea>) -> Self {
        Self {
            id: state.id(),
            components: state.components(),
            len: state.layout().area_len(),
        }
    }

    /// I16, I17: the area is as its layout says; I28: a sealed one is as it was.
    fn check(&self, machine: &Machine, sealed: &BTreeMap<StateId, Vec<u8>>, bytes: &[u8]) -> Step {
        let Self {
            id,
            components,
            len,
        } = *self;
        if bytes.len() != len {
            return Err(format!("I16: the area of {id} has {} bytes", bytes.len()));
        }
        let xcomp_bv = bytes.get(520..).and_then(<[u8]>::first_chunk).copied();
        if let Some(expected) = machine.xcomp_bv(components)
            && xcomp_bv.map(u64::from_le_bytes) != Some(expected)
        {
            return Err(format!("I17: XCOMP_BV of {id} is {xcomp_bv:x?}"));
        }
        if sealed.get(&id).is_some_and(|before| before != bytes) {
            return Err(format!(
                "I28: the area of {id}, which the hardware keeps, was written"
            ));
        }
        Ok(())
    }
}
