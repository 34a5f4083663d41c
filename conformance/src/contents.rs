//! What a thread may see in its registers: values by component, without any layout.

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr};

use crate::generators::{self, ErrorPointers};

/// The values of a set of components. x87 and SSE are always among them.
///
/// The bytes of the legacy region that are no register (`MXCSR_MASK`, reserved bytes, software's) are
/// as in [`LegacyRegion::INITIAL`], so two contents are equal exactly if no program can tell them
/// apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    legacy: LegacyRegion,
    extended: BTreeMap<Component, Vec<u8>>,
}

impl Contents {
    /// The initial configuration of `components` (SDM 1, 13.6).
    ///
    /// # Panics
    /// If `enumeration` gives an extended component no length.
    #[must_use]
    pub fn initial(enumeration: &Enumeration, components: ComponentSet) -> Self {
        let initial = |component| {
            let entry = enumeration.entry(component).expect("a sub-leaf");
            let mut bytes = vec![0; usize::try_from(entry.len).expect("a length")];
            take_initial_value(component, &mut bytes);
            (component, bytes)
        };
        Self {
            legacy: LegacyRegion::INITIAL,
            extended: components
                .difference(ComponentSet::LEGACY)
                .iter()
                .map(initial)
                .collect(),
        }
    }

    /// Contents read from somewhere; whatever is no register is dropped from `legacy`.
    #[must_use]
    pub fn from_parts(
        legacy: &LegacyRegion,
        extended: impl IntoIterator<Item = (Component, Vec<u8>)>,
    ) -> Self {
        let initial = LegacyRegion::INITIAL;
        let mut legacy = *legacy;
        legacy.reserved_5 = initial.reserved_5;
        legacy.mxcsr_mask = initial.mxcsr_mask;
        legacy.tail = initial.tail;
        for register in &mut legacy.st {
            register[10..].fill(0);
        }
        Self {
            legacy,
            extended: extended.into_iter().collect(),
        }
    }

    /// The components that have values here.
    #[must_use]
    pub fn components(&self) -> ComponentSet {
        let extended = self.extended.keys().copied();
        extended.fold(ComponentSet::LEGACY, ComponentSet::with)
    }

    /// x87, SSE and MXCSR.
    #[must_use]
    pub const fn legacy(&self) -> &LegacyRegion {
        &self.legacy
    }

    /// The bytes of a component beyond x87 and SSE.
    #[must_use]
    pub fn extended(&self, component: Component) -> Option<&[u8]> {
        self.extended.get(&component).map(Vec::as_slice)
    }

    /// MXCSR := `mxcsr`.
    pub const fn set_mxcsr(&mut self, mxcsr: Mxcsr) {
        self.legacy.mxcsr = mxcsr;
    }

    /// x87, SSE and MXCSR := those of `other`.
    pub const fn take_legacy(&mut self, other: &Self) {
        self.legacy = other.legacy;
    }

    /// `components`, and MXCSR, := those of `other`; x87 and SSE are always among them.
    pub fn take_all_of(&mut self, components: ComponentSet, other: &Self) {
        self.legacy = other.legacy;
        for (component, bytes) in &mut self.extended {
            if let (true, Some(from)) =
                (components.contains(*component), other.extended(*component))
            {
                bytes.copy_from_slice(from);
            }
        }
    }

    /// A new value for `component`, seldom the initial one. MXCSR is not touched.
    pub fn write(&mut self, component: Component, random: &mut Rng, pointers: ErrorPointers) {
        if random.u8(0..8) == 0 {
            self.initialise(ComponentSet::only(component));
        } else if component == Component::X87 {
            generators::write_x87(random, pointers, &mut self.legacy);
        } else if component == Component::Sse {
            random.fill(self.legacy.xmm.as_flattened_mut());
        } else if let Some(bytes) = self.extended.get_mut(&component) {
            random.fill(bytes);
        }
    }

