//! The forms in which people keep prompts, told apart by how a file begins.

use super::about::About;
use super::file::PromptFile;
use super::saved::tensors;
use super::{npy, peft};
use crate::ml::error::{Error, Result};

/// A prompt file of any form, told apart by how it begins.
///
/// # Errors
/// If it is damaged, or a part of a PEFT adapter, whose rows are not all of the prompt.
pub fn read(bytes: &[u8]) -> Result<PromptFile> {
    if bytes.starts_with(npy::SIGNATURE) {
        return Ok(PromptFile::of(npy::read(bytes)?, About::default()));
    }
    let file = tensors(bytes)?;
    match file.prompts.get(peft::TENSOR) {
        None => Ok(file),
        Some(prompt) => Err(Error::Prompt(format!(
            "the tensor `{}` has shape [{}, {}]; it is of a PEFT adapter, which keeps a prompt once or twice: name the adapter's \
             folder, whose `{}` says which (`spot prompt import FOLDER` makes a file of it)",
            peft::TENSOR,
            prompt.length(),
            prompt.width,
            peft::CONFIG
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::Prompt;
    use crate::ml::prompt::file::PROMPT;

    #[test]
    fn npy_is_told_by_its_first_bytes() {
        let prompt = Prompt { values: vec![1.0, -2.5, 3.0, 4.0, 0.0, 6.0], width: 3 };
        assert_eq!(read(&npy::write(&prompt)).unwrap().prompt(PROMPT).unwrap(), &prompt);
    }

    #[test]
    fn a_part_of_an_adapter_and_a_pointer_are_no_prompts() {
        let prompt = Prompt { values: vec![1.0; 6], width: 3 };
        let bytes =
            PromptFile { prompts: [(peft::TENSOR.to_owned(), prompt)].into(), ..PromptFile::default() }.to_bytes();
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains("`prompt_embeddings` has shape [2, 3]; it is of a PEFT adapter"), "{error}");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70\n";
        assert!(
            read(pointer).unwrap_err().to_string().starts_with("a Git LFS pointer in place of the file of 70 bytes")
        );
    }
}
