//! Target `guest_registers`: a guest and its VMM write registers and images in any order.

use fpstate::{Grantee, GuestFeatures, GuestRegisterError, Offer, Permissions, SignalStacks};
use fpstate_arch::{Component, ComponentSet, Pkru, Xfd};

use super::areas::assert_loads;
use super::cpu::Cpu;
use super::guest_reference::{Offered, Reference};
use super::input::Input;
use crate::contents::Contents;
use crate::host::Host;
use crate::vcpu::Vcpu;

const MOST_STEPS: usize = 64;

/// Registers, state and reference agree after every step.
pub(super) fn guest_registers(data: &[u8]) {
    let mut input = Input::new(data);
    let cpu = Cpu::chosen_with_xsave(&mut input);
    let Some(mut guest) = Guest::chosen(cpu, &mut input) else {
        return;
    };
    for _ in 0..MOST_STEPS {
        guest.check();
        if input.is_empty() {
            return;
        }
        guest.step(&mut input);
    }
}

/// A guest, and what it should be.
pub(super) struct Guest<'e> {
    pub(super) kind: &'e Cpu,
    pub(super) features: GuestFeatures,
    pub(super) vcpu: Vcpu<'e>,
    pub(super) reference: Reference,
}

impl<'e> Guest<'e> {
    /// A guest that is offered what the input says, if it can be.
    fn chosen(kind: &'e Cpu, input: &mut Input<'_>) -> Option<Self> {
        let offer = Offer::for_ring0(&kind.enumeration);
        let mut permissions = Permissions::new(&offer);
        let asked = input.byte() & 1 == 0;
        if asked {
            for component in offer.on_demand().iter() {
                let number = component.number().into();
                let none = SignalStacks::none();
                let answer = permissions.request(&offer, Grantee::Guests, number, none);
                answer.expect("what needs permission");
            }
        }
        let user = kind.user_room(input);
        let supervisor = ComponentSet::from_bits(u64::from(input.byte()) << 11);
        let permit = permissions.freeze_guests();
        let features = GuestFeatures::new(&offer, permit, user, supervisor);
        let on_demand = user.intersection(offer.on_demand());
        let can_be = offer.user_components().contains_all(user)
            && offer.guest_supervisor().contains_all(supervisor)
            && (asked || on_demand.is_empty());
        assert_eq!(features.is_ok(), can_be, "{features:?}");
        let features = features.ok()?;
        let all = offer.default_components().union(offer.on_demand());
        let initial = Contents::initial(&kind.enumeration, all.union(offer.guest_only()));
        let offered = Offered {
            user,
            supervisor,
            on_demand,
        };
        Some(Self {
            kind,
            features,
            vcpu: Vcpu::new(Host::new(&kind.kind, &kind.enumeration), features),
            reference: Reference::after_reset(offered, initial),
        })
    }

