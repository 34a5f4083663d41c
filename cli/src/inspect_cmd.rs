//! `fpstate inspect`

use std::path::Path;

use fpstate::ImageState;
use fpstate_arch::ComponentSet;
use fpstate_kvm::VcpuExtendedState;

use crate::image_cpu::Candidates;
use crate::inspect_arguments::InspectArguments;
use crate::inspect_report::SubjectReport;
use crate::inspect_text::{self, Initial};
use crate::output::{print_json, print_line};
use crate::registers::{Contents, Register, Room, Shape, selection};
use crate::saved_file::SavedFile;
use crate::subject::{Subject, Thread};
use crate::{Answer, CommandError};

pub(crate) fn execute(arguments: &InspectArguments) -> Result<Answer, CommandError> {
    let candidates = Candidates::of(arguments.cpu.as_deref())?;
    let file = SavedFile::read(&arguments.file, arguments.kind)?;
    let subject = with_cpus(file.of_thread(arguments.thread)?, &candidates)?;
    let list = arguments.register.as_deref();
    // Whether every name is a register's is known before anything is written.
    for thread in &subject.threads {
        registers(thread, &state(&subject.path, thread)?, list)?;
    }
    if arguments.json {
        print_json(&SubjectReport {
            subject: &subject,
            registers: &|thread, state| registers(thread, state, list).unwrap_or_default(),
            values: arguments.values,
        })?;
        return Ok(Answer::Yes);
    }
    let initial = match list {
        None => Initial::Together,
        Some(_) => Initial::OneByOne,
    };
    print_line(&inspect_text::of_subject(&subject))?;
    for thread in &subject.threads {
        let state = state(&subject.path, thread)?;
        let registers = registers(thread, &state, list)?;
        let lines = inspect_text::of_registers(&registers, arguments.values, initial);
        for line in inspect_text::of_thread(thread, &state).iter().chain(&lines) {
            print_line(line)?;
        }
    }
    Ok(Answer::Yes)
}

/// Its images, each with the CPU by whose layout it is read.
pub(crate) fn with_cpus(file: SavedFile, candidates: &Candidates) -> Result<Subject, CommandError> {
    let path = file.path.clone();
    Subject::of(file, candidates).map_err(|error| CommandError::Subject { path, error })
}

/// The state of a thread's image, which was judged when it was read.
fn state<'s>(path: &Path, thread: &'s Thread) -> Result<ImageState<'s>, CommandError> {
    thread.state().map_err(|error| CommandError::Subject {
        path: path.to_owned(),
        error: error.into(),
    })
}

fn registers(
    thread: &Thread,
    state: &ImageState<'_>,
    list: Option<&str>,
) -> Result<Vec<Register>, CommandError> {
    let mut all = Contents::of(state).registers(&Room::of(state.layout()));
    let Some(list) = list else { return Ok(all) };
    let guest = thread.image.snapshot();
    let beside = [
        ("xcr0", thread.image.xcr0()),
        ("xss", guest.map(VcpuExtendedState::xss)),
        ("xfd", guest.map(VcpuExtendedState::xfd)),
        ("xfd_err", guest.map(VcpuExtendedState::xfd_err)),
    ];
    all.extend(beside.into_iter().filter_map(|(name, value)| {
        Some(Register {
            name: name.to_owned(),
            components: ComponentSet::EMPTY,
            shape: Shape::Number,
            bytes: value?.bits().to_le_bytes().to_vec(),
            live: ComponentSet::EMPTY,
        })
    }));
    Ok(selection::select(list, &all)?)
}
