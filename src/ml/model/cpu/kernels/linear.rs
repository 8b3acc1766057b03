//! Matrix products, on the `gemm` crate.

use super::kept::{round, widen};
#[cfg(target_arch = "x86_64")]
use super::panels;
use half::bf16;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

/// One matrix product `out = [out +] scale · left · right` on strided views of f32 slices.
pub struct Matmul {
    /// Rows of `left`, columns of `right`, and the length they share.
    pub size: (usize, usize, usize),
    /// Offset, row stride and column stride of `left`.
    pub left: (usize, usize, usize),
    /// Offset, row stride and column stride of `right`.
    pub right: (usize, usize, usize),
    /// Offset and row stride of `out`; its columns are adjacent.
    pub out: (usize, usize),
    /// Add to what is in `out`.
    pub add: bool,
    /// Use the threads of the current pool.
    pub parallel: bool,
}

impl Matmul {
    /// Multiplies: with `size` (n, m, k) `left` is a view `[n, k]`, `right` `[k, m]` and `out` `[n, m]`.
    ///
    /// # Panics
    /// If a view does not lie in its slice.
    pub fn run(&self, out: &mut [f32], left: &[f32], right: &[f32]) {
        let (rows, columns, _) = self.size;
        assert!(out.len() >= self.out.0 + extent((rows, self.out.1), (columns, 1)), "product does not fit its place");
        // SAFETY: `out` is exclusively borrowed, and its extent was checked just above.
        unsafe { self.run_at(out.as_mut_ptr(), left, right) };
    }

    /// As [`run`](Self::run), into a view `[n, m]` of a place that other threads write too, at other elements.
    ///
    /// # Safety
    /// From `out` on, the view described by `self.out` must be valid for writes, and no other thread may touch its
    /// elements meanwhile.
    ///
    /// # Panics
    /// If `left` or `right` is shorter than its view.
    pub unsafe fn run_at(&self, out: *mut f32, left: &[f32], right: &[f32]) {
        let (rows, columns, shared) = self.size;
        let (left_at, left_row, left_column) = self.left;
        let (right_at, right_row, right_column) = self.right;
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(left.len() >= left_at + extent((rows, left_row), (shared, left_column)), "left factor is too short");
        assert!(
            right.len() >= right_at + extent((shared, right_row), (columns, right_column)),
            "right factor is too short"
        );
        let threads = rayon::current_num_threads();
        let parallelism =
            if self.parallel && threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
        // SAFETY: the extents of both factors were checked above, that of `out` is the caller's promise.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                shared,
                out.add(self.out.0),
                1,
                self.out.1 as isize,
                self.add,
                left.as_ptr().add(left_at),
                left_column as isize,
                left_row as isize,
                right.as_ptr().add(right_at),
                right_column as isize,
                right_row as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// Elements from the first to the last of a strided view, inclusive.
fn extent((rows, row_stride): (usize, usize), (columns, column_stride): (usize, usize)) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

/// A matrix of parameters, row by row, as it lies in memory. What is multiplied with bf16 is rounded to bf16; the products
/// are added up in f32.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In half the memory.
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for Matrix<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

/// Parameters that are widened at one time: 4 MiB of f32.
const WIDENED: usize = 1 << 20;

thread_local! {
    static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<'a> Matrix<'a> {
    /// Some of the parameters, `[n]`.
    pub fn part(self, range: Range<usize>) -> Matrix<'a> {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the parameters from `start` on, `[n]` for `n` of `out`.
    pub fn copy_to(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::F32(values) => out.copy_from_slice(&values[start..start + out.len()]),
            Self::Bf16(values) => widen(out, &values[start..start + out.len()]),
        }
    }

    /// Calls `body` with the first row and the values of blocks of whole rows, `width` long each.
    fn blocks(&self, width: usize, mut body: impl FnMut(usize, &[f32])) {
        match self {
            Self::F32(values) => body(0, values),
            Self::Bf16(values) => WIDE.with_borrow_mut(|wide| {
                let rows = (WIDENED / width).max(1);
                for (i, block) in values.chunks(rows * width).enumerate() {
                    wide.resize(block.len().max(wide.len()), 0.0);
                    widen(&mut wide[..block.len()], block);
                    body(i * rows, &wide[..block.len()]);
                }
            }),
        }
    }
}

/// `y = x · weightᵀ` with `x` `[n, inputs]`, `weight` `[outputs, inputs]`, `y` `[n, outputs]`.
pub fn linear(y: &mut [f32], x: &[f32], weight: Matrix<'_>, inputs: usize) {
    forward(y, x, weight, inputs, false);
}

/// `y += x · weightᵀ`, shaped as in [`linear`]: `y` `[n, outputs]`. A linear layer that ends a residual branch.
pub fn linear_add(y: &mut [f32], x: &[f32], weight: Matrix<'_>, inputs: usize) {
    forward(y, x, weight, inputs, true);
}

fn forward(y: &mut [f32], x: &[f32], weight: Matrix<'_>, inputs: usize, add: bool) {
    let x = rounded(x, weight);
    #[cfg(target_arch = "x86_64")]
    if panels::available() {
        let outputs = weight.len() / inputs;
        return panels::multiply(y, &x, weight, (inputs, outputs), panels::Layout::ColumnByColumn, add);
    }
    forward_by_gemm(y, &x, weight, inputs, add);
}

/// What is multiplied with this matrix: rounded to bf16 if the matrix is bf16, the nearest and of two the even one, unless
/// the product does that itself.
fn rounded<'x>(x: &'x [f32], weight: Matrix<'_>) -> Cow<'x, [f32]> {
    #[cfg(target_arch = "x86_64")]
    if panels::multiplies_pairs() {
        return Cow::Borrowed(x);
    }
    match weight {
        Matrix::F32(_) => Cow::Borrowed(x),
        Matrix::Bf16(_) => {
            let mut x = x.to_vec();
            round(&mut x);
            Cow::Owned(x)
        }
    }
}

fn forward_by_gemm(y: &mut [f32], x: &[f32], weight: Matrix<'_>, inputs: usize, add: bool) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    weight.blocks(inputs, |first, block| {
        let product = Matmul {
            size: (rows, block.len() / inputs, inputs),
            left: (0, inputs, 1),
            right: (0, 1, inputs),
            out: (first, outputs),
            add,
            parallel: true,
        };
        row_by_row(&product, y, x, block);
    });
}

