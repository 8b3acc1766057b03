//! What can go wrong in models and learning, in the words of someone who can act on it.

use safetensors::SafeTensorError;

/// An error of the mathematics half of the program; the stage that meets it adds the file or job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two labels that a tokenizer does not tell apart.
    #[error(
        "the labels `{0}` and `{1}` are the same tokens for this model, so one of them would always win; rename one"
    )]
    Labels(String, String),
    /// Likelihoods that are NaN.
    #[error(
        "the likelihood of a label is not a number; the model or the prompt holds values that it cannot compute with"
    )]
    NoLikelihood,
    /// A model configuration that no T5 can have.
    #[error("model configuration: `{field}` is {found}, expected {expected}")]
    Config {
        /// Field of `config.json`.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The configuration is not readable as JSON.
    #[error("model configuration: {0}")]
    ConfigSyntax(serde_json::Error),
    /// Weights that do not belong to the configuration.
    #[error("weights: tensor `{name}` {found}, expected {expected}")]
    Tensor {
        /// Hugging Face name of the tensor.
        name: String,
        /// What is there.
        found: String,
        /// What the configuration asks for.
        expected: String,
    },
    /// A safetensors file that cannot be read.
    #[error("safetensors: {0}")]
    Safetensors(String),
    /// A file of torch's own that cannot be read.
    #[error("torch file: {0}")]
    Torch(String),
    /// Something wrong with one file of several.
    #[error("{file}: {message}")]
    File {
        /// Which, in backticks.
        file: String,
        /// What.
        message: String,
    },
    /// A Git LFS pointer; how long the file itself is, in words.
    #[error("a Git LFS pointer in place of the file{0}; `git lfs pull` in its folder fetches it")]
    Pointer(String),
    /// A tokenizer that cannot be read or trained.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A prompt that does not fit where it is used.
    #[error("prompt: {0}")]
    Prompt(String),
    /// A prompt file that says something impossible of itself.
    #[error(transparent)]
    Metadata(#[from] super::metadata::MetadataError),
    /// A file of task rows that does not hold what its format says.
    #[error(transparent)]
    Rows(#[from] super::tasks::ReadError),
    /// A setting outside its range.
    #[error("`{field}` is {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Learning left the numbers.
    #[error("the loss became {loss} at step {step} (learning rate {rate}); try a smaller learning rate")]
    Diverged {
        /// Step, from 1.
        step: u64,
        /// Loss a token.
        loss: f64,
        /// Learning rate of the step.
        rate: f64,
    },
    /// Somebody asked to stop.
    #[error("interrupted at step {step}")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// A thread that computes for several runs failed.
    #[error("computation: {0}")]
    Worker(String),
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// An error of the place where progress is kept.
    #[error("{0}")]
    Checkpoint(String),
}

impl Error {
    /// That a setting is outside its range.
    pub(super) fn setting(
        field: &'static str,
        found: impl std::fmt::Display + Copy,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting { field, found: found.to_string(), expected: expected.into() }
    }

    /// That the safetensors file of this name cannot be read.
    pub(super) fn damaged(file: &str, error: &SafeTensorError) -> Self {
        Self::Safetensors(format!("`{file}`: {}", in_words(error)))
    }
}

impl From<SafeTensorError> for Error {
    fn from(error: SafeTensorError) -> Self {
        Self::Safetensors(in_words(&error))
    }
}

fn in_words(error: &SafeTensorError) -> String {
    use SafeTensorError::{
        HeaderTooLarge, HeaderTooSmall, InvalidHeader, InvalidHeaderDeserialization, InvalidHeaderLength,
        MetadataIncompleteBuffer,
    };
    match error {
        HeaderTooLarge
        | HeaderTooSmall
        | InvalidHeader(_)
        | InvalidHeaderDeserialization(_)
        | InvalidHeaderLength
        | MetadataIncompleteBuffer => {
            format!("the file is cut off, or of another kind ({error}); copy or download it again")
        }
        error => error.to_string(),
    }
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
