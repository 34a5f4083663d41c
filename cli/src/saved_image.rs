//! One image in a file: whose it is, what form it has, and what it says of itself. Of which CPU it is,
//! is in a snapshot only; where that is known the library judges it.

use fpstate::{
    CompactedImage, FrameForm, FxsaveImage, ImageError, ImageState, KvmImage, Layout, LayoutError,
    PtraceImage, Sigreturn, SoftwareBytes, StandardImage,
};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, Enumeration, Format, LegacyRegion, Xfd, XsaveHeader};
use fpstate_kvm::VcpuExtendedState;

/// Most bytes of an image, and of a file that is no core. The longest area of a CPU known here has
/// 11,136; a snapshot of 64 KiB with a line for each byte is as long as this.
pub(crate) const LONGEST_IMAGE: usize = 1 << 20;

/// An image as it stands in a file; nothing of it was judged.
#[derive(Debug)]
pub(crate) struct SavedImage {
    pub(crate) place: Place,
    /// The signal that the thread of a core got; `None` outside a core.
    pub(crate) signal: Option<u16>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Snapshot(Box<VcpuExtendedState>),
}

/// Which image of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its thread; `None` outside a core.
    pub(crate) tid: Option<u32>,
    pub(crate) form: Form,
    /// Its byte 0 in the file; 0 of a snapshot's, which has no place of its own.
    pub(crate) offset: u64,
}

/// The rules that an image is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Kvm,
    Snapshot,
    Xsave,
    Compacted,
    Fxsave,
    SignalFrame,
    CoreXstate,
    CoreFxsave,
}

/// What a standard-format image has room for where it does not say so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsaid {
    /// What it announces: its CPU is yet to be found.
    AnnouncedOnly,
    /// All user components of its CPU that it has bytes for.
    AllOfItsCpu,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (form, offset) = (self.form.name(), self.offset);
        match self.tid {
            Some(tid) => write!(f, "thread {tid}, {form} from byte {offset}"),
            None => f.write_str(form),
        }
    }
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM image",
            Self::Snapshot => "snapshot",
            Self::Xsave => "standard-format image",
            Self::Compacted => "compacted image",
            Self::Fxsave => "FXSAVE image",
            Self::SignalFrame => "signal frame",
            Self::CoreXstate => "NT_X86_XSTATE",
            Self::CoreFxsave => "NT_PRFPREG",
        }
    }

    /// As the form lays out the components.
    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Fxsave | Self::CoreFxsave => Format::Fxsave,
            Self::Compacted => Format::Compacted,
            Self::Kvm | Self::Snapshot | Self::Xsave | Self::SignalFrame | Self::CoreXstate => {
                Format::Standard
            }
        }
    }
}

impl SavedImage {
    /// The image that a file is.
    pub(crate) const fn alone(form: Form, bytes: Vec<u8>) -> Self {
        Self {
            place: Place {
                tid: None,
                form,
                offset: 0,
            },
            signal: None,
            content: Content::Bytes(bytes),
        }
    }

    pub(crate) fn of_snapshot(snapshot: VcpuExtendedState) -> Self {
        Self {
            content: Content::Snapshot(Box::new(snapshot)),
            ..Self::alone(Form::Snapshot, Vec::new())
        }
    }

    /// The content of a note of a core's thread.
    pub(crate) const fn of_thread(place: Place, signal: u16, bytes: Vec<u8>) -> Self {
        Self {
            place,
            signal: Some(signal),
            content: Content::Bytes(bytes),
        }
    }

