//! What a save or restore by plain moves came to.

use crate::component::ComponentSet;

/// Components that plain moves can store and load: SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM.
pub const MOVABLE: ComponentSet = ComponentSet::AVX512
    .with(crate::component::Component::Sse)
    .with(crate::component::Component::Avx);

/// Those and x87, which FXSAVE64 and FXRSTOR64 cover beside them.
pub const COVERED: ComponentSet = MOVABLE.with(crate::component::Component::X87);

/// What a save or restore by plain moves came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "what the moves do not cover is still to be saved or restored, by an instruction"]
pub enum Moved {
    /// All of it.
    Done {
        /// What was in use before: XGETBV(1), not limited to what was asked for, and SSE where MXCSR
        /// is not initial.
        in_use: ComponentSet,
    },
    /// Nothing: some component is in use, or to be restored, that moves do not cover.
    NotCovered {
        /// What is in use, where XGETBV(1) was asked.
        in_use: Option<ComponentSet>,
    },
}

impl Moved {
    /// Nothing was moved, and nothing is known.
    pub const NOTHING: Self = Self::NotCovered { in_use: None };

    /// What was in use before, where it is known.
    #[must_use]
    #[inline]
    pub const fn in_use(self) -> Option<ComponentSet> {
        match self {
            Self::Done { in_use } => Some(in_use),
            Self::NotCovered { in_use } => in_use,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_use_is_told_whether_or_not_something_was_moved() {
        let in_use = MOVABLE;
        for (moved, told) in [
            (Moved::Done { in_use }, Some(in_use)),
            (
                Moved::NotCovered {
                    in_use: Some(in_use),
                },
                Some(in_use),
            ),
            (Moved::NOTHING, None),
        ] {
            assert_eq!(moved.in_use(), told);
        }
    }
}
