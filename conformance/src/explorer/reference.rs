//! What should be: what each thread and guest wrote, and to which of its registers.

use fpstate::GuestFeatures;
use fpstate_arch::{ComponentSet, Pkru};

use super::small_cpu::{GUEST_PKRU, TILE_DATA};
use super::values::{INITIAL, PARTS, TILES, Values};

/// How much is known of a state's tile data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It is as in the reference.
    Exact,
    /// Or initial: the guest disabled it, and whether a save came in between is the kernel's affair
    /// (SDM 1, 13.14).
    OrInitial,
}

/// Where a state is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Registers,
    Memory,
}

/// What a state should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) values: Values,
    pub(super) certainty: Certainty,
    /// Its owner's IA32_XFD.
    pub(super) xfd: ComponentSet,
    /// On-demand components with room.
    pub(super) grown: ComponentSet,
}

impl Expected {
    pub(super) const INITIAL: Self = Self {
        values: [INITIAL; PARTS.len()],
        certainty: Certainty::Exact,
        xfd: ComponentSet::EMPTY,
        grown: ComponentSet::EMPTY,
    };

    /// IA32_XFD while the state is in registers.
    pub(super) fn register_xfd(&self) -> ComponentSet {
        self.xfd.union(TILE_DATA.difference(self.grown))
    }

    /// `components` have `value` from here on.
    pub(super) fn wrote(&mut self, components: ComponentSet, value: u8) {
        for (part, held) in PARTS.into_iter().zip(&mut self.values) {
            if components.contains(part) {
                *held = value;
            }
        }
        if components.intersects(TILE_DATA) {
            self.certainty = Certainty::Exact;
        }
    }

    /// The owner runs and writes IA32_XFD.
    pub(super) fn wrote_xfd_while_running(&mut self, xfd: ComponentSet) {
        if xfd.intersects(TILE_DATA) && self.values[TILES] != INITIAL {
            self.certainty = Certainty::OrInitial;
        }
        self.xfd = xfd;
    }

    /// The registers were loaded from memory: what was disabled there is lost.
    pub(super) fn loaded(&mut self) {
        if self.xfd.intersects(TILE_DATA) {
            self.wrote(TILE_DATA, INITIAL);
        }
    }

    /// Its tile data was disabled while it was in memory, and not loaded since.
    pub(super) fn is_set_aside(&self) -> bool {
        self.xfd.intersects(TILE_DATA)
            && self.certainty == Certainty::Exact
            && self.values[TILES] != INITIAL
    }

    /// Whether `found` is what it should be. Tile data that was seen is known.
    pub(super) fn agrees(&mut self, found: &Values, view: View) -> bool {
        let others = self.values[..TILES] == found[..TILES];
        let (expected, found) = (self.values[TILES], found[TILES]);
        let disabled = self.xfd.intersects(TILE_DATA);
        let tiles = match view {
            View::Memory if disabled => found == INITIAL,
            View::Registers if disabled => found == expected || found == INITIAL,
            View::Memory | View::Registers => {
                if self.certainty == Certainty::OrInitial && found == INITIAL {
                    self.values[TILES] = INITIAL;
                }
                self.certainty = Certainty::Exact;
                found == self.values[TILES]
            }
        };
        others && tiles
    }
}

/// A guest's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GuestRegisters {
    pub(super) features: GuestFeatures,
    pub(super) xcr0: ComponentSet,
    pub(super) xss: ComponentSet,
    pub(super) xfd_err: ComponentSet,
    pub(super) pkru: Pkru,
}

impl GuestRegisters {
    pub(super) const fn after_reset(features: GuestFeatures) -> Self {
        Self {
            features,
            xcr0: ComponentSet::from_bits(1),
            xss: ComponentSet::EMPTY,
            xfd_err: ComponentSet::EMPTY,
            pkru: GUEST_PKRU,
        }
    }
}
