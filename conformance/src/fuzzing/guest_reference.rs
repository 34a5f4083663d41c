//! What a guest's registers should be, from nothing but what was written (invariants I39, I40, I42
//! and I44).

use fpstate_arch::{Component, ComponentSet, LegacyRegion, Pkru};

use crate::contents::Contents;

/// What CPUID offers the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered {
    pub(super) user: ComponentSet,
    pub(super) supervisor: ComponentSet,
    /// What IA32_XFD may have.
    pub(super) on_demand: ComponentSet,
}

/// A guest as it believes to be.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) offered: Offered,
    pub(super) xcr0: ComponentSet,
    pub(super) xss: ComponentSet,
    pub(super) xfd: ComponentSet,
    pub(super) xfd_err: ComponentSet,
    pub(super) pkru: Pkru,
    /// What IA32_XFD disables is set aside: it counts until the state is loaded.
    values: Contents,
}

/// XSETBV of XCR0 (invariant I39).
pub(super) fn takes_xcr0(offered: ComponentSet, value: ComponentSet) -> bool {
    let bit = |number: u32| value.bits() >> number & 1 == 1;
    let avx512 = [5, 6, 7].map(bit);
    offered.contains_all(value)
        && bit(0)
        && (bit(1) || !bit(2))
        && bit(3) == bit(4)
        && (avx512 == [false; 3] || avx512 == [true; 3] && bit(2))
        && bit(17) == bit(18)
        && !(bit(19) && bit(3))
}

impl Reference {
    /// After RESET.
    pub(super) fn after_reset(offered: Offered, initial: Contents) -> Self {
        Self {
            offered,
            xcr0: ComponentSet::only(Component::X87),
            xss: ComponentSet::EMPTY,
            xfd: ComponentSet::EMPTY,
            xfd_err: ComponentSet::EMPTY,
            pkru: Pkru::from_bits(0),
            values: initial,
        }
    }

    pub(super) fn write_xcr0(&mut self, value: ComponentSet) -> bool {
        let takes = takes_xcr0(self.offered.user, value);
        if takes {
            self.xcr0 = value;
        }
        takes
    }

    pub(super) fn write_xss(&mut self, value: ComponentSet) -> bool {
        let takes = self.offered.supervisor.contains_all(value);
        if takes {
            self.xss = value;
        }
        takes
    }

    pub(super) fn write_xfd(&mut self, value: ComponentSet) -> bool {
        let takes = self.offered.on_demand.contains_all(value);
        if takes {
            self.xfd = value;
        }
        takes
    }

    pub(super) fn write_xfd_err(&mut self, value: ComponentSet) -> bool {
        let takes = self.offered.on_demand.contains_all(value);
        if takes {
            self.xfd_err = value;
        }
        takes
    }

    /// INIT: MPX and CET.
    pub(super) fn init(&mut self) {
        self.values.initialise(ComponentSet::from_bits(0x1818));
    }

    /// RESET.
    pub(super) fn reset(&mut self) {
        let mut initial = self.values.clone();
        initial.initialise(initial.components());
        initial.set_mxcsr(LegacyRegion::INITIAL.mxcsr);
        *self = Self::after_reset(self.offered, initial);
    }

    /// What the state holds, and what would be back if nothing were disabled.
    pub(super) const fn values(&self) -> &Contents {
        &self.values
    }

    /// All of it comes from elsewhere.
    pub(super) fn takes_values(&mut self, values: Contents) {
        self.values = values;
    }

    /// The state is loaded or saved: what is disabled is lost.
    pub(super) fn moved(&mut self) {
        self.values.initialise(self.xfd);
    }

    /// What memory holds.
    pub(super) fn in_memory(&self) -> Contents {
        let mut values = self.values.clone();
        values.initialise(self.xfd);
        values
    }

    /// What an instruction on tile data comes to; what becomes of IA32_XFD_ERR is noted.
    pub(super) fn uses_tiles(&mut self) -> TileUse {
        if !self.xcr0.contains_all(ComponentSet::TILES) {
            TileUse::InvalidOpcode
        } else if self.xfd.contains(Component::TileData) {
            self.xfd_err = ComponentSet::only(Component::TileData);
            TileUse::NotAvailable
        } else {
            TileUse::Done
        }
    }
}

/// What becomes of an instruction on tile data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TileUse {
    Done,
    InvalidOpcode,
    NotAvailable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::Xcr0;

    /// The rules are written twice.
    #[test]
    fn the_reference_takes_the_xcr0s_that_the_library_takes() {
        let all = ComponentSet::from_bits(0xe_02ff);
        for bits in 0..1 << 20 {
            let value = ComponentSet::from_bits(bits);
            assert_eq!(
                takes_xcr0(all, value),
                Xcr0::new(value, all).is_ok(),
                "{value}"
            );
        }
    }
}
