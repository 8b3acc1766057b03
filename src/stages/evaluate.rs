//! `evaluate`: what a prompt makes the frozen backbone say on a split, and how good that is.

use super::backbone::{self, Model};
use super::{DATASET, PREDICTIONS, PROMPT, SCORES};
use crate::data::{Column, Dataset, Table, read_dataset};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Needs, Output, Ref, Stage};
use crate::ml::batcher::Client;
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::{self, PromptFile};
use crate::ml::tasks::Split;
use crate::ml::train::predict;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Greedy decoding of a split under a prompt, and the task's metrics.
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
        let answers = answers(&model.client(cx, backbone)?, &model, prompt, &dataset, self.split)?;
        let scores = dataset.task.score(&answers, examples);

        let (mut names, mut values): (Vec<_>, Vec<_>) =
            scores.metrics.iter().map(|(metric, value)| (metric.name().to_owned(), *value)).unzip();
        names.push("score".to_owned());
        values.push(scores.score);
        let table = Table::new(vec![("metric", Column::Text(names)), ("value", Column::Float(values))])
            .with("task", &dataset.task.name)
            .with("split", self.split.name())
            .with("examples", examples.len().to_string())
            .with("illegal", scores.illegal.to_string())
            .with("predicted", serde_json::to_string(&scores.predicted)?)
            .with("majority", majority(&dataset, self.split).to_string())
            .with("seed", file.get("seed").unwrap_or_default())
            .with("source", file.get("source").unwrap_or_default())
            .with("step", file.get("step").unwrap_or_default());
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
fn majority(dataset: &Dataset, split: Split) -> f64 {
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

/// Decoded answers of a split.
pub fn answers(
    client: &Client,
    model: &Model,
    prompt: &Prompt,
    dataset: &Dataset,
    split: Split,
) -> anyhow::Result<Vec<String>> {
    let inputs: Vec<&[u32]> = dataset.pairs(split).map(|(input, _)| input).collect();
    let longest = dataset.pairs(split).map(|(_, target)| target.len()).max().unwrap_or(1) + OVERRUN;
    let decoded = predict(client, prompt, &inputs, longest)?;
    decoded.iter().map(|ids| Ok(model.tokens.decode(ids)?)).collect()
}
