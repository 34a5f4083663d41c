//! What must hold after every step.

use fpstate::{ControlOwner, Fpstate, RegisterContent, Residence, StateId};
use fpstate_arch::{ComponentSet, Processor, XfdErr};

use super::areas::states_of;
use super::reference::View;
use super::{GrowthWorld, Hardware, Lent, Mode, Step, TILE_DATA, Thread};
use crate::user_code::UserCode;

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    pub(super) fn check(&mut self) -> Step {
        self.check_moves()?;
        for cpu in 0..self.cpus.len() {
            self.check_cpu(cpu)?;
        }
        self.check_states()?;
        self.check_images()?;
        self.check_areas()?;
        self.check_guests()?;
        self.check_permissions()
    }

    /// I11: each save and restore since the last call was done with the IA32_XFD of its state.
    pub(super) fn check_moves(&mut self) -> Step {
        let moved: Vec<_> = self
            .cpus
            .iter_mut()
            .flat_map(|cpu| cpu.fpu.processor().take_moved())
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        let areas = self.areas();
        for moved in moved {
            let Some(area) = areas.iter().find(|area| area.address == moved.address) else {
                continue;
            };
            let expected = self.expected[&area.id].register_xfd();
            if moved.xfd != expected {
                return Err(format!(
                    "I11: {} moved with IA32_XFD {}, not {expected}",
                    area.id, moved.xfd
                ));
            }
        }
        Ok(())
    }

    /// The code that runs on `cpu` sees its own values and nobody else's, in every register.
    pub(super) fn check_visible(&mut self, cpu: usize) -> Step {
        let (Mode::User, Some(thread)) = (self.cpus[cpu].mode, self.cpus[cpu].current) else {
            return Ok(());
        };
        let state = self.thread(thread).fpu.active();
        let (id, residence) = (state.id(), state.residence());
        let on = &self.cpus[cpu].fpu;
        if on.registers() != RegisterContent::OnlyCopyOf(id)
            || residence != Residence::Registers(on.id())
        {
            let owner = on.registers();
            return Err(format!("I1: {id} runs in {residence:?}, CPU: {owner:?}"));
        }
        self.check_registers(cpu, id)
            .map_err(|what| format!("I1, I7: {id} sees {what}"))
    }

    fn check_registers(&mut self, cpu: usize, id: StateId) -> Step {
        let found = self.cpus[cpu].fpu.processor().contents(self.all);
        let expected = self.expected(id);
        let view = if expected.xfd.is_empty() {
            View::Enabled
        } else {
            View::DisabledInRegisters
        };
        match expected.difference(&found, view) {
            Some(difference) => Err(difference.to_string()),
            None => Ok(()),
        }
    }

    fn check_cpu(&mut self, cpu: usize) -> Step {
        self.check_visible(cpu)?;
        let registers = self.cpus[cpu].fpu.registers();
        if let RegisterContent::OnlyCopyOf(id) = registers {
            let current = self.cpus[cpu].current.map(|slot| self.thread(slot));
            if current.is_none_or(|thread| thread.fpu.active().id() != id) {
                return Err(format!("I9: CPU {cpu} has {id}, which is not current"));
            }
        }
        if let RegisterContent::CopyOf(id) = registers {
            let here = Residence::MemoryAndRegisters(self.cpus[cpu].fpu.id());
            let agreed = |state: &Fpstate<'e, Lent>| state.id() == id && state.residence() == here;
            if states_of(&self.threads, &self.guests).any(agreed) {
                self.check_registers(cpu, id)
                    .map_err(|what| format!("I2: the copy of {id} on CPU {cpu}: {what}"))?;
            }
        }
        self.check_control(cpu)
    }

    /// Whenever the host runs: I10, I14, I29, I30.
    fn check_control(&mut self, cpu: usize) -> Step {
        let host = self.offer.control_registers();
        let on = &mut self.cpus[cpu];
        let facts = on.fpu.facts();
        let processor = on.fpu.processor();
        if processor.read_xfd() != Ok(facts.xfd.components()) {
            return Err(format!("I10: IA32_XFD of CPU {cpu} is not {:?}", facts.xfd));
        }
        if processor.read_xfd_err() != Ok(XfdErr::NOTHING) {
            return Err(format!("I14: IA32_XFD_ERR of CPU {cpu} is not 0"));
        }
        let found = (processor.xgetbv(), processor.read_xss(), processor.rdpkru());
        let (xcr0, xss) = (host.xcr0.components(), host.xss.components());
        if found != (Ok(xcr0), Ok(xss), Ok(on.pkru)) || facts.control != ControlOwner::Host {
            return Err(format!("I29, I30: CPU {cpu} has {found:?}"));
        }
        if let RegisterContent::OnlyCopyOf(id) = facts.registers {
            let expected = self.expected[&id].register_xfd();
            if facts.xfd.components() != expected {
                let found = facts.xfd.components();
                return Err(format!("I11: {id} runs with IA32_XFD {found}"));
            }
        }
        Ok(())
    }

    /// I3, I6, I13: a state is in one place, and what it can use has room.
    fn check_states(&self) -> Step {
        for state in states_of(&self.threads, &self.guests) {
            let id = state.id();
            let expected = &self.expected[&id];
            if let Residence::Registers(holder) = state.residence() {
                let on = self.cpus.iter().find(|on| on.fpu.id() == holder);
                let claims = RegisterContent::OnlyCopyOf(id);
                if on.is_none_or(|on| on.fpu.registers() != claims) {
                    return Err(format!("I6: {id} is nowhere: {holder} does not have it"));
                }
            }
            let (own, all) = (state.own_xfd().components(), state.xfd().components());
            if (own, all) != (expected.xfd, expected.register_xfd()) {
                return Err(format!("I13: {id} has IA32_XFD {own}, with arming {all}"));
            }
            if state.components().intersection(TILE_DATA) != expected.grown {
                return Err(format!("I23: {id} has room for {}", state.components()));
            }
        }
        Ok(())
    }

    /// What is in memory is what was written: nothing is lost, and nothing else is there.
    fn check_images(&mut self) -> Step {
        let restore = self.offer.instructions().restore();
        for state in states_of(&self.threads, &self.guests) {
            let Ok(area) = state.in_memory() else {
                continue;
            };
            let id = state.id();
            let loaded = restore.execute(&mut self.reader, area.bytes(), self.all);
            loaded.map_err(|fault| format!("{id} in memory: {fault}"))?;
            let found = self.reader.contents(self.all);
            let expected = self.expected.get_mut(&id).expect("a reference");
            if let Some(difference) = expected.difference_in_memory(&found) {
                return Err(format!("I6, I23: {id} in memory has {difference}"));
            }
        }
        Ok(())
    }

    /// I12, I16, I17, and that memory is lent exactly as states use it.
    fn check_areas(&mut self) -> Step {
        let areas = self.areas();
        let in_memory: Vec<_> = states_of(&self.threads, &self.guests)
            .filter(|state| state.in_memory().is_ok())
            .map(Fpstate::id)
            .collect();
        for area in &areas {
            let id = area.id;
            let expected = &self.expected[&id];
            let guests = self.guests.iter().flatten();
            let components = guests
                .filter(|guest| guest.fpu.id() == id)
                .fold(self.offer.default_components(), |all, _| {
                    all.union(self.offer.guest_only())
                })
                .union(expected.grown);
            if area.len < self.compacted_len(components) {
                return Err(format!("I16: the area of {id} has {} bytes", area.len));
            }
            if area.xcomp_bv != components.bits() | 1 << 63 {
                return Err(format!("I17: XCOMP_BV of {id} is {:#x}", area.xcomp_bv));
            }
            let disabled = expected.register_xfd().intersection(area.xstate_bv);
            if in_memory.contains(&id) && !disabled.is_empty() {
                return Err(format!("I12: {id} has {disabled}, which is disabled"));
            }
        }
        let reachable = areas.iter().map(|area| area.address).collect();
        self.lender.check(reachable)
    }

    /// As SDM 1, 13.4.3 has it.
    fn compacted_len(&self, components: ComponentSet) -> usize {
        let extended = components.difference(ComponentSet::LEGACY);
        extended.iter().fold(576, |end: usize, component| {
            let entry = self.offer.enumeration().entry(component);
            let entry = entry.expect("a sub-leaf");
            let start = if entry.is_aligned_64() {
                end.next_multiple_of(64)
            } else {
                end
            };
            start + usize::try_from(entry.len).expect("a length")
        })
    }

    /// I24: a guest's state is in its place, or in exactly one thread.
    fn check_guests(&self) -> Step {
        for guest in self.guests.iter().flatten() {
            let id = guest.fpu.id();
            let runs = |thread: &&Thread<'e>| thread.fpu.running_guest() == Some(id);
            let running = self.threads.iter().flatten().filter(runs).count();
            if running != usize::from(guest.fpu.fpstate().is_none()) {
                return Err(format!("I24: {running} threads run the guest of {id}"));
            }
            let (found, reference) = (&guest.fpu, &guest.reference);
            let found = (
                found.xcr0().components(),
                found.xss().components(),
                found.xfd_err().components(),
                found.pkru(),
            );
            let expected = (
                reference.xcr0,
                reference.xss,
                reference.xfd_err,
                reference.pkru,
            );
            if found != expected {
                return Err(format!("I44: {id} has {found:?} instead of {expected:?}"));
            }
        }
        for thread in self.threads.iter().flatten() {
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            if (own != active) != thread.guest.is_some() {
                return Err(format!("I24: own {own}, active {active}"));
            }
        }
        Ok(())
    }

    /// I19 to I21: who has grown was granted it, and grants are what they were.
    fn check_permissions(&self) -> Step {
        for process in &self.processes {
            let granted = |grantee| process.permissions.on_demand(grantee);
            let found = [fpstate::Grantee::Threads, fpstate::Grantee::Guests].map(granted);
            if found != [process.threads, process.guests] {
                return Err(format!("I19: {:?}", process.permissions));
            }
        }
        let threads = self.threads.iter().flatten();
        let threads = threads.map(|t| (t.fpu.own().id(), self.processes[t.process].threads));
        let guests = self.guests.iter().flatten();
        let guests = guests.map(|g| (g.fpu.id(), g.reference.features.on_demand()));
        for (id, granted) in threads.chain(guests) {
            let grown = self.expected[&id].grown;
            if !granted.contains_all(grown) {
                return Err(format!("I20: {id} has grown by {grown}, granted {granted}"));
            }
        }
        Ok(())
    }
}