/// `d_x = [d_x +] d_y · weight`, with `d_x` `[n, inputs]`, `d_y` `[n, outputs]`.
pub fn linear_backward(d_x: &mut [f32], d_y: &[f32], weight: Matrix<'_>, inputs: usize, add: bool) {
    let d_y = rounded(d_y, weight);
    #[cfg(target_arch = "x86_64")]
    if panels::available() {
        let outputs = weight.len() / inputs;
        return panels::multiply(d_x, &d_y, weight, (outputs, inputs), panels::Layout::TermByTerm, add);
    }
    backward_by_gemm(d_x, &d_y, weight, inputs, add);
}

fn backward_by_gemm(d_x: &mut [f32], d_y: &[f32], weight: Matrix<'_>, inputs: usize, add: bool) {
    let outputs = weight.len() / inputs;
    let rows = d_y.len() / outputs;
    weight.blocks(inputs, |first, block| {
        let product = Matmul {
            size: (rows, inputs, block.len() / inputs),
            left: (first, outputs, 1),
            right: (0, inputs, 1),
            out: (0, inputs),
            add: add || first > 0,
            parallel: true,
        };
        row_by_row(&product, d_x, d_y, block);
    });
}

/// Multiplies so that a row of the result does not depend, to the bit, on how many rows there are.
///
/// `gemm` has kernels of their own, which add up in another order, for one row and for up to 256 results, and cuts sums
/// of more than 512 terms at other places if the result is at most 64 by 64. Rows of zeros lead past these cases.
fn row_by_row(product: &Matmul, out: &mut [f32], left: &[f32], right: &[f32]) {
    let (rows, columns, shared) = product.size;
    let enough = if shared > 512 && columns <= 64 { 65 } else { (256 / columns.max(1) + 1).max(2) };
    if rows == 0 || rows >= enough {
        return product.run(out, left, right);
    }
    let (mut more_left, mut more_out) = (vec![0.0; enough * shared], vec![0.0; enough * columns]);
    let (left_at, left_row, _) = product.left;
    let (out_at, out_row) = product.out;
    for row in 0..rows {
        let (from, to) = (left_at + row * left_row, out_at + row * out_row);
        more_left[row * shared..][..shared].copy_from_slice(&left[from..from + shared]);
        more_out[row * columns..][..columns].copy_from_slice(&out[to..to + columns]);
    }
    let padded = Matmul { size: (enough, columns, shared), left: (0, shared, 1), out: (0, columns), ..*product };
    padded.run(&mut more_out, &more_left, right);
    for row in 0..rows {
        let to = out_at + row * out_row;
        out[to..to + columns].copy_from_slice(&more_out[row * columns..][..columns]);
    }
}

