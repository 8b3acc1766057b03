//! `spot predict`: a tuned prompt at work on new text.

mod known;

use super::Cache;
use super::backbone::{Backbone, Backbones};
use super::machine::{Memory, cores};
use super::project;
use super::prompt::given;
use super::run::{chosen_device, device};
use crate::data::is_packed;
use crate::engine::run::Unavailable;
use crate::engine::store::catalog::Catalog;
use crate::error::{Exit, Usage};
use crate::ml::batcher::{self, Batcher};
use crate::ml::generate::Beam;
use crate::ml::tasks::{Quotes, Template};
use crate::stages::backbone::Model;
use crate::stages::evaluate::{self, Rank};
use crate::stages::predict::{Answering, BATCH, Counts, Form, Lines, Refused, Said, Settings, Voice, check_labels};
use crate::ui;
use crate::units::size;
use anyhow::Context as _;
use clap::{Args, ValueEnum, ValueHint};
use known::{Named, no_prompt};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Arguments of `spot predict`.
#[derive(Args)]
pub(super) struct Predict {
    /// What to answer: lines of text, JSON lines, CSV, TSV, Parquet or Arrow, by its ending; `-` is the standard input
    #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath, value_parser = project::path())]
    file: PathBuf,
    /// The prompt: a job, the first digits of a key or digest, a folder that PEFT saved, a `.npy` or `.safetensors`; a row that
    /// has a `prompt` names its own
    #[arg(long, value_name = "WHAT", value_parser = project::name())]
    prompt: Option<String>,
    /// The model: a job, a folder in Hugging Face's layout, or a repository of the hub that is on this machine [default: the one that
    /// the prompt was tuned on]
    #[arg(long, value_name = "JOB|FOLDER", value_parser = project::name())]
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
    #[arg(long, value_name = "ROWS", default_value_t = BATCH)]
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

/// What a quote in TSV is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Quoting {
    /// A letter like any other
    Text,
    /// The beginning of a field in quotes
    Fields,
}

impl From<Quoting> for Quotes {
    fn from(quoting: Quoting) -> Self {
        match quoting {
            Quoting::Text => Self::Text,
            Quoting::Fields => Self::Fields,
        }
    }
}

/// Time between two remarks on how far it is.
const PAUSE: Duration = Duration::from_secs(30);

