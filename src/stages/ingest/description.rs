//! How the rows of a table become the examples of a task: what tables of one's own and data sets of a hub say alike.

use super::Left;
use super::asked::{Asked, whole};
use super::laid::{Laid, check_files, is_table};
use super::rows::{Part, Rows, Writing};
use crate::data::{Framed, Layout, Query, ROWS};
use crate::engine::context::{Artifact, Cx, Interrupted};
use crate::engine::files_input::FilesInput;
use crate::engine::stage::{Input, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{
    Amount, Answer, Choices, Condition, Decimal, Dialect, Labels, LeftOut, Metric, Mistake, Named, Own, Quotes, Sheet,
    Spacing, Split, Template, behind, hold_out,
};
use crate::stages::pace::RowPace;
use crate::stages::word::Word;
use anyhow::{Context, anyhow, ensure};
use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// How the rows of a table become the examples of a task. Its fields are documented where they are written: by [`described`].
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) template: String,
    pub(crate) label: String,
    pub(crate) labels: Option<LabelWords>,
    pub(crate) several: bool,
    pub(crate) answer: Option<Kind>,
    pub(crate) choices: Option<Options>,
    pub(crate) metrics: Option<Vec<Metric>>,
    pub(crate) name: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) validation_share: Option<f64>,
    pub(crate) quotes: Option<Quotes>,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) query: Option<String>,
    pub(crate) tables: BTreeMap<String, FilesInput>,
    pub(crate) drop: Option<Texts>,
    pub(crate) round: Option<f64>,
    pub(crate) word: Option<String>,
    pub(crate) spaced_punctuation: bool,
    pub(crate) single_spaces: bool,
}

