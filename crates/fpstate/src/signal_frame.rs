//! The image in a Linux signal frame: a standard-format image whose bytes 464 to 511 say how long
//! it is and which components it has room for, and a second magic number behind it.

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::enumeration::Enumeration;
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion};

use crate::image::StandardImage;
use crate::image_error::ImageError;
use crate::layout::{Layout, LayoutError};

/// "FPXS": the frame has an XSAVE image, not FXSAVE's 512 bytes alone.
pub(crate) const MAGIC1: u32 = 0x4650_5853;
/// "FPXE": stands directly behind the image.
pub(crate) const MAGIC2: u32 = 0x4650_5845;
pub(crate) const MAGIC2_LEN: usize = 4;

/// What a signal frame says of itself: bytes 464 to 511 of its image (`fpx_sw_bytes`, whose padding
/// is 0), any content. What `sigreturn` makes of them is [`Sigreturn`](crate::Sigreturn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftwareBytes {
    /// Bytes 464 to 467: [`MAGIC1`](Self::MAGIC1), "FPXS", where the others mean something.
    pub magic1: u32,
    /// Bytes 468 to 471: bytes of the image and the second magic number.
    pub extended_size: u32,
    /// Bytes 472 to 479: the components that the image has room for.
    pub xfeatures: ComponentSet,
    /// Bytes 480 to 483: bytes of the image; the second magic number stands behind them.
    pub xstate_size: u32,
}

impl SoftwareBytes {
    /// `FP_XSTATE_MAGIC1`, "FPXS".
    pub const MAGIC1: u32 = MAGIC1;

    /// Those of a frame's legacy region.
    #[must_use]
    pub fn of(region: &LegacyRegion) -> Self {
        // The tail starts at byte 416; software's bytes start at 464.
        let fields = region.tail.get(464 - 416..).unwrap_or(&[]);
        let (magic1, fields) = take_u32(fields);
        let (extended_size, fields) = take_u32(fields);
        let (low, fields) = take_u32(fields);
        let (high, fields) = take_u32(fields);
        let (xstate_size, _) = take_u32(fields);
        Self {
            magic1,
            extended_size,
            xfeatures: ComponentSet::from_halves(low, high),
            xstate_size,
        }
    }

    pub(crate) fn words(self) -> impl Iterator<Item = u32> {
        let Self {
            magic1,
            extended_size,
            xfeatures,
            xstate_size,
        } = self;
        let (low, high) = xfeatures.halves();
        [magic1, extended_size, low, high, xstate_size]
            .into_iter()
            .chain([0; 7])
    }
}

/// What Linux writes into the bytes that the legacy region leaves to software (`fpx_sw_bytes`), of a
/// frame that is to be whole: for a process that reads its own frames. What `sigreturn` makes of
/// any frame is [`Sigreturn`](crate::Sigreturn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalFrame {
    /// Bytes of the image and the second magic number: `extended_size`.
    extended_size: usize,
    /// Bytes of the image: `xstate_size`.
    xstate_size: usize,
    /// Components the image has room for: `xfeatures`.
    xfeatures: ComponentSet,
}

impl SignalFrame {
    /// Reads the software bytes of a frame's legacy region.
    ///
    /// # Errors
    /// [`SignalFrameError::Magic1`] for a frame with FXSAVE's bytes only;
    /// [`SignalFrameError::Sizes`] when the sizes contradict each other.
    pub fn from_legacy_region(bytes: &[u8; LEGACY_REGION_LEN]) -> Result<Self, SignalFrameError> {
        let SoftwareBytes {
            magic1,
            extended_size,
            xfeatures,
            xstate_size,
        } = SoftwareBytes::of(&LegacyRegion::from_bytes(bytes));
        if magic1 != MAGIC1 {
            return Err(SignalFrameError::Magic1 { found: magic1 });
        }
        let sizes = SignalFrameError::Sizes {
            extended_size,
            xstate_size,
        };
        let extended_size = usize::try_from(extended_size).map_err(|_| sizes)?;
        let xstate_size = usize::try_from(xstate_size).map_err(|_| sizes)?;
        if extended_size
            .checked_sub(MAGIC2_LEN)
            .is_none_or(|room| room < xstate_size)
        {
            return Err(sizes);
        }
        Ok(Self {
            extended_size,
            xstate_size,
            xfeatures,
        })
    }

