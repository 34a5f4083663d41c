//! What differs between the registers of two images, whatever their forms.

use std::collections::BTreeMap;

use fpstate::ImageState;
use fpstate_arch::{Component, ComponentSet};
use serde::Serialize;

use crate::registers::lanes::hex;
use crate::registers::{Contents, Register, Room};

/// Two images, component by component and register by register.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    pub(crate) components: Vec<ComponentDifference>,
    pub(crate) registers: Vec<RegisterDifference>,
}

/// One component that either image has room for.
#[derive(Debug, Serialize)]
pub(crate) struct ComponentDifference {
    pub(crate) name: String,
    pub(crate) a: Presence,
    pub(crate) b: Presence,
    /// The registers in it hold the same values. What is initial or absent has its initial ones.
    pub(crate) equal: bool,
}

/// What an image says of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Presence {
    Live,
    Initial,
    /// No room for it.
    Absent,
}

/// A register with two values.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RegisterDifference {
    pub(crate) name: String,
    pub(crate) a: String,
    pub(crate) b: String,
}

impl Difference {
    pub(crate) fn between(a: &ImageState<'_>, b: &ImageState<'_>) -> Self {
        let room = Room::of(a.layout()).union(&Room::of(b.layout()));
        let (in_a, in_b) = (Contents::of(a), Contents::of(b));
        let compared = room.components().iter().map(|component| {
            let len = room.len_of(component);
            ComponentDifference {
                name: component.to_string(),
                a: Presence::of(component, a),
                b: Presence::of(component, b),
                equal: differences(
                    &in_a.registers_in(component, len),
                    &in_b.registers_in(component, len),
                )
                .is_empty(),
            }
        });
        Self {
            components: compared.collect(),
            registers: differences(&in_a.registers(&room), &in_b.registers(&room)),
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.registers.is_empty()
    }
}

/// Registers that are in both, under the same names, with other bytes.
fn differences(a: &[Register], b: &[Register]) -> Vec<RegisterDifference> {
    let b: BTreeMap<_, _> = b
        .iter()
        .map(|register| (&register.name, &register.bytes))
        .collect();
    let pairs = a
        .iter()
        .filter_map(|register| Some((register, b.get(&register.name)?)));
    pairs
        .filter(|(a, b)| a.bytes != ***b)
        .map(|(a, b)| RegisterDifference {
            name: a.name.clone(),
            a: hex(&a.bytes),
            b: hex(b),
        })
        .collect()
}

impl Presence {
    fn of(component: Component, state: &ImageState<'_>) -> Self {
        let room: ComponentSet = state.layout().components();
        if state.live().contains(component) {
            Self::Live
        } else if room.contains(component) {
            Self::Initial
        } else {
            Self::Absent
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Initial => "initial",
            Self::Absent => "absent",
        }
    }
}