/// A struct that is written as its own fields and, beside them, those of its [`Description`]. serde's `flatten` would do that too, and
/// spoil the messages about misspelt fields.
macro_rules! described {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
            /// What is made of the rows.
            pub(crate) description: $crate::stages::ingest::description::Description,
        }

        const _: () = {
            use $crate::engine::files_input::FilesInput;
            use $crate::ml::tasks::{Metric, Quotes};
            use $crate::stages::ingest::description::{Description, Kind, LabelWords, Options, Texts};

            $(#[$about])*
            #[derive(serde::Deserialize, schemars::JsonSchema)]
            #[serde(deny_unknown_fields)]
            struct Fields {
                $($(#[$of])* $field: $kind,)*
                /// How an input is put together, with names of columns in braces: `"title: {title} review: {text}"`. `{{` is a brace.
                template: String,
                /// The column with the answer.
                label: String,
                /// The words that the model answers with. A mapping: values of the column and their words, looked up by value alone. A
                /// list: the column holds its words or, if it holds whole numbers and no word is a number, their places from 0. `1` and
                /// `1.0` are one value, and so are `true` and `True`; `true` and 1 are not. What could be read in two ways is refused.
                /// Without `labels` answers are free text, or numbers; in a data set of a hub whose metadata name the numbers of the
                /// column (`ClassLabel`), the words are these names, and a mapping may have them as its keys.
                #[serde(default)]
                labels: Option<LabelWords>,
                /// Whether a row has several labels, in a list, or none of them. The answer is their words in the order of `labels`, with
                /// commas between them: `joy, fear`; without any, `none`.
                #[serde(default)]
                several: bool,
                /// What answers are, if they are not labels: `text` (the default) or `number`. Free text may be a list of accepted
                /// answers, of which the first is learned.
                #[serde(default)]
                answer: Option<Kind>,
                /// The answers among which each row's is, as many as it has: `choices: {from: options, first: 0}`. The model learns to write
                /// the text of the right one; `decoding: rank` of `evaluate` compares those of the row.
                #[serde(default)]
                choices: Option<Options>,
                /// Metrics; their mean is the score by which checkpoints are chosen. By default `accuracy` of labels, `set_f1` and
                /// `set_micro_f1` of several, `pearson` and `spearman` of numbers, `exact_match` and `token_f1` of text.
                #[serde(default)]
                metrics: Option<Vec<Metric>>,
                /// Name of the task; by default that of the training file, or that of a hub's config, or without one of its data set.
                #[serde(default)]
                name: Option<String>,
                /// The column that says which rows belong together: they stay on one side of any split, `group_exact_match` scores them
                /// together, and of free text only the first of a group is scored.
                #[serde(default)]
                group: Option<String>,
                /// The column that identifies rows; by default their numbers from 0.
                #[serde(default)]
                id: Option<String>,
                /// The part of the training rows that is split off where there are no rows for validation; 0.1 by default.
                #[serde(default)]
                validation_share: Option<f64>,
                /// What a quote at the beginning of a field of a `.tsv` file is. Say it where a file can be read in both ways.
                #[serde(default)]
                quotes: Option<Quotes>,
                /// The names of the columns, in their order, of `.csv` and `.tsv` files without a header.
                #[serde(default)]
                columns: Option<Vec<String>>,
                /// SQL over the rows of each split, which are the table `rows`; all other fields are about its columns. It filters, joins,
                /// renames and derives: `select lower(title) as title, label from rows where votes > 2`. Columns of CSV and TSV are texts:
                /// `cast(votes as int)`. Joined and grouped rows come sorted by their content. A test split may lack columns of the
                /// training rows; they are null.
                #[serde(default)]
                query: Option<String>,
                /// Other tables that `query` may name: `{authors: data/authors.csv}`. Files as those of rows; they name their columns.
                #[serde(default)]
                tables: std::collections::BTreeMap<String, FilesInput>,
                /// Rows that are left out, and counted: a condition, or a list of which one is enough. `gold_label == "-"`, `votes < 3`,
                /// `text == null`; values are compared as those of `labels`, and null is any empty cell.
                #[serde(default)]
                drop: Option<Texts>,
                /// What answers that are numbers are rounded to multiples of: 0.2 makes fifths, as T5 has them of STS-B. They are written with as
                /// many decimals as it has, and halves go to the even neighbour, as with NumPy.
                #[serde(default)]
                round: Option<f64>,
                /// What stands in front of inputs where the stage has a `prefix`; by default the name of the task. `""` is nothing.
                #[serde(default)]
                word: Option<String>,
                /// Puts a space on either side of every mark of ASCII punctuation, in columns of the input and in answers, and makes one
                /// space of any white space, as T5 does with questions about texts. For answers that are free text.
                #[serde(default)]
                spaced_punctuation: bool,
                /// Makes one space of any white space in inputs, as the paper's code does in natural language inference.
                #[serde(default)]
                single_spaces: bool,
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let fields = Fields::deserialize(deserializer)?;
                    let description = Description {
                        template: fields.template,
                        label: fields.label,
                        labels: fields.labels,
                        several: fields.several,
                        answer: fields.answer,
                        choices: fields.choices,
                        metrics: fields.metrics,
                        name: fields.name,
                        group: fields.group,
                        id: fields.id,
                        validation_share: fields.validation_share,
                        quotes: fields.quotes,
                        columns: fields.columns,
                        query: fields.query,
                        tables: fields.tables,
                        drop: fields.drop,
                        round: fields.round,
                        word: fields.word,
                        spaced_punctuation: fields.spaced_punctuation,
                        single_spaces: fields.single_spaces,
                    };
                    Ok(Self { $($field: fields.$field,)* description })
                }
            }

            impl schemars::JsonSchema for $name {
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    Fields::json_schema(generator)
                }
            }
        };
    };
}
pub(crate) use described;

/// Where a row has its choices.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// The column with their list, or a list of columns with a choice each, of which the last may be empty.
    pub(crate) from: Texts,
    /// What the answer calls the first choice: 0, 1, `A` or `a`. Without it answers are texts of choices.
    #[serde(default)]
    pub(crate) first: Option<Word>,
}

/// Conditions on rows, or names of columns or splits.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Texts {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Texts::Several)
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// What answers are, if they are not labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Free text.
    Text,
    /// A number.
    Number,
}

/// Label words as a list, or as a mapping from values.
#[derive(Clone, Debug)]
pub(crate) struct LabelWords(pub(crate) Labels);

