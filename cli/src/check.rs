//! Every reason why an image cannot be restored on a CPU.

use fpstate::{CompactedImage, FxsaveImage, ImageError, KvmImage, Layout, LayoutError};
use fpstate_arch::{Component, ComponentSet, Format, Xcr0, Xfd};

use crate::baseline::{largest_xcr0, user_components, with_companions};
use crate::check_subject::Subject;
use crate::cpu_choice::CpuChoice;
use crate::image_file::ImageFile;

/// Whose rules an image is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// `KVM_SET_XSAVE`, of a standard-format image.
    KvmSetXsave,
    /// XRSTOR of a compacted one: MSHV and WHP take it so.
    Compacted,
    /// FXRSTOR.
    Fxrstor,
    /// `KVM_SET_XSAVE`, and those of XCR0, IA32_XSS and IA32_XFD.
    Snapshot,
}

impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KvmSetXsave => "KVM_SET_XSAVE",
            Self::Compacted => "XRSTOR, compacted format",
            Self::Fxrstor => "FXRSTOR",
            Self::Snapshot => "KVM_SET_XSAVE, XCR0, IA32_XSS and IA32_XFD",
        })
    }
}

impl Rules {
    /// Those of its own format.
    pub(crate) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Snapshot(_) => Self::Snapshot,
            Subject::Image(image) => match image.format() {
                Format::Standard => Self::KvmSetXsave,
                Format::Compacted => Self::Compacted,
                Format::Fxsave => Self::Fxrstor,
            },
        }
    }
}

/// A reason why an image cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{0}")]
    Image(#[from] ImageError),
    /// Of a snapshot.
    #[error("{0}")]
    Snapshot(fpstate_kvm::Reason),
    /// The CPU has no area for the guest's components.
    #[error("the CPU: {0}")]
    Layout(#[from] LayoutError),
    /// The same of the CPU that made the image.
    #[error("the CPU that made it: {0}")]
    SourceLayout(LayoutError),
    #[error(
        "{component} in use is {} bytes at byte {} where the image was made, and {} at byte {} here: \
         convert it", made.1, made.0, here.1, here.0
    )]
    OtherPlace {
        component: Component,
        /// Offset and length in bytes.
        made: (usize, usize),
        here: (usize, usize),
    },
}

impl Reason {
    /// Whether the kernel has this reason too: it does not know who made an image.
    pub(crate) const fn is_the_kernels(&self) -> bool {
        match self {
            Self::Image(_) | Self::Layout(_) => true,
            Self::Snapshot(_) | Self::SourceLayout(_) | Self::OtherPlace { .. } => false,
        }
    }

    /// The byte of the image that is wrong, or the first that is missing.
    pub(crate) fn offset(&self) -> Option<usize> {
        match self {
            Self::Image(error) | Self::Snapshot(fpstate_kvm::Reason::Image(error)) => {
                offset_of(error)
            }
            Self::OtherPlace { made, .. } => Some(made.0),
            Self::Snapshot(_) | Self::Layout(_) | Self::SourceLayout(_) => None,
        }
    }
}

fn offset_of(error: &ImageError) -> Option<usize> {
    match error {
        ImageError::ReservedHeaderByte { offset, .. } => Some(*offset),
        ImageError::XcompBv { .. } | ImageError::NotCompacted { .. } => Some(520),
        ImageError::ComponentsNotAllowed { .. } => Some(512),
        ImageError::Mxcsr(_) => Some(24),
        ImageError::TooShort { found, .. } | ImageError::Length { found, .. } => Some(*found),
        ImageError::NotStandard { .. } | ImageError::Layout(_) | _ => None,
    }
}

/// Where an image is to be restored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'c> {
    pub(crate) cpu: &'c CpuChoice,
    /// The components that an image may have there; none given: all of the CPU's that the file has
    /// bytes for.
    pub(crate) allowed: Option<ComponentSet>,
    pub(crate) rules: Rules,
}

impl Target<'_> {
    /// The components that `image` may have.
    pub(crate) fn components(&self, subject: &Subject) -> ComponentSet {
        let all = user_components(self.cpu);
        match (self.allowed, subject) {
            (Some(allowed), _) => allowed,
            (None, Subject::Snapshot(_)) => all,
            (None, Subject::Image(image)) => {
                let has_bytes = components_within(image, self.cpu).intersection(all);
                largest_xcr0(has_bytes).map_or(ComponentSet::LEGACY, Xcr0::components)
            }
        }
    }
}

