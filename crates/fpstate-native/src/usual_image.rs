//! What most images have in common, so that one of them is judged by a few comparisons.
//!
//! A thread and its guest are restored again and again under one RFBM, from images of one XCOMP_BV.
//! What these two say is found out once; an image that differs in anything else is judged whole.

use fpstate_arch::ComponentSet;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;

use crate::reach::require_alignment;
use crate::recent::Recent;
use crate::xrstor_conditions::mxcsr_in;
use crate::xsave_family::XSAVE_ALIGNMENT;

/// XCOMP_BV, and RFBM with what is left out of it now and then: the answer holds for less too.
pub(crate) type Asked = (u64, ComponentSet);

/// Images of one XCOMP_BV under one RFBM that XRSTOR takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsualImage {
    /// Bits that XSTATE_BV does not have.
    pub(crate) not_in_xstate_bv: ComponentSet,
    /// Bits that MXCSR does not have, whether it is taken from the image or not.
    pub(crate) not_in_mxcsr: u32,
    /// Bytes that XRSTOR may touch.
    pub(crate) reach: usize,
}

/// Of the last two questions; `None` where every image is judged whole.
pub(crate) type UsualImages = Recent<Asked, Option<UsualImage>>;

/// Nothing was asked yet.
pub(crate) const NONE_YET: UsualImages = Recent::starting_with((0, ComponentSet::EMPTY), None);

/// What of an image decides: MXCSR and the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    mxcsr: u32,
    header: [u64; 8],
}

impl Judged {
    /// Of an area that is aligned and has a whole header.
    #[inline]
    pub(crate) fn of(area: &[u8]) -> Option<Self> {
        require_alignment(area, XSAVE_ALIGNMENT).ok()?;
        let legacy = area.first_chunk::<LEGACY_REGION_LEN>()?;
        let (words, _) = area
            .get(LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET)?
            .as_chunks::<8>();
        let mut header = [0; 8];
        for (word, bytes) in header.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let mxcsr = mxcsr_in(legacy).bits();
        Some(Self { mxcsr, header })
    }

    /// XCOMP_BV.
    #[inline]
    pub(crate) const fn xcomp_bv(&self) -> u64 {
        let [_, xcomp_bv, ..] = self.header;
        xcomp_bv
    }

    /// Whether it is a `usual` image, of `len` bytes.
    #[inline]
    pub(crate) const fn is(&self, usual: &UsualImage, len: usize) -> bool {
        let [xstate_bv, _, a, b, c, d, e, f] = self.header;
        let reserved = a | b | c | d | e | f;
        let refused = xstate_bv & usual.not_in_xstate_bv.bits() | reserved;
        refused == 0 && self.mxcsr & usual.not_in_mxcsr == 0 && usual.reach <= len
    }
}
