//! Registers for programs. The fields are in the help of `fpstate inspect`; they only ever become
//! more.

use fpstate::{ImageState, Placed};
use fpstate_arch::{Component, ComponentSet};
use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::registers::lanes::{Values, hex};
use crate::registers::{Register, Shape};
use crate::saved_image::fx_only;
use crate::subject::{Subject, Thread};

/// A file in JSON, written one thread after the other: a core may have many.
pub(crate) struct SubjectReport<'s> {
    pub(crate) subject: &'s Subject,
    /// What of a thread is shown.
    pub(crate) registers: &'s dyn Fn(&Thread, &ImageState<'_>) -> Vec<Register>,
    pub(crate) values: Values,
}

#[derive(Debug, Serialize)]
struct ThreadReport {
    tid: Option<u32>,
    signal: Option<u16>,
    image: ImageReport,
    registers: Vec<RegisterReport>,
}

#[derive(Debug, Serialize)]
struct ImageReport {
    form: &'static str,
    offset: u64,
    len: usize,
    format: String,
    xstate_bv: Option<u64>,
    xcomp_bv: Option<String>,
    xcr0: Option<u64>,
    xss: Option<u64>,
    xfd: Option<u64>,
    xfd_err: Option<u64>,
    layout: String,
    fx_only: Option<String>,
    components: Vec<ComponentReport>,
}

#[derive(Debug, Serialize)]
struct ComponentReport {
    number: u8,
    name: String,
    offset: usize,
    len: usize,
    initial: bool,
}

#[derive(Debug, Serialize)]
struct RegisterReport {
    name: String,
    components: Vec<String>,
    initial: bool,
    hex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    colsb: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<Vec<String>>,
}

impl Serialize for SubjectReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("SubjectReport", 4)?;
        report.serialize_field("file", &self.subject.path.to_string_lossy())?;
        report.serialize_field("kind", self.subject.kind.name())?;
        report.serialize_field("len", &self.subject.len)?;
        report.serialize_field("threads", &Threads(self))?;
        report.end()
    }
}

struct Threads<'r>(&'r SubjectReport<'r>);

impl Serialize for Threads<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = |thread: &Thread| {
            let state = thread.state().map_err(S::Error::custom)?;
            let registers = (self.0.registers)(thread, &state);
            let registers = registers.into_iter();
            Ok(ThreadReport {
                tid: thread.image.place.tid,
                signal: thread.image.signal,
                image: ImageReport::of(thread, &state),
                registers: registers
                    .map(|r| RegisterReport::of(r, self.0.values))
                    .collect(),
            })
        };
        let mut threads = serializer.serialize_seq(Some(self.0.subject.threads.len()))?;
        for thread in &self.0.subject.threads {
            threads.serialize_element(&report(thread)?)?;
        }
        threads.end()
    }
}

impl ImageReport {
    fn of(thread: &Thread, state: &ImageState<'_>) -> Self {
        let image = &thread.image;
        let (header, snapshot) = (image.header(), image.snapshot());
        Self {
            form: image.place.form.name(),
            offset: image.place.offset,
            len: image.bytes().len(),
            format: state.layout().format().to_string(),
            xstate_bv: header.map(|header| header.xstate_bv.bits()),
            xcomp_bv: header.map(|header| format!("{:#x}", header.xcomp_bv)),
            xcr0: image.xcr0().map(ComponentSet::bits),
            xss: snapshot.map(|snapshot| snapshot.xss().bits()),
            xfd: snapshot.map(|snapshot| snapshot.xfd().bits()),
            xfd_err: snapshot.map(|snapshot| snapshot.xfd_err().bits()),
            layout: thread.cpu.reason.clone(),
            fx_only: thread.frame_form().and_then(fx_only),
            components: components(state),
        }
    }
}

fn components(state: &ImageState<'_>) -> Vec<ComponentReport> {
    let report = |component: Component, offset, len| ComponentReport {
        number: component.number(),
        name: component.to_string(),
        offset,
        len,
        initial: !state.live().contains(component),
    };
    // The parts of the legacy region: x87 and the registers of it, XMM0 to XMM15.
    let legacy = [
        report(Component::X87, 0, 160),
        report(Component::Sse, 160, 256),
    ];
    let extended = state.layout().extended_components();
    let extended = extended
        .map(|placed: Placed| report(placed.component(), placed.offset(), placed.range().len()));
    legacy.into_iter().chain(extended).collect()
}

impl RegisterReport {
    fn of(register: Register, values: Values) -> Self {
        let flags = register.flags();
        let value = register.value();
        let initial = register.is_initial();
        let (mut tag, mut rows, mut colsb, mut lanes) = (None, None, None, None);
        match register.shape {
            Shape::Float80 { tag: found, .. } => tag = Some(found.name()),
            Shape::Tile { rows: r, colsb: c } => (rows, colsb) = (Some(r), Some(c)),
            Shape::Vector | Shape::Number | Shape::TileConfig(_) => {}
        }
        if matches!(register.shape, Shape::Vector | Shape::Tile { .. }) && values != Values::Hex {
            lanes = Some(values.lanes(&register.bytes));
        }
        Self {
            components: register.components.iter().map(|c| c.to_string()).collect(),
            initial,
            hex: hex(&register.bytes),
            name: register.name,
            value,
            tag,
            flags: (!flags.is_empty()).then_some(flags),
            rows,
            colsb,
            lanes,
        }
    }
}
