//! A float matrix product whose every entry is known exactly.
//!
//! With A(i, k) = i + k and B(k, j) = k - j, the entry (i, j) of the product is the sum over k of
//! k² + k (i - j) - i j. For 64 by 64 every partial sum, in any order, is an integer below 2²⁴ in
//! magnitude: `f32` holds it exactly, and rounding, fused or not, changes nothing.

use std::hint::black_box;

use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, f32x16};

use super::Verdict;

/// Rows and columns.
const SIZE: usize = 64;

/// How often the product is computed, for a run of some tens of microseconds.
const REPEATS: usize = 4;

static A: [[f32; SIZE]; SIZE] = {
    let mut a = [[0.0; SIZE]; SIZE];
    let mut i = 0;
    while i < SIZE {
        let mut k = 0;
        while k < SIZE {
            a[i][k] = (i + k) as f32;
            k += 1;
        }
        i += 1;
    }
    a
};

static B: [[f32; SIZE]; SIZE] = {
    let mut b = [[0.0; SIZE]; SIZE];
    let mut k = 0;
    while k < SIZE {
        let mut j = 0;
        while j < SIZE {
            b[k][j] = k as f32 - j as f32;
            j += 1;
        }
        k += 1;
    }
    b
};

/// The entry at row `i`, column `j`, by Gauss's sums: of k to 63 it is 2016, of k² it is 85344.
const fn known_entry(i: i32, j: i32) -> i32 {
    85_344 + 2016 * (i - j) - 64 * i * j
}

/// Computes the product, row by row, and compares each row.
pub(super) fn product() -> Verdict {
    let level = Level::new();
    let mut verdict = Verdict::Right;
    for _ in 0..REPEATS {
        let (a, b) = (black_box(&A), black_box(&B));
        for (i, a_row) in (0..).zip(a) {
            let row = dispatch!(level, simd => product_row(simd, a_row, b));
            for (j, entry) in (0..).zip(row) {
                if entry != known_entry(i, j) as f32 {
                    verdict = Verdict::Wrong;
                }
            }
        }
    }
    verdict
}

/// One row of the product: four vectors of sixteen sums, all kept in registers.
#[inline(always)]
fn product_row<S: Simd>(simd: S, a_row: &[f32; SIZE], b: &[[f32; SIZE]; SIZE]) -> [f32; SIZE] {
    let mut sums = [f32x16::splat(simd, 0.0); 4];
    for (factor, b_row) in a_row.iter().zip(b) {
        let factor = f32x16::splat(simd, *factor);
        for (sum, part) in sums.iter_mut().zip(b_row.chunks_exact(16)) {
            *sum = factor.mul_add(f32x16::from_slice(simd, part), *sum);
        }
    }
    let mut row = [0.0; SIZE];
    for (part, sum) in row.chunks_exact_mut(16).zip(sums) {
        sum.store_slice(part);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_entries_are_those_of_the_definition() {
        for i in 0..64 {
            for j in 0..64 {
                let sum: i32 = (0..64).map(|k| (i + k) * (k - j)).sum();
                assert_eq!(known_entry(i, j), sum);
            }
        }
    }

    #[test]
    fn no_partial_sum_leaves_the_integers_that_f32_holds() {
        for i in 0..64i32 {
            for j in 0..64 {
                let magnitude: i32 = (0..64).map(|k| ((i + k) * (k - j)).abs()).sum();
                assert!(magnitude < 1 << 24);
            }
        }
    }

    #[test]
    fn the_narrow_and_the_wide_instructions_of_the_cpu_give_the_same_row() {
        let level = Level::new();
        let widest = dispatch!(level, simd => product_row(simd, &A[5], &B));
        if let Some(sse) = level.as_sse4_2() {
            assert_eq!(widest, product_row(sse, &A[5], &B));
        }
    }
}
