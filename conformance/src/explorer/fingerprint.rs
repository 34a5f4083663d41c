//! What two states must have in common to be one.
//!
//! Everything that decides what happens next is written down with names taken away, and hashed:
//!
//! * CPUs, threads of one role and vCPUs that are offered the same are in the order that gives the smallest
//!   description, so worlds that differ by which is which are one. An identity is where it is found, or that it
//!   is found nowhere.
//! * A value is initial, what some state should be (which one), or garbage: the kernel's, or old. No decision
//!   depends on a value, and a new one is never equal to an old one, so all garbage is alike.
//! * Memory is whose it is.
//! * How often memory or registers changed hands does not count: nobody keeps a decision from one step to
//!   the next. Nor does a guest's count of unused exits, which decides nothing; nor XSTATE_BV of an area that
//!   does not hold its state, which the next save replaces.

use fpstate::{CpuId, Expansion, RegisterContent, Residence, StateId};
use fpstate_arch::{ComponentSet, XsaveHeader};

use super::order::Item;
use super::reference::Certainty;
use super::search::hash;
use super::values::{INITIAL, PARTS, Values};
use super::world::{Mode, Whose, World};

/// In a description: found nowhere, or nothing.
const NONE: u8 = 0xff;

/// One CPU, thread or guest.
type Section = Vec<Item>;

