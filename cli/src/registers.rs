//! The registers of an image, as people and debuggers name them.
//!
//! * `float80` - the numbers of the x87 registers as text
//! * `lanes` - vector registers as numbers
//! * `flags` - the bits of control registers by name
//! * `fields` - components that are registers one after the other
//! * `x87`, `vector`, `tiles` - the registers of the other components
//! * `selection` - `--register`

pub(crate) mod float80;
pub(crate) mod lanes;
pub(crate) mod flags;
pub(crate) mod fields;
mod x87;
mod vector;
pub(crate) mod tiles;
pub(crate) mod selection;

use std::collections::BTreeMap;
use std::ops::Range;

use fpstate::{ImageState, Layout};
use fpstate_arch::{Component, ComponentSet, LegacyRegion, TileConfig};

use float80::Tag;

/// What an image says of the registers, whatever its form.
#[derive(Clone, Debug)]
pub(crate) struct Contents<'b> {
    /// As a restore would load it.
    legacy: LegacyRegion,
    /// The components that are not in their initial configuration.
    live: ComponentSet,
    /// The bytes of those of them that are not in the legacy region.
    extended: BTreeMap<Component, &'b [u8]>,
}

/// The extended components to show and their lengths in bytes. Two images are compared in the room
/// of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room(BTreeMap<Component, usize>);

/// One register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    /// In lower case: gdb's name where it has one.
    pub(crate) name: String,
    /// The components that its bytes are in, lowest bytes first.
    pub(crate) components: ComponentSet,
    pub(crate) shape: Shape,
    /// The lowest byte first.
    pub(crate) bytes: Vec<u8>,
    /// Those of them that are not in their initial configuration.
    pub(crate) live: ComponentSet,
}

/// How a register's bytes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One number, maybe with flags.
    Number,
    /// An 80-bit number in ST(i), whose low 64 bits are MMX register `mmx`.
    Float80 {
        tag: Tag,
        mmx: usize,
    },
    /// Lanes by choice.
    Vector,
    TileConfig(TileConfig),
    /// `rows` of the configuration, each of `colsb` bytes, at multiples of 64 bytes.
    Tile {
        rows: usize,
        colsb: usize,
    },
}

impl Room {
    /// The room that the layout of an image has.
    pub(crate) fn of(layout: &Layout<'_>) -> Self {
        let placed = layout.extended_components();
        placed.fold(Self::default(), |room, placed| {
            room.with(placed.component(), placed.range().len())
        })
    }

    /// Bytes of an extended component; 0 for the legacy ones.
    pub(crate) fn len_of(&self, component: Component) -> usize {
        self.0.get(&component).copied().unwrap_or(0)
    }

    pub(crate) fn with(mut self, component: Component, len: usize) -> Self {
        let room = self.0.entry(component).or_default();
        *room = len.max(*room);
        self
    }

    pub(crate) fn union(self, other: &Self) -> Self {
        let others = other.0.iter();
        others.fold(self, |room, (component, len)| room.with(*component, *len))
    }

    pub(crate) fn components(&self) -> ComponentSet {
        self.0
            .keys()
            .fold(ComponentSet::LEGACY, |set, component| set.with(*component))
    }
}

impl<'b> Contents<'b> {
    pub(crate) fn of(state: &ImageState<'b>) -> Self {
        let placed = state.layout().extended_components();
        let extended = placed.filter_map(|placed| {
            let component = placed.component();
            Some((component, state.extended(component)?))
        });
        Self {
            legacy: state.legacy(),
            live: state.live(),
            extended: extended.collect(),
        }
    }

    /// The registers, or parts of them, that one component holds.
    pub(crate) fn registers_in(&self, component: Component, len: usize) -> Vec<Register> {
        if component == Component::X87 {
            return x87::registers(&self.legacy, self.live);
        }
        if component == Component::Sse {
            let mut registers = vector::registers(self, ComponentSet::LEGACY);
            registers.push(x87::mxcsr(&self.legacy, self.live));
            return registers;
        }
        let alone = Self {
            legacy: LegacyRegion::INITIAL,
            ..self.clone()
        };
        alone.registers(&Room::default().with(component, len))
    }

    /// Bytes of an extended component; zeros, its initial configuration, where it has none.
    fn bytes(&self, component: Component, range: Range<usize>) -> Vec<u8> {
        let live = self
            .extended
            .get(&component)
            .and_then(|bytes| bytes.get(range.clone()));
        live.map_or_else(|| vec![0; range.len()], <[u8]>::to_vec)
    }

    /// Every register, in the order of the components' numbers but the vector registers together.
    pub(crate) fn registers(&self, room: &Room) -> Vec<Register> {
        let components = room.components();
        let mut registers = x87::registers(&self.legacy, self.live);
        registers.push(x87::mxcsr(&self.legacy, self.live));
        registers.extend(vector::registers(self, components));
        for (&component, &len) in &room.0 {
            registers.extend(self.registers_of(component, len));
        }
        registers.extend(tiles::registers(self, components));
        registers
    }

    fn registers_of(&self, component: Component, len: usize) -> Vec<Register> {
        let mut fields = fields::of(component);
        fields.retain(|(_, range)| range.end <= len);
        if let Component::Unnamed(_) = component {
            fields.push((format!("component{}", component.number()), 0..len));
        }
        let register = |(name, range): (String, Range<usize>)| Register {
            name,
            components: ComponentSet::only(component),
            shape: Shape::Number,
            bytes: self.bytes(component, range),
            live: self.live.intersection(ComponentSet::only(component)),
        };
        fields.into_iter().map(register).collect()
    }
}

impl Register {
    /// All its components are in their initial configuration; XCR0 is in none.
    pub(crate) fn is_initial(&self) -> bool {
        self.live.is_empty() && !self.components.is_empty()
    }

    /// The value as text: what the number of an x87 register is, the number of a short one; `None`
    /// where hexadecimal says it all.
    pub(crate) fn value(&self) -> Option<String> {
        match (&self.shape, self.bytes.first_chunk()) {
            (Shape::Float80 { .. }, Some(bytes)) => {
                Some(float80::Float80::from_bytes(*bytes).to_string())
            }
            _ => None,
        }
    }

    /// The set bits and fields of a control register by name.
    pub(crate) fn flags(&self) -> Vec<String> {
        if self.shape != Shape::Number || self.bytes.len() > 8 {
            return Vec::new();
        }
        let number = self.bytes.iter().rev();
        flags::of(
            &self.name,
            number.fold(0, |high, low| high << 8 | u64::from(*low)),
        )
    }
}
