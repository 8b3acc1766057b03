//! What a model is, what a step of tuning on it takes, and whether its gradient is right.

use super::{Check, State};
use crate::cli::backbone::{Backbone, Backbones};
use crate::cli::machine::{Memory, cores};
use crate::cli::run::chosen_device;
use crate::engine::run::Unavailable;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::provenance;
use crate::ml::batcher::{self, Batcher, Client};
use crate::ml::model::batch::Batch;
use crate::ml::model::{CrossEntropy, Dims, Head, Precision, Rows, Weights};
use crate::ml::prompt::{Prompt, init};
use crate::ml::random::Stream;
use crate::stages::backbone::Model;
use crate::ui;
use std::ops::Range;
use std::time::Instant;

/// The batch of a step as papers have it: 32 examples, a prompt of 100 rows (Lester et al. 2021, section 3), inputs of 128 ids and
/// targets of 4.
const STEP: Rows = Rows { examples: 32, encoder: PROMPT + INPUT, decoder: TARGET };
const PROMPT: usize = 100;
const INPUT: usize = 128;
const TARGET: usize = 4;
/// Steps that are timed.
const STEPS: usize = 3;
/// Rows of the prompt at which the gradient is compared with differences of the loss.
const ROWS: usize = 4;

/// Looks at the model that is called so.
///
/// # Errors
/// If there is none, or the device does not compute.
pub(super) fn checks(name: &str, device: &str, store: &Store) -> anyhow::Result<Vec<Check>> {
    let catalog = Catalog::read(store)?;
    let Backbone { model, .. } = Backbones { store, catalog: &catalog }.named(name, None)?;
    let device = chosen_device(device)?;
    let settings = batcher::Settings { device: device.clone(), threads: cores(), memory: Memory::here().free / 2 };
    let batcher = Batcher::start(&model.weights, &settings)
        .map_err(|error| Unavailable(format!("device `{device}`: {error}")))?;
    let client = batcher.client("doctor");
    let mut stream = Stream::new(0, "doctor");
    let prompt = init::sampled_vocabulary(&model.weights, PROMPT, model.tokens.size(), &mut stream);
    let before = provenance::peak_memory();
    let time = time(&client, &prompt, &model, &settings, &mut stream)?;
    let grown = provenance::peak_memory().zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(vec![
        Check::ok(format!("backbone `{name}`"), shape(&model)),
        tokenizer(&model),
        memory(&model.weights, &settings, grown),
        time,
        gradient(&client, &prompt, &model, &mut stream)?,
    ])
}

/// `T5 of 77 million parameters: …`.
fn shape(model: &Model) -> String {
    let dims = &model.weights.dims;
    let Dims { width, heads, head_width, ff, encoder_layers, decoder_layers, vocab, .. } = dims;
    let head = if dims.head == Head::Own { "a head of its own" } else { "the embedding as its head" };
    let biases =
        if dims.bias_per_layer { "a table of position biases in every layer" } else { "one table for all layers" };
    format!(
        "{} parameters; {encoder_layers} + {decoder_layers} layers of width {width}, {heads} heads of {head_width}, inner width {ff} \
         ({:?}), {vocab} ids, {head}, {biases}",
        in_millions(model.weights.layout.len()),
        dims.activation,
    )
}

fn in_millions(count: usize) -> String {
    match count {
        0..1_000_000 => format!("{count}"),
        _ => format!("{:.1} million", count as f64 / 1e6),
    }
}

/// Whether ids of the tokenizer are rows of the embedding. More ids than rows are refused when a model is read; T5 has some rows
/// more, so that their number divides well (32,100 pieces, 32,128 rows).
fn tokenizer(model: &Model) -> Check {
    let (pieces, rows) = (model.tokens.size(), model.weights.dims.vocab);
    let found = format!("{pieces} pieces for {rows} rows of the embedding; `{}` ends a text", model.tokens.eos());
    let text = "A tokenizer reads this sentence, and writes it again.";
    let again = model.tokens.encode(text, usize::MAX).and_then(|ids| model.tokens.decode(&ids));
    if again.as_deref().ok() != Some(text) {
        let again = again.unwrap_or_else(|error| error.to_string());
        let hint = "a tokenizer that loses characters learns and answers other texts than those of the data; fine for a model made so";
        return Check::new("tokenizer", State::Warn, format!("{found}; `{text}` comes back as `{again}`"), hint);
    }
    if rows - pieces > rows / 10 {
        let hint = "a model and a tokenizer of different families? only ids that the model was trained with mean something to it";
        return Check::new("tokenizer", State::Warn, format!("{found}; {} rows have no piece", rows - pieces), hint);
    }
    Check::ok("tokenizer", found)
}

/// What a step needs, predicted, and by how much steps made the most that this process has held grow.
fn memory(weights: &Weights, settings: &batcher::Settings, grown: Option<u64>) -> Check {
    let Weights { dims, layout, .. } = weights;
    let weights = |precision| ui::bytes(dims.weight_bytes(precision) as u64);
    let activations = |rows| dims.activation_bytes(layout, rows, Precision::F32, false, true);
    let (step, one) = (activations(STEP), activations(Rows { examples: 1, ..STEP }));
    let grown = grown.map_or_else(String::new, |grown| format!("; steps took {}", ui::bytes(grown)));
    let found = format!(
        "weights {} in f32, {} in bf16; activations of {STEP_IN_WORDS} {}, of one example {}{grown}",
        weights(Precision::F32),
        weights(Precision::Bf16),
        ui::bytes(step as u64),
        ui::bytes(one as u64),
    );
    if step > settings.memory {
        let available = ui::bytes(settings.memory as u64);
        let hint = format!(
            "there are {available} for activations, so that batches are computed in micro-batches that fit, to the same result; `run \
             --memory` says how much they may take"
        );
        return Check::new("memory of a step", State::Warn, found, &hint);
    }
    Check::ok("memory of a step", found)
}

