//! Rows answered some at a time, each by its own prompt, and what is written of them.

use super::lines::{Lines, Making, Row};
use super::ready::{Ready, Said};
use super::voice::{Refused, Voice};
use crate::ml::error::Error;
use crate::ml::generate::{LabelScore, label_scores, likeliest, predict};
use crate::ml::tasks::At;
use crate::stages::backbone::Model;
use crate::stages::evaluate::{Decoding, OVERRUN, Rank};
use anyhow::Context as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::num::NonZero;
use std::rc::Rc;

/// How rows are answered.
pub struct Settings {
    /// How messages name these settings.
    pub voice: Voice,
    /// What is said of all prompts.
    pub said: Said,
    /// How answers are made; without it `rank` where there are labels, else `greedy`.
    pub decoding: Option<Decoding>,
    /// Ids of an input with its eos; longer ones are cut.
    pub input_length: usize,
    /// Ids of a generated answer; without it 64, or the longest label and some more.
    pub answer_length: Option<usize>,
    /// Rows that are read and answered together.
    pub batch: NonZero<usize>,
}

/// Ids of a free answer where nobody says more.
const ANSWER: usize = 64;

/// Rows that are read, answered and written together, if nobody says how many.
pub const BATCH: NonZero<usize> = NonZero::new(512).expect("it is not 0");

/// The prompts that rows may name.
pub trait Prompts {
    /// The prompt of this name, or that of rows without a name.
    ///
    /// # Errors
    /// If there is no such prompt, or it is not one of the model.
    fn get(&mut self, name: Option<&str>) -> anyhow::Result<Rc<Ready>>;
}

/// A row, ready to be answered.
pub struct Question {
    id: Value,
    ready: Rc<Ready>,
    ids: Vec<u32>,
    /// Its number among all rows, from 0: the stream that samples of its answer are drawn from.
    row: u64,
}

/// What a prompt says to a row.
#[derive(Clone, Default)]
struct Answer {
    text: Option<String>,
    scores: Vec<LabelScore>,
    /// Whether it reached the most ids that it may have.
    is_cut: bool,
}

/// What happened to the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows that were answered.
    pub rows: u64,
    /// Inputs that were cut.
    pub cut_inputs: u64,
    /// Answers that reached the most ids that they may have, and may go on.
    pub unfinished_answers: u64,
}

impl Counts {
    /// What whoever reads the answers must know.
    pub fn warnings(&self, settings: &Settings) -> Vec<String> {
        let Self { rows, cut_inputs, unfinished_answers } = self;
        let (longest, see) = (settings.input_length, |name| settings.voice.setting(name));
        let cut = || {
            let see = see("input_length");
            format!("{cut_inputs} of {rows} inputs have more than {longest} ids and were cut; see {see}")
        };
        let unfinished = || {
            let see = see("answer_length");
            format!("{unfinished_answers} of {rows} answers are as long as they may be, and may go on; see {see}")
        };
        let cut = (*cut_inputs > 0).then(cut);
        cut.into_iter().chain((*unfinished_answers > 0).then(unfinished)).collect()
    }
}

/// Rows on their way to answers.
pub struct Answering<'a> {
    model: &'a Model,
    settings: &'a Settings,
    lines: Lines,
    /// Rows that were read.
    read: u64,
    counts: Counts,
    /// The first input, by which people see what the model reads.
    first: Option<String>,
}

