//! What is odd in a CPUID dump: nothing that keeps it from being read, all of it worth saying.

use core::fmt;

use fpstate_arch::{Component, Xcr0Error};

use crate::component_facts::FeatureBit;

/// One thing that is not as the manuals, or the rest of the dump, would have it. The text says
/// which leaf, what was found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
    /// A leaf that says what extended state there is was not recorded.
    LeafMissing {
        /// The leaf.
        leaf: u32,
        /// The sub-leaf.
        subleaf: u32,
    },
    /// Leaf 0DH lists the component and its sub-leaf was not recorded.
    SubleafMissing {
        /// The component.
        component: Component,
    },
    /// Leaf 0DH lists the component and its sub-leaf gives it 0 bytes.
    WithoutLength {
        /// The component.
        component: Component,
    },
    /// The component has another length than its registers.
    UnexpectedLength {
        /// The component.
        component: Component,
        /// Bytes, EAX of its sub-leaf.
        found: u32,
        /// Bytes of the registers the manual describes.
        expected: u32,
    },
    /// The component is listed and the feature it belongs to is not announced.
    WithoutFeature {
        /// The component.
        component: Component,
        /// The bit that is 0.
        feature: FeatureBit,
    },
    /// A component that XCR0 enables whose sub-leaf calls it a supervisor component, or the reverse.
    KindDisagrees {
        /// The component.
        component: Component,
        /// ECX of its sub-leaf.
        flags: u32,
    },
    /// A supervisor component with an offset in the standard format, which has no room for it.
    SupervisorWithOffset {
        /// The component.
        component: Component,
        /// EBX of its sub-leaf.
        found: u32,
    },
    /// A user component that lies in the legacy region or the header.
    InsideHeader {
        /// The component.
        component: Component,
        /// EBX of its sub-leaf.
        found: u32,
    },
    /// Two components share bytes of the standard format.
    Overlap {
        /// The component with the lower number.
        first: Component,
        /// The other one.
        second: Component,
    },
    /// XSETBV would refuse an XCR0 with everything that is listed.
    Xcr0Rule(Xcr0Error),
    /// The length of an area, as the CPU computed it when this was recorded.
    AreaLen(AreaLenOddity),
    /// Component 62, AMD's lightweight profiling of families 15H and 16H.
    LightweightProfiling,
    /// The CPUs of this package differ, and the dump's figures are those of one.
    Hybrid {
        /// The bit that says so.
        bit: FeatureBit,
    },
    /// Another CPU of the dump has other figures in leaf 0DH.
    OtherCpuDiffers {
        /// Its place in the dump; the first CPU is 0.
        cpu: usize,
        /// The sub-leaf of leaf 0DH.
        subleaf: u32,
    },
    /// Leaf 0DH is there and leaf 1 is not; FXSAVE and XSAVE were taken for granted.
    FeaturesAssumed,
}

/// CPUID.0DH, the leaf of almost every oddity.
const EXTENDED_STATE: u32 = 0xd;

