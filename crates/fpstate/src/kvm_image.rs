//! The image of `KVM_SET_XSAVE`, `KVM_GET_XSAVE` and `KVM_GET_XSAVE2`.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xsave_header::{Format, XsaveHeader};

use crate::area::as_restored;
use crate::errno::Errno;
use crate::image_error::ImageError;
use crate::image_faults::{self, header_of, legacy_of, too_short};
use crate::image_state::ImageState;
use crate::layout::Layout;
use crate::uabi_rules;

/// Bytes of the ioctls' buffer, or the standard format's where that is longer: `KVM_CAP_XSAVE2`.
pub(crate) const KVM_XSAVE_LEN: usize = 4096;

/// An image that `KVM_SET_XSAVE` takes, checked by its rules, still in the bytes it came in.
///
/// Observed on Linux 6.18, read in 6.12 and 7.2. Components that XSTATE_BV lacks become initial,
/// but for PKRU, which is kept.
///
/// A VMM whose `set_xsave` returns `EINVAL` finds out why:
///
/// ```
/// use fpstate::{KvmImage, Layout};
/// use fpstate_arch::{ComponentSet, CpuidRegisters, Enumeration, Xfd};
///
/// // On a real host: every leaf by the CPUID instruction.
/// let avx_host = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
///     (1, _) => CpuidRegisters { ecx: 1 << 26, ..Default::default() },
///     (0xd, 0) => CpuidRegisters { eax: 7, ..Default::default() },
///     (0xd, 2) => CpuidRegisters { eax: 256, ebx: 576, ..Default::default() },
///     _ => CpuidRegisters::default(),
/// });
/// let layout = Layout::standard(&avx_host, ComponentSet::from_bits(7))?;
/// let mut image = [0; 4096];
/// image[512] = 0x27; // opmask, from a host with AVX-512
/// image[527] = 0x80; // compacted
///
/// let faults: Vec<_> = KvmImage::faults(&image, &layout, Xfd::NOTHING, 0xffff)
///     .map(|fault| fault.to_string())
///     .collect();
/// assert_eq!(faults, [
///     "XCOMP_BV at byte 520 is 0x8000000000000000; allowed: 0 in the standard format",
///     "XSTATE_BV at byte 512 has opmask; allowed: x87+SSE+AVX",
/// ]);
/// # Ok::<(), fpstate::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KvmImage<'b> {
    state: ImageState<'b>,
}

