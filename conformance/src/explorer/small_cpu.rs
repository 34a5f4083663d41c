//! A CPU with small components, so that worlds are small and copies cheap.
//!
//! Its CPUID is synthetic: x87, SSE, PKRU, CET_U, CET_S, tile configuration, and tile data of 64 bytes. The last
//! is what no CPU has, and [`Offer`] says so; what is offered is therefore decided from a second CPUID,
//! which differs in that length alone. Lengths are nowhere in an offer but in layouts, and those are made
//! of the first.

use fpstate::{
    Fpstate, Grantee, GuestFeatures, Identities, Layout, Offer, Permissions, SignalStacks,
};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Enumeration, Pkru, Processor};
use fpstate_model::ModelCpu;

use super::order::Order;
use super::piece::Piece;
use super::scope::Scope;
use super::values::{ALL, Alphabet};
use crate::memory::Memory;

pub(super) const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
/// What every state has room for.
pub(super) const OF_THREADS: ComponentSet = OF_GUESTS.without(Component::CetS);
/// What every guest's state has room for.
pub(super) const OF_GUESTS: ComponentSet = ALL.without(Component::TileData);
/// The host's PKRU, and that of every guest.
pub(super) const HOST_PKRU: Pkru = Pkru::from_bits(0x5555_5550);
pub(super) const GUEST_PKRU: Pkru = Pkru::from_bits(0x5555_5505);

