//! Guest code whose result is known: real code of well-kept crates that computes in the vector
//! registers, checked against published results.
//!
//! It runs as a guest: on a small foreign stack, taken off at any instruction and continued on
//! another host thread. So nothing here allocates, locks, panics, or uses thread-locals, and a run
//! needs less than 64 KiB of stack. Which instructions the crates choose is decided once per
//! process, in atomics; [`warm_up`] does that on the host before any guest runs.
//!
//! * `published` - the form in which results are published: hexadecimal digits
//! * `hashes` - BLAKE3, SHA-256, SHA-512
//! * `cipher` - `ChaCha20`
//! * `matrix` - a float matrix product

mod cipher;
mod hashes;
mod matrix;
mod published;

use std::fmt;

/// One computation with a known result. A run takes some tens of microseconds when optimised, so a
/// timer can hit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownAnswer {
    /// BLAKE3 of the official test input, by the crate `blake3`: assembly for SSE2, SSE4.1, AVX2 or
    /// AVX-512.
    Blake3,
    /// SHA-256, by the crate `sha2`: SHA-NI where there is one.
    Sha256,
    /// SHA-512, by the crate `sha2`: AVX2 where there is one.
    Sha512,
    /// `ChaCha20`, by the crate `chacha20`: SSE2 or AVX2.
    ChaCha20,
    /// A 64 by 64 product of `f32`, by the crate `fearless_simd`: SSE4.2, or AVX2 and FMA.
    MatrixProduct,
}

/// Whether the result was the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// It was.
    Right,
    /// It was not: registers were lost or mixed up, or the CPU or the crate errs.
    Wrong,
}

impl Verdict {
    /// `Right` if the values are equal.
    fn of_equality<T: PartialEq + ?Sized>(found: &T, known: &T) -> Self {
        if found == known {
            Self::Right
        } else {
            Self::Wrong
        }
    }

    /// `Right` if both are.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Right, Self::Right) => Self::Right,
            (Self::Wrong, _) | (_, Self::Wrong) => Self::Wrong,
        }
    }
}

impl KnownAnswer {
    /// Every computation.
    pub const ALL: [Self; 5] = [
        Self::Blake3,
        Self::Sha256,
        Self::Sha512,
        Self::ChaCha20,
        Self::MatrixProduct,
    ];

    /// Computes once and compares. Anywhere but in an optimised build this is slow, not wrong.
    pub fn run(self) -> Verdict {
        match self {
            Self::Blake3 => hashes::blake3(),
            Self::Sha256 => hashes::sha256(),
            Self::Sha512 => hashes::sha512(),
            Self::ChaCha20 => cipher::chacha20(),
            Self::MatrixProduct => matrix::product(),
        }
    }
}

impl fmt::Display for KnownAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blake3 => "BLAKE3",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::ChaCha20 => "ChaCha20",
            Self::MatrixProduct => "matrix product",
        })
    }
}

/// Runs every computation once on the host, before any guest does: afterwards no run detects CPU
/// features or resolves a symbol. The host goes on only if all are [`Verdict::Right`].
pub fn warm_up() -> [(KnownAnswer, Verdict); KnownAnswer::ALL.len()] {
    KnownAnswer::ALL.map(|known_answer| (known_answer, known_answer.run()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_computation_gives_the_published_result() {
        for (known_answer, verdict) in warm_up() {
            assert_eq!(verdict, Verdict::Right, "{known_answer}");
        }
    }

    #[test]
    fn one_wrong_part_makes_the_whole_wrong() {
        use Verdict::{Right, Wrong};
        assert_eq!(Right.and(Right), Right);
        for (left, right) in [(Right, Wrong), (Wrong, Right), (Wrong, Wrong)] {
            assert_eq!(left.and(right), Wrong);
        }
        assert_eq!(Verdict::of_equality(&[1, 2], &[1, 3]), Wrong);
    }

    #[test]
    fn a_run_fits_on_a_stack_of_64_kib() {
        // A guard page ends the stack: too deep a run ends the test process. The thread's own start
        // and its thread-locals come out of the same 64 KiB.
        for known_answer in KnownAnswer::ALL {
            let small = thread::Builder::new().stack_size(64 * 1024);
            let verdict = small.spawn(move || known_answer.run()).unwrap();
            assert_eq!(verdict.join().unwrap(), Verdict::Right, "{known_answer}");
        }
    }
}
