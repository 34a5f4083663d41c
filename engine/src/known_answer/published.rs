//! Results as they stand in the publications.

/// Bytes from hexadecimal digits, so that a result stands here as it is published.
pub(super) const fn hex<const N: usize>(digits: &str) -> [u8; N] {
    let digits = digits.as_bytes();
    assert!(digits.len() == 2 * N);
    let mut bytes = [0; N];
    let mut position = 0;
    while position < N {
        bytes[position] = digit(digits[2 * position]) << 4 | digit(digits[2 * position + 1]);
        position += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_become_bytes_in_order() {
        assert_eq!(hex::<3>("0af109"), [0x0a, 0xf1, 0x09]);
    }
}
