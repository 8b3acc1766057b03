//! `spot predict`: a tuned prompt at work on new text.

mod known;
mod lines;

use super::Cache;
use super::backbone::{Backbone, Backbones};
use super::prompt::given::{self, Given};
use super::run::{chosen_device, cores, device, free_memory, size};
use crate::engine::run::Unavailable;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Digest;
use crate::error::{Exit, Usage};
use crate::ml::batcher::{self, Batcher};
use crate::ml::generate::{Beam, Generation, LabelScore, label_scores, likeliest, predict};
use crate::ml::tasks::{Place, Template};
use crate::stages::backbone::Model;
use crate::stages::evaluate::OVERRUN;
use crate::ui;
use anyhow::Context as _;
use clap::{Args, ValueEnum, ValueHint};
use known::{Known, Prompts, Said};
use lines::{Form, Lines, Making, Quoting, Row};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::num::NonZero;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Arguments of `spot predict`.
#[derive(Args)]
pub(super) struct Predict {
    /// What to answer: lines of text, JSON lines, CSV, TSV or Parquet, by its ending; `-` is the standard input
    #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The prompt: a job, the first digits of a key or digest, a folder that PEFT saved, a `.npy` or `.safetensors`; a row that
    /// has a `prompt` names its own
    #[arg(long, value_name = "WHAT")]
    prompt: Option<String>,
    /// The model: a job, or a folder in Hugging Face's layout [default: the one that the prompt was tuned on]
    #[arg(long, value_name = "JOB|FOLDER")]
    backbone: Option<String>,
    /// The form of the file [default: by its ending, else text]
    #[arg(long, value_enum, value_name = "FORM")]
    input: Option<Form>,
    /// What makes an input of columns: `sst2 sentence: {sentence}` [default: that of the prompt's task]
    #[arg(long, value_name = "TEXT", conflicts_with = "complete")]
    template: Option<String>,
    /// Lines are complete inputs, and no template is filled
    #[arg(long)]
    complete: bool,
    /// The answers to choose among, with commas between them [default: the labels of the prompt's task]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// How answers are made [default: `rank` where there are labels, else `greedy`]
    #[arg(long, value_enum)]
    decoding: Option<Decoding>,
    /// Beams of `--decoding beam` [default: 4]
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
    /// What a quote in TSV is [default: the file decides]
    #[arg(long, value_enum)]
    quotes: Option<Quoting>,
    /// Ids of an input with its eos; longer ones are cut, and counted in a warning
    #[arg(long, value_name = "IDS", default_value_t = 512)]
    input_length: usize,
    /// Ids of a generated answer; those that reach it are counted in a warning [default: 64, or the longest label and some more]
    #[arg(long, value_name = "IDS")]
    answer_length: Option<usize>,
    /// Rows that are read, answered and written together
    #[arg(long, value_name = "ROWS", default_value = "512")]
    batch: NonZero<usize>,
    /// `auto`, `cpu`, `cuda` (the first GPU), or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: String,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Memory for activations: `6GiB`, `500MiB` [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<usize>,
    #[command(flatten)]
    cache: Cache,
}

/// How answers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Decoding {
    /// The likeliest of the labels
    Rank,
    /// The most probable token at each step
    Greedy,
    /// The most probable text that a beam search finds
    Beam,
}

/// A row, ready to be answered.
struct Question {
    id: Value,
    known: Rc<Known>,
    ids: Vec<u32>,
}

/// What a prompt says to a row.
#[derive(Clone, Default)]
struct Answer {
    text: Option<String>,
    scores: Vec<LabelScore>,
    /// Whether it reached the most ids that it may have.
    is_cut: bool,
}

/// Ids of a free answer where nobody says more.
const ANSWER: usize = 64;

/// Time between two remarks on how far it is.
const PAUSE: Duration = Duration::from_secs(30);

