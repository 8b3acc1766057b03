//! `predict`: tuned prompts at work on rows of a file that nobody knows the answers to. `evaluate` is for the splits of a data set,
//! whose other splits have answers; here there is no data set, only rows, and each may have a prompt of its own.
//!
//! The command `spot predict` answers rows by the same code, so that it writes the same lines.

mod answering;
mod lines;
mod named;
mod ready;
mod voice;

pub use answering::{Answering, BATCH, Counts, Prompts, Settings};
pub use lines::{Form, Lines};
pub use ready::{Asked, Ready, Said, check_labels};
pub use voice::{Refused, Voice};

use super::backbone::{self, Model};
use super::checkpoint::Checkpoint;
use super::evaluate::Decoding;
use super::pace::Pace;
use super::word::Word;
use super::{COUNTS, DATASET, PROMPT};
use crate::engine::context::{Cx, Interrupted};
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Issue, Needs, Output, Ref, Refs, Stage, Type};
use crate::engine::store::content::Content;
use crate::ml::tasks::{Quotes, Template};
use anyhow::{anyhow, ensure};
use named::Named;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// The answers of prompts to the rows of a file, which has none: `predictions.jsonl` has a line for each row, in their order, with `id`,
/// `answer` and, where there are labels, the `log_likelihood` and `probability` of each.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// The frozen model.
    backbone: Ref,
    /// The prompt of rows that name none.
    #[serde(default)]
    prompt: Option<Ref>,
    /// Prompts by the names that rows have for them in their field `prompt`. Rows of several prompts are answered in common batches, each
    /// as it would be alone.
    #[serde(default)]
    prompts: BTreeMap<String, Ref>,
    /// The rows: text, JSON lines, or a table, by its ending; also an output of a `command`, as `{output: stage.name}`. A row may have an
    /// `id`, a `prompt`, and its whole `input`; a template makes inputs of other columns.
    file: FileInput,
    /// The form of the file, where its ending does not say.
    #[serde(default)]
    input: Option<Form>,
    /// What a quote at the beginning of a field of a TSV file is. Say it where a file can be read in both ways.
    #[serde(default)]
    quotes: Option<Quotes>,
    /// Data sets of the prompts' tasks, which say how inputs are put together and what the labels are.
    #[serde(default)]
    data: Refs,
    /// How an input is put together, with names of columns in braces: `"sst2 sentence: {sentence}"`. Stands above `data`.
    #[serde(default)]
    template: Option<String>,
    /// Lines of text, and `input` of rows, are whole inputs, and no template is filled.
    #[serde(default)]
    complete: bool,
    /// The answers to choose among. Stand above those of `data`.
    #[serde(default)]
    labels: Option<Vec<Word>>,
    /// How answers are made: `rank` where there are labels, else `greedy`.
    #[serde(default)]
    decoding: Option<Decoding>,
    /// Ids of an input with its eos; longer ones are cut, and counted.
    #[serde(default = "inputs")]
    input_length: usize,
    /// Ids of a generated answer; those that reach it are counted. 64 if nothing is said, or the longest label and some more.
    #[serde(default)]
    answer_length: Option<usize>,
}

fn inputs() -> usize {
    512
}

/// What decides the answers: everything but paths and names of stages. Names of prompts are those that rows have for them.
#[derive(Serialize)]
struct Recipe<'p> {
    form: Form,
    quotes: Option<Quotes>,
    prompts: Vec<&'p str>,
    template: Option<&'p str>,
    complete: bool,
    labels: Option<&'p [Word]>,
    decoding: Option<Decoding>,
    input_length: usize,
    answer_length: Option<usize>,
}

impl Serialize for Predict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recipe = Recipe {
            form: self.form(),
            quotes: self.quotes,
            prompts: self.prompts.keys().map(String::as_str).collect(),
            template: self.template.as_deref(),
            complete: self.complete,
            labels: self.labels.as_deref(),
            decoding: self.decoding,
            input_length: self.input_length,
            answer_length: self.answer_length,
        };
        recipe.serialize(serializer)
    }
}

/// The name of the output with the answers.
const ANSWERS: &str = "predictions.jsonl";
/// Time between two savings of the state of a job.
const OFTEN: Duration = Duration::from_secs(30);

