//! A state becomes the image of a signal frame.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xsave_header::Format;

use crate::export::{Export, ExportError, require_format};
use crate::image_state::ImageState;
use crate::layout::Layout;
use crate::signal_frame::{MAGIC1, MAGIC2, MAGIC2_LEN, SoftwareBytes};
use crate::uabi_export::put_software_words;

impl ImageState<'_> {
    /// Writes the image of a signal frame as Linux does: the standard image, what describes it at
    /// bytes 464 to 511, and the second magic number behind it; gives the length, the layout's and 4.
    /// `layout` is the standard layout of the user components that the thread's state has room for.
    ///
    /// XSTATE_BV has x87 and SSE always, and PKRU where `pkru`, the interrupted one, is given;
    /// `mxcsr_mask` is the CPU's MXCSR_MASK. Where the image goes on the user stack is the caller's: at a
    /// multiple of 64.
    ///
    /// No frame has supervisor components. Where one is live, CET's with a shadow stack, give it up first
    /// by [`limited_to`](Self::limited_to) and [`Loss::Drop`](crate::loss::Loss::Drop): the thread keeps
    /// it, for its handler too.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_signal_frame(
        &self,
        layout: &Layout<'_>,
        mxcsr_mask: u32,
        pkru: Option<Pkru>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        require_format(layout, Format::Standard)?;
        let xstate_size = layout.area_len();
        let len = xstate_size.saturating_add(MAGIC2_LEN);
        let mut legacy = self.legacy();
        legacy.mxcsr_mask = mxcsr_mask;
        let software = SoftwareBytes {
            magic1: MAGIC1,
            // A length beyond 32 bits is beyond any buffer: refused as too short below.
            extended_size: u32::try_from(len).unwrap_or(u32::MAX),
            xfeatures: layout.components(),
            xstate_size: u32::try_from(xstate_size).unwrap_or(u32::MAX),
        };
        put_software_words(&mut legacy, software.words());
        let export = Export {
            len,
            legacy,
            also_announced: ComponentSet::LEGACY.intersection(layout.components()),
            pkru,
            ..Export::of(self, layout)
        };
        let written = export.write(self, out)?;
        if let Some(behind) = out.get_mut(xstate_size..written) {
            for (to, from) in behind.iter_mut().zip(MAGIC2.to_le_bytes()) {
                *to = from;
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpu::emerald_rapids;
    use crate::sigreturn::{FrameForm, Sigreturn};
    use fpstate_arch::legacy_region::LegacyRegion;

    /// Also L28.
    #[test]
    fn a_frame_describes_itself_as_linux_writes_it_and_sigreturn_takes_it_whole() {
        let cpu = emerald_rapids().enumeration();
        let room = ComponentSet::from_bits(7);
        let layout = Layout::standard(&cpu, room).unwrap();
        let state = ImageState::new(&[], layout, LegacyRegion::INITIAL, ComponentSet::EMPTY);
        let mut out = [0xaa; 840];
        let written = state.write_signal_frame(&layout, 0x2_ffff, None, &mut out);
        assert_eq!(written, Ok(836));
        // linux.md 5.5: extended_size 836, xfeatures 7, xstate_size 832, padding 0.
        let mut expected = [0; 840];
        expected[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        expected[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        expected[28..32].copy_from_slice(&0x2_ffff_u32.to_le_bytes());
        expected[464..468].copy_from_slice(b"SXPF");
        expected[468..472].copy_from_slice(&836_u32.to_le_bytes());
        expected[472] = 7;
        expected[480..484].copy_from_slice(&832_u32.to_le_bytes());
        expected[512] = 3;
        expected[832..836].copy_from_slice(b"EXPF");
        expected[836..].fill(0xaa);
        assert_eq!(out, expected);
        let frame = Sigreturn::parse(&out, layout, room, 0xffff).unwrap();
        assert_eq!(frame.form(), FrameForm::Full);
    }

    /// L38 · 2024, 2025 · ae6012d72fa6, d10b554919d4, d1e420772cd1 · the frame showed the PKRU that the kernel had set to write it, or announced none where it was 0
    #[test]
    fn the_frame_shows_the_interrupted_pkru() {
        let cpu = emerald_rapids().enumeration();
        let room = ComponentSet::from_bits(0x207);
        let layout = Layout::standard(&cpu, room).unwrap();
        let state = ImageState::new(&[], layout, LegacyRegion::INITIAL, ComponentSet::EMPTY);
        let mut out = [0xaa; 0xa8c];
        for pkru in [0x5555_5554, 0].map(Pkru::from_bits) {
            let written = state.write_signal_frame(&layout, 0xffff, Some(pkru), &mut out);
            assert_eq!(written, Ok(0xa8c));
            assert_eq!((out[512], out[513]), (3, 2));
            let frame = Sigreturn::parse(&out, layout, room, 0xffff).unwrap();
            assert_eq!(frame.pkru(), pkru);
        }
    }
}
