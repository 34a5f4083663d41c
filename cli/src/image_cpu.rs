//! Whose layout an image has: the CPU that is named, or one that it fits.
//!
//! A standard-format image does not say where its components are: Intel and AMD place AVX-512 and
//! PKRU differently. What there is to go by is the length, the components, and that bytes between
//! components are zero in every image that Linux writes.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use fpstate::{Layout, LayoutError};
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, CpuidRegisters, Enumeration};
use fpstate_model::Profile;

use crate::cpu_choice::{CpuChoice, CpuError};
use crate::saved_image::{SavedImage, Unsaid};

/// A CPU by whose figures an image is read.
#[derive(Debug)]
pub(crate) struct ImageCpu {
    pub(crate) enumeration: Enumeration,
    /// Why this one, for people.
    pub(crate) reason: String,
}

/// The CPUs there are to choose from.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    given: Option<Rc<ImageCpu>>,
    known: OnceCell<Vec<Candidate>>,
    fxsave: OnceCell<Rc<ImageCpu>>,
}

#[derive(Debug)]
struct Candidate {
    name: String,
    is_this_machine: bool,
    enumeration: Enumeration,
}

/// How long an image is in terms of its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many bytes: a note of a core has the layout's length.
    Exact(usize),
    /// An image in a file may have bytes behind it.
    AtMost(usize),
}

/// Why there is no CPU to read an image by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageCpuError {
    #[error("by the CPU of --cpu: {0}")]
    Given(LayoutError),
    #[error(
        "no CPU known here puts {components} into {len} bytes; --cpu PROFILE|FILE says which it is"
    )]
    NoneFits {
        components: ComponentSet,
        len: usize,
    },
    #[error("the layouts of {names} all fit and differ; --cpu says which it is")]
    SeveralFit { names: String },
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'i> {
    pub(crate) image: &'i SavedImage,
    pub(crate) extent: Extent,
}

impl Candidates {
    /// The CPU of `--cpu`, or all that are known.
    pub(crate) fn of(argument: Option<&Path>) -> Result<Self, CpuError> {
        let given = argument.map(|argument| CpuChoice::of(Some(argument)));
        let given = given.transpose()?.map(|cpu| {
            Rc::new(ImageCpu {
                reason: format!("the layout of --cpu, {}", cpu.source.description()),
                enumeration: cpu.enumeration,
            })
        });
        Ok(Self {
            given,
            ..Self::default()
        })
    }

    /// The CPU of `--cpu`.
    pub(crate) fn given(&self) -> Option<Rc<ImageCpu>> {
        self.given.clone()
    }

    /// Any CPU: FXSAVE's bytes are the same on all.
    pub(crate) fn fxsave(&self) -> Rc<ImageCpu> {
        let any = || {
            Rc::new(ImageCpu {
                enumeration: Enumeration::read(|leaf, _| CpuidRegisters {
                    edx: if leaf == 1 { 1 << 24 } else { 0 },
                    ..CpuidRegisters::default()
                }),
                reason: "FXSAVE has one layout".to_owned(),
            })
        };
        Rc::clone(self.fxsave.get_or_init(any))
    }

    /// A CPU by whose layout `wanted` can be read.
    pub(crate) fn find(&self, wanted: Wanted<'_>) -> Result<Rc<ImageCpu>, ImageCpuError> {
        if let Some(given) = &self.given {
            wanted
                .layout(&given.enumeration)
                .map_err(ImageCpuError::Given)?;
            return Ok(Rc::clone(given));
        }
        let known = self.known.get_or_init(known);
        let fits = |candidate: &&Candidate| wanted.fits(&candidate.enumeration);
        let clean = |candidate: &&Candidate| wanted.is_clean(&candidate.enumeration);
        let mut fitting: Vec<_> = known.iter().filter(fits).collect();
        if fitting.iter().any(clean) {
            fitting.retain(clean);
        }
        wanted.choose(&fitting)
    }
}

fn known() -> Vec<Candidate> {
    let here = CpuChoice::of(None).into_iter();
    let profiles = Profile::ALL
        .iter()
        .filter_map(|profile| CpuChoice::of(Some(Path::new(profile.name()))).ok());
    let known = here.chain(profiles).map(|cpu| Candidate {
        is_this_machine: cpu.running.is_some(),
        name: cpu.source.description(),
        enumeration: cpu.enumeration,
    });
    known.collect()
}

impl Wanted<'_> {
    fn layout<'e>(&self, cpu: &'e Enumeration) -> Result<Layout<'e>, LayoutError> {
        self.image.layout(cpu, Unsaid::AnnouncedOnly)
    }

    /// The bytes that the layout is of.
    fn bytes(&self) -> &[u8] {
        let (Extent::Exact(len) | Extent::AtMost(len)) = self.extent;
        let bytes = self.image.bytes();
        bytes.get(..len).unwrap_or(bytes)
    }

    fn fits(&self, cpu: &Enumeration) -> bool {
        self.layout(cpu).is_ok_and(|layout| match self.extent {
            Extent::Exact(len) => layout.area_len() == len,
            Extent::AtMost(len) => layout.area_len() <= len,
        })
    }

    /// Whether the bytes behind the header that belong to no component are all zero.
    fn is_clean(&self, cpu: &Enumeration) -> bool {
        let Ok(layout) = self.layout(cpu) else {
            return false;
        };
        let mut owned = ranges(&layout);
        owned.sort_by_key(|range| range.start);
        let mut start = EXTENDED_REGION_OFFSET;
        for range in owned {
            if !is_zero(self.bytes(), start..range.start) {
                return false;
            }
            start = range.end;
        }
        is_zero(self.bytes(), start..self.bytes().len())
    }

    /// This machine's CPU if it is among `fitting`; otherwise the first of them, if all put what is
    /// live into the same places.
    fn choose(&self, fitting: &[&Candidate]) -> Result<Rc<ImageCpu>, ImageCpuError> {
        let Some(first) = fitting.first() else {
            return Err(ImageCpuError::NoneFits {
                components: self.image.room(),
                len: self.bytes().len(),
            });
        };
        let places = |candidate: &Candidate| {
            let layout = self.layout(&candidate.enumeration);
            layout.map_or_else(
                |_| Vec::new(),
                |layout| ranges(&layout.narrowed_to(self.image.announced())),
            )
        };
        let names = || {
            let names = fitting.iter().map(|candidate| candidate.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let agreed = fitting
            .iter()
            .all(|candidate| places(candidate) == places(first));
        if !agreed && !first.is_this_machine {
            return Err(ImageCpuError::SeveralFit { names: names() });
        }
        let reason = match fitting.len() {
            _ if first.is_this_machine => "this machine's layout, which it fits".to_owned(),
            1 => format!("the layout of {}, which it fits", first.name),
            2 => format!("the layout of {} and 1 other, which it fits", first.name),
            many => {
                let others = many - 1;
                format!(
                    "the layout of {} and {others} others, which it fits",
                    first.name
                )
            }
        };
        Ok(Rc::new(ImageCpu {
            enumeration: first.enumeration.clone(),
            reason,
        }))
    }
}

fn ranges(layout: &Layout<'_>) -> Vec<Range<usize>> {
    layout
        .extended_components()
        .map(|placed| placed.range())
        .collect()
}

fn is_zero(bytes: &[u8], range: Range<usize>) -> bool {
    bytes
        .get(range)
        .is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0))
}
