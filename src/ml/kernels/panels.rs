//! Products of rows with a matrix of parameters, for CPUs with AVX-512.
//!
//! The matrix is cut into panels of 64 columns of the result. Of some panels at a time, as much as the second-level cache
//! holds is laid out in the order in which it is needed, widened from bf16 if need be; then every 6 rows go past it, with
//! 24 registers of sums. A sum runs over up to 512 terms in order and is then added to the result, whatever the number of
//! rows, columns and threads: a row's result is the same to the bit in any company.

use super::{Matrix, Target};
use half::bf16;
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_load_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_slli_epi32, _mm512_store_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::cell::RefCell;
use std::ops::Range;

/// Columns of a panel: four registers.
const PANEL: usize = 64;
/// Rows that meet a panel at one time.
const ROWS: usize = 6;
/// Terms of a sum that are laid out at one time.
const TERMS: usize = 512;
/// Columns whose panels are laid out at one time: with [`TERMS`] 512 KiB.
const COLUMNS: usize = 256;
/// Terms by which a panel is fetched before it is needed.
const AHEAD: usize = 8;
/// Terms by which a row of the matrix is fetched before it is laid out, and rows.
const TERMS_AHEAD: usize = 64;
const ROWS_AHEAD: usize = 4;
/// A task of a parallel product has at least so many rows.
const FEWEST_ROWS: usize = 96;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static LAID_OUT: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// How the matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[columns, terms]`: a column of the result is a row of the matrix.
    ColumnByColumn,
    /// `[terms, columns]`.
    TermByTerm,
}

/// Whether this CPU can do it.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// `out = [out +] x · matrix` with `x` `[n, terms]` and `out` `[n, columns]`.
///
/// # Panics
/// If a slice has another size, or the CPU has no AVX-512.
pub(super) fn multiply(
    out: &mut [f32],
    x: &[f32],
    matrix: Matrix<'_>,
    (terms, columns): (usize, usize),
    layout: Layout,
    add: bool,
) {
    let rows = x.len() / terms;
    assert!(available(), "no AVX-512");
    assert!(x.len() == rows * terms && out.len() >= rows * columns && matrix.len() == terms * columns);
    let out = Target(out.as_mut_ptr());
    let threads = rayon::current_num_threads();
    let blocks = columns.div_ceil(COLUMNS);
    let chunks = (2 * threads).div_ceil(blocks).clamp(1, (rows / FEWEST_ROWS).max(1));
    let chunk = if threads == 1 { rows } else { rows.div_ceil(chunks) }.max(1);
    let task = |task: usize| {
        let first = task / blocks * chunk;
        let block = Block {
            rows: first..(first + chunk).min(rows),
            columns: task % blocks * COLUMNS..(task % blocks * COLUMNS + COLUMNS).min(columns),
            stride: columns,
            terms,
            layout,
            add,
        };
        LAID_OUT.with_borrow_mut(|room| {
            room.resize(TERMS * COLUMNS / 16, Line([0.0; 16]));
            // SAFETY: AVX-512 is there, the slices have the sizes that the block describes, and blocks do not overlap.
            unsafe {
                match matrix {
                    Matrix::F32(values) => block.multiply(out, x, values, room),
                    Matrix::Bf16(values) => block.multiply(out, x, values, room),
                }
            }
        });
    };
    let tasks = blocks * rows.div_ceil(chunk);
    if threads == 1 { (0..tasks).for_each(task) } else { (0..tasks).into_par_iter().for_each(task) }
}

/// Some rows and columns of a result.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from one row of the result to the next.
    stride: usize,
    terms: usize,
    layout: Layout,
    add: bool,
}

impl Block {
    /// # Safety
    /// The CPU must have AVX-512; `x` must be `[n, terms]` and `matrix` as `layout` says; nobody else may write the block's
    /// rows and columns of `out`.
    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<T: Parameter>(&self, out: Target, x: &[f32], matrix: &[T], room: &mut [Line]) {
        let pieces = self.terms.div_ceil(TERMS);
        let length = self.terms.div_ceil(pieces.max(1));
        for first in (0..self.terms).step_by(length.max(1)) {
            let terms = first..(first + length).min(self.terms);
            let count = terms.len();
            // SAFETY: the terms lie in the matrix, and the room is large enough for them.
            unsafe { self.lay_out(room, matrix, terms) };
            let add = self.add || first > 0;
            let mut row = self.rows.start;
            while row < self.rows.end {
                let rows = (self.rows.end - row).min(ROWS);
                for (panel, column) in self.columns.clone().step_by(PANEL).enumerate() {
                    let width = (self.columns.end - column).min(PANEL);
                    let panel = room[panel * count * 4..].as_ptr().cast::<f32>();
                    // SAFETY: rows, terms and columns lie in the slices; the panel was laid out above.
                    unsafe {
                        let x = x.as_ptr().add(row * self.terms + first);
                        let out = out.at(row * self.stride + column);
                        let tile = Tile { panel, x, out, count, width, x_stride: self.terms, stride: self.stride, add };
                        match rows {
                            1 => tile.multiply::<1>(),
                            2 => tile.multiply::<2>(),
                            3 => tile.multiply::<3>(),
                            4 => tile.multiply::<4>(),
                            5 => tile.multiply::<5>(),
                            _ => tile.multiply::<ROWS>(),
                        }
                    }
                }
                row += rows;
            }
        }
    }

