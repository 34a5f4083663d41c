//! A state becomes an image as Linux hands it out: `KVM_GET_XSAVE`, `NT_X86_XSTATE`.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion};
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xsave_header::{Format, XsaveHeader};

use crate::export::{Export, ExportError, require_format};
use crate::image_state::{ImageState, MXCSR_CARRIERS};
use crate::kvm_image::KvmImage;
use crate::layout::Layout;

/// What Linux writes into an image beside the state: facts of the host. Readers of the state need
/// neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageOrigin {
    /// All user components of the system, at bytes 471:464: by them a debugger finds the layout
    /// (`xstate_fx_sw_bytes`, which KVM writes too).
    pub xcr0: ComponentSet,
    /// MXCSR_MASK of the CPU, at bytes 31:28 where SSE and AVX are initial. Where they are not, the
    /// state has its own.
    pub mxcsr_mask: u32,
}

impl ImageState<'_> {
    /// Writes the image that `KVM_GET_XSAVE2` hands out, [`KvmImage::len`] bytes; gives that length.
    /// `layout` is the standard layout of what the guest's state may have. The vCPU's `pkru` is
    /// written and announced, whatever its value, since KVM keeps the former one where it is not;
    /// `None` leaves PKRU to the state.
    ///
    /// What the guest is not offered stays out if the state is limited to that first
    /// ([`limited_to`](Self::limited_to)). A layout of FXSAVE's format stands for a host without XSAVE.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_kvm(
        &self,
        layout: &Layout<'_>,
        origin: ImageOrigin,
        pkru: Option<Pkru>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        match layout.format() {
            Format::Fxsave => self.write_kvm_without_xsave(layout, out),
            Format::Standard | Format::Compacted => {
                self.write_uabi(layout, KvmImage::len(layout), origin, pkru, out)
            }
        }
    }

    /// Writes the image of `NT_X86_XSTATE`, the layout's length; gives that length. `layout` is the
    /// standard layout of all user components of the system. PKRU as for
    /// [`write_kvm`](Self::write_kvm).
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_ptrace(
        &self,
        layout: &Layout<'_>,
        origin: ImageOrigin,
        pkru: Option<Pkru>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        self.write_uabi(layout, layout.area_len(), origin, pkru, out)
    }

    /// Writes what `PTRACE_GETREGSET` of `NT_PRFPREG` hands out: x87, SSE and MXCSR, whatever else is
    /// live. `layout` is that of an FXSAVE area, 512 bytes; `mxcsr_mask` is this CPU's MXCSR_MASK, which
    /// Linux shows where SSE and AVX are initial. Where AVX is live and SSE is not, Linux shows an initial
    /// MXCSR and here it is the state's (docs/surprises.md).
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_prfpreg(
        &self,
        layout: &Layout<'_>,
        mxcsr_mask: u32,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        require_format(layout, Format::Fxsave)?;
        let shown = self.without(self.live().difference(ComponentSet::LEGACY));
        let legacy = self.legacy_with_mask(mxcsr_mask);
        Export {
            legacy,
            ..Export::of(&shown, layout)
        }
        .write(&shown, out)
    }

    /// The legacy region, with MXCSR_MASK where no component brought one.
    fn legacy_with_mask(&self, mxcsr_mask: u32) -> LegacyRegion {
        let mut legacy = self.legacy();
        if !self.live_with_mxcsr().intersects(MXCSR_CARRIERS) {
            legacy.mxcsr_mask = mxcsr_mask;
        }
        legacy
    }

    fn write_uabi(
        &self,
        layout: &Layout<'_>,
        len: usize,
        origin: ImageOrigin,
        pkru: Option<Pkru>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        require_format(layout, Format::Standard)?;
        let mut legacy = self.legacy_with_mask(origin.mxcsr_mask);
        put_software_words(&mut legacy, <[u32; 2]>::from(origin.xcr0.halves()));
        Export {
            len,
            legacy,
            pkru,
            ..Export::of(self, layout)
        }
        .write(self, out)
    }

    /// FXSAVE's bytes under a header that a host with XSAVE can restore.
    fn write_kvm_without_xsave(
        &self,
        layout: &Layout<'_>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        let len = KvmImage::len(layout);
        let export = Export {
            len,
            ..Export::of(self, layout)
        };
        let written = export.write(self, out)?;
        let field = out
            .get_mut(LEGACY_REGION_LEN..)
            .and_then(<[u8]>::first_chunk_mut);
        if let Some(field) = field {
            *field = XsaveHeader::standard(ComponentSet::LEGACY).to_bytes();
        }
        Ok(written)
    }
}

