//! How long does prompt tuning take, and how near is that to what the machine can do?
//!
//! `make bench` prints everything; `benches/peft.py` times the same beside PyTorch and PEFT. As arguments:
//!
//! - `ceiling`: floating-point operations a second of the largest matrix products of a step, alone;
//! - `few ROWS`: GB of parameters a second in products of few rows with the head of small, on one thread;
//! - `step CASE STEPS [PRECISION]`: median time of a step, in f32 or bf16;
//! - `rows FOLDER COUNT`: ids of real rows of MNLI, SST-2 and RTE, as JSON (FOLDER: GLUE's files and `t5-tokenizer`);
//! - `epoch FILE`: time of one pass over such rows, batches of 32 at their natural lengths;
//! - `memory`: predicted memory of the published sizes, an example of 512 tokens;
//! - `peak CASE PRECISION MIB`: memory of one step with so much for activations;
//! - `precision FILE`: loss of real rows in f32 and in bf16;
//! - `together CASE RUNS STEPS`: runs in common batches, and one after another.
//!
//! A CASE is `nano`, or `small` to `xxl`; a number behind it is that of the examples in a batch: `nano4`.
//!
//! Every answer is a line of JSON. Weights are random; threads: RAYON_NUM_THREADS, else all.

use serde::{Deserialize, Serialize};
use serde_json::json;
use spot::ml::batcher::{self, Batcher};
use spot::ml::model::cpu::kernels::{Matmul, Matrix, linear, linear_backward};
use spot::ml::model::{Dims, Layout, Precision, Rows, Weights};
use spot::ml::prompt::init;
use spot::ml::random::Stream;
use spot::ml::tasks::{self, Reading, Split};
use spot::ml::text::tokens::Tokens;
use spot::ml::train::Learner;
use spot::ml::train::examples::{Batching, Examples, Size};
use spot::ml::train::mixture::Mixing;
use spot::ml::train::prompt_tuning::PromptLearner;
use spot::ml::train::settings::Settings;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// Sizes of a model and of what it learns from.
struct Case {
    name: String,
    dims: Dims,
    prompt: usize,
    batch: usize,
    input: usize,
    target: usize,
}

/// T5 v1.1 by its published sizes.
fn v1_1(name: &str) -> Option<Dims> {
    Some(match name {
        "small" => Dims::v1_1(32_128, 512, (6, 64), 1024, (8, 8)),
        "base" => Dims::v1_1(32_128, 768, (12, 64), 2048, (12, 12)),
        "large" => Dims::v1_1(32_128, 1024, (16, 64), 2816, (24, 24)),
        "xl" => Dims::v1_1(32_128, 2048, (32, 64), 5120, (24, 24)),
        "xxl" => Dims::v1_1(32_128, 4096, (64, 64), 10_240, (24, 24)),
        _ => return None,
    })
}

/// A number at the end of the name is that of the examples in a batch.
fn case(name: &str) -> Result<Case, String> {
    let nano = Dims::v1_1(4096, 128, (4, 32), 256, (3, 2));
    let size = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if let Ok(batch) = name[size.len()..].parse() {
        return Ok(Case { name: name.to_owned(), batch, ..case(size)? });
    }
    match name {
        "nano" => Ok(Case { name: name.to_owned(), dims: nano, prompt: 16, batch: 32, input: 24, target: 2 }),
        _ => {
            let dims =
                v1_1(name).ok_or_else(|| format!("no case `{name}`; there are nano and small to xxl, and nano4"))?;
            Ok(Case { name: name.to_owned(), dims, prompt: 100, batch: 16, input: 128, target: 8 })
        }
    }
}

/// Ids of an example.
#[derive(Serialize, Deserialize)]
struct Row {
    input: Vec<u32>,
    target: Vec<u32>,
}

impl Case {
    fn rows(&self, count: usize, seed: u64) -> Vec<Row> {
        let mut stream = Stream::new(seed, "rows");
        let mut ids = |length| (0..length).map(|_| stream.below(self.dims.vocab) as u32).collect();
        (0..count).map(|_| Row { input: ids(self.input), target: ids(self.target) }).collect()
    }