/// [`STEP`] for people.
const STEP_IN_WORDS: &str = "a step (32 examples, prompt 100, inputs 128, targets 4)";

/// A batch of random ids.
fn batch(examples: usize, pieces: usize, stream: &mut Stream) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..examples {
        let mut ids = |count: usize| (0..count).map(|_| stream.below(pieces) as u32).collect::<Vec<_>>();
        batch.push(0, &ids(INPUT), &ids(TARGET));
    }
    batch
}

const LOSS: CrossEntropy = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };

/// Seconds of a step: predicted from one with an example for each worker, and measured.
fn time(
    client: &Client,
    prompt: &Prompt,
    model: &Model,
    settings: &batcher::Settings,
    stream: &mut Stream,
) -> anyhow::Result<Check> {
    let mut step = |examples: usize| -> anyhow::Result<f64> {
        let batch = batch(examples, model.tokens.size(), stream);
        let began = Instant::now();
        client.gradients(&prompt.values, batch, LOSS, None)?;
        Ok(began.elapsed().as_secs_f64())
    };
    let few = settings.threads.min(STEP.examples);
    // The first one finds the weights on disk, and buffers without pages.
    step(few)?;
    let predicted = step(few)? * STEP.examples as f64 / few as f64;
    let mut measured = (0..STEPS).map(|_| step(STEP.examples)).collect::<anyhow::Result<Vec<f64>>>()?;
    measured.sort_by(f64::total_cmp);
    let median = measured[STEPS / 2];
    let found = format!(
        "{} on `{}`, the median of {STEPS} ({} were predicted from one of {few} examples); 30,000 steps take {}",
        ui::seconds(median),
        settings.device,
        ui::seconds(predicted),
        ui::seconds(median * 30_000.0)
    );
    Ok(Check::ok("time of a step", found))
}

/// What a loss says in a precision.
struct Accuracy {
    /// How far apart the gradient and differences may be, relative to them.
    tolerance: f64,
    /// By how much a loss may be off by rounding, relative to it.
    noise: f64,
    /// By how much the loss is to change between two points, relative to it.
    change: f64,
}

impl Accuracy {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self { tolerance: 0.02, noise: 1e-6, change: 2e-3 },
            Precision::Bf16 => Self { tolerance: 0.2, noise: 1e-3, change: 5e-2 },
        }
    }
}

/// The gradient beside central differences of the loss: in its own direction, over the whole prompt and over each of the rows where it
/// is largest.
fn gradient(client: &Client, prompt: &Prompt, model: &Model, stream: &mut Stream) -> anyhow::Result<Check> {
    let batch = batch(2, model.tokens.size(), stream);
    let loss = |values: &[f32]| client.gradients(values, batch.clone(), LOSS, None);
    let (at, gradient) = loss(&prompt.values)?;
    let accuracy = Accuracy::of(model.weights.precision());
    let (mut worst, mut compared) = (0.0f64, 0);
    for rows in directions(&gradient, prompt.width) {
        let [direction, values] = [&gradient, &prompt.values].map(|x| norm(&x[rows.clone()]));
        // Not so far that the loss bends.
        let step = (accuracy.change / 2.0 * at.sum / direction).min(values / 10.0);
        let moved = |length: f64| {
            let mut values = prompt.values.clone();
            for index in rows.clone() {
                values[index] += (length * f64::from(gradient[index]) / direction) as f32;
            }
            values
        };
        // How much of what the gradient says a loss changes by, as far as a step of this length shows.
        let share = |length: f64| -> anyhow::Result<f64> {
            let (above, below) = (moved(length), moved(-length));
            let said = |index: usize| f64::from(gradient[index]) * (f64::from(above[index]) - f64::from(below[index]));
            Ok((loss(&above)?.0.sum - loss(&below)?.0.sum) / rows.clone().map(said).sum::<f64>())
        };
        if 2.0 * step * direction * accuracy.tolerance < 8.0 * accuracy.noise * at.sum {
            continue;
        }
        // Two steps tell what a loss that bends adds to the difference, and it is taken off (Richardson).
        let error = ((4.0 * share(step / 2.0)? - share(step)?) / 3.0 - 1.0).abs();
        worst = if error.is_nan() { f64::NAN } else { worst.max(error) };
        compared += 1;
    }
    if compared == 0 {
        let found = "is too small, on random ids, to be compared with differences of the loss";
        return Ok(Check::ok("gradient", found));
    }
    let found = format!(
        "differs from differences of the loss by {:.2} % at most, in {compared} directions of the prompt",
        100.0 * worst
    );
    if worst <= accuracy.tolerance {
        return Ok(Check::ok("gradient", found));
    }
    let hint = "the model may be damaged, or in a precision that does not carry it; compare with `precision: f32`, and report it";
    Ok(Check::new("gradient", State::Fail, found, hint))
}

/// All of a prompt, and its rows with the largest gradients, as places of `[P, E]`.
fn directions(gradient: &[f32], width: usize) -> Vec<Range<usize>> {
    let mut rows: Vec<Range<usize>> = (0..gradient.len()).step_by(width).map(|start| start..start + width).collect();
    rows.sort_by(|a, b| norm(&gradient[b.clone()]).total_cmp(&norm(&gradient[a.clone()])));
    rows.truncate(ROWS);
    rows.insert(0, 0..gradient.len());
    rows
}

/// The Euclidean length of a vector, `[n]`.
fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}
