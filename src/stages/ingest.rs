//! `ingest`: a task's examples as text-to-text pairs and token ids, from files in their original layout or from the
//! generator of built-in tasks.

use super::DATASET;
use super::backbone;
use crate::data::{Dataset, Part, Tokenized, write_dataset};
use crate::engine::context::Cx;
use crate::engine::problem::suggestion;
use crate::engine::stage::{Input, Issue, Output, Ref, Stage};
use crate::ml::random::Stream;
use crate::ml::tasks::{self, Example, Reading, Split, Task};
use crate::ml::tokens::Tokens;
use crate::ml::world;
use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A task's data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// The model whose tokenizer makes the ids.
    backbone: Ref,
    /// Where the examples come from.
    from: From,
    /// At most how many rows of each split; a random sample in the original order. All of them by default.
    #[serde(default)]
    rows: Rows,
    /// Put the task's name in front of every input, as T5 does.
    #[serde(default = "yes")]
    prefix: bool,
    /// Ids of an input, with eos; the rest is cut off.
    #[serde(default = "inputs")]
    input_length: usize,
    /// Ids of a target, with eos.
    #[serde(default = "targets")]
    target_length: usize,
    /// Seed of samples and generated rows.
    #[serde(default)]
    seed: u64,
}

fn yes() -> bool {
    true
}

fn inputs() -> usize {
    512
}

fn targets() -> usize {
    32
}

/// Where examples come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum From {
    /// A task of the built-in world: `w_nli`.
    Builtin(String),
    /// Files of a published data set.
    Files(Files),
}

/// Files of a published data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    /// Task and layout: `glue/mnli`, `superglue/cb`, `squad`.
    format: String,
    /// Training examples.
    #[serde(skip_serializing)]
    train: String,
    /// Examples on which checkpoints are chosen.
    #[serde(default, skip_serializing)]
    validation: Option<String>,
    /// Held-out examples.
    #[serde(default, skip_serializing)]
    test: Option<String>,
}

/// Examples by split.
type Splits = Vec<(Split, Vec<Example>)>;

/// Largest numbers of rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Rows {
    /// Of the training split.
    train: Option<usize>,
    /// Of the validation split.
    validation: Option<usize>,
    /// Of the test split.
    test: Option<usize>,
}

impl Rows {
    fn of(&self, split: Split) -> Option<usize> {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }
}

impl Stage for Ingest {
    const KIND: &'static str = "ingest";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "dataset", of: DATASET }];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone)];
        if let From::Files(files) = &self.from {
            inputs.push(Input::file("from.files.train", &files.train));
            inputs.extend(files.validation.iter().map(|path| Input::file("from.files.validation", path)));
            inputs.extend(files.test.iter().map(|path| Input::file("from.files.test", path)));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        match &self.from {
            From::Builtin(name) if world::find(name).is_none() => {
                let known = suggestion(name, world::tasks().iter().map(|task| task.name));
                Err(Issue::new("from.builtin", format!("no built-in task `{name}`{known}")))
            }
            From::Files(files) if tasks::task(&files.format).is_none() => {
                let known: Vec<&str> = tasks::formats().collect();
                let known = suggestion(&files.format, known.iter().copied());
                Err(Issue::new("from.files.format", format!("no data set format `{}`{known}", files.format)))
            }
            _ if self.input_length < 2 => Err(Issue::new("input_length", "expected at least 2")),
            _ if self.target_length < 2 => Err(Issue::new("target_length", "expected at least 2")),
            _ => Ok(()),
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let (tokens, digest) = backbone::tokenizer(cx.one("backbone")?)?;
        let (task, splits) = self.examples(cx)?;
        let parts = splits
            .into_iter()
            .map(|(split, examples)| self.part(split, examples, &tokens))
            .collect::<anyhow::Result<Vec<Part>>>()?;
        let dataset = Dataset { task, template: self.template(), tokenizer: Some(digest.to_string()), parts };
        cx.write("dataset", &write_dataset(&dataset)?)
    }
}

impl Ingest {
    fn examples(&self, cx: &Cx<'_>) -> anyhow::Result<(Task, Splits)> {
        match &self.from {
            From::Builtin(name) => {
                let builtin = world::find(name).with_context(|| format!("no built-in task `{name}`"))?;
                let splits = Split::ALL.map(|split| {
                    let count = self.rows.of(split).unwrap_or_else(|| builtin.rows(split));
                    let mut examples = builtin.examples(split, count, self.seed);
                    if self.prefix {
                        examples.iter_mut().for_each(|e| e.input = format!("{name} {}", e.input));
                    }
                    (split, examples)
                });
                Ok((builtin.task(), splits.into()))
            }
            From::Files(files) => {
                let task = tasks::task(&files.format).with_context(|| format!("no format `{}`", files.format))?;
                let paths = [Some(&files.train), files.validation.as_ref(), files.test.as_ref()];
                let mut splits = Vec::new();
                for (split, path) in Split::ALL.into_iter().zip(paths) {
                    let Some(path) = path else { continue };
                    let bytes = cx.one(&format!("from.files.{}", split.name()))?.bytes()?;
                    let examples = tasks::read(&files.format, &bytes, split, &self.reading())
                        .with_context(|| format!("`{path}`"))?;
                    splits.push((split, self.sample(split, examples)));
                }
                Ok((task, splits))
            }
        }
    }

    /// How an input is put together.
    fn template(&self) -> String {
        match &self.from {
            From::Builtin(name) => {
                let fields = world::find(name).map_or(&[][..], |task| task.fields);
                let prefix = self.prefix.then(|| name.clone());
                let fields = fields.iter().map(|field| format!("{field}: {{{field}}}"));
                prefix.into_iter().chain(fields).collect::<Vec<_>>().join(" ")
            }
            From::Files(files) => tasks::template(&files.format, &self.reading()).unwrap_or_default(),
        }
    }

    fn reading(&self) -> Reading {
        Reading { prefix: self.prefix, ..Reading::default() }
    }

    fn sample(&self, split: Split, examples: Vec<Example>) -> Vec<Example> {
        match self.rows.of(split) {
            Some(rows) if rows < examples.len() => {
                let mut stream = Stream::new(self.seed, &format!("rows of {}", split.name()));
                let mut taken = stream.sample(examples.len(), rows);
                taken.sort_unstable();
                taken.into_iter().map(|i| examples[i].clone()).collect()
            }
            _ => examples,
        }
    }

    fn part(&self, split: Split, examples: Vec<Example>, tokens: &Tokens) -> anyhow::Result<Part> {
        let encode = |text: fn(&Example) -> &str, longest: usize| {
            examples
                .iter()
                .map(|example| Ok(tokens.encode(text(example), longest)?))
                .collect::<anyhow::Result<Vec<_>>>()
        };
        let inputs = encode(|example| &example.input, self.input_length)?;
        let targets = encode(|example| &example.target, self.target_length)?;
        let tokens = inputs.into_iter().zip(targets).map(|(input, target)| Tokenized { input, target }).collect();
        Ok(Part { split, examples, tokens })
    }
}
