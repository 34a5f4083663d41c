//! `fpstate inspect`

use std::path::Path;

use fpstate::ImageState;
use fpstate_arch::ComponentSet;

use crate::image_cpu::Candidates;
use crate::inspect_arguments::InspectArguments;
use crate::inspect_report::SubjectReport;
use crate::inspect_text::{self, Initial};
use crate::output::{print_json, print_line};
use crate::registers::{Contents, Register, Room, Shape, selection};
use crate::subject::{FileKind, Subject, Thread};
use crate::{Answer, CommandError};

pub(crate) fn execute(arguments: &InspectArguments) -> Result<Answer, CommandError> {
    let candidates = Candidates::of(arguments.cpu.as_deref())?;
    let subject = read(&arguments.file, arguments.kind, &candidates)?;
    let threads = chosen(&subject, arguments.thread)?;
    let list = arguments.register.as_deref();
    // Whether every name is a register's is known before anything is written.
    for thread in &threads {
        registers(thread, &state(&subject.path, thread)?, list)?;
    }
    if arguments.json {
        print_json(&SubjectReport {
            subject: &subject,
            threads,
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
    for thread in threads {
        let state = state(&subject.path, thread)?;
        let registers = registers(thread, &state, list)?;
        let lines = inspect_text::of_registers(&registers, arguments.values, initial);
        for line in inspect_text::of_thread(thread, &state).iter().chain(&lines) {
            print_line(line)?;
        }
    }
    Ok(Answer::Yes)
}

/// The file, or one line that says what is wrong with it.
pub(crate) fn read(
    path: &Path,
    kind: Option<FileKind>,
    candidates: &Candidates,
) -> Result<Subject, CommandError> {
    Subject::read(path, kind, candidates).map_err(|error| CommandError::Subject {
        path: path.to_owned(),
        error,
    })
}

/// All threads, or the one asked for.
pub(crate) fn chosen(subject: &Subject, tid: Option<u32>) -> Result<Vec<&Thread>, CommandError> {
    let asked_for = |thread: &&Thread| tid.is_none_or(|tid| thread.tid == Some(tid));
    let threads: Vec<_> = subject.threads.iter().filter(asked_for).collect();
    match (tid, threads.is_empty()) {
        (Some(found), true) => Err(CommandError::Thread {
            found,
            path: subject.path.clone(),
            present: names(subject),
        }),
        _ => Ok(threads),
    }
}

fn names(subject: &Subject) -> String {
    let tids = subject.threads.iter().filter_map(|thread| thread.tid);
    let tids: Vec<_> = tids.take(20).map(|tid| tid.to_string()).collect();
    match (tids.len(), subject.threads.len()) {
        (0, _) => "none".to_owned(),
        (shown, all) if shown < all => format!("{} and {} more", tids.join(", "), all - shown),
        _ => tids.join(", "),
    }
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
    let guest = thread.image.guest;
    let beside = [
        ("xcr0", thread.image.xcr0),
        ("xss", guest.map(|guest| guest.xss)),
        ("xfd", guest.map(|guest| guest.xfd)),
        ("xfd_err", guest.map(|guest| guest.xfd_err)),
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
