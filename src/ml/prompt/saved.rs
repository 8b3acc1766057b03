//! Prompts that `torch.save` wrote.

use super::file::{PROMPT, PromptFile, matrix, unlike};
use super::number::Number;
use crate::ml::error::{Error, Result};
use crate::ml::torch::{self, Contents};
use safetensors::tensor::TensorView;

/// The most matrices of a torch file that are prompts. More are the weights of a model.
const MATRICES: usize = 64;

/// The prompts of a file of `torch.save`: a tensor, or all matrices of fractions among what a dict holds.
///
/// # Errors
/// If the file is damaged or holds anything but tensors and plain values, or no matrix, or more than some runs leave.
pub fn from_torch(bytes: &[u8]) -> Result<PromptFile> {
    let tensors = match torch::read(bytes)? {
        Contents::Bare(tensor) => vec![(PROMPT.to_owned(), tensor)],
        Contents::Named(tensors) => tensors,
    };
    let is_matrix = |view: &TensorView<'_>| view.shape().len() == 2 && Number::of(view.dtype()).is_some();
    let matrices: Vec<_> = tensors.iter().filter(|(_, view)| is_matrix(view)).collect();
    match (&matrices[..], &tensors[..]) {
        ([], [(name, view), ..]) => return Err(unlike(name, view.shape(), view.dtype())),
        (matrices, _) if matrices.len() > MATRICES => {
            return Err(Error::Prompt(format!(
                "{} matrices are the weights of a model, expected a prompt",
                matrices.len()
            )));
        }
        _ => {}
    }
    let mut file = PromptFile::default();
    for (name, view) in matrices {
        if file.prompts.insert(name.clone(), matrix(name, view)?).is_some() {
            return Err(Error::Prompt(format!("the file has two tensors `{name}`")));
        }
    }
    Ok(file)
}

/// Safetensors or a file of `torch.save`, told apart by how it begins.
///
/// # Errors
/// If the file is damaged, or a tensor is not a prompt.
pub fn tensors(bytes: &[u8]) -> Result<PromptFile> {
    if torch::is(bytes) { from_torch(bytes) } else { PromptFile::from_bytes(bytes) }
}
