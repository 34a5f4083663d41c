//! What differs between the registers expected and the registers found.
//!
//! Guests compare on stacks of their own: nothing here allocates, locks or panics.

use std::fmt;

use super::register_image::RegisterImage;
use super::register_name::RegisterName;
use super::register_width::RegisterWidth;

/// The contents of one register, of any length up to 512 bits; empty for an x87 register that its
/// tag says is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterValue {
    bytes: [u8; 64],
    len: u8,
}

impl RegisterValue {
    /// The first `len` of `bytes`; the rest is zero, so that equality is equality of the register.
    fn new(bytes: &[u8], len: u8) -> Self {
        let mut value = Self {
            bytes: [0; 64],
            len,
        };
        let used = value.bytes.iter_mut().zip(bytes).take(usize::from(len));
        used.for_each(|(to, from)| *to = *from);
        value
    }

    /// The register's bytes, the lowest first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Display for RegisterValue {
    /// Hexadecimal, the highest byte first; `empty` for an empty x87 register.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 0 {
            return f.write_str("empty");
        }
        f.write_str("0x")?;
        for byte in self.bytes().iter().rev() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A register that holds another value than expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which register.
    pub register: RegisterName,
    /// Its value in the pattern.
    pub expected: RegisterValue,
    /// Its value when the registers were stored.
    pub found: RegisterValue,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, found {}",
            self.register, self.expected, self.found
        )
    }
}

/// The outcome of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Comparison {
    /// How many registers were compared.
    pub checked: u32,
    /// How many of them differ.
    pub mismatches: u32,
    /// The first that differs.
    pub first: Option<Mismatch>,
}

impl Comparison {
    /// Whether every register held the value expected.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.mismatches == 0
    }
}

/// Compares every register of `width`.
pub fn compare(
    expected: &RegisterImage,
    found: &RegisterImage,
    width: RegisterWidth,
) -> Comparison {
    let mut comparison = Comparison {
        checked: 0,
        mismatches: 0,
        first: None,
    };
    for register in RegisterName::every(width) {
        comparison.checked = comparison.checked.saturating_add(1);
        let (expected, found) = (
            expected.value(register, width),
            found.value(register, width),
        );
        if expected != found {
            comparison.mismatches = comparison.mismatches.saturating_add(1);
            comparison.first.get_or_insert(Mismatch {
                register,
                expected,
                found,
            });
        }
    }
    comparison
}

impl RegisterImage {
    /// The value of `register`, as far as the moves of `width` reach; empty for a register that
    /// does not exist.
    #[must_use]
    pub fn value(&self, register: RegisterName, width: RegisterWidth) -> RegisterValue {
        let vector = |number: u8, len: u8| match self.vectors.get(usize::from(number)) {
            Some(bytes) => RegisterValue::new(bytes, len),
            None => RegisterValue::new(&[], 0),
        };
        match register {
            RegisterName::Xmm(number) => vector(number, 16),
            RegisterName::Ymm(number) => vector(number, 32),
            RegisterName::Zmm(number) => vector(number, 64),
            RegisterName::K(number) => match self.opmasks.get(usize::from(number)) {
                Some(opmask) => RegisterValue::new(&opmask.to_le_bytes(), width.opmask_len()),
                None => RegisterValue::new(&[], 0),
            },
            RegisterName::St(number) => match self.st.get(usize::from(number)) {
                Some(bytes) if self.st_is_occupied(number) => RegisterValue::new(bytes, 10),
                Some(_) | None => RegisterValue::new(&[], 0),
            },
            RegisterName::Fcw => RegisterValue::new(&self.fcw().to_le_bytes(), 2),
            RegisterName::Fsw => RegisterValue::new(&self.fsw().to_le_bytes(), 2),
            RegisterName::Ftw => RegisterValue::new(&[self.tag_word().bits()], 1),
            RegisterName::Mxcsr => RegisterValue::new(&self.mxcsr().bits().to_le_bytes(), 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::generate::Patterns;

    type Change = dyn Fn(&mut RegisterImage);

    fn full_pattern(width: RegisterWidth) -> RegisterImage {
        let patterns = Patterns::new(width, 0xffff);
        (0..)
            .map(|generation| patterns.pattern(1, generation))
            .find(|image| image.in_use() == width.components() && image.st_is_occupied(7))
            .unwrap()
    }

    #[test]
    fn an_image_equals_itself_and_the_number_of_registers_is_told() {
        for width in RegisterWidth::ALL {
            let image = full_pattern(width);
            let comparison = compare(&image, &image, width);
            assert!(comparison.is_equal());
            assert_eq!(comparison.checked, width.registers_per_check());
            assert_eq!(comparison.first, None);
        }
    }

    #[test]
    fn one_bit_changed_is_one_mismatch_that_names_the_register() {
        let expected = full_pattern(RegisterWidth::Zmm);
        let changes: [(&str, &Change); 8] = [
            ("ZMM7", &|image| image.vectors[7][63] ^= 0x80),
            ("ZMM31", &|image| image.vectors[31][0] ^= 1),
            ("K3", &|image| image.opmasks[3] ^= 1 << 63),
            ("ST2", &|image| image.st[2][9] ^= 0x80),
            ("FCW", &|image| image.fcw ^= 0x400),
            ("FSW", &|image| image.fsw ^= 0x20),
            ("ST7", &|image| image.st[7][0] ^= 1),
            ("MXCSR", &|image| image.mxcsr ^= 0x8000),
        ];
        for (name, change) in changes {
            let mut found = expected;
            change(&mut found);
            let comparison = compare(&expected, &found, RegisterWidth::Zmm);
            assert_eq!(comparison.mismatches, 1, "{name}");
            assert_eq!(comparison.first.unwrap().register.to_string(), name);
        }
    }

    #[test]
    fn a_register_that_became_empty_is_named_and_so_is_the_tag_word() {
        let expected = full_pattern(RegisterWidth::Xmm);
        let mut found = expected;
        let physical = (found.top() + 5) & 7;
        found.tag_word |= 3 << (2 * physical);
        let comparison = compare(&expected, &found, RegisterWidth::Xmm);
        assert_eq!(comparison.mismatches, 2);
        let mismatch = comparison.first.unwrap();
        assert_eq!(mismatch.register, RegisterName::St(5));
        assert!(mismatch.to_string().ends_with("found empty"), "{mismatch}");
    }

    #[test]
    fn what_lies_beyond_the_width_is_not_compared() {
        let expected = full_pattern(RegisterWidth::Zmm);
        let mut found = expected;
        found.vectors[0][16] ^= 1;
        found.vectors[16] = [0; 64];
        found.opmasks[0] ^= 1 << 16;
        assert!(compare(&expected, &found, RegisterWidth::Xmm).is_equal());
        let ymm = compare(&expected, &found, RegisterWidth::Ymm);
        assert_eq!(ymm.first.unwrap().register, RegisterName::Ymm(0));
        assert_eq!(ymm.mismatches, 1);
        let short = compare(&expected, &found, RegisterWidth::ZmmShortOpmasks);
        assert_eq!(short.mismatches, 2);
    }

    #[test]
    fn a_mismatch_reads_as_a_sentence() {
        let expected = RegisterImage::initial_configuration();
        let mut found = expected;
        found.mxcsr = 0x9fc0;
        let mismatch = compare(&expected, &found, RegisterWidth::Xmm)
            .first
            .unwrap();
        assert_eq!(
            mismatch.to_string(),
            "MXCSR: expected 0x00001f80, found 0x00009fc0"
        );
    }
}
