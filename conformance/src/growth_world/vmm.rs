//! The VMM writes a guest's registers and image, in any order.

use fpstate::{GuestStateError, ImportError, Layout, ResizeError, StandardImage};
use fpstate_arch::{Component, ComponentSet, Pkru};

use super::guest_run::AFFECTED_BY_INIT;
use super::program::some_values;
use super::reference::GuestReference;
use super::{GrowthEvent, GrowthWorld, Hardware, Step, TILE_DATA};
use crate::images::standard_image;
use crate::memory::Memory;

/// PKRU is switched on its own.
const KEPT_ELSEWHERE: ComponentSet = ComponentSet::only(Component::Pkru);
const MXCSR_MASK: u32 = 0xffff;

impl<P: Hardware> GrowthWorld<'_, P> {
    /// A random guest is written to; what is with the state is refused while a thread runs it.
    pub(super) fn vmm(&mut self) -> Step {
        let some = |world: &Self, slot: usize| world.guests[slot].is_some();
        let Some(slot) = self.any_guest(some) else {
            return Ok(());
        };
        match self.random.u8(0..12) {
            0..4 if self.kind.has_xsave() => self.import(slot),
            4..7 => self.write_xfd(slot),
            7 => self.init_or_reset(slot),
            _ => self.write_some_register(slot),
        }
    }

    /// A register that is not with the state: by the VMM, or by the guest with an exit.
    pub(super) fn write_some_register(&mut self, slot: usize) -> Step {
        let guest = self.guests[slot].as_ref().expect("a guest");
        let features = guest.reference.features;
        let value = self.some_components(features.user().union(features.supervisor()));
        let (xfd, pkru) = (self.some_xfd(), Pkru::from_bits(self.random.u32(..)));
        let guest = self.guests[slot].as_mut().expect("a guest");
        let reference = &mut guest.reference;
        let (what, legal, written) = match self.random.u8(0..8) {
            0..3 => {
                let value = value.difference(self.offer.enumeration().supervisor_components());
                let legal = reference.takes_xcr0(value);
                if legal {
                    reference.xcr0 = value;
                }
                ("XCR0", legal, guest.fpu.write_xcr0(value))
            }
            3 => ("XCR1", false, guest.fpu.xsetbv(1, 1)),
            4 => {
                let value = value.intersection(self.offer.guest_supervisor());
                let legal = features.supervisor().contains_all(value);
                if legal {
                    reference.xss = value;
                }
                ("IA32_XSS", legal, guest.fpu.write_xss(value))
            }
            5 | 6 => {
                let legal = features.on_demand().contains_all(xfd);
                if legal {
                    reference.xfd_err = xfd;
                }
                ("IA32_XFD_ERR", legal, guest.fpu.write_xfd_err(xfd))
            }
            _ => {
                reference.pkru = pkru;
                guest.fpu.set_pkru(pkru);
                ("PKRU", true, Ok(()))
            }
        };
        self.tell(format_args!("guest {slot}: {what} := {value}: {written:?}"));
        if written.is_ok() != legal {
            return Err(format!("I39, I40: {what} of guest {slot}: {written:?}"));
        }
        if !legal {
            self.count(GrowthEvent::ValueRefused);
        }
        Ok(())
    }

    /// What an operating system does that boots.
    pub(super) fn enable_everything(&mut self, slot: usize) -> Step {
        let guest = self.guests[slot].as_mut().expect("a guest");
        let everything = guest.reference.features.user();
        let written = guest.fpu.xsetbv(0, everything.bits());
        guest.reference.xcr0 = everything;
        written.map_err(|error| format!("I39: XCR0 := {everything}: {error}"))
    }

    /// A value for XCR0 or IA32_XSS, legal or not: mostly all that is `offered`.
    fn some_components(&mut self, offered: ComponentSet) -> ComponentSet {
        let everything = self.all.with(Component::Pkru);
        match self.random.u8(0..10) {
            0 => ComponentSet::from_bits(self.random.u64(..)).intersection(everything),
            1 => ComponentSet::LEGACY.with(Component::Avx),
            2 => ComponentSet::only(Component::X87),
            3 => everything,
            _ => offered,
        }
    }

    /// IA32_XFD, which is with the state.
    pub(super) fn write_xfd(&mut self, slot: usize) -> Step {
        self.check_moves()?;
        let value = match self.random.u8(0..2) {
            0 => TILE_DATA,
            _ => self.some_xfd(),
        };
        let guest = self.guests[slot].as_mut().expect("a guest");
        let (id, runs) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        let legal = guest.reference.features.on_demand().contains_all(value) && !runs;
        let written = guest.fpu.write_xfd(value);
        self.tell(format_args!("guest {slot}: XFD := {value}: {written:?}"));
        if written.is_ok() != legal {
            return Err(format!("I40: IA32_XFD of {id} := {value}: {written:?}"));
        }
        if !legal {
            self.count(GrowthEvent::ValueRefused);
            return Ok(());
        }
        let expected = self.expected(id);
        expected.xfd = value;
        let live = expected.values.not_initial().intersects(value);
        if live {
            self.count(GrowthEvent::TileDataSetAside);
        }
        Ok(())
    }

    fn init_or_reset(&mut self, slot: usize) -> Step {
        self.check_moves()?;
        let resets = self.random.bool();
        let guest = self.guests[slot].as_mut().expect("a guest");
        let (id, runs) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        let done = if resets {
            guest.fpu.reset()
        } else {
            guest.fpu.init()
        };
        if done.is_ok() == runs {
            return Err(format!("INIT or RESET of {id}: {done:?}"));
        }
        if runs {
            return Ok(());
        }
        self.tell(format_args!("guest {slot}: INIT, or RESET: {resets}"));
        if !resets {
            self.expected(id).initialised(AFFECTED_BY_INIT);
            return Ok(());
        }
        let reference = &mut self.guests[slot].as_mut().expect("a guest").reference;
        *reference = GuestReference {
            unused_exits: reference.unused_exits,
            ..GuestReference::after_reset(reference.features)
        };
        let all = self.all;
        let initial = self.initial.clone();
        let expected = self.expected(id);
        expected.initialised(all);
        expected.values = initial;
        expected.xfd = ComponentSet::EMPTY;
        self.count(GrowthEvent::Reset);
        Ok(())
    }

    /// `KVM_SET_XSAVE`; a state without the room grows first.
    fn import(&mut self, slot: usize) -> Step {
        let user = self.offer.user_components().intersection(self.all);
        let guest = self.guests[slot].as_ref().expect("a guest");
        let offered = guest.reference.features.user();
        let on_demand = guest.reference.features.on_demand();
        let (id, runs) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        let written = match self.random.u8(0..3) {
            0 => user.difference(TILE_DATA),
            _ => user.intersection(offered),
        };
        let pointers = self.kind.error_pointers;
        let values = some_values(written, &self.initial, pointers, &mut self.random);
        let announced = ComponentSet::from_bits(self.random.u64(..)).intersection(written);
        let xstate_bv = values.not_initial().union(announced);
        let image = standard_image(self.offer.enumeration(), &values, xstate_bv);
        let needs_room = xstate_bv.difference(self.expected[&id].grown);
        let needs_room = needs_room.intersects(TILE_DATA);
        let mut answer = self.import_image(slot, &image);
        self.tell(format_args!(
            "guest {slot}: image of {xstate_bv}: {answer:?}"
        ));
        if let (Err(GuestStateError::Running { .. }), true) = (answer, runs) {
            return Ok(());
        }
        if needs_room {
            let no_room = GuestStateError::Import(ImportError::NoRoom {
                found: xstate_bv,
                room: self.offer.guest_layout().components(),
            });
            if answer != Err(no_room) {
                return Err(format!("image of {xstate_bv} without room: {answer:?}"));
            }
            if !self.grow_for_image(slot, on_demand)? {
                return Ok(());
            }
            answer = self.import_image(slot, &image);
        }
        answer.map_err(|error| format!("image of {xstate_bv}: {error}"))?;
        if xstate_bv.intersects(TILE_DATA) {
            self.count(GrowthEvent::TileDataImported);
        }
        // No image has a supervisor component: those stay (invariant I35).
        self.expected(id).wrote(user, &values);
        Ok(())
    }

    fn import_image(&mut self, slot: usize, image: &Memory) -> Result<(), GuestStateError> {
        let enumeration = self.offer.enumeration();
        let layout = Layout::standard(enumeration, enumeration.user_components());
        let layout = layout.expect("a layout");
        let image = StandardImage::parse(image.bytes(), layout, MXCSR_MASK);
        let guest = self.guests[slot].as_mut().expect("a guest");
        guest.fpu.import(&image.expect("an image"), KEPT_ELSEWHERE)
    }

    /// Whether it has room then.
    fn grow_for_image(&mut self, slot: usize, offered: ComponentSet) -> Result<bool, String> {
        let guest = self.guests[slot].as_ref().expect("a guest");
        let expansion = match guest.fpu.expansion(TILE_DATA) {
            Ok(expansion) if !offered.is_empty() => expansion,
            Err(ResizeError::NotOffered { .. }) if offered.is_empty() => return Ok(false),
            other => return Err(format!("offered {offered}: {other:?}")),
        };
        let Some(memory) = self.memory_for_growth(&expansion) else {
            return Ok(false);
        };
        let guest = self.guests[slot].as_mut().expect("a guest");
        let grown = guest.fpu.expand(expansion, memory);
        self.grew(&expansion, grown, GrowthEvent::IdleGuestGrew)?;
        let grown = self.expected[&expansion.state()].grown;
        Ok(!grown.is_empty())
    }
}
