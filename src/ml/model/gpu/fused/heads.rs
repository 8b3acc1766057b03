//! From packed rows to padded heads and back.
//!
//! Linear layers work on the rows of all examples, one after the other; attention on `[B, H, L, D]`, where what is beyond
//! the end of an example is 0.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use candle_core::{Result, Tensor};

/// The heads of the columns from `column` on of `x`, `[n, C]`, as `[B, H, L, D]`. `starts`, `[B + 1]`: where each example
/// begins among the rows, and at last where the last one ends.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn split_heads(
    x: &Tensor,
    starts: &Tensor,
    column: usize,
    (heads, width): (usize, usize),
    longest: usize,
) -> Result<Tensor> {
    run(&Split { column, heads, width, longest }, &[x, starts])
}

/// The rows `places`, `[n, 2]` (an example and its row), of each of `parts`, `[B, H, L, D]`, side by side:
/// `[n, parts·H·D]`. Beyond the end of an example rows are 0.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn merge_heads(parts: &[&Tensor], places: &Tensor) -> Result<Tensor> {
    let merge = Merge { parts: parts.len() };
    let first = parts[0];
    let at = |part: usize| *parts.get(part).unwrap_or(&first);
    run(&merge, &[first, at(1), at(2), places])
}

pub(super) struct Split {
    pub(super) column: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
    pub(super) longest: usize,
}

/// Up to three parts; the kernel has three arguments for them, and looks at this many of them.
pub(super) struct Merge {
    pub(super) parts: usize,
}

impl Operation for Split {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "split_heads";
        let Self { column, heads, width, longest } = *self;
        let [rows, columns] = operands[0].floats(kernel)?;
        let [starts] = operands[1].ids(kernel)?;
        let fits = starts > 1 && longest > 0 && heads * width > 0 && column + heads * width <= columns;
        require(kernel, fits, "heads that are not among the columns")?;
        let dims = [starts - 1, heads, longest, width];
        let launch = Launch::by_warps(kernel, (starts - 1) * heads * longest, operands[0].dtype, &dims);
        launch.sizes(&[starts - 1, heads, longest, width, rows, columns, column])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (x, starts) = (operands[0].floats(), operands[1].ids());
        let Self { column, heads, width, longest } = *self;
        let columns = out.size(5);
        let mut y = vec![0.0; out.len()];
        for (i, y) in y.chunks_exact_mut(width).enumerate() {
            let (example, head, row) = (i / (heads * longest), i / longest % heads, i % longest);
            let row = starts[example] as usize + row;
            if row < starts[example + 1] as usize {
                y.copy_from_slice(&x[row * columns + column + head * width..][..width]);
            }
        }
        Output::Floats(y)
    }
}

impl Operation for Merge {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "merge_heads";
        let [first, second, third, places] = operands else { panic!("four operands") };
        let [batch, heads, longest, width] = first.floats(kernel)?;
        second.is_like(first, kernel)?;
        third.is_like(first, kernel)?;
        require(kernel, (1..=3).contains(&self.parts), "a number of parts that is not 1 to 3")?;
        let [rows, two] = places.ids(kernel)?;
        require(kernel, two == 2, "places that are not pairs")?;
        let dims = [rows, self.parts * heads * width];
        let launch = Launch::by_warps(kernel, rows * self.parts * heads, first.dtype, &dims);
        launch.sizes(&[rows, self.parts, heads, width, batch, longest])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let [rows, parts, heads, width, batch, longest] = std::array::from_fn(|i| out.size(i));
        let places = operands[3].ids();
        let mut y = Vec::with_capacity(out.len());
        for row in 0..rows {
            let (example, at) = (places[2 * row] as usize, places[2 * row + 1] as usize);
            for part in &operands[..parts] {
                for head in 0..heads {
                    let start = ((example * heads + head) * longest + at) * width;
                    match example < batch && at < longest {
                        true => y.extend_from_slice(&part.floats()[start..start + width]),
                        false => y.resize(y.len() + width, 0.0),
                    }
                }
            }
        }
        Output::Floats(y)
    }
}
