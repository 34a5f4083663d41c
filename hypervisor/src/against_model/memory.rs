//! Bytes at a multiple of 64, and bytes a little off.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes whose first is at a multiple of 64.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

const ALIGNMENT: usize = 64;

impl Memory {
    /// All zero.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0u8; len + ALIGNMENT];
        let first = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, first, len }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.first..][..self.len]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.first..][..self.len]
    }
}
