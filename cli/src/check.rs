//! Every reason why an image cannot be restored on a CPU.

use fpstate::{
    CompactedImage, FrameForm, FxOnly, FxsaveImage, ImageError, KvmImage, Layout, LayoutError,
    PtraceImage, Sigreturn,
};
use fpstate_arch::{Component, ComponentSet, Xcr0, Xfd};

use crate::baseline::{largest_xcr0, user_components, with_companions};
use crate::cpu_choice::CpuChoice;
use crate::image_maker::Maker;
use crate::saved_image::{Form, SavedImage, frame_bytes, within};

/// Whose rules an image is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// `KVM_SET_XSAVE`, of a standard-format image.
    KvmSetXsave,
    /// XRSTOR of a compacted one: MSHV and WHP take it so.
    Compacted,
    /// FXRSTOR.
    Fxrstor,
    /// `PTRACE_SETREGSET` with `NT_X86_XSTATE`, of a thread's image in a core.
    Ptrace,
    /// `rt_sigreturn`, of a signal frame.
    Sigreturn,
    /// `KVM_SET_XSAVE`, and those of XCR0, IA32_XSS and IA32_XFD.
    Snapshot,
}

impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KvmSetXsave => "KVM_SET_XSAVE",
            Self::Compacted => "XRSTOR, compacted format",
            Self::Fxrstor => "FXRSTOR",
            Self::Ptrace => "PTRACE_SETREGSET",
            Self::Sigreturn => "rt_sigreturn",
            Self::Snapshot => "KVM_SET_XSAVE, XCR0, IA32_XSS and IA32_XFD",
        })
    }
}

