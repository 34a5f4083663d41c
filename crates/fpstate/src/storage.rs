//! Memory lent by the caller.

/// Memory for an area. The library never allocates: it borrows bytes through this.
///
/// `&mut [u8]` is one, for a kernel that lends pages or slab objects; `BoxedArea` (feature `alloc`)
/// is another. The bytes must stay where they are while they are lent: the address of an area is
/// checked once, when it is put to use.
pub trait AreaStorage {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, to write.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl AreaStorage for &mut [u8] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}
