//! The register tile that computes every matrix product.

use std::array::from_fn;

use pulp::Simd;

use super::operands::Products;

/// Loads a vector from `values[at..]`.
///
/// # Safety
/// `values[at..]` must hold a whole vector.
#[inline(always)]
pub unsafe fn load<S: Simd>(values: *const f32, at: usize) -> S::f32s {
    // SAFETY: The caller guarantees the bounds; any bits are valid floats, aligned or not.
    unsafe { values.add(at).cast::<S::f32s>().read_unaligned() }
}

/// Stores a vector to `values[at..]`.
///
/// # Safety
/// `values[at..]` must have room for a whole vector.
#[inline(always)]
pub unsafe fn store<S: Simd>(values: *mut f32, at: usize, vector: S::f32s) {
    // SAFETY: The caller guarantees the bounds.
    unsafe { values.add(at).cast::<S::f32s>().write_unaligned(vector) }
}

/// Left operand in words: word k of row m is `values[m * row_stride + k * column_stride]`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub values: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Right operand: vector n of words k starts at `values[k * row_stride + n * lanes]`.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub values: &'a [f32],
    pub row_stride: usize,
}

/// Returns `tile` [M, N vectors] + left [M, depth] · right [depth, N vectors], with a depth in words.
#[inline(always)]
pub fn multiply_add<S: Simd, P: Products<S>, const M: usize, const N: usize>(
    (simd, products): (S, P),
    tile: [[S::f32s; N]; M],
    left: Left,
    right: Right,
    depth: usize,
) -> [[S::f32s; N]; M] {
    let mut tile = tile;
    if depth == 0 {
        return tile;
    }
    assert!(left.values.len() > (M - 1) * left.row_stride + (depth - 1) * left.column_stride);
    assert!(right.values.len() >= (depth - 1) * right.row_stride + N * S::F32_LANES);
    let (mut a, mut b) = (left.values.as_ptr(), right.values.as_ptr());
    for _ in 0..depth {
        // SAFETY: k < depth, m < M and n < N, so both indices are within the asserted bounds.
        unsafe {
            let vectors: [S::f32s; N] = from_fn(|n| load::<S>(b, n * S::F32_LANES));
            for m in 0..M {
                let factor = simd.splat_f32s(*a.add(m * left.row_stride));
                for n in 0..N {
                    tile[m][n] = products.add(simd, factor, vectors[n], tile[m][n]);
                }
            }
            a = a.wrapping_add(left.column_stride);
            b = b.wrapping_add(right.row_stride);
        }
    }
    tile
}

/// Runs `$body` for tiles of rows that cover `$rows`. `$row` is the first row of the tile and the
/// constant `$M` its height: at most 6 with 32 registers, which hold such a tile of 4 vectors, and at
/// most 2 with 16 registers.
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
