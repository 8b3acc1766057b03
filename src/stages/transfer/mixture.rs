//! A tuning from a prompt that is tuned on the data of the sources and of the target.

use super::super::training::WhichCheckpoint;
use super::super::tune::{Init, Tune};
use super::making::Making;
use super::target::{Fields, Source, Target, size};
use crate::engine::context::Artifact;
use crate::engine::stage::{Issue, Made, Ref, Spec};
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Mixture;

impl Making for Mixture {
    fn jobs(&self, _: usize) -> usize {
        2
    }

    fn expand(&self, target: &Target<'_>, sources: Vec<Source>) -> anyhow::Result<Vec<Spec>> {
        let mixture = on_mixture(target, &sources)?;
        let tune = target.tune(Init::Prompt(Ref::default()), target.seed);
        let mut tuning = target.tuning("from the mixture".to_owned(), tune, Vec::new())?;
        tuning.inputs.push(("init.prompt".to_owned(), Made::Output(0, "prompt".into())));
        Ok(vec![mixture, tuning])
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), Issue> {
        fields.check_sources()?;
        fields.check_source_data()?;
        match fields.mixture {
            true => Ok(()),
            false => Err(Issue::new("strategy", "needs `mixture`, which says how a prompt is tuned on it")),
        }
    }

    fn mixes(&self) -> bool {
        true
    }

    fn before(&self) -> usize {
        1
    }

    fn tuning_of(&self, _source: usize) -> usize {
        0
    }
}

/// The tuning of a prompt on the data of these sources' tasks and of the target.
fn on_mixture(target: &Target<'_>, sources: &[Source]) -> anyhow::Result<Spec> {
    let mixture = target.mixture.context("`mixture` is missing")?;
    let tasks: BTreeSet<&str> = sources.iter().map(|source| source.ranked.task.as_str()).collect();
    let mut data: BTreeMap<String, Artifact> = BTreeMap::new();
    for artifact in target.cx.many("source_data") {
        let (task, _) = size(artifact).context("`source_data`")?;
        if tasks.contains(task.as_str()) {
            data.insert(task, artifact.clone());
        }
    }
    if let Some(task) = tasks.iter().find(|task| !data.contains_key(**task)) {
        bail!("`source_data` has no data set of `{task}`, which the ranking names");
    }
    let own = target.cx.one("data")?;
    // The target's own data stand for its task, even if that is a source too.
    data.remove(&size(own).context("`data`")?.0);
    let name = format!("mixture of {}", tasks.into_iter().collect::<Vec<_>>().join("+"));
    let tune = Tune {
        training: mixture.training.clone(),
        checkpoint: WhichCheckpoint::Final,
        ..target.tune(Init::sampled(mixture.vocabulary), target.seed)
    };
    let mut inputs: Vec<(String, Made)> = vec![("backbone".to_owned(), target.cx.one("backbone")?.clone().into())];
    inputs.extend(data.into_values().chain([own.clone()]).map(|artifact| ("data".to_owned(), artifact.into())));
    Ok(Spec { name, job: Box::new(tune), inputs })
}
