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
        let (rows, columns, shared) = self.size;
        assert!(out.len() >= self.out.0 + extent((rows, self.out.1), (columns, 1)), "product does not fit its place");
        // SAFETY: `out` is exclusively borrowed, and its extent was checked just above.
        unsafe { self.run_at(out.as_mut_ptr(), left, right) };
        let _ = shared;
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
        if rows == 0 || columns == 0 || shared == 0 {
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
    Matmul {
        size: (rows, outputs, inputs),
        left: (0, inputs, 1),
        right: (0, 1, inputs),
        out: (0, outputs),
        add,
        parallel: true,
    }
    .run(y, x, weight);
}

/// `d_x = [d_x +] d_y · weight`.
pub fn linear_backward(d_x: &mut [f32], d_y: &[f32], weight: &[f32], inputs: usize, add: bool) {
    let outputs = weight.len() / inputs;
    Matmul {
        size: (d_y.len() / outputs, inputs, outputs),
        left: (0, outputs, 1),
        right: (0, inputs, 1),
        out: (0, inputs),
        add,
        parallel: true,
    }
    .run(d_x, d_y, weight);
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
