//! Scores over seeds, which remember the artifacts that they were computed from.

use crate::ml::statistics::{mean, standard_deviation};
use serde::{Deserialize, Serialize};

/// Scores over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; `null` for a single seed.
    pub deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
    /// Digests of the artifacts that the scores are from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
}

impl Spread {
    /// Of scores of some seeds.
    pub fn of(scores: &[f64]) -> Self {
        Self { mean: mean(scores), deviation: standard_deviation(scores), seeds: scores.len(), from: Vec::new() }
    }

    /// The same, from these artifacts.
    pub fn from(mut self, from: impl IntoIterator<Item = String>) -> Self {
        self.from = from.into_iter().collect();
        self
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}", self.mean)?;
        match self.deviation {
            Some(deviation) => write!(f, " ± {deviation:.1}"),
            None => Ok(()),
        }
    }
}
