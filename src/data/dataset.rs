//! Data sets as Parquet: examples with their token ids, and the task they make up in the file's metadata.

use super::table::{GROUP, TableWriter};
use super::{Column, DataError, Table};
use crate::ml::tasks::{Answer, Example, Split, Task};
use crate::ml::train::examples::Pair;
use std::io::Write;

/// Examples of one task, in text and in the ids of one tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the examples are for.
    pub task: Task,
    /// How inputs are put together, for people.
    pub template: String,
    /// Digest of the tokenizer that made the ids; `None` if there are none.
    pub tokenizer: Option<String>,
    /// Parts, at most one of each split.
    pub parts: Vec<Part>,
}

/// The examples of one split.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which split.
    pub split: Split,
    /// Its examples.
    pub examples: Vec<Example>,
    /// Ids of every example; empty if the data set has no tokenizer.
    pub tokens: Vec<Tokenized>,
}

/// Token ids of one example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// Of the input.
    pub input: Vec<u32>,
    /// Of the target.
    pub target: Vec<u32>,
}

impl Dataset {
    /// The part of a split.
    pub fn part(&self, split: Split) -> Option<&Part> {
        self.parts.iter().find(|part| part.split == split)
    }

    /// The examples of a split; none if there is no such split.
    pub fn examples(&self, split: Split) -> &[Example] {
        self.part(split).map_or(&[], |part| &part.examples)
    }

    /// Whether answers to a split are known, so that it can be scored; a test split may lack some or all.
    pub fn has_answers(&self, split: Split) -> bool {
        self.examples(split).iter().any(|example| self.task.knows(example))
    }

    /// Ids of inputs and targets of a split.
    pub fn pairs(&self, split: Split) -> impl Iterator<Item = Pair<'_>> {
        let part = self.part(split).into_iter();
        part.flat_map(|part| part.tokens.iter().map(|ids| (&ids.input[..], &ids.target[..])))
    }

    /// The largest id; a model must have a row for it.
    pub fn largest_id(&self) -> Option<u32> {
        let tokens = self.parts.iter().flat_map(|part| &part.tokens);
        tokens.flat_map(|ids| ids.input.iter().chain(&ids.target)).copied().max()
    }
}

/// The version of the layout that this module writes.
const VERSION: &str = "1";

/// A data set as Parquet, one row an example: id, input, target, input_ids, target_ids, label, group, answers, split, and
/// choices where examples bring them.
///
/// # Errors
/// If Parquet refuses.
///
/// # Panics
/// If a split occurs twice, or if there are ids without a tokenizer or for some examples only.
pub fn write_dataset(dataset: &Dataset) -> Result<Vec<u8>, DataError> {
    let parts = &dataset.parts;
    let splits: Vec<Split> = parts.iter().map(|part| part.split).collect();
    let head = Head {
        task: &dataset.task,
        template: &dataset.template,
        tokenizer: dataset.tokenizer.as_deref(),
        splits: &splits,
        brings_choices: parts.iter().flat_map(|part| &part.examples).any(|example| !example.choices.is_empty()),
    };
    let mut writer = DatasetWriter::new(Vec::new(), &head)?;
    for part in parts {
        let split = part.split;
        let expected = if dataset.tokenizer.is_some() { part.examples.len() } else { 0 };
        assert_eq!(part.tokens.len(), expected, "ids for every example of {split:?}, and only with a tokenizer");
        let mut tokens = part.tokens.iter().cloned();
        for example in &part.examples {
            writer.push(split, example.clone(), tokens.next().unwrap_or_default())?;
        }
    }
    writer.finish()
}

/// All of a data set but its examples.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// What the examples are for.
    pub task: &'h Task,
    /// How inputs are put together, for people.
    pub template: &'h str,
    /// Digest of the tokenizer that made the ids; `None` if there are none.
    pub tokenizer: Option<&'h str>,
    /// Splits in the order of their examples, each once.
    pub splits: &'h [Split],
    /// Whether some example brings choices.
    pub brings_choices: bool,
}

/// A data set that is written example by example; of these at most [a row group](GROUP) is in memory.
pub struct DatasetWriter<W: Write + Send> {
    writer: TableWriter<W>,
    has_ids: bool,
    brings_choices: bool,
    rows: Vec<Row>,
}

/// An example with its split and ids.
type Row = (Split, Example, Tokenized);

