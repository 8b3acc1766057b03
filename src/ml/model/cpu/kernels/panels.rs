//! Products of rows with a matrix of parameters, for CPUs with AVX-512.
//!
//! The matrix is cut into panels of 64 columns of the result. Of some panels at a time, as much as the second-level cache
//! holds is laid out in the order in which it is needed; then every 6 rows go past it, with 24 registers of sums. A sum
//! runs over up to 512 words in order and is then added to the result, whatever the number of rows, columns and threads:
//! a row's result is the same to the bit in any company.
//!
//! A word of 32 bits is a term in f32, or two terms in bf16 where the CPU multiplies pairs of them (AVX512-BF16): so products
//! with bf16 take half the time. On other CPUs bf16 is widened as it is laid out.

use super::{Matrix, Target};
use half::bf16;
use rayon::prelude::*;
use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_slli_epi32,
    _mm512_store_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::cell::RefCell;
use std::ops::Range;

/// Columns of a panel: four registers.
const PANEL: usize = 64;
/// Rows that meet a panel at one time.
const ROWS: usize = 6;
/// Words of a sum that are laid out at one time.
const WORDS: usize = 512;
/// Words by which a panel is fetched before it is needed.
const AHEAD: usize = 8;
/// Rows by which the matrix is fetched before it is laid out, in each layout.
const COLUMNS_AHEAD: usize = 32;
const TERMS_AHEAD: usize = 8;
/// A task of a parallel product has at least this many rows.
const FEWEST_ROWS: usize = 96;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static LAID_OUT: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static NARROWED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// How the matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[columns, terms]`: a column of the result is a row of the matrix.
    ColumnByColumn,
    /// `[terms, columns]`.
    TermByTerm,
}

impl Layout {
    /// Columns whose panels are laid out at one time: with [`WORDS`] half of a second-level cache of 1 MiB, or all of it where
    /// more columns are longer pieces of memory in a row, which are read twice as fast.
    fn columns(self) -> usize {
        match self {
            Self::ColumnByColumn => 256,
            Self::TermByTerm => 512,
        }
    }
}

/// Whether this CPU can do it.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// Whether this CPU multiplies pairs of bf16.
pub(super) fn multiplies_pairs() -> bool {
    available() && is_x86_feature_detected!("avx512bf16")
}

/// `out = [out +] x · matrix` with `x` `[n, terms]` and `out` `[n, columns]`. If the matrix is bf16 and the CPU
/// [multiplies pairs](multiplies_pairs), `x` is rounded to bf16.
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
    let shape = Shape { terms, columns, layout };
    match matrix {
        Matrix::F32(values) => product(out, x, &Wide { values, shape }, shape, rows, add),
        Matrix::Bf16(values) if multiplies_pairs() => {
            // Taken rather than borrowed: while this thread waits for others, it may be given another product.
            let mut narrow = NARROWED.take();
            // SAFETY: the CPU has the instructions.
            unsafe { narrow_rows(&mut narrow, x, terms) };
            product(out, &narrow, &Pairs { values, shape }, shape, rows, add);
            NARROWED.set(narrow);
        }
        Matrix::Bf16(values) => product(out, x, &Wide { values, shape }, shape, rows, add),
    }
}

/// Shares a product among the threads of the current pool. `x` is words, `[rows, words]`.
fn product<W: Words>(out: &mut [f32], x: &[f32], matrix: &W, shape: Shape, rows: usize, add: bool) {
    let Shape { terms, columns, layout } = shape;
    let out = Target(out.as_mut_ptr());
    let threads = rayon::current_num_threads();
    let width = layout.columns();
    let blocks = columns.div_ceil(width);
    let chunks = (2 * threads).div_ceil(blocks).clamp(1, (rows / FEWEST_ROWS).max(1));
    let chunk = if threads == 1 { rows } else { rows.div_ceil(chunks) }.max(1);
    let task = |task: usize| {
        let first = task / blocks * chunk;
        let block = Block {
            rows: first..(first + chunk).min(rows),
            columns: task % blocks * width..(task % blocks * width + width).min(columns),
            stride: columns,
            words: terms.div_ceil(W::TERMS),
            add,
        };
        LAID_OUT.with_borrow_mut(|room| {
            room.resize(room.len().max(WORDS * width / 16), Line([0.0; 16]));
            // SAFETY: AVX-512 is there, the slices have the sizes that the block describes, and blocks do not overlap.
            unsafe { block.multiply(out, x, matrix, room) };
        });
    };
    let tasks = blocks * rows.div_ceil(chunk);
    if threads == 1 { (0..tasks).for_each(task) } else { (0..tasks).into_par_iter().for_each(task) }
}