    /// Lays the panels out one after the other: for each term 64 columns, zeros after the last one. Reads the matrix along
    /// its rows, so that the memory is never waited for long.
    ///
    /// # Safety
    /// As for [`multiply`](Self::multiply); the terms must lie in the matrix, and the room hold them.
    #[target_feature(enable = "avx512f")]
    unsafe fn lay_out<T: Parameter>(&self, room: &mut [Line], matrix: &[T], terms: Range<usize>) {
        let (first, count, columns) = (self.columns.start, terms.len(), self.columns.len());
        // The place of 16 columns of a term.
        let line = |term: usize, group: usize| (group / 4 * count + term) * 4 + group % 4;
        let groups = columns / 16;
        let done = match self.layout {
            Layout::TermByTerm => {
                for i in 0..count {
                    for group in 0..groups {
                        // SAFETY: 16 columns from here are in the matrix; prefetching reads nothing.
                        unsafe {
                            let from = matrix.as_ptr().add((terms.start + i) * self.stride + first + 16 * group);
                            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(ROWS_AHEAD * self.stride).cast());
                            _mm512_store_ps(room[line(i, group)].0.as_mut_ptr(), T::load(from));
                        }
                    }
                }
                count
            }
            Layout::ColumnByColumn => {
                for group in 0..groups {
                    for at in (0..count / 16 * 16).step_by(16) {
                        let mut square = [_mm512_setzero_ps(); 16];
                        for (i, values) in square.iter_mut().enumerate() {
                            let column = first + 16 * group + i;
                            // SAFETY: 16 terms from here are in the matrix; prefetching reads nothing.
                            *values = unsafe {
                                let from = matrix.as_ptr().add(column * self.terms + terms.start + at);
                                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(TERMS_AHEAD).cast());
                                T::load(from)
                            };
                        }
                        for (i, values) in transpose(square).into_iter().enumerate() {
                            // SAFETY: a line holds 16 values and is aligned.
                            unsafe { _mm512_store_ps(room[line(at + i, group)].0.as_mut_ptr(), values) };
                        }
                    }
                }
                count / 16 * 16
            }
        };
        // What is left: the last columns of all terms, and the last terms of the other columns.
        let panels = columns.div_ceil(PANEL);
        let last = (0..count).flat_map(|term| (groups..4 * panels).map(move |group| (term, group)));
        let rest = (done..count).flat_map(|term| (0..groups).map(move |group| (term, group)));
        for (i, group) in last.chain(rest) {
            for (j, x) in room[line(i, group)].0.iter_mut().enumerate() {
                let (term, column) = (terms.start + i, first + 16 * group + j);
                let index = match self.layout {
                    Layout::ColumnByColumn => column * self.terms + term,
                    Layout::TermByTerm => term * self.stride + column,
                };
                *x = if column < self.columns.end { matrix[index].widen() } else { 0.0 };
            }
        }
    }
}

/// A parameter as it lies in memory.
trait Parameter: Copy {
    fn widen(self) -> f32;

    /// # Safety
    /// The CPU must have AVX-512, and 16 parameters must be there.
    unsafe fn load(from: *const Self) -> __m512;
}

impl Parameter for f32 {
    fn widen(self) -> f32 {
        self
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }
}

impl Parameter for bf16 {
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        let narrow = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16))
    }
}

