//! What the host does with vector registers: AVX-512 code, which its kernel runs in sections.

use core::arch::{asm, global_asm};

/// Every byte of ZMM0 to ZMM31, and every word of K0 to K7, is from `value`.
///
/// # Safety
/// 1. XCR0 has AVX-512.
/// 2. Nobody needs what the registers hold.
pub unsafe fn fill(value: u64) {
    // SAFETY: 1, 2: the caller's; the kernel is soft-float.
    unsafe { asm!("call host_fill_vectors", in("rdi") value) };
}

global_asm!(
    ".pushsection .guest_code, \"ax\", @progbits",
    ".globl host_fill_vectors",
    "host_fill_vectors:",
    ".irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "vpbroadcastq zmm\\number, rdi",
    ".endr",
    ".irp number, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "vpbroadcastq zmm\\number, rdi",
    ".endr",
    ".irp number, 0,1,2,3,4,5,6,7",
    "kmovq k\\number, rdi",
    ".endr",
    "ret",
    ".popsection",
);