impl Predict {
    /// Runs the command.
    ///
    /// # Errors
    /// If options contradict each other, there is no such prompt, its backbone is not there, the device is not, or a row cannot
    /// be answered.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let generation = self.generation()?;
        let said = self.said()?;
        let mut lines = Lines::open(&self.file, self.input, self.quotes.map(Into::into))?;
        let mut rows = lines.next(self.batch.get())?;
        let Some(first) = rows.first() else {
            ui::tell("warning:", ui::Colour::Yellow, &format!("{} has no rows", lines.name()));
            return Ok(Exit::Ok);
        };
        let store = self.cache.open();
        let catalog = Catalog::read(&store)?;
        let named = first.heading.prompt.as_deref().or(self.prompt.as_deref()).ok_or_else(no_prompt)?;
        let given = given::read(named, &store, &catalog)?;
        let Backbone { model, digest, .. } = self.backbone(&given, &store, &catalog)?;
        let device = chosen_device(&self.device)?;
        let settings = batcher::Settings {
            device: device.clone(),
            threads: self.threads.map_or_else(cores, NonZero::get),
            memory: self.memory.unwrap_or_else(|| free_memory() / 2),
        };
        let unavailable = |error| Unavailable(format!("device `{device}`: {error}"));
        let batcher = Batcher::start(&model.weights, &settings).map_err(unavailable)?;
        let mut prompts = Prompts::new((store.clone(), catalog), &batcher, (&model, digest), said);
        prompts.add(named, given).with_context(|| format!("{}: {}", lines.name(), first.place))?;
        let mut tally = Tally::default();
        while !rows.is_empty() {
            let questions = rows.iter().map(|row| self.question(row, &mut lines, &mut prompts, &model, &mut tally));
            let questions = questions.collect::<anyhow::Result<Vec<_>>>()?;
            let answers = self.answers(&questions, &model, generation)?;
            tally.unfinished += answers.iter().filter(|answer| answer.is_cut).count();
            let written = questions.iter().zip(&answers).map(|(question, answer)| line(question, answer));
            ui::print_data(&written.collect::<anyhow::Result<String>>()?)?;
            tally.advance(questions.len());
            rows = lines.next(self.batch.get())?;
        }
        tally.end(self.input_length);
        Ok(Exit::Ok)
    }

    /// The model that is named, or else the one that the prompt was tuned on.
    fn backbone(&self, given: &Given, store: &Store, catalog: &Catalog) -> anyhow::Result<Backbone> {
        let backbones = Backbones { store, catalog };
        let own = given.about.backbone.as_deref().map(str::parse::<Digest>).transpose();
        let own = own.map_err(|error| Usage(format!("`{}`: its `backbone` {error}", given.name)))?;
        if let Some(named) = &self.backbone {
            return backbones.named(named, own);
        }
        let known = own.map(|digest| backbones.of_digest(digest)).transpose()?.flatten();
        known.ok_or_else(|| {
            let why = match (own, &given.about.base_model) {
                (Some(digest), _) => format!("was tuned on the backbone {}, which is not in the cache", digest.short()),
                (None, Some(model)) => format!("was tuned on `{model}`"),
                (None, None) => "does not say on which model it was tuned".to_owned(),
            };
            Usage(format!(
                "`{}` {why}; name the model by `--backbone`, a job or a folder in Hugging Face's layout",
                given.name
            ))
            .into()
        })
    }

    fn said(&self) -> anyhow::Result<Said> {
        let template = self.template.as_deref().map(Template::parse).transpose();
        let template = template.map_err(|message| Usage(format!("`--template` {message}")))?;
        if let Some(empty) = self.labels.iter().flatten().find(|label| label.trim().is_empty()) {
            return Err(Usage(format!("`--labels` has the label `{empty}`, which is not text")).into());
        }
        let trimmed = |labels: &Vec<String>| labels.iter().map(|label| label.trim().to_owned()).collect::<Vec<_>>();
        let labels = self.labels.as_ref().map(trimmed);
        let of = labels.as_deref().unwrap_or_default();
        if let Some((_, twice)) = of.iter().enumerate().find(|(at, label)| of[..*at].contains(label)) {
            return Err(Usage(format!("`--labels` has `{twice}` twice")).into());
        }
        Ok(Said { template, complete: self.complete, labels })
    }

    /// How texts are generated, if they may be.
    fn generation(&self) -> anyhow::Result<Generation> {
        let generation = match (self.decoding, self.beams) {
            (Some(Decoding::Beam), beams) => {
                let width = beams.unwrap_or(Beam::default().width);
                Generation::Beam(Beam { width, ..Beam::default() })
            }
            (_, Some(_)) => {
                return Err(Usage("`--beams` belongs to `--decoding beam`; give that too".to_owned()).into());
            }
            (_, None) => Generation::Greedy,
        };
        generation.check().map_err(|error| Usage(format!("`--beams`: {error}")))?;
        if self.input_length < 2 || self.answer_length == Some(0) {
            return Err(Usage("`--input-length` is at least 2, `--answer-length` at least 1".to_owned()).into());
        }
        Ok(generation)
    }

    fn question(
        &self,
        row: &Row,
        lines: &mut Lines,
        prompts: &mut Prompts<'_>,
        model: &Model,
        tally: &mut Tally,
    ) -> anyhow::Result<Question> {
        let place = |lines: &Lines| format!("{}: {}", lines.name(), row.place);
        let named = row.heading.prompt.as_deref().or(self.prompt.as_deref()).ok_or_else(no_prompt);
        let known =
            named.map_err(anyhow::Error::from).and_then(|name| prompts.get(name)).with_context(|| place(lines))?;
        if self.decoding == Some(Decoding::Rank) && known.labels.is_empty() {
            let message = "`--decoding rank` compares labels, and nothing says what they are; give `--labels`";
            return Err(Usage(message.to_owned()).into());
        }
        let making =
            Making { template: known.template.as_ref(), asked: self.template.is_some(), complete: self.complete };
        let input = lines.input(row, making)?;
        if !std::mem::replace(&mut tally.has_shown, true) {
            ui::remark(&format!("the first input is `{input}`"));
        }
        let mut ids = model.tokens.encode(&input, usize::MAX).with_context(|| place(lines))?;
        if ids.len() > self.input_length {
            tally.cut += 1;
            ids.truncate(self.input_length - 1);
            ids.push(model.tokens.eos());
        }
        let number = match row.place {
            Place::Line(line) => line,
            Place::Row(row) => row,
        };
        let id = row.heading.id.as_ref().map_or_else(|| json!(number), |(id, is_number)| as_it_was(id, *is_number));
        Ok(Question { id, known, ids })
    }

    /// The answers to some rows. The rows of each prompt are asked by a thread of their own, and the model computes those of all
    /// prompts in common batches.
    fn answers(&self, questions: &[Question], model: &Model, generation: Generation) -> anyhow::Result<Vec<Answer>> {
        let mut groups: Vec<(&Known, Vec<usize>)> = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            match groups.iter_mut().find(|(known, _)| std::ptr::eq(*known, &*question.known)) {
                Some((_, members)) => members.push(at),
                None => groups.push((&question.known, vec![at])),
            }
        }
        let found = std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(groups.len());
            for (known, members) in &groups {
                let inputs: Vec<&[u32]> = members.iter().map(|at| &questions[*at].ids[..]).collect();
                threads.push(scope.spawn(move || self.ask(known, &inputs, model, generation)));
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("answering does not panic");
            threads.into_iter().map(join).collect::<anyhow::Result<Vec<Vec<Answer>>>>()
        })?;
        let mut answers = vec![Answer::default(); questions.len()];
        for ((_, members), found) in groups.iter().zip(found) {
            members.iter().zip(found).for_each(|(at, answer)| answers[*at] = answer);
        }
        Ok(answers)
    }

    fn ask(
        &self,
        known: &Known,
        inputs: &[&[u32]],
        model: &Model,
        generation: Generation,
    ) -> anyhow::Result<Vec<Answer>> {
        let Known { client, prompt, labels, .. } = known;
        let mut answers = vec![Answer::default(); inputs.len()];
        if !labels.is_empty() {
            let ids: Vec<Vec<u32>> = labels.iter().map(|(_, ids)| ids.clone()).collect();
            let scores = label_scores(client, prompt, inputs, &ids)?;
            answers.iter_mut().zip(scores).for_each(|(answer, scores)| answer.scores = scores);
        }
        if self.decoding.unwrap_or(if labels.is_empty() { Decoding::Greedy } else { Decoding::Rank }) == Decoding::Rank
        {
            for answer in &mut answers {
                answer.text = Some(labels[likeliest(&answer.scores, false)?].0.clone());
            }
            return Ok(answers);
        }
        let of_labels = labels.iter().map(|(_, ids)| ids.len() + OVERRUN).max();
        let longest = self.answer_length.or(of_labels).unwrap_or(ANSWER);
        for (answer, ids) in answers.iter_mut().zip(predict(client, prompt, inputs, longest, generation)?) {
            answer.is_cut = ids.len() == longest;
            answer.text = Some(model.tokens.decode(&ids)?);
        }
        Ok(answers)
    }
}