impl<W: Write + Send> DatasetWriter<W> {
    /// A data set without examples yet.
    ///
    /// # Errors
    /// If Parquet refuses, or `to` cannot be written.
    ///
    /// # Panics
    /// If a split occurs twice.
    pub fn new(to: W, head: &Head<'_>) -> Result<Self, DataError> {
        for (at, split) in head.splits.iter().enumerate() {
            assert!(!head.splits[..at].contains(split), "two parts for {split:?}");
        }
        let (has_ids, brings_choices) = (head.tokenizer.is_some(), head.brings_choices);
        let mut table = table(Vec::new(), has_ids, brings_choices)
            .with("spot.dataset", VERSION)
            .with("task", serde_json::to_string(head.task).expect("a task is JSON"))
            .with("template", head.template)
            // Splits without examples would be lost otherwise.
            .with("splits", head.splits.iter().map(|split| split.name()).collect::<Vec<_>>().join(" "));
        if let Some(tokenizer) = head.tokenizer {
            table = table.with("tokenizer", tokenizer);
        }
        Ok(Self { writer: TableWriter::new(to, &table)?, has_ids, brings_choices, rows: Vec::new() })
    }

    /// Writes the next example, whose ids are of no account in a data set without a tokenizer.
    ///
    /// # Errors
    /// If Parquet refuses, or the file cannot be written.
    pub fn push(&mut self, split: Split, example: Example, ids: Tokenized) -> Result<(), DataError> {
        self.rows.push((split, example, ids));
        if self.rows.len() == GROUP { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), DataError> {
        let rows = std::mem::take(&mut self.rows);
        self.writer.write(&table(rows, self.has_ids, self.brings_choices))
    }

    /// Writes what is left, and gives back what was written to.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self) -> Result<W, DataError> {
        if !self.rows.is_empty() {
            self.write()?;
        }
        self.writer.finish()
    }
}

/// Rows as columns.
fn table(rows: Vec<Row>, has_ids: bool, brings_choices: bool) -> Table {
    let count = rows.len();
    let text = || Vec::<String>::with_capacity(count);
    let (mut ids, mut inputs, mut targets, mut splits) = (text(), text(), text(), text());
    let (mut input_ids, mut target_ids) = (Vec::new(), Vec::new());
    let (mut labels, mut groups, mut answers, mut choices) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (split, example, tokens) in rows {
        ids.push(example.id);
        inputs.push(example.input);
        targets.push(example.target);
        input_ids.push(tokens.input);
        target_ids.push(tokens.target);
        labels.push(example.label.map(i64::from));
        groups.push(example.group);
        answers.push(example.answers);
        splits.push(split.name().to_owned());
        choices.push(example.choices);
    }
    let mut columns =
        vec![("id", Column::Text(ids)), ("input", Column::Text(inputs)), ("target", Column::Text(targets))];
    if has_ids {
        columns.extend([("input_ids", Column::Ids(input_ids)), ("target_ids", Column::Ids(target_ids))]);
    }
    columns.extend([
        ("label", Column::OptInt(labels)),
        ("group", Column::OptText(groups)),
        ("answers", Column::Texts(answers)),
        ("split", Column::Text(splits)),
    ]);
    if brings_choices {
        columns.push(("choices", Column::Texts(choices)));
    }
    Table::new(columns)
}

/// The task of a data set and the template of its inputs, without reading the examples.
///
/// # Errors
/// If the file is damaged, or no data set.
pub fn read_task(bytes: &[u8]) -> Result<(Task, String), DataError> {
    let mut table = Table::columns_from_parquet(bytes, |_| false)?;
    Ok((task(&mut table)?, entry(&mut table, "template", "a text")?))
}

/// Reads a data set, and checks that rows, labels and splits are those that its task can have.
///
/// # Errors
/// If it is not Parquet, or its metadata, a row, a label or a split is not one that its task can have.
pub fn read_dataset(bytes: &[u8]) -> Result<Dataset, DataError> {
    let mut table = Table::from_parquet(bytes)?;
    let task = task(&mut table)?;
    let template = entry(&mut table, "template", "a text")?;
    let splits = entry(&mut table, "splits", "names of splits")?;
    let tokenizer = entry(&mut table, "tokenizer", "a digest").ok();

    let empty = |split| Part { split, examples: Vec::new(), tokens: Vec::new() };
    let mut parts: Vec<Part> = splits_of(&splits)?.into_iter().map(empty).collect();
    let tokens = match tokenizer {
        None => None,
        Some(_) => Some((table.take_ids("input_ids")?, table.take_ids("target_ids")?)),
    };
    let rows = rows(&mut table, &task)?;
    let mut tokens = tokens.map(|(inputs, targets)| inputs.into_iter().zip(targets));
    for (row, (word, example)) in rows.into_iter().enumerate() {
        let part = Split::named(&word).and_then(|split| parts.iter_mut().find(|part| part.split == split));
        let part = part.ok_or_else(|| no_split(row, &word, &splits))?;
        part.examples.push(example);
        if let Some((input, target)) = tokens.as_mut().and_then(Iterator::next) {
            part.tokens.push(Tokenized { input, target });
        }
    }
    Ok(Dataset { task, template, tokenizer, parts })
}

