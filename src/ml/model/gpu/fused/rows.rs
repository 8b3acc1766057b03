//! Sums of rows, and where rows are highest.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use candle_core::{DType, Result, Tensor};

/// Sums of rows of `x`, `[n, E]`, in f32 and in the order in which they are named: row `i` of the result, `[R, E]`, is the
/// sum of `x[named[j]]` for `j` from `starts[i]` to `starts[i + 1]`.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn sum_rows(x: &Tensor, starts: &Tensor, named: &Tensor) -> Result<Tensor> {
    run(&SumRows, &[x, starts, named])
}

/// Where each row of `x`, `[n, V]`, is highest; the first such place.
///
/// # Errors
/// If the tensor has another shape or type, or the device fails.
pub(crate) fn highest(x: &Tensor) -> Result<Tensor> {
    run(&Highest, &[x])
}

pub(super) struct SumRows;

pub(super) struct Highest;

impl Operation for SumRows {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "sum_rows";
        let [rows, width] = operands[0].floats(kernel)?;
        let [starts] = operands[1].ids(kernel)?;
        let [named] = operands[2].ids(kernel)?;
        require(kernel, starts > 1, "no sums")?;
        let sums = starts - 1;
        let launch = Launch::by_warps(kernel, sums, DType::F32, &[sums, width]);
        launch.sizes(&[sums, width, rows, named])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (x, starts, named) = (operands[0].floats(), operands[1].ids(), operands[2].ids());
        let width = out.dims[1];
        let mut sums = vec![0.0; out.len()];
        for (sum, bounds) in sums.chunks_exact_mut(width).zip(starts.windows(2)) {
            for row in &named[bounds[0] as usize..bounds[1] as usize] {
                sum.iter_mut().zip(&x[*row as usize * width..]).for_each(|(sum, x)| *sum += x);
            }
        }
        Output::Floats(sums)
    }
}

impl Operation for Highest {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "highest";
        let [rows, width] = operands[0].floats(kernel)?;
        Launch::by_blocks(kernel, rows, DType::U32, &[rows]).sizes(&[rows, width])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let width = out.size(1);
        let highest = |x: &[f32]| {
            let mut best = (0, f32::NEG_INFINITY);
            for (at, x) in x.iter().enumerate() {
                if *x > best.1 {
                    best = (at, *x);
                }
            }
            best.0 as u32
        };
        Output::Ids(operands[0].floats().chunks_exact(width).map(highest).collect())
    }
}