    /// Every byte of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Snapshot(snapshot) => snapshot.xsave(),
        }
    }

    /// The snapshot that it is in.
    pub(crate) const fn snapshot(&self) -> Option<&VcpuExtendedState> {
        match &self.content {
            Content::Bytes(_) => None,
            Content::Snapshot(snapshot) => Some(snapshot),
        }
    }

    /// XSTATE_BV and XCOMP_BV; `None` for FXSAVE's bytes.
    pub(crate) fn header(&self) -> Option<XsaveHeader> {
        match self.place.form.format() {
            Format::Fxsave => None,
            Format::Standard | Format::Compacted => header(self.bytes()),
        }
    }

    /// XSTATE_BV; nothing where there is no header.
    pub(crate) fn announced(&self) -> ComponentSet {
        self.header()
            .map_or(ComponentSet::EMPTY, |header| header.xstate_bv)
    }

    /// The XCR0 that the image, or what is beside it, gives.
    pub(crate) fn xcr0(&self) -> Option<ComponentSet> {
        match self.place.form {
            Form::Kvm | Form::CoreXstate => software_xcr0(self.bytes()),
            Form::Snapshot => self.snapshot().map(VcpuExtendedState::xcr0),
            Form::SignalFrame | Form::Xsave | Form::Compacted | Form::Fxsave | Form::CoreFxsave => {
                None
            }
        }
    }

    /// The components that it says it has room for; where it says nothing, those it announces.
    pub(crate) fn room(&self) -> ComponentSet {
        let room = match self.place.form {
            Form::Fxsave | Form::CoreFxsave => None,
            Form::Compacted => self.header().map(|header| header.xcomp_bv_components()),
            // Without software bytes nothing behind the 512 bytes means anything.
            Form::SignalFrame => frame_bytes(self.bytes()).map(|frame| frame.xfeatures),
            Form::Snapshot => self.xcr0().map(|xcr0| xcr0.union(self.announced())),
            Form::Kvm | Form::Xsave | Form::CoreXstate => {
                self.xcr0().or_else(|| Some(self.announced()))
            }
        };
        room.unwrap_or_default().union(ComponentSet::LEGACY)
    }

    /// How `cpu` lays it out.
    pub(crate) fn layout<'e>(
        &self,
        cpu: &'e Enumeration,
        unsaid: Unsaid,
    ) -> Result<Layout<'e>, LayoutError> {
        let len = self.bytes().len();
        match (self.place.form, unsaid) {
            (Form::Fxsave | Form::CoreFxsave, _) => Layout::fxsave(cpu),
            (Form::Compacted, _) => Layout::compacted(cpu, self.room()),
            // They are as long as they say.
            (Form::SignalFrame | Form::CoreXstate, _) => Layout::standard(cpu, self.room()),
            (Form::Xsave, Unsaid::AllOfItsCpu) => {
                let all = Layout::standard(cpu, cpu.user_components())?;
                Ok(within(all, len, self.announced()))
            }
            // Linux gives every KVM image the host's XCR0, also a short one of a VM without tiles.
            (Form::Kvm | Form::Snapshot | Form::Xsave, _) => {
                let all = Layout::standard(cpu, self.room())?;
                Ok(within(all, len, self.announced()))
            }
        }
    }

    /// The registers, by the rules of its form. `layout` is that of [`layout`](Self::layout).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn state<'b>(
        &'b self,
        layout: Layout<'b>,
        mxcsr_mask: u32,
    ) -> Result<ImageState<'b>, ImageError> {
        let (bytes, cpu) = (self.bytes(), layout.enumeration());
        Ok(match self.place.form {
            Form::Fxsave | Form::CoreFxsave => FxsaveImage::parse(bytes, cpu, mxcsr_mask)?.state(),
            Form::Compacted => CompactedImage::parse(bytes, cpu, mxcsr_mask)?.state(),
            Form::Xsave => StandardImage::parse(bytes, layout, mxcsr_mask)?.state(),
            Form::Kvm | Form::Snapshot => {
                KvmImage::parse(bytes, layout, self.xfd(cpu), mxcsr_mask)?.state()
            }
            Form::SignalFrame => self.frame(layout, mxcsr_mask)?.state(),
            Form::CoreXstate => {
                PtraceImage::parse(bytes, layout, layout.components(), mxcsr_mask)?.state()
            }
        })
    }

    fn frame<'b>(
        &'b self,
        layout: Layout<'b>,
        mxcsr_mask: u32,
    ) -> Result<Sigreturn<'b>, ImageError> {
        let xcr0 = layout.enumeration().user_components();
        Sigreturn::parse(self.bytes(), layout, xcr0, mxcsr_mask)
    }

    /// How much of a signal frame `sigreturn` restores; `None` for other images, and where it restores
    /// nothing.
    pub(crate) fn frame_form(&self, layout: Layout<'_>, mxcsr_mask: u32) -> Option<FrameForm> {
        let is_frame = self.place.form == Form::SignalFrame;
        let frame = is_frame.then(|| self.frame(layout, mxcsr_mask))?;
        frame.ok().map(|frame| frame.form())
    }

    /// What the guest's IA32_XFD disables is no state.
    fn xfd(&self, cpu: &Enumeration) -> Xfd {
        let supported = cpu.xfd_components();
        let disabled = self
            .snapshot()
            .map_or(ComponentSet::EMPTY, VcpuExtendedState::xfd);
        Xfd::new(disabled.intersection(supported), supported).unwrap_or_default()
    }

    /// What makes the image this one.
    pub(crate) fn title(&self) -> String {
        match (self.place.tid, self.signal) {
            (Some(tid), Some(0) | None) => format!("thread {tid}"),
            (Some(tid), Some(signal)) => format!("thread {tid}, signal {signal}"),
            (None, _) => "image".to_owned(),
        }
    }
}

