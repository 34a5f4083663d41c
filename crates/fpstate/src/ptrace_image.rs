//! The image of `NT_X86_XSTATE`: a debugger's, and that of a core file.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xsave_header::Format;

use crate::errno::Errno;
use crate::image_error::ImageError;
use crate::image_faults::{header_of, legacy_of};
use crate::image_state::ImageState;
use crate::layout::Layout;
use crate::uabi_rules;

/// An image that `PTRACE_SETREGSET` of `NT_X86_XSTATE` takes, checked by its rules, still in the
/// bytes it came in.
///
/// Observed on Linux 6.18, read in 6.12 and 7.2. Components that XSTATE_BV lacks become initial, PKRU
/// too; supervisor components stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct PtraceImage<'b> {
    state: ImageState<'b>,
}

impl<'b> PtraceImage<'b> {
    /// Checks `bytes`. `layout` is the standard layout of all user components of the system, which
    /// gives the length; `allowed` are those that the thread may use: without the permission for
    /// tiles they are part of the length and may not be in XSTATE_BV.
    ///
    /// * The length is the layout's. (The system call cuts a longer buffer to it.)
    /// * XCOMP_BV and all reserved bytes of the header are 0; XSTATE_BV is part of `allowed`.
    /// * MXCSR is judged where XSTATE_BV has x87, SSE or AVX, and taken where it has SSE or AVX.
    ///
    /// # Errors
    /// The first rule broken, with what was found and what is allowed.
    pub fn parse(
        bytes: &'b [u8],
        layout: Layout<'b>,
        allowed: ComponentSet,
        mxcsr_mask: u32,
    ) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, &layout, allowed, mxcsr_mask).next() {
            return Err(error);
        }
        let (found, needed) = (bytes.len(), layout.area_len());
        let (Some(legacy), Some(header)) = (legacy_of(bytes), header_of(bytes)) else {
            return Err(ImageError::Length { found, needed });
        };
        let live = header.xstate_bv;
        let legacy = uabi_rules::legacy_taken(legacy, live);
        Ok(Self {
            state: ImageState::new(bytes, layout, legacy, live),
        })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        layout: &Layout<'_>,
        allowed: ComponentSet,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let (format, allowed) = (layout.format(), layout.components().intersection(allowed));
        let (found, needed) = (bytes.len(), layout.area_len());
        let of_header = legacy_of(bytes)
            .zip(header_of(bytes))
            .map(|(legacy, header)| uabi_rules::faults(header, legacy.mxcsr, allowed, mxcsr_mask));
        (format != Format::Standard)
            .then_some(ImageError::NotStandard { format })
            .into_iter()
            .chain((found != needed).then_some(ImageError::Length { found, needed }))
            .chain(of_header.into_iter().flatten())
    }

    /// The state, PKRU part of it where XSTATE_BV has it.
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// The thread's PKRU from here on: 0 where XSTATE_BV lacks it.
    #[must_use]
    pub fn pkru(&self) -> Pkru {
        self.state.pkru().unwrap_or_default()
    }

    /// What `PTRACE_SETREGSET` answers to such an image.
    #[must_use]
    pub const fn errno(error: &ImageError) -> Errno {
        match error {
            ImageError::TooShort { .. } | ImageError::Length { .. } => Errno::Efault,
            // A CPU without XSAVE has no such register set.
            ImageError::NotStandard { .. } | ImageError::Layout(_) => Errno::Enodev,
            ImageError::NotCompacted { .. }
            | ImageError::XcompBv { .. }
            | ImageError::RoomNotAllowed { .. }
            | ImageError::ReservedHeaderByte { .. }
            | ImageError::ComponentsNotAllowed { .. }
            | ImageError::Mxcsr(_) => Errno::Einval,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::emerald_rapids;
    use std::vec::Vec;

    const USER: ComponentSet = ComponentSet::from_bits(0x6_02e7);
    const WITHOUT_TILES: ComponentSet = ComponentSet::from_bits(0x2e7);

    fn image(xstate_bv: u64) -> Vec<u8> {
        let mut bytes = std::vec![0; 0x2b00];
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        bytes[0xa80] = 4;
        bytes
    }

    fn answer(bytes: &[u8], allowed: ComponentSet) -> Result<u32, Errno> {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, USER).unwrap();
        PtraceImage::parse(bytes, layout, allowed, 0xffff)
            .map(|image| image.pkru().bits())
            .map_err(|error| PtraceImage::errno(&error))
    }

    /// L34 · 2022 · 4a804c4f8356, d7e5aceace51 · PKRU that a debugger wrote was ignored, and not cleared where its bit is
    /// Also L26, C19.
    #[test]
    fn pkru_is_0_where_its_bit_is_clear() {
        assert_eq!(answer(&image(0x203), USER), Ok(4));
        assert_eq!(answer(&image(0x3), USER), Ok(0));
    }

    #[test]
    fn the_length_is_that_of_the_system_whatever_the_thread_may_use() {
        let mut bytes = image(3);
        assert_eq!(answer(&bytes, WITHOUT_TILES), Ok(0));
        assert_eq!(answer(&bytes[..0xa88], WITHOUT_TILES), Err(Errno::Efault));
        bytes.push(0);
        assert_eq!(answer(&bytes, USER), Err(Errno::Efault));
        let tiles = image(0x6_0003);
        assert_eq!(answer(&tiles, USER), Ok(0));
        assert_eq!(answer(&tiles, WITHOUT_TILES), Err(Errno::Einval));
    }

    #[test]
    fn a_header_or_an_mxcsr_that_breaks_a_rule_is_an_invalid_argument() {
        // linux.md 5.5: a bad MXCSR is ignored with XSTATE_BV 0.
        for (offset, value, xstate_bv) in [
            (575, 1, 3),
            (527, 0x80, 3),
            (517, 1, 3),
            (27, 0x80, 1),
            (27, 0x80, 4),
        ] {
            let mut bytes = image(xstate_bv);
            bytes[offset] = value;
            assert_eq!(answer(&bytes, USER), Err(Errno::Einval), "byte {offset}");
        }
        let mut bytes = image(0);
        bytes[27] = 0x80;
        assert_eq!(answer(&bytes, USER), Ok(0));
    }

    #[test]
    fn a_cpu_without_xsave_has_no_such_register_set() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let layout = Layout::fxsave(&cpu).unwrap();
        let error = PtraceImage::parse(&[0; 512], layout, USER, 0xffff).unwrap_err();
        assert_eq!(PtraceImage::errno(&error), Errno::Enodev);
    }
}
