//! The data sets that a prompt or a model learns: one, or several that are mixed.

use super::backbone::Model;
use crate::data::{Dataset, read_dataset};
use crate::engine::context::Cx;
use crate::engine::stage::Issue;
use crate::ml::random;
use crate::ml::statistics::mean;
use crate::ml::tasks::Split;
use crate::ml::train::examples::Pair;
use crate::ml::train::mixture::Mixing;
use anyhow::{Context, bail, ensure};

/// The data sets that are learned, by the names of their tasks.
pub(super) struct Tasks(pub(super) Vec<Dataset>);

/// How good what was learned is.
#[derive(Default)]
pub(super) struct Scores {
    /// The mean of all tasks that have a score.
    pub(super) mean: Option<f64>,
    /// Of a mixture that of each task that has one.
    pub(super) tasks: Vec<(String, f64)>,
}

impl Tasks {
    /// Those of the input `data`.
    ///
    /// # Errors
    /// If one is of another tokenizer or has no training examples, or two are of one task.
    pub(super) fn read(cx: &Cx<'_>, model: &Model) -> anyhow::Result<Self> {
        let mut datasets = Vec::new();
        for artifact in cx.many("data") {
            let dataset = read_dataset(&artifact.bytes()?).context("`data`")?;
            model.check_data(&dataset)?;
            ensure!(
                !dataset.examples(Split::Train).is_empty(),
                "`data` of the task `{}` has no training examples",
                dataset.task.name
            );
            datasets.push(dataset);
        }
        datasets.sort_by(|a, b| a.task.name.cmp(&b.task.name));
        if let Some(pair) = datasets.windows(2).find(|pair| pair[0].task.name == pair[1].task.name) {
            bail!("`data` has two data sets of the task `{}`; a mixture has one of each", pair[0].task.name);
        }
        ensure!(!datasets.is_empty(), "`data` names no data set");
        Ok(Self(datasets))
    }

    /// The task, or those of a mixture: `cb+mnli`.
    pub(super) fn name(&self) -> String {
        self.0.iter().map(|dataset| dataset.task.name.as_str()).collect::<Vec<_>>().join("+")
    }

    /// The seed of a run on these training examples: of one `seed`, runs on different examples have nothing random in common.
    /// If they had, prompts of different tasks would resemble each other by their seeds.
    pub(super) fn run_seed(&self, seed: u64) -> u64 {
        let mut about = Vec::new();
        let mut push = |number: u64| about.extend(number.to_le_bytes());
        for task in self.train() {
            push(task.len() as u64);
            for ids in task.iter().flat_map(|(input, target)| [input, target]) {
                push(ids.len() as u64);
                ids.iter().for_each(|id| push(u64::from(*id)));
            }
        }
        random::seed_about(seed, &about)
    }

    /// The training examples of each task.
    pub(super) fn train(&self) -> Vec<Vec<Pair<'_>>> {
        self.0.iter().map(|dataset| dataset.pairs(Split::Train).collect()).collect()
    }

    /// Scores answers to the validation splits.
    ///
    /// # Errors
    /// If a split cannot be answered, or its score is NaN.
    pub(super) fn scores(&self, answers: impl Fn(&Dataset) -> anyhow::Result<Vec<String>>) -> anyhow::Result<Scores> {
        let mut tasks = Vec::new();
        for dataset in self.scored() {
            let name = &dataset.task.name;
            let score = dataset.task.score(&answers(dataset)?, dataset.examples(Split::Validation)).score;
            ensure!(
                score.is_none_or(f64::is_finite),
                "the validation score of `{name}` is not a number; are the answers of its split known?"
            );
            tasks.extend(score.map(|score| (name.clone(), score)));
        }
        let all: Vec<f64> = tasks.iter().map(|(_, score)| *score).collect();
        let mean = (!all.is_empty()).then(|| mean(&all));
        Ok(Scores { mean, tasks: if self.0.len() > 1 { tasks } else { Vec::new() } })
    }

    /// Those that checkpoints can be scored on.
    fn scored(&self) -> impl Iterator<Item = &Dataset> {
        let scored =
            |dataset: &&Dataset| !dataset.task.metrics.is_empty() && !dataset.examples(Split::Validation).is_empty();
        self.0.iter().filter(scored)
    }
}

/// With a single data set there is nothing to mix, and rates would change the key of a job and not its result.
///
/// # Errors
/// If `mixing` is said of one data set.
pub(super) fn check_mixing(mixing: Mixing, datasets: usize) -> Result<(), Issue> {
    if datasets < 2 && !mixing.is_default() {
        return Err(Issue::new("mixing", "has nothing to mix, since `data` is a single data set; leave it out"));
    }
    Ok(())
}
