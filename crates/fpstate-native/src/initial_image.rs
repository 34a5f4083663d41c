//! The initial configuration as an image.

use fpstate_arch::Mxcsr;
use fpstate_arch::legacy_region::{INITIAL_FCW, LEGACY_REGION_LEN};
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;

/// x87, SSE and a header that has nothing: XRSTOR64 takes from it the initial configuration of every
/// component, FXRSTOR64 that of x87 and SSE. It is 576 bytes long, for no extended component is in
/// XSTATE_BV.
#[repr(C, align(64))]
pub(crate) struct InitialImage(pub(crate) [u8; EXTENDED_REGION_OFFSET]);

pub(crate) static INITIAL_IMAGE: InitialImage = {
    let mut bytes = [0; EXTENDED_REGION_OFFSET];
    [bytes[0], bytes[1]] = INITIAL_FCW.to_le_bytes();
    [bytes[24], bytes[25], bytes[26], bytes[27]] = Mxcsr::INITIAL.bits().to_le_bytes();
    InitialImage(bytes)
};

const _: () = assert!(LEGACY_REGION_LEN < EXTENDED_REGION_OFFSET);
