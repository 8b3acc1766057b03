//! The data sets that a prompt or a model learns: one, or several that are mixed.

use super::backbone::Model;
use crate::data::{Dataset, DatasetFile, IdFile};
use crate::engine::context::Cx;
use crate::engine::stage::Issue;
use crate::ml::random::SeedAbout;
use crate::ml::statistics::mean;
use crate::ml::tasks::Split;
use crate::ml::train::examples::Pool;
use crate::ml::train::mixture::Mixing;
use anyhow::{Context, bail, ensure};

/// The data sets that are learned, by the names of their tasks.
pub(super) struct Tasks(pub(super) Vec<Learned>);

/// A data set that is learned. Its training examples stay in a file; those of the validation split are in memory.
pub(super) struct Learned {
    /// With the validation split alone.
    pub(super) data: Dataset,
    train: IdFile,
}

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
            let file = DatasetFile::open(artifact.open()?).context("`data`")?;
            model.check_tokenizer(&file.task.name, file.tokenizer.as_deref())?;
            let name = &file.task.name;
            ensure!(file.count(Split::Train) > 0, "`data` of the task `{name}` has no training examples");
            let data = file.read(&[Split::Validation]).context("`data`")?;
            let train = file.ids(Split::Train, cx.scratch()?).context("`data`")?;
            model.check_ids(data.largest_id().max(train.largest_id()))?;
            datasets.push(Learned { data, train });
        }
        let name = |learned: &Learned| learned.data.task.name.clone();
        datasets.sort_by_key(name);
        if let Some(pair) = datasets.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            bail!("`data` has two data sets of the task `{}`; a mixture has one of each", name(&pair[0]));
        }
        ensure!(!datasets.is_empty(), "`data` names no data set");
        Ok(Self(datasets))
    }

    /// The task, or those of a mixture: `cb+mnli`.
    pub(super) fn name(&self) -> String {
        self.0.iter().map(|learned| learned.data.task.name.as_str()).collect::<Vec<_>>().join("+")
    }

    /// The seed of a run on these training examples: of one `seed`, runs on different examples have nothing random in common.
    /// If they had, prompts of different tasks would resemble each other by their seeds.
    ///
    /// # Errors
    /// If the examples cannot be read.
    pub(super) fn run_seed(&self, seed: u64) -> anyhow::Result<u64> {
        let mut about = SeedAbout::new(seed);
        for task in self.train() {
            about.push(&(task.count() as u64).to_le_bytes());
            for at in 0..task.count() {
                let (input, target) = task.fetch(at)?;
                for ids in [input, target] {
                    let numbers = std::iter::once(ids.len() as u64).chain(ids.iter().map(|id| u64::from(*id)));
                    about.push(&numbers.flat_map(u64::to_le_bytes).collect::<Vec<u8>>());
                }
            }
        }
        Ok(about.finish())
    }

    /// The training examples of each task.
    pub(super) fn train(&self) -> Vec<&IdFile> {
        self.0.iter().map(|learned| &learned.train).collect()
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
        self.0.iter().map(|learned| &learned.data).filter(scored)
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