/// The splits that the metadata name.
pub(super) fn splits_of(words: &str) -> Result<Vec<Split>, DataError> {
    let mut splits = Vec::new();
    for word in words.split_whitespace() {
        let split = Split::named(word).filter(|split| !splits.contains(split));
        splits.push(split.ok_or_else(|| DataError::Metadata {
            key: "splits",
            found: format!("is `{words}`"),
            expected: "`train`, `validation` and `test`, each once at most".to_owned(),
        })?);
    }
    Ok(splits)
}

/// Takes an entry of the metadata out.
pub(super) fn entry(table: &mut Table, key: &'static str, expected: &str) -> Result<String, DataError> {
    table.metadata.remove(key).ok_or_else(|| DataError::Metadata {
        key,
        found: "is missing".to_owned(),
        expected: expected.to_owned(),
    })
}

/// The task that the metadata describe, once the layout is known to be this module's.
pub(super) fn task(table: &mut Table) -> Result<Task, DataError> {
    let version = entry(table, "spot.dataset", "the version of a data set file")?;
    if version != VERSION {
        let found = format!("is `{version}`");
        return Err(DataError::Metadata { key: "spot.dataset", found, expected: format!("`{VERSION}`") });
    }
    let task: Task =
        serde_json::from_str(&entry(table, "task", "a task as JSON")?).map_err(|error| DataError::Metadata {
            key: "task",
            found: format!("cannot be read: {error}"),
            expected: "a task as JSON".to_owned(),
        })?;
    check(&task)?;
    Ok(task)
}

/// The error of a row of a split that the metadata do not name.
pub(super) fn no_split(row: usize, word: &str, splits: &str) -> DataError {
    DataError::Cell {
        row,
        column: "split".to_owned(),
        found: format!("`{word}`"),
        expected: format!("one of `{splits}`, as the file metadata says"),
    }
}

/// The split and the example of every row.
pub(super) fn rows(table: &mut Table, task: &Task) -> Result<Vec<(String, Example)>, DataError> {
    let ids = table.take_text("id")?;
    let inputs = table.take_text("input")?.into_iter();
    let mut targets = table.take_text("target")?.into_iter();
    let mut labels = table.take_opt_int("label")?.into_iter();
    let mut groups = table.take_opt_text("group")?.into_iter();
    let mut answers = table.take_texts("answers")?.into_iter();
    let mut splits = table.take_text("split")?.into_iter();
    let classes = match task.answer {
        Answer::Label => task.labels.len(),
        Answer::Referent => 2,
        // Of choices as many as the example brings.
        Answer::Number | Answer::Text | Answer::Choice => 0,
    };
    let has_choices = table.columns.iter().any(|(name, _)| name == "choices");
    let mut choices = if has_choices { table.take_texts("choices")? } else { Vec::new() }.into_iter();
    let mut rows = Vec::with_capacity(ids.len());
    for (row, (id, input)) in ids.into_iter().zip(inputs).enumerate() {
        const EQUAL: &str = "columns have equal length";
        let choices = choices.next().unwrap_or_default();
        let classes = if task.answer == Answer::Choice { choices.len() } else { classes };
        let label = match labels.next().expect(EQUAL) {
            None => None,
            Some(label) => Some(u32::try_from(label).ok().filter(|id| (*id as usize) < classes).ok_or_else(|| {
                DataError::Cell {
                    row,
                    column: "label".to_owned(),
                    found: label.to_string(),
                    expected: format!("less than the {classes} labels of `{}`, and not below 0", task.name),
                }
            })?),
        };
        let example = Example {
            id,
            input,
            target: targets.next().expect(EQUAL),
            label,
            group: groups.next().expect(EQUAL),
            answers: answers.next().expect(EQUAL),
            choices,
        };
        rows.push((splits.next().expect(EQUAL), example));
    }
    Ok(rows)
}

