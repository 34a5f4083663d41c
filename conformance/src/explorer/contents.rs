//! What registers and areas of a world hold, and what is written to them.

use fpstate_arch::ComponentSet;

use super::values::{ALL, INITIAL, PARTS, TORN, Values, value};
use super::world::{Step, Whose, World};

impl World<'_> {
    /// What the registers of `cpu` hold; nothing while it is offline.
    pub(super) fn registers(&self, cpu: usize) -> Values {
        let fpu = self.cpus[cpu].fpu.as_ref();
        fpu.map_or([INITIAL; PARTS.len()], |fpu| {
            let registers = fpu.observed().inner.registers();
            self.machine.alphabet.in_registers(registers)
        })
    }

    /// What the area of `whose` holds, live or stale.
    pub(super) fn area(&self, whose: Whose) -> Values {
        let state = self.state(whose);
        let area = fpstate::AreaStorage::bytes(state.storage());
        self.machine.alphabet.in_area(area, |component| {
            let place = self.machine.place(component)?;
            state.components().contains(component).then_some(place)
        })
    }

    /// A value that nothing holds: no copy of a value of `whose`, however old, can be taken for the one
    /// that it writes now.
    pub(super) fn fresh(&self, whose: Whose) -> u8 {
        let owner = match whose {
            Whose::Thread(slot) => slot + 1,
            Whose::Guest(slot) => self.threads.len() + slot + 1,
        };
        let owner = u8::try_from(owner).expect("few states");
        let mut letters = 0_u16;
        let mut see = |values: Values| {
            for held in values {
                if held >> 4 == owner && held != TORN {
                    letters |= 1 << (held & 0xf);
                }
            }
        };
        (0..self.cpus.len()).for_each(|cpu| see(self.registers(cpu)));
        for other in self.everybody() {
            see(self.area(other));
            see(self.expected(other).values);
        }
        let letter = (1..15).find(|letter| letters & 1 << letter == 0);
        value(owner, letter.expect("more letters than copies"))
    }

    /// The owner of `whose`, whose state is in the registers of `cpu`, writes `components`.
    pub(super) fn write_as(&mut self, cpu: usize, whose: Whose, components: ComponentSet) -> Step {
        let (value, machine) = (self.fresh(whose), self.machine);
        let model = &mut self.fpu(cpu).processor().inner;
        machine.alphabet.write(model, components, value);
        self.expected_mut(whose).wrote(components, value);
        Ok(())
    }

    /// Writes every register of a processor.
    pub(super) fn scribble(&mut self, cpu: usize, value: u8) {
        let machine = self.machine;
        let model = &mut self.fpu(cpu).processor().inner;
        machine.alphabet.write(model, ALL, value);
    }
}