/// Rows and columns of a square change places.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = rows;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    let pd = |x: __m512| _mm512_castps_pd(x);
    let mut fours = pairs;
    for i in (0..16).step_by(4) {
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(pairs[i]), pd(pairs[i + 2])));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(pairs[i]), pd(pairs[i + 2])));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(pairs[i + 1]), pd(pairs[i + 3])));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(pairs[i + 1]), pd(pairs[i + 3])));
    }
    // Each of these has, in its four quarters, columns i, i + 4, i + 8 and i + 12 of four rows.
    let mut columns = fours;
    for i in 0..4 {
        let (a, b, c, d) = (fours[i], fours[i + 4], fours[i + 8], fours[i + 12]);
        let (ab_even, ab_odd) = (_mm512_shuffle_f32x4(a, b, 0b10_00_10_00), _mm512_shuffle_f32x4(a, b, 0b11_01_11_01));
        let (cd_even, cd_odd) = (_mm512_shuffle_f32x4(c, d, 0b10_00_10_00), _mm512_shuffle_f32x4(c, d, 0b11_01_11_01));
        columns[i] = _mm512_shuffle_f32x4(ab_even, cd_even, 0b10_00_10_00);
        columns[i + 4] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0b10_00_10_00);
        columns[i + 8] = _mm512_shuffle_f32x4(ab_even, cd_even, 0b11_01_11_01);
        columns[i + 12] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0b11_01_11_01);
    }
    columns
}

/// Up to 6 rows and a panel.
struct Tile {
    panel: *const f32,
    x: *const f32,
    out: *mut f32,
    /// Terms.
    count: usize,
    /// Columns.
    width: usize,
    x_stride: usize,
    stride: usize,
    add: bool,
}

impl Tile {
    /// # Safety
    /// `N` rows of `x` and of `out` and the panel must be there, and nobody else may write this part of `out`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<const N: usize>(&self) {
        let mut sums = [[_mm512_setzero_ps(); 4]; N];
        // SAFETY: the rows are there.
        let rows: [*const f32; N] = std::array::from_fn(|row| unsafe { self.x.add(row * self.x_stride) });
        for term in 0..self.count {
            // SAFETY: the panel has 64 values a term, and a row of `x` has one; prefetching reads nothing.
            unsafe {
                let panel = self.panel.add(term.wrapping_mul(PANEL));
                for line in 0..4 {
                    _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD * PANEL + 16 * line).cast());
                }
                let columns = [0, 16, 32, 48].map(|at| _mm512_load_ps(panel.add(at)));
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let x = _mm512_set1_ps(*row.add(term));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(column, x, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (i, sum) in sums.into_iter().enumerate() {
                let width = self.width.saturating_sub(16 * i).min(16);
                let mask = ((1u32 << width) - 1) as u16;
                // SAFETY: the mask leaves out what is beyond the last column.
                unsafe {
                    let out = self.out.add(row * self.stride + 16 * i);
                    let sum = if self.add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum) } else { sum };
                    _mm512_mask_storeu_ps(out, mask, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    /// Against sums in f64, at sizes with every kind of remainder; bf16 as exactly as the same values in f32.
    #[test]
    fn products_are_right_at_every_size() {
        if !available() {
            println!("skipped: no AVX-512");
            return;
        }
        let mut stream = Stream::new(0, "panels");
        for (rows, terms, columns) in [
            (1, 1, 1),
            (6, 16, 64),
            (7, 17, 65),
            (5, 33, 15),
            (13, 512, 80),
            (12, 513, 300),
            (200, 1100, 530),
            (0, 3, 4),
        ] {
            let mut draw = |len: usize| (0..len).map(|_| stream.normal() as f32).collect::<Vec<_>>();
            let (x, before) = (draw(rows * terms), draw(rows * columns));
            let narrow: Vec<bf16> = draw(terms * columns).into_iter().map(bf16::from_f32).collect();
            let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
            for layout in [Layout::ColumnByColumn, Layout::TermByTerm] {
                let at = |term: usize, column: usize| match layout {
                    Layout::ColumnByColumn => column * terms + term,
                    Layout::TermByTerm => term * columns + column,
                };
                for add in [false, true] {
                    let run = |matrix: Matrix<'_>, threads| {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        let mut out = before.clone();
                        pool.install(|| multiply(&mut out, &x, matrix, (terms, columns), layout, add));
                        out
                    };
                    let out = run(Matrix::F32(&wide), 1);
                    assert!(out == run(Matrix::F32(&wide), 3), "threads");
                    assert!(out == run(Matrix::Bf16(&narrow), 1), "bf16");
                    for (i, found) in out.iter().enumerate() {
                        let (row, column) = (i / columns, i % columns);
                        let products =
                            (0..terms).map(|t| f64::from(x[row * terms + t]) * f64::from(wide[at(t, column)]));
                        let size: f64 = products.clone().map(f64::abs).sum();
                        let start = if add { f64::from(before[i]) } else { 0.0 };
                        let expected = start + products.sum::<f64>();
                        let limit = 1e-6 * (size + start.abs());
                        assert!(
                            (f64::from(*found) - expected).abs() <= limit,
                            "{rows}x{terms}x{columns} {layout:?} at {row}, {column}: {found}, expected {expected}"
                        );
                    }
                }
            }
        }
    }
}