impl Oddity {
    /// The leaf and sub-leaf where it was found.
    #[must_use]
    pub fn leaf(&self) -> (u32, u32) {
        match *self {
            Self::LeafMissing { leaf, subleaf } => (leaf, subleaf),
            Self::SubleafMissing { component }
            | Self::WithoutLength { component }
            | Self::UnexpectedLength { component, .. }
            | Self::WithoutFeature { component, .. }
            | Self::KindDisagrees { component, .. }
            | Self::SupervisorWithOffset { component, .. }
            | Self::InsideHeader { component, .. }
            | Self::Overlap {
                second: component, ..
            } => (EXTENDED_STATE, u32::from(component.number())),
            Self::Xcr0Rule(_) => (EXTENDED_STATE, 0),
            Self::AreaLen(len) => (EXTENDED_STATE, len.subleaf()),
            Self::LightweightProfiling => (EXTENDED_STATE, 62),
            Self::Hybrid { bit } => bit.leaf(),
            Self::OtherCpuDiffers { subleaf, .. } => (EXTENDED_STATE, subleaf),
            Self::FeaturesAssumed => (1, 0),
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (leaf, subleaf) = self.leaf();
        write!(f, "leaf {leaf:02X}H, sub-leaf {subleaf}: ")?;
        match *self {
            Self::LeafMissing { .. } => f.write_str("not in the dump; expected its registers"),
            Self::SubleafMissing { component } => {
                write!(f, "not in the dump; expected, as {component} is listed")
            }
            Self::WithoutLength { component } => {
                write!(
                    f,
                    "{component} is listed and has 0 bytes; expected a length"
                )
            }
            Self::UnexpectedLength {
                component,
                found,
                expected,
            } => write!(
                f,
                "{component} has {found} bytes; expected the {expected} of its registers"
            ),
            Self::WithoutFeature { component, feature } => {
                write!(f, "{component} is listed and {feature} is 0; expected 1")
            }
            Self::KindDisagrees { component, flags } => write!(
                f,
                "{component} has ECX {flags:#x}; expected bit 0 to agree with where it is listed"
            ),
            Self::SupervisorWithOffset { component, found } => write!(
                f,
                "{component} is a supervisor component at offset {found}; expected 0"
            ),
            Self::InsideHeader { component, found } => {
                write!(f, "{component} at offset {found}; expected 576 or more")
            }
            Self::Overlap { first, second } => {
                write!(f, "{second} shares bytes with {first}; expected none")
            }
            Self::Xcr0Rule(error) => write!(f, "{error}; expected a valid XCR0"),
            Self::LightweightProfiling => f.write_str(
                "component 62 is AMD's lightweight profiling; expected none on a later CPU",
            ),
            Self::Hybrid { bit } => write!(
                f,
                "{bit} is 1: a hybrid CPU, whose other cores may differ; expected cores all alike"
            ),
            Self::OtherCpuDiffers { cpu, .. } => write!(
                f,
                "CPU {cpu} of the dump has other figures; expected those of CPU 0, which are read"
            ),
            Self::FeaturesAssumed => {
                f.write_str("not in the dump; assumed FXSAVE and XSAVE, as leaf 0DH is there")
            }
            Self::AreaLen(len) => len.fmt(f),
        }
    }
}

/// What is odd about a length that the CPU computes for the XCR0 and IA32_XSS of the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AreaLenOddity {
    /// A standard-format area for everything does not end where its last component does.
    Standard {
        /// ECX of sub-leaf 0.
        found: u32,
        /// The largest end of a user component.
        expected: u64,
    },
    /// XCR0 had not everything enabled.
    StandardForPart {
        /// EBX of sub-leaf 0.
        found: u32,
        /// ECX of sub-leaf 0.
        everything: u32,
    },
    /// XCR0 had not everything enabled, whatever IA32_XSS was.
    CompactedForPart {
        /// EBX of sub-leaf 1.
        found: u32,
        /// The length for all user components and IA32_XSS = 0.
        all_user: u64,
    },
    /// No XCR0 and IA32_XSS give this length.
    CompactedUnexplained {
        /// EBX of sub-leaf 1.
        found: u32,
        /// The length for all user components and IA32_XSS = 0.
        all_user: u64,
    },
}

impl AreaLenOddity {
    const fn subleaf(self) -> u32 {
        match self {
            Self::Standard { .. } | Self::StandardForPart { .. } => 0,
            Self::CompactedForPart { .. } | Self::CompactedUnexplained { .. } => 1,
        }
    }
}

impl fmt::Display for AreaLenOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Standard { found, expected } => write!(
                f,
                "ECX is {found}; expected {expected}, where the last user component ends"
            ),
            Self::StandardForPart { found, everything } => write!(
                f,
                "EBX is {found}, for an XCR0 that has not everything; expected {everything}"
            ),
            Self::CompactedForPart { found, all_user } => write!(
                f,
                "EBX is {found}, for an XCR0 that has not everything; expected {all_user} and what \
                 IA32_XSS adds"
            ),
            Self::CompactedUnexplained { found, all_user } => write!(
                f,
                "EBX is {found}, which no XCR0 and IA32_XSS give; expected {all_user} and what \
                 IA32_XSS adds"
            ),
        }
    }
}
