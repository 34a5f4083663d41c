//! What of the host's registers has to outlive a guest's run: the caller says it by a type.

use fpstate_arch::component::{Component, ComponentSet};

/// A host that enters a guest, as a type: [`LiveRegisters`] or [`CallerSaved`].
pub trait HostSide: sealed::Sealed {}

/// All registers of the host are live: a kernel that interrupts user code, a thread that is switched
/// away from. Everything is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiveRegisters {}

/// The host called a function to run the guest, and by the System V ABI (x86-64 psABI, 3.2.1) keeps
/// nothing in extended registers across the call but the control bits of MXCSR and the x87 control
/// word. These are all that is saved; when the guest is left, the other registers are in their
/// initial configuration, and so is what exceptions left in MXCSR.
///
/// Between two switches such a host executes no x87, MMX or AMX instruction, which compilers emit for
/// `long double` and on demand alone: what one left would not be looked for, and the next guest would find it
/// where it expects the initial configuration. Vector registers and masks it may use as it likes.
///
/// A state with components that the ABI does not speak of - CET, PASID - is saved whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerSaved {}

impl HostSide for LiveRegisters {}
impl HostSide for CallerSaved {}

/// What a caller keeps nothing in, but for the control words.
const VOLATILE: ComponentSet = ComponentSet::LEGACY
    .union(ComponentSet::AVX512)
    .union(ComponentSet::TILES)
    .with(Component::Avx)
    .with(Component::Apx);

pub(crate) mod sealed {
    use super::{CallerSaved, ComponentSet, LiveRegisters, VOLATILE};

    /// Which of the states a host's control words are all of.
    pub trait Sealed {
        /// Components that the host has no value in, the control words apart.
        const VOLATILE: ComponentSet;
    }

    impl Sealed for LiveRegisters {
        const VOLATILE: ComponentSet = ComponentSet::EMPTY;
    }

    impl Sealed for CallerSaved {
        const VOLATILE: ComponentSet = VOLATILE;
    }
}
