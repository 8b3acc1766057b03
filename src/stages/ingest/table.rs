//! Tasks of a user's own, from tables that people have: `from: {table: …}`.

use super::{Splits, stem};
use crate::data::Layout;
use crate::engine::context::Cx;
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Issue, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{Amount, Answer, Example, Labels, Metric, Own, Quotes, Split, Task, Template, hold_out};
use crate::stages::word::Word;
use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Tables of your own, as `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json` or `.parquet` files: paths, or outputs of a `command` as
/// `{output: stage.name.csv}`. A table has a header, or names in its objects. JSON may be an object on each line, an array, or
/// objects over several lines. Files packed with gzip or zstd (`.csv.gz`, `.jsonl.zst`) are unpacked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Training rows.
    train: FileInput,
    /// Rows on which checkpoints are chosen. Without them a part of the training rows is split off, drawn by the seed, with
    /// groups in one piece and labels in proportion.
    #[serde(default)]
    validation: Option<FileInput>,
    /// Held-out rows. They may hide their answers: by empty cells, null, NaN, `NA` and the like, by -1, or without the column. Rows
    /// without an answer are predicted and not scored.
    #[serde(default)]
    test: Option<FileInput>,
    /// How an input is put together, with names of columns in braces: `"title: {title} review: {text}"`. `{{` is a brace.
    template: String,
    /// The column with the answer.
    label: String,
    /// The words that the model answers with. A mapping: values of the column and their words, looked up by value alone. A list: the
    /// column holds its words or, if it holds whole numbers and no word is a number, their places from 0. `1` and `1.0` are one
    /// value, and so are `true` and `True`; `true` and 1 are not. What could be read in two ways is refused. Without `labels`
    /// answers are free text, or numbers.
    #[serde(default)]
    labels: Option<LabelWords>,
    /// What answers are, if they are not labels: `text` (the default) or `number`. Free text may be a list of accepted
    /// answers, of which the first is learned.
    #[serde(default)]
    answer: Option<Kind>,
    /// Metrics; their mean is the score by which checkpoints are chosen. By default `accuracy` of labels, `pearson` and
    /// `spearman` of numbers, `exact_match` and `token_f1` of text.
    #[serde(default)]
    metrics: Option<Vec<Metric>>,
    /// Name of the task; by default that of the training file.
    #[serde(default)]
    name: Option<String>,
    /// The column that says which rows belong together: they stay on one side of any split, `group_exact_match` scores them
    /// together, and of free text only the first of a group is scored.
    #[serde(default)]
    group: Option<String>,
    /// The column that identifies rows; by default their numbers from 0.
    #[serde(default)]
    id: Option<String>,
    /// The part of the training rows that is split off where there is no validation file; 0.1 by default.
    #[serde(default)]
    validation_share: Option<f64>,
    /// What a quote at the beginning of a field of a `.tsv` file is. Say it where a file can be read in both ways.
    #[serde(default)]
    quotes: Option<Quotes>,
}

/// What answers are, if they are not labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Free text.
    Text,
    /// A number.
    Number,
}

/// Label words as a list, or as a mapping from values.
#[derive(Clone, Debug)]
struct LabelWords(Labels);

/// What of a table's definition decides the data set: everything but the paths.
#[derive(Serialize)]
struct Recipe<'t> {
    layouts: [Option<Layout>; 3],
    name: String,
    template: &'t str,
    label: &'t str,
    labels: Option<&'t LabelWords>,
    answer: Answer,
    metrics: Vec<Metric>,
    group: Option<&'t str>,
    id: Option<&'t str>,
    validation_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quotes: Option<Quotes>,
}

/// The part of the training rows that becomes the validation split if there is none.
const VALIDATION_SHARE: f64 = 0.1;

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recipe = Recipe {
            layouts: self.files().map(|(_, file)| Layout::of(file?.name())),
            name: self.name(),
            template: &self.template,
            label: &self.label,
            labels: self.labels.as_ref(),
            answer: self.answer(),
            metrics: self.metrics(),
            group: self.group.as_deref(),
            id: self.id.as_deref(),
            validation_share: self.validation.is_none().then(|| self.share()),
            quotes: self.quotes,
        };
        recipe.serialize(serializer)
    }
}

impl Serialize for LabelWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Labels::Words(words) => words.serialize(serializer),
            // As pairs: the order of the labels must not be lost.
            Labels::Values(values) => values.serialize(serializer),
        }
    }
}

impl Table {
    pub(super) fn inputs(&self) -> impl Iterator<Item = Input> {
        let input = |(split, file): (Split, Option<&FileInput>)| Some(file?.input(role(split), Type::FILE));
        self.files().into_iter().filter_map(input)
    }

