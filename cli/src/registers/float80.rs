//! The 80-bit numbers of the x87 registers as text (SDM 1, 4.2.2 and 8.2.2).

use std::fmt;

/// Significant decimal digits printed: no two 80-bit numbers look the same.
const DIGITS: usize = 21;
/// Decimal digits of one limb.
const LIMB_DIGITS: usize = 9;
const LIMB: u64 = 1_000_000_000;
/// Limbs that a product keeps: what is cut off is less than one part in 10^108 each time, and it is
/// cut at most 1300 times, so the digits printed are those of the exact value, rounded, unless it lies
/// within 10^-80 of the middle between two of them.
const LIMBS: usize = 13;

/// The ten bytes of an x87 register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Float80 {
    pub(crate) negative: bool,
    /// Biased by 16383.
    pub(crate) exponent: u16,
    /// With the integer bit, which is not implied.
    pub(crate) significand: u64,
}

/// What the tag word says of an occupied register (SDM 1, 8.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Valid,
    Zero,
    Special,
    Empty,
}

impl Float80 {
    pub(crate) fn from_bytes(bytes: [u8; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, low, high] = bytes;
        let top = u16::from_le_bytes([low, high]);
        Self {
            negative: top >> 15 == 1,
            exponent: top & 0x7fff,
            significand: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// The tag of a register that is occupied and holds this.
    pub(crate) const fn tag(self) -> Tag {
        match (self.exponent, self.significand) {
            (0, 0) => Tag::Zero,
            (0 | 0x7fff, _) => Tag::Special,
            (_, significand) if significand >> 63 == 1 => Tag::Valid,
            _ => Tag::Special,
        }
    }
}

impl Tag {
    /// The two bits in the tag word of FSAVE.
    pub(crate) const fn bits(self) -> u16 {
        match self {
            Self::Valid => 0,
            Self::Zero => 1,
            Self::Special => 2,
            Self::Empty => 3,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Zero => "zero",
            Self::Special => "special",
            Self::Empty => "empty",
        }
    }
}

/// As C's `%.21Lg` writes it, NaNs with their 64-bit significand; encodings that the x87 refuses
/// are named so.
impl fmt::Display for Float80 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        match (self.exponent, self.significand) {
            (0x7fff, 0x8000_0000_0000_0000) => f.write_str("inf"),
            (0x7fff, significand) => write!(f, "nan({significand:#018x})"),
            (0, 0) => f.write_str("0"),
            (1.., significand) if significand >> 63 == 0 => {
                write!(f, "unsupported({significand:#018x})")
            }
            (exponent, significand) => {
                // A denormal has the exponent of the smallest normal number.
                let power = i32::from(exponent.max(1)) - 16383 - 63;
                f.write_str(&Decimal::of(significand, power).to_string())
            }
        }
    }
}

/// `0.d1 d2 d3 ... * 10^point`, d1 not 0.
struct Decimal {
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// `significand * 2^power`, rounded to [`DIGITS`].
    fn of(significand: u64, power: i32) -> Self {
        let mut product = Product::of(significand);
        // 2^-n is 5^n / 10^n.
        let (factor, step, mut steps) = if power < 0 {
            (5, 12, -power)
        } else {
            (2, 29, power)
        };
        let tens = power.min(0);
        while steps > 0 {
            let now = steps.min(step);
            product.multiply(u64::pow(factor, now.unsigned_abs()));
            steps -= now;
        }
        let mut digits = product.digits();
        let whole = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let mut point = whole + product.dropped + tens;
        let round_up = digits.get(DIGITS).is_some_and(|digit| {
            let exactly_half = *digit == 5 && digits[DIGITS + 1..].iter().all(|digit| *digit == 0);
            let odd = digits[DIGITS - 1] % 2 == 1;
            *digit >= 5 && (!exactly_half || odd)
        });
        digits.truncate(DIGITS);
        if round_up {
            point += increment(&mut digits);
        }
        while digits.len() > 1 && digits.last() == Some(&0) {
            digits.pop();
        }
        Self { digits, point }
    }
}

/// One unit more in the last place; 1 where the number grows by a digit.
fn increment(digits: &mut Vec<u8>) -> i32 {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return 0;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
    digits.pop();
    1
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self
            .digits
            .iter()
            .map(|digit| char::from(b'0' + digit))
            .collect();
        let exponent = self.point - 1;
        if !(-4..21).contains(&exponent) {
            let (first, rest) = text.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            let sign = if exponent < 0 { '-' } else { '+' };
            return write!(f, "{first}{dot}{rest}e{sign}{:02}", exponent.abs());
        }
        match usize::try_from(self.point) {
            Ok(point) if point >= text.len() => write!(f, "{text:0<point$}"),
            Ok(point) if point > 0 => write!(f, "{}.{}", &text[..point], &text[point..]),
            _ => {
                let zeros = usize::try_from(-self.point).unwrap_or(0);
                write!(f, "0.{}{text}", "0".repeat(zeros))
            }
        }
    }
}

