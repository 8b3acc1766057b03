//! What a prompt file says of its prompts.

use crate::ml::error::Error;
use crate::ml::metadata::{Metadata, MetadataError};
use std::collections::BTreeMap;

/// What is known of a prompt; each where the file says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The task that it was tuned on; of a mixture, its tasks.
    pub task: Option<String>,
    /// Seed of its tuning.
    pub seed: Option<u64>,
    /// The step at which it is as it is.
    pub step: Option<u64>,
    /// Validation score at that step, 0 to 100.
    pub score: Option<f64>,
    /// Updates of its tuning, also after that step.
    pub steps: Option<u64>,
    /// Digest of the model that it was tuned on.
    pub backbone: Option<String>,
    /// Name or folder of that model, where PEFT tuned it.
    pub base_model: Option<String>,
    /// Digest of the prompt from which all runs of its origin begin.
    pub origin: Option<String>,
    /// The task of the prompt that it began from.
    pub source: Option<String>,
    /// The seed of that prompt.
    pub source_seed: Option<u64>,
    /// Updates of the tunings that it began from.
    pub source_steps: Option<u64>,
    /// The seed under which it was tuned, where it was chosen among restarts and has the seed of the choice.
    pub restart_seed: Option<u64>,
    /// The prompts that it is the sum of, where it was not tuned: names, digests and weights, as JSON.
    pub made_of: Option<String>,
    /// What else a file says that others wrote.
    pub other: BTreeMap<String, String>,
}

impl About {
    /// What a file's metadata say.
    ///
    /// # Errors
    /// If a number is none.
    pub fn read(metadata: impl Into<Metadata>) -> Result<Self, MetadataError> {
        let mut said = metadata.into();
        Ok(Self {
            task: said.take("task")?,
            seed: said.take("seed")?,
            step: said.take("step")?,
            score: said.take("score")?,
            steps: said.take("steps")?,
            backbone: said.take("backbone")?,
            base_model: said.take("base_model")?,
            origin: said.take("origin")?,
            source: said.take("source")?,
            source_seed: said.take("source_seed")?,
            source_steps: said.take("source_steps")?,
            restart_seed: said.take("restart_seed")?,
            made_of: said.take("made_of")?,
            other: said.into(),
        })
    }

    /// The metadata that say it.
    pub fn metadata(&self) -> Metadata {
        let Self {
            task,
            seed,
            step,
            score,
            steps,
            backbone,
            base_model,
            origin,
            source,
            source_seed,
            source_steps,
            restart_seed,
            made_of,
            other,
        } = self;
        Metadata::from(other.clone())
            .with_known("task", task.as_ref())
            .with_known("seed", seed.as_ref())
            .with_known("step", step.as_ref())
            .with_known("score", score.as_ref())
            .with_known("steps", steps.as_ref())
            .with_known("backbone", backbone.as_ref())
            .with_known("base_model", base_model.as_ref())
            .with_known("origin", origin.as_ref())
            .with_known("source", source.as_ref())
            .with_known("source_seed", source_seed.as_ref())
            .with_known("source_steps", source_steps.as_ref())
            .with_known("restart_seed", restart_seed.as_ref())
            .with_known("made_of", made_of.as_ref())
    }

    /// Checks that it was tuned on the backbone with this digest, if it says on which.
    ///
    /// # Errors
    /// If it names another.
    pub fn check_backbone(&self, digest: &str) -> Result<(), Error> {
        match self.backbone.as_deref() {
            Some(own) if own != digest => Err(Error::Prompt(format!(
                "`{}` was tuned on the backbone {own:.12}, not on {digest:.12}; a prompt speaks to one model only",
                self.name()
            ))),
            _ => Ok(()),
        }
    }