impl Stage for Predict {
    const KIND: &'static str = "predict";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] =
        &[Output { name: ANSWERS, of: Type::FILE }, Output { name: "counts", of: COUNTS }];
    const WORDS: &'static [&'static str] = &["labels"];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone)];
        inputs.extend(self.prompt.iter().map(|prompt| Input::one("prompt", prompt, PROMPT)));
        inputs.extend(self.prompts.iter().map(|(name, prompt)| Input::one(role(name), prompt, PROMPT)));
        inputs.push(self.file.input("file", Type::FILE));
        if !self.data.0.is_empty() {
            inputs.push(Input::many("data", &self.data, DATASET));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        let wrong = |field: &str, message: &str| Err(Issue::new(field, message));
        if self.prompt.is_none() && self.prompts.is_empty() {
            return wrong("", "has neither `prompt` nor `prompts`; expected one of them, by which rows are answered");
        }
        if self.prompts.keys().any(|name| name.trim().is_empty()) {
            return wrong("prompts", "has a prompt without a name, expected the names that rows have for them");
        }
        if self.complete && self.template.is_some() {
            return wrong("complete", "stands beside `template`; whole inputs fill none, so leave one of them out");
        }
        if self.quotes.is_some() && self.form() != Form::Tsv {
            return wrong(
                "quotes",
                "is there, but the file is no TSV, the only form in which quotes can mean two things",
            );
        }
        if self.input_length < 2 {
            return wrong("input_length", "is below 2, expected room for an id and the eos");
        }
        if self.answer_length == Some(0) {
            return wrong("answer_length", "is 0, expected at least 1");
        }
        self.check_answers()
    }

    fn needs(&self) -> Needs {
        Needs { shared_model: Some("backbone"), ..Needs::default() }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let model = Model::load(cx, cx.one("backbone")?)?;
        let settings = self.settings()?;
        let (mut lines, rows) = self.lines(cx)?;
        ensure!(lines.first()?.is_some(), "`{}`: no rows, expected one at least", self.file);
        let mut prompts = Named::read(cx, &model, &settings.said, self.prompts.keys())?;
        let mut answering = Answering::new(&model, &settings, lines);
        let path = cx.scratch()?.join(ANSWERS);
        let mut file = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        go_on(cx, &mut answering, &mut file)?;
        answer(cx, &mut answering, &mut prompts, &mut file, rows)?;
        let counts = answering.counts();
        for warning in counts.warnings(&settings) {
            cx.progress().warn(&warning);
        }
        drop(file);
        cx.write_file(ANSWERS, &path)?;
        cx.write("counts", format!("{}\n", serde_json::to_string_pretty(&counts)?).as_bytes())
    }
}

impl Predict {
    fn form(&self) -> Form {
        self.input.unwrap_or_else(|| Form::of(self.file.name()))
    }

    fn check_answers(&self) -> Result<(), Issue> {
        if let Some(template) = &self.template {
            Template::parse(template).map_err(|message| Issue::new("template", message))?;
        }
        if let Some(labels) = self.labels() {
            check_labels(&labels).map_err(|message| Issue::new("labels", message))?;
        }
        let says_inputs = self.complete || self.template.is_some();
        if !self.data.0.is_empty() && says_inputs && self.labels.is_some() {
            let message =
                "says nothing that inputs and `labels` do not say already; leave it out, or what it is to say";
            return Err(Issue::new("data", message));
        }
        if matches!(self.decoding, Some(Decoding::Rank(_))) && self.data.0.is_empty() && self.labels.is_none() {
            let message = "is `rank`, which compares labels, and nothing says what they are; give `labels` or `data`";
            return Err(Issue::new("decoding", message));
        }
        let generation = self.decoding.and_then(Decoding::generation);
        let checked = generation.map_or(Ok(()), |generation| generation.check());
        checked.map_err(|error| Issue::new("decoding", error.to_string()))
    }

    fn labels(&self) -> Option<Vec<String>> {
        Some(self.labels.as_ref()?.iter().map(|Word(label)| label.clone()).collect())
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let template = self.template.as_deref().map(Template::parse).transpose();
        let template = template.map_err(|message| anyhow!("`template` {message}"))?;
        Ok(Settings {
            voice: Voice::Manifest,
            said: Said { template, complete: self.complete, labels: self.labels() },
            decoding: self.decoding,
            input_length: self.input_length,
            answer_length: self.answer_length,
            batch: BATCH,
        })
    }

    /// The rows, and about how many there are.
    fn lines(&self, cx: &Cx<'_>) -> anyhow::Result<(Lines, u64)> {
        let content = cx.one("file")?.map()?;
        let ends = content.iter().filter(|byte| **byte == b'\n').count() as u64;
        let name = self.file.to_string();
        let reader = Box::new(Cursor::new(Bytes(content)));
        Ok((Lines::new(reader, &name, Some(self.form()), self.quotes, Voice::Manifest)?, ends))
    }
}

/// The role of a prompt that rows name.
fn role(name: &str) -> String {
    format!("prompts.{name}")
}

/// A file in memory, to be read like one on disk.
struct Bytes(Content);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes up the answers of an interrupted job, and leaves the file at their end.
fn go_on(cx: &Cx<'_>, answering: &mut Answering<'_>, file: &mut fs_err::File) -> anyhow::Result<()> {
    let saved = Checkpoint::load(cx)?.and_then(|state| Saved::of(&state));
    let there = file.metadata()?.len();
    let saved = saved.filter(|saved| saved.bytes <= there).unwrap_or_default();
    answering.resume(saved.counts)?;
    file.set_len(saved.bytes)?;
    file.seek(SeekFrom::Start(saved.bytes))?;
    Ok(())
}

