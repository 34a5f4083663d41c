//! What must hold after every step.

use std::collections::BTreeSet;

use fpstate::{ControlOwner, Fpstate, RegisterContent, Residence, StateId};
use fpstate_arch::ComponentSet;

use super::areas::states_of;
use super::kind::Registers;
use super::reference::View;
use super::touched::Touched;
use super::{GrowthWorld, Guest, Hardware, Lent, Mode, Step, TILE_DATA, Thread};
use crate::user_code::UserCode;

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// Whether everything is as it should be.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&mut self) -> Result<(), String> {
        let (cpus, threads, guests) = (self.cpus.len(), self.threads.len(), self.guests.len());
        let everything = Touched::everything(cpus, threads, guests);
        self.check_places(&everything)?;
        let reachable = self.areas(&everything).into_iter().map(|area| area.address);
        self.lender.check(reachable.collect())
    }

    /// Whether what the last action had to do with is as it should be.
    ///
    /// # Errors
    /// What is not.
    pub fn check_touched(&mut self) -> Result<(), String> {
        let touched = std::mem::take(&mut self.touched);
        let found = self.check_places(&touched);
        self.touched = touched;
        found
    }

    fn check_places(&mut self, places: &Touched) -> Step {
        self.check_moves_in(places)?;
        for &cpu in &places.cpus {
            self.check_cpu(cpu)?;
        }
        self.check_states(places)?;
        self.check_images(places)?;
        self.check_areas(places)?;
        self.check_guests(places)?;
        self.check_permissions(places)?;
        self.check_lent()
    }

    /// Every thread has one area and every guest another, wherever the guest's is.
    fn check_lent(&self) -> Step {
        let threads = self.threads.iter().flatten().count();
        let guests = self.guests.iter().flatten().count();
        let lent = self.lender.lent();
        if lent == threads + guests {
            return Ok(());
        }
        let in_use = threads + guests;
        Err(format!(
            "memory: {lent} areas lent, {in_use} in use; one is lost"
        ))
    }

    /// I11: each save and restore since the last call was done with the IA32_XFD of its state. An area
    /// that nothing has any more was its state's until the end.
    pub(super) fn check_moves(&mut self) -> Step {
        let touched = std::mem::take(&mut self.touched);
        let found = self.check_moves_in(&touched);
        self.touched = touched;
        found
    }

    fn check_moves_in(&mut self, places: &Touched) -> Step {
        let moved: Vec<_> = places
            .cpus
            .iter()
            .flat_map(|&cpu| self.cpus[cpu].fpu.processor().take_moved())
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        let areas = self.areas(places);
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
            let held = current.and_then(|thread| thread.fpu.only_in_registers());
            if held.is_none_or(|state| state.id() != id) {
                return Err(format!("I9: CPU {cpu} has {id}, which is not current"));
            }
        }
        if let RegisterContent::CopyOf(id) = registers {
            let here = Residence::MemoryAndRegisters(self.cpus[cpu].fpu.id());
            if self.is_at(id, here) {
                self.check_registers(cpu, id)
                    .map_err(|what| format!("I2: the copy of {id} on CPU {cpu}: {what}"))?;
            }
        }
        self.check_control(cpu)
    }

    /// Whether a state says of itself that it is there.
    fn is_at(&self, id: StateId, place: Residence) -> bool {
        let is_it = |state: &Fpstate<'e, Lent>| state.id() == id && state.residence() == place;
        let of_thread = |thread: &Thread<'e>| is_it(thread.fpu.active()) || is_it(thread.fpu.own());
        let of_guest = |guest: &Guest<'e>| guest.fpu.fpstate().is_some_and(is_it);
        self.threads.iter().flatten().any(of_thread) || self.guests.iter().flatten().any(of_guest)
    }

    /// Whenever the host runs: I10, I14, I29, I30.
    fn check_control(&mut self, cpu: usize) -> Step {
        let host = self.offer.control_registers();
        let on = &mut self.cpus[cpu];
        let facts = on.fpu.facts();
        let expected = Registers {
            xcr0: host.xcr0.components(),
            xss: host.xss.components(),
            xfd: facts.xfd.components(),
            xfd_err: ComponentSet::EMPTY,
            pkru: on.pkru,
        };
        let found = self.kind.read(on.fpu.processor(), expected);
        let found = found.map_err(|fault| format!("I30: CPU {cpu}: {fault}"))?;
        if found.xfd != expected.xfd {
            return Err(format!("I10: IA32_XFD of CPU {cpu} is not {:?}", facts.xfd));
        }
        if found.xfd_err != expected.xfd_err {
            return Err(format!("I14: IA32_XFD_ERR of CPU {cpu} is not 0"));
        }
        if found != expected || facts.control != ControlOwner::Host {
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
    fn check_states(&self, places: &Touched) -> Step {
        for state in states_of(&self.threads, &self.guests, places) {
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
    fn check_images(&mut self, places: &Touched) -> Step {
        let restore = self.offer.instructions().restore();
        for state in states_of(&self.threads, &self.guests, places) {
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

    /// I12, I16, I17.
    fn check_areas(&mut self, places: &Touched) -> Step {
        let areas = self.areas(places);
        let in_memory: BTreeSet<_> = states_of(&self.threads, &self.guests, places)
            .filter(|state| state.in_memory().is_ok())
            .map(Fpstate::id)
            .collect();
        for area in &areas {
            let id = area.id;
            let expected = &self.expected[&id];
            let components = area.not_grown.union(expected.grown);
            if area.len < self.kind.area_len(self.offer.enumeration(), components) {
                return Err(format!("I16: the area of {id} has {} bytes", area.len));
            }
            let Some(header) = area.header else {
                continue;
            };
            if header.xcomp_bv != self.kind.xcomp_bv(components) {
                return Err(format!("I17: XCOMP_BV of {id} is {:#x}", header.xcomp_bv));
            }
            let disabled = expected.register_xfd().intersection(header.xstate_bv);
            if in_memory.contains(&id) && !disabled.is_empty() {
                return Err(format!("I12: {id} has {disabled}, which is disabled"));
            }
        }
        Ok(())
    }

    /// I24: a guest's state is in its place, or in exactly one thread.
    fn check_guests(&self, places: &Touched) -> Step {
        for guest in places
            .guests
            .iter()
            .filter_map(|&g| self.guests[g].as_ref())
        {
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
        for thread in places
            .threads
            .iter()
            .filter_map(|&t| self.threads[t].as_ref())
        {
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            if (own != active) != thread.guest.is_some() {
                return Err(format!("I24: own {own}, active {active}"));
            }
        }
        Ok(())
    }

    /// I19 to I21: who has grown was granted it, and grants are what they were.
    fn check_permissions(&self, places: &Touched) -> Step {
        let threads = places.threads.iter();
        let threads = threads.filter_map(|&t| self.threads[t].as_ref());
        let guests = places.guests.iter();
        let guests = guests.filter_map(|&g| self.guests[g].as_ref());
        let processes = threads.clone().map(|thread| thread.process);
        for number in processes.chain(guests.clone().map(|guest| guest.process)) {
            let process = &self.processes[number];
            let granted = |grantee| process.permissions.on_demand(grantee);
            let found = [fpstate::Grantee::Threads, fpstate::Grantee::Guests].map(granted);
            if found != [process.threads, process.guests] {
                return Err(format!("I19: {:?}", process.permissions));
            }
        }
        let threads = threads.map(|t| (t.fpu.own().id(), self.processes[t.process].threads));
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
