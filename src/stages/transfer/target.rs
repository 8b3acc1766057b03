//! What strategies see of a transfer: its target and its settings, the sources that were chosen, and the tunings that were made.

use super::super::training::{PromptTraining, WhichCheckpoint};
use super::super::tune::{Init, Tune};
use crate::data::{DatasetFile, Ranked};
use crate::engine::context::{Artifact, Cx, Expanded};
use crate::engine::stage::{Issue, Made, Ref, Refs, Spec};
use crate::ml::prompt::file::PromptFile;
use crate::ml::tasks::Split;
use crate::ml::train::mixture::Mixing;
use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a prompt is tuned on a mixture; it begins from sampled vocabulary, as source prompts do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MixtureTuning {
    /// As of a source.
    #[serde(default)]
    pub(super) training: PromptTraining,
    /// The first ids from which it is sampled, which are the most common pieces.
    #[serde(default = "common")]
    pub(super) vocabulary: usize,
}

fn common() -> usize {
    5000
}

impl MixtureTuning {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// The first field outside its range, or a `patience`, which a mixture has no use for.
    pub(super) fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("mixture.training", error.to_string()))?;
        let patience = self.training.patience;
        if patience > 0 {
            let message = format!("is {patience}, but the last checkpoint of a mixture counts; leave it out");
            return Err(Issue::new("mixture.training.patience", message));
        }
        Ok(())
    }
}

/// Which fields of a transfer a manifest gives.
pub(super) struct Fields<'t> {
    pub(super) ranking: bool,
    pub(super) prompts: bool,
    pub(super) source_data: bool,
    pub(super) mixture: bool,
    pub(super) init: Option<&'t Init>,
}

impl Fields<'_> {
    /// That there are sources to choose from, and nothing that speaks of tunings from scratch.
    ///
    /// # Errors
    /// If `ranking` or `prompts` is missing, or `init` is there.
    pub(super) fn check_sources(&self) -> Result<(), Issue> {
        let lacks = |what| Err(Issue::new("strategy", format!("needs `{what}`")));
        match (self.ranking, self.prompts, self.init) {
            (false, ..) => lacks("ranking"),
            (_, false, _) => lacks("prompts"),
            (.., Some(_)) => {
                Err(Issue::new("init", "is for `restarts`; with this strategy tunings begin from source prompts"))
            }
            _ => Ok(()),
        }
    }

    /// That the sources' examples are there.
    ///
    /// # Errors
    /// If `source_data` is missing.
    pub(super) fn check_source_data(&self) -> Result<(), Issue> {
        match self.source_data {
            true => Ok(()),
            false => Err(Issue::new("strategy", "needs `source_data`, the data sets of the sources")),
        }
    }
}

/// What is learned, and how.
pub(super) struct Target<'t> {
    pub(super) cx: &'t Cx<'t>,
    pub(super) init: Option<&'t Init>,
    pub(super) mixture: Option<&'t MixtureTuning>,
    pub(super) training: &'t PromptTraining,
    pub(super) length: usize,
    pub(super) seed: u64,
}

impl Target<'_> {
    /// A tuning with the settings of the target's.
    pub(super) fn tune(&self, init: Init, seed: u64) -> Tune {
        Tune {
            backbone: Ref::default(),
            data: Refs::default(),
            init,
            length: self.length,
            seed,
            origin: None,
            training: self.training.clone(),
            keep_at: Vec::new(),
            mixing: Mixing::default(),
            checkpoint: WhichCheckpoint::default(),
        }
    }

    /// A tuning on the target's examples that begins from `prompts`, if from any.
    ///
    /// # Errors
    /// If there is not one backbone and one data set.
    pub(super) fn tuning(
        &self,
        name: String,
        tune: Tune,
        prompts: Vec<(&'static str, Artifact)>,
    ) -> anyhow::Result<Spec> {
        let mut inputs: Vec<(String, Made)> = vec![
            ("backbone".to_owned(), self.cx.one("backbone")?.clone().into()),
            ("data".to_owned(), self.cx.one("data")?.clone().into()),
        ];
        inputs.extend(prompts.into_iter().map(|(role, artifact)| (role.to_owned(), artifact.into())));
        Ok(Spec { name, job: Box::new(tune), inputs })
    }
}

/// A source that is tried.
pub(super) struct Source {
    pub(super) ranked: Ranked,
    pub(super) prompt: Artifact,
    /// Updates that its prompt took, if it says.
    pub(super) steps: Option<u64>,
}

impl Source {
    pub(super) fn name(&self) -> String {
        format!("{},{}", self.ranked.task, self.ranked.seed)
    }
}

/// What a tuning made.
pub(super) struct Tuned {
    pub(super) bytes: Vec<u8>,
    pub(super) file: PromptFile,
}

impl Tuned {
    /// The prompt that a tuning made.
    ///
    /// # Errors
    /// If it has none, or its file is damaged.
    pub(super) fn read(tuning: &Expanded) -> anyhow::Result<Self> {
        let prompt = tuning.outputs.iter().find(|(name, _)| &**name == "prompt");
        let (_, prompt) = prompt.context("a tuning without a prompt")?;
        let bytes = prompt.bytes()?;
        let file = PromptFile::from_bytes(&bytes).with_context(|| format!("`{}`", prompt.origin()))?;
        Ok(Self { file, bytes })
    }

    /// Updates, without those of prompts that it began from, if it says.
    pub(super) fn steps(&self) -> Option<u64> {
        self.file.about.steps
    }

    /// The validation score of the prompt.
    ///
    /// # Errors
    /// If it has none, as without a validation split.
    pub(super) fn score(&self) -> anyhow::Result<f64> {
        let about = &self.file.about;
        about.score.with_context(|| {
            format!("the tuning of `{}` has no validation score; `data` needs a validation split", about.name())
        })
    }
}

/// The task of a data set and the number of its training examples.
///
/// # Errors
/// If the data set is damaged.
pub(super) fn size(data: &Artifact) -> anyhow::Result<(String, usize)> {
    let file = DatasetFile::open(data.open()?)?;
    Ok((file.task.name.clone(), file.count(Split::Train)))
}
