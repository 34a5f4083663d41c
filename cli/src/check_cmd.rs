//! `fpstate check`

use std::io;

use fpstate_arch::{Component, ComponentSet, Format};
use serde::Serialize;

use crate::baseline::user_components;
use crate::check::{Reason, Rules, Target, reasons};
use crate::check_subject::Subject;
use crate::component_list::{self, names};
use crate::cpu_choice::{CpuChoice, Source};
use crate::image_arguments::CheckArguments;
use crate::kernel_answer::{self, KernelAnswer};
use crate::output::{print_json, print_line};
use crate::{Answer, CommandError};

/// Whether an image can be restored somewhere.
#[derive(Debug, Serialize)]
struct CheckReport {
    restorable: bool,
    image: String,
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
    /// another XCR0, or a snapshot.
    agrees: Option<bool>,
}

pub(crate) fn execute(arguments: &CheckArguments) -> Result<Answer, CommandError> {
    let subject = Subject::read(&arguments.image)?;
    let cpu = CpuChoice::of(arguments.cpu.as_deref())?;
    if let (Subject::Snapshot(_), Some(_)) = (&subject, &arguments.from) {
        return Err(CommandError::FromOfSnapshot);
    }
    let made_on = arguments.from.as_deref();
    let made_on = made_on
        .map(|from| CpuChoice::of(Some(from)))
        .transpose()
        .map_err(CommandError::From)?;
    let supported = user_components(&cpu);
    let xcr0 = arguments.xcr0.as_deref();
    let xcr0 = xcr0
        .map(|text| component_list::parse_xcr0(text, &cpu.enumeration, supported))
        .transpose()
        .map_err(CommandError::Xcr0)?;
    let kernel = match arguments.kvm {
        true => Some(kernel_answer::ask(subject.image())?),
        false => None,
    };
    let given = xcr0.map(|xcr0| xcr0.components());
    let target = Target {
        cpu: &cpu,
        allowed: given.or_else(|| allowed_by_kernel(&cpu, kernel.as_ref())),
        rules: match (&kernel, &subject) {
            (Some(_), Subject::Image(_)) => Rules::KvmSetXsave,
            (Some(_), Subject::Snapshot(_)) | (None, _) => Rules::of(&subject),
        },
    };
    let reasons = reasons(&subject, &target, made_on.as_ref());
    let report = CheckReport::of(arguments, &subject, &target, &reasons, kernel.as_ref());
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
fn with_places_of_their_own(subject: &Subject) -> ComponentSet {
    match subject {
        Subject::Image(image) if image.format() == Format::Standard => subject
            .xstate_bv()
            .unwrap_or_default()
            .difference(ComponentSet::LEGACY)
            .without(Component::Avx),
        Subject::Image(_) | Subject::Snapshot(_) => ComponentSet::EMPTY,
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
    fn of(
        arguments: &CheckArguments,
        subject: &Subject,
        target: &Target<'_>,
        reasons: &[Reason],
        kernel: Option<&KernelAnswer>,
    ) -> Self {
        let xstate_bv = subject.xstate_bv();
        let allowed = target.components(subject);
        let here = target.cpu.source == Source::ThisMachine;
        // The kernel judges an image, and not by what the caller allows.
        let same_question =
            here && arguments.xcr0.is_none() && matches!(subject, Subject::Image(_));
        let refused = reasons.iter().any(Reason::is_the_kernels);
        let kernel = kernel.map(|kernel| KernelReport {
            kernel: kernel.kernel.clone(),
            accepts: kernel.refusal.is_none(),
            error: kernel.refusal.clone(),
            agrees: same_question.then_some(kernel.refusal.is_some() == refused),
        });
        Self {
            restorable: reasons.is_empty() && kernel.as_ref().is_none_or(|kernel| kernel.accepts),
            image: arguments.image.display().to_string(),
            len: subject.image().len(),
            format: subject.format(),
            xstate_bv: xstate_bv.map(ComponentSet::bits),
            xstate_bv_components: xstate_bv.map(names),
            cpu: target.cpu.name.clone(),
            source: target.cpu.source.description(),
            rules: target.rules.to_string(),
            allowed: allowed.bits(),
            allowed_components: names(allowed),
            places_not_compared: match arguments.from {
                Some(_) => Vec::new(),
                None => names(with_places_of_their_own(subject)),
            },
            reasons: reasons.iter().map(ReasonReport::of).collect(),
            kernel,
        }
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
        print_line(&format!(
            "{image:?} {answer} on {cpu} ({source}), by the rules of {rules}"
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
            print_line(&format!("XSTATE_BV: {}", list(components)))?;
            print_line(&format!("allowed: {}", list(&self.allowed_components)))?;
        }
        if self.places_not_compared.is_empty() {
            return Ok(());
        }
        print_line(&format!(
            "not compared: the places of {}, which differ between CPUs; --from says which made it",
            list(&self.places_not_compared)
        ))
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join("+"),
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