/// A natural number, its highest decimal limbs.
struct Product {
    /// Lowest first.
    limbs: Vec<u64>,
    /// Decimal digits cut off at the low end.
    dropped: i32,
}

impl Product {
    fn of(value: u64) -> Self {
        let limbs = vec![value % LIMB, value / LIMB % LIMB, value / LIMB / LIMB];
        Self { limbs, dropped: 0 }
    }

    /// `factor` is below 2^30.
    fn multiply(&mut self, factor: u64) {
        let mut carry = 0;
        for limb in &mut self.limbs {
            let product = *limb * factor + carry;
            *limb = product % LIMB;
            carry = product / LIMB;
        }
        if carry > 0 {
            self.limbs.push(carry);
        }
        while self.limbs.len() > LIMBS {
            self.limbs.remove(0);
            self.dropped += 9;
        }
    }

    /// Highest first, without leading zeros.
    fn digits(&self) -> Vec<u8> {
        let digits = self.limbs.iter().rev().flat_map(|limb| {
            format!("{limb:0LIMB_DIGITS$}")
                .into_bytes()
                .into_iter()
                .map(|digit| digit - b'0')
        });
        digits.skip_while(|digit| *digit == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(top: u16, significand: u64) -> String {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&significand.to_le_bytes());
        bytes[8..].copy_from_slice(&top.to_le_bytes());
        Float80::from_bytes(bytes).to_string()
    }

    /// The expected texts are what glibc's printf writes for `%.21Lg`.
    #[test]
    fn numbers_are_written_as_printf_writes_them() {
        for (top, significand, expected) in [
            (0x3fff, 0x8000_0000_0000_0000, "1"),
            (0xc000, 0x8000_0000_0000_0000, "-2"),
            (0x4000, 0xc90f_daa2_2168_c235, "3.14159265358979323851"),
            (0x3ffb, 0xcccc_cccc_cccc_cccd, "0.100000000000000000001"),
            (0x3ff1, 0xd1b7_1758_e219_652c, "0.000100000000000000000001"),
            (0x3fee, 0xa7c5_ac47_1b47_8423, "9.99999999999999999995e-06"),
            (0x4040, 0x8000_0000_0000_0000, "36893488147419103232"),
            (0x4042, 0xad78_ebc5_ac62_0000, "200000000000000000000"),
            (0x4043, 0xd8d7_26b7_177a_8000, "500000000000000000000"),
            (0x4045, 0x8785_6785_6785_6785, "1.24996162428005068045e+21"),
            (
                0x7ffe,
                0xffff_ffff_ffff_ffff,
                "1.18973149535723176502e+4932",
            ),
            (
                0x0001,
                0x8000_0000_0000_0000,
                "3.36210314311209350626e-4932",
            ),
            (
                0x0000,
                0x0000_0000_0000_0001,
                "3.64519953188247460253e-4951",
            ),
            (0x4048, 0xc9f2_c9cd_0467_4edf, "1.49011611938476562504e+22"),
            (0x3fff, 0x8000_0000_0000_0001, "1.00000000000000000011"),
            (
                0x2345,
                0x9234_5678_90ab_cdef,
                "1.91938674937708357328e-2214",
            ),
            (
                0x6789,
                0xfedc_ba98_7654_3210,
                "2.11208604310308691165e+3047",
            ),
        ] {
            assert_eq!(text(top, significand), expected);
        }
    }

    #[test]
    fn what_is_no_number_is_said() {
        assert_eq!(text(0x7fff, 1 << 63), "inf");
        assert_eq!(text(0xffff, 1 << 63), "-inf");
        assert_eq!(text(0xffff, 3 << 62), "-nan(0xc000000000000000)");
        assert_eq!(text(0x4000, 1), "unsupported(0x0000000000000001)");
        assert_eq!(text(0x0000, 0), "0");
        assert_eq!(text(0x8000, 0), "-0");
    }

    #[test]
    fn the_tag_is_that_of_the_manual() {
        for (exponent, significand, tag) in [
            (0, 0, Tag::Zero),
            (0, 1 << 63, Tag::Special),
            (0x3fff, 1 << 63, Tag::Valid),
            (0x3fff, 1, Tag::Special),
            (0x7fff, 1 << 63, Tag::Special),
        ] {
            let number = Float80 {
                negative: false,
                exponent,
                significand,
            };
            assert_eq!(number.tag(), tag, "{number:?}");
        }
    }
}
