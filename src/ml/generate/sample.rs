//! Sampling, through candle-transformers' `LogitsProcessor`.

use super::greedy::token_by_token;
use crate::ml::error::{Error, Result};
use crate::ml::model::decoder::{Questions, Reader};
use crate::ml::random::Stream;
use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How tokens are drawn; the defaults leave the model's probabilities as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Logits are divided by it; at 0 the most probable token is taken.
    pub temperature: f64,
    /// Draw only from this many of the most probable tokens.
    pub top_k: Option<usize>,
    /// Draw from the fewest most probable tokens only that have this probability together. It is taken after the
    /// temperature; with `top_k` the probabilities are still those among all tokens.
    pub top_p: f64,
    /// Seed of the random streams.
    pub seed: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, seed: 0 }
    }
}

/// Below it probabilities are 0 and 1 (as in `LogitsProcessor::new`).
const COLDEST: f64 = 1e-7;

impl Sample {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |field, found: String, expected: &str| Err(Error::Setting { field, found, expected: expected.to_owned() });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature.to_string(), "at least 0");
        }
        if self.top_k == Some(0) {
            return wrong("top_k", "0".to_owned(), "at least 1");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", self.top_p.to_string(), "above 0, at most 1");
        }
        Ok(())
    }

    fn sampling(&self) -> Sampling {
        let Self { temperature, top_k, top_p: p, .. } = *self;
        match top_k {
            _ if temperature < COLDEST => Sampling::ArgMax,
            Some(1) => Sampling::ArgMax,
            Some(k) if p < 1.0 => Sampling::TopKThenTopP { k, p, temperature },
            Some(k) => Sampling::TopK { k, temperature },
            None if p < 1.0 => Sampling::TopP { p, temperature },
            None => Sampling::All { temperature },
        }
    }
}

/// Answers to questions with tokens drawn at random.
///
/// # Errors
/// [`Error::Setting`] for a value outside its range; if the device fails, or the logits give no probabilities.
pub(super) fn sample(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    streams: &[u64],
    longest: usize,
    settings: Sample,
) -> Result<Vec<Vec<u32>>> {
    settings.check()?;
    let seed = |stream: &u64| Stream::new(settings.seed, &format!("sample {stream}")).bits();
    let mut processors: Vec<LogitsProcessor> =
        streams.iter().map(|stream| LogitsProcessor::from_sampling(seed(stream), settings.sampling())).collect();
    let vocab = reader.dims().vocab;
    token_by_token(reader, questions, longest, |step| {
        let mut next = Vec::with_capacity(step.last.len());
        step.decoder.step(step.texts, step.last, step.position, &mut |first, logits| {
            let rows = step.examples[first..].iter().zip(logits.chunks_exact(vocab));
            next.extend(rows.map(|(example, logits)| draw(&mut processors[*example], logits)));
        })?;
        next.into_iter().collect()
    })
}

fn draw(processor: &mut LogitsProcessor, logits: &[f32]) -> Result<u32> {
    Ok(processor.sample(&Tensor::from_slice(logits, logits.len(), &Device::Cpu)?)?)
}