impl Predict {
    /// Runs the command.
    ///
    /// # Errors
    /// If options contradict each other, there is no such prompt, its backbone is not there, the device is not, or a row cannot
    /// be answered.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        self.answer().map(|()| Exit::Ok).map_err(as_usage)
    }

    fn answer(&self) -> anyhow::Result<()> {
        let settings = self.settings()?;
        let mut lines = self.lines()?;
        let (file, store) = (lines.name().to_owned(), self.cache.open());
        let Some(first) = lines.first()? else {
            ui::tell("warning:", ui::Colour::Yellow, &format!("{file} has no rows"));
            return Ok(());
        };
        let catalog = Catalog::read(&store)?;
        let named = first.heading.prompt.as_deref().or(self.prompt.as_deref()).ok_or_else(no_prompt)?.to_owned();
        let place = format!("{file}: {}", first.place);
        let given = given::read(&named, &store, &catalog)?;
        let backbones = Backbones { store: &store, catalog: &catalog };
        let Backbone { model, digest, .. } = backbones.of_prompt(&given, self.backbone.as_deref())?;
        let batcher = self.batcher(&model)?;
        let (said, usual) = (&settings.said, self.prompt.as_deref());
        let known = HashMap::new();
        let mut prompts =
            Named { store, catalog, batcher: &batcher, model: &model, backbone: digest, said, usual, known };
        prompts.add(&named, given).context(place)?;
        let mut answering = Answering::new(&model, &settings, lines);
        let mut clock = Clock::start();
        loop {
            let is_first = answering.first_input().is_none();
            let questions = answering.questions(&mut prompts)?;
            if questions.is_empty() {
                break;
            }
            if let Some(input) = answering.first_input().filter(|_| is_first) {
                ui::remark(&format!("the first input is `{input}`"));
            }
            ui::print_data(&answering.answers(&questions)?)?;
            clock.advance(answering.counts());
        }
        for warning in answering.counts().warnings(&settings) {
            ui::tell("warning:", ui::Colour::Yellow, &warning);
        }
        ui::remark(&clock.pace(answering.counts()));
        Ok(())
    }

    /// The rows to answer.
    fn lines(&self) -> anyhow::Result<Lines> {
        let (form, quotes) = (self.input, self.quotes.map(Into::into));
        if self.file == Path::new("-") {
            let mut reader = BufReader::new(io::stdin());
            if form.is_none() {
                check_text(reader.fill_buf()?)?;
            }
            return Lines::new(Box::new(reader), "standard input", form, quotes, Voice::CommandLine);
        }
        let file = fs_err::File::open(&self.file).map_err(|error| Usage(error.to_string()))?;
        let name = self.file.display().to_string();
        Lines::new(Box::new(BufReader::new(file)), &name, form, quotes, Voice::CommandLine)
    }

    /// The model at work on the chosen device.
    fn batcher(&self, model: &Model) -> anyhow::Result<Batcher> {
        let device = chosen_device(&self.device)?;
        let settings = batcher::Settings {
            device: device.clone(),
            threads: self.threads.map_or_else(cores, NonZero::get),
            memory: self.memory.unwrap_or_else(|| Memory::here().free / 2),
        };
        Ok(Batcher::start(&model.weights, &settings)
            .map_err(|error| Unavailable(format!("device `{device}`: {error}")))?)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        if self.input_length < 2 || self.answer_length == Some(0) {
            return Err(Usage("`--input-length` is at least 2, `--answer-length` at least 1".to_owned()).into());
        }
        Ok(Settings {
            voice: Voice::CommandLine,
            said: self.said()?,
            decoding: self.decoding()?,
            input_length: self.input_length,
            answer_length: self.answer_length,
            batch: self.batch,
        })
    }

    fn said(&self) -> anyhow::Result<Said> {
        let template = self.template.as_deref().map(Template::parse).transpose();
        let template = template.map_err(|message| Usage(format!("`--template` {message}")))?;
        let trimmed = |labels: &Vec<String>| labels.iter().map(|label| label.trim().to_owned()).collect::<Vec<_>>();
        let labels = self.labels.as_ref().map(trimmed);
        let checked = labels.as_deref().map_or(Ok(()), check_labels);
        checked.map_err(|message| Usage(format!("`--labels` {message}")))?;
        Ok(Said { template, complete: self.complete, labels })
    }

    /// How answers are made, if that is said.
    fn decoding(&self) -> anyhow::Result<Option<evaluate::Decoding>> {
        if self.beams.is_some() && self.decoding != Some(Decoding::Beam) {
            return Err(Usage("`--beams` belongs to `--decoding beam`; give that too".to_owned()).into());
        }
        let width = self.beams.unwrap_or(Beam::default().width);
        let beam = Beam { width, ..Beam::default() };
        beam.check().map_err(|error| Usage(format!("`--beams`: {error}")))?;
        Ok(self.decoding.map(|decoding| match decoding {
            Decoding::Rank => evaluate::Decoding::Rank(Rank::default()),
            Decoding::Greedy => evaluate::Decoding::Greedy,
            Decoding::Beam => evaluate::Decoding::Beam(beam),
        }))
    }
}

/// Checks that what the standard input begins with is text, where nobody says its form.
fn check_text(begins: &[u8]) -> Result<(), Usage> {
    let why = if is_packed(begins) {
        "is packed, so its form does not show"
    } else if begins.trim_ascii_start().starts_with(b"{") {
        "begins with `{`, as JSON lines do and text may"
    } else {
        return Ok(());
    };
    let say = "say `--input jsonl` or `--input text`";
    Err(Usage(format!("standard input {why}; {say}")))
}

/// What rows and settings make impossible is a mistake on the command line.
fn as_usage(error: anyhow::Error) -> anyhow::Error {
    if error.is::<Refused>() { Usage(format!("{error:#}")).into() } else { error }
}

/// How fast rows are answered.
struct Clock {
    began: Instant,
    said: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self { began: now, said: now }
    }

    fn advance(&mut self, counts: Counts) {
        if self.said.elapsed() > PAUSE {
            self.said = Instant::now();
            ui::remark(&self.pace(counts));
        }
    }

    fn pace(&self, Counts { rows, .. }: Counts) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{rows} rows in {}, {:.0} a second", ui::seconds(seconds), rows as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_no_text_is_asked_about() {
        let said = |begins: &[u8]| check_text(begins).map_err(|Usage(message)| message);
        assert_eq!((said(b"a {"), said(b"")), (Ok(()), Ok(())));
        let message = said(b" {\"input\"").unwrap_err();
        assert!(message.starts_with("standard input begins with `{`, as JSON lines do"), "{message}");
        assert!(
            said(b"\x1f\x8b\x08").unwrap_err().contains("is packed, so its form does not show; say `--input jsonl`")
        );
    }
}
