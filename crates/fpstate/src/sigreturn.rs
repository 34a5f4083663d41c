//! What `sigreturn` restores from a frame, any frame.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::Instruction;
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion, Mxcsr};
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xsave_header::{EXTENDED_REGION_OFFSET, Format, XsaveHeader};

use crate::area::as_restored;
use crate::image_error::ImageError;
use crate::image_faults::{self, header_of, legacy_of, too_short};
use crate::image_state::{ImageState, MXCSR_CARRIERS};
use crate::layout::Layout;
use crate::signal_frame::{MAGIC1, MAGIC2, MAGIC2_LEN, SoftwareBytes, take_u32};

/// The state that `sigreturn` of Linux loads from a frame's image, in the bytes the frame was
/// copied to.
///
/// Linux 6.12 and 7.2 (`check_xstate_in_sigframe`, `__restore_fpregs_from_user`) execute XRSTOR, or
/// FXRSTOR, on the frame itself, so the rules are the instruction's. Observed on Linux 6.18. A
/// frame without an image (its pointer is NULL) restores the initial state; an address that is not
/// a multiple of 64 is a SIGSEGV: both are the caller's to see.
#[derive(Clone, Copy, Debug)]
pub struct Sigreturn<'b> {
    state: ImageState<'b>,
    form: FrameForm,
}

/// How much of a frame is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameForm {
    /// What its software bytes list.
    Full,
    /// FXSAVE's 512 bytes; everything else becomes initial. Not an error.
    FxOnly(FxOnly),
}

/// Why a frame counts as one of FXSAVE's 512 bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FxOnly {
    /// The CPU has no XSAVE.
    NoXsave,
    /// The word at byte 464 is not "FPXS".
    Magic1 {
        /// Its value.
        found: u32,
    },
    /// `xstate_size` (byte 480) has no room for the header, is longer than the thread's state, or
    /// longer than `extended_size` (byte 468).
    XstateSize {
        /// Its value.
        found: u32,
        /// The least: 576.
        least: usize,
        /// The most: the lesser of the other two.
        most: usize,
    },
    /// The word at `xstate_size` is not "FPXE".
    Magic2 {
        /// Its value.
        found: u32,
        /// Its offset from byte 0 of the image.
        offset: usize,
    },
}

impl fmt::Display for FxOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoXsave => f.write_str("the CPU has no XSAVE"),
            Self::Magic1 { found } => write!(
                f,
                "the magic number at byte 464 is {found:#x}; of a whole frame: {MAGIC1:#x}"
            ),
            Self::XstateSize { found, least, most } => write!(
                f,
                "xstate_size at byte 480 is {found}; of a whole frame: {least} to {most}"
            ),
            Self::Magic2 { found, offset } => write!(
                f,
                "the magic number at byte {offset} is {found:#x}; of a whole frame: {MAGIC2:#x}"
            ),
        }
    }
}

