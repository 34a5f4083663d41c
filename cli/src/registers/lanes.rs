//! `--values`: how the bytes of a vector register are read.

use clap::ValueEnum;

/// What a vector register is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Values {
    /// One hexadecimal number, the highest byte first
    Hex,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Values {
    /// The lanes of `bytes`, lane 0 first; none for [`Values::Hex`].
    pub(crate) fn lanes(self, bytes: &[u8]) -> Vec<String> {
        match self {
            Self::Hex => Vec::new(),
            Self::F32 => each(bytes, |lane| format!("{:?}", f32::from_le_bytes(lane))),
            Self::F64 => each(bytes, |lane| format!("{:?}", f64::from_le_bytes(lane))),
            Self::I8 => each(bytes, |lane| i8::from_le_bytes(lane).to_string()),
            Self::I16 => each(bytes, |lane| i16::from_le_bytes(lane).to_string()),
            Self::I32 => each(bytes, |lane| i32::from_le_bytes(lane).to_string()),
            Self::I64 => each(bytes, |lane| i64::from_le_bytes(lane).to_string()),
            Self::U8 => each(bytes, |lane| u8::from_le_bytes(lane).to_string()),
            Self::U16 => each(bytes, |lane| u16::from_le_bytes(lane).to_string()),
            Self::U32 => each(bytes, |lane| u32::from_le_bytes(lane).to_string()),
            Self::U64 => each(bytes, |lane| u64::from_le_bytes(lane).to_string()),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], text: impl Fn([u8; N]) -> String) -> Vec<String> {
    let (lanes, _) = bytes.as_chunks();
    lanes.iter().map(|lane| text(*lane)).collect()
}

/// `bytes` as one number, the highest byte first: `0x` and two digits for each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().rev().map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_0_is_the_lowest_bytes_and_comes_first() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&1.5f32.to_le_bytes());
        bytes[12..].copy_from_slice(&(-2.0f32).to_le_bytes());
        assert_eq!(Values::F32.lanes(&bytes), ["1.5", "0.0", "0.0", "-2.0"]);
        assert_eq!(hex(&bytes[..4]), "0x3fc00000");
        assert_eq!(Values::I8.lanes(&[0xff, 1]), ["-1", "1"]);
        assert_eq!(Values::U16.lanes(&[0xff, 1]), ["511"]);
        assert!(Values::Hex.lanes(&bytes).is_empty());
    }
}
