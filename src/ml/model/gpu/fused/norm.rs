//! The RMS norm, on tensors.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use crate::ml::model::cpu::kernels;
use candle_core::{DType, Result, Tensor};

/// `x / sqrt(mean(x²) + epsilon) · scale` for each row of `x`, `[n, E]`; `scale`, `[E]`, is f32.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn rms_norm(x: &Tensor, scale: &Tensor, epsilon: f32) -> Result<Tensor> {
    run(&Norm { epsilon }, &[x, scale])
}

/// `d_x +` the gradient of [`rms_norm`] with respect to `x`, given that of its result, `d_y`: all `[n, E]`.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn rms_norm_backward(
    d_x: &Tensor,
    d_y: &Tensor,
    x: &Tensor,
    scale: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    run(&NormBackward { epsilon }, &[d_x, d_y, x, scale])
}

pub(super) struct Norm {
    pub(super) epsilon: f32,
}

pub(super) struct NormBackward {
    pub(super) epsilon: f32,
}

fn check(kernel: &'static str, x: &Operand<'_>, scale: &Operand<'_>) -> Result<(usize, usize)> {
    let [rows, width] = x.floats(kernel)?;
    let [scales] = scale.floats(kernel)?;
    require(kernel, scale.dtype == DType::F32 && scales == width, "a scale that does not fit the rows")?;
    Ok((rows, width))
}

impl Operation for Norm {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "norm";
        let (rows, width) = check(kernel, &operands[0], &operands[1])?;
        let launch = Launch::by_warps(kernel, rows, operands[0].dtype, operands[0].dims);
        Ok(launch.sizes(&[rows, width])?.float(self.epsilon))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (mut y, mut inverse) = (vec![0.0; out.len()], vec![0.0; out.dims[0]]);
        kernels::rms_norm(&mut y, &mut inverse, operands[0].floats(), operands[1].floats(), self.epsilon);
        Output::Floats(y)
    }
}

impl Operation for NormBackward {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "norm_backward";
        let [d_x, d_y, x, scale] = operands else { panic!("four operands") };
        let (rows, width) = check(kernel, x, scale)?;
        d_x.is_like(x, kernel)?;
        d_y.is_like(x, kernel)?;
        Ok(Launch::by_warps(kernel, rows, x.dtype, x.dims).sizes(&[rows, width])?.float(self.epsilon))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let [d_x, d_y, x, scale] = operands else { panic!("four operands") };
        let mut d_x = d_x.floats().to_vec();
        let (mut y, mut inverse) = (vec![0.0; out.len()], vec![0.0; out.dims[0]]);
        kernels::rms_norm(&mut y, &mut inverse, x.floats(), scale.floats(), self.epsilon);
        kernels::rms_norm_backward(&mut d_x, d_y.floats(), x.floats(), &inverse, scale.floats());
        Output::Floats(d_x)
    }
}
