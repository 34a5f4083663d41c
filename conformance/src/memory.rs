//! Aligned memory.

/// Bytes on the heap, the first at a multiple of 64.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Memory {
    /// `len` bytes, all 0.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + 63];
        let start = bytes.as_ptr().addr().wrapping_neg() % 64;
        Self { bytes, start, len }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn holding(bytes: &[u8]) -> Self {
        let mut memory = Self::zeroed(bytes.len());
        memory.bytes_mut().copy_from_slice(bytes);
        memory
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}
