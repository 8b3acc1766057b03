//! `pretrain`: a small T5 v1.1 from text, with a tokenizer of its own.

use super::backbone::Parts;
use super::checkpoint::keep;
use super::corpus::{self, Form, paragraphs};
use super::curve::Curve;
use super::learning::{Course, Loop};
use super::mixture::Scores;
use super::tune_model::with;
use super::work::note_model;
use super::{BACKBONE, CURVE, SKILLS};
use crate::data::{Column, Table};
use crate::engine::context::Cx;
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Issue, Output, Stage, Type};
use crate::ml::batcher::{self, Batcher};
use crate::ml::error::Error;
use crate::ml::generate::{self, Generation};
use crate::ml::model::{Dims, Precision, Weights};
use crate::ml::prompt::Prompt;
use crate::ml::random::Stream;
use crate::ml::text::tokens::{self, Tokens};
use crate::ml::train::optim::{self, AdamWSettings, Shape};
use crate::ml::train::pretrain::{Corpus, Objective, Pretrainer};
use crate::ml::train::settings::Settings;
use crate::ml::world;
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::sync::Arc;

/// A T5 v1.1 that learns from a corpus and from the generator of the built-in world.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Text files, UTF-8, a paragraph a line; or JSON (`.jsonl`, `.ndjson`, `.json`) of objects with a document as `text`. Files packed
    /// with gzip or zstd are unpacked.
    #[serde(default, serialize_with = "forms", skip_serializing_if = "is_plain")]
    corpus: Vec<FileInput>,
    /// Sizes of the tokenizer.
    #[serde(default)]
    tokenizer: TokenizerSettings,
    /// Sizes of the model.
    #[serde(default)]
    model: ModelSettings,
    /// Objectives and optimiser.
    #[serde(default)]
    training: Training,
    /// Seed of weights and batches.
    #[serde(default)]
    seed: u64,
}

/// How the files of a corpus hold their texts, which is what a recipe has of them besides their content.
fn forms<S: Serializer>(corpus: &[FileInput], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(corpus.iter().map(|file| Form::of(file.name())))
}

fn is_plain(corpus: &[FileInput]) -> bool {
    corpus.iter().all(|file| Form::of(file.name()) == Form::Plain)
}

/// Sizes of a tokenizer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TokenizerSettings {
    /// Ids in all.
    size: usize,
    /// Sentinels among them.
    sentinels: usize,
    /// Characters that are rarer in the training text become unknown.
    rarest_character: u32,
    /// Rows of the built-in world in the training text, beside the corpus.
    generated_rows: usize,
}

impl Default for TokenizerSettings {
    fn default() -> Self {
        Self { size: 4096, sentinels: 16, rarest_character: 100, generated_rows: 100_000 }
    }
}

/// Sizes of a model.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ModelSettings {
    /// Embedding width.
    width: usize,
    /// Width of the feed-forward layers.
    ff: usize,
    /// Heads of every attention.
    heads: usize,
    /// Width of a head.
    head_width: usize,
    /// Layers of the encoder.
    encoder_layers: usize,
    /// Layers of the decoder.
    decoder_layers: usize,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self { width: 128, ff: 384, heads: 4, head_width: 32, encoder_layers: 3, decoder_layers: 2 }
    }
}

impl ModelSettings {
    fn dims(&self, vocab: usize) -> Dims {
        let Self { width, heads, head_width, ff, encoder_layers, decoder_layers, .. } = *self;
        Dims::v1_1(vocab, width, (heads, head_width), ff, (encoder_layers, decoder_layers))
    }
}

/// How a model is pretrained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Training {
    /// Updates of the weights.
    steps: u64,
    /// Of these, the last ones that learn prefix language modelling instead of span corruption.
    adaptation_steps: u64,
    /// Windows of text in an update.
    texts: usize,
    /// Of the windows, the share that comes from the generator of the built-in world, not from the corpus.
    generated_share: f64,
    /// Supervised rows of the built-in world in an update.
    rows: usize,
    /// Weight of the loss of the text windows beside that of the rows (both are means over tokens).
    text_weight: f64,
    /// Ids of a window of text.
    window: usize,
    /// Share of a window's ids that span corruption hides.
    noise_density: f64,
    /// Mean length of a hidden span.
    mean_span: f64,
    /// Peak learning rate of AdamW.
    learning_rate: f64,
    /// Steps in which it rises.
    warmup_steps: u64,
    /// Course of the learning rate after the warm-up.
    schedule: Shape,
    /// AdamW.
    optimizer: AdamWSettings,
    /// Gradients longer than this (Euclidean norm over all weights) are shortened to it.
    clip_norm: f64,
    /// Factor of log(Z)² in the loss.
    z_loss: f64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            steps: 20_000,
            adaptation_steps: 4_000,
            texts: 8,
            generated_share: 0.5,
            rows: 56,
            text_weight: 0.5,
            window: 48,
            noise_density: 0.15,
            mean_span: 3.0,
            learning_rate: 4e-4,
            warmup_steps: 500,
            schedule: Shape::Linear,
            optimizer: AdamWSettings { beta2: 0.98, ..AdamWSettings::default() },
            clip_norm: 1.0,
            z_loss: 1e-4,
        }
    }
}

