//! Matrix products, on the `gemm` crate.

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
    /// Multiplies.
    ///
    /// # Panics
    /// If a view does not lie in its slice.
    pub fn run(&self, out: &mut [f32], left: &[f32], right: &[f32]) {
        let (rows, columns, _) = self.size;
        assert!(out.len() >= self.out.0 + extent((rows, self.out.1), (columns, 1)), "product does not fit its place");
        // SAFETY: `out` is exclusively borrowed, and its extent was checked just above.
        unsafe { self.run_at(out.as_mut_ptr(), left, right) };
    }

    /// Multiplies into a place that other threads write too, at other elements.
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

/// `y = x · weightᵀ` with `x` `[n, inputs]`, `weight` `[outputs, inputs]`, `y` `[n, outputs]`.
pub fn linear(y: &mut [f32], x: &[f32], weight: &[f32], inputs: usize) {
    forward(y, x, weight, inputs, false);
}

/// `y += x · weightᵀ`: a linear layer that ends a residual branch.
pub fn linear_add(y: &mut [f32], x: &[f32], weight: &[f32], inputs: usize) {
    forward(y, x, weight, inputs, true);
}

fn forward(y: &mut [f32], x: &[f32], weight: &[f32], inputs: usize, add: bool) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    row_by_row(y, x, weight, (rows, outputs, inputs), (1, inputs), add);
}

/// `d_x = [d_x +] d_y · weight`.
pub fn linear_backward(d_x: &mut [f32], d_y: &[f32], weight: &[f32], inputs: usize, add: bool) {
    let outputs = weight.len() / inputs;
    row_by_row(d_x, d_y, weight, (d_y.len() / outputs, inputs, outputs), (inputs, 1), add);
}

/// `out = [out +] left · right`, where a row of the result does not depend, to the bit, on how many rows there are.
///
/// `gemm` has kernels of their own, which add up in another order, for one row and for up to 256 results, and cuts sums
/// of more than 512 terms at other places if the result is at most 64 by 64. Rows of zeros lead past these cases.
fn row_by_row(
    out: &mut [f32],
    left: &[f32],
    right: &[f32],
    (rows, columns, shared): (usize, usize, usize),
    (right_row, right_column): (usize, usize),
    add: bool,
) {
    let product = |rows| Matmul {
        size: (rows, columns, shared),
        left: (0, shared, 1),
        right: (0, right_row, right_column),
        out: (0, columns),
        add,
        parallel: true,
    };
    let enough = if shared > 512 && columns <= 64 { 65 } else { (256 / columns.max(1) + 1).max(2) };
    if rows == 0 || rows >= enough {
        return product(rows).run(out, left, right);
    }
    let (mut more_left, mut more_out) = (vec![0.0; enough * shared], vec![0.0; enough * columns]);
    more_left[..rows * shared].copy_from_slice(&left[..rows * shared]);
    more_out[..rows * columns].copy_from_slice(&out[..rows * columns]);
    product(enough).run(&mut more_out, &more_left, right);
    out[..rows * columns].copy_from_slice(&more_out[..rows * columns]);
}

/// `d_weight += d_yᵀ · x`.
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

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let mut stream = Stream::new(1, "rows");
        for (inputs, outputs) in [(5, 7), (16, 45), (45, 16), (64, 64), (80, 600), (600, 80), (700, 33), (33, 700)] {
            let (x, weight) = (random(150 * inputs, &mut stream), random(outputs * inputs, &mut stream));
            let (d_y, before) = (random(150 * outputs, &mut stream), random(150 * outputs, &mut stream));
            let run = |rows: usize| {
                let (x, d_y) = (&x[..rows * inputs], &d_y[..rows * outputs]);
                let (mut y, mut added, mut d_x) =
                    (vec![0.0; rows * outputs], before[..rows * outputs].to_vec(), vec![0.0; rows * inputs]);
                linear(&mut y, x, &weight, inputs);
                linear_add(&mut added, x, &weight, inputs);
                linear_backward(&mut d_x, d_y, &weight, inputs, false);
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
}
