//! BLAKE3, SHA-256 and SHA-512 with published results.

use std::hint::black_box;

use sha2::{Digest, Sha256, Sha512};

use super::Verdict;
use super::published::hex;

/// The input of the official test vectors of BLAKE3: the bytes 0 to 250, again and again
/// (github.com/BLAKE3-team/BLAKE3, `test_vectors/test_vectors.json`, `_comment`).
static BLAKE3_INPUT: [u8; 102_400] = {
    let mut input = [0; 102_400];
    let (mut position, mut byte) = (0, 0u8);
    while position < input.len() {
        input[position] = byte;
        byte = if byte == 250 { 0 } else { byte + 1 };
        position += 1;
    }
    input
};

/// The first 32 bytes of `hash` where `input_len` is 31744, from the same file.
const BLAKE3_OF_31744: [u8; 32] =
    hex("62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47");
/// The first 32 bytes of `hash` where `input_len` is 102400, from the same file.
const BLAKE3_OF_102400: [u8; 32] =
    hex("bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085");

/// "abc", one block (FIPS 180-2, appendix B.1; NIST, "SHA256" example values).
const SHA256_OF_ABC: [u8; 32] =
    hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// "abc", one block (FIPS 180-2, appendix C.1; NIST, "SHA512" example values).
const SHA512_OF_ABC: [u8; 64] = hex(concat!(
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
));
/// 1000 bytes of 41H and 1005 bytes of 55H (NIST CSRC, "SHA additional test vectors", SHA-512, data
/// 7 and 8).
const SHA512_OF_1000_A: [u8; 64] = hex(concat!(
    "329c52ac62d1fe731151f2b895a00475445ef74f50b979c6f7bb7cae349328c1",
    "d4cb4f7261a0ab43f936a24b000651d4a824fcdd577f211aef8f806b16afe8af"
));
const SHA512_OF_1005_U: [u8; 64] = hex(concat!(
    "59f5e54fe299c6a8764c6b199e44924a37f59e2b56c3ebad939b7289210dc8e4",
    "c21b9720165b0f4d4374c90f1bf4fb4a5ace17a1161798015052893a48c3d161"
));

/// The Monte Carlo test of SHA-256: seed and first checkpoint (NIST CAVP, `shabytetestvectors.zip`,
/// `SHA256Monte.rsp`, "Seed" and COUNT = 0).
const SHA256_MONTE_SEED: [u8; 32] =
    hex("6d1e72ad03ddeb5de891e572e2396f8da015d899ef0e79503152d6010a3fe691");
const SHA256_MONTE_0: [u8; 32] =
    hex("e93c330ae5447738c8aa85d71a6c80f2a58381d05872d26bdd39f1fcd4f2b788");

/// How often the two messages are hashed, for a run of some tens of microseconds.
const SHA512_REPEATS: usize = 32;

/// Two inputs: 100 chunks and 31, so that the tree has whole and partial groups of every width.
pub(super) fn blake3() -> Verdict {
    let whole = black_box(&BLAKE3_INPUT);
    let (part, _) = whole.split_at(31_744);
    let whole = blake3::hash(whole);
    let part = blake3::hash(part);
    Verdict::of_equality(whole.as_bytes(), &BLAKE3_OF_102400)
        .and(Verdict::of_equality(part.as_bytes(), &BLAKE3_OF_31744))
}

/// "abc", and a thousand hashes of which each takes the three before it.
pub(super) fn sha256() -> Verdict {
    let abc: [u8; 32] = Sha256::digest(black_box(b"abc")).into();
    let mut last_three = black_box([SHA256_MONTE_SEED; 3]);
    for _ in 0..1000 {
        let [_, second, third] = last_three;
        let next = Sha256::digest(last_three.as_flattened());
        last_three = [second, third, next.into()];
    }
    let [_, _, last] = last_three;
    Verdict::of_equality(&abc, &SHA256_OF_ABC).and(Verdict::of_equality(&last, &SHA256_MONTE_0))
}

/// "abc", and two messages of eight blocks.
pub(super) fn sha512() -> Verdict {
    let abc: [u8; 64] = Sha512::digest(black_box(b"abc")).into();
    let mut verdict = Verdict::of_equality(&abc, &SHA512_OF_ABC);
    for _ in 0..SHA512_REPEATS {
        let a: [u8; 64] = Sha512::digest(black_box(&[0x41; 1000])).into();
        let u: [u8; 64] = Sha512::digest(black_box(&[0x55; 1005])).into();
        verdict = verdict
            .and(Verdict::of_equality(&a, &SHA512_OF_1000_A))
            .and(Verdict::of_equality(&u, &SHA512_OF_1005_U));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_blake3_repeats_251_bytes() {
        assert!(
            (0usize..)
                .zip(BLAKE3_INPUT)
                .all(|(i, byte)| usize::from(byte) == i % 251)
        );
    }
}
