//! `fpstate check`

use std::io;

use fpstate::Layout;
use fpstate_arch::{Component, ComponentSet, Format};
use serde::Serialize;

use crate::baseline::user_components;
use crate::check::{Reason, Rules, Target, frame_form, reasons};
use crate::component_list::{self, joined, names};
use crate::cpu_choice::{CpuChoice, Source};
use crate::image_arguments::CheckArguments;
use crate::image_maker::Maker;
use crate::kernel_answer::{self, KernelAnswer};
use crate::output::{print_json, print_line};
use crate::saved_file::SavedFile;
use crate::saved_image::{self, Form, SavedImage};
use crate::{Answer, CommandError};

/// Whether an image can be restored somewhere.
#[derive(Debug, Serialize)]
struct CheckReport {
    restorable: bool,
    image: String,
    /// Of a core; `null` for other files.
    thread: Option<u32>,
    /// In bytes.
    len: usize,
    format: String,
    /// XSTATE_BV, and its components by name; `null` in the FXSAVE format.
    xstate_bv: Option<u64>,
    xstate_bv_components: Option<Vec<String>>,
    cpu: String,
    source: String,
    /// Whose rules were asked.
    rules: String,
    /// What an image may have there.
    allowed: u64,
    allowed_components: Vec<String>,
    /// Of a signal frame that is taken: why its first 512 bytes alone are restored; `null` where all are.
    fx_only: Option<String>,
    /// In use, at another offset on some CPUs, and not compared because nobody said which CPU made the
    /// image.
    places_not_compared: Vec<String>,
    /// Every one; none where it can be restored.
    reasons: Vec<ReasonReport>,
    /// This machine's kernel; `null` where it was not asked.
    kernel: Option<KernelReport>,
}

#[derive(Debug, Serialize)]
struct ReasonReport {
    reason: String,
    /// Counted from byte 0 of the image; `null` where no byte is wrong.
    offset: Option<usize>,
}

#[derive(Debug, Serialize)]
struct KernelReport {
    kernel: String,
    accepts: bool,
    /// The error it answered; `null` where it accepts.
    error: Option<String>,
    /// Whether the library says the same; `null` where it was asked something else: about another CPU,
    /// another XCR0, a snapshot, or an image filled up with zeros.
    agrees: Option<bool>,
}

