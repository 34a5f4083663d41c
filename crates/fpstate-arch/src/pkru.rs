//! PKRU: the rights of protection keys for user pages (SDM 3, 4.6.2; state component 9).

/// The register's 32 bits: for key i, bit 2i disables access and bit 2i + 1 writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Pkru(u32);

impl Pkru {
    /// The value after RESET and in the initial configuration: every key allows everything.
    pub const INITIAL: Self = Self(0);

    /// Any 32 bits; WRPKRU takes them all.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The 32 bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_kept() {
        assert_eq!(Pkru::from_bits(0x5555_5554).bits(), 0x5555_5554);
    }
}
