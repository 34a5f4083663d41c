//! FXSAVE's 512 bytes: `NT_PRFPREG`, and all there is on a CPU without XSAVE.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::enumeration::Enumeration;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::Format;

use crate::area::as_restored;
use crate::errno::Errno;
use crate::image_error::ImageError;
use crate::image_faults::{self, legacy_of};
use crate::image_state::ImageState;
use crate::layout::Layout;

/// An FXSAVE image, checked by the rules of FXRSTOR. x87, SSE and MXCSR are all taken.
///
/// It speaks of x87 and SSE alone. To import one as the debugger's `NT_PRFPREG` does, which leaves
/// the other components as they are, name those as kept elsewhere. Both components are live in it,
/// whatever XSTATE_BV was: what a VMM writes by it, or by
/// [`XsaveArea::set_legacy`](crate::XsaveArea::set_legacy), is not lost as by Linux's `KVM_SET_FPU`.
#[derive(Clone, Copy, Debug)]
pub struct FxsaveImage<'b> {
    state: ImageState<'b>,
}

impl<'b> FxsaveImage<'b> {
    /// Checks `bytes`, for a CPU of `enumeration` whose MXCSR has the bits of `mxcsr_mask`.
    ///
    /// # Errors
    /// [`ImageError::Length`] unless there are 512 bytes, [`ImageError::Layout`] without FXSAVE,
    /// [`ImageError::Mxcsr`].
    pub fn parse(
        bytes: &'b [u8],
        enumeration: &'b Enumeration,
        mxcsr_mask: u32,
    ) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, enumeration, mxcsr_mask).next() {
            return Err(error);
        }
        let layout = Layout::fxsave(enumeration).map_err(ImageError::Layout)?;
        let legacy = legacy_of(bytes).ok_or(of_another_length(bytes.len()))?;
        let legacy = as_restored(legacy, ComponentSet::LEGACY, Format::Fxsave);
        Ok(Self {
            state: ImageState::new(bytes, layout, legacy, ComponentSet::LEGACY),
        })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        enumeration: &Enumeration,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let len = bytes.len();
        let layout = Layout::fxsave(enumeration).err().map(ImageError::Layout);
        let mxcsr =
            legacy_of(bytes).and_then(|legacy| image_faults::mxcsr(legacy.mxcsr, mxcsr_mask));
        layout
            .into_iter()
            .chain((len != LEGACY_REGION_LEN).then_some(of_another_length(len)))
            .chain(mxcsr)
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// What Linux answers to `PTRACE_SETREGSET` of `NT_PRFPREG` with such an image.
    #[must_use]
    pub const fn errno(error: &ImageError) -> Errno {
        match error {
            ImageError::Layout(_) => Errno::Enodev,
            ImageError::NotStandard { .. }
            | ImageError::NotCompacted { .. }
            | ImageError::TooShort { .. }
            | ImageError::Length { .. }
            | ImageError::XcompBv { .. }
            | ImageError::RoomNotAllowed { .. }
            | ImageError::ReservedHeaderByte { .. }
            | ImageError::ComponentsNotAllowed { .. }
            | ImageError::Mxcsr(_) => Errno::Einval,
        }
    }
}

const fn of_another_length(found: usize) -> ImageError {
    ImageError::Length {
        found,
        needed: LEGACY_REGION_LEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::MxcsrError;
    use crate::recorded_cpu::emerald_rapids;
    use fpstate_arch::cpuid::CpuidRegisters;

    fn image() -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[160..416].fill(0x11);
        bytes[464..512].fill(0xee);
        bytes
    }

    #[test]
    fn x87_sse_and_mxcsr_are_taken_and_bytes_of_software_are_not() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let state = FxsaveImage::parse(&bytes, &cpu, 0xffff).unwrap().state();
        assert_eq!(state.live(), ComponentSet::LEGACY);
        assert_eq!(state.legacy().fcw, 0x27f);
        assert_eq!(state.legacy().mxcsr.bits(), 0x1fa0);
        assert_eq!(state.legacy().xmm, [[0x11; 16]; 16]);
        assert_eq!(state.legacy().tail, [0; 96]);
    }

    #[test]
    fn a_length_an_mxcsr_and_a_cpu_that_do_not_fit_are_refused_as_linux_does() {
        let (mut bytes, cpu) = (image(), emerald_rapids().enumeration());
        let refused = |bytes: &[u8], cpu: &Enumeration| {
            let error = FxsaveImage::parse(bytes, cpu, 0xffff).unwrap_err();
            (error, FxsaveImage::errno(&error))
        };
        let short = ImageError::Length {
            found: 504,
            needed: 512,
        };
        assert_eq!(refused(&bytes[..504], &cpu), (short, Errno::Einval));
        let none = Enumeration::read(|_, _| CpuidRegisters::default());
        assert_eq!(refused(&bytes, &none).1, Errno::Enodev);
        bytes[27] = 0x80;
        let mxcsr = ImageError::Mxcsr(MxcsrError {
            found: 0x8000_1fa0,
            mask: 0xffff,
        });
        assert_eq!(refused(&bytes, &cpu), (mxcsr, Errno::Einval));
    }
}