/// The components of `all` that lie within the first `len` bytes, and the `announced` ones, so that
/// of an image cut short it can be said what is missing.
pub(crate) fn within(all: Layout<'_>, len: usize, announced: ComponentSet) -> Layout<'_> {
    let has_bytes = all
        .extended_components()
        .filter(|placed| placed.range().end <= len)
        .fold(ComponentSet::LEGACY, |set, placed| {
            set.with(placed.component())
        });
    all.narrowed_to(has_bytes.union(announced))
}

/// Why a frame is no whole one.
pub(crate) fn fx_only(form: FrameForm) -> Option<String> {
    match form {
        FrameForm::Full => None,
        FrameForm::FxOnly(reason) => Some(reason.to_string()),
    }
}

/// What a signal frame says of itself; `None` without `FP_XSTATE_MAGIC1`. As the low half of an XCR0
/// that would have bit 6, ZMM_Hi256, without bits 5 and 7: no image of KVM begins its software bytes so.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<SoftwareBytes> {
    let region = LegacyRegion::from_bytes(bytes.first_chunk()?);
    let software = SoftwareBytes::of(&region);
    (software.magic1 == SoftwareBytes::MAGIC1).then_some(software)
}

/// Bytes 575:512.
pub(crate) fn header(bytes: &[u8]) -> Option<XsaveHeader> {
    let header = bytes.get(LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET)?;
    header.first_chunk().map(XsaveHeader::from_bytes)
}

/// Bytes 471:464, where Linux writes XCR0, if they can be one: x87, SSE and what XSTATE_BV has.
pub(crate) fn software_xcr0(bytes: &[u8]) -> Option<ComponentSet> {
    let xcr0 = bytes.get(464..472)?.first_chunk()?;
    let xcr0 = ComponentSet::from_bits(u64::from_le_bytes(*xcr0));
    let needed = header(bytes)?.xstate_bv.union(ComponentSet::LEGACY);
    (xcr0.contains_all(needed) && xcr0.bits() >> 63 == 0).then_some(xcr0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_images::cpu;

    /// An image of `len` bytes, all 0 but XSTATE_BV.
    fn image(form: Form, len: usize, xstate_bv: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        if form == Form::Kvm {
            bytes[464..472].copy_from_slice(&0x6_02e7_u64.to_le_bytes());
        }
        bytes
    }

    fn room(form: Form, len: usize, xstate_bv: u64, unsaid: Unsaid) -> u64 {
        let cpu = cpu("sapphire-rapids");
        let image = SavedImage::alone(form, image(form, len, xstate_bv));
        let layout = image.layout(&cpu, unsaid).unwrap();
        layout.components().bits()
    }

    #[test]
    fn a_short_image_has_the_components_it_has_bytes_for_and_those_it_lists() {
        let components = |len, xstate_bv| room(Form::Xsave, len, xstate_bv, Unsaid::AllOfItsCpu);
        assert_eq!(components(832, 7), 7);
        assert_eq!(components(4096, 7), 0x2_02e7, "tile data end at 11008");
        assert_eq!(components(4096, 0x4_0007), 0x6_02e7);
        assert_eq!(room(Form::Xsave, 4096, 0x207, Unsaid::AnnouncedOnly), 0x207);
    }

    #[test]
    fn the_image_of_a_vm_without_tiles_names_them_and_has_no_bytes_of_them() {
        for unsaid in [Unsaid::AnnouncedOnly, Unsaid::AllOfItsCpu] {
            assert_eq!(room(Form::Kvm, 4096, 7, unsaid), 0x2_02e7);
            assert_eq!(room(Form::Kvm, 11008, 7, unsaid), 0x6_02e7);
        }
    }
}
