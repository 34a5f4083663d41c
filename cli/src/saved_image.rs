//! An image in a file: its bytes, the rules it is read by, and whose layout it has.

use std::rc::Rc;

use fpstate::{
    CompactedImage, FxsaveImage, ImageError, ImageState, KvmImage, Layout, PtraceImage,
    StandardImage,
};
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, Xfd, XsaveHeader};
use fpstate_kvm::VcpuExtendedState;

use crate::elf_core::Descriptor;
use crate::image_cpu::{Candidates, Extent, ImageCpu, ImageCpuError, Wanted, WantedForm};

/// An image in a file.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) form: Form,
    /// Its byte 0 in the file.
    pub(crate) offset: u64,
    bytes: Vec<u8>,
    /// What Linux wrote into bytes 471:464.
    pub(crate) xcr0: Option<ComponentSet>,
    /// What a snapshot has beside the image.
    pub(crate) guest: Option<GuestRegisters>,
    /// Room of the layout it is read by.
    components: ComponentSet,
    pub(crate) cpu: Rc<ImageCpu>,
}

/// The CPU that was found for an image of these components and this length.
pub(crate) type LastFound = Option<(ComponentSet, usize, Rc<ImageCpu>)>;

/// A guest's registers that a snapshot has beside the image and XCR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestRegisters {
    pub(crate) xss: ComponentSet,
    pub(crate) xfd: ComponentSet,
    pub(crate) xfd_err: ComponentSet,
}

/// The rules that an image is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Kvm,
    Snapshot,
    Xsave,
    Compacted,
    Fxsave,
    CoreXstate,
    CoreFxsave,
}

/// Why an image cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedImageError {
    #[error("the file ends at byte {found}; an image has 512 bytes (FXSAVE) or 576 and more")]
    TooShort { found: u64 },
    #[error("{place}: {error}")]
    Cpu { place: Place, error: ImageCpuError },
    #[error("{place}: {error}")]
    Image { place: Place, error: ImageError },
    #[error("no snapshot of fpstate-kvm: byte {offset}: {error}")]
    Snapshot {
        offset: usize,
        error: serde_json::Error,
    },
}

/// Which image of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tid: Option<u32>,
    pub(crate) form: Form,
    pub(crate) offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tid {
            Some(tid) => write!(
                f,
                "thread {tid}, {} from byte {}",
                self.form.name(),
                self.offset
            ),
            None => f.write_str(self.form.name()),
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
            Self::CoreXstate => "NT_X86_XSTATE",
            Self::CoreFxsave => "NT_PRFPREG",
        }
    }
}

impl Image {
    /// The image that a file is.
    pub(crate) fn alone(
        form: Form,
        bytes: Vec<u8>,
        candidates: &Candidates,
    ) -> Result<Self, SavedImageError> {
        if let Form::Fxsave | Form::CoreFxsave = form {
            return Self::fxsave(form, Descriptor { offset: 0, bytes }, None, candidates);
        }
        let Some(header) = header(&bytes) else {
            return Err(SavedImageError::TooShort {
                found: bytes.len() as u64,
            });
        };
        let live = header.xstate_bv;
        let xcr0 = software_xcr0(&bytes).filter(|_| form == Form::Kvm);
        let (components, form_of_layout) = if form == Form::Compacted {
            (header.xcomp_bv_components(), WantedForm::Compacted)
        } else {
            (xcr0.unwrap_or(live), WantedForm::Standard)
        };
        let wanted = Wanted {
            bytes: &bytes,
            extent: Extent::AtLeast,
            form: form_of_layout,
            components: components.union(ComponentSet::LEGACY),
            live,
        };
        let place = Place {
            tid: None,
            form,
            offset: 0,
        };
        let cpu = candidates
            .find(wanted)
            .map_err(|error| SavedImageError::Cpu { place, error })?;
        Self {
            form,
            offset: 0,
            xcr0,
            guest: None,
            components: wanted.components,
            cpu,
            bytes,
        }
        .checked(place)
    }

    /// The image of a thread's `NT_X86_XSTATE`, by the layout the core notes, or one that is found.
    pub(crate) fn of_note(
        tid: u32,
        note: Descriptor,
        noted: Option<&Rc<ImageCpu>>,
        last: &mut LastFound,
        candidates: &Candidates,
    ) -> Result<Self, SavedImageError> {
        let Descriptor { offset, bytes } = note;
        let place = Place {
            tid: Some(tid),
            form: Form::CoreXstate,
            offset,
        };
        let xcr0 = software_xcr0(&bytes);
        let live = header(&bytes).map_or(ComponentSet::EMPTY, |header| header.xstate_bv);
        let components = xcr0.unwrap_or(live.union(ComponentSet::LEGACY));
        let wanted = Wanted {
            bytes: &bytes,
            extent: Extent::Exact,
            form: WantedForm::Standard,
            components,
            live,
        };
        let cpu = match (noted, last.as_ref()) {
            (Some(noted), _) => Rc::clone(noted),
            // The threads of one process have one layout: it need not be looked for again.
            (None, Some((c, len, cpu))) if (*c, *len) == (components, bytes.len()) => {
                Rc::clone(cpu)
            }
            (None, _) => candidates
                .find(wanted)
                .map_err(|error| SavedImageError::Cpu { place, error })?,
        };
        *last = Some((components, bytes.len(), Rc::clone(&cpu)));
        Self {
            form: Form::CoreXstate,
            offset,
            xcr0,
            guest: None,
            components,
            cpu,
            bytes,
        }
        .checked(place)
    }

