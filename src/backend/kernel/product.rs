//! One register tile serves every matrix product.

use std::array::from_fn;

use pulp::Simd;

use super::instructions::mul_add;

/// Reads a vector from `values[at..]`.
///
/// # Safety
/// `values` has a whole vector there.
#[inline(always)]
pub unsafe fn load<S: Simd>(values: *const f32, at: usize) -> S::f32s {
    // SAFETY: as the caller promises; the type is plain numbers, and the read needs no alignment.
    unsafe { values.add(at).cast::<S::f32s>().read_unaligned() }
}

/// Writes a vector to `values[at..]`.
///
/// # Safety
/// `values` has room for a whole vector there.
#[inline(always)]
pub unsafe fn store<S: Simd>(values: *mut f32, at: usize, vector: S::f32s) {
    // SAFETY: as the caller promises.
    unsafe { values.add(at).cast::<S::f32s>().write_unaligned(vector) }
}

/// The numbers of the left matrix: element (m, k) is `values[m * row + k * step]`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub step: usize,
}

/// The numbers of the right matrix: vector (k, n) is at `values[k * step + n * lanes]`.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub values: &'a [f32],
    pub step: usize,
}

/// `tile` [M, N vectors] += left [M, depth] · right [depth, N vectors].
#[inline(always)]
pub fn multiply_add<S: Simd, const M: usize, const N: usize>(
    simd: S,
    tile: [[S::f32s; N]; M],
    left: Left,
    right: Right,
    depth: usize,
) -> [[S::f32s; N]; M] {
    let mut tile = tile;
    if depth == 0 {
        return tile;
    }
    assert!(left.values.len() > (M - 1) * left.row + (depth - 1) * left.step);
    assert!(right.values.len() >= (depth - 1) * right.step + N * S::F32_LANES);
    let (mut a, mut b) = (left.values.as_ptr(), right.values.as_ptr());
    for _ in 0..depth {
        // SAFETY: k < depth, m < M and n < N, so that both indices are below what was asserted.
        unsafe {
            let vectors: [S::f32s; N] = from_fn(|n| load::<S>(b, n * S::F32_LANES));
            for m in 0..M {
                let factor = simd.splat_f32s(*a.add(m * left.row));
                for n in 0..N {
                    tile[m][n] = mul_add(simd, factor, vectors[n], tile[m][n]);
                }
            }
            a = a.wrapping_add(left.step);
            b = b.wrapping_add(right.step);
        }
    }
    tile
}

/// Calls `$body` for tiles of rows that cover `$rows`. `$row` is the first row of a tile and the
/// constant `$M` its height: at most 6, where 32 registers hold such a tile of 4 vectors, or 2
/// where there are 16.
macro_rules! for_row_tiles {
    ($S:ty, $rows:expr, |$row:ident, $M:ident| $body:expr) => {{
        let rows: std::ops::Range<usize> = $rows;
        let mut $row = rows.start;
        macro_rules! tile {
            ($height:literal) => {{
                const $M: usize = $height;
                $body;
                $row += $M;
            }};
        }
        if <$S>::REGISTER_COUNT >= 32 {
            while $row + 6 <= rows.end {
                tile!(6);
            }
            if $row + 4 <= rows.end {
                tile!(4);
            }
        } else {
            while $row + 2 <= rows.end {
                tile!(2);
            }
        }
        if $row + 2 <= rows.end {
            tile!(2);
        }
        if $row < rows.end {
            tile!(1);
        }
        debug_assert_eq!($row, rows.end);
    }};
}
pub(super) use for_row_tiles;