    /// Looks for contradictions; a field's path is from `from.table`.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of its range.
    pub(super) fn check(&self) -> Result<(), Issue> {
        let issue = |field: &str, message: String| Issue::new(format!("from.table.{field}"), message);
        let wrong = |field: &str, message: String| Err(issue(field, message));
        for (split, file) in self.files() {
            if let Some(file) = file.filter(|file| Layout::of(file.name()).is_none()) {
                let endings = Layout::ENDINGS;
                return wrong(split.name(), format!("is `{file}`, expected a file whose name ends in {endings}"));
            }
        }
        let is_tsv = |file: &FileInput| Layout::of(file.name()) == Some(Layout::Tsv);
        if self.quotes.is_some() && !self.files().into_iter().any(|(_, file)| file.is_some_and(is_tsv)) {
            return wrong(
                "quotes",
                "is given, but no file is a `.tsv`, the only one in which quotes can mean two things".to_owned(),
            );
        }
        if self.labels.is_some() && self.answer.is_some() {
            return wrong(
                "answer",
                "is given beside `labels`, which say that answers are labels; leave one out".to_owned(),
            );
        }
        match self.validation_share {
            Some(_) if self.validation.is_some() => {
                return wrong("validation_share", "is given beside `validation`; leave one out".to_owned());
            }
            Some(share) if !(share > 0.0 && share < 1.0) => {
                return wrong("validation_share", format!("is {share}, expected between 0 and 1"));
            }
            _ => {}
        }
        let template = Template::parse(&self.template).map_err(|message| issue("template", message))?;
        self.own(template).check().map_err(|(field, message)| issue(field, message))
    }

    /// The task and its examples.
    ///
    /// # Errors
    /// If a file is damaged, a row is not one of the task, or too few rows are left to split off a validation set.
    pub(super) fn read(&self, cx: &Cx<'_>, prefix: bool, seed: u64) -> anyhow::Result<(Task, Splits)> {
        let own = self.own(Template::parse(&self.template).map_err(|message| anyhow!("`template` {message}"))?);
        let mut splits: Splits = Vec::new();
        for (split, file) in self.files() {
            let Some(file) = file else { continue };
            let bytes = cx.one(&role(split))?.bytes()?;
            let read = self.examples(&own, file.name(), &bytes, split, prefix);
            splits.push((split, read.with_context(|| format!("`{file}`"))?));
        }
        if self.validation.is_none() {
            let mut stream = Stream::new(seed, "validation rows");
            let (_, train) = splits.remove(0);
            let (train, validation) = hold_out(train, Amount::Share(self.share()), &mut stream)
                .map_err(|message| anyhow!("no `validation`, so it is split off `{}`: {message}", self.train))?;
            splits.splice(0..0, [(Split::Train, train), (Split::Validation, validation)]);
        }
        Ok((own.task(), splits))
    }

    fn examples(
        &self,
        own: &Own,
        path: &str,
        bytes: &[u8],
        split: Split,
        prefix: bool,
    ) -> anyhow::Result<Vec<Example>> {
        let layout = Layout::of(path).with_context(|| format!("expected {}", Layout::ENDINGS))?;
        let sheet = layout.read(path, bytes, self.quotes, &own.wanted(split))?;
        Ok(own.examples(sheet, split, prefix)?)
    }

    /// The template with the task's name in front, if inputs have it.
    pub(super) fn template(&self, prefix: bool) -> String {
        if prefix { format!("{} {}", self.name(), self.template) } else { self.template.clone() }
    }

    fn files(&self) -> [(Split, Option<&FileInput>); 3] {
        [
            (Split::Train, Some(&self.train)),
            (Split::Validation, self.validation.as_ref()),
            (Split::Test, self.test.as_ref()),
        ]
    }

    fn own(&self, template: Template) -> Own {
        Own {
            name: self.name(),
            template,
            label: self.label.clone(),
            labels: self.labels.as_ref().map(|words| words.0.clone()),
            answer: self.answer(),
            metrics: self.metrics(),
            group: self.group.clone(),
            id: self.id.clone(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| stem(self.train.name()).to_owned())
    }

    fn answer(&self) -> Answer {
        match (&self.labels, self.answer) {
            (Some(_), _) => Answer::Label,
            (None, Some(Kind::Number)) => Answer::Number,
            (None, Some(Kind::Text) | None) => Answer::Text,
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        self.metrics.clone().unwrap_or_else(|| Own::usual_metrics(self.answer()))
    }

    fn share(&self) -> f64 {
        self.validation_share.unwrap_or(VALIDATION_SHARE)
    }
}

fn role(split: Split) -> String {
    format!("from.table.{}", split.name())
}

impl<'de> Deserialize<'de> for LabelWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrMap;
        impl<'de> Visitor<'de> for ListOrMap {
            type Value = LabelWords;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of words, or a mapping from values to words")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<LabelWords, A::Error> {
                let mut words = Vec::new();
                while let Some(Word(word)) = items.next_element()? {
                    words.push(word);
                }
                Ok(LabelWords(Labels::Words(words)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<LabelWords, A::Error> {
                let mut values = Vec::new();
                while let Some((Word(value), Word(word))) = entries.next_entry()? {
                    values.push((value, word));
                }
                Ok(LabelWords(Labels::Values(values)))
            }
        }
        deserializer.deserialize_any(ListOrMap)
    }
}

impl JsonSchema for LabelWords {
    fn schema_name() -> Cow<'static, str> {
        "LabelWords".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let word = schemars::json_schema!({"type": ["string", "integer", "boolean"]});
        schemars::json_schema!({
            "description": "A list of words, or a mapping from values of the column to words.",
            "type": ["array", "object"],
            "items": word,
            "additionalProperties": word,
        })
    }
}