    /// The image in a snapshot that serde wrote as JSON.
    pub(crate) fn of_snapshot(
        text: &[u8],
        candidates: &Candidates,
    ) -> Result<Self, SavedImageError> {
        let snapshot: VcpuExtendedState =
            serde_json::from_slice(text).map_err(|error| SavedImageError::Snapshot {
                offset: byte_of(text, &error),
                error,
            })?;
        let of_its_own = || {
            Rc::new(ImageCpu {
                enumeration: snapshot.cpu().enumeration(),
                reason: format!("the layout of its own CPU, {}", snapshot.cpu().vendor()),
            })
        };
        let live = header(snapshot.xsave()).map_or(ComponentSet::EMPTY, |header| header.xstate_bv);
        let components = live.union(snapshot.xcr0()).union(ComponentSet::LEGACY);
        let place = Place {
            tid: None,
            form: Form::Snapshot,
            offset: 0,
        };
        Self {
            form: Form::Snapshot,
            offset: 0,
            xcr0: Some(snapshot.xcr0()),
            guest: Some(GuestRegisters {
                xss: snapshot.xss(),
                xfd: snapshot.xfd(),
                xfd_err: snapshot.xfd_err(),
            }),
            components,
            cpu: candidates.given().unwrap_or_else(of_its_own),
            bytes: snapshot.into_parts().xsave,
        }
        .checked(place)
    }

    /// The 512 bytes of FXSAVE.
    pub(crate) fn fxsave(
        form: Form,
        note: Descriptor,
        tid: Option<u32>,
        candidates: &Candidates,
    ) -> Result<Self, SavedImageError> {
        let Descriptor { offset, bytes } = note;
        let cpu = candidates.fxsave();
        let components = ComponentSet::LEGACY;
        Self {
            form,
            offset,
            xcr0: None,
            guest: None,
            components,
            cpu,
            bytes,
        }
        .checked(Place { tid, form, offset })
    }

    fn checked(self, place: Place) -> Result<Self, SavedImageError> {
        self.state()
            .map_err(|error| SavedImageError::Image { place, error })?;
        Ok(self)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// XSTATE_BV and XCOMP_BV; `None` for FXSAVE's bytes.
    pub(crate) fn header(&self) -> Option<XsaveHeader> {
        match self.form {
            Form::Fxsave | Form::CoreFxsave => None,
            Form::Kvm | Form::Snapshot | Form::Xsave | Form::Compacted | Form::CoreXstate => {
                header(&self.bytes)
            }
        }
    }

    /// What the guest's IA32_XFD disables is no state.
    fn xfd(&self) -> Xfd {
        let supported = self.cpu.enumeration.xfd_components();
        let disabled = self.guest.map_or(ComponentSet::EMPTY, |guest| guest.xfd);
        Xfd::new(disabled.intersection(supported), supported).unwrap_or_default()
    }

    /// The registers. MXCSR is taken as it is: what a CPU would say of it is not asked here.
    pub(crate) fn state(&self) -> Result<ImageState<'_>, ImageError> {
        let cpu = &self.cpu.enumeration;
        let any_mxcsr = u32::MAX;
        let layout = || Layout::standard(cpu, self.components).map_err(ImageError::Layout);
        Ok(match self.form {
            Form::Fxsave | Form::CoreFxsave => {
                FxsaveImage::parse(&self.bytes, cpu, any_mxcsr)?.state()
            }
            Form::Compacted => CompactedImage::parse(&self.bytes, cpu, any_mxcsr)?.state(),
            Form::Xsave => StandardImage::parse(&self.bytes, layout()?, any_mxcsr)?.state(),
            Form::Kvm | Form::Snapshot => {
                KvmImage::parse(&self.bytes, layout()?, self.xfd(), any_mxcsr)?.state()
            }
            Form::CoreXstate => {
                PtraceImage::parse(&self.bytes, layout()?, self.components, any_mxcsr)?.state()
            }
        })
    }
}

/// Offset of the byte that an error in `text` is about.
fn byte_of(text: &[u8], error: &serde_json::Error) -> usize {
    let before = error.line().saturating_sub(1);
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let start: usize = lines.take(before).map(<[u8]>::len).sum();
    start + error.column().saturating_sub(1)
}

/// Bytes 575:512.
pub(crate) fn header(bytes: &[u8]) -> Option<XsaveHeader> {
    let header = bytes.get(512..EXTENDED_REGION_OFFSET)?;
    header.first_chunk().map(XsaveHeader::from_bytes)
}

/// Bytes 471:464, where Linux writes XCR0, if they can be one: x87, SSE and what XSTATE_BV has.
pub(crate) fn software_xcr0(bytes: &[u8]) -> Option<ComponentSet> {
    let xcr0 = bytes.get(464..472)?.first_chunk()?;
    let xcr0 = ComponentSet::from_bits(u64::from_le_bytes(*xcr0));
    let needed = header(bytes)?.xstate_bv.union(ComponentSet::LEGACY);
    (xcr0.contains_all(needed) && xcr0.bits() >> 63 == 0).then_some(xcr0)
}