/// Bytes from 464 on.
pub(crate) fn put_software_words(legacy: &mut LegacyRegion, words: impl IntoIterator<Item = u32>) {
    let (_, software) = legacy.tail.split_at_mut(464 - 416);
    let (places, _) = software.as_chunks_mut();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ptrace_image::PtraceImage;
    use crate::recorded_cpu::emerald_rapids;
    use fpstate_arch::component::Component;
    use fpstate_arch::xfd::Xfd;
    use std::vec::Vec;

    const ORIGIN: ImageOrigin = ImageOrigin {
        xcr0: ComponentSet::from_bits(0x6_02e7),
        mxcsr_mask: 0x2_ffff,
    };

    fn expected(len: usize, xstate_bv: u64) -> Vec<u8> {
        let mut bytes = std::vec![0; len];
        bytes[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        bytes[28..32].copy_from_slice(&0x2_ffff_u32.to_le_bytes());
        bytes[464..472].copy_from_slice(&0x6_02e7_u64.to_le_bytes());
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        bytes
    }

    #[test]
    fn a_debugger_sees_the_legacy_registers_alone_and_this_cpus_mask_where_there_is_no_other() {
        let cpu = emerald_rapids().enumeration();
        let room = ComponentSet::from_bits(7);
        let layout = Layout::standard(&cpu, room).unwrap();
        let mut image = expected(832, 5);
        (image[5], image[32], image[42]) = (0x55, 0x33, 0x22);
        image[24..32].copy_from_slice(&0x1234_5678_0000_1fa0_u64.to_le_bytes());
        let shown = |image: &[u8]| {
            let image = PtraceImage::parse(image, layout, room, 0x2_ffff).unwrap();
            let mut out = [0xaa; 512];
            let fxsave = Layout::fxsave(&cpu).unwrap();
            let written = image.state().write_prfpreg(&fxsave, 0x2_ffff, &mut out);
            assert_eq!(written, Ok(512));
            out
        };
        let mut prfpreg = image.clone();
        prfpreg.truncate(512);
        prfpreg[464..].fill(0);
        assert_eq!(shown(&image)[..], prfpreg, "reserved bytes and all");
        image[512] = 1;
        prfpreg[24..32].copy_from_slice(&0x2_ffff_0000_1f80_u64.to_le_bytes());
        assert_eq!(shown(&image)[..], prfpreg);
    }

    #[test]
    fn an_initial_state_is_written_as_linux_writes_it() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(0x2e7)).unwrap();
        let nothing = ComponentSet::EMPTY;
        let state = ImageState::new(&[], layout, LegacyRegion::INITIAL, nothing);
        let mut out = std::vec![0xaa; 5000];
        let mut expected_kvm = expected(4096, 0);
        assert_eq!(state.write_kvm(&layout, ORIGIN, None, &mut out), Ok(4096));
        assert_eq!(out[..4096], expected_kvm);
        assert_eq!(out[4096..], [0xaa; 904], "beyond the image");

        let pkru = Pkru::from_bits(0x5555_5554);
        expected_kvm[513] = 2;
        expected_kvm[0xa80..0xa84].copy_from_slice(&0x5555_5554_u32.to_le_bytes());
        let written = state.write_kvm(&layout, ORIGIN, Some(pkru), &mut out);
        assert_eq!((written, &out[..4096]), (Ok(4096), &expected_kvm[..]));
        let written = state.write_ptrace(&layout, ORIGIN, Some(pkru), &mut out);
        assert_eq!(
            (written, &out[..0xa88]),
            (Ok(0xa88), &expected_kvm[..0xa88])
        );
    }

    #[test]
    fn a_pkru_of_0_is_announced_too_and_one_without_room_is_refused() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(0x207)).unwrap();
        let state = ImageState::new(&[], layout, LegacyRegion::INITIAL, ComponentSet::EMPTY);
        let mut out = [0xaa; 4096];
        state
            .write_kvm(&layout, ORIGIN, Some(Pkru::INITIAL), &mut out)
            .unwrap();
        assert_eq!(out[..], expected(4096, 0x200));
        let room = ComponentSet::from_bits(7);
        let layout = Layout::standard(&cpu, room).unwrap();
        let found = ComponentSet::only(Component::Pkru);
        let pkru = Some(Pkru::from_bits(4));
        assert_eq!(
            state.write_kvm(&layout, ORIGIN, pkru, &mut out),
            Err(ExportError::NoRoom { found, room })
        );
        assert_eq!(out[..], expected(4096, 0x200), "unchanged");
        let written = state.write_kvm(&layout, ORIGIN, Some(Pkru::INITIAL), &mut out);
        assert_eq!((written, out[513]), (Ok(4096), 0));
    }

    #[test]
    fn the_mask_of_a_live_sse_is_its_own() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::LEGACY).unwrap();
        let legacy = LegacyRegion {
            mxcsr_mask: 0xffff,
            ..LegacyRegion::INITIAL
        };
        let sse = ComponentSet::only(Component::Sse);
        let state = ImageState::new(&[], layout, legacy, sse);
        let mut out = [0; 4096];
        state.write_kvm(&layout, ORIGIN, None, &mut out).unwrap();
        assert_eq!(out[28..32], 0xffff_u32.to_le_bytes());
    }

    /// `KVM_SET_XSAVE`, `KVM_GET_XSAVE` on Linux 6.18, host with AVX-512: each image as it came back.
    #[test]
    fn what_kvm_takes_comes_back_as_from_kvm() {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(3)).unwrap();
        // XSTATE_BV; FCW, byte 5, MXCSR, MXCSR_MASK, a byte of st0, a byte of xmm0.
        for (xstate_bv, fcw, reserved, mxcsr, mask, st, xmm) in [
            (0, 0x37f, 0, 0x1f80, 0x2_ffff, 0, 0),
            (1, 0x27f, 0x99, 0x1f80, 0x2_ffff, 0x77, 0),
            (2, 0x37f, 0, 0x1fa0, 0x1234, 0, 0x11),
            (3, 0x27f, 0x99, 0x1fa0, 0x1234, 0x77, 0x11),
        ] {
            let mut image = [0; 4096];
            image[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
            image[5] = 0x99;
            image[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
            image[28..32].copy_from_slice(&0x1234_u32.to_le_bytes());
            image[32..160].fill(0x77);
            image[160..416].fill(0x11);
            image[416..512].fill(0xee);
            image[512] = xstate_bv;
            let parsed = KvmImage::parse(&image, layout, Xfd::NOTHING, 0x2_ffff).unwrap();
            let mut out = [0xaa; 4096];
            let written = parsed.state().write_kvm(&layout, ORIGIN, None, &mut out);
            let mut back = expected(4096, xstate_bv.into());
            back[0..2].copy_from_slice(&u16::to_le_bytes(fcw));
            back[5] = reserved;
            back[24..28].copy_from_slice(&u32::to_le_bytes(mxcsr));
            back[28..32].copy_from_slice(&u32::to_le_bytes(mask));
            back[32..160].fill(st);
            back[160..416].fill(xmm);
            assert_eq!((written, &out[..]), (Ok(4096), &back[..]), "{xstate_bv}");
        }
    }

    #[test]
    fn a_host_without_xsave_writes_an_image_that_one_with_it_can_restore() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let layout = Layout::fxsave(&cpu).unwrap();
        let state = ImageState::new(&[], layout, LegacyRegion::INITIAL, ComponentSet::LEGACY);
        let mut out = [0xaa; 4096];
        let written = state.write_kvm(&layout, ORIGIN, None, &mut out);
        assert_eq!((written, out[512]), (Ok(4096), 3));
        assert!(out[513..].iter().all(|&byte| byte == 0));
    }
}
