//! What a file is: what its first bytes and its length say, or the caller.

use clap::ValueEnum;
use fpstate_arch::Format;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;

use crate::saved_image::{Form, frame_bytes, header, software_xcr0};

/// Bytes of `struct kvm_xsave`, the least that `KVM_SET_XSAVE` reads.
pub(crate) const SHORTEST_KVM_IMAGE: usize = 4096;

/// What a file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileKind {
    /// The image of KVM, 4096 bytes or more: standard format, XCR0 in bytes 471:464
    Kvm,
    /// A standard-format image of XSAVE or XSAVEOPT
    Xsave,
    /// A compacted image: XSAVEC, XSAVES, MSHV, WHP
    Compacted,
    /// 512 bytes of FXSAVE64
    Fxsave,
    /// The extended state in a signal frame of Linux: "FPXS" at byte 464
    SignalFrame,
    /// An ELF core of a 64-bit process
    ElfCore,
    /// A snapshot of fpstate-kvm in JSON
    Snapshot,
}

/// Why bytes are no image of any kind: they end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CutShort {
    #[error("the file ends at byte {found}; an image has 512 bytes (FXSAVE) or 576 and more")]
    TooShort { found: usize },
    #[error(
        "the file ends at byte {found}, inside the XSAVE header, which has bytes \
         {LEGACY_REGION_LEN} to {}", EXTENDED_REGION_OFFSET - 1
    )]
    InsideHeader { found: usize },
}

impl FileKind {
    /// As `--as` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Xsave => "xsave",
            Self::Compacted => "compacted",
            Self::Fxsave => "fxsave",
            Self::SignalFrame => "signal-frame",
            Self::ElfCore => "elf-core",
            Self::Snapshot => "snapshot",
        }
    }

    /// The rules by which the image is read that such a file is; `None` where it holds several.
    pub(crate) const fn form(self) -> Option<Form> {
        Some(match self {
            Self::Kvm => Form::Kvm,
            Self::Xsave => Form::Xsave,
            Self::Compacted => Form::Compacted,
            Self::Fxsave => Form::Fxsave,
            Self::SignalFrame => Form::SignalFrame,
            Self::Snapshot => Form::Snapshot,
            Self::ElfCore => return None,
        })
    }
}

/// What a file is, from its length, its software bytes and its header.
pub(crate) fn recognised(bytes: &[u8]) -> Result<FileKind, CutShort> {
    if is_text(bytes) {
        return Ok(FileKind::Snapshot);
    }
    if frame_bytes(bytes).is_some() {
        return Ok(FileKind::SignalFrame);
    }
    if bytes.len() == LEGACY_REGION_LEN {
        return Ok(FileKind::Fxsave);
    }
    require_header(bytes)?;
    let is_compacted = header(bytes).is_some_and(|header| header.format() == Format::Compacted);
    let has_xcr0 = software_xcr0(bytes).is_some();
    Ok(match (is_compacted, has_xcr0) {
        (true, _) => FileKind::Compacted,
        (false, true) if bytes.len() >= SHORTEST_KVM_IMAGE => FileKind::Kvm,
        (false, _) => FileKind::Xsave,
    })
}

/// Whether the first bytes are those of a JSON object: an image has zeros among them.
fn is_text(bytes: &[u8]) -> bool {
    let first = bytes.get(..512).unwrap_or(bytes);
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    first.trim_ascii_start().first() == Some(&b'{') && first.iter().all(is_text)
}

/// An image with a header has 576 bytes.
pub(crate) fn require_header(bytes: &[u8]) -> Result<(), CutShort> {
    match bytes.len() {
        found if found <= LEGACY_REGION_LEN => Err(CutShort::TooShort { found }),
        found if found < EXTENDED_REGION_OFFSET => Err(CutShort::InsideHeader { found }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate::SoftwareBytes;

    /// A file of `len` bytes, all 0 but XSTATE_BV and XCOMP_BV.
    fn bytes(len: usize, xstate_bv: u64, xcomp_bv: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        bytes[520..528].copy_from_slice(&xcomp_bv.to_le_bytes());
        bytes
    }

    /// The same with this at byte 464.
    fn with_software(mut bytes: Vec<u8>, software: u64) -> Vec<u8> {
        bytes[464..472].copy_from_slice(&software.to_le_bytes());
        bytes
    }

    fn kind(bytes: Vec<u8>) -> Result<FileKind, String> {
        recognised(&bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_kind_is_in_the_length_the_software_bytes_and_bit_63_of_xcomp_bv() {
        assert_eq!(kind(vec![0; 512]), Ok(FileKind::Fxsave));
        assert_eq!(kind(bytes(576, 7, 0)), Ok(FileKind::Xsave));
        assert_eq!(kind(bytes(4096, 7, 7)), Ok(FileKind::Xsave));
        assert_eq!(kind(bytes(832, 7, 1 << 63 | 7)), Ok(FileKind::Compacted));
        let whole = || bytes(4096, 7, 0);
        assert_eq!(kind(with_software(whole(), 7)), Ok(FileKind::Kvm));
        assert_eq!(kind(with_software(whole(), 3)), Ok(FileKind::Xsave));
        let frame = u64::from(SoftwareBytes::MAGIC1) | 4100 << 32;
        assert_eq!(
            kind(with_software(whole(), frame)),
            Ok(FileKind::SignalFrame)
        );
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_byte_where_it_ends() {
        for found in [0, 1, 511] {
            let line = kind(vec![0; found]).unwrap_err();
            assert!(line.contains(&format!("ends at byte {found}; ")), "{line}");
        }
        for found in [513, 575] {
            let line = kind(vec![0; found]).unwrap_err();
            let expected = format!("ends at byte {found}, inside the XSAVE header");
            assert!(line.contains(&expected), "{line}");
        }
    }
}