    /// Bytes from the start of the frame's image to the end of the second magic number.
    #[must_use]
    pub const fn extended_size(&self) -> usize {
        self.extended_size
    }

    /// The frame's image, checked. `bytes` is the image and what follows it, at least
    /// [`extended_size`](Self::extended_size) bytes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn image<'b>(
        &self,
        bytes: &'b [u8],
        enumeration: &'b Enumeration,
        mxcsr_mask: u32,
    ) -> Result<StandardImage<'b>, SignalFrameError> {
        let (found, needed) = (bytes.len(), self.extended_size);
        let Some((image, behind)) = bytes
            .get(..needed)
            .and_then(|b| b.split_at_checked(self.xstate_size))
        else {
            return Err(SignalFrameError::TooShort { found, needed });
        };
        let (magic2, _) = take_u32(behind);
        if magic2 != MAGIC2 {
            return Err(SignalFrameError::Magic2 {
                found: magic2,
                offset: self.xstate_size,
            });
        }
        let layout =
            Layout::standard(enumeration, self.xfeatures).map_err(SignalFrameError::Layout)?;
        StandardImage::parse(image, layout, mxcsr_mask).map_err(SignalFrameError::Image)
    }
}

/// A little-endian 32-bit field and what follows it; 0 beyond the end.
pub(crate) fn take_u32(bytes: &[u8]) -> (u32, &[u8]) {
    bytes
        .split_first_chunk()
        .map_or((0, &[]), |(field, rest)| (u32::from_le_bytes(*field), rest))
}

/// Why bytes are not the extended state of a signal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalFrameError {
    /// The word at byte 464 is not "FPXS".
    Magic1 {
        /// Its value.
        found: u32,
    },
    /// The word behind the image is not "FPXE".
    Magic2 {
        /// Its value.
        found: u32,
        /// Its offset from byte 0 of the image.
        offset: usize,
    },
    /// `extended_size` has no room for `xstate_size` bytes and the second magic number.
    Sizes {
        /// `extended_size`, byte 468.
        extended_size: u32,
        /// `xstate_size`, byte 480.
        xstate_size: u32,
    },
    /// Fewer bytes than `extended_size`.
    TooShort {
        /// Bytes there are.
        found: usize,
        /// `extended_size`.
        needed: usize,
    },
    /// `xfeatures` has no layout on this CPU.
    Layout(LayoutError),
    /// The image breaks a rule of XRSTOR.
    Image(ImageError),
}