impl<'b> Sigreturn<'b> {
    /// Reads the frame's image in `bytes`, which are all that could be copied of the
    /// `user.area_len() + 4` from its start. `user` is the standard layout of the user components that
    /// the thread's state has room for; `xcr0` are those that the system enables in XCR0, with
    /// tiles where there are any.
    ///
    /// * `xfeatures` of the software bytes and `user` limit what is restored; the rest is initial.
    /// * XSTATE_BV is part of `xcr0`, XCOMP_BV is 0, and so are the first 8 reserved bytes of the
    ///   header: XRSTOR looks at no others (SDM 1, 13.8.1).
    /// * An image with XCOMP_BV\[63\] is read as a compacted one, as XRSTOR does where there is
    ///   XSAVEC.
    /// * MXCSR is loaded with SSE whatever XSTATE_BV says, and judged if SSE or AVX is to be
    ///   restored.
    ///
    /// # Errors
    /// The first rule broken: SIGSEGV, and the thread's user components are initial.
    pub fn parse(
        bytes: &'b [u8],
        user: Layout<'b>,
        xcr0: ComponentSet,
        mxcsr_mask: u32,
    ) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, &user, xcr0, mxcsr_mask).next() {
            return Err(error);
        }
        let form = form_of(bytes, &user)?;
        let (found, needed) = (bytes.len(), LEGACY_REGION_LEN);
        let legacy = legacy_of(bytes).ok_or(ImageError::TooShort { found, needed })?;
        let state = match (form, header_of(bytes)) {
            (FrameForm::Full, Some(header)) => {
                let frame = Xrstor::of(&legacy, header, &user);
                ImageState::new(
                    bytes,
                    frame.layout(user)?,
                    frame.loaded(legacy),
                    frame.restored(),
                )
            }
            (FrameForm::FxOnly(_) | FrameForm::Full, _) => {
                let live = ComponentSet::LEGACY;
                let layout = Layout::of_last_resort(user.enumeration());
                ImageState::new(
                    bytes,
                    layout,
                    as_restored(legacy, live, Format::Fxsave),
                    live,
                )
            }
        };
        Ok(Self { state, form })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        user: &Layout<'_>,
        xcr0: ComponentSet,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let form = form_of(bytes, user);
        let fixed = legacy_of(bytes).zip(header_of(bytes));
        let of_xrstor = fixed
            .filter(|_| form == Ok(FrameForm::Full))
            .map(|(legacy, header)| {
                let frame = Xrstor::of(&legacy, header, user);
                frame.faults(bytes.len(), *user, xcr0).chain(
                    frame
                        .loads_mxcsr()
                        .then(|| image_faults::mxcsr(legacy.mxcsr, mxcsr_mask))
                        .flatten(),
                )
            });
        let of_fxrstor = legacy_of(bytes)
            .filter(|_| matches!(form, Ok(FrameForm::FxOnly(_))))
            .and_then(|legacy| image_faults::mxcsr(legacy.mxcsr, mxcsr_mask));
        form.err()
            .into_iter()
            .chain(of_xrstor.into_iter().flatten())
            .chain(of_fxrstor)
    }

    /// The state. The user components it lacks become initial with an
    /// [`import_state`](crate::XsaveArea::import_state).
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// The thread's PKRU from here on: 0 where the frame does not restore it.
    #[must_use]
    pub fn pkru(&self) -> Pkru {
        self.state.pkru().unwrap_or_default()
    }

    /// How much of the frame is restored.
    #[must_use]
    pub const fn form(&self) -> FrameForm {
        self.form
    }
}

/// What a frame is, by its software bytes and both magic numbers.
fn form_of(bytes: &[u8], user: &Layout<'_>) -> Result<FrameForm, ImageError> {
    let found = bytes.len();
    let (needed, format) = (LEGACY_REGION_LEN, user.format());
    let legacy = legacy_of(bytes).ok_or(ImageError::TooShort { found, needed })?;
    match format {
        Format::Fxsave => return Ok(FrameForm::FxOnly(FxOnly::NoXsave)),
        Format::Compacted => return Err(ImageError::NotStandard { format }),
        Format::Standard => {}
    }
    let software = SoftwareBytes::of(&legacy);
    if software.magic1 != MAGIC1 {
        let found = software.magic1;
        return Ok(FrameForm::FxOnly(FxOnly::Magic1 { found }));
    }
    let xstate_size = usize::try_from(software.xstate_size).unwrap_or(usize::MAX);
    let extended_size = usize::try_from(software.extended_size).unwrap_or(usize::MAX);
    let (least, most) = (EXTENDED_REGION_OFFSET, user.area_len().min(extended_size));
    if xstate_size < least || xstate_size > most {
        let found = software.xstate_size;
        return Ok(FrameForm::FxOnly(FxOnly::XstateSize { found, least, most }));
    }
    let needed = xstate_size.saturating_add(MAGIC2_LEN);
    let behind = bytes
        .get(xstate_size..needed)
        .ok_or(ImageError::TooShort { found, needed })?;
    match take_u32(behind) {
        (MAGIC2, _) => Ok(FrameForm::Full),
        (found, _) => Ok(FrameForm::FxOnly(FxOnly::Magic2 {
            found,
            offset: xstate_size,
        })),
    }
}

/// An XRSTOR of a frame.
#[derive(Clone, Copy)]
struct Xrstor {
    header: XsaveHeader,
    /// Of the image, as this CPU takes it: without XSAVEC there is no compacted format.
    format: Format,
    rfbm: ComponentSet,
}

impl Xrstor {
    fn of(legacy: &LegacyRegion, header: XsaveHeader, user: &Layout<'_>) -> Self {
        let listed = SoftwareBytes::of(legacy).xfeatures;
        let format = if user.enumeration().has(Instruction::Xsavec) {
            header.format()
        } else {
            Format::Standard
        };
        Self {
            header,
            format,
            rfbm: listed.intersection(user.components()),
        }
    }

    const fn restored(&self) -> ComponentSet {
        self.header.xstate_bv.intersection(self.rfbm)
    }