/// Answers all rows that are left, about `rows` with those before.
fn answer(
    cx: &Cx<'_>,
    answering: &mut Answering<'_>,
    prompts: &mut Named,
    file: &mut fs_err::File,
    rows: u64,
) -> anyhow::Result<()> {
    let (mut pace, mut saved) = (Pace::new(), Instant::now());
    loop {
        let is_first = answering.first_input().is_none();
        let questions = answering.questions(prompts)?;
        if questions.is_empty() {
            return Ok(());
        }
        if let Some(input) = answering.first_input().filter(|_| is_first) {
            cx.progress().say(&format!("the first input is `{input}`"));
        }
        file.write_all(answering.answers(&questions)?.as_bytes())?;
        let done = answering.counts().rows;
        pace.count(0);
        cx.progress().step(done, rows.max(done), &pace.note);
        if cx.stopped() || saved.elapsed() > OFTEN {
            Saved { counts: answering.counts(), bytes: file.stream_position()? }.save(cx, file)?;
            saved = Instant::now();
        }
        if cx.stopped() {
            return Err(Interrupted { step: done }.into());
        }
    }
}

/// How far an interrupted job was.
#[derive(Clone, Copy, Default)]
struct Saved {
    counts: Counts,
    /// Of the answers.
    bytes: u64,
}

impl Saved {
    const WORDS: [&'static str; 3] = ["bytes", "cut_inputs", "unfinished_answers"];

    fn of(state: &Checkpoint<'_>) -> Option<Self> {
        let word = |name: &str| state.words.get(name)?.parse().ok();
        let [bytes, cut_inputs, unfinished_answers] = Self::WORDS.map(word);
        let counts = Counts { rows: state.step, cut_inputs: cut_inputs?, unfinished_answers: unfinished_answers? };
        Some(Self { counts, bytes: bytes? })
    }

    fn save(self, cx: &Cx<'_>, file: &fs_err::File) -> anyhow::Result<()> {
        // What the state counts must be on disk before it.
        file.sync_data()?;
        let Counts { rows, cut_inputs, unfinished_answers } = self.counts;
        let words = Self::WORDS.into_iter().zip([self.bytes, cut_inputs, unfinished_answers]);
        let words = words.map(|(name, value)| (name.to_owned(), value.to_string())).collect();
        Checkpoint { step: rows, words, ..Checkpoint::default() }.save(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn predict(fields: &Value) -> Predict {
        let mut given = json!({"backbone": "b", "prompt": "p", "file": "new.jsonl"});
        given.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(given).unwrap()
    }

    #[test]
    fn recipes_hold_forms_and_names_that_rows_use_but_no_paths() {
        let recipe = |fields: Value| serde_json::to_value(predict(&fields)).unwrap();
        let expected = json!({
            "form": "jsonl", "quotes": null, "prompts": ["mood"], "template": "{a}", "complete": false, "labels": ["1", "2"],
            "decoding": null, "input_length": 512, "answer_length": null,
        });
        let fields = |stage: &str| json!({"prompts": {"mood": stage}, "template": "{a}", "labels": [1, "2"]});
        assert_eq!(recipe(fields("tune")), expected);
        assert_eq!(recipe(fields("other[0]")), expected);
        assert_eq!(recipe(json!({"file": "x/y.txt", "input": "jsonl"})), recipe(json!({})));
        assert_ne!(recipe(json!({"file": "x/y.txt"})), recipe(json!({})));
    }

    #[test]
    fn contradictions_are_found_before_anything_runs() {
        let wrong = |fields: Value| predict(&fields).check().unwrap_err();
        let checked = |fields: Value, field: &str, message: &str| {
            let issue = wrong(fields);
            assert_eq!(issue.field, field, "{issue:?}");
            assert!(issue.message.contains(message), "{issue:?}");
        };
        assert_eq!(predict(&json!({})).check(), Ok(()));
        checked(json!({"prompt": null}), "", "neither `prompt` nor `prompts`");
        checked(json!({"prompts": {" ": "p"}}), "prompts", "without a name");
        checked(json!({"template": "{a}", "complete": true}), "complete", "beside `template`");
        checked(json!({"template": "a"}), "template", "has no placeholder");
        checked(json!({"quotes": "text"}), "quotes", "no TSV");
        checked(json!({"labels": []}), "labels", "is empty");
        checked(json!({"labels": ["x", "y", "x"]}), "labels", "has `x` twice");
        checked(json!({"labels": ["good", "bad "]}), "labels", "`bad ` with white space around it");
        checked(json!({"labels": [" "]}), "labels", "which is no text");
        checked(json!({"decoding": {"rank": {}}}), "decoding", "give `labels` or `data`");
        checked(json!({"decoding": {"beam": {"width": 0}}}), "decoding", "`width` is 0");
        checked(json!({"input_length": 1}), "input_length", "below 2");
        checked(json!({"answer_length": 0}), "answer_length", "is 0");
        checked(json!({"data": "d", "template": "{a}", "labels": ["x"]}), "data", "says nothing");
    }
}