impl<'b> KvmImage<'b> {
    /// Checks `bytes`. `layout` is the standard layout of what the guest's state may have: what
    /// `KVM_X86_XCOMP_GUEST_SUPP` offers and the process is permitted, not what the guest's CPUID shows.
    /// Bytes behind the buffer's [`len`](Self::len) are not looked at.
    ///
    /// * XSTATE_BV loses the components of `xfd`, the guest's IA32_XFD, before all else (Linux 7.0
    ///   and later; for older kernels pass [`Xfd::NOTHING`]). A library state needs no such rule: it
    ///   sets those components aside.
    /// * XCOMP_BV and all reserved bytes of the header are 0; XSTATE_BV is part of the layout.
    /// * MXCSR is judged where XSTATE_BV has x87, SSE or AVX, and taken where it has SSE or AVX.
    ///
    /// A layout of FXSAVE's format stands for a host without XSAVE: then x87, SSE and MXCSR are
    /// judged and taken whatever XSTATE_BV says, as long as it has nothing else, and the rest of the header is not
    /// looked at.
    ///
    /// # Errors
    /// The first rule broken, with what was found and what is allowed.
    pub fn parse(
        bytes: &'b [u8],
        layout: Layout<'b>,
        xfd: Xfd,
        mxcsr_mask: u32,
    ) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, &layout, xfd, mxcsr_mask).next() {
            return Err(error);
        }
        let (found, needed) = (bytes.len(), Self::len(&layout));
        let (Some(legacy), Some(header)) = (legacy_of(bytes), header_of(bytes)) else {
            return Err(ImageError::TooShort { found, needed });
        };
        let (legacy, live) = match layout.format() {
            Format::Fxsave => {
                let live = ComponentSet::LEGACY;
                (as_restored(legacy, live, Format::Fxsave), live)
            }
            Format::Standard | Format::Compacted => {
                let live = without_disabled(header, xfd).xstate_bv;
                (uabi_rules::legacy_taken(legacy, live), live)
            }
        };
        Ok(Self {
            state: ImageState::new(bytes, layout, legacy, live),
        })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        layout: &Layout<'_>,
        xfd: Xfd,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let (format, allowed) = (layout.format(), layout.components());
        let compacted = match format {
            Format::Compacted => Some(ImageError::NotStandard { format }),
            Format::Standard | Format::Fxsave => None,
        };
        let fixed = legacy_of(bytes).zip(header_of(bytes));
        let of_fxsave = fixed
            .filter(|_| format == Format::Fxsave)
            .map(|(legacy, header)| {
                let components = image_faults::components_outside(header.xstate_bv, allowed);
                let mxcsr = image_faults::mxcsr(legacy.mxcsr, mxcsr_mask);
                components.into_iter().chain(mxcsr)
            });
        let of_xsave = fixed
            .filter(|_| format != Format::Fxsave)
            .map(|(legacy, header)| {
                let header = without_disabled(header, xfd);
                uabi_rules::faults(header, legacy.mxcsr, allowed, mxcsr_mask)
            });
        compacted
            .into_iter()
            .chain(too_short(bytes.len(), Self::len(layout)))
            .chain(of_fxsave.into_iter().flatten())
            .chain(of_xsave.into_iter().flatten())
    }

    /// Bytes of the ioctls' buffer for a state of `layout`: 4096, or its standard length where
    /// that is more.
    #[must_use]
    pub fn len(layout: &Layout<'_>) -> usize {
        layout.area_len().max(KVM_XSAVE_LEN)
    }

    /// The state, PKRU part of it where XSTATE_BV has it.
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// The guest's PKRU; `None`: it keeps the one it has.
    #[must_use]
    pub fn pkru(&self) -> Option<Pkru> {
        self.state.pkru()
    }

    /// What `KVM_SET_XSAVE` answers to such an image.
    #[must_use]
    pub const fn errno(error: &ImageError) -> Errno {
        match error {
            // The buffer ends before the kernel's copy does.
            ImageError::TooShort { .. } | ImageError::Length { .. } => Errno::Efault,
            ImageError::NotStandard { .. }
            | ImageError::NotCompacted { .. }
            | ImageError::Layout(_)
            | ImageError::XcompBv { .. }
            | ImageError::RoomNotAllowed { .. }
            | ImageError::ReservedHeaderByte { .. }
            | ImageError::ComponentsNotAllowed { .. }
            | ImageError::Mxcsr(_) => Errno::Einval,
        }
    }
}

