//! Images laid out by hand, at the offsets that the CPUID dumps give.

use fpstate_arch::ComponentSet;
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_kvm::{CpuRecord, Parts, VcpuExtendedState};
use fpstate_model::Profile;

/// Where components lie in a standard-format image: (name, offset, length).
pub(crate) type Places = [(&'static str, usize, usize); 5];

/// CPUID.(0DH,n):EBX and EAX of a Xeon w7-2475X.
pub(crate) const INTEL: Places = [
    ("AVX", 576, 256),
    ("opmask", 1088, 64),
    ("ZMM_Hi256", 1152, 512),
    ("Hi16_ZMM", 1664, 1024),
    ("PKRU", 2688, 8),
];
/// Of an EPYC 9654.
pub(crate) const AMD: Places = [
    ("AVX", 576, 256),
    ("opmask", 832, 64),
    ("ZMM_Hi256", 896, 512),
    ("Hi16_ZMM", 1408, 1024),
    ("PKRU", 2432, 8),
];
/// Of the Xeon: the first is 64 bytes long, the second 8192.
pub(crate) const TILE_CONFIG: usize = 2752;
pub(crate) const TILE_DATA: usize = 2816;

/// Bits 0 to 2, 5 to 7, and 9.
pub(crate) const AVX512_AND_PKRU: u64 = 0x2e7;
pub(crate) const TILES: u64 = 0x6_0000;

/// An image of `len` bytes with every component of `places` in use, each byte another one than its
/// neighbours; XSTATE_BV is `xstate_bv`, bytes 519:512.
pub(crate) fn standard(places: &Places, len: usize, xstate_bv: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0..2].copy_from_slice(&0x027f_u16.to_le_bytes()); // FCW
    bytes[4] = 0xff; // every ST register is occupied
    bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes()); // MXCSR
    fill(&mut bytes, "ST", 32, 128);
    fill(&mut bytes, "XMM", 160, 256);
    bytes[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
    for (name, offset, len) in places {
        fill(&mut bytes, name, *offset, *len);
    }
    bytes
}

/// Writes values that tell which component and which byte of it they are.
pub(crate) fn fill(bytes: &mut [u8], name: &str, offset: usize, len: usize) {
    let of_name: u8 = name
        .bytes()
        .fold(17, |sum, byte| sum.wrapping_mul(31) ^ byte);
    for (value, byte) in (0_u32..).zip(&mut bytes[offset..offset + len]) {
        *byte = of_name.wrapping_add((value % 251).try_into().unwrap()) | 1;
    }
}

/// The same as KVM and Linux's cores have it: XCR0 in bytes 471:464.
pub(crate) fn with_xcr0(mut image: Vec<u8>, xcr0: u64) -> Vec<u8> {
    image[464..472].copy_from_slice(&xcr0.to_le_bytes());
    image
}

/// The same as a signal frame has it that has room for `xfeatures`: software bytes, and "FPXE" behind.
pub(crate) fn signal_frame(mut image: Vec<u8>, xfeatures: u64) -> Vec<u8> {
    let xstate_size = u32::try_from(image.len()).unwrap();
    image[464..468].copy_from_slice(b"SXPF");
    image[468..472].copy_from_slice(&(xstate_size + 4).to_le_bytes());
    image[472..480].copy_from_slice(&xfeatures.to_le_bytes());
    image[480..484].copy_from_slice(&xstate_size.to_le_bytes());
    [image.as_slice(), b"EXPF"].concat()
}

/// A snapshot of a guest on the Xeon with this XCR0, which uses all of it, and this IA32_XSS.
pub(crate) fn snapshot(xcr0: u64, xss: u64) -> Vec<u8> {
    let leaves = Profile::SAPPHIRE_RAPIDS.leaves();
    let (cpu, _) = CpuRecord::read(RecordedLeaves(&leaves));
    let snapshot = VcpuExtendedState::from_parts(Parts {
        cpu,
        xcr0: ComponentSet::from_bits(xcr0),
        xss: ComponentSet::from_bits(xss),
        xfd: ComponentSet::EMPTY,
        xfd_err: ComponentSet::EMPTY,
        xsave: standard(&INTEL, 4096, xcr0),
    });
    serde_json::to_vec(&snapshot).unwrap()
}
