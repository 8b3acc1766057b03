//! Tasks of a user's own, from tables that people have: `from: {table: …}`.

use super::{Left, Splits, stem};
use crate::data::Layout;
use crate::engine::context::Cx;
use crate::engine::files_input::FilesInput;
use crate::engine::stage::{Input, Issue, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{
    Amount, Answer, Choices, Condition, Decimal, Dialect, Labels, Metric, Mistake, Named, Own, Quotes, Read, Sheet,
    SheetError, Split, Task, Template, hold_out,
};
use crate::stages::word::Word;
use anyhow::{Context, anyhow, ensure};
use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Tables of your own, as `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json`, `.parquet` or `.arrow` files: paths, outputs of a `command` as
/// `{output: stage.name.csv}`, folders (`data/rte/`), patterns (`data/train-*.parquet`), or lists of them, whose rows follow each other.
/// A table has a header, or names in its objects; `columns` names those of a file without. JSON may be an object on each line, an
/// array, or objects over several lines. Files packed with gzip, zstd, bzip2 or xz (`.csv.gz`, `.jsonl.zst`) are unpacked.
///
/// Where a column is named, a part of a nested one may be: `options[0]`, `answers.text[0]`, `len(options)`, `options|join(", ")`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Training rows.
    train: FilesInput,
    /// Rows on which checkpoints are chosen. Without them a part of the training rows is split off, drawn by the seed, with
    /// groups in one piece and labels in proportion.
    #[serde(default)]
    validation: Option<FilesInput>,
    /// Held-out rows. They may hide their answers: by empty cells, null, NaN, `NA` and the like, by -1, or without the column. Rows
    /// without an answer are predicted and not scored.
    #[serde(default)]
    test: Option<FilesInput>,
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
    /// The answers among which each row's is, as many as it has: `choices: {from: options, first: 0}`. The model learns to write
    /// the text of the right one; `decoding: rank` of `evaluate` compares those of the row.
    #[serde(default)]
    choices: Option<Options>,
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
    /// The names of the columns, in their order, of `.csv` and `.tsv` files without a header.
    #[serde(default)]
    columns: Option<Vec<String>>,
    /// Rows that are left out, and counted: a condition, or a list of which one is enough. `gold_label == "-"`, `votes < 3`,
    /// `text == null`; values are compared as those of `labels`, and null is any empty cell.
    #[serde(default)]
    drop: Option<Texts>,
    /// What answers that are numbers are rounded to multiples of: 0.2 makes fifths, as T5 has them of STS-B. They are written with as
    /// many decimals as it has, and halves go to the even neighbour, as with NumPy.
    #[serde(default)]
    round: Option<f64>,
}

/// Where a row has its choices.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The column with their list, or a list of columns with a choice each, of which the last may be empty.
    from: Texts,
    /// What the answer calls the first choice: 0, 1, `A` or `a`. Without it answers are texts of choices.
    #[serde(default)]
    first: Option<Word>,
}

/// Conditions on rows, or names of columns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
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
    layouts: [Option<Laid>; 3],
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
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<&'t [String]>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    drop: &'t [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<(&'t [String], Option<&'t Word>)>,
}

/// How the files of a split are laid out, as far as it is known without looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Laid {
    As(Layout),
    /// As the files of a folder are, whose names are in the recipe too.
    ByName(&'static str),
}