/// What of a definition decides the data set: everything but where the rows are.
#[derive(Serialize)]
pub(super) struct Recipe<'t, L> {
    #[serde(skip_serializing_if = "Option::is_none")]
    layouts: Option<L>,
    name: String,
    template: &'t str,
    label: &'t str,
    labels: Option<&'t LabelWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    several: Option<bool>,
    answer: Option<Answer>,
    metrics: Option<Vec<Metric>>,
    group: Option<&'t str>,
    id: Option<&'t str>,
    validation_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quotes: Option<Quotes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<&'t [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'t str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<&'t str, Option<Laid>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    drop: &'t [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    word: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spaced_punctuation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    single_spaces: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<(&'t [String], Option<&'t Word>)>,
}

/// The files of a split by name, in the order of their rows.
pub(super) type Tables<'c> = Vec<(String, &'c Artifact)>;

/// The part of the training rows that becomes the validation split if there is none.
const VALIDATION_SHARE: f64 = 0.1;

impl Description {
    /// The recipe of a task with this name; `layouts` say of what cannot be seen in the names of files.
    pub(super) fn recipe<L>(&self, name: String, layouts: Option<L>, has_validation: bool) -> Recipe<'_, L> {
        let written = self.written_labels();
        let word = self.word.as_deref().filter(|word| *word != name);
        Recipe {
            layouts,
            word,
            name,
            template: &self.template,
            label: &self.label,
            labels: self.labels.as_ref(),
            several: self.several.then_some(true),
            answer: Some(self.answer(written)),
            metrics: Some(self.metrics(written)),
            group: self.group.as_deref(),
            id: self.id.as_deref(),
            validation_share: (!has_validation).then(|| self.share()),
            quotes: self.quotes,
            columns: self.columns.as_deref(),
            query: self.query.as_deref(),
            tables: self.tables.iter().map(|(name, files)| (name.as_str(), Laid::of(files))).collect(),
            drop: self.drop.as_ref().map_or(&[], Texts::all),
            round: self.round,
            spaced_punctuation: self.spaced_punctuation.then_some(true),
            single_spaces: self.single_spaces.then_some(true),
            choices: self.choices.as_ref().map(|choices| (choices.from.all(), choices.first.as_ref())),
        }
    }

    /// The template with the word in front, if inputs of a task with this name have it.
    pub(super) fn template(&self, name: &str, prefix: bool) -> String {
        if prefix { behind(self.word.as_deref().unwrap_or(name), &self.template) } else { self.template.clone() }
    }

    /// What becomes of white space in inputs.
    fn spacing(&self) -> Spacing {
        match (self.spaced_punctuation, self.single_spaces) {
            (true, _) => Spacing::Punctuation,
            (false, true) => Spacing::Single,
            (false, false) => Spacing::Kept,
        }
    }

    /// How delimited text is read.
    pub(super) fn dialect(&self) -> Dialect<'_> {
        Dialect { quotes: self.quotes, columns: self.columns.as_deref() }
    }

    /// The labels that are written.
    pub(super) fn written_labels(&self) -> Option<&Labels> {
        self.labels.as_ref().map(|words| &words.0)
    }

    /// Whether nothing says what answers are, so that what is known of the column may.
    pub(super) fn is_open(&self) -> bool {
        self.labels.is_none() && self.answer.is_none() && self.choices.is_none()
    }

    /// Looks for contradictions between fields.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of its range.
    pub(super) fn check(&self, has_validation: bool) -> Result<(), Mistake> {
        let wrong = |field: &'static str, message: String| Err((field, message));
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
        if self.spaced_punctuation && self.single_spaces {
            let message = "is given beside `spaced_punctuation`, which does that too; leave one out";
            return wrong("single_spaces", message.to_owned());
        }
        self.check_query()?;
        match self.validation_share {
            Some(_) if has_validation => {
                wrong("validation_share", "is given beside `validation`; leave one out".to_owned())
            }
            Some(share) if !(share > 0.0 && share < 1.0) => {
                wrong("validation_share", format!("is {share}, expected between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the query is one, and what it is over can be named.
    fn check_query(&self) -> Result<(), Mistake> {
        let Some(query) = &self.query else {
            return match self.tables.is_empty() {
                true => Ok(()),
                false => Err(("tables", "is given without `query`, which would use them".to_owned())),
            };
        };
        Query::parse(query).map_err(|message| ("query", message))?;
        for (name, files) in &self.tables {
            let is_plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_plain || name == ROWS {
                let message = format!("has `{name}`, expected names of letters, digits and `_`, other than `{ROWS}`");
                return Err(("tables", message));
            }
            check_files(files).map_err(|message| ("tables", format!("has `{name}`, which {message}")))?;
        }
        Ok(())
    }

    /// The tables that the query may name; `field` is where the manifest has the description.
    pub(super) fn inputs(&self, field: &str) -> Vec<Input> {
        let inputs = |(name, files): (&String, &FilesInput)| files.inputs(&role(field, name), Type::FILE, is_table);
        self.tables.iter().flat_map(inputs).collect()
    }

    /// The content of these tables.
    ///
    /// # Errors
    /// If a file is damaged.
    pub(super) fn others(&self, cx: &Cx<'_>, field: &str) -> anyhow::Result<Vec<(String, Framed)>> {
        let dialect = Dialect { quotes: self.quotes, columns: None };
        let read = |(name, files): (&String, &FilesInput)| {
            let files = files.files(cx, &role(field, name))?;
            let table = whole(&files, dialect).with_context(|| format!("`tables`, `{name}`"))?;
            Ok((name.clone(), Framed::of(table)?))
        };
        self.tables.iter().map(read).collect()
    }

    /// The query over other tables, if there is one.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn asked(&self, others: Vec<(String, Framed)>) -> anyhow::Result<Option<Asked>> {
        let query = self.query.as_ref().map(|query| Query::parse(query).map_err(|why| anyhow!("`query` {why}")));
        Ok(query.transpose()?.map(|query| Asked::new(query, others)))
    }

    /// Whether what is said of delimited text fits the files; `may_be` tells whether one of them may be laid out in one of some ways.
    ///
    /// # Errors
    /// What does not fit, or is wrong with the names of columns.
    pub(super) fn check_dialect(&self, may_be: impl Fn(&[Layout]) -> bool) -> Result<(), Mistake> {
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

    /// The task with a name and labels, or the first of its fields that cannot be read.
    pub(super) fn own(&self, name: String, labels: Option<&Labels>) -> Result<Own, Mistake> {
        let drop = self.drop.as_ref().map_or(&[][..], Texts::all).iter().map(|text| Condition::parse(text));
        let round = self.round.map(|step| Decimal::of(step).ok_or_else(|| format!("is {step}, expected a number")));
        Ok(Own {
            name,
            template: Template::parse(&self.template).map_err(|message| ("template", message))?.spaced(self.spacing()),
            label: self.label.clone(),
            labels: labels.cloned(),
            several: self.several,
            answer: self.answer(labels),
            choices: self
                .choices
                .as_ref()
                .map(Options::read)
                .transpose()
                .map_err(|message| ("choices.first", message))?,
            metrics: self.metrics(labels),
            group: self.group.clone(),
            id: self.id.clone(),
            drop: drop.collect::<Result<_, _>>().map_err(|message| ("drop", message))?,
            round: round.transpose().map_err(|message| ("round", message))?,
            word: self.word.clone(),
        })
    }

    /// The examples by split, of which none are in memory. `others` are the tables of the query beside the rows; `train` is what the
    /// training rows are called where a part of them is split off.
    ///
    /// # Errors
    /// If a file is damaged, a row is not one of the task, or too few rows are left to split off a validation set.
    pub(super) fn read<'o>(
        &self,
        cx: &Cx<'_>,
        own: &'o Own,
        files: Vec<(Split, Tables<'_>)>,
        others: Vec<(String, Framed)>,
        train: &str,
        (prefix, seed): (bool, u64),
    ) -> anyhow::Result<(Vec<Part<'o>>, Left)> {
        let (mut parts, mut left): (Vec<Part<'o>>, Left) = (Vec::new(), Left::new());
        let (mut pace, mut asked) = (RowPace::new(), self.asked(others)?);
        for (split, files) in files {
            let (rows, left_out) = match &mut asked {
                Some(asked) => {
                    let told = format!("what `query` gives of the {} split", split.name());
                    let warn = |text: &str| cx.progress().warn(text);
                    let sheet = asked.sheet(whole(&files, self.dialect())?, split, &own.wanted(split), &warn)?;
                    let mut writing = Writing::new(own, (split, prefix), vec![told.clone()], cx.scratch()?)?;
                    writing.take(0, sheet).context(told)?;
                    writing.finish()?
                }
                None => self.rows(cx, own, &files, (split, prefix), &mut pace)?,
            };
            parts.push(Part::of(split, rows, cx.scratch()?, &|| cx.stopped())?);
            left.extend(left_out.into_iter().map(|left| (split, left)));
        }
        if parts.iter().all(|part| part.split != Split::Validation) {
            let mut stream = Stream::new(seed, "validation rows");
            let all = parts.remove(0);
            let held = hold_out(&all.keys, Amount::Share(self.share()), &mut stream)
                .map_err(|message| anyhow!("no `validation`, so it is split off {train}: {message}"))?;
            let (examples, validation) = all.divided(&held, (Split::Train, Split::Validation));
            parts.splice(0..0, [examples, validation]);
        }
        Ok((parts, left))
    }

    /// The rows of the files of a split, which follow each other.
    fn rows<'o>(
        &self,
        cx: &Cx<'_>,
        own: &'o Own,
        files: &Tables<'_>,
        as_what: (Split, bool),
        pace: &mut RowPace,
    ) -> anyhow::Result<(Rows<'o>, Vec<LeftOut>)> {
        let (wanted, dialect) = (own.wanted(as_what.0), self.dialect());
        let names = files.iter().map(|(name, _)| format!("`{name}`")).collect();
        let mut writing = Writing::new(own, as_what, names, cx.scratch()?)?;
        let mut first: Option<(Layout, &str)> = None;
        for (at, (name, file)) in files.iter().enumerate() {
            let layout = Layout::of(name).with_context(|| format!("`{name}`: expected {}", Layout::ENDINGS))?;
            let (known, other) = *first.get_or_insert((layout, name));
            ensure!(
                layout == known,
                "`{other}` and `{name}` are laid out in two ways; say which is meant by a pattern with the ending"
            );
            let file = file.open()?;
            let mut take = |sheet: Sheet| -> anyhow::Result<()> {
                pace.rows += sheet.len();
                writing.take(at, sheet)?;
                if pace.is_due() {
                    cx.progress().step(at as u64, files.len() as u64, &format!("reading {}", pace.text(None)));
                    if cx.stopped() {
                        return Err(Interrupted { step: 0 }.into());
                    }
                }
                Ok(())
            };
            layout.each(name, &file, (dialect, &wanted), &mut take).with_context(|| format!("`{name}`"))?;
        }
        writing.finish()
    }

    fn answer(&self, labels: Option<&Labels>) -> Answer {
        match (labels, self.answer) {
            (Some(_), _) if self.several => Answer::Text,
            (Some(_), _) => Answer::Label,
            (None, _) if self.choices.is_some() => Answer::Choice,
            (None, Some(Kind::Number)) => Answer::Number,
            (None, Some(Kind::Text) | None) => Answer::Text,
        }
    }

    fn metrics(&self, labels: Option<&Labels>) -> Vec<Metric> {
        let usual = || {
            if self.several { vec![Metric::SetF1, Metric::SetMicroF1] } else { Own::usual_metrics(self.answer(labels)) }
        };
        self.metrics.clone().unwrap_or_else(usual)
    }

    fn share(&self) -> f64 {
        self.validation_share.unwrap_or(VALIDATION_SHARE)
    }
}

/// The role of a table that the query may name.
fn role(field: &str, name: &str) -> String {
    format!("{field}.tables.{name}")
}

impl<L> Recipe<'_, L> {
    /// The same where what is in the files says what answers are, unless it is written.
    pub(super) fn open(mut self, description: &Description) -> Self {
        if description.is_open() {
            self.answer = None;
            self.metrics.clone_from(&description.metrics);
        }
        self
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

impl Options {
    fn read(&self) -> Result<Choices, String> {
        let named = self.first.as_ref().map_or(Ok(Named::Text), |Word(first)| Named::by(first))?;
        Ok(Choices { from: self.from.all().to_vec(), named })
    }
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