impl World<'_> {
    pub(super) fn canonical_hash(&self) -> u128 {
        let (cpus, many) = (self.cpus.len(), self.threads.len());
        let cpu_sections: Vec<_> = (0..cpus).map(|cpu| self.describe_cpu(cpu)).collect();
        let threads = (0..many).map(|slot| self.describe_thread(slot));
        let guests = (0..self.guests.len()).map(|slot| self.describe_guest(slot));
        let state_sections: Vec<_> = threads.chain(guests).collect();
        let mut least = Vec::new();
        let mut description = Vec::with_capacity(256);
        for order in self.machine.orders() {
            description.clear();
            for &state in order.states() {
                order.write(&state_sections[state], &mut description);
            }
            for &cpu in order.cpus() {
                order.write(&cpu_sections[cpu], &mut description);
            }
            if least.is_empty() || description < least {
                least.clone_from(&description);
            }
        }
        hash(&least)
    }

    fn describe_thread(&self, slot: usize) -> Section {
        let Some(thread) = &self.threads[slot] else {
            return vec![Item::Byte(NONE)];
        };
        let guest = thread.guest.map(|guest| self.threads.len() + guest);
        let mut out = Vec::with_capacity(32);
        out.extend([
            item(thread.on_cpu, Item::Cpu),
            item(guest, Item::State),
            set(thread.granted),
            pending(thread.pending),
        ]);
        self.describe_state(Whose::Thread(slot), &mut out);
        out
    }

    fn describe_guest(&self, slot: usize) -> Section {
        let guest = &self.guests[slot];
        let registers = guest.registers;
        let mut out = Vec::with_capacity(32);
        out.extend([
            set(registers.xcr0),
            set(registers.xss),
            set(registers.xfd_err),
            set(registers.features.user()),
            pending(guest.pending),
        ]);
        self.describe_state(Whose::Guest(slot), &mut out);
        out
    }

    fn describe_state(&self, whose: Whose, out: &mut Section) {
        let (state, expected) = (self.state(whose), self.expected(whose));
        self.describe_values(&expected.values, out);
        out.push(Item::Byte(u8::from(
            expected.certainty == Certainty::OrInitial,
        )));
        let bytes = fpstate::AreaStorage::bytes(state.storage());
        let header = bytes[512..].first_chunk().expect("a header");
        let xstate_bv = XsaveHeader::from_bytes(header).xstate_bv;
        let (kind, cpu, xstate_bv) = match state.residence() {
            Residence::Memory => (0, None, xstate_bv),
            Residence::MemoryAndRegisters(cpu) => (1, self.cpu_of(cpu), xstate_bv),
            Residence::Registers(cpu) => (2, self.cpu_of(cpu), ComponentSet::EMPTY),
            Residence::Sealed => (3, None, xstate_bv),
        };
        out.extend([
            Item::Byte(kind),
            item(cpu, Item::Cpu),
            set(xstate_bv),
            set(state.components()),
            set(state.set_aside()),
            set(state.own_xfd().components()),
        ]);
        self.describe_values(&self.area(whose), out);
    }

    fn describe_cpu(&self, cpu: usize) -> Section {
        let on = &self.cpus[cpu];
        let Some(fpu) = &on.fpu else {
            return vec![Item::Byte(NONE)];
        };
        let (kind, owner) = match fpu.registers() {
            RegisterContent::Nobody => (0, None),
            RegisterContent::CopyOf(id) => (1, self.state_of(id)),
            RegisterContent::OnlyCopyOf(id) => (2, self.state_of(id)),
            RegisterContent::Kernel => (3, None),
        };
        let mut out = Vec::with_capacity(32);
        out.extend([
            Item::Byte(kind),
            item(owner, Item::State),
            set(fpu.facts().xfd.components()),
            item(on.current, Item::State),
            Item::Byte(u8::from(on.mode == Mode::User)),
        ]);
        self.describe_values(&self.registers(cpu), &mut out);
        let tracked = fpu.observed().inner.tracked();
        out.push(set(tracked.in_use));
        // A restore counts while the registers hold what came of it, and its area is still where it was.
        let here = fpu.id();
        let restored = tracked.restored_from.filter(|(address, _)| {
            owner.is_some_and(|number| {
                let state = self.state(self.whose(number));
                let valid = [
                    Residence::Registers(here),
                    Residence::MemoryAndRegisters(here),
                ];
                valid.contains(&state.residence()) && state.storage().address() == *address
            })
        });
        match restored {
            None => out.push(Item::Byte(NONE)),
            Some((_, xcomp_bv)) => {
                out.push(set(ComponentSet::from_bits(xcomp_bv)));
                out.push(set(tracked.modified));
            }
        }
        out
    }

    /// Each value by what it is.
    fn describe_values(&self, values: &Values, out: &mut Section) {
        for (part, &value) in values.iter().enumerate() {
            if value == INITIAL {
                out.push(Item::Byte(NONE));
                continue;
            }
            let mut these = 0;
            for whose in self.everybody() {
                if self.expected(whose).values[part] == value {
                    these |= 1 << self.number(whose);
                }
            }
            out.push(Item::Value(these));
        }
    }

    fn number(&self, whose: Whose) -> usize {
        match whose {
            Whose::Thread(slot) => slot,
            Whose::Guest(slot) => self.threads.len() + slot,
        }
    }

    fn whose(&self, number: usize) -> Whose {
        match number.checked_sub(self.threads.len()) {
            None => Whose::Thread(number),
            Some(slot) => Whose::Guest(slot),
        }
    }

    /// A CPU, if it still is the one it was.
    fn cpu_of(&self, id: CpuId) -> Option<usize> {
        let fpu = |cpu: &usize| self.cpus[*cpu].fpu.as_ref();
        (0..self.cpus.len()).find(|cpu| fpu(cpu).is_some_and(|fpu| fpu.id() == id))
    }

    fn state_of(&self, id: StateId) -> Option<usize> {
        let mut everybody = self.everybody();
        let whose = everybody.find(|whose| self.state(*whose).id() == id);
        whose.map(|whose| self.number(whose))
    }
}

fn item(thing: Option<usize>, kind: fn(usize) -> Item) -> Item {
    thing.map_or(Item::Byte(NONE), kind)
}

fn pending(expansion: Option<Expansion<'_>>) -> Item {
    expansion.map_or(Item::Byte(NONE), |expansion| {
        set(expansion.layout().components())
    })
}

/// The components of a small CPU as bits of a byte.
fn set(components: ComponentSet) -> Item {
    let mut bits = 0;
    for (bit, part) in PARTS.into_iter().enumerate() {
        bits |= u8::from(components.contains(part)) << bit;
    }
    Item::Byte(bits)
}
