//! What the manuals say of each component whatever the CPU: its length, and the CPUID bits of the
//! feature it belongs to. Both are words of the manual, so they stand in `fpstate-arch`.

pub use fpstate_arch::feature_bit::{FeatureBit, features};
pub use fpstate_arch::register_len::len_of_registers;

/// Hybrid processor: the CPUs of one package differ.
pub(crate) const HYBRID: FeatureBit = FeatureBit::HYBRID;
