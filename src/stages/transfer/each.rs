//! A tuning from each source, of which the best counts.

use super::super::tune::Init;
use super::making::Making;
use super::target::{Source, Target};
use crate::engine::stage::{Ref, Spec};

pub(super) struct Each;

impl Making for Each {
    fn jobs(&self, sources: usize) -> usize {
        sources
    }

    fn expand(&self, target: &Target<'_>, sources: Vec<Source>) -> anyhow::Result<Vec<Spec>> {
        let from = |source: Source| {
            let tune = target.tune(Init::Prompt(Ref::default()), target.seed);
            target.tuning(source.name(), tune, vec![("init.prompt", source.prompt)])
        };
        sources.into_iter().map(from).collect()
    }
}