/// `d_weight += d_yᵀ · x`, with `d_weight` `[outputs, inputs]`, `d_y` `[n, outputs]`, `x` `[n, inputs]`.
pub fn linear_weight_gradient(d_weight: &mut [f32], d_y: &[f32], x: &[f32], inputs: usize) {
    let outputs = d_weight.len() / inputs;
    Matmul {
        size: (outputs, inputs, x.len() / inputs),
        left: (0, 1, outputs),
        right: (0, inputs, 1),
        out: (0, inputs),
        add: true,
        parallel: true,
    }
    .run(d_weight, d_y, x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    fn random(len: usize, stream: &mut Stream) -> Vec<f32> {
        (0..len).map(|_| stream.normal() as f32).collect()
    }

    type Product = fn(&mut [f32], &[f32], Matrix<'_>, usize, bool);

    /// What this CPU uses, and what a CPU without AVX-512 does.
    const PRODUCTS: [(Product, Product); 2] = [(forward, linear_backward), (forward_by_gemm, backward_by_gemm)];

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        for product in PRODUCTS {
            rows_stand_alone(product);
        }
    }

    fn rows_stand_alone((forward, backward): (Product, Product)) {
        let mut stream = Stream::new(1, "rows");
        for (inputs, outputs) in [(5, 7), (16, 45), (45, 16), (64, 64), (80, 600), (600, 80), (700, 33), (33, 700)] {
            let (x, weight) = (random(150 * inputs, &mut stream), random(outputs * inputs, &mut stream));
            let weight = Matrix::F32(&weight);
            let (d_y, before) = (random(150 * outputs, &mut stream), random(150 * outputs, &mut stream));
            let run = |rows: usize| {
                let (x, d_y) = (&x[..rows * inputs], &d_y[..rows * outputs]);
                let (mut y, mut added, mut d_x) =
                    (vec![0.0; rows * outputs], before[..rows * outputs].to_vec(), vec![0.0; rows * inputs]);
                forward(&mut y, x, weight, inputs, false);
                forward(&mut added, x, weight, inputs, true);
                backward(&mut d_x, d_y, weight, inputs, false);
                (y, added, d_x)
            };
            let all = run(150);
            for rows in [1, 2, 3, 4, 5, 8, 15, 16, 17, 40, 64, 65, 66, 100] {
                let some = run(rows);
                assert!(all.0[..some.0.len()] == some.0, "{rows} rows of {inputs} to {outputs}");
                assert!(all.1[..some.1.len()] == some.1, "{rows} rows of {inputs} to {outputs}, added");
                assert!(all.2[..some.2.len()] == some.2, "{rows} rows of {inputs} to {outputs}, backward");
            }
        }
    }

    /// But for the order in which products are added.
    #[test]
    fn bf16_is_the_same_matrix_in_f32() {
        for product in PRODUCTS {
            bf16_stands_for_f32(product);
        }
    }

    fn bf16_stands_for_f32((forward, backward): (Product, Product)) {
        let mut stream = Stream::new(2, "bf16");
        let (rows, inputs, outputs) = (5, 96, WIDENED / 96 + 40);
        let narrow: Vec<bf16> = (0..inputs * outputs).map(|_| bf16::from_f32(stream.normal() as f32)).collect();
        let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
        let mut rounded =
            |len: usize| random(len, &mut stream).into_iter().map(|x| bf16::from_f32(x).to_f32()).collect::<Vec<_>>();
        let (x, d_y) = (rounded(rows * inputs), rounded(rows * outputs));
        let run = |weight: Matrix<'_>| {
            let (mut y, mut d_x) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            forward(&mut y, &x, weight, inputs, false);
            backward(&mut d_x, &d_y, weight, inputs, false);
            [y, d_x]
        };
        for (found, expected) in run(Matrix::Bf16(&narrow)).iter().zip(&run(Matrix::F32(&wide))) {
            let length = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            assert!(apart < 1e-5 * length, "{}", apart / length);
        }
    }

    #[test]
    fn what_meets_bf16_is_rounded_to_bf16() {
        let mut stream = Stream::new(3, "rounded");
        let (rows, inputs, outputs) = (3, 33, 70);
        let narrow: Vec<bf16> = (0..inputs * outputs).map(|_| bf16::from_f32(stream.normal() as f32)).collect();
        let (x, d_y) = (random(rows * inputs, &mut stream), random(rows * outputs, &mut stream));
        let round = |x: &[f32]| x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect::<Vec<_>>();
        let run = |x: &[f32], d_y: &[f32]| {
            let (mut y, mut d_x) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            linear(&mut y, x, Matrix::Bf16(&narrow), inputs);
            linear_backward(&mut d_x, d_y, Matrix::Bf16(&narrow), inputs, false);
            (y, d_x)
        };
        assert!(run(&x, &d_y) == run(&round(&x), &round(&d_y)));
    }
}