pub(crate) fn execute(arguments: &CheckArguments) -> Result<Answer, CommandError> {
    let file = SavedFile::read(&arguments.image.path, arguments.image.kind)?;
    let (image, noted) = file.one_image(arguments.image.thread)?;
    let cpu = CpuChoice::of(arguments.cpu.as_deref())?;
    let from = arguments.from.as_deref();
    let from = from
        .map(|from| CpuChoice::of(Some(from)))
        .transpose()
        .map_err(CommandError::From)?;
    let made_on = Maker::known(&image, noted, from)?;
    let supported = user_components(&cpu);
    let xcr0 = arguments.xcr0.as_deref();
    let xcr0 = xcr0
        .map(|text| component_list::parse_xcr0(text, &cpu.enumeration, supported))
        .transpose()
        .map_err(CommandError::Xcr0)?;
    let kernel = match arguments.kvm {
        true => Some(kernel_answer::ask(image.bytes())?),
        false => None,
    };
    let given = xcr0.map(|xcr0| xcr0.components());
    let target = Target {
        cpu: &cpu,
        allowed: given.or_else(|| allowed_by_kernel(&cpu, kernel.as_ref())),
        rules: match (&kernel, image.snapshot()) {
            (Some(_), None) => Rules::KvmSetXsave,
            (Some(_), Some(_)) | (None, _) => Rules::of(&image),
        },
    };
    let mut report = CheckReport::of(arguments, &image, &target);
    if made_on.is_none() {
        report.places_not_compared = names(with_places_of_their_own(&image));
    }
    let reasons = reasons(&image, &target, made_on.as_ref());
    report.add_reasons(&reasons);
    if let Some(answer) = kernel {
        // The kernel judges an image, and not by what the caller allows.
        let here = target.cpu.source == Source::ThisMachine;
        let same_question = here
            && arguments.xcr0.is_none()
            && image.snapshot().is_none()
            && !reasons.iter().any(Reason::is_of_missing_bytes);
        let refused = reasons.iter().any(Reason::is_the_kernels);
        let agrees = same_question.then_some(answer.refusal.is_some() == refused);
        report.add_kernel(answer, agrees);
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(if report.restorable {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// The components in use whose offsets in the standard format differ between CPUs: all but AVX, which
/// lies behind the header everywhere.
fn with_places_of_their_own(image: &SavedImage) -> ComponentSet {
    match image.place.form.format() {
        Format::Standard => image
            .announced()
            .difference(ComponentSet::LEGACY)
            .without(Component::Avx),
        Format::Fxsave | Format::Compacted => ComponentSet::EMPTY,
    }
}

/// Why of a frame 512 bytes would be restored, where `target` takes it.
fn fx_only(image: &SavedImage, target: &Target<'_>) -> Option<String> {
    if target.rules != Rules::Sigreturn {
        return None;
    }
    let layout = Layout::standard(&target.cpu.enumeration, target.components(image)).ok()?;
    frame_form(image.bytes(), &layout, target.cpu.mxcsr_mask()).and_then(saved_image::fx_only)
}

/// The format, in a word or two.
fn format_of(image: &SavedImage) -> String {
    let form = image.place.form;
    match form {
        Form::Kvm | Form::Xsave | Form::Compacted | Form::Fxsave => form.format().to_string(),
        Form::Snapshot | Form::SignalFrame | Form::CoreXstate | Form::CoreFxsave => {
            format!("{}, {}", form.name(), form.format())
        }
    }
}

/// On this machine the kernel knows best what a guest may have.
fn allowed_by_kernel(cpu: &CpuChoice, kernel: Option<&KernelAnswer>) -> Option<ComponentSet> {
    match cpu.source {
        Source::ThisMachine => kernel.map(|kernel| kernel.allowed),
        Source::Profile(_) | Source::File(_) => None,
    }
}

impl CheckReport {
    /// Nothing speaks against it yet.
    fn of(arguments: &CheckArguments, image: &SavedImage, target: &Target<'_>) -> Self {
        let xstate_bv = image.header().map(|header| header.xstate_bv);
        let allowed = target.components(image);
        Self {
            restorable: true,
            image: arguments.image.path.display().to_string(),
            thread: image.place.tid,
            len: image.bytes().len(),
            format: format_of(image),
            xstate_bv: xstate_bv.map(ComponentSet::bits),
            xstate_bv_components: xstate_bv.map(names),
            cpu: target.cpu.name.clone(),
            source: target.cpu.source.description(),
            rules: target.rules.to_string(),
            allowed: allowed.bits(),
            allowed_components: names(allowed),
            fx_only: fx_only(image, target),
            places_not_compared: Vec::new(),
            reasons: Vec::new(),
            kernel: None,
        }
    }

    fn add_reasons(&mut self, reasons: &[Reason]) {
        self.restorable &= reasons.is_empty();
        self.reasons = reasons.iter().map(ReasonReport::of).collect();
    }

    /// `agrees`: whether the library says the same to the same question.
    fn add_kernel(&mut self, answer: KernelAnswer, agrees: Option<bool>) {
        let accepts = answer.refusal.is_none();
        self.restorable &= accepts;
        self.kernel = Some(KernelReport {
            kernel: answer.kernel,
            accepts,
            error: answer.refusal,
            agrees,
        });
    }

    fn print(&self) -> io::Result<()> {
        let Self {
            image,
            cpu,
            source,
            rules,
            ..
        } = self;
        let answer = if self.reasons.is_empty() {
            "can be restored"
        } else {
            "cannot be restored"
        };
        let of_thread = self
            .thread
            .map_or(String::new(), |tid| format!(", thread {tid},"));
        print_line(&format!(
            "{image:?}{of_thread} {answer} on {cpu} ({source}), by the rules of {rules}"
        ))?;
        for reason in &self.reasons {
            print_line(&format!("  {}", reason.reason))?;
        }
        self.print_notes()?;
        self.kernel.as_ref().map_or(Ok(()), KernelReport::print)
    }

    /// What was compared, and what a yes leaves open.
    fn print_notes(&self) -> io::Result<()> {
        if let Some(components) = &self.xstate_bv_components {
            print_line(&format!("XSTATE_BV: {}", joined(components)))?;
            print_line(&format!("allowed: {}", joined(&self.allowed_components)))?;
        }
        if let (Some(because), true) = (&self.fx_only, self.reasons.is_empty()) {
            print_line(&format!(
                "fx-only: bytes 0 to 511 are restored, the rest is initial: {because}"
            ))?;
        }
        if self.places_not_compared.is_empty() {
            return Ok(());
        }
        print_line(&format!(
            "not compared: the places of {}, which differ between CPUs; --from says which made it",
            joined(&self.places_not_compared)
        ))
    }
}

impl KernelReport {
    fn print(&self) -> io::Result<()> {
        let answer = match &self.error {
            None => "accepts it".to_owned(),
            Some(error) => format!("answers {error}"),
        };
        let agrees = match self.agrees {
            Some(false) => "; the library and the kernel DISAGREE, please report it",
            Some(true) | None => "",
        };
        print_line(&format!(
            "KVM_SET_XSAVE of this machine ({}) {answer}{agrees}",
            self.kernel
        ))
    }
}

impl ReasonReport {
    fn of(reason: &Reason) -> Self {
        Self {
            reason: reason.to_string(),
            offset: reason.offset(),
        }
    }
}
