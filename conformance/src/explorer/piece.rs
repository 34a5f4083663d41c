//! Memory of areas.

use fpstate::AreaStorage;

/// Bytes of the longest area of a small CPU.
pub(super) const PIECE_LEN: usize = 768;

#[derive(Clone)]
#[repr(align(64))]
struct Bytes([u8; PIECE_LEN]);

/// Memory for one area, however much room the area has. There are as many pieces as a world needs at
/// most, so memory that is given back is lent again.
#[derive(Clone)]
pub(super) struct Piece {
    bytes: Box<Bytes>,
    number: u8,
}

impl Piece {
    pub(super) fn new(number: u8) -> Self {
        let bytes = Box::new(Bytes([0xee; PIECE_LEN]));
        Self { bytes, number }
    }

    pub(super) const fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn address(&self) -> usize {
        self.bytes.0.as_ptr().addr()
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Piece({})", self.number)
    }
}

impl AreaStorage for Piece {
    fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes.0
    }
}