    /// Random weights, from few random numbers.
    fn weights(&self, precision: Precision) -> Result<Arc<Weights>, Box<dyn Error>> {
        let mut stream = Stream::new(0, "weights");
        let some: Vec<f32> = (0..1 << 16).map(|_| stream.normal() as f32).collect();
        let weights = Weights::fill(self.dims.clone(), precision, |slot, out| {
            let deviation = (*slot.shape.last().unwrap_or(&1) as f32).powf(-0.5);
            let from = stream.below(some.len());
            let values =
                some.iter().cycle().skip(from).map(|x| if slot.shape.len() == 1 { 1.0 } else { x * deviation });
            out.iter_mut().zip(values).for_each(|(out, x)| *out = x);
            Ok(())
        })?;
        Ok(Arc::new(weights))
    }

    /// Of the matrix products of a step: forward, and backward to the inputs.
    fn operations(&self) -> f64 {
        let Dims { width, ff, vocab, encoder_layers, decoder_layers, .. } = self.dims;
        let inner = self.dims.inner();
        let (batch, rows, targets) = (self.batch as f64, (self.prompt + self.input) as f64, self.target as f64);
        let linear =
            |layers: usize, projections: usize| (layers * (projections * width * inner + 3 * width * ff)) as f64;
        let encoder = rows * linear(encoder_layers, 4) + (encoder_layers * 2 * inner) as f64 * rows * rows;
        let heads = (decoder_layers * 2 * self.dims.heads * width) as f64;
        let once_more = targets * (decoder_layers * 2 * width * inner) as f64;
        // What cross-attention costs beyond the projections of the decoder's rows, forward and backward.
        let cross = if self.dims.absorbs(self.target) {
            2.5 * once_more + 3.0 * heads * targets * rows
        } else {
            2.0 * rows * (decoder_layers * 2 * width * inner) as f64
                + 3.0 * (decoder_layers * 2 * inner) as f64 * targets * rows
        };
        let decoder = targets * (linear(decoder_layers, 6) + (width * vocab) as f64)
            + (decoder_layers * 2 * inner) as f64 * targets * targets;
        // Two operations a product and sum; backward as much again, and for attention twice.
        let attention =
            (encoder_layers * 2 * inner) as f64 * rows * rows + (decoder_layers * 2 * inner) as f64 * targets * targets;
        2.0 * batch * (2.0 * (encoder + decoder) + attention + cross)
    }
}

fn threads() -> usize {
    rayon::current_num_threads()
}

fn serve(weights: &Arc<Weights>, memory: usize) -> Result<Batcher, Box<dyn Error>> {
    let settings = batcher::Settings { device: "cpu".to_owned(), threads: threads(), memory };
    Ok(Batcher::start(weights, &settings)?)
}

