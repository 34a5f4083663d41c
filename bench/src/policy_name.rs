//! The designs that are measured side by side, by name.

use serde::{Serialize, Serializer};

/// A way to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// Two saves and two restores by the best instructions at CPL 3, and nothing else.
    InstructionsPair,
    /// The same by plain moves.
    PlainMoves,
    /// KVM before Linux 5.16: a user and a guest buffer per vCPU beside the task's own.
    TwoBuffers,
    /// Linux since 5.16: the task's pointer to its state changes.
    PointerSwap,
    /// The crate `xsave` 2.0.2.
    XsaveCrate,
    /// This library without register moves.
    OursInstructions,
    /// This library.
    OursFull,
    /// This library, `vcpu_run` being a function that its thread calls.
    OursAbi,
}

impl PolicyName {
    /// Each of them, in the order they are shown in.
    pub const ALL: [Self; 8] = [
        Self::InstructionsPair,
        Self::PlainMoves,
        Self::TwoBuffers,
        Self::PointerSwap,
        Self::XsaveCrate,
        Self::OursInstructions,
        Self::OursFull,
        Self::OursAbi,
    ];

    /// In JSON and in arguments.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::InstructionsPair => "instructions_pair",
            Self::PlainMoves => "plain_moves",
            Self::TwoBuffers => "two_buffers",
            Self::PointerSwap => "pointer_swap",
            Self::XsaveCrate => "xsave_crate",
            Self::OursInstructions => "ours_instructions",
            Self::OursFull => "ours_full",
            Self::OursAbi => "ours_abi",
        }
    }

    /// For people, in a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InstructionsPair => "the bare instructions",
            Self::PlainMoves => "the bare moves",
            Self::TwoBuffers => "two buffers (KVM before Linux 5.16)",
            Self::PointerSwap => "pointer swap (Linux since 5.16)",
            Self::XsaveCrate => "crate xsave 2.0.2",
            Self::OursInstructions => "fpstate, instructions alone",
            Self::OursFull => "fpstate",
            Self::OursAbi => "fpstate, vcpu_run as a function",
        }
    }
}

/// One value for each policy, those without one included.
#[derive(Clone, Debug, PartialEq)]
pub struct PerPolicy<T>([Option<T>; PolicyName::ALL.len()]);

impl<T> Default for PerPolicy<T> {
    fn default() -> Self {
        Self(Default::default())
    }
}

impl<T> PerPolicy<T> {
    /// Replaces a policy's value.
    pub fn set(&mut self, name: PolicyName, value: T) {
        if let Some(place) = self.0.get_mut(place(name)) {
            *place = Some(value);
        }
    }

    /// A policy's value.
    pub fn get(&self, name: PolicyName) -> Option<&T> {
        self.0.get(place(name))?.as_ref()
    }

    /// Those that have one, in the order of [`PolicyName::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (PolicyName, &T)> {
        let values = PolicyName::ALL.into_iter().zip(&self.0);
        values.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// The same policies with what `of` makes of each value.
    pub fn map<U>(&self, mut of: impl FnMut(&T) -> U) -> PerPolicy<U> {
        let mut mapped = PerPolicy::default();
        for (name, value) in self.iter() {
            mapped.set(name, of(value));
        }
        mapped
    }
}

fn place(name: PolicyName) -> usize {
    PolicyName::ALL
        .iter()
        .position(|&other| other == name)
        .unwrap_or(usize::MAX)
}

impl<T: Serialize> Serialize for PerPolicy<T> {
    /// Every policy's key, `null` where there is no value.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            PolicyName::ALL
                .iter()
                .map(|name| name.key())
                .zip(self.0.iter()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_under_the_name_it_was_set_for() {
        let mut values = PerPolicy::default();
        for (number, name) in PolicyName::ALL.into_iter().enumerate() {
            assert_eq!(values.get(name), None);
            values.set(name, number);
        }
        for (number, (name, found)) in values.iter().enumerate() {
            assert_eq!((name, *found), (PolicyName::ALL[number], number));
        }
    }
}