const fn leaf(leaf: u32, subleaf: u32, registers: [u32; 4]) -> (u32, u32, CpuidRegisters) {
    let [eax, ebx, ecx, edx] = registers;
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

/// Leaves of a CPU whose tile data has `tile_data` bytes.
fn leaves(tile_data: u32) -> Vec<(u32, u32, CpuidRegisters)> {
    let standard_len = 704 + tile_data;
    vec![
        leaf(0x0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
        leaf(0x1, 0, [0, 0, 1 << 26, 0x0700_0001]),
        // Protection keys, shadow stacks, tiles.
        leaf(0x7, 0, [0, 0, 1 << 3 | 1 << 7, 1 << 24]),
        leaf(0xd, 0, [0x6_0203, standard_len, standard_len, 0]),
        leaf(0xd, 1, [0x1f, 0, 0x1800, 0]),
        leaf(0xd, 9, [8, 576, 0, 0]),
        leaf(0xd, 11, [16, 0, 1, 0]),
        leaf(0xd, 12, [24, 0, 1, 0]),
        leaf(0xd, 17, [64, 640, 2, 0]),
        leaf(0xd, 18, [tile_data, 704, 6, 0]),
        leaf(0x1d, 0, [1, 0, 0, 0]),
        leaf(0x1d, 1, [0x0400_2000, 0x0008_0040, 16, 0]),
        leaf(0x1e, 0, [0, 0x4010, 0, 0]),
    ]
}

/// What a small CPU enumerates.
#[derive(Debug)]
pub struct Small {
    leaves: Vec<(u32, u32, CpuidRegisters)>,
    enumeration: Enumeration,
    offered: Enumeration,
    identities: Identities,
}

impl Small {
    /// The one there is.
    #[must_use]
    pub fn new() -> Self {
        let small = leaves(64);
        Self {
            enumeration: Enumeration::read(RecordedLeaves(&small)),
            offered: Enumeration::read(RecordedLeaves(&leaves(8192))),
            leaves: small,
            identities: Identities::new(),
        }
    }
}

impl Default for Small {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that all states of a world have in common.
#[derive(Debug)]
pub struct Machine<'e> {
    pub(super) offer: Offer<'e>,
    pub(super) identities: &'e Identities,
    pub(super) enumeration: &'e Enumeration,
    pub(super) alphabet: Alphabet,
    /// A processor as after RESET.
    pub(super) pristine: ModelCpu,
    layouts: [Layout<'e>; 2],
    orders: Vec<Order>,
    /// Where each component lies in an area, with tile data.
    places: [Option<(usize, usize)>; 19],
    /// An image of tile data.
    pub(super) tile_image: Memory,
    pub(super) with_tiles: GuestFeatures,
    pub(super) without_tiles: GuestFeatures,
}

impl<'e> Machine<'e> {
    /// CPUs like `small`, for worlds of `scope`.
    ///
    /// # Panics
    /// If the library does not take such a CPU for what it is.
    #[must_use]
    pub fn new(small: &'e Small, scope: &Scope) -> Self {
        let offer = Offer::for_ring0(&small.offered);
        assert_eq!(offer.contradiction(), None);
        assert_eq!(offer.default_components(), OF_THREADS);
        assert_eq!(offer.guest_layout().components(), OF_GUESTS);
        assert_eq!(offer.on_demand(), TILE_DATA);
        let pristine = ModelCpu::new(&small.leaves);
        let mut enabled = pristine.clone();
        let registers = offer.control_registers();
        enabled.xsetbv(registers.xcr0).expect("a legal XCR0");
        let layout = |components| {
            let layout = Layout::compacted(&small.enumeration, components);
            layout.expect("a layout")
        };
        let features = |permissions: &mut Permissions, user| {
            let permit = permissions.freeze_guests();
            GuestFeatures::new(&offer, permit, user, offer.guest_supervisor()).expect("legal")
        };
        let user = offer.user_components();
        let mut granted = Self::granted(&offer, Grantee::Guests);
        let mut nothing = Permissions::new(&offer);
        Self {
            offer,
            identities: &small.identities,
            enumeration: &small.enumeration,
            alphabet: Alphabet::new(&enabled),
            pristine,
            layouts: [layout(OF_THREADS), layout(OF_GUESTS)],
            orders: Order::all(scope.cpus, &scope.sorts_of_threads(), scope.guests),
            places: places(&small.enumeration),
            tile_image: tile_image(),
            with_tiles: features(&mut granted, user),
            without_tiles: features(&mut nothing, user.difference(ComponentSet::TILES)),
        }
    }

    fn granted(offer: &Offer<'_>, grantee: Grantee) -> Permissions {
        let mut permissions = Permissions::new(offer);
        let number = u32::from(Component::TileData.number());
        permissions
            .request(offer, grantee, number, SignalStacks::none())
            .expect("a first request");
        permissions
    }

    /// The permissions of a process that asked for tiles, or did not.
    pub(super) fn permissions(&self, tiles: ComponentSet) -> Permissions {
        if tiles.is_empty() {
            Permissions::new(&self.offer)
        } else {
            Self::granted(&self.offer, Grantee::Threads)
        }
    }

    /// A state in `piece`.
    pub(super) fn state(&self, grantee: Grantee, piece: Piece) -> Fpstate<'e, Piece> {
        let [of_threads, of_guests] = self.layouts;
        let layout = match grantee {
            Grantee::Threads => of_threads,
            Grantee::Guests => of_guests,
        };
        Fpstate::new(layout, piece, self.identities).expect("memory that does")
    }

    /// The orders in which worlds are described.
    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// Byte 0 and length of an extended component in an area that has room for it.
    pub(super) fn place(&self, component: Component) -> Option<(usize, usize)> {
        self.places[usize::from(component.number())]
    }
}

fn tile_image() -> Memory {
    let mut image = Memory::zeroed(768);
    image.bytes_mut()[512..520].copy_from_slice(&TILE_DATA.bits().to_le_bytes());
    image
}

/// SDM 1, 13.4.3, for an area with everything; tile data comes last, so the others lie there in a
/// smaller one, too.
fn places(enumeration: &Enumeration) -> [Option<(usize, usize)>; 19] {
    let mut places = [None; 19];
    let mut end: usize = 576;
    for component in ALL.difference(ComponentSet::LEGACY).iter() {
        let entry = enumeration.entry(component).expect("a sub-leaf");
        if entry.is_aligned_64() {
            end = end.next_multiple_of(64);
        }
        let len = usize::try_from(entry.len).expect("a length");
        places[usize::from(component.number())] = Some((end, len));
        end += len;
    }
    places
}