/// An id as the row has it: a number as a number, if JSON readers keep all of its digits.
fn as_it_was(id: &str, is_number: bool) -> Value {
    let whole = |id: &str| id.parse::<i64>().map(Value::from).ok();
    is_number.then(|| whole(id)).flatten().unwrap_or_else(|| json!(id))
}

fn no_prompt() -> Usage {
    Usage("no prompt; give `--prompt`, or a `prompt` in every row".to_owned())
}

/// What is written for a row.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a Value,
    answer: Option<&'a str>,
    /// Of each label with its eos, where there are labels.
    #[serde(skip_serializing_if = "ByLabel::is_empty")]
    log_likelihood: ByLabel<'a>,
    /// Of each label among them.
    #[serde(skip_serializing_if = "ByLabel::is_empty")]
    probability: ByLabel<'a>,
}

/// Numbers of labels, in the labels' order.
struct ByLabel<'a>(Vec<(&'a str, f64)>);

impl ByLabel<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for ByLabel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The answer to a row as a line of JSON.
fn line(question: &Question, Answer { text, scores, .. }: &Answer) -> anyhow::Result<String> {
    let highest = scores.iter().map(|score| score.log_likelihood).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score.log_likelihood - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let labels = || question.known.labels.iter().map(|(label, _)| label.as_str());
    let line = Line {
        id: &question.id,
        answer: text.as_deref(),
        log_likelihood: ByLabel(labels().zip(scores.iter().map(|score| score.log_likelihood)).collect()),
        probability: ByLabel(labels().zip(weights.iter().map(|weight| weight / total)).collect()),
    };
    let mut line = serde_json::to_string(&line)?;
    line.push('\n');
    Ok(line)
}

