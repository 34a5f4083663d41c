//! Observed answers, row by row: each is handed to the kernel and to the library, and both must answer
//! as it says.

use fpstate_arch::{Component, ComponentSet};

use super::answer::{Answer, Verdict};
use super::court::Court;
use super::legal::{MXCSR, MXCSR_MASK, XSTATE_BV, number, set_number};
use super::shape::Shape;

/// One change to the image of [`image`], and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is changed.
    pub name: &'static str,
    /// The change.
    pub change: fn(&Shape, &mut Vec<u8>),
    /// Whether the image is taken.
    pub verdict: Verdict,
    /// What is read back then. Where an image is refused with an error number, everything is as before.
    pub after: &'static [(Field, u64)],
}

/// A part of an image, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `XSTATE_BV`.
    XstateBv,
    /// The x87 control word.
    Fcw,
    /// MXCSR.
    Mxcsr,
    /// `MXCSR_MASK`.
    MxcsrMask,
    /// The low eight bytes of XMM7.
    Xmm7,
    /// The low eight bytes of the upper half of YMM7.
    Ymm7High,
}

impl Field {
    /// In a standard-format image of `shape`.
    fn read(self, shape: &Shape, image: &[u8]) -> u64 {
        number(
            image,
            match self {
                Self::XstateBv => XSTATE_BV,
                Self::Fcw => 0..2,
                Self::Mxcsr => MXCSR,
                Self::MxcsrMask => MXCSR_MASK,
                Self::Xmm7 => 272..280,
                Self::Ymm7High => avx(shape) + 112..avx(shape) + 120,
            },
        )
    }
}

/// The value of each XMM register, eight bytes of it.
pub const XMM: u64 = 0x1111_1111_1111_1111;
/// The value of each YMM register's upper half, eight bytes of it.
pub const YMM_HIGH: u64 = 0x5a5a_5a5a_5a5a_5a5a;
/// The x87 control word.
pub const FCW: u64 = 0x27f;
/// MXCSR: the precision flag is set.
pub const THE_MXCSR: u64 = 0x1fa0;
/// `MXCSR_MASK`.
pub const MASK: u64 = 0x2_ffff;

/// A standard-format image with x87, SSE and AVX live.
#[must_use]
pub fn image(shape: &Shape) -> Vec<u8> {
    let mut image = vec![0; shape.image_len()];
    set_number(&mut image, 0..2, FCW);
    set_number(&mut image, MXCSR, THE_MXCSR);
    set_number(&mut image, MXCSR_MASK, MASK);
    image[160..416].fill(0x11);
    set_number(&mut image, XSTATE_BV, 7);
    let avx = avx(shape);
    image[avx..avx + 256].fill(0x5a);
    image
}

/// Where AVX is.
///
/// # Panics
/// If the images have none.
#[must_use]
pub fn avx(shape: &Shape) -> usize {
    let mut places = shape.places().iter();
    let avx = places.find(|(component, _)| *component == Component::Avx);
    avx.expect("AVX").1.start
}

/// Hands over every row, each after the unchanged image; `whole` makes an image what the door takes.
///
/// # Panics
/// If the kernel or the library answers otherwise.
pub fn check(court: &Court, rows: &[Row], whole: fn(&Shape, &mut Vec<u8>)) {
    let shape = court.shape();
    if !shape
        .components()
        .contains_all(ComponentSet::only(Component::Avx))
    {
        eprintln!("SKIPPED: no AVX here");
        return;
    }
    let mut trial = court.trial();
    trial.begin(&image(shape));
    for row in rows {
        let mut unchanged = image(shape);
        whole(shape, &mut unchanged);
        let mut changed = unchanged.clone();
        (row.change)(shape, &mut changed);
        let mut put = |image: &[u8]| -> Answer {
            let agreed = trial.put(image);
            agreed
                .unwrap_or_else(|disagreement| panic!("{}: {disagreement}", row.name))
                .answer
        };
        let before = put(&unchanged);
        let answer = put(&changed);
        assert_eq!(before.verdict, Verdict::Taken);
        assert_eq!(answer.verdict, row.verdict, "{}", row.name);
        if let Verdict::Refused(_) = row.verdict {
            assert!(
                answer.after == before.after,
                "{}: the state is another",
                row.name
            );
        }
        for &(field, value) in row.after {
            let found = field.read(shape, &answer.after);
            assert_eq!(found, value, "{}: {field:?} is {found:#x}", row.name);
        }
    }
}
