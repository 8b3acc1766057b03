//! Answers token by token, whatever engine reads the inputs and whatever decoder gives the logits.

mod beam;
mod engines;
mod greedy;
mod labels;
mod predict;
mod sample;
#[cfg(test)]
pub(super) mod tests;

pub use beam::{Beam, Hypothesis};
pub use labels::{LabelScore, check_apart, likeliest};
pub use predict::{label_scores, predict};
pub use sample::Sample;

use super::error::Result;
use super::model::decoder::{Questions, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an answer is made of the probabilities of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Generation {
    /// The most probable token at each step.
    #[default]
    Greedy,
    /// The most probable answer that a beam search finds.
    Beam(Beam),
    /// Tokens drawn at random.
    Sample(Sample),
}

impl Generation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`](super::error::Error::Setting) for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Greedy => Ok(()),
            Self::Beam(settings) => settings.check(),
            Self::Sample(settings) => settings.check(),
        }
    }
}

/// An answer to each question, without the closing eos; at most `longest` ids. `streams` is what samples are drawn from,
/// `[B]`.
fn generate(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    streams: &[u64],
    longest: usize,
    generation: &Generation,
) -> Result<Vec<Vec<u32>>> {
    match generation {
        Generation::Greedy => greedy::greedy(reader, questions, longest),
        Generation::Beam(settings) => {
            let answers = beam::search(reader, questions, longest, *settings)?;
            Ok(answers.into_iter().map(|answer| answer.ids).collect())
        }
        Generation::Sample(settings) => sample::sample(reader, questions, streams, longest, *settings),
    }
}
