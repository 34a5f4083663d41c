//! What happens to the state of a guest: images, instructions, another host.

use fpstate::{GuestStateError, ImportError, Interception, StandardImage};
use fpstate_arch::{Component, ComponentSet, Fault, Xfd};

use super::areas;
use super::guest::{Guest, some_xfd};
use super::guest_reference::TileUse;
use super::input::Input;
use super::made::Recipe;
use crate::contents::Contents;
use crate::host::{Host, memory};
use crate::tiles::{self, TileValues};
use crate::user_code::UserCode;
use crate::vcpu::{Item, Vcpu};

/// Switched on its own.
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

impl Guest<'_> {
    /// `KVM_SET_XSAVE`: refused as a whole where there is no room, and the state grows for what the
    /// guest is offered.
    pub(super) fn import(&mut self, input: &mut Input<'_>) {
        let room = self.kind.user_room(input);
        let bytes = Recipe::chosen(room, input).standard(self.kind);
        let layout = self.kind.image_layout(room);
        let image = StandardImage::parse(&bytes, layout, self.kind.mxcsr_mask()).expect("good");
        let mut answer = self.vcpu.guest.import(&image, PKRU);
        if self.runs() {
            assert!(matches!(answer, Err(GuestStateError::Running { .. })));
            return;
        }
        let state = self.vcpu.guest.fpstate().expect("the guest's state");
        let missing = image.xstate_bv().difference(PKRU.union(state.components()));
        if missing.is_empty() {
            assert_eq!(answer, Ok(()));
        } else {
            let no_room = matches!(
                answer,
                Err(GuestStateError::Import(ImportError::NoRoom { .. }))
            );
            assert!(no_room, "{answer:?}: {missing}");
            self.check();
            let Ok(expansion) = self.vcpu.guest.expansion(missing) else {
                assert!(!self.reference.offered.on_demand.contains_all(missing));
                return;
            };
            assert!(self.reference.offered.on_demand.contains_all(missing));
            let storage = memory(expansion.layout());
            let grown = self.vcpu.guest.expand(expansion, storage);
            grown.map_err(|(error, _)| error).expect("room");
            self.check();
            answer = self.vcpu.guest.import(&image, PKRU);
            assert_eq!(answer, Ok(()));
        }
        let had = self.reference.values();
        let all = self.kind.kernels_layout(had.components());
        let values = areas::expected(self.kind, &image.state(), &all, PKRU, had);
        self.reference.takes_values(values);
    }

    /// The guest loads all tiles. A #NM that is the host's makes the state grow, unseen.
    pub(super) fn uses_tiles(&mut self, input: &mut Input<'_>) {
        self.enter();
        let mut random = fastrand::Rng::with_seed(input.byte().into());
        let tiles = TileValues::random(&mut random);
        let result = self.vcpu.execute(|cpu| tiles.load(cpu));
        // IA32_XFD has no bit for the configuration, which LDTILECFG loads in either case.
        let (expected, data) = match self.reference.uses_tiles() {
            TileUse::InvalidOpcode => {
                assert_eq!(result, Err(Fault::InvalidOpcode));
                return;
            }
            TileUse::NotAvailable => (Err(Fault::DeviceNotAvailable), TileValues::zero()),
            TileUse::Done => (Ok(()), tiles),
        };
        assert_eq!(result, expected);
        let config = (Component::TileConfig, tiles::all_tiles().to_vec());
        let data = (Component::TileData, data.bytes().to_vec());
        let had = self.reference.values();
        let loaded = Contents::from_parts(had.legacy(), [config, data]);
        let mut values = had.clone();
        values.take_all_of(ComponentSet::TILES, &loaded);
        self.reference.takes_values(values);
    }

    /// The guest writes a register that needs no room of its own.
    pub(super) fn writes_a_register(&mut self, input: &mut Input<'_>) {
        self.enter();
        let components: Vec<_> = self.vcpu.host.offer().default_components().iter().collect();
        let component = *input.choose(&components);
        let mut random = fastrand::Rng::with_seed(input.byte().into());
        let mut values = self.reference.values().clone();
        let pointers = self.kind.kind.error_pointers();
        values.write_all(ComponentSet::only(component), &mut random, pointers);
        let written = self.vcpu.execute(|cpu| {
            cpu.write_all(ComponentSet::only(component), &values);
            Ok(())
        });
        assert_eq!(written, Ok(()));
        self.reference.takes_values(values);
    }

    /// WRMSR of IA32_XFD by the guest. What it disables is gone with the next save, which comes now.
    pub(super) fn guest_writes_xfd(&mut self, input: &mut Input<'_>) {
        let value = some_xfd(input);
        self.enter();
        let Vcpu {
            thread, guest, cpu, ..
        } = &mut self.vcpu;
        let interception = thread.guest_xfd_interception(guest).expect("it runs");
        let written = match (
            interception,
            Xfd::new(value, self.reference.offered.on_demand),
        ) {
            (Interception::Intercepted, _) => thread.write_guest_xfd(guest, cpu, value).is_ok(),
            (Interception::PassedThrough, Ok(_)) => {
                self.vcpu.wrmsr_xfd(value);
                true
            }
            // #GP of the hardware.
            (Interception::PassedThrough, Err(_)) => false,
        };
        let takes = self.reference.write_xfd(value);
        assert_eq!(written, takes, "I40: the guest's IA32_XFD := {value}");
        self.leave();
    }

    /// Everything is read and written to another vCPU, in an order of the input's (invariant I44).
    /// No image has supervisor components.
    pub(super) fn migrate(&mut self, input: &mut Input<'_>) {
        self.leave();
        let order = Item::orders()[usize::from(input.byte()) % 120];
        let saved = self.vcpu.save();
        let host = Host::new(&self.kind.kind, &self.kind.enumeration);
        let mut other = Vcpu::new(host, self.features);
        let supervisor = self.kind.enumeration.supervisor_components();
        let loaded = other.load(&saved, order);
        assert_eq!(loaded, Ok(()), "I44: {order:?}");
        let differences = saved.differences(&other.save());
        assert!(differences.is_empty(), "I44: {differences:?}, {order:?}");
        self.vcpu = other;
        self.reference.moved();
        let mut values = self.reference.values().clone();
        values.initialise(supervisor);
        self.reference.takes_values(values);
    }
}
