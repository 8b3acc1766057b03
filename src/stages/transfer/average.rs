//! A tuning from the average of the sources, weighted by similarity.

use super::super::tune::{self, Init};
use super::making::Making;
use super::target::{Source, Target};
use crate::engine::stage::{Refs, Spec};
use std::collections::BTreeMap;

pub(super) struct Average;

impl Making for Average {
    fn jobs(&self, _: usize) -> usize {
        1
    }

    fn expand(&self, target: &Target<'_>, sources: Vec<Source>) -> anyhow::Result<Vec<Spec>> {
        let average = tune::Average { prompts: Refs::default(), weights: weights(&sources) };
        let tune = target.tune(Init::Average(average), target.seed);
        let name = format!("average of {}", sources.len());
        let prompts = sources.into_iter().map(|source| ("init.average.prompts", source.prompt)).collect();
        Ok(vec![target.tuning(name, tune, prompts)?])
    }

    fn tuning_of(&self, _source: usize) -> usize {
        0
    }
}

/// Shares by similarity. Where no source is similar, no source is better than another, and all count equally.
fn weights(sources: &[Source]) -> BTreeMap<String, f64> {
    let positive = |source: &Source| source.ranked.similarity.max(0.0);
    let sum: f64 = sources.iter().map(positive).sum();
    let share = |source: &Source| if sum > 0.0 { positive(source) / sum } else { 1.0 / sources.len() as f64 };
    sources.iter().map(|source| (source.name(), share(source))).collect()
}