/// How far it is.
struct Tally {
    rows: usize,
    /// Inputs that were cut.
    cut: usize,
    /// Answers that reached the most ids that they may have.
    unfinished: usize,
    /// Whether an input was shown, by which people see what the model reads.
    has_shown: bool,
    began: Instant,
    said: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        let now = Instant::now();
        Self { rows: 0, cut: 0, unfinished: 0, has_shown: false, began: now, said: now }
    }
}

impl Tally {
    fn advance(&mut self, rows: usize) {
        self.rows += rows;
        if self.said.elapsed() > PAUSE {
            self.said = Instant::now();
            ui::remark(&self.pace());
        }
    }

    fn pace(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{} rows in {}, {:.0} a second", self.rows, ui::seconds(seconds), self.rows as f64 / seconds)
    }

    fn end(&self, input_length: usize) {
        if self.cut > 0 {
            let (cut, rows) = (self.cut, self.rows);
            let message =
                format!("{cut} of {rows} inputs have more than {input_length} ids and were cut; see `--input-length`");
            ui::tell("warning:", ui::Colour::Yellow, &message);
        }
        if self.unfinished > 0 {
            let (unfinished, rows) = (self.unfinished, self.rows);
            let message = format!(
                "{unfinished} of {rows} answers are as long as they may be, and may go on; see `--answer-length`"
            );
            ui::tell("warning:", ui::Colour::Yellow, &message);
        }
        ui::remark(&self.pace());
    }
}