const fn without_disabled(mut header: XsaveHeader, xfd: Xfd) -> XsaveHeader {
    header.xstate_bv = header.xstate_bv.difference(xfd.components());
    header
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::area::MxcsrError;
    use crate::recorded_cpu::emerald_rapids;
    use fpstate_arch::component::Component;
    use fpstate_arch::enumeration::Enumeration;
    use std::vec::Vec;

    /// Everything of AVX has a value; MXCSR is 1FA0H, FCW 27FH.
    fn image(xstate_bv: u64) -> Vec<u8> {
        let mut bytes = std::vec![0; 4096];
        bytes[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[160..416].fill(0x11);
        bytes[464..512].fill(0xee);
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        bytes[576..832].fill(0x5a);
        bytes[0xa80] = 4;
        bytes
    }

    fn parse<'b>(bytes: &'b [u8], cpu: &'b Enumeration) -> Result<KvmImage<'b>, ImageError> {
        let layout = Layout::standard(cpu, ComponentSet::from_bits(0x207)).unwrap();
        KvmImage::parse(bytes, layout, Xfd::NOTHING, 0xffff)
    }

    #[test]
    fn mxcsr_is_taken_with_sse_or_avx_alone() {
        // linux.md 5.6: BV=1 with 1FA0H reads back 1F80H; BV=4 keeps AVX, xmm0 and FCW initial.
        let cpu = emerald_rapids().enumeration();
        for (xstate_bv, mxcsr, fcw, xmm) in [
            (0, 0x1f80, 0x37f, 0),
            (1, 0x1f80, 0x27f, 0),
            (2, 0x1fa0, 0x37f, 0x11),
            (4, 0x1fa0, 0x37f, 0),
            (7, 0x1fa0, 0x27f, 0x11),
        ] {
            let bytes = image(xstate_bv);
            let state = parse(&bytes, &cpu).unwrap().state();
            let legacy = state.legacy();
            assert_eq!(legacy.mxcsr.bits(), mxcsr, "XSTATE_BV {xstate_bv:#x}");
            assert_eq!((legacy.fcw, legacy.xmm[0]), (fcw, [xmm; 16]));
            assert_eq!(state.live().bits(), xstate_bv);
        }
    }

    #[test]
    fn mxcsr_is_judged_with_x87_sse_or_avx_alone() {
        let cpu = emerald_rapids().enumeration();
        let error = Errno::Einval;
        for (xstate_bv, answer) in [
            (0, Ok(())),
            (0x200, Ok(())),
            (1, Err(error)),
            (2, Err(error)),
            (3, Err(error)),
            (4, Err(error)),
        ] {
            let mut bytes = image(xstate_bv);
            bytes[27] = 0x80;
            let found = parse(&bytes, &cpu).map(|_| ());
            let found = found.map_err(|error| KvmImage::errno(&error));
            assert_eq!(found, answer, "XSTATE_BV {xstate_bv:#x}");
        }
    }

    /// Also C19.
    #[test]
    fn pkru_is_kept_where_its_bit_is_clear() {
        let cpu = emerald_rapids().enumeration();
        let pkru = |xstate_bv| parse(&image(xstate_bv), &cpu).unwrap().pkru();
        assert_eq!(pkru(0x203), Some(Pkru::from_bits(4)));
        assert_eq!(pkru(0x3), None);
    }

    /// Also L65.
    #[test]
    fn what_xfd_disables_is_dropped_before_it_is_judged() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(7)).unwrap();
        let data = ComponentSet::only(Component::TileData);
        let xfd = Xfd::new(data, cpu.xfd_components()).unwrap();
        let bytes = image(0x4_0002);
        let dropped = KvmImage::parse(&bytes, layout, xfd, 0xffff).unwrap();
        assert_eq!(dropped.state().live().bits(), 2);
        let refused = KvmImage::parse(&bytes, layout, Xfd::NOTHING, 0xffff).unwrap_err();
        let error = ImageError::ComponentsNotAllowed {
            found: ComponentSet::from_bits(0x4_0002),
            allowed: ComponentSet::from_bits(7),
        };
        assert_eq!(refused, error);
    }

    #[test]
    fn each_rule_that_is_broken_is_named_and_all_of_them_at_once() {
        let cpu = emerald_rapids().enumeration();
        let mxcsr = ImageError::Mxcsr(MxcsrError {
            found: 0x8000_1fa0,
            mask: 0xffff,
        });
        let components = ImageError::ComponentsNotAllowed {
            found: ComponentSet::from_bits(0x80b),
            allowed: ComponentSet::from_bits(0x207),
        };
        let reserved = ImageError::ReservedHeaderByte {
            offset: 575,
            value: 9,
        };
        let xcomp_bv = ImageError::XcompBv { found: 1 << 63 };
        let breaks = [
            (527, 0x80, xcomp_bv),
            (575, 9, reserved),
            (513, 8, components),
            (27, 0x80, mxcsr),
        ];
        let mut all = image(0xb);
        for (offset, value, _) in breaks {
            all[offset] = value;
        }
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(0x207)).unwrap();
        let short = ImageError::TooShort {
            found: 4095,
            needed: 4096,
        };
        let expected: Vec<_> = [short]
            .into_iter()
            .chain(breaks.map(|(_, _, error)| error))
            .collect();
        let faults = KvmImage::faults(&all[..4095], &layout, Xfd::NOTHING, 0xffff);
        assert_eq!(faults.collect::<Vec<_>>(), expected);
        assert_eq!(parse(&all, &cpu).unwrap_err(), xcomp_bv);
    }

    /// L56 · 2022 · d187ba531230, CVE-2022-49557 · the length of the state was taken for that of the buffer of `KVM_GET_XSAVE` and `KVM_SET_XSAVE`
    /// Also C11.
    #[test]
    fn the_buffer_has_4096_bytes_or_those_of_the_standard_format() {
        let cpu = emerald_rapids().enumeration();
        let len =
            |bits| KvmImage::len(&Layout::standard(&cpu, ComponentSet::from_bits(bits)).unwrap());
        assert_eq!(len(0x2e7), 4096);
        assert_eq!(len(0x6_02e7), 0x2b00);
    }

    /// Also L56.
    #[test]
    fn a_host_without_xsave_takes_x87_and_sse_whatever_xstate_bv_says() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let layout = Layout::fxsave(&cpu).unwrap();
        let parse = |bytes: &[u8]| {
            KvmImage::parse(bytes, layout, Xfd::NOTHING, 0xffff).map(|i| i.state().legacy())
        };
        let mut bytes = image(0);
        bytes[575] = 1;
        let legacy = parse(&bytes).unwrap();
        assert_eq!((legacy.fcw, legacy.mxcsr.bits()), (0x27f, 0x1fa0));
        bytes[512] = 4;
        assert!(parse(&bytes).is_err(), "AVX");
        bytes[512] = 0;
        bytes[27] = 0x80;
        assert!(parse(&bytes).is_err(), "MXCSR");
    }
}