    fn layout<'b>(&self, user: Layout<'b>) -> Result<Layout<'b>, ImageError> {
        match self.format {
            Format::Compacted => {
                Layout::compacted(user.enumeration(), self.header.xcomp_bv_components())
                    .map_err(ImageError::Layout)
            }
            Format::Standard | Format::Fxsave => Ok(user),
        }
    }

    /// SDM 1, 13.8.1 and 13.8.2.
    const fn loads_mxcsr(&self) -> bool {
        match self.format {
            Format::Compacted => self.restored().contains(Component::Sse),
            Format::Standard | Format::Fxsave => self.rfbm.intersects(MXCSR_CARRIERS),
        }
    }

    fn faults(
        self,
        len: usize,
        user: Layout<'_>,
        xcr0: ComponentSet,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let (header, found) = (self.header, self.header.xcomp_bv_components());
        let (layout, allowed, reserved_looked_at) = match self.format {
            Format::Compacted => (self.layout(user), found, 48),
            Format::Standard | Format::Fxsave => (Ok(user), xcr0, 8),
        };
        let room = match self.format {
            Format::Compacted => {
                (!xcr0.contains_all(found)).then_some(ImageError::RoomNotAllowed {
                    found,
                    allowed: xcr0,
                })
            }
            Format::Standard | Format::Fxsave => {
                let found = header.xcomp_bv;
                (found != 0).then_some(ImageError::XcompBv { found })
            }
        };
        let reserved = image_faults::reserved_bytes(header).filter(move |error| {
            matches!(error, ImageError::ReservedHeaderByte { offset, .. }
                if offset.saturating_sub(528) < reserved_looked_at)
        });
        // XRSTOR reaches what it restores, whatever xstate_size says.
        let restored = self.restored();
        let reach = layout.as_ref().map_or(EXTENDED_REGION_OFFSET, |layout| {
            layout
                .extended_components()
                .filter(|placed| restored.contains(placed.component()))
                .fold(EXTENDED_REGION_OFFSET, |end, placed| {
                    end.max(placed.range().end)
                })
        });
        room.into_iter()
            .chain(layout.err())
            .chain(reserved)
            .chain(image_faults::components_outside(header.xstate_bv, allowed))
            .chain(too_short(len, reach))
    }

    /// What is loaded of the legacy region. Linux initialises what the frame does not list after
    /// the XRSTOR, and MXCSR with SSE.
    fn loaded(&self, legacy: LegacyRegion) -> LegacyRegion {
        let mut loaded = as_restored(legacy, self.restored(), self.format);
        if !self.rfbm.contains(Component::Sse) {
            loaded.mxcsr = Mxcsr::INITIAL;
        }
        loaded
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::area::MxcsrError;
    use crate::recorded_cpu::emerald_rapids;
    use std::vec::Vec;

    const XCR0: ComponentSet = ComponentSet::from_bits(0x6_02e7);

    /// linux.md 5.5: a frame of Linux 6.18 with XCR0 7. FCW 27FH, MXCSR 1FA0H, ymm7 all 11H.
    fn frame() -> Vec<u8> {
        let mut bytes = std::vec![0; 836];
        bytes[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[160..416].fill(0x11);
        bytes[464..468].copy_from_slice(b"SXPF");
        bytes[468..472].copy_from_slice(&836_u32.to_le_bytes());
        bytes[472..480].copy_from_slice(&7_u64.to_le_bytes());
        bytes[480..484].copy_from_slice(&832_u32.to_le_bytes());
        bytes[512] = 7;
        bytes[576..832].fill(0x11);
        bytes[832..836].copy_from_slice(b"EXPF");
        bytes
    }

    fn with(edits: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = frame();
        for &(offset, value) in edits {
            bytes[offset] = value;
        }
        bytes
    }

    /// Form, FCW, MXCSR, a byte of xmm7, a byte of its upper half.
    type Seen = (FrameForm, u16, u32, u8, Option<u8>);

    fn sigreturn(bytes: &[u8], room: u64) -> Result<Seen, ImageError> {
        let cpu = emerald_rapids().enumeration();
        let user = Layout::standard(&cpu, ComponentSet::from_bits(room)).unwrap();
        let frame = Sigreturn::parse(bytes, user, XCR0, 0xffff)?;
        let (state, legacy) = (frame.state(), frame.state().legacy());
        let upper = state.extended(Component::Avx).map(|bytes| bytes[0]);
        Ok((
            frame.form(),
            legacy.fcw,
            legacy.mxcsr.bits(),
            legacy.xmm[7][0],
            upper,
        ))
    }

    #[test]
    fn what_is_listed_is_restored_and_the_rest_is_initial() {
        const WHOLE: FrameForm = FrameForm::Full;
        for (edits, seen) in [
            (&[][..], (WHOLE, 0x27f, 0x1fa0, 0x11, Some(0x11))),
            (&[(576, 0x5a)], (WHOLE, 0x27f, 0x1fa0, 0x11, Some(0x5a))),
            // xfeatures 3.
            (&[(472, 3)], (WHOLE, 0x27f, 0x1fa0, 0x11, None)),
            // xfeatures 5: Linux initialises SSE, and MXCSR with it, afterwards.
            (&[(472, 5)], (WHOLE, 0x27f, 0x1f80, 0, Some(0x11))),
            // XSTATE_BV 0: MXCSR stays.
            (&[(512, 0)], (WHOLE, 0x37f, 0x1fa0, 0, None)),
            // Reserved bytes that XRSTOR does not look at.
            (
                &[(536, 1), (575, 1)],
                (WHOLE, 0x27f, 0x1fa0, 0x11, Some(0x11)),
            ),
            // XSTATE_BV has tiles, which the system enables and this thread may not use.
            (&[(514, 4)], (WHOLE, 0x27f, 0x1fa0, 0x11, Some(0x11))),
            // A bad MXCSR that is not requested.
            (&[(472, 1), (27, 0x80)], (WHOLE, 0x27f, 0x1f80, 0, None)),
        ] {
            assert_eq!(sigreturn(&with(edits), 7), Ok(seen), "{edits:?}");
        }
    }

    #[test]
    fn a_frame_that_does_not_describe_itself_is_one_of_fxsave() {
        for (edits, reason) in [
            (&[(464, 0)][..], FxOnly::Magic1 { found: 0x4650_5800 }),
            (
                &[(832, 0)],
                FxOnly::Magic2 {
                    found: 0x4650_5800,
                    offset: 832,
                },
            ),
            (
                &[(480, 0x3f), (481, 2)],
                FxOnly::XstateSize {
                    found: 575,
                    least: 576,
                    most: 832,
                },
            ),
            (
                &[(480, 0x41)],
                FxOnly::XstateSize {
                    found: 833,
                    least: 576,
                    most: 832,
                },
            ),
            (
                &[(468, 0x3f)],
                FxOnly::XstateSize {
                    found: 832,
                    least: 576,
                    most: 831,
                },
            ),
        ] {
            // The header is not looked at then.
            let mut bytes = with(edits);
            bytes[513] = 0xff;
            let seen = (FrameForm::FxOnly(reason), 0x27f, 0x1fa0, 0x11, None);
            assert_eq!(sigreturn(&bytes, 7), Ok(seen), "{edits:?}");
            bytes[27] = 0x80;
            assert!(sigreturn(&bytes, 7).is_err(), "FXRSTOR judges MXCSR");
        }
    }

    #[test]
    fn why_a_frame_counts_as_fxsaves_names_the_byte() {
        let sizes = FxOnly::XstateSize {
            found: 833,
            least: 576,
            most: 832,
        };
        let of_sizes = "xstate_size at byte 480 is 833; of a whole frame: 576 to 832";
        assert_eq!(std::format!("{sizes}"), of_sizes);
        let magic = FxOnly::Magic2 {
            found: 0,
            offset: 832,
        };
        let of_magic = "the magic number at byte 832 is 0x0; of a whole frame: 0x46505845";
        assert_eq!(std::format!("{magic}"), of_magic);
    }

    #[test]
    fn a_header_that_xrstor_refuses_is_a_segmentation_fault() {
        let mxcsr = MxcsrError {
            found: 0x8000_1fa0,
            mask: 0xffff,
        };
        let not_allowed = |found, allowed| ImageError::ComponentsNotAllowed {
            found: ComponentSet::from_bits(found),
            allowed: ComponentSet::from_bits(allowed),
        };
        for (edits, error) in [
            (
                &[(528, 1)][..],
                ImageError::ReservedHeaderByte {
                    offset: 528,
                    value: 1,
                },
            ),
            (&[(520, 1)], ImageError::XcompBv { found: 1 }),
            (&[(517, 1)], not_allowed(0x100_0000_0007, XCR0.bits())),
            (&[(27, 0x80)], ImageError::Mxcsr(mxcsr)),
            // 1 << 63: a compacted image with room for nothing.
            (&[(527, 0x80)], not_allowed(7, 0)),
        ] {
            assert_eq!(sigreturn(&with(edits), 7), Err(error), "{edits:?}");
        }
        // AVX alone makes XRSTOR load MXCSR.
        assert!(sigreturn(&with(&[(472, 4), (27, 0x80)]), 7).is_err());
    }

    #[test]
    fn a_compacted_image_is_restored_as_xrstor_does() {
        let seen = sigreturn(&compacted_frame(), 7);
        assert_eq!(seen, Ok((FrameForm::Full, 0x27f, 0x1fa0, 0x11, Some(0x11))));
        // Its MXCSR is SSE's, and all its reserved bytes count.
        let mut bytes = compacted_frame();
        (bytes[512], bytes[27]) = (4, 0x80);
        let seen = sigreturn(&bytes, 7);
        assert_eq!(seen, Ok((FrameForm::Full, 0x37f, 0x1f80, 0, Some(0x11))));
        bytes[575] = 1;
        assert!(sigreturn(&bytes, 7).is_err());
        let supervisor = [(520, 7), (521, 8), (527, 0x80)];
        assert_eq!(
            sigreturn(&with(&supervisor), 7),
            Err(ImageError::RoomNotAllowed {
                found: ComponentSet::from_bits(0x807),
                allowed: XCR0
            })
        );
    }

    #[test]
    fn without_xsavec_no_image_is_compacted() {
        // XSAVEOPT and no more.
        let cpu = emerald_rapids().with(0xd, 1, |r| r.eax = 1).enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(7)).unwrap();
        let found = 0x8000_0000_0000_0007;
        let frame = compacted_frame();
        let refused = Sigreturn::parse(&frame, layout, XCR0, 0xffff);
        assert_eq!(refused.unwrap_err(), ImageError::XcompBv { found });
    }

    fn compacted_frame() -> Vec<u8> {
        with(&[(520, 7), (527, 0x80)])
    }

    /// L36 · 2024 · d877550eaf2d, CVE-2024-26603 · the length that a frame gives itself was believed to be what XRSTOR reads, and sigreturn never came to an end
    /// Also L37.
    #[test]
    fn a_smaller_frame_is_legal_and_its_bytes_have_to_be_there() {
        // xstate_size 576 in a thread with room for AVX-512; xfeatures lists AVX.
        let mut bytes = with(&[(480, 0x40), (481, 2)]);
        bytes[576..580].copy_from_slice(b"EXPF");
        let seen = sigreturn(&bytes, 0x2e7);
        assert_eq!(seen, Ok((FrameForm::Full, 0x27f, 0x1fa0, 0x11, Some(b'E'))));
        let refused = |len: usize| sigreturn(&bytes[..len], 0x2e7);
        let short = |found, needed| Err(ImageError::TooShort { found, needed });
        assert_eq!(refused(831), short(831, 832));
        assert_eq!(refused(579), short(579, 580));
        assert_eq!(refused(511), short(511, 512));
    }

    #[test]
    fn a_cpu_without_xsave_restores_512_bytes() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let user = Layout::fxsave(&cpu).unwrap();
        let bytes = frame();
        let frame = Sigreturn::parse(&bytes[..512], user, ComponentSet::EMPTY, 0xffff).unwrap();
        assert_eq!(frame.form(), FrameForm::FxOnly(FxOnly::NoXsave));
        assert_eq!(frame.state().live(), ComponentSet::LEGACY);
    }

    /// L26 · 2021 · 510b80a6a0f1 · a frame whose PKRU is initial left PKRU as it was, and did not make it 0
    #[test]
    fn pkru_is_0_where_the_frame_does_not_restore_it() {
        let cpu = emerald_rapids().enumeration();
        let user = Layout::standard(&cpu, ComponentSet::from_bits(0x207)).unwrap();
        let mut bytes = std::vec![0; 0xa8c];
        bytes[..832].copy_from_slice(&frame()[..832]);
        bytes[468..470].copy_from_slice(&0xa8c_u16.to_le_bytes());
        bytes[480..482].copy_from_slice(&0xa88_u16.to_le_bytes());
        (bytes[473], bytes[513], bytes[0xa80]) = (2, 2, 4);
        bytes[0xa88..].copy_from_slice(b"EXPF");
        let pkru = |bytes: &[u8]| {
            let frame = Sigreturn::parse(bytes, user, XCR0, 0xffff).unwrap();
            assert_eq!(frame.form(), FrameForm::Full);
            frame.pkru().bits()
        };
        assert_eq!(pkru(&bytes), 4);
        let mut other = bytes.clone();
        other[473] = 0;
        assert_eq!(pkru(&other), 0, "not listed");
        bytes[513] = 0;
        assert_eq!(pkru(&bytes), 0, "initial");
    }
}