    /// New values for all of `components`, and for MXCSR if SSE is one of them.
    pub fn write_all(
        &mut self,
        components: ComponentSet,
        random: &mut Rng,
        pointers: ErrorPointers,
    ) {
        for component in components.iter() {
            self.write(component, random, pointers);
        }
        if components.contains(Component::Sse) {
            self.set_mxcsr(generators::mxcsr(random));
        }
    }

    /// `components` to their initial configuration; MXCSR stays (SDM 1, 13.6).
    pub fn initialise(&mut self, components: ComponentSet) {
        let initial = LegacyRegion::INITIAL;
        if components.contains(Component::X87) {
            self.legacy = LegacyRegion {
                mxcsr: self.legacy.mxcsr,
                xmm: self.legacy.xmm,
                ..initial
            };
        }
        if components.contains(Component::Sse) {
            self.legacy.xmm = initial.xmm;
        }
        for (component, bytes) in &mut self.extended {
            if components.contains(*component) {
                take_initial_value(*component, bytes);
            }
        }
    }

    /// The components that are not in their initial configuration. MXCSR belongs to none.
    #[must_use]
    pub fn not_initial(&self) -> ComponentSet {
        let mut initial = self.clone();
        initial.initialise(self.components());
        initial.components_unlike(self)
    }

    /// The values of `components` only; x87 and SSE stay.
    #[must_use]
    pub fn limited_to(mut self, components: ComponentSet) -> Self {
        self.extended
            .retain(|component, _| components.contains(*component));
        self
    }

    /// The components whose values differ, a missing one among them. MXCSR belongs to none.
    #[must_use]
    pub fn components_unlike(&self, other: &Self) -> ComponentSet {
        let all = self.components().union(other.components());
        let without_xmm = |legacy: &LegacyRegion| LegacyRegion {
            xmm: LegacyRegion::INITIAL.xmm,
            mxcsr: Mxcsr::INITIAL,
            ..*legacy
        };
        all.iter()
            .filter(|&component| match component {
                Component::X87 => without_xmm(&self.legacy) != without_xmm(&other.legacy),
                Component::Sse => self.legacy.xmm != other.legacy.xmm,
                Component::Avx
                | Component::BndRegs
                | Component::BndCsr
                | Component::Opmask
                | Component::ZmmHi256
                | Component::Hi16Zmm
                | Component::Pt
                | Component::Pkru
                | Component::Pasid
                | Component::CetU
                | Component::CetS
                | Component::Hdc
                | Component::Uintr
                | Component::Lbr
                | Component::Hwp
                | Component::TileConfig
                | Component::TileData
                | Component::Apx
                | Component::Unnamed(_) => self.extended(component) != other.extended(component),
            })
            .fold(ComponentSet::EMPTY, ComponentSet::with)
    }

    /// How `found` differs from these contents, for people; `None` if it does not.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<Difference> {
        let (expected_mxcsr, found_mxcsr) = (self.legacy.mxcsr, found.legacy.mxcsr);
        (self != found).then(|| Difference {
            components: self.components_unlike(found),
            mxcsr: (expected_mxcsr != found_mxcsr).then_some((expected_mxcsr, found_mxcsr)),
        })
    }
}

/// The initial configuration of an extended component: zero, but for two MSRs (SDM 1, 13.6).
fn take_initial_value(component: Component, bytes: &mut [u8]) {
    bytes.fill(0);
    if component == Component::Hdc {
        bytes[0] = 1; // IA32_PM_CTL1
    } else if component == Component::Hwp {
        bytes[..4].copy_from_slice(&0x8000_ff01_u32.to_le_bytes()); // IA32_HWP_REQUEST
    }
}

/// Where contents differ from what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The components with other values.
    pub components: ComponentSet,
    /// MXCSR, expected and found, if it differs.
    pub mxcsr: Option<(Mxcsr, Mxcsr)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "other values in {}", self.components)?;
        if let Some((expected, found)) = self.mxcsr {
            write!(f, "; MXCSR is {found:#x} instead of {expected:#x}")?;
        }
        Ok(())
    }
}