    /// The first two of these prompts that say that they were tuned on different models, and what they say: a digest where spot tuned
    /// them, a name where PEFT did. A model of PEFT's may be known by a path or by the name of its repository, so that only the last
    /// part counts.
    pub fn different_models<'a>(prompts: &[(&'a str, &'a Self)]) -> Option<[(&'a str, &'a str); 2]> {
        let last = |model: &'a str| model.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let digests = prompts.iter().filter_map(|(name, about)| Some((*name, about.backbone.as_deref()?)));
        let models = prompts.iter().filter_map(|(name, about)| Some((*name, last(about.base_model.as_deref()?))));
        let different = |said: Vec<(&'a str, &'a str)>| {
            said.windows(2).find(|pair| pair[0].1 != pair[1].1).map(|pair| [pair[0], pair[1]])
        };
        different(digests.collect()).or_else(|| different(models.collect()))
    }

    /// Task and seed of the tuning, `mnli,0`: what the prompt is called among others.
    pub fn name(&self) -> String {
        let seed = self.seed.map(|seed| seed.to_string());
        format!("{},{}", self.task.as_deref().unwrap_or("?"), seed.as_deref().unwrap_or("?"))
    }

    /// Its task and seed, which everything that a pipeline makes has.
    ///
    /// # Errors
    /// If the file says one of them not.
    pub fn identity(&self) -> Result<(&str, u64), MetadataError> {
        let missing = |key, expected| MetadataError { key, found: "is missing".to_owned(), expected };
        let task = self.task.as_deref().ok_or_else(|| missing("task", "the task of a prompt"))?;
        Ok((task, self.seed.ok_or_else(|| missing("seed", "the seed of a tuning"))?))
    }

    /// Whether it and another are known to have begun at one place, so that their rows correspond: from one origin, from one prompt, or
    /// one of them from the other.
    pub fn begins_with(&self, other: &Self) -> bool {
        fn source(about: &About) -> Option<(&str, u64)> {
            Some((about.source.as_deref()?, about.source_seed?))
        }
        let is_source_of = |one: &Self, of: &Self| source(of).is_some() && source(of) == one.identity().ok();
        (self.origin.is_some() && self.origin == other.origin)
            || (source(self).is_some() && source(self) == source(other))
            || is_source_of(self, other)
            || is_source_of(other, self)
    }

    /// Updates of its own tuning and of those that it began from, if it says.
    pub fn steps_in_all(&self) -> Option<u64> {
        // One that begins from another, but does not say how long that took, does not know.
        let before = if self.source.is_some() { self.source_steps? } else { self.source_steps.unwrap_or(0) };
        Some(self.steps? + before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> About {
        let word = |word: &str| Some(word.to_owned());
        About {
            task: word("mnli"),
            seed: Some(1),
            step: Some(100),
            score: Some(200.0 / 3.0),
            steps: Some(150),
            backbone: word("ab12"),
            base_model: word("google/t5-small"),
            origin: word("cd34"),
            source: word("qqp"),
            source_seed: Some(0),
            source_steps: Some(90),
            restart_seed: Some(u64::MAX),
            made_of: word("[]"),
            other: BTreeMap::from([("format".to_owned(), "pt".to_owned())]),
        }
    }

    #[test]
    fn everything_reads_back_as_it_was() {
        assert_eq!(About::read(all().metadata()).unwrap(), all());
        assert_eq!(all().metadata().entries().len(), 14);
        assert_eq!(About::default().metadata(), Metadata::default());
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let error = |key: &'static str, text: &str| {
            let metadata = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            About::read(metadata).unwrap_err().to_string()
        };
        assert_eq!(error("score", "NaN"), "file metadata `score` is `NaN`, expected a number");
        for key in ["seed", "step", "steps", "source_seed", "source_steps", "restart_seed"] {
            let expected = format!("file metadata `{key}` is `some`, expected a whole number from 0");
            assert_eq!(error(key, "some"), expected);
        }
    }

    #[test]
    fn what_a_pipeline_needs_is_asked_for_by_name() {
        let unnamed = About { seed: None, ..all() };
        let error = unnamed.identity().unwrap_err().to_string();
        assert_eq!(error, "file metadata `seed` is missing, expected the seed of a tuning");
        assert_eq!((all().identity(), unnamed.name().as_str()), (Ok(("mnli", 1)), "mnli,?"));
    }

    #[test]
    fn steps_are_known_only_with_those_of_the_source() {
        assert_eq!(all().steps_in_all(), Some(240));
        assert_eq!(About { source_steps: None, ..all() }.steps_in_all(), None);
        assert_eq!(About { source: None, source_steps: None, ..all() }.steps_in_all(), Some(150));
        assert_eq!(About { steps: None, ..all() }.steps_in_all(), None);
    }
}
