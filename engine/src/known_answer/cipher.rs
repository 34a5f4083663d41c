//! `ChaCha20` with a published result.

use std::hint::black_box;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

use super::Verdict;
use super::published::hex;

/// RFC 8439, appendix A.2, test vector 2: the key is 1 and the nonce 2, as big-endian numbers; the
/// block counter starts at 1.
const KEY: [u8; 32] = hex("0000000000000000000000000000000000000000000000000000000000000001");
const NONCE: [u8; 12] = hex("000000000000000000000002");
const FIRST_BYTE: u64 = 64;
const PLAINTEXT: &[u8; 375] = b"Any submission to the IETF intended by the Contributor for \
publication as all or part of an IETF Internet-Draft or RFC and any statement made within the \
context of an IETF activity is considered an \"IETF Contribution\". Such statements include oral \
statements in IETF sessions, as well as written and electronic communications made at any time or \
place, which are addressed to";
const CIPHERTEXT: [u8; 375] = hex(concat!(
    "a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec",
    "2a97948bd3722915c8f3d337f7d370050e9e96d647b7c39f56e031ca5eb6250d",
    "4042e02785ececfa4b4bb5e8ead0440e20b6e8db09d881a7c6132f420e527950",
    "42bdfa7773d8a9051447b3291ce1411c680465552aa6c405b7764d5e87bea85a",
    "d00f8449ed8f72d0d662ab052691ca66424bc86d2df80ea41f43abf937d3259d",
    "c4b2d0dfb48a6c9139ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b",
    "0871cdac638939e25e8a1e0ef9d5280fa8ca328b351c3c765989cbcf3daa8b6c",
    "cc3aaf9f3979c92b3720fc88dc95ed84a1be059c6499b9fda236e7e818b04b0b",
    "c39c1e876b193bfe5569753f88128cc08aaa9b63d1a16f80ef2554d7189c411f",
    "5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86f6e6",
    "98ced759c3ff9b6477338f3da4f9cd8514ea9982ccafb341b2384dd902f3d1ab",
    "7ac61dd29c6f21ba5b862f3730e37cfdc4fd806c22f221",
));

/// How often the buffer is encrypted and decrypted, for a run of some tens of microseconds.
const REPEATS: usize = 8;

/// Encrypts 4 KiB that begin with the plaintext, many blocks at a time, and decrypts them block by
/// block, which is other code.
pub(super) fn chacha20() -> Verdict {
    let mut verdict = Verdict::Right;
    for _ in 0..REPEATS {
        let mut buffer = black_box([0; 4096]);
        let (start, _) = buffer.split_at_mut(PLAINTEXT.len());
        start.copy_from_slice(PLAINTEXT);
        verdict = verdict.and(crypt(&mut buffer, 4096));
        let (start, _) = buffer.split_at(CIPHERTEXT.len());
        verdict = verdict.and(Verdict::of_equality(start, &CIPHERTEXT));
        verdict = verdict.and(crypt(&mut buffer, 64));
        let (start, zeros) = buffer.split_at(PLAINTEXT.len());
        verdict = verdict.and(Verdict::of_equality(start, PLAINTEXT));
        if zeros.iter().any(|byte| *byte != 0) {
            verdict = Verdict::Wrong;
        }
    }
    verdict
}

/// Adds the key stream to `buffer`, `chunk_len` bytes a call.
fn crypt(buffer: &mut [u8; 4096], chunk_len: usize) -> Verdict {
    let mut cipher = ChaCha20::new(&KEY.into(), &NONCE.into());
    let mut done = cipher.try_seek(FIRST_BYTE).is_ok();
    for chunk in buffer.chunks_mut(chunk_len) {
        done &= cipher.try_apply_keystream(chunk).is_ok();
    }
    Verdict::of_equality(&done, &true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_the_buffer_is_cut_does_not_matter_to_the_result() {
        let (mut whole, mut parts) = ([7; 4096], [7; 4096]);
        assert_eq!(crypt(&mut whole, 4096), Verdict::Right);
        assert_eq!(crypt(&mut parts, 100), Verdict::Right);
        assert_eq!(whole, parts);
        assert_ne!(whole, [7; 4096]);
    }
}