fn learner<'d>(
    batcher: &Batcher,
    weights: &Weights,
    rows: &'d [Row],
    case: &Case,
    seed: u64,
) -> Result<PromptLearner<'d>, Box<dyn Error>> {
    let train: Vec<_> = rows.iter().map(|row| (&row.input[..], &row.target[..])).collect();
    let first = init::sampled_vocabulary(weights, case.prompt, 5000, &mut Stream::new(seed, "prompt"));
    let batching = Batching::of(Size::Examples(case.batch));
    let examples = Examples::new(vec![train], Mixing::default(), batching, seed)?;
    let settings = Settings { steps: u64::MAX, dropout: 0.0, ..Settings::default() };
    Ok(PromptLearner::new(batcher.client(&seed.to_string()), examples, settings, first)?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Peak resident memory of this process, in MiB.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The gemm crate alone.
fn ceiling() {
    // The inner layer of T5 v1.1-small's feed-forward, forward and backward, at 16 examples of 228 rows.
    let (rows, inputs, outputs) = (3648, 512, 2048);
    let (x, weight) = (vec![0.5f32; rows * inputs], vec![0.25f32; outputs * inputs]);
    let (mut y, mut d_x) = (vec![0.0f32; rows * outputs], vec![0.0f32; rows * inputs]);
    let forward = Matmul {
        size: (rows, outputs, inputs),
        left: (0, inputs, 1),
        right: (0, 1, inputs),
        out: (0, outputs),
        add: false,
        parallel: true,
    };
    let backward = Matmul {
        size: (rows, inputs, outputs),
        left: (0, outputs, 1),
        right: (0, inputs, 1),
        out: (0, inputs),
        add: false,
        parallel: true,
    };
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..21 {
        let start = Instant::now();
        forward.run(&mut y, &x, &weight);
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        backward.run(&mut d_x, &y, &weight);
        times[1].push(start.elapsed().as_secs_f64());
    }
    let rates = times.map(|times| 2e-9 * (rows * inputs * outputs) as f64 / median(times));
    let mean = 2.0 / (1.0 / rates[0] + 1.0 / rates[1]);
    println!("{}", json!({"ceiling": mean, "forward": rates[0], "backward": rates[1], "threads": threads()}));
}

/// Products of few rows with the head of T5 v1.1-small, which no cache holds: what they cost is reading it.
fn few(rows: usize) -> Result<(), Box<dyn Error>> {
    let (inputs, outputs) = (512, 32_128);
    let weight = vec![0.25f32; outputs * inputs];
    let (mut x, mut y) = (vec![0.5f32; rows * inputs], vec![0.0f32; rows * outputs]);
    rayon::ThreadPoolBuilder::new().num_threads(1).build()?.install(|| {
        let mut times: [Vec<f64>; 2] = Default::default();
        for _ in 0..21 {
            let start = Instant::now();
            linear(&mut y, &x, Matrix::F32(&weight), inputs);
            times[0].push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            linear_backward(&mut x, &y, Matrix::F32(&weight), inputs, false);
            times[1].push(start.elapsed().as_secs_f64());
        }
        let [forward, backward] = times.map(|times| 4e-9 * (inputs * outputs) as f64 / median(times));
        println!("{}", json!({"rows": rows, "forward": forward, "backward": backward}));
    });
    Ok(())
}

fn step(case: &Case, steps: usize, precision: Precision) -> Result<(), Box<dyn Error>> {
    let (weights, rows) = (case.weights(precision)?, case.rows(case.batch, 1));
    let batcher = serve(&weights, usize::MAX)?;
    let mut learner = learner(&batcher, &weights, &rows, case, 0)?;
    // The first step fills the buffers.
    learner.step(0)?;
    let mut times = Vec::new();
    for step in 1..=steps as u64 {
        let start = Instant::now();
        learner.step(step)?;
        times.push(start.elapsed().as_secs_f64());
    }
    let seconds = median(times);
    let rate = case.operations() / seconds / 1e9;
    let line = json!({"case": case.name, "precision": precision, "seconds": seconds, "gflop": case.operations() / 1e9, "gflop_per_s": rate,
        "peak_mib": peak(), "threads": threads()});
    println!("{line}");
    Ok(())
}

fn rows(folder: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let tokens = Tokens::from_json(&std::fs::read(format!("{folder}/t5-tokenizer/tokenizer.json"))?, 1)?;
    let mut rows = Vec::new();
    for (format, file) in
        [("glue/mnli", "MNLI/train_9k.jsonl"), ("glue/sst2", "SST-2/train.tsv"), ("glue/rte", "RTE/train.tsv")]
    {
        let bytes = std::fs::read(format!("{folder}/glue/{file}"))?;
        let examples = tasks::read(format, &bytes, Split::Train, &Reading { prefix: true, ..Reading::default() })?;
        for i in Stream::new(0, format).sample(examples.len(), count.min(examples.len())) {
            let row = &examples[i];
            rows.push(Row { input: tokens.encode(&row.input, 512)?, target: tokens.encode(&row.target, 32)? });
        }
    }
    Stream::new(0, "order").shuffle(&mut rows);
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

fn epoch(file: &str) -> Result<(), Box<dyn Error>> {
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(file)?)?;
    let case = Case { batch: 32, ..case("small")? };
    let weights = case.weights(Precision::F32)?;
    let batcher = serve(&weights, usize::MAX)?;
    let mut learner = learner(&batcher, &weights, &rows, &case, 0)?;
    learner.step(0)?;
    let steps = rows.len() / case.batch;
    let start = Instant::now();
    for step in 1..=steps as u64 {
        learner.step(step)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", json!({"epoch": seconds, "steps": steps, "peak_mib": peak(), "threads": threads()}));
    Ok(())
}

/// One step in so much memory for activations; what it needed, and what the sizes predict.
fn peak_of(case: &Case, precision: Precision, memory: usize) -> Result<(), Box<dyn Error>> {
    let (weights, rows) = (case.weights(precision)?, case.rows(case.batch, 1));
    let before = peak();
    let batcher = serve(&weights, memory)?;
    let mut learner = learner(&batcher, &weights, &rows, case, 0)?;
    let start = Instant::now();
    let loss = learner.step(0)?.loss();
    let line = json!({"case": case.name, "precision": precision, "seconds": start.elapsed().as_secs_f64(), "loss": loss,
        "weights_mib": case.dims.weight_bytes(precision) >> 20, "activations_mib": memory >> 20,
        "loaded_mib": before, "peak_mib": peak()});
    println!("{line}");
    Ok(())
}

/// Predicted MiB of weights, and of activations of one example with and without computing them twice.
fn memory() -> Result<(), Box<dyn Error>> {
    for name in ["small", "base", "large", "xl", "xxl"] {
        let case = case(name)?;
        let layout = Layout::new(&case.dims);
        let rows = Rows { examples: 1, encoder: case.prompt + 512, decoder: case.target };
        for precision in [Precision::F32, Precision::Bf16] {
            let activations = |recompute| case.dims.activation_bytes(&layout, rows, precision, recompute, true) >> 20;
            let line = json!({"case": case.name, "precision": precision, "weights": case.dims.weight_bytes(precision) >> 20,
                "example": activations(false), "example_recomputed": activations(true)});
            println!("{line}");
        }
    }
    Ok(())
}

/// Mean loss of real rows in f32 and in bf16.
fn precision(file: &str) -> Result<(), Box<dyn Error>> {
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(file)?)?;
    let case = case("small")?;
    let wide = case.weights(Precision::F32)?;
    let mut losses = Vec::new();
    for weights in [wide.clone(), Arc::new(wide.to_bf16())] {
        let batcher = serve(&weights, usize::MAX)?;
        let case = Case { batch: rows.len(), ..self::case("small")? };
        losses.push(learner(&batcher, &wide, &rows, &case, 0)?.step(0)?.loss());
    }
    let difference = losses[1] / losses[0] - 1.0;
    println!("{}", json!({"f32": losses[0], "bf16": losses[1], "relative_difference": difference, "rows": rows.len()}));
    Ok(())
}

fn together(case: &Case, runs: u64, steps: usize) -> Result<(), Box<dyn Error>> {
    let weights = case.weights(Precision::F32)?;
    let batcher = serve(&weights, usize::MAX)?;
    let rows: Vec<Vec<Row>> = (0..runs).map(|seed| case.rows(case.batch * steps, seed)).collect();
    let run = |seed: u64, steps: usize| {
        let mut learner =
            learner(&batcher, &weights, &rows[seed as usize], case, seed).expect("the settings are in range");
        for step in 0..steps as u64 {
            learner.step(step).expect("a step with random weights is finite");
        }
    };
    let all = |steps: usize| {
        let start = Instant::now();
        std::thread::scope(|scope| (0..runs).for_each(|seed| drop(scope.spawn(move || run(seed, steps)))));
        start.elapsed().as_secs_f64()
    };
    // The first steps fill the buffers.
    all(2);
    let joint = all(steps);
    let start = Instant::now();
    (0..runs).for_each(|seed| run(seed, steps));
    let separate = start.elapsed().as_secs_f64();
    let line = json!({"case": case.name, "runs": runs, "together": joint, "one_after_another": separate,
        "speedup": separate / joint, "threads": threads()});
    println!("{line}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo hands `--bench` over.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            ceiling();
            step(&case("nano")?, 100, Precision::F32)?;
            step(&case("small")?, 5, Precision::F32)?;
            step(&case("small")?, 5, Precision::Bf16)?;
            together(&case("nano")?, 48, 10)?;
            together(&case("small4")?, 4, 3)
        }
        ["ceiling"] => {
            ceiling();
            Ok(())
        }
        ["few", rows] => few(rows.parse()?),
        ["step", name, steps] | ["step", name, steps, "f32"] => step(&case(name)?, steps.parse()?, Precision::F32),
        ["step", name, steps, "bf16"] => step(&case(name)?, steps.parse()?, Precision::Bf16),
        ["rows", folder, count] => rows(folder, count.parse()?),
        ["epoch", file] => epoch(file),
        ["memory"] => memory(),
        ["peak", name, "f32", mebibytes] => peak_of(&case(name)?, Precision::F32, mebibytes.parse::<usize>()? << 20),
        ["peak", name, "bf16", mebibytes] => peak_of(&case(name)?, Precision::Bf16, mebibytes.parse::<usize>()? << 20),
        ["precision", file] => precision(file),
        ["together", name, runs, steps] => together(&case(name)?, runs.parse()?, steps.parse()?),
        _ => Err("unknown arguments; see the top of benches/tuning.rs".into()),
    }
}
