//! Bytes as choices. Where they end every further choice is 0, so a shorter input is a simpler case.

/// What is left of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there is nothing left to choose by.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `N` bytes, zeros behind the last.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let (now, later) = self.rest.split_at(N.min(self.rest.len()));
        self.rest = later;
        let mut bytes = [0; N];
        bytes[..now.len()].copy_from_slice(now);
        bytes
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    /// Two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// Four bytes.
    pub fn dword(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Eight bytes.
    pub fn qword(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// One of `choices`, of which there are at most 256.
    ///
    /// # Panics
    /// If there are none.
    pub fn choose<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::from(self.byte()) % choices.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_beyond_the_last_byte_is_the_first() {
        let mut input = Input::new(&[1, 2, 3]);
        assert_eq!(input.word(), 0x201);
        assert_eq!(input.choose(&['a', 'b']), &'b');
        assert!(input.is_empty());
        assert_eq!((input.qword(), input.choose(&['a', 'b'])), (0, &'a'));
    }
}
