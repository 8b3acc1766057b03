//! The non-linearities of the feed-forward layers, on tensors.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use crate::ml::model::cpu::kernels::{self, Activation};
use candle_core::{Result, Tensor};

/// `[n, F]` from the inner layer, `[n, 2F]` or `[n, F]`.
///
/// # Errors
/// If the tensor has another shape or type, or the device fails.
pub(crate) fn activate(activation: Activation, inner: &Tensor) -> Result<Tensor> {
    run(&Activate(activation), &[inner])
}

/// The gradient of the inner layer, `[n, 2F]` or `[n, F]`, given that of what [`activate`] makes of it, `[n, F]`.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn activate_backward(activation: Activation, inner: &Tensor, d_y: &Tensor) -> Result<Tensor> {
    run(&ActivateBackward(activation), &[inner, d_y])
}

pub(super) struct Activate(pub(super) Activation);

pub(super) struct ActivateBackward(pub(super) Activation);

impl Operation for Activate {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = match self.0 {
            Activation::GatedGelu => "gated_gelu",
            Activation::GatedSilu => "gated_silu",
            Activation::Relu => "relu",
        };
        let [rows, inner] = operands[0].floats(kernel)?;
        let ff = inner / self.0.inner(1);
        require(kernel, ff * self.0.inner(1) == inner, "an odd number of columns")?;
        Launch::by_warps(kernel, rows, operands[0].dtype, &[rows, ff]).sizes(&[rows, ff])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let mut y = vec![0.0; out.len()];
        kernels::activate(self.0, &mut y, operands[0].floats(), out.dims[1]);
        Output::Floats(y)
    }
}

impl Operation for ActivateBackward {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = match self.0 {
            Activation::GatedGelu => "gated_gelu_backward",
            Activation::GatedSilu => "gated_silu_backward",
            Activation::Relu => "relu_backward",
        };
        let [inner, d_y] = operands else { panic!("two operands") };
        let [rows, ff] = d_y.floats(kernel)?;
        let fits = inner.floats(kernel)? == [rows, ff * self.0.inner(1)] && inner.dtype == d_y.dtype;
        require(kernel, fits, "a gradient that does not fit the inner layer")?;
        Launch::by_warps(kernel, rows, inner.dtype, inner.dims).sizes(&[rows, ff])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let mut inner = operands[0].floats().to_vec();
        kernels::activate_backward(self.0, &mut inner, operands[1].floats(), out.dims[1] / self.0.inner(1));
        Output::Floats(inner)
    }
}