impl Training {
    fn check(&self) -> Result<(), Error> {
        if self.steps == 0 {
            return Err(Error::Setting { field: "steps", found: "0".to_owned(), expected: "at least 1".to_owned() });
        }
        self.objective().check(self.steps)?;
        // A run may end while its learning rate still rises.
        Settings { warmup_steps: 0, ..self.settings() }.check()
    }

    fn objective(&self) -> Objective {
        let Self { adaptation_steps, texts, generated_share, rows, text_weight, .. } = *self;
        let Self { window, noise_density, mean_span, clip_norm, .. } = *self;
        Objective {
            adaptation_steps,
            texts,
            generated_share,
            rows,
            text_weight,
            window,
            noise_density,
            mean_span,
            clip_norm,
        }
    }

    /// Without dropout, label smoothing and validation.
    fn settings(&self) -> Settings {
        Settings {
            steps: self.steps,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            optimizer: optim::Settings::AdamW(self.optimizer.clone()),
            dropout: 0.0,
            z_loss: self.z_loss,
            label_smoothing: 0.0,
            evaluate_every: LOGGED,
            patience: 0,
            ..Settings::default()
        }
    }
}

/// Steps between two lines of the curve, which are also those at which a run can go on.
const LOGGED: u64 = 100;
/// Held-out rows by which each skill is measured.
const GATE_ROWS: usize = 400;

impl Stage for Pretrain {
    const KIND: &'static str = "pretrain";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "backbone", of: BACKBONE },
        Output { name: "curve", of: CURVE },
        Output { name: "skills", of: SKILLS },
    ];

    fn inputs(&self) -> Vec<Input> {
        let input = |(i, file): (usize, &FileInput)| file.input(format!("corpus[{i}]"), Type::FILE);
        self.corpus.iter().enumerate().map(input).collect()
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        for (i, file) in self.corpus.iter().enumerate() {
            corpus::check_name(file.name()).map_err(|message| Issue::new(format!("corpus[{i}]"), message))?;
        }
        let config = self.model.dims(self.tokenizer.size).to_json();
        Dims::from_json(config.as_bytes()).map(drop).map_err(|error| Issue::new("model", error.to_string()))
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let texts = self.texts(cx)?;
        let tokenizer = self.tokenizer(cx, &texts)?;
        let tokens = Tokens::from_json(&tokenizer, 1)?;
        let corpus = Corpus::new(texts.iter().flat_map(|text| paragraphs(text)), &tokens)?;
        drop(texts);
        let weights = Weights::random(self.model.dims(tokens.size()), &mut Stream::new(self.seed, "weights"));
        let dims = weights.dims.clone();
        let (objective, settings) = (self.training.objective(), self.training.settings());
        let mut run = Loop::new(Pretrainer::new(weights, &tokens, &corpus, objective, settings, self.seed)?);
        let course = Course {
            keep_at: &[],
            losses: &["text loss", "row loss"],
            scores: &|_| Ok(Scores::default()),
            file: &|parameters, _, _| Ok(with(&dims, parameters)?.to_safetensors(true)?),
        };
        run.go(cx, &course)?;
        let bytes = run.learner.weights().to_safetensors(true)?;
        let rounded = Weights::from_safetensors(dims, &[&bytes], Precision::F32)?;
        note_model(cx, &rounded.dims);
        let parts = Parts {
            config: cx.attach("backbone", "config.json", rounded.dims.to_json().as_bytes())?,
            tokenizer: cx.attach("backbone", "tokenizer.json", &tokenizer)?,
            weights: vec![cx.attach("backbone", "model.safetensors", &bytes)?],
            precision: Precision::F32,
        };
        cx.write("backbone", &parts.to_bytes())?;
        cx.write("curve", &table(&run.curve).to_parquet()?)?;
        cx.write("skills", &skills(&rounded, &tokens)?.to_parquet()?)
    }
}