/// Rounds rows of `terms` numbers to bf16, the nearest and of two the even one, in pairs; an odd row ends with 0.
#[target_feature(enable = "avx512f,avx512bf16")]
fn narrow_rows(narrow: &mut Vec<f32>, x: &[f32], terms: usize) {
    let words = terms.div_ceil(2);
    narrow.resize(narrow.len().max(x.len() / terms * words), 0.0);
    for (to, from) in narrow.chunks_exact_mut(words).zip(x.chunks_exact(terms)) {
        let (blocks, rest) = from.as_chunks::<16>();
        let (to, last) = to.split_at_mut(8 * blocks.len());
        for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(blocks) {
            // SAFETY: 16 numbers are read, and 16 of half the size written.
            unsafe {
                let pairs = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr()));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), std::mem::transmute::<__m256bh, __m256i>(pairs));
            }
        }
        for (word, pair) in last.iter_mut().zip(rest.chunks(2)) {
            *word = paired(bf16::from_f32(pair[0]), pair.get(1).map_or(bf16::ZERO, |x| bf16::from_f32(*x)));
        }
    }
}

/// Two terms as a word.
fn paired(first: bf16, second: bf16) -> f32 {
    f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
}

/// Sizes of a matrix.
#[derive(Clone, Copy)]
struct Shape {
    terms: usize,
    columns: usize,
    layout: Layout,
}

impl Shape {
    fn index(&self, term: usize, column: usize) -> usize {
        match self.layout {
            Layout::ColumnByColumn => column * self.terms + term,
            Layout::TermByTerm => term * self.columns + column,
        }
    }
}

/// A matrix as the words that a panel is made of.
trait Words: Sync {
    /// Terms of a word.
    const TERMS: usize;

    fn shape(&self) -> Shape;

    /// A word of a column; what is beyond the last term is 0.
    fn word(&self, word: usize, column: usize) -> f32;

    /// 16 words of a column that are neighbours in memory.
    ///
    /// # Safety
    /// The CPU must have AVX-512, and the words must be in the matrix, whole.
    unsafe fn down(&self, word: usize, column: usize) -> __m512;

    /// A word of 16 columns that are neighbours in memory.
    ///
    /// # Safety
    /// As for [`down`](Self::down).
    unsafe fn across(&self, word: usize, column: usize) -> __m512;

    /// Up to 6 rows meet a panel.
    ///
    /// # Safety
    /// The CPU must have the instructions; `rows` rows of `x` and of `out` and the panel must be there, and nobody else may
    /// write this part of `out`.
    unsafe fn meet(tile: &Tile, rows: usize);
}

/// Terms in f32, or widened to it.
struct Wide<'a, T> {
    values: &'a [T],
    shape: Shape,
}

/// Pairs of terms in bf16.
struct Pairs<'a> {
    values: &'a [bf16],
    shape: Shape,
}

impl<T: Parameter> Words for Wide<'_, T> {
    const TERMS: usize = 1;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn word(&self, word: usize, column: usize) -> f32 {
        self.values[self.shape.index(word, column)].widen()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn down(&self, word: usize, column: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { T::load(fetch(self.values, self.shape.index(word, column), COLUMNS_AHEAD * self.shape.terms)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn across(&self, word: usize, column: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { T::load(fetch(self.values, self.shape.index(word, column), TERMS_AHEAD * self.shape.columns)) }
    }

    unsafe fn meet(tile: &Tile, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
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
}

impl Words for Pairs<'_> {
    const TERMS: usize = 2;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn word(&self, word: usize, column: usize) -> f32 {
        let term = |term: usize| match term < self.shape.terms {
            true => self.values[self.shape.index(term, column)],
            false => bf16::ZERO,
        };
        paired(term(2 * word), term(2 * word + 1))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn down(&self, word: usize, column: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            f32::load(fetch(self.values, self.shape.index(2 * word, column), COLUMNS_AHEAD * self.shape.terms).cast())
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn across(&self, word: usize, column: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let term =
                |term| halves(fetch(self.values, self.shape.index(term, column), TERMS_AHEAD * self.shape.columns));
            let (first, second) = (term(2 * word), term(2 * word + 1));
            _mm512_castsi512_ps(_mm512_or_si512(first, _mm512_slli_epi32(second, 16)))
        }
    }

    unsafe fn meet(tile: &Tile, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                1 => tile.multiply_pairs::<1>(),
                2 => tile.multiply_pairs::<2>(),
                3 => tile.multiply_pairs::<3>(),
                4 => tile.multiply_pairs::<4>(),
                5 => tile.multiply_pairs::<5>(),
                _ => tile.multiply_pairs::<ROWS>(),
            }
        }
    }
}

/// Where a value lies. The one `ahead` of it is fetched into the second-level cache: what comes before it is worked on would
/// not fit the first.
///
/// # Safety
/// The value must be there.
#[inline(always)]
unsafe fn fetch<T>(values: &[T], at: usize, ahead: usize) -> *const T {
    // SAFETY: the caller's promise; prefetching reads nothing.
    unsafe {
        let from = values.as_ptr().add(at);
        _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(ahead).cast());
        from
    }
}

/// A parameter as it lies in memory.
trait Parameter: Copy + Sync {
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
        _mm512_castsi512_ps(_mm512_slli_epi32(unsafe { halves(from) }, 16))
    }
}

