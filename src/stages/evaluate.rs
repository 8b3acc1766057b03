//! `evaluate`: what a prompt makes the frozen backbone say on a split, and how good that is.

use super::backbone::{self, Model};
use super::{DATASET, PREDICTIONS, PROMPT, SCORES};
use crate::data::{Column, Dataset, Table, read_dataset};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Issue, Needs, Output, Ref, Stage};
use crate::ml::batcher::Client;
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::{self, PromptFile};
use crate::ml::t5::{Beam, Generation, LabelScore, Sample};
use crate::ml::tasks::Split;
use crate::ml::train::{label_scores, predict};
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers to a split under a prompt, and the task's metrics.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The frozen model.
    backbone: Ref,
    /// The prompt.
    prompt: Ref,
    /// The task's examples.
    data: Ref,
    /// Which of them. Checkpoints are chosen on `validation`, so its scores are optimistic.
    #[serde(default = "validation")]
    split: Split,
    /// How answers are made. `greedy` by default, and so are checkpoints chosen.
    #[serde(default, skip_serializing_if = "Decoding::is_default")]
    decoding: Decoding,
}

/// How answers are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoding {
    /// The most probable token at each step.
    #[default]
    Greedy,
    /// The most probable text that a beam search finds.
    Beam(Beam),
    /// Tokens drawn at random.
    Sample(Sample),
    /// The likeliest of the task's labels.
    Rank(Rank),
}

/// How labels are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {
    /// Compare mean log-likelihoods of a token, not their sums, so that long labels are not at a disadvantage.
    per_token: bool,
}

impl Decoding {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How texts are generated, if they are.
    fn generation(self) -> Option<Generation> {
        match self {
            Self::Greedy => Some(Generation::Greedy),
            Self::Beam(beam) => Some(Generation::Beam(beam)),
            Self::Sample(sample) => Some(Generation::Sample(sample)),
            Self::Rank(_) => None,
        }
    }
}

fn validation() -> Split {
    Split::Validation
}

impl Stage for Evaluate {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] =
        &[Output { name: "scores", of: SCORES }, Output { name: "predictions", of: PREDICTIONS }];

    fn inputs(&self) -> Vec<Input> {
        vec![
            backbone::input(&self.backbone),
            Input::one("prompt", &self.prompt, PROMPT),
            Input::one("data", &self.data, DATASET),
        ]
    }

    fn check(&self) -> Result<(), Issue> {
        let checked = self.decoding.generation().map_or(Ok(()), |generation| generation.check());
        checked.map_err(|error| Issue::new("decoding", error.to_string()))
    }

    fn needs(&self) -> Needs {
        Needs { shared_model: true }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?;
        let model = Model::load(cx, backbone)?;
        let file = PromptFile::from_bytes(&cx.one("prompt")?.bytes()?).context("`prompt`")?;
        file.check_backbone(&backbone.digest.to_string())?;
        let prompt = file.prompt(prompt_file::PROMPT).context("`prompt`")?;
        prompt.fits(model.weights.dims.width).context("`prompt`")?;
        let dataset = read_dataset(&cx.one("data")?.bytes()?).context("`data`")?;
        model.check_data(&dataset)?;
        let examples = dataset.examples(self.split);
        ensure!(!examples.is_empty(), "the data set of `{}` has no {} split", dataset.task.name, self.split.name());
        let answers = answers(&model.client(cx, backbone)?, &model, prompt, &dataset, self.split, self.decoding)?;
        let scores = dataset.task.score(&answers, examples);

        let (mut names, mut values): (Vec<_>, Vec<_>) =
            scores.metrics.iter().map(|(metric, value)| (metric.name().to_owned(), *value)).unzip();
        if let Some(score) = scores.score {
            names.push("score".to_owned());
            values.push(score);
        }
        let mut table = Table::new(vec![("metric", Column::Text(names)), ("value", Column::Float(values))])
            .with("task", &dataset.task.name)
            .with("split", self.split.name())
            .with("examples", examples.len().to_string())
            .with("illegal", scores.illegal.to_string())
            .with("predicted", serde_json::to_string(&scores.predicted)?)
            .with("seed", file.get("seed").unwrap_or_default())
            .with("source", file.get("source").unwrap_or_default())
            .with("step", file.get("step").unwrap_or_default());
        if let Some(majority) = majority(&dataset, self.split) {
            table = table.with("majority", majority.to_string());
        }
        cx.write("scores", &table.to_parquet()?)?;

        let text = |f: fn(&crate::ml::tasks::Example) -> String| Column::Text(examples.iter().map(f).collect());
        let predictions = Table::new(vec![
            ("id", text(|example| example.id.clone())),
            ("input", text(|example| example.input.clone())),
            ("target", text(|example| example.target.clone())),
            ("prediction", Column::Text(answers)),
        ])
        .with("task", &dataset.task.name)
        .with("split", self.split.name());
        cx.write("predictions", &predictions.to_parquet()?)
    }
}

/// The score of always giving the training split's most common answer (its mean, where answers are numbers).
fn majority(dataset: &Dataset, split: Split) -> Option<f64> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for example in dataset.examples(Split::Train) {
        *counts.entry(&example.target).or_default() += 1;
    }
    let answer = counts.into_iter().max_by_key(|(_, count)| *count).map_or("", |(answer, _)| answer);
    let examples = dataset.examples(split);
    dataset.task.score(&vec![answer.to_owned(); examples.len()], examples).score
}

/// Ids beyond the longest target by which an answer may overrun before it is cut.
const OVERRUN: usize = 4;

/// Answers to a split as text.
pub fn answers(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    dataset: &Dataset,
    split: Split,
    decoding: Decoding,
) -> anyhow::Result<Vec<String>> {
    let inputs: Vec<&[u32]> = dataset.pairs(split).map(|(input, _)| input).collect();
    if let Decoding::Rank(rank) = decoding {
        return likeliest(client, model, prompt, dataset, &inputs, rank);
    }
    let generation = decoding.generation().unwrap_or_default();
    let longest = dataset.pairs(split).map(|(_, target)| target.len()).max().unwrap_or(1) + OVERRUN;
    let decoded = predict(client, prompt, &inputs, longest, generation)?;
    decoded.iter().map(|ids| Ok(model.tokens.decode(ids)?)).collect()
}

/// For each input the likeliest label of the task; of equally likely ones the first.
fn likeliest(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    dataset: &Dataset,
    inputs: &[&[u32]],
    rank: Rank,
) -> anyhow::Result<Vec<String>> {
    let task = &dataset.task;
    ensure!(
        !task.labels.is_empty(),
        "`decoding: rank` compares labels, but the task `{}` has none; its answers are free text",
        task.name
    );
    let labels =
        task.labels.iter().map(|label| model.tokens.encode(label, usize::MAX)).collect::<Result<Vec<_>, _>>()?;
    let scores = label_scores(client, prompt, inputs, &labels)?;
    let value = |score: &LabelScore| {
        if rank.per_token { score.log_likelihood / score.tokens.max(1) as f64 } else { score.log_likelihood }
    };
    let best = |scores: &Vec<LabelScore>| {
        let (mut best, mut highest) = (0, f64::NEG_INFINITY);
        for (label, score) in scores.iter().enumerate() {
            if value(score) > highest {
                (best, highest) = (label, value(score));
            }
        }
        task.labels[best].clone()
    };
    Ok(scores.iter().map(best).collect())
}