    pub(super) fn runs(&self) -> bool {
        self.vcpu.thread.running_guest().is_some()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 | 1 => self.write_xcr0(input),
            2 => self.write_xss(input),
            3 | 4 => self.vmm_writes_xfd(input),
            5 => self.write_xfd_err(input),
            6 => {
                let pkru = Pkru::from_bits(input.dword());
                self.vcpu.guest.set_pkru(pkru);
                self.reference.pkru = pkru;
            }
            7 | 8 => self.import(input),
            9 => self.init_or_reset(input),
            10 => self.enter(),
            11 => self.leave(),
            12 => self.uses_tiles(input),
            13 => self.writes_a_register(input),
            14 => self.guest_writes_xfd(input),
            _ => self.migrate(input),
        }
    }

    fn write_xcr0(&mut self, input: &mut Input<'_>) {
        let value = match input.byte() % 4 {
            0 => self.reference.offered.user,
            1 => self.kind.user_room(input),
            2 => self.reference.offered.user.difference(any(input)),
            _ => ComponentSet::from_bits(input.qword()),
        };
        let index = u32::from(input.byte() == 0xff);
        let takes = index == 0 && self.reference.write_xcr0(value);
        let written = self.vcpu.guest.xsetbv(index, value.bits());
        assert_eq!(
            written.is_ok(),
            takes,
            "I39: XCR{index} := {value}: {written:?}"
        );
    }

    fn write_xss(&mut self, input: &mut Input<'_>) {
        let value = ComponentSet::from_bits(u64::from(input.word()) << 8);
        let value = if input.byte() & 1 == 0 {
            value.intersection(self.reference.offered.supervisor)
        } else {
            value
        };
        let written = self.vcpu.guest.write_xss(value);
        let takes = self.reference.write_xss(value);
        assert_eq!(
            written.is_ok(),
            takes,
            "I40: IA32_XSS := {value}: {written:?}"
        );
    }

    fn vmm_writes_xfd(&mut self, input: &mut Input<'_>) {
        let value = some_xfd(input);
        let written = self.vcpu.guest.write_xfd(value);
        if self.runs() && self.reference.offered.on_demand.contains_all(value) {
            assert!(matches!(written, Err(GuestRegisterError::Running { .. })));
            return;
        }
        let takes = self.reference.write_xfd(value);
        assert_eq!(
            written.is_ok(),
            takes,
            "I40: IA32_XFD := {value}: {written:?}"
        );
    }

    fn write_xfd_err(&mut self, input: &mut Input<'_>) {
        let value = some_xfd(input);
        let written = self.vcpu.guest.write_xfd_err(value);
        let takes = self.reference.write_xfd_err(value);
        assert_eq!(
            written.is_ok(),
            takes,
            "I40: IA32_XFD_ERR := {value}: {written:?}"
        );
    }

    fn init_or_reset(&mut self, input: &mut Input<'_>) {
        let resets = input.byte() & 1 == 1;
        let guest = &mut self.vcpu.guest;
        let done = if resets { guest.reset() } else { guest.init() };
        assert_eq!(done.is_err(), self.runs(), "{done:?}");
        match (done, resets) {
            (Ok(()), true) => self.reference.reset(),
            (Ok(()), false) => self.reference.init(),
            (Err(_), _) => {}
        }
    }

    pub(super) fn enter(&mut self) {
        if !self.runs() {
            self.reference.moved();
            self.vcpu.enter();
        }
    }

    pub(super) fn leave(&mut self) {
        if self.runs() {
            self.vcpu.leave();
            self.reference.moved();
        }
    }

    pub(super) fn check(&self) {
        let Self {
            vcpu, reference, ..
        } = self;
        let guest = &vcpu.guest;
        assert_eq!(guest.xcr0().components(), reference.xcr0, "XCR0");
        assert_eq!(guest.xss().components(), reference.xss, "IA32_XSS");
        assert_eq!(
            guest.xfd_err().components(),
            reference.xfd_err,
            "IA32_XFD_ERR"
        );
        assert_eq!(guest.pkru(), reference.pkru, "PKRU");
        let xfd = if self.runs() {
            vcpu.thread.guest_xfd(guest)
        } else {
            guest.xfd()
        };
        assert_eq!(xfd.map(Xfd::components), Ok(reference.xfd), "IA32_XFD");
        let Some(state) = guest.fpstate() else {
            return;
        };
        let area = state.in_memory().expect("in memory");
        // Invariant I12.
        assert!(!area.xstate_bv().intersects(reference.xfd));
        let wanted = reference.in_memory().limited_to(state.components());
        assert_loads(self.kind, state.layout(), area.bytes(), &wanted);
    }
}

fn any(input: &mut Input<'_>) -> ComponentSet {
    ComponentSet::from_bits(input.dword().into())
}

/// Mostly tile data or nothing.
pub(super) fn some_xfd(input: &mut Input<'_>) -> ComponentSet {
    match input.byte() {
        value @ 0..128 => {
            let tile_data = ComponentSet::only(Component::TileData);
            if value & 1 == 0 {
                tile_data
            } else {
                ComponentSet::EMPTY
            }
        }
        _ => any(input),
    }
}
