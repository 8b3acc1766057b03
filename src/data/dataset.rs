//! A task's examples with their token ids.

use super::{Column, DataError, Table, content};
use crate::ml::tasks::{Example, Split, Task};
use crate::ml::train::Pair;

/// A task and its splits.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the data set says of its task.
    pub task: Task,
    /// Digest of the tokenizer that made the ids.
    pub tokenizer: String,
    /// The splits, each at most once.
    pub parts: Vec<Part>,
}

/// A split.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which.
    pub split: Split,
    /// The examples.
    pub examples: Vec<Example>,
    /// Ids of their inputs, with eos.
    pub inputs: Vec<Vec<u32>>,
    /// Ids of their targets, with eos.
    pub targets: Vec<Vec<u32>>,
}

impl Dataset {
    fn part(&self, split: Split) -> Option<&Part> {
        self.parts.iter().find(|part| part.split == split)
    }

    /// The examples of a split; none if there is no such split.
    pub fn examples(&self, split: Split) -> &[Example] {
        self.part(split).map_or(&[], |part| &part.examples)
    }

    /// Ids of inputs and targets of a split.
    pub fn pairs(&self, split: Split) -> impl Iterator<Item = Pair<'_>> {
        let part = self.part(split).into_iter();
        part.flat_map(|part| part.inputs.iter().map(Vec::as_slice).zip(part.targets.iter().map(Vec::as_slice)))
    }

    /// As Parquet: a row for each example; the task in the metadata.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        let examples = || self.parts.iter().flat_map(|part| &part.examples);
        let text = |f: fn(&Example) -> &String| Column::Text(examples().map(|e| f(e).clone()).collect());
        let splits = self.parts.iter().flat_map(|part| part.examples.iter().map(|_| part.split.name().to_owned()));
        let table = Table::new(vec![
            ("id", text(|e| &e.id)),
            ("input", text(|e| &e.input)),
            ("target", text(|e| &e.target)),
            ("input_ids", Column::Ids(self.parts.iter().flat_map(|part| part.inputs.clone()).collect())),
            ("target_ids", Column::Ids(self.parts.iter().flat_map(|part| part.targets.clone()).collect())),
            ("label", Column::OptInt(examples().map(|e| e.label.map(i64::from)).collect())),
            ("group", Column::OptText(examples().map(|e| e.group.clone()).collect())),
            ("answers", Column::Texts(examples().map(|e| e.answers.clone()).collect())),
            ("split", Column::Text(splits.collect())),
        ]);
        let task = serde_json::to_string(&self.task).map_err(|error| content(error.to_string()))?;
        table.with("task", &task).with("tokenizer", &self.tokenizer).to_bytes()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, DataError> {
        let table = Table::read(bytes)?;
        let task = table.get("task").ok_or_else(|| content("no `task` in the metadata; this is no data set"))?;
        let task: Task = serde_json::from_str(task).map_err(|error| content(format!("`task`: {error}")))?;
        let tokenizer = table.get("tokenizer").unwrap_or_default().to_owned();
        let (ids, inputs, targets) = (table.text("id")?, table.text("input")?, table.text("target")?);
        let (input_ids, target_ids) = (table.ids("input_ids")?, table.ids("target_ids")?);
        let (labels, groups) = (table.opt_int("label")?, table.opt_text("group")?);
        let (answers, splits) = (table.texts("answers")?, table.text("split")?);
        let mut parts: Vec<Part> = Vec::new();
        for row in 0..table.rows() {
            let split = Split::from_name(&splits[row])
                .ok_or_else(|| content(format!("row {row}: `{}` is no split", splits[row])))?;
            let label = labels[row].map(u32::try_from).transpose().map_err(|_| content("a label below 0"))?;
            if label.is_some_and(|label| label as usize >= task.labels.len()) {
                return Err(content(format!("row {row}: a label outside the task's {}", task.labels.len())));
            }
            if !parts.iter().any(|part| part.split == split) {
                parts.push(Part { split, examples: Vec::new(), inputs: Vec::new(), targets: Vec::new() });
            }
            let part = parts.iter_mut().find(|part| part.split == split).expect("added just above");
            part.examples.push(Example {
                id: ids[row].clone(),
                input: inputs[row].clone(),
                target: targets[row].clone(),
                label,
                group: groups[row].clone(),
                answers: answers[row].clone(),
            });
            part.inputs.push(input_ids[row].clone());
            part.targets.push(target_ids[row].clone());
        }
        Ok(Self { task, tokenizer, parts })
    }

    /// The largest id among inputs and targets.
    pub fn largest_id(&self) -> Option<u32> {
        self.parts.iter().flat_map(|part| part.inputs.iter().chain(&part.targets)).flatten().copied().max()
    }
}