/// The part of the training rows that becomes the validation split if there is none.
const VALIDATION_SHARE: f64 = 0.1;

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recipe = Recipe {
            layouts: self.files().map(|(_, files)| laid(files?)),
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
            columns: self.columns.as_deref(),
            drop: self.drop.as_ref().map_or(&[], Texts::all),
            round: self.round,
            choices: self.choices.as_ref().map(|choices| (choices.from.all(), choices.first.as_ref())),
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
        let inputs =
            |(split, files): (Split, Option<&FilesInput>)| Some(files?.inputs(&role(split), Type::FILE, is_table));
        self.files().into_iter().filter_map(inputs).flatten()
    }

    /// Looks for contradictions; a field's path is from `from.table`.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of its range.
    pub(super) fn check(&self) -> Result<(), Issue> {
        let issue = |field: &str, message: String| Issue::new(format!("from.table.{field}"), message);
        let wrong = |field: &str, message: String| Err(issue(field, message));
        for (split, files) in self.files() {
            files.map_or(Ok(()), check_files).map_err(|message| issue(split.name(), message))?;
        }
        self.check_dialect().map_err(|(field, message)| issue(field, message))?;
        if self.name.is_none() && self.train.is_several() {
            return wrong(
                "name",
                "is needed, since the training rows are in several files, none of which is called as the task"
                    .to_owned(),
            );
        }
        if self.labels.is_some() && self.answer.is_some() {
            return wrong(
                "answer",
                "is given beside `labels`, which say that answers are labels; leave one out".to_owned(),
            );
        }
        if self.choices.is_some() && (self.labels.is_some() || self.answer.is_some()) {
            let other = if self.labels.is_some() { "labels" } else { "answer" };
            return wrong(
                "choices",
                format!("is given beside `{other}`, but answers are one or the other; leave one out"),
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
        self.own().and_then(|own| own.check()).map_err(|(field, message)| issue(field, message))
    }

    /// Whether what is said of delimited text fits the files.
    fn check_dialect(&self) -> Result<(), Mistake> {
        let files: Vec<Laid> = self.files().into_iter().filter_map(|(_, files)| laid(files?)).collect();
        let may_be = |layouts: &[Layout]| {
            files
                .iter()
                .any(|laid| matches!(laid, Laid::ByName(_)) || layouts.iter().any(|layout| *laid == Laid::As(*layout)))
        };
        if self.quotes.is_some() && !may_be(&[Layout::Tsv]) {
            let message = "is given, but no file is a `.tsv`, the only one in which quotes can mean two things";
            return Err(("quotes", message.to_owned()));
        }
        let Some(columns) = &self.columns else { return Ok(()) };
        if !may_be(&[Layout::Csv, Layout::Tsv]) {
            return Err((
                "columns",
                "is given, but no file is a `.csv` or `.tsv`; the others name their columns".to_owned(),
            ));
        }
        match columns.iter().enumerate().find(|(at, name)| name.trim().is_empty() || columns[..*at].contains(name)) {
            Some((_, name)) => Err(("columns", format!("has `{name}`, expected different names, none of them empty"))),
            None if columns.is_empty() => Err(("columns", "is empty, expected the name of every column".to_owned())),
            None => Ok(()),
        }
    }

    /// The task and its examples.
    ///
    /// # Errors
    /// If a file is damaged, a row is not one of the task, or too few rows are left to split off a validation set.
    pub(super) fn read(&self, cx: &Cx<'_>, prefix: bool, seed: u64) -> anyhow::Result<(Task, Splits, Left)> {
        let own = self.own().map_err(|(field, message)| anyhow!("`{field}` {message}"))?;
        let (mut splits, mut left): (Splits, Left) = (Vec::new(), Vec::new());
        for (split, files) in self.files() {
            let Some(files) = files else { continue };
            let Read { examples, left_out } = self.examples(cx, &own, files, split, prefix)?;
            splits.push((split, examples));
            left.extend(left_out.into_iter().map(|left| (split, left)));
        }
        if self.validation.is_none() {
            let mut stream = Stream::new(seed, "validation rows");
            let (_, train) = splits.remove(0);
            let (train, validation) = hold_out(train, Amount::Share(self.share()), &mut stream)
                .map_err(|message| anyhow!("no `validation`, so it is split off `{}`: {message}", self.train))?;
            splits.splice(0..0, [(Split::Train, train), (Split::Validation, validation)]);
        }
        Ok((own.task(), splits, left))
    }

    /// The examples of the files of a split, whose rows follow each other.
    fn examples(&self, cx: &Cx<'_>, own: &Own, files: &FilesInput, split: Split, prefix: bool) -> anyhow::Result<Read> {
        let files = files.files(cx, &role(split))?;
        let (wanted, dialect) = (own.wanted(split), Dialect { quotes: self.quotes, columns: self.columns.as_deref() });
        let (mut sheets, mut layouts) = (Vec::new(), Vec::new());
        for (name, file) in &files {
            let layout = Layout::of(name).with_context(|| format!("`{name}`: expected {}", Layout::ENDINGS))?;
            layouts.push((layout, name));
            ensure!(
                layout == layouts[0].0,
                "`{}` and `{name}` are laid out in two ways; say which is meant by a pattern with the ending",
                layouts[0].1
            );
            let sheet = layout.read(name, &file.bytes()?, dialect, &wanted);
            sheets.push(sheet.with_context(|| format!("`{name}`"))?);
        }
        let named = |error: SheetError| {
            let name = files.get(error.place.file).map_or("", |(name, _)| name);
            anyhow!(error).context(format!("`{name}`"))
        };
        own.examples(Sheet::of_files(sheets), split, prefix).map_err(named)
    }

    /// The template with the task's name in front, if inputs have it.
    pub(super) fn template(&self, prefix: bool) -> String {
        if prefix { format!("{} {}", self.name(), self.template) } else { self.template.clone() }
    }

    fn files(&self) -> [(Split, Option<&FilesInput>); 3] {
        [
            (Split::Train, Some(&self.train)),
            (Split::Validation, self.validation.as_ref()),
            (Split::Test, self.test.as_ref()),
        ]
    }

    /// The task, or the first of its fields that cannot be read.
    fn own(&self) -> Result<Own, Mistake> {
        let drop = self.drop.as_ref().map_or(&[][..], Texts::all).iter().map(|text| Condition::parse(text));
        let round = self.round.map(|step| Decimal::of(step).ok_or_else(|| format!("is {step}, expected a number")));
        Ok(Own {
            name: self.name(),
            template: Template::parse(&self.template).map_err(|message| ("template", message))?,
            label: self.label.clone(),
            labels: self.labels.as_ref().map(|words| words.0.clone()),
            answer: self.answer(),
            choices: self
                .choices
                .as_ref()
                .map(Options::read)
                .transpose()
                .map_err(|message| ("choices.first", message))?,
            metrics: self.metrics(),
            group: self.group.clone(),
            id: self.id.clone(),
            drop: drop.collect::<Result<_, _>>().map_err(|message| ("drop", message))?,
            round: round.transpose().map_err(|message| ("round", message))?,
        })
    }

    pub(super) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| stem(self.train.names().next().unwrap_or_default()).to_owned())
    }

    fn answer(&self) -> Answer {
        match (&self.labels, self.answer) {
            (Some(_), _) => Answer::Label,
            (None, _) if self.choices.is_some() => Answer::Choice,
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

impl Options {
    fn read(&self) -> Result<Choices, String> {
        let named = self.first.as_ref().map_or(Ok(Named::Text), |Word(first)| Named::by(first))?;
        Ok(Choices { from: self.from.all().to_vec(), named })
    }
}

/// How the files of a split are laid out.
fn laid(files: &FilesInput) -> Option<Laid> {
    let known: Option<Vec<Layout>> = files.names().map(Layout::of).collect();
    match known {
        Some(layouts) => layouts.first().map(|layout| Laid::As(*layout)),
        None => Some(Laid::ByName("by_name")),
    }
}

/// Whether files that are named, and not found in a folder, have names of tables.
fn check_files(files: &FilesInput) -> Result<(), String> {
    files.check()?;
    match files.names().find(|name| !name.ends_with('/') && Layout::of(name).is_none()) {
        Some(name) => Err(format!(
            "is `{name}`, expected a file whose name ends in {}, or a folder, written with `/` at its end",
            Layout::ENDINGS
        )),
        None => Ok(()),
    }
}

fn is_table(name: &str) -> bool {
    Layout::of(name).is_some()
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
