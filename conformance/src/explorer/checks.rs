//! What must hold after every step.

use fpstate::{ControlOwner, RegisterContent, Residence};
use fpstate_arch::{Processor, XfdErr, XsaveHeader};

use super::piece::Piece;
use super::reference::{GuestRegisters, View};
use super::small_cpu::{HOST_PKRU, OF_GUESTS, OF_THREADS};
use super::values::{INITIAL, PARTS};
use super::world::{Mode, Step, Thread, Whose, World};

impl World<'_> {
    pub(super) fn check(&mut self) -> Step {
        self.check_moves()?;
        for cpu in 0..self.cpus.len() {
            if self.cpus[cpu].fpu.is_some() {
                self.check_cpu(cpu)?;
            }
        }
        let everybody: Vec<_> = self.everybody().collect();
        for whose in everybody {
            self.check_residence(whose)?;
            self.check_area(whose)?;
        }
        self.check_guests()?;
        self.check_memory()
    }

    /// I11: each save and restore since the last call was done with the IA32_XFD of its state.
    pub(super) fn check_moves(&mut self) -> Step {
        for cpu in 0..self.cpus.len() {
            let Some(fpu) = &mut self.cpus[cpu].fpu else {
                continue;
            };
            for moved in fpu.processor().take_moved() {
                let area = |whose: &Whose| self.state(*whose).storage().address() == moved.address;
                let Some(whose) = self.everybody().find(area) else {
                    continue;
                };
                if self.state(whose).residence() == Residence::Sealed {
                    return Err(format!("I28: {whose:?} is saved or restored"));
                }
                let expected = self.expected(whose).register_xfd();
                if moved.xfd != expected {
                    return Err(format!(
                        "I11: {whose:?} moved with IA32_XFD {}, not {expected}",
                        moved.xfd
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_cpu(&mut self, cpu: usize) -> Step {
        self.check_visible(cpu)?;
        let registers = self.cpus[cpu].fpu.as_ref().expect("online").registers();
        match registers {
            RegisterContent::OnlyCopyOf(id) => {
                let current = self.cpus[cpu].current.map(|slot| self.thread(slot));
                let held = current.and_then(|thread| thread.fpu.only_in_registers());
                if held.is_none_or(|state| state.id() != id) {
                    return Err(format!("I9: CPU {cpu} has {id}, which is not current"));
                }
            }
            RegisterContent::CopyOf(id) => {
                let here = self.cpus[cpu].fpu.as_ref().expect("online").id();
                let agreed = |whose: &Whose| {
                    let state = self.state(*whose);
                    state.id() == id && state.residence() == Residence::MemoryAndRegisters(here)
                };
                let whose = self.everybody().find(agreed);
                if let Some(whose) = whose {
                    self.check_registers(cpu, whose, "I2: the copy")?;
                }
            }
            RegisterContent::Nobody => {}
            RegisterContent::Kernel => {
                return Err(format!("I46: CPU {cpu} is still in a kernel section"));
            }
        }
        self.check_control(cpu)
    }

    /// The code that runs on `cpu` sees its own values and nobody else's, in every register.
    fn check_visible(&mut self, cpu: usize) -> Step {
        let (Mode::User, Some(thread)) = (self.cpus[cpu].mode, self.cpus[cpu].current) else {
            return Ok(());
        };
        let whose = self.active_on(cpu);
        let state = self.thread(thread).fpu.active();
        let on = self.cpus[cpu].fpu.as_ref().expect("online");
        if state.residence() == Residence::Sealed && on.registers() == RegisterContent::Nobody {
            return Ok(());
        }
        if on.registers() != RegisterContent::OnlyCopyOf(state.id())
            || state.residence() != Residence::Registers(on.id())
        {
            let (residence, owner) = (state.residence(), on.registers());
            return Err(format!(
                "I1: {whose:?} runs in {residence:?}, CPU: {owner:?}"
            ));
        }
        self.check_registers(cpu, whose, "I1, I7: what it sees")
    }

    fn check_registers(&mut self, cpu: usize, whose: Whose, what: &str) -> Step {
        let found = self.registers(cpu);
        let expected = self.expected_mut(whose);
        if expected.agrees(&found, View::Registers) {
            return Ok(());
        }
        let expected = expected.values;
        Err(format!(
            "{what} of {whose:?} on CPU {cpu}: {found:02x?} instead of {expected:02x?}"
        ))
    }

    /// Whenever the host runs: I10, I14, I29, I30, I31.
    fn check_control(&mut self, cpu: usize) -> Step {
        let host = self.machine.offer.control_registers();
        let fpu = self.fpu(cpu);
        let facts = fpu.facts();
        let processor = fpu.processor();
        let found = processor.read_xfd();
        if found != Ok(facts.xfd.components()) {
            return Err(format!(
                "I10: IA32_XFD of CPU {cpu} is {found:?}, not {:?}",
                facts.xfd
            ));
        }
        if processor.read_xfd_err() != Ok(XfdErr::NOTHING) {
            return Err(format!("I14: IA32_XFD_ERR of CPU {cpu} is not 0"));
        }
        let found = (processor.xgetbv(), processor.read_xss(), processor.rdpkru());
        let (xcr0, xss) = (host.xcr0.components(), host.xss.components());
        if found != (Ok(xcr0), Ok(xss), Ok(HOST_PKRU)) || facts.control != ControlOwner::Host {
            return Err(format!("I29, I30, I31: CPU {cpu} has {found:?}"));
        }
        if let RegisterContent::OnlyCopyOf(id) = facts.registers {
            let whose = self.everybody().find(|whose| self.state(*whose).id() == id);
            let expected = whose.map(|whose| self.expected(whose).register_xfd());
            if expected != Some(facts.xfd.components()) {
                return Err(format!("I11: {whose:?} runs with IA32_XFD {:?}", facts.xfd));
            }
        }
        Ok(())
    }

    /// I3, I6, I13, I23: a state is in one place, and what it can use has room.
    fn check_residence(&self, whose: Whose) -> Step {
        let (state, expected) = (self.state(whose), self.expected(whose));
        let online = || self.cpus.iter().filter_map(|cpu| cpu.fpu.as_ref());
        if let Residence::Registers(holder) = state.residence() {
            let claims = RegisterContent::OnlyCopyOf(state.id());
            let has_it = |on: &&_| fpstate::CpuFpu::registers(on) == claims && on.id() == holder;
            if online().filter(has_it).count() != 1 {
                return Err(format!(
                    "I6: {whose:?} is nowhere: {holder} does not have it"
                ));
            }
        }
        let copies = online().filter(|on| {
            on.registers().owner() == Some(state.id())
                && (state.residence() == Residence::Registers(on.id())
                    || state.residence() == Residence::MemoryAndRegisters(on.id()))
        });
        if copies.count() > 1 {
            return Err(format!("I3: {whose:?} is in the registers of two CPUs"));
        }
        let (own, all) = (state.own_xfd().components(), state.xfd().components());
        if (own, all) != (expected.xfd, expected.register_xfd()) {
            return Err(format!(
                "I13: {whose:?} has IA32_XFD {own}, with arming {all}"
            ));
        }
        let default = match whose {
            Whose::Thread(_) => OF_THREADS,
            Whose::Guest(_) => OF_GUESTS,
        };
        if state.components() != default.union(expected.grown) {
            return Err(format!(
                "I23: {whose:?} has room for {}",
                state.components()
            ));
        }
        Ok(())
    }

    /// I12, I17, and that memory has what was written: nothing is lost, and nothing else is there.
    fn check_area(&mut self, whose: Whose) -> Step {
        let state = self.state(whose);
        let bytes = fpstate::AreaStorage::bytes(state.storage());
        let header = bytes[512..].first_chunk().expect("a header");
        let header = XsaveHeader::from_bytes(header);
        if header.xcomp_bv != state.components().bits() | 1 << 63 {
            return Err(format!(
                "I17: XCOMP_BV of {whose:?} is {:#x}",
                header.xcomp_bv
            ));
        }
        if state.in_memory().is_err() {
            return Ok(());
        }
        let disabled = self.expected(whose).register_xfd();
        if header.xstate_bv.intersects(disabled) {
            return Err(format!(
                "I12: XSTATE_BV of {whose:?} is {}",
                header.xstate_bv
            ));
        }
        let mut found = self.area(whose);
        for (part, held) in PARTS.into_iter().zip(&mut found) {
            if !header.xstate_bv.contains(part) {
                *held = INITIAL;
            }
        }
        let expected = self.expected_mut(whose);
        if expected.agrees(&found, View::Memory) {
            return Ok(());
        }
        let expected = expected.values;
        Err(format!(
            "I6, I23: {whose:?} in memory has {found:02x?} instead of {expected:02x?}"
        ))
    }

    /// I20, I24, I44: a guest's state is in its place, or in exactly one thread, and its registers are what
    /// was written to them; who has grown was granted it.
    fn check_guests(&self) -> Step {
        for (slot, guest) in self.guests.iter().enumerate() {
            let id = guest.fpu.id();
            let runs = |thread: &&Thread<'_>| thread.fpu.running_guest() == Some(id);
            let running = self.threads.iter().flatten().filter(runs).count();
            if running != usize::from(guest.fpu.fpstate().is_none()) {
                return Err(format!("I24: {running} threads run guest {slot}"));
            }
            let found = GuestRegisters {
                features: guest.fpu.features(),
                xcr0: guest.fpu.xcr0().components(),
                xss: guest.fpu.xss().components(),
                xfd_err: guest.fpu.xfd_err().components(),
                pkru: guest.fpu.pkru(),
            };
            if found != guest.registers {
                let expected = guest.registers;
                return Err(format!("I44: guest {slot} has {found:?}, not {expected:?}"));
            }
        }
        for (slot, thread) in self.threads.iter().enumerate() {
            let Some(thread) = thread else {
                continue;
            };
            let (own, active) = (thread.fpu.own().id(), thread.fpu.active().id());
            if (own != active) != thread.guest.is_some() {
                return Err(format!(
                    "I24: thread {slot} has {own}, and {active} is active"
                ));
            }
            if !thread.granted.contains_all(thread.expected.grown) {
                return Err(format!("I20: thread {slot} has grown without permission"));
            }
        }
        Ok(())
    }

    /// Every piece of memory is in one place.
    fn check_memory(&self) -> Step {
        let mut numbers: Vec<_> = self.pieces().map(Piece::number).collect();
        numbers.sort_unstable();
        let lost = (0..).zip(&numbers).any(|(number, found)| number != *found);
        if lost || numbers.len() != self.scope.pieces() {
            return Err(format!("memory: there is {numbers:?}"));
        }
        Ok(())
    }
}