/// 16 numbers of 16 bits, each in a word of its own.
///
/// # Safety
/// The CPU must have AVX-512, and 16 numbers must be there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(from: *const bf16) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(from.cast()) })
}

/// Some rows and columns of a result.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from one row of the result to the next.
    stride: usize,
    /// Words of a row of `x`.
    words: usize,
    add: bool,
}

impl Block {
    /// # Safety
    /// The CPU must have AVX-512 and what the words need; `x` must be `[n, words]`, and the block's columns in the matrix;
    /// nobody else may write the block's rows and columns of `out`.
    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<W: Words>(&self, out: Target, x: &[f32], matrix: &W, room: &mut [Line]) {
        let pieces = self.words.div_ceil(WORDS);
        let length = self.words.div_ceil(pieces.max(1));
        for first in (0..self.words).step_by(length.max(1)) {
            let words = first..(first + length).min(self.words);
            let count = words.len();
            // SAFETY: the words lie in the matrix, and the room is large enough for them.
            unsafe { self.lay_out(room, matrix, words) };
            let add = self.add || first > 0;
            let mut row = self.rows.start;
            while row < self.rows.end {
                let rows = (self.rows.end - row).min(ROWS);
                for (panel, column) in self.columns.clone().step_by(PANEL).enumerate() {
                    let width = (self.columns.end - column).min(PANEL);
                    let panel = room[panel * count * 4..].as_ptr().cast::<f32>();
                    // SAFETY: rows, words and columns lie in the slices; the panel was laid out above.
                    unsafe {
                        let x = x.as_ptr().add(row * self.words + first);
                        let out = out.at(row * self.stride + column);
                        let tile = Tile { panel, x, out, count, width, x_stride: self.words, stride: self.stride, add };
                        W::meet(&tile, rows);
                    }
                }
                row += rows;
            }
        }
    }