impl Pretrain {
    fn texts(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<String>> {
        let mut size = 0;
        let read = |(i, file): (usize, &FileInput)| -> anyhow::Result<String> {
            let artifact = cx.one(&format!("corpus[{i}]"))?;
            fits(size + artifact.open()?.metadata()?.len()).with_context(|| format!("`{file}`"))?;
            let (text, form) = (corpus::text(artifact, file.name())?, Form::of(file.name()));
            size += text.len() as u64;
            fits(size).with_context(|| format!("`{file}`"))?;
            let documents = form.documents(&text).with_context(|| format!("`{file}`"))?;
            if form == Form::Plain {
                drop(documents);
                return Ok(text);
            }
            let documents: anyhow::Result<Vec<Cow<'_, str>>> = documents.collect();
            Ok(documents.with_context(|| format!("`{file}`"))?.join("\n"))
        };
        self.corpus.iter().enumerate().map(read).collect()
    }

    /// Trained once; a run that goes on after an interruption finds it in its scratch folder.
    fn tokenizer(&self, cx: &Cx<'_>, texts: &[String]) -> anyhow::Result<Vec<u8>> {
        let kept = cx.scratch()?.join("tokenizer.json");
        if kept.exists() {
            return Ok(fs_err::read(kept)?);
        }
        let mut stream = Stream::new(self.seed, "tokenizer rows");
        let rows: Vec<String> = (0..self.tokenizer.generated_rows)
            .map(|_| {
                let row = world::rows(&mut stream);
                format!("{} {}", row.input, row.target)
            })
            .collect();
        let texts = texts.iter().flat_map(|text| paragraphs(text)).chain(rows.iter().map(String::as_str));
        let TokenizerSettings { size, sentinels, rarest_character, .. } = self.tokenizer;
        let json = tokens::train(texts, tokens::Training { size, sentinels, rarest_character })?;
        keep(&kept, &json)?;
        Ok(json)
    }
}

/// Bytes of the corpus, all of which is in memory.
const LONGEST: u64 = 1 << 30;

/// Whether so many bytes of the corpus may be held.
fn fits(size: u64) -> anyhow::Result<()> {
    ensure!(
        size <= LONGEST,
        "with it the corpus has {size} bytes, of which {LONGEST} may be held in memory; give less text"
    );
    Ok(())
}

/// A line for every hundred steps, whole.
fn table(curve: &Curve) -> Table {
    let rows = || curve.steps.iter().zip(&curve.losses).filter(|(step, _)| **step > 0 && step.is_multiple_of(LOGGED));
    let loss = |at: usize| Column::Float(rows().map(|(_, losses)| losses[at]).collect());
    let steps = Column::Int(rows().map(|(step, _)| *step as i64).collect());
    Table::new(vec![("step", steps), ("text_loss", loss(0)), ("row_loss", loss(1))])
}

/// Share of held-out rows of each skill that the model answers exactly, with no prompt.
fn skills(weights: &Weights, tokens: &Tokens) -> anyhow::Result<Table> {
    let settings = batcher::Settings { device: "cpu".to_owned(), threads: 1, memory: usize::MAX };
    let batcher = Batcher::start(&Arc::new(weights.clone()), &settings)?;
    let model = batcher.client("pretrain");
    let none = Prompt { values: Vec::new(), width: weights.dims.width };
    let (mut names, mut accuracies) = (Vec::new(), Vec::new());
    for skill in world::SKILLS {
        let mut stream = Stream::new(0, &format!("held-out rows of {skill}"));
        let rows: Vec<world::Row> = (0..GATE_ROWS).map(|_| world::row(skill, &mut stream)).collect();
        let inputs = rows.iter().map(|row| tokens.encode(&row.input, 128)).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let streams: Vec<u64> = (0..inputs.len() as u64).collect();
        let predictions = generate::predict(&model, &none, &inputs, &streams, 16, Generation::Greedy)?;
        let mut right = 0;
        for (row, ids) in rows.iter().zip(predictions) {
            right += usize::from(tokens.decode(&ids)? == row.target);
        }
        names.push((*skill).to_owned());
        accuracies.push(100.0 * right as f64 / GATE_ROWS as f64);
    }
    Ok(Table::new(vec![("skill", Column::Text(names)), ("accuracy", Column::Float(accuracies))]))
}
