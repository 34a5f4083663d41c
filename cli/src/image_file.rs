//! A file that holds a bare XSAVE image, as a VMM or a debugger stores one: FXSAVE's 512 bytes, the
//! standard format (`KVM_GET_XSAVE`'s 4096 bytes or more, or exactly an area), or the compacted one.
//!
//! Which of them is read from the file: its length, and bit 63 of XCOMP_BV. Of which CPU it is, is
//! in no such file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fpstate::{Layout, LayoutError};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::{EXTENDED_REGION_OFFSET, XsaveHeader};
use fpstate_arch::{ComponentSet, Enumeration, Format};

/// Longest image, in bytes. The longest area of a CPU that is known has 11,776; more than this is
/// not read.
pub(crate) const LONGEST_IMAGE: usize = 1 << 20;

/// What an ELF file begins with. As an image it would have an FCW of 457FH, and bit 14 of that is
/// reserved (SDM 1, 8.1.5).
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// An image as it stands in a file; only what is needed to recognise it was checked.
#[derive(Clone, Debug)]
pub(crate) struct ImageFile {
    bytes: Vec<u8>,
    /// `None` for FXSAVE's 512 bytes.
    header: Option<XsaveHeader>,
}

/// Why a file is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageFileError {
    #[error("{path:?}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path:?}: {error}")]
    NoImage { path: PathBuf, error: NoImage },
}

/// Why bytes are no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoImage {
    #[error("no image: more than {LONGEST_IMAGE} bytes")]
    TooLong,
    #[error(
        "no image: ends at byte {found}; the shortest one, of FXSAVE, has {LEGACY_REGION_LEN} bytes"
    )]
    NoLegacyRegion { found: usize },
    #[error(
        "no image: ends at byte {found}, inside the XSAVE header, which has bytes \
         {LEGACY_REGION_LEN} to {}", EXTENDED_REGION_OFFSET - 1
    )]
    InsideHeader { found: usize },
    #[error("no image: an ELF file by its bytes 0 to 3; `fpstate inspect` reads cores")]
    Elf,
    #[error("no snapshot: at byte {offset}: {reason}")]
    Snapshot { offset: usize, reason: String },
}

/// The bytes of a file, no more than [`LONGEST_IMAGE`] and one.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, ImageFileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_IMAGE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| ImageFileError::Read {
            path: path.to_owned(),
            error,
        })?;
    Ok(bytes)
}

impl ImageFile {
    /// Reads no more than [`LONGEST_IMAGE`] bytes and one.
    pub(crate) fn read(path: &Path) -> Result<Self, ImageFileError> {
        Self::recognise(read_bytes(path)?).map_err(|error| ImageFileError::NoImage {
            path: path.to_owned(),
            error,
        })
    }

    /// The image that `bytes` are, from byte 0 to the last.
    pub(crate) fn recognise(bytes: Vec<u8>) -> Result<Self, NoImage> {
        let found = bytes.len();
        if bytes.starts_with(&ELF_MAGIC) {
            return Err(NoImage::Elf);
        }
        if found > LONGEST_IMAGE {
            return Err(NoImage::TooLong);
        }
        let Some((_, rest)) = bytes.split_first_chunk::<LEGACY_REGION_LEN>() else {
            return Err(NoImage::NoLegacyRegion { found });
        };
        let header = match rest.first_chunk() {
            None if rest.is_empty() => None,
            None => return Err(NoImage::InsideHeader { found }),
            Some(header) => Some(XsaveHeader::from_bytes(header)),
        };
        Ok(Self { bytes, header })
    }

    /// Every byte of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes 512 to 575, not checked; none in the FXSAVE format.
    pub(crate) fn header(&self) -> Option<&XsaveHeader> {
        self.header.as_ref()
    }

    pub(crate) fn format(&self) -> Format {
        self.header
            .as_ref()
            .map_or(Format::Fxsave, XsaveHeader::format)
    }

    /// How a standard-format image is laid out that `cpu` made with this `xcr0`. Without one: with
    /// the components of the CPU that the file has bytes for, and those that its XSTATE_BV lists, so
    /// that of a file cut short it can be said what is missing.
    pub(crate) fn standard_layout<'e>(
        &self,
        cpu: &'e Enumeration,
        xcr0: Option<ComponentSet>,
    ) -> Result<Layout<'e>, LayoutError> {
        if let Some(xcr0) = xcr0 {
            return Layout::standard(cpu, xcr0);
        }
        let all = Layout::standard(cpu, cpu.user_components())?;
        let has_bytes = all
            .extended_components()
            .filter(|placed| placed.range().end <= self.bytes.len())
            .fold(ComponentSet::LEGACY, |set, placed| {
                set.with(placed.component())
            });
        let listed = self
            .header
            .map_or(ComponentSet::EMPTY, |header| header.xstate_bv);
        Ok(all.narrowed_to(has_bytes.union(listed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_choice::CpuChoice;

    /// An image of `len` bytes, all 0 but XSTATE_BV and XCOMP_BV.
    fn bytes(len: usize, xstate_bv: u64, xcomp_bv: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        bytes[520..528].copy_from_slice(&xcomp_bv.to_le_bytes());
        bytes
    }

    fn format(bytes: Vec<u8>) -> Result<Format, NoImage> {
        ImageFile::recognise(bytes).map(|image| image.format())
    }

    #[test]
    fn the_format_is_in_the_length_and_in_bit_63_of_xcomp_bv() {
        assert_eq!(format(vec![0; 512]), Ok(Format::Fxsave));
        assert_eq!(format(bytes(576, 7, 0)), Ok(Format::Standard));
        assert_eq!(format(bytes(4096, 7, 7)), Ok(Format::Standard));
        assert_eq!(format(bytes(832, 7, 1 << 63 | 7)), Ok(Format::Compacted));
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_byte_where_it_ends() {
        for found in [0, 1, 511] {
            assert_eq!(
                format(vec![0; found]),
                Err(NoImage::NoLegacyRegion { found })
            );
        }
        for found in [513, 575] {
            assert_eq!(format(vec![0; found]), Err(NoImage::InsideHeader { found }));
        }
        assert_eq!(
            format(vec![0; LONGEST_IMAGE]),
            Ok(Format::Standard),
            "the longest one"
        );
        assert_eq!(format(vec![0; LONGEST_IMAGE + 1]), Err(NoImage::TooLong));
        assert_eq!(format(b"\x7fELF\x02".to_vec()), Err(NoImage::Elf));
    }

    #[test]
    fn a_device_without_an_end_is_not_read_to_its_end() {
        if !Path::new("/dev/zero").exists() {
            return;
        }
        let error = ImageFile::read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""/dev/zero": no image: more than 1048576 bytes"#
        );
    }

    #[test]
    fn a_short_image_has_the_components_it_has_bytes_for_and_those_it_lists() {
        let cpu = CpuChoice::of(Some(Path::new("sapphire-rapids"))).unwrap();
        let components = |len, xstate_bv, xcr0: Option<u64>| {
            let image = ImageFile::recognise(bytes(len, xstate_bv, 0)).unwrap();
            image
                .standard_layout(&cpu.enumeration, xcr0.map(ComponentSet::from_bits))
                .unwrap()
                .components()
                .bits()
        };
        assert_eq!(components(832, 7, None), 7);
        assert_eq!(
            components(4096, 7, None),
            0x2_02e7,
            "tile data end at 11008"
        );
        assert_eq!(components(4096, 0x4_0007, None), 0x6_02e7);
        assert_eq!(components(4096, 7, Some(3)), 3);
    }
}