/// A task from outside must not ask for what scoring cannot give.
fn check(task: &Task) -> Result<(), DataError> {
    let wrong =
        |found: String, expected: &str| Err(DataError::Metadata { key: "task", found, expected: expected.to_owned() });
    if let Some(metric) = task.metrics.iter().find(|metric| !task.answer.metrics().contains(metric)) {
        let known = format!("{:?}", task.answer.metrics());
        return wrong(format!("asks for {metric:?} of {:?} answers", task.answer), &known);
    }
    if task.answer == Answer::Label && task.labels.is_empty() {
        return wrong("has label answers without labels".to_owned(), "label words");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks;

    fn dataset() -> Dataset {
        let example = |i: u32| Example {
            id: i.to_string(),
            input: format!("multirc question: {i}"),
            target: ["False", "True"][i as usize % 2].to_owned(),
            label: (i != 2).then_some(i % 2),
            group: Some(format!("q{}", i / 2)),
            answers: if i == 3 { vec!["a".to_owned(), String::new()] } else { vec![] },
            choices: Vec::new(),
        };
        let part = |split, ids: std::ops::Range<u32>| Part {
            split,
            examples: ids.clone().map(example).collect(),
            tokens: ids.map(|i| Tokenized { input: vec![i, 1], target: (0..i).collect() }).collect(),
        };
        Dataset {
            task: tasks::task("superglue/multirc").unwrap(),
            template: "multirc question: {question}".to_owned(),
            tokenizer: Some("0123".to_owned()),
            parts: vec![part(Split::Train, 0..5), part(Split::Validation, 2..4), part(Split::Test, 0..0)],
        }
    }

    #[test]
    fn data_sets_come_back_as_they_were() {
        let bytes = write_dataset(&dataset()).unwrap();
        assert_eq!(read_dataset(&bytes).unwrap(), dataset());
        assert_eq!(write_dataset(&read_dataset(&bytes).unwrap()).unwrap(), bytes);
        assert_eq!(dataset().part(Split::Validation).unwrap().examples.len(), 2);
    }

    #[test]
    fn a_data_set_needs_no_tokens() {
        let mut plain = dataset();
        plain.tokenizer = None;
        plain.parts.iter_mut().for_each(|part| part.tokens.clear());
        assert_eq!(read_dataset(&write_dataset(&plain).unwrap()).unwrap(), plain);
    }

    #[test]
    fn one_changed_row_changes_the_bytes() {
        let mut other = dataset();
        other.parts[0].examples[1].input.push('.');
        assert_ne!(write_dataset(&other).unwrap(), write_dataset(&dataset()).unwrap());
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Table), expected: &str) {
        let mut table = Table::from_parquet(&write_dataset(&dataset()).unwrap()).unwrap();
        change(&mut table);
        let error = read_dataset(&table.to_parquet().unwrap()).unwrap_err().to_string();
        assert_eq!(error, expected);
    }

    #[test]
    fn files_that_contradict_themselves_are_refused() {
        refused(
            |table| drop(table.metadata.remove("task")),
            "file metadata `task` is missing, expected a task as JSON",
        );
        refused(
            |table| drop(table.metadata.insert("spot.dataset".into(), "9".into())),
            "file metadata `spot.dataset` is `9`, expected `1`",
        );
        refused(
            |table| drop(table.metadata.insert("splits".into(), "train train".into())),
            "file metadata `splits` is `train train`, expected `train`, `validation` and `test`, each once at most",
        );
        refused(
            |table| drop(table.metadata.insert("splits".into(), "train test".into())),
            "row 5, column `split`: `validation`, expected one of `train test`, as the file metadata says",
        );
        refused(
            |table| {
                let label = table.columns.iter_mut().find(|(name, _)| name == "label").unwrap();
                label.1 = Column::OptInt(vec![Some(0), Some(7), None, None, None, None, None]);
            },
            "row 1, column `label`: 7, expected less than the 2 labels of `multirc`, and not below 0",
        );
        refused(
            |table| table.columns.retain(|(name, _)| name != "input_ids"),
            "no column `input_ids`; the file has `id`, `input`, `target`, `target_ids`, `label`, `group`, `answers`, `split`",
        );
        refused(
            |table| {
                let task = table.metadata["task"].replace("\"f1\"", "\"pearson\"");
                table.metadata.insert("task".into(), task);
            },
            "file metadata `task` asks for Pearson of Label answers, expected [Accuracy, F1, MacroF1, Matthews, GroupExactMatch]",
        );
    }
}