    /// Lays the panels out one after the other: for each word 64 columns, zeros after the last one. Reads the matrix along
    /// its rows, and fetches ahead, so that the memory is not waited for long.
    ///
    /// # Safety
    /// As for [`multiply`](Self::multiply); the words must lie in the matrix, and the room hold them.
    #[target_feature(enable = "avx512f")]
    unsafe fn lay_out<W: Words>(&self, room: &mut [Line], matrix: &W, words: Range<usize>) {
        let (first, first_word) = (self.columns.start, words.start);
        let (count, columns) = (words.len(), self.columns.len());
        let shape = matrix.shape();
        // An odd number of terms does not fill the last word of pairs.
        let whole = words.end.min(shape.terms / W::TERMS).saturating_sub(words.start);
        // The place of 16 columns of a word.
        let line = |word: usize, group: usize| (group / 4 * count + word) * 4 + group % 4;
        let groups = columns / 16;
        let done = match shape.layout {
            Layout::TermByTerm => {
                for i in 0..whole {
                    for group in 0..groups {
                        // SAFETY: 16 columns from here are in the matrix; a line holds 16 values and is aligned.
                        unsafe {
                            let values = matrix.across(words.start + i, first + 16 * group);
                            _mm512_store_ps(room[line(i, group)].0.as_mut_ptr(), values);
                        }
                    }
                }
                whole
            }
            Layout::ColumnByColumn => {
                for group in 0..groups {
                    for at in (0..whole / 16 * 16).step_by(16) {
                        let mut square = [_mm512_setzero_ps(); 16];
                        for (i, values) in square.iter_mut().enumerate() {
                            // SAFETY: 16 words from here are in the matrix.
                            *values = unsafe { matrix.down(words.start + at, first + 16 * group + i) };
                        }
                        for (i, values) in transpose(square).into_iter().enumerate() {
                            // SAFETY: a line holds 16 values and is aligned.
                            unsafe { _mm512_store_ps(room[line(at + i, group)].0.as_mut_ptr(), values) };
                        }
                    }
                }
                whole / 16 * 16
            }
        };
        // What is left: the last columns of all words, and the last words of the other columns.
        let panels = columns.div_ceil(PANEL);
        for (words, groups) in [(0..count, groups..4 * panels), (done..count, 0..groups)] {
            if groups.is_empty() {
                continue;
            }
            for word in words {
                for group in groups.clone() {
                    for (i, x) in room[line(word, group)].0.iter_mut().enumerate() {
                        let column = first + 16 * group + i;
                        *x = if column < self.columns.end { matrix.word(first_word + word, column) } else { 0.0 };
                    }
                }
            }
        }
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
    /// Words.
    count: usize,
    /// Columns.
    width: usize,
    x_stride: usize,
    stride: usize,
    add: bool,
}

/// Two functions that differ in the instruction that adds a product, and so in what they ask of the CPU. (Not one that takes
/// the instruction as a closure: it would not be inlined.)
macro_rules! multiply {
    ($name:ident, $features:literal, |$sum:ident, $column:ident, $x:ident| $step:expr) => {
        /// # Safety
        /// See [`Words::meet`].
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<const N: usize>(&self) {
            let mut sums = [[_mm512_setzero_ps(); 4]; N];
            // SAFETY: the rows are there.
            let rows: [*const f32; N] = std::array::from_fn(|row| unsafe { self.x.add(row * self.x_stride) });
            for word in 0..self.count {
                // SAFETY: the panel has 64 values a word, and a row of `x` has one; prefetching reads nothing.
                unsafe {
                    let panel = self.panel.add(word.wrapping_mul(PANEL));
                    for line in 0..4 {
                        _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD * PANEL + 16 * line).cast());
                    }
                    let columns = [0, 16, 32, 48].map(|at| _mm512_load_ps(panel.add(at)));
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let $x = _mm512_set1_ps(*row.add(word));
                        for ($sum, $column) in sums.iter_mut().zip(columns) {
                            *$sum = $step;
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
    };
}

impl Tile {
    multiply!(multiply, "avx512f", |sum, column, x| _mm512_fmadd_ps(column, x, *sum));
    multiply!(multiply_pairs, "avx512f,avx512bf16", |sum, column, x| {
        let pairs = [column, x].map(|words| std::mem::transmute::<__m512, __m512bh>(words));
        _mm512_dpbf16_ps(*sum, pairs[0], pairs[1])
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    /// Against sums in f64, at sizes with every kind of remainder, in f32 and in bf16.
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
            let narrow = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
            let widen = |values: &[bf16]| values.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
            let (x, matrix) = (draw(rows * terms), narrow(draw(terms * columns)));
            let (rounded, wide) = (widen(&narrow(x.clone())), widen(&matrix));
            let before = draw(rows * columns);
            for layout in [Layout::ColumnByColumn, Layout::TermByTerm] {
                let at = |term: usize, column: usize| match layout {
                    Layout::ColumnByColumn => column * terms + term,
                    Layout::TermByTerm => term * columns + column,
                };
                for add in [false, true] {
                    let run = |x: &[f32], matrix: Matrix<'_>, threads| {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        let mut out = before.clone();
                        pool.install(|| multiply(&mut out, x, matrix, (terms, columns), layout, add));
                        out
                    };
                    let (out, by_pairs) = (run(&x, Matrix::F32(&wide), 1), run(&rounded, Matrix::Bf16(&matrix), 1));
                    assert!(out == run(&x, Matrix::F32(&wide), 3), "threads");
                    assert!(by_pairs == run(&rounded, Matrix::Bf16(&matrix), 3), "threads, bf16");
                    if multiplies_pairs() {
                        assert!(by_pairs == run(&x, Matrix::Bf16(&matrix), 1), "rounding");
                    }
                    let cases = [(&x, &out), (&rounded, &by_pairs)];
                    for (x, (i, found)) in
                        cases.into_iter().flat_map(|(x, out)| out.iter().enumerate().map(move |found| (x, found)))
                    {
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