/// Every reason why `subject` cannot be restored on `target`; `made_on` is the CPU that made an image,
/// where somebody knows.
pub(crate) fn reasons(
    subject: &Subject,
    target: &Target<'_>,
    made_on: Option<&CpuChoice>,
) -> Vec<Reason> {
    let (cpu, mask) = (&target.cpu.enumeration, target.cpu.mxcsr_mask());
    let image = match subject {
        Subject::Snapshot(snapshot) => {
            let allowed = target.components(subject);
            let there = fpstate_kvm::Target {
                in_image: allowed,
                in_xcr0: allowed,
                ..fpstate_kvm::Target::of_cpu(cpu, mask)
            };
            let reasons = fpstate_kvm::check(snapshot, &there);
            return reasons.into_iter().map(Reason::Snapshot).collect();
        }
        Subject::Image(image) => image,
    };
    match target.rules {
        Rules::Fxrstor => FxsaveImage::faults(image.bytes(), cpu, mask)
            .map(Reason::Image)
            .collect(),
        Rules::Compacted => CompactedImage::faults(image.bytes(), cpu, mask)
            .chain(of_another_xcr0(image, target))
            .map(Reason::Image)
            .collect(),
        Rules::KvmSetXsave | Rules::Snapshot => {
            of_kvm(image, target, target.components(subject), made_on)
        }
    }
}

/// XCOMP_BV says of what an area has room, and not what a guest may have.
fn of_another_xcr0(image: &ImageFile, target: &Target<'_>) -> Option<ImageError> {
    let user = target
        .allowed
        .unwrap_or_else(|| user_components(target.cpu));
    let allowed = user.union(target.cpu.enumeration.supervisor_components());
    let found = xstate_bv(image);
    let missing = found.difference(allowed);
    // What the CPU lacks altogether breaks a rule of the format.
    target
        .cpu
        .enumeration
        .components()
        .intersects(missing)
        .then_some(ImageError::ComponentsNotAllowed { found, allowed })
}

fn of_kvm(
    image: &ImageFile,
    target: &Target<'_>,
    allowed: ComponentSet,
    made_on: Option<&CpuChoice>,
) -> Vec<Reason> {
    let layout = match Layout::standard(&target.cpu.enumeration, allowed) {
        Ok(layout) => layout,
        Err(error) => return vec![Reason::Layout(error)],
    };
    let mut reasons = Vec::new();
    // A caller fills a shorter buffer up with zeros; what is announced must be there.
    let announced = layout.narrowed_to(xstate_bv(image).union(ComponentSet::LEGACY));
    let (found, needed) = (image.bytes().len(), announced.area_len());
    if found < needed {
        reasons.push(Reason::Image(ImageError::TooShort { found, needed }));
    }
    let mask = target.cpu.mxcsr_mask();
    let faults = KvmImage::faults(image.bytes(), &layout, Xfd::NOTHING, mask);
    let of_content = faults.filter(|error| !matches!(error, ImageError::TooShort { .. }));
    reasons.extend(of_content.map(Reason::Image));
    if let Some(made_on) = made_on {
        reasons.extend(other_places(image, &layout, made_on));
    }
    reasons
}

/// The components in use that lie elsewhere than `here`, and are allowed at all.
fn other_places(image: &ImageFile, here: &Layout<'_>, made_on: &CpuChoice) -> Vec<Reason> {
    let in_use = xstate_bv(image).intersection(here.components());
    let made = &made_on.enumeration;
    let made = match Layout::standard(made, in_use.intersection(made.user_components())) {
        Ok(layout) => layout,
        Err(error) => return vec![Reason::SourceLayout(error)],
    };
    made.extended_components()
        .filter_map(|made| {
            let here = here.place_of(made.component())?;
            (made.range() != here.range()).then(|| Reason::OtherPlace {
                component: made.component(),
                made: (made.offset(), made.range().len()),
                here: (here.offset(), here.range().len()),
            })
        })
        .collect()
}

/// XSTATE_BV; nothing where there is no header.
fn xstate_bv(image: &ImageFile) -> ComponentSet {
    image
        .header()
        .map_or(ComponentSet::EMPTY, |header| header.xstate_bv)
}

/// The components of `cpu` that the file has bytes for, and what must come with those that it
/// announces.
fn components_within(image: &ImageFile, cpu: &CpuChoice) -> ComponentSet {
    let has_bytes = image.standard_layout(&cpu.enumeration, None);
    has_bytes
        .map_or(ComponentSet::LEGACY, |layout| layout.components())
        .union(with_companions(xstate_bv(image)))
}
