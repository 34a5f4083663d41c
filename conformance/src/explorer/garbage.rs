//! What is dead is garbage.
//!
//! After each step everything that nobody may rely on is overwritten: registers that are nobody's or only
//! believed to be a copy, the bytes of components that are initial in memory, and of an area that the next save
//! will write. A kernel could use the registers at any moment, and bytes of initial components are whatever was
//! there (SDM 1, 13.6). So no behaviour is lost by it, states that differ in such things alone become one, and who
//! relies on them all the same finds garbage and never by accident what is right.

use fpstate::{AreaStorage, CpuId, RegisterContent, Residence};
use fpstate_arch::{Component, ComponentSet, XsaveHeader};

use super::small_cpu::Machine;
use super::values::{ALL, KERNELS};
use super::world::{Whose, World};

impl World<'_> {
    pub(super) fn overwrite_what_is_dead(&mut self) {
        for cpu in 0..self.cpus.len() {
            if self.is_nobodys(cpu) {
                self.scribble(cpu, KERNELS);
            }
        }
        let everybody: Vec<_> = self.everybody().collect();
        for whose in everybody {
            let dead = self.dead(whose);
            let machine = self.machine;
            if !dead.is_empty() {
                machine.overwrite(self.area_mut(whose), dead);
            }
        }
    }

    fn is_nobodys(&self, cpu: usize) -> bool {
        let Some(fpu) = &self.cpus[cpu].fpu else {
            return false;
        };
        match fpu.registers() {
            RegisterContent::Nobody => true,
            RegisterContent::Kernel | RegisterContent::OnlyCopyOf(_) => false,
            RegisterContent::CopyOf(id) => {
                let valid = Residence::MemoryAndRegisters(fpu.id());
                !self.everybody().any(|whose| {
                    let state = self.state(whose);
                    state.id() == id && state.residence() == valid
                })
            }
        }
    }

    /// The components of an area whose bytes nothing may read before they are written.
    fn dead(&self, whose: Whose) -> ComponentSet {
        let state = self.state(whose);
        let bytes = state.storage().bytes();
        let header = XsaveHeader::from_bytes(bytes[512..].first_chunk().expect("a header"));
        let alive = match state.residence() {
            Residence::Memory => header.xstate_bv.union(state.set_aside()),
            Residence::MemoryAndRegisters(id) => header
                .xstate_bv
                .union(state.set_aside())
                .union(self.unmodified(whose, id)),
            Residence::Registers(id) => self.unmodified(whose, id),
            Residence::Sealed => ALL,
        };
        state.components().difference(alive)
    }

    /// What the next XSAVES on that CPU takes for unmodified and does not write, should it find it enabled. Even
    /// XSTATE_BV does not tell: while IA32_XFD disables a component its bit is 0.
    fn unmodified(&self, whose: Whose, id: CpuId) -> ComponentSet {
        let state = self.state(whose);
        let mut online = self.cpus.iter().filter_map(|cpu| cpu.fpu.as_ref());
        let Some(holder) = online.find(|fpu| fpu.id() == id) else {
            return ComponentSet::EMPTY;
        };
        let tracked = holder.observed().inner.tracked();
        let xcomp_bv = state.components().bits() | 1 << 63;
        let here = (state.storage().address(), xcomp_bv);
        if holder.registers().owner() == Some(state.id()) && tracked.restored_from == Some(here) {
            tracked.in_use.difference(tracked.modified)
        } else {
            ComponentSet::EMPTY
        }
    }

    fn area_mut(&mut self, whose: Whose) -> &mut [u8] {
        match whose {
            Whose::Thread(slot) => self.thread_mut(slot).fpu.areas().0,
            Whose::Guest(slot) => match self.guests[slot].fpu.area() {
                Some(bytes) => bytes,
                None => {
                    let mut threads = self.threads.iter_mut().flatten();
                    let thread = threads.find(|thread| thread.guest == Some(slot));
                    let (_, guest) = thread.expect("its thread").fpu.areas();
                    guest.expect("the guest's area")
                }
            },
        }
    }
}

impl Machine<'_> {
    fn overwrite(&self, area: &mut [u8], dead: ComponentSet) {
        let garbage = self.alphabet.legacy(KERNELS);
        for range in [
            (Component::X87, 0..24),
            (Component::X87, 32..160),
            (Component::Sse, 24..28),
            (Component::Sse, 160..416),
        ] {
            let (component, range) = range;
            if dead.contains(component) {
                area[range.clone()].copy_from_slice(&garbage[range]);
            }
        }
        for component in dead.difference(ComponentSet::LEGACY).iter() {
            let (start, len) = self.place(component).expect("a place");
            area[start..][..len].fill(KERNELS);
        }
    }
}