impl<'a> Answering<'a> {
    /// Rows that `model` is to answer.
    pub fn new(model: &'a Model, settings: &'a Settings, lines: Lines) -> Self {
        Self { model, settings, lines, read: 0, counts: Counts::default(), first: None }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The first input that was made of a row.
    pub fn first_input(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// Leaves out the rows that were answered before, which `counts` tells of.
    ///
    /// # Errors
    /// If they cannot be read, or there are not as many.
    pub(super) fn resume(&mut self, counts: Counts) -> anyhow::Result<()> {
        while self.read < counts.rows {
            let wanted = usize::try_from(counts.rows - self.read).unwrap_or(usize::MAX).min(self.settings.batch.get());
            let found = self.lines.next(wanted)?.len();
            anyhow::ensure!(found > 0, "{} rows, but {} were answered before", self.read, counts.rows);
            self.read += found as u64;
        }
        self.counts = counts;
        Ok(())
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// If a row cannot be read, has no input, or names a prompt that is not there; names the row.
    pub fn questions(&mut self, prompts: &mut dyn Prompts) -> anyhow::Result<Vec<Question>> {
        let rows = self.lines.next(self.settings.batch.get())?;
        rows.iter().map(|row| self.question(row, prompts)).collect()
    }

    fn question(&mut self, row: &Row, prompts: &mut dyn Prompts) -> anyhow::Result<Question> {
        let place = |lines: &Lines| format!("{}: {}", lines.name(), row.place);
        let ready = prompts.get(row.heading.prompt.as_deref()).with_context(|| place(&self.lines))?;
        if matches!(self.settings.decoding, Some(Decoding::Rank(_))) && ready.labels.is_empty() {
            return Err(self.no_labels().into());
        }
        let Said { template, complete, .. } = &self.settings.said;
        let making = Making { template: ready.template.as_ref(), asked: template.is_some(), complete: *complete };
        let input = self.lines.input(row, making)?;
        let ids = self.ids(&input).with_context(|| place(&self.lines))?;
        self.first.get_or_insert(input);
        let number = match row.place.at {
            At::Line(line) => line,
            At::Row(row) => row,
        };
        let id = row.heading.id.as_ref().map_or_else(|| json!(number), |(id, is_number)| as_it_was(id, *is_number));
        self.read += 1;
        Ok(Question { id, ready, ids, row: self.read - 1 })
    }

    /// The ids of an input with eos, cut where it is too long.
    fn ids(&mut self, input: &str) -> anyhow::Result<Vec<u32>> {
        let most = self.settings.input_length;
        let (ids, length) = self.model.tokens.encode_counted(input, most)?;
        self.counts.cut_inputs += u64::from(length > most);
        Ok(ids)
    }

    fn no_labels(&self) -> Refused {
        let voice = self.settings.voice;
        let (rank, labels) = (voice.with("decoding", "rank"), voice.setting("labels"));
        Refused(format!("{rank} compares labels, and nothing says what they are; give {labels}"))
    }

    /// The answers to some rows as lines of JSON, in their order. The rows of each prompt are asked by a thread of their own, and the
    /// model computes those of all prompts in common batches.
    ///
    /// # Errors
    /// If the device fails, or likelihoods are no numbers.
    pub fn answers(&mut self, questions: &[Question]) -> anyhow::Result<String> {
        let mut groups: Vec<(&Ready, Vec<usize>)> = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            match groups.iter_mut().find(|(ready, _)| std::ptr::eq(*ready, &*question.ready)) {
                Some((_, members)) => members.push(at),
                None => groups.push((&question.ready, vec![at])),
            }
        }
        let (model, settings) = (self.model, self.settings);
        let found = std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(groups.len());
            for (ready, members) in &groups {
                let of = |at: &usize| (questions[*at].ids.as_slice(), questions[*at].row);
                let (inputs, streams): (Vec<&[u32]>, Vec<u64>) = members.iter().map(of).unzip();
                threads.push(scope.spawn(move || ask(ready, &inputs, &streams, model, settings)));
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("answering does not panic");
            threads.into_iter().map(join).collect::<anyhow::Result<Vec<Vec<Answer>>>>()
        })?;
        let mut answers = vec![Answer::default(); questions.len()];
        for ((_, members), found) in groups.iter().zip(found) {
            members.iter().zip(found).for_each(|(at, answer)| answers[*at] = answer);
        }
        self.counts.rows += questions.len() as u64;
        self.counts.unfinished_answers += answers.iter().filter(|answer| answer.is_cut).count() as u64;
        questions.iter().zip(&answers).map(|(question, answer)| line(question, answer)).collect()
    }
}

/// The answers of one prompt to `inputs` (ids with eos, `[B]` of T); samples are drawn from `streams`, `[B]`.
fn ask(
    ready: &Ready,
    inputs: &[&[u32]],
    streams: &[u64],
    model: &Model,
    settings: &Settings,
) -> anyhow::Result<Vec<Answer>> {
    let Ready { client, prompt, labels, .. } = ready;
    let mut answers = vec![Answer::default(); inputs.len()];
    if !labels.is_empty() {
        let ids: Vec<Vec<u32>> = labels.iter().map(|(_, ids)| ids.clone()).collect();
        let scores = label_scores(client, prompt, inputs, &ids)?;
        // JSON has no such numbers.
        if scores.iter().flatten().any(|score| !score.log_likelihood.is_finite()) {
            return Err(Error::NoLikelihood.into());
        }
        answers.iter_mut().zip(scores).for_each(|(answer, scores)| answer.scores = scores);
    }
    let usual = if labels.is_empty() { Decoding::Greedy } else { Decoding::Rank(Rank::default()) };
    let decoding = settings.decoding.unwrap_or(usual);
    let Some(generation) = decoding.generation() else {
        let per_token = matches!(decoding, Decoding::Rank(Rank { per_token: true }));
        for answer in &mut answers {
            answer.text = Some(labels[likeliest(&answer.scores, per_token)?].0.clone());
        }
        return Ok(answers);
    };
    let of_labels = labels.iter().map(|(_, ids)| ids.len() + OVERRUN).max();
    let longest = settings.answer_length.or(of_labels).unwrap_or(ANSWER);
    for (answer, ids) in answers.iter_mut().zip(predict(client, prompt, inputs, streams, longest, generation)?) {
        answer.is_cut = ids.len() == longest;
        answer.text = Some(model.tokens.decode(&ids)?);
    }
    Ok(answers)
}

/// An id as the row has it: a number as a number, if JSON readers keep all of its digits.
fn as_it_was(id: &str, is_number: bool) -> Value {
    let whole = |id: &str| id.parse::<i64>().map(Value::from).ok();
    is_number.then(|| whole(id)).flatten().unwrap_or_else(|| json!(id))
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
    let labels = || question.ready.labels.iter().map(|(label, _)| label.as_str());
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
