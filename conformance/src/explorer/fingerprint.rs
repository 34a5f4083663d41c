//! What two states must have in common to be one.
//!
//! Everything that decides what happens next is written down with names taken away, and hashed:
//!
//! * CPUs are in the order that gives the smallest description, so worlds that differ by which CPU is
//!   which are one. An identity is where it is found, or that it is found nowhere.
//! * A value is initial, the kernel's, what some state should be (which one), or old. No decision
//!   depends on a value, and a new one is never equal to an old one, so old ones are all alike.
//! * Memory is whose it is. Stale bytes count, where a processor could leave them (SDM 1, 13.6).
//! * How often memory or registers changed hands does not count: nobody keeps a decision from one step to
//!   the next.

use fpstate::{CpuId, RegisterContent, Residence, StateId};
use fpstate_arch::{ComponentSet, XsaveHeader};

use super::reference::Certainty;
use super::search::hash;
use super::values::{INITIAL, KERNELS, PARTS, TORN, Values};
use super::world::{Mode, Whose, World};

/// In a description: found nowhere, or nothing.
const NONE: u8 = 0xff;

impl World<'_> {
    pub(super) fn canonical_hash(&self) -> u128 {
        let everybody: Vec<_> = self.everybody().collect();
        let mut least: Option<Vec<u8>> = None;
        for cpus in orders(self.cpus.len()) {
            let names = Names {
                world: self,
                cpus: &cpus,
                states: &everybody,
            };
            let description = names.describe();
            if least.as_ref().is_none_or(|least| description < *least) {
                least = Some(description);
            }
        }
        hash(&least.unwrap_or_default())
    }
}

/// All orders of `many` things.
fn orders(many: usize) -> Vec<Vec<usize>> {
    match many {
        0 | 1 => vec![(0..many).collect()],
        _ => orders(many - 1)
            .into_iter()
            .flat_map(|order| {
                (0..many).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, many - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// One order in which a world is described.
struct Names<'w, 'e> {
    world: &'w World<'e>,
    cpus: &'w [usize],
    states: &'w [Whose],
}

impl Names<'_, '_> {
    fn describe(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        for &whose in self.states {
            self.describe_state(whose, &mut out);
        }
        for &cpu in self.cpus {
            self.describe_cpu(cpu, &mut out);
        }
        self.describe_threads(&mut out);
        out
    }

    fn describe_state(&self, whose: Whose, out: &mut Vec<u8>) {
        let world = self.world;
        let (state, expected) = (world.state(whose), world.expected(whose));
        out.push(match whose {
            Whose::Thread(slot) => index(slot),
        });
        out.extend(self.values(expected.values));
        out.push(u8::from(expected.certainty == Certainty::OrInitial));
        let (kind, cpu) = match state.residence() {
            Residence::Memory => (0, NONE),
            Residence::MemoryAndRegisters(cpu) => (1, self.cpu(cpu)),
            Residence::Registers(cpu) => (2, self.cpu(cpu)),
            Residence::Sealed => (3, NONE),
        };
        let bytes = fpstate::AreaStorage::bytes(state.storage());
        let header = bytes[512..].first_chunk().expect("a header");
        let xstate_bv = XsaveHeader::from_bytes(header).xstate_bv;
        out.extend([kind, cpu, set(xstate_bv), set(state.components())]);
        out.extend([set(state.set_aside()), set(state.own_xfd().components())]);
        out.extend(self.values(world.area(whose)));
    }

    fn describe_cpu(&self, cpu: usize, out: &mut Vec<u8>) {
        let on = &self.world.cpus[cpu];
        let Some(fpu) = &on.fpu else {
            out.push(NONE);
            return;
        };
        let (kind, owner) = match fpu.registers() {
            RegisterContent::Nobody => (0, NONE),
            RegisterContent::CopyOf(id) => (1, self.state(id)),
            RegisterContent::OnlyCopyOf(id) => (2, self.state(id)),
            RegisterContent::Kernel => (3, NONE),
        };
        out.extend([kind, owner, set(fpu.facts().xfd.components())]);
        out.push(on.current.map_or(NONE, index));
        out.push(u8::from(on.mode == Mode::User));
        out.extend(self.values(self.world.registers(cpu)));
        let tracked = fpu.observed().inner.tracked();
        out.push(set(tracked.in_use));
        match tracked.restored_from {
            None => out.push(NONE),
            Some((address, xcomp_bv)) => {
                let mut pieces = self.world.pieces();
                let piece = pieces.position(|piece| piece.address() == address);
                out.push(piece.map_or(NONE, index));
                out.push(set(ComponentSet::from_bits(xcomp_bv)));
                out.push(set(tracked.modified));
            }
        }
    }

    fn describe_threads(&self, out: &mut Vec<u8>) {
        for thread in &self.world.threads {
            let cpu = thread.as_ref().and_then(|thread| thread.on_cpu);
            out.push(u8::from(thread.is_some()));
            out.push(cpu.map_or(NONE, |cpu| self.cpu_number(cpu)));
        }
    }

    /// Where a CPU stands, if it still is the one it was.
    fn cpu(&self, id: CpuId) -> u8 {
        let fpu = |cpu: &usize| self.world.cpus[*cpu].fpu.as_ref();
        let same = |cpu: &usize| fpu(cpu).is_some_and(|fpu| fpu.id() == id);
        self.cpus.iter().position(same).map_or(NONE, index)
    }

    fn cpu_number(&self, number: usize) -> u8 {
        let position = self.cpus.iter().position(|&cpu| cpu == number);
        position.map_or(NONE, index)
    }

    fn state(&self, id: StateId) -> u8 {
        let same = |whose: &Whose| self.world.state(*whose).id() == id;
        self.states.iter().position(same).map_or(NONE, index)
    }

    /// Each value by what it is.
    fn values(&self, values: Values) -> Values {
        let mut codes = [NONE; PARTS.len()];
        for (part, (code, value)) in codes.iter_mut().zip(values).enumerate() {
            let is_expected = |whose: &Whose| self.world.expected(*whose).values[part] == value;
            *code = match value {
                INITIAL => 0,
                KERNELS => 1,
                TORN => 2,
                _ => match self.states.iter().position(is_expected) {
                    Some(state) => 4 + index(state),
                    None => 3,
                },
            };
        }
        codes
    }
}

/// The components of a small CPU as bits of a byte.
fn set(components: ComponentSet) -> u8 {
    (0..)
        .zip(PARTS)
        .filter(|&(_, part)| components.contains(part))
        .fold(0, |bits, (bit, _)| bits | 1 << bit)
}

fn index(index: usize) -> u8 {
    u8::try_from(index).expect("small worlds")
}
