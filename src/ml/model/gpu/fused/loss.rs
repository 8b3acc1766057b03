//! Cross-entropy on tensors of logits.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use crate::ml::model::CrossEntropy;
use crate::ml::model::cpu::kernels;
use candle_core::{DType, Result, Tensor};

/// For each row of `logits`, `[n, V]`, the loss and the logarithm of the partition function: `[n, 2]` in f32.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn cross_entropy(settings: CrossEntropy, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    run(&Losses(settings), &[logits, targets])
}

/// The gradient of the sum of the losses with respect to `logits`, `[n, V]`; `losses`, `[n, 2]`, is what [`cross_entropy`]
/// gave.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn cross_entropy_gradient(
    settings: CrossEntropy,
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
) -> Result<Tensor> {
    run(&LossGradient(settings), &[logits, targets, losses])
}

pub(super) struct Losses(pub(super) CrossEntropy);

pub(super) struct LossGradient(pub(super) CrossEntropy);

/// What the kernels know of the settings: the mass of the target and of each other word, what is subtracted from a loss, and
/// the factor of the z-loss.
fn numbers(settings: CrossEntropy, vocab: usize, launch: Launch) -> Launch {
    let (high, low, constant) = settings.shares(vocab);
    launch.float(high).float(low).float(constant).float(settings.z_loss)
}

fn check(kernel: &'static str, logits: &Operand<'_>, targets: &Operand<'_>) -> Result<(usize, usize)> {
    let [rows, vocab] = logits.floats(kernel)?;
    require(kernel, targets.ids(kernel)? == [rows], "a target for each row is missing")?;
    Ok((rows, vocab))
}

impl Operation for Losses {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "cross_entropy";
        let (rows, vocab) = check(kernel, &operands[0], &operands[1])?;
        let launch = Launch::by_blocks(kernel, rows, DType::F32, &[rows, 2]).sizes(&[rows, vocab])?;
        Ok(numbers(self.0, vocab, launch))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (logits, targets) = (operands[0].floats(), operands[1].ids());
        let (rows, vocab) = (out.dims[0], logits.len() / out.dims[0]);
        let mut losses = vec![0.0; rows];
        kernels::cross_entropy(self.0, &mut losses, &mut logits.to_vec(), targets, vocab);
        let log_z = |logits: &[f32]| {
            let top = kernels::largest(logits);
            top + logits.iter().map(|x| kernels::exp(x - top)).sum::<f32>().ln()
        };
        Output::Floats(losses.into_iter().zip(logits.chunks_exact(vocab)).flat_map(|(l, x)| [l, log_z(x)]).collect())
    }
}

impl Operation for LossGradient {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "cross_entropy_gradient";
        let [logits, targets, losses] = operands else { panic!("three operands") };
        let (rows, vocab) = check(kernel, logits, targets)?;
        let fits = losses.floats(kernel)? == [rows, 2] && losses.dtype == DType::F32;
        require(kernel, fits, "losses that do not fit the logits")?;
        let launch = Launch::by_blocks(kernel, rows, logits.dtype, logits.dims).sizes(&[rows, vocab])?;
        Ok(numbers(self.0, vocab, launch))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let mut logits = operands[0].floats().to_vec();
        let mut losses = vec![0.0; out.dims[0]];
        kernels::cross_entropy(self.0, &mut losses, &mut logits, operands[1].ids(), out.dims[1]);
        Output::Floats(logits)
    }
}
