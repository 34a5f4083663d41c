//! The VMM sets a guest's registers, image and CPUID; INIT and RESET; growth outside a run.

use fpstate::{GuestStateError, ImportError};
use fpstate_arch::{Component, ComponentSet};

use super::action::Given;
use super::guest_run::xfd_value;
use super::images::{KEPT_ELSEWHERE, image_components};
use super::reference::{Expected, GuestRegisters};
use super::small_cpu::TILE_DATA;
use super::values::INITIAL;
use super::world::{Mode, Step, Whose, World};

const CET: ComponentSet = ComponentSet::only(Component::CetU).with(Component::CetS);

impl World<'_> {
    pub(super) fn xsetbv(&mut self, slot: usize, given: Given) -> Step {
        let guest = &mut self.guests[slot];
        let value = match given {
            Given::Least => ComponentSet::only(Component::X87),
            Given::Most => guest.registers.features.user(),
            Given::Illegal => ComponentSet::only(Component::Sse),
        };
        let written = guest.fpu.write_xcr0(value);
        if written.is_ok() != (given != Given::Illegal) {
            return Err(format!("I39: XCR0 := {value}: {written:?}"));
        }
        if written.is_ok() {
            guest.registers.xcr0 = value;
        }
        Ok(())
    }

    pub(super) fn write_xss(&mut self, slot: usize, given: Given) -> Step {
        let guest = &mut self.guests[slot];
        let value = match given {
            Given::Least => ComponentSet::EMPTY,
            Given::Most => guest.registers.features.supervisor(),
            Given::Illegal => ComponentSet::only(Component::Pt),
        };
        let written = guest.fpu.write_xss(value);
        if written.is_ok() != (given != Given::Illegal) {
            return Err(format!("I40: IA32_XSS := {value}: {written:?}"));
        }
        if written.is_ok() {
            guest.registers.xss = value;
        }
        Ok(())
    }

    pub(super) fn write_xfd_err(&mut self, slot: usize, given: Given) -> Step {
        let guest = &mut self.guests[slot];
        let value = xfd_value(given);
        let legal = guest.registers.features.on_demand().contains_all(value);
        let written = guest.fpu.write_xfd_err(value);
        if written.is_ok() != legal {
            return Err(format!("I40: IA32_XFD_ERR := {value}: {written:?}"));
        }
        if legal {
            guest.registers.xfd_err = value;
        }
        Ok(())
    }

    pub(super) fn guest_clears_xfd_err(&mut self, slot: usize) -> Step {
        self.write_xfd_err(slot, Given::Least)
    }

    pub(super) fn vmm_xfd(&mut self, slot: usize, given: Given) -> Step {
        let guest = &mut self.guests[slot];
        let value = xfd_value(given);
        let legal = guest.registers.features.on_demand().contains_all(value);
        let written = guest.fpu.write_xfd(value);
        if written.is_ok() != legal {
            return Err(format!("I40: IA32_XFD := {value}: {written:?}"));
        }
        if legal {
            guest.expected.xfd = value;
        }
        Ok(())
    }

    pub(super) fn vmm_image(&mut self, slot: usize, given: Given) -> Step {
        let (whose, value) = (Whose::Guest(slot), self.fresh(Whose::Guest(slot)));
        let image = self.machine.image(value, given);
        let image = match (self.machine.parse(&image), given) {
            (Err(_), Given::Illegal) => return Ok(()),
            (Ok(image), Given::Least | Given::Most) => image,
            (other, _) => return Err(format!("I35: an image with {given}: {other:?}")),
        };
        let guest = &mut self.guests[slot];
        let imported = guest.fpu.import(&image, KEPT_ELSEWHERE);
        let has_room = given == Given::Least || !guest.expected.grown.is_empty();
        match imported {
            Ok(()) if has_room => {
                self.imported(whose, value, given);
                Ok(())
            }
            Err(GuestStateError::Import(ImportError::NoRoom { .. })) if !has_room => Ok(()),
            other => Err(format!("I35: an image with {given}: {other:?}")),
        }
    }

    /// An image with `value` replaced the user components; supervisor components stay.
    pub(super) fn imported(&mut self, whose: Whose, value: u8, given: Given) {
        let expected = self.expected_mut(whose);
        expected.wrote(image_components(given), value);
        if given == Given::Least {
            expected.wrote(TILE_DATA, INITIAL);
        }
    }

    /// What the registers enable must stay offered.
    pub(super) fn vmm_offers(&mut self, slot: usize, given: Given) -> Step {
        let features = match given {
            Given::Least => self.machine.without_tiles,
            Given::Most => self.machine.with_tiles,
            // There is no such value: nobody can make one.
            Given::Illegal => return Ok(()),
        };
        let guest = &mut self.guests[slot];
        let GuestRegisters {
            xcr0, xss, xfd_err, ..
        } = guest.registers;
        let enabled = xcr0.union(xss).union(xfd_err).union(guest.expected.xfd);
        let legal = features
            .user()
            .union(features.supervisor())
            .contains_all(enabled);
        let offered = guest.fpu.offer(features);
        if offered.is_ok() != legal {
            return Err(format!(
                "CPUID with {given}, {enabled} enabled: {offered:?}"
            ));
        }
        if legal {
            guest.registers.features = features;
        }
        Ok(())
    }

    pub(super) fn init_running(&mut self, cpu: usize) -> Step {
        let (slot, current) = (self.guest_on(cpu).expect("a guest"), self.current(cpu));
        let on = &mut self.cpus[cpu];
        on.mode = Mode::Kernel;
        let fpu = on.fpu.as_mut().expect("online");
        let thread = self.threads[current].as_mut().expect("a thread");
        let guest = &mut self.guests[slot];
        let answer = thread.fpu.init_guest(&guest.fpu, fpu);
        answer.map_err(|error| format!("I42: INIT: {error}"))?;
        guest.expected.wrote(CET, INITIAL);
        Ok(())
    }

    pub(super) fn init(&mut self, slot: usize) -> Step {
        let guest = &mut self.guests[slot];
        guest.expected.wrote(CET, INITIAL);
        let answer = guest.fpu.init();
        answer.map_err(|error| format!("I42: INIT: {error}"))
    }

    pub(super) fn reset(&mut self, slot: usize) -> Step {
        let guest = &mut self.guests[slot];
        let (grown, features) = (guest.expected.grown, guest.registers.features);
        guest.expected = Expected {
            grown,
            ..Expected::INITIAL
        };
        guest.registers = GuestRegisters::after_reset(features);
        let answer = guest.fpu.reset();
        answer.map_err(|error| format!("I42: RESET: {error}"))?;
        // The VMM gives it the PKRU that tells it from the host.
        guest.fpu.set_pkru(guest.registers.pkru);
        Ok(())
    }

    /// The old one's memory is the next that is lent.
    pub(super) fn renew(&mut self, slot: usize) -> Step {
        let new = self.new_guest(self.scope.guests[slot]);
        let old = std::mem::replace(&mut self.guests[slot], new);
        let storage = old.fpu.into_storage();
        let storage = storage.map_err(|_| "I27: a guest that does not run cannot end")?;
        self.free.push(storage);
        Ok(())
    }

    /// Its `GuestFpu` is gone; the thread goes on, with its own state wherever that was.
    pub(super) fn abandon(&mut self, cpu: usize) -> Step {
        let slot = self.guest_on(cpu).expect("a guest");
        self.cpus[cpu].mode = Mode::Kernel;
        let (fpu, thread) = self.parts(cpu);
        let old = thread.fpu.abandon_guest(fpu);
        let old = old.map_err(|error| format!("I24: the guest is not abandoned: {error}"))?;
        thread.guest = None;
        self.guests[slot].fpu = old;
        self.check_moves()?;
        self.renew(slot)
    }

    pub(super) fn grow_running_guest(&mut self, cpu: usize) -> Step {
        let (slot, current) = (self.guest_on(cpu).expect("a guest"), self.current(cpu));
        let piece = self.lend();
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        let thread = self.threads[current].as_mut().expect("a thread");
        let expansion = self.guests[slot].pending.take().expect("an expansion");
        let grown = thread.fpu.expand(expansion, fpu, piece);
        self.grew(Whose::Guest(slot), grown)
    }

    pub(super) fn grow_guest(&mut self, slot: usize) -> Step {
        let piece = self.lend();
        let guest = &mut self.guests[slot];
        let ahead = guest.fpu.expansion(TILE_DATA);
        let expansion = match guest.pending.take() {
            Some(expansion) => expansion,
            None => ahead.map_err(|error| format!("growth ahead: {error}"))?,
        };
        let grown = guest.fpu.expand(expansion, piece);
        self.grew(Whose::Guest(slot), grown)
    }

    pub(super) fn shrink_guest(&mut self, slot: usize) -> Step {
        let piece = self.lend();
        let released = self.guests[slot].fpu.release(piece);
        self.shrunk(Whose::Guest(slot), released)
    }
}