impl fmt::Display for SignalFrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic1 { found } => {
                write!(
                    f,
                    "magic number at byte 464 is {found:#x}; allowed: {MAGIC1:#x}"
                )
            }
            Self::Magic2 { found, offset } => {
                write!(
                    f,
                    "magic number at byte {offset} is {found:#x}; allowed: {MAGIC2:#x}"
                )
            }
            Self::Sizes {
                extended_size,
                xstate_size,
            } => {
                write!(
                    f,
                    "extended_size {extended_size} for an xstate_size of {xstate_size}"
                )
            }
            Self::TooShort { found, needed } => {
                write!(
                    f,
                    "signal frame of {found} bytes; extended_size is {needed}"
                )
            }
            Self::Layout(error) => write!(f, "xfeatures: {error}"),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SignalFrameError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Layout(error) => Some(error),
            // Displayed as it is: what it says of its source goes on.
            Self::Image(error) => error.source(),
            Self::Magic1 { .. }
            | Self::Magic2 { .. }
            | Self::Sizes { .. }
            | Self::TooShort { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::area::MxcsrError;
    use fpstate_arch::component::Component;
    use fpstate_arch::cpuid::CpuidRegisters;
    use std::string::ToString;

    /// A frame as a 6.18 kernel writes it on a CPU with AVX: `xstate_size` 832, `extended_size`
    /// 836, `xfeatures` 7.
    fn frame() -> [u8; 836] {
        let mut bytes = [0; 836];
        bytes[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        bytes[464..468].copy_from_slice(b"SXPF");
        bytes[468..472].copy_from_slice(&836_u32.to_le_bytes());
        bytes[472..480].copy_from_slice(&7_u64.to_le_bytes());
        bytes[480..484].copy_from_slice(&832_u32.to_le_bytes());
        bytes[512] = 7;
        bytes[576..832].fill(0x5a);
        bytes[832..836].copy_from_slice(b"EXPF");
        bytes
    }

    fn avx_cpu() -> Enumeration {
        Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                ..Default::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: 7,
                ..Default::default()
            },
            (0xd, 2) => CpuidRegisters {
                eax: 256,
                ebx: 576,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        })
    }

    fn parse(bytes: &[u8; 836]) -> Result<ComponentSet, SignalFrameError> {
        let cpu = avx_cpu();
        let frame = SignalFrame::from_legacy_region(bytes.first_chunk().unwrap())?;
        assert_eq!(frame.extended_size(), 836);
        let image = frame.image(bytes, &cpu, 0xffff)?;
        assert_eq!(image.extended(Component::Avx), Some(&[0x5a; 256][..]));
        Ok(image.xstate_bv())
    }

    #[test]
    fn a_frame_as_linux_writes_it_is_understood() {
        assert_eq!(parse(&frame()), Ok(ComponentSet::from_bits(7)));
    }

    #[test]
    fn each_field_that_is_wrong_is_named() {
        let cases: [(usize, u8, SignalFrameError); 6] = [
            (464, 0, SignalFrameError::Magic1 { found: 0x4650_5800 }),
            (
                832,
                0,
                SignalFrameError::Magic2 {
                    found: 0x4650_5800,
                    offset: 832,
                },
            ),
            (
                468,
                0,
                SignalFrameError::Sizes {
                    extended_size: 0x300,
                    xstate_size: 832,
                },
            ),
            (
                472,
                0x27,
                SignalFrameError::Layout(LayoutError::NotEnumerated {
                    missing: ComponentSet::only(Component::Opmask),
                }),
            ),
            (
                520,
                1,
                SignalFrameError::Image(ImageError::XcompBv { found: 1 }),
            ),
            (
                26,
                1,
                SignalFrameError::Image(ImageError::Mxcsr(MxcsrError {
                    found: 0x1_1f80,
                    mask: 0xffff,
                })),
            ),
        ];
        for (offset, value, error) in cases {
            let mut bytes = frame();
            bytes[offset] = value;
            assert_eq!(parse(&bytes), Err(error));
        }
    }

    #[test]
    fn a_refused_frame_says_which_byte_held_what() {
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                SignalFrameError::Magic1 { found: 1 }.to_string(),
                "magic number at byte 464 is 0x1; allowed: 0x46505853",
            ),
            (
                SignalFrameError::Magic2 {
                    found: 2,
                    offset: 832,
                }
                .to_string(),
                "magic number at byte 832 is 0x2; allowed: 0x46505845",
            ),
            (
                SignalFrameError::Sizes {
                    extended_size: 800,
                    xstate_size: 832,
                }
                .to_string(),
                "extended_size 800 for an xstate_size of 832",
            ),
            (
                SignalFrameError::TooShort {
                    found: 800,
                    needed: 836,
                }
                .to_string(),
                "signal frame of 800 bytes; extended_size is 836",
            ),
            (
                SignalFrameError::Layout(LayoutError::NotEnumerated { missing: TILES }).to_string(),
                "xfeatures: this CPU lacks XTILECFG+XTILEDATA",
            ),
            (
                SignalFrameError::Image(ImageError::TooShort {
                    found: 1,
                    needed: 576,
                })
                .to_string(),
                "image of 1 bytes; allowed: at least 576",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_layout_is_the_source_of_a_frame_without_one() {
        use core::error::Error as _;
        let layout = LayoutError::NotEnumerated {
            missing: ComponentSet::LEGACY,
        };
        for refused in [
            SignalFrameError::Layout(layout),
            SignalFrameError::Image(ImageError::Layout(layout)),
        ] {
            assert_eq!(
                refused.source().map(ToString::to_string),
                Some(layout.to_string())
            );
        }
        assert!(SignalFrameError::Magic1 { found: 1 }.source().is_none());
    }
}