impl Rules {
    /// Those of its own form.
    pub(crate) const fn of(image: &SavedImage) -> Self {
        match image.place.form {
            Form::Kvm | Form::Xsave => Self::KvmSetXsave,
            Form::Compacted => Self::Compacted,
            Form::Fxsave | Form::CoreFxsave => Self::Fxrstor,
            Form::Snapshot => Self::Snapshot,
            Form::CoreXstate => Self::Ptrace,
            Form::SignalFrame => Self::Sigreturn,
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
    #[error("fx-only: {because}; {lost} in use would become initial")]
    FxOnly { because: FxOnly, lost: ComponentSet },
}

impl Reason {
    /// Whether the kernel has this reason too: it does not know who made an image.
    pub(crate) const fn is_the_kernels(&self) -> bool {
        match self {
            Self::Image(_) | Self::Layout(_) => true,
            Self::Snapshot(_)
            | Self::SourceLayout(_)
            | Self::OtherPlace { .. }
            | Self::FxOnly { .. } => false,
        }
    }

    /// Whether bytes are missing, in whose place the kernel sees zeros.
    pub(crate) const fn is_of_missing_bytes(&self) -> bool {
        matches!(self, Self::Image(ImageError::TooShort { .. }))
    }

    /// The byte of the image that is wrong, or the first that is missing.
    pub(crate) fn offset(&self) -> Option<usize> {
        match self {
            Self::Image(error) | Self::Snapshot(fpstate_kvm::Reason::Image(error)) => {
                offset_of(error)
            }
            Self::OtherPlace { made, .. } => Some(made.0),
            Self::FxOnly { because, .. } => match because {
                FxOnly::Magic1 { .. } => Some(464),
                FxOnly::XstateSize { .. } => Some(480),
                FxOnly::Magic2 { offset, .. } => Some(*offset),
                FxOnly::NoXsave | _ => None,
            },
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
    pub(crate) fn components(&self, image: &SavedImage) -> ComponentSet {
        let all = user_components(self.cpu);
        match (self.allowed, self.rules) {
            (Some(allowed), _) => allowed,
            (None, Rules::Snapshot | Rules::Ptrace | Rules::Sigreturn) => all,
            (None, Rules::KvmSetXsave | Rules::Compacted | Rules::Fxrstor) => {
                let has_bytes = components_within(image, self.cpu).intersection(all);
                largest_xcr0(has_bytes).map_or(ComponentSet::LEGACY, Xcr0::components)
            }
        }
    }
}

/// Every reason why `image` cannot be restored on `target`; `made_on` is the CPU that made it, where
/// somebody knows.
pub(crate) fn reasons(
    image: &SavedImage,
    target: &Target<'_>,
    made_on: Option<&Maker>,
) -> Vec<Reason> {
    let (cpu, mask) = (&target.cpu.enumeration, target.cpu.mxcsr_mask());
    let allowed = target.components(image);
    match (target.rules, image.snapshot()) {
        (Rules::Snapshot, Some(snapshot)) => {
            let there = fpstate_kvm::Target {
                in_image: allowed,
                in_xcr0: allowed,
                ..fpstate_kvm::Target::of_cpu(cpu, mask)
            };
            let reasons = fpstate_kvm::check(snapshot, &there);
            reasons.into_iter().map(Reason::Snapshot).collect()
        }
        (Rules::Fxrstor, _) => FxsaveImage::faults(image.bytes(), cpu, mask)
            .map(Reason::Image)
            .collect(),
        (Rules::Compacted, _) => CompactedImage::faults(image.bytes(), cpu, mask)
            .chain(of_another_xcr0(image, target))
            .map(Reason::Image)
            .collect(),
        (rules, _) => match Layout::standard(cpu, allowed) {
            Ok(layout) => {
                let mut reasons = of_standard(image, rules, &layout, target);
                reasons.extend(
                    made_on
                        .into_iter()
                        .flat_map(|made_on| other_places(image, &layout, made_on)),
                );
                reasons
            }
            Err(error) => vec![Reason::Layout(error)],
        },
    }
}

/// XCOMP_BV says of what an area has room, and not what a guest may have.
fn of_another_xcr0(image: &SavedImage, target: &Target<'_>) -> Option<ImageError> {
    let user = target
        .allowed
        .unwrap_or_else(|| user_components(target.cpu));
    let allowed = user.union(target.cpu.enumeration.supervisor_components());
    let found = image.announced();
    let missing = found.difference(allowed);
    // What the CPU lacks altogether breaks a rule of the format.
    target
        .cpu
        .enumeration
        .components()
        .intersects(missing)
        .then_some(ImageError::ComponentsNotAllowed { found, allowed })
}

/// What `rules` say of a standard-format image, on a system whose images have this layout.
fn of_standard(
    image: &SavedImage,
    rules: Rules,
    layout: &Layout<'_>,
    target: &Target<'_>,
) -> Vec<Reason> {
    let (bytes, mask) = (image.bytes(), target.cpu.mxcsr_mask());
    match rules {
        Rules::Ptrace => of_ptrace(bytes, layout, target.cpu, mask),
        Rules::Sigreturn => of_sigreturn(image, layout, mask),
        Rules::KvmSetXsave | Rules::Snapshot | Rules::Compacted | Rules::Fxrstor => {
            of_kvm(image, layout, mask)
        }
    }
}

fn of_kvm(image: &SavedImage, layout: &Layout<'_>, mask: u32) -> Vec<Reason> {
    let mut reasons = Vec::new();
    // A caller fills a shorter buffer up with zeros; what is announced must be there.
    let announced = layout.narrowed_to(image.announced().union(ComponentSet::LEGACY));
    let (found, needed) = (image.bytes().len(), announced.area_len());
    if found < needed {
        reasons.push(Reason::Image(ImageError::TooShort { found, needed }));
    }
    let faults = KvmImage::faults(image.bytes(), layout, Xfd::NOTHING, mask);
    let of_content = faults.filter(|error| !matches!(error, ImageError::TooShort { .. }));
    reasons.extend(of_content.map(Reason::Image));
    reasons
}

/// The length is that of all the system has, whatever the thread may use of it.
fn of_ptrace(bytes: &[u8], allowed: &Layout<'_>, cpu: &CpuChoice, mask: u32) -> Vec<Reason> {
    match Layout::standard(&cpu.enumeration, user_components(cpu)) {
        Ok(system) => PtraceImage::faults(bytes, &system, allowed.components(), mask)
            .map(Reason::Image)
            .collect(),
        Err(error) => vec![Reason::Layout(error)],
    }
}

/// A frame of which less is restored than it has is taken and loses registers: that is a reason too.
fn of_sigreturn(image: &SavedImage, layout: &Layout<'_>, mask: u32) -> Vec<Reason> {
    let (bytes, xcr0) = (image.bytes(), layout.components());
    let faults = Sigreturn::faults(bytes, layout, xcr0, mask);
    let mut reasons: Vec<_> = faults.map(Reason::Image).collect();
    let in_use = frame_bytes(bytes).map_or(ComponentSet::EMPTY, |frame| {
        frame.xfeatures.intersection(image.announced())
    });
    let lost = in_use.difference(ComponentSet::LEGACY);
    if let Some(FrameForm::FxOnly(because)) = frame_form(bytes, layout, mask)
        && !lost.is_empty()
    {
        reasons.push(Reason::FxOnly { because, lost });
    }
    reasons
}

/// How much of a frame is restored where the components of `layout` are enabled; `None` where nothing is.
pub(crate) fn frame_form(bytes: &[u8], layout: &Layout<'_>, mask: u32) -> Option<FrameForm> {
    let frame = Sigreturn::parse(bytes, *layout, layout.components(), mask);
    frame.ok().map(|frame| frame.form())
}

/// The components in use that lie elsewhere than `here`, and are allowed at all.
fn other_places(image: &SavedImage, here: &Layout<'_>, made_on: &Maker) -> Vec<Reason> {
    let in_use = image.announced().intersection(here.components());
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

/// The components of `cpu` that the file has bytes for, and what must come with those that it
/// announces.
fn components_within(image: &SavedImage, cpu: &CpuChoice) -> ComponentSet {
    let all = Layout::standard(&cpu.enumeration, cpu.enumeration.user_components());
    all.map_or(ComponentSet::LEGACY, |all| {
        within(all, image.bytes().len(), image.announced()).components()
    })
    .union(with_companions(image.announced()))
}
