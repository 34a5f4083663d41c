//! What the test knows: what each state should hold, what each guest wrote to its registers, what
//! each process was granted.

use fpstate::{GuestFeatures, Offer, Permissions};
use fpstate_arch::{Component, ComponentSet, Pkru};

use super::TILE_DATA;
use crate::contents::{Contents, Difference};

/// How much is known of a state's tile data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It is as in the reference.
    Exact,
    /// Or initial: the guest disabled it, and whether a save came in between is the kernel's
    /// affair (SDM 1, 13.14).
    OrInitial,
}

/// Where tile data is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Its owner may use it.
    Enabled,
    /// In registers, disabled by its owner.
    DisabledInRegisters,
}

/// What a state should be.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) values: Contents,
    tiles: Certainty,
    /// Its owner's IA32_XFD.
    pub(super) xfd: ComponentSet,
    /// On-demand components with room.
    pub(super) grown: ComponentSet,
    /// Those there can be.
    on_demand: ComponentSet,
}

impl Expected {
    pub(super) const fn new(values: Contents, offer: &Offer<'_>) -> Self {
        Self {
            on_demand: offer.on_demand(),
            values,
            tiles: Certainty::Exact,
            xfd: ComponentSet::EMPTY,
            grown: ComponentSet::EMPTY,
        }
    }

    /// IA32_XFD while the state is in registers.
    pub(super) fn register_xfd(&self) -> ComponentSet {
        self.xfd.union(self.on_demand.difference(self.grown))
    }

    fn has_tile_data(&self) -> bool {
        self.values.not_initial().contains(Component::TileData)
    }

    /// Its tile data was disabled while it was in memory, and not loaded since.
    pub(super) fn is_set_aside(&self) -> bool {
        self.xfd.intersects(TILE_DATA) && self.tiles == Certainty::Exact && self.has_tile_data()
    }

    /// `found`, which was looked at before, has new values in `components`.
    pub(super) fn wrote(&mut self, components: ComponentSet, found: &Contents) {
        self.values.take_all_of(components, found);
        if components.contains(Component::TileData) {
            self.tiles = Certainty::Exact;
        }
    }

    /// These components are initial now.
    pub(super) fn initialised(&mut self, components: ComponentSet) {
        self.values.initialise(components);
        if components.contains(Component::TileData) {
            self.tiles = Certainty::Exact;
        }
    }

    /// The owner runs and writes IA32_XFD.
    pub(super) fn wrote_xfd_while_running(&mut self, xfd: ComponentSet) {
        if xfd.intersects(TILE_DATA) {
            self.tiles = Certainty::OrInitial;
        }
        self.xfd = xfd;
    }

    /// The registers were loaded from memory: what was disabled there is lost.
    pub(super) fn loaded(&mut self) {
        if self.xfd.intersects(TILE_DATA) {
            self.initialised(TILE_DATA);
        }
    }

    /// Room for tile data was given back, which is allowed only if there is none.
    pub(super) fn released(&mut self) -> Result<(), String> {
        if self.has_tile_data() && self.tiles == Certainty::Exact {
            return Err("I23: a release lost tile data".into());
        }
        self.initialised(TILE_DATA);
        self.grown = ComponentSet::EMPTY;
        Ok(())
    }

    /// How `found` differs from what it should be. Tile data that was seen is known.
    pub(super) fn difference(&mut self, found: &Contents, view: View) -> Option<Difference> {
        let difference = self.values.difference(found)?;
        let is_tile_data = difference.components == TILE_DATA && difference.mxcsr.is_none();
        let found_initial = !found.not_initial().contains(Component::TileData);
        if !is_tile_data || !found_initial {
            return Some(difference);
        }
        match (view, self.tiles) {
            (View::Enabled, Certainty::Exact) => Some(difference),
            (View::Enabled, Certainty::OrInitial) => {
                self.initialised(TILE_DATA);
                None
            }
            (View::DisabledInRegisters, _) => None,
        }
    }

    /// The same for memory, where what is disabled must not be.
    pub(super) fn difference_in_memory(&mut self, found: &Contents) -> Option<Difference> {
        if !self.xfd.intersects(TILE_DATA) {
            return self.difference(found, View::Enabled);
        }
        let mut values = self.values.clone();
        values.initialise(TILE_DATA);
        values.difference(found)
    }
}

/// A guest's registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuestReference {
    pub(super) features: GuestFeatures,
    pub(super) xcr0: ComponentSet,
    pub(super) xss: ComponentSet,
    pub(super) xfd_err: ComponentSet,
    pub(super) pkru: Pkru,
    pub(super) unused_exits: u32,
}

impl GuestReference {
    pub(super) const fn after_reset(features: GuestFeatures) -> Self {
        Self {
            features,
            xcr0: ComponentSet::only(Component::X87),
            xss: ComponentSet::EMPTY,
            xfd_err: ComponentSet::EMPTY,
            pkru: Pkru::from_bits(0),
            unused_exits: 0,
        }
    }

    /// Whether its CPUID announces XSAVE.
    pub(super) fn has_xsave(&self) -> bool {
        self.features != GuestFeatures::WITHOUT_XSAVE
    }

    /// Whether XSETBV takes `value` (SDM 1, 13.3; invariant I39).
    pub(super) fn takes_xcr0(&self, value: ComponentSet) -> bool {
        let has = |component| value.contains(component);
        let avx512 = [Component::Opmask, Component::ZmmHi256, Component::Hi16Zmm];
        let in_avx512 = avx512.into_iter().filter(|&c| has(c)).count();
        let tiles = value.intersection(ComponentSet::TILES);
        let mpx = value.intersection(ComponentSet::MPX);
        self.features.user().contains_all(value)
            && has(Component::X87)
            && (has(Component::Sse) || !has(Component::Avx))
            && (in_avx512 == 0 || in_avx512 == 3 && has(Component::Avx))
            && (mpx.is_empty() || mpx == ComponentSet::MPX && !has(Component::Apx))
            && (tiles.is_empty() || tiles == ComponentSet::TILES)
    }
}

/// What a process was granted.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) permissions: Permissions,
    pub(super) threads: ComponentSet,
    pub(super) guests: ComponentSet,
    pub(super) has_vcpu: VcpuMade,
}

/// Whether a process ever made a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VcpuMade {
    No,
    Yes,
}

impl Process {
    /// A child, which has no vCPU.
    pub(super) const fn fork(&self) -> Self {
        Self {
            permissions: self.permissions.fork(),
            threads: self.threads,
            guests: self.guests,
            has_vcpu: VcpuMade::No,
        }
    }

    pub(super) const fn new(offer: &Offer<'_>) -> Self {
        Self {
            permissions: Permissions::new(offer),
            threads: ComponentSet::EMPTY,
            guests: ComponentSet::EMPTY,
            has_vcpu: VcpuMade::No,
        }
    }
}
