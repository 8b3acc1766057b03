//! How long does prompt tuning take, and how near is that to what the machine can do?
//!
//! `make bench` prints everything; `benches/peft.py` times the same beside PyTorch and PEFT. As arguments:
//!
//! - `ceiling`: floating-point operations a second of the largest matrix products of a step, alone;
//! - `step [CASE] [STEPS]`: median time of a step;
//! - `rows FOLDER COUNT`: ids of real rows of MNLI, SST-2 and RTE, as JSON (FOLDER: GLUE's files and `t5-tokenizer`);
//! - `epoch FILE`: time of one pass over such rows, batches of 32 at their natural lengths;
//! - `together CASE RUNS STEPS`: runs in common batches, and one after another.
//!
//! Every answer is a line of JSON. Weights are random; threads: RAYON_NUM_THREADS, else all.

use serde::{Deserialize, Serialize};
use serde_json::json;
use spot::ml::batcher::{self, Batcher};
use spot::ml::kernels::Matmul;
use spot::ml::prompt;
use spot::ml::random::Stream;
use spot::ml::t5::{Dims, Weights};
use spot::ml::tasks::{self, Reading, Split};
use spot::ml::tokens::Tokens;
use spot::ml::train::{Settings, Tuner};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// Sizes of a model and of what it learns from.
struct Case {
    name: &'static str,
    dims: Dims,
    prompt: usize,
    batch: usize,
    input: usize,
    target: usize,
}

fn dims(vocab: usize, width: usize, heads: usize, head_width: usize, ff: usize, layers: (usize, usize)) -> Dims {
    Dims {
        vocab,
        width,
        heads,
        head_width,
        ff,
        encoder_layers: layers.0,
        decoder_layers: layers.1,
        buckets: 32,
        max_distance: 128,
        epsilon: 1e-6,
        gated: true,
        tied: false,
        pad: 0,
        eos: 1,
        start: 0,
    }
}

fn case(name: &str) -> Result<Case, String> {
    let nano = dims(4096, 128, 4, 32, 256, (3, 2));
    let small = dims(32_128, 512, 6, 64, 1024, (8, 8));
    let base = dims(32_128, 768, 12, 64, 2048, (12, 12));
    match name {
        "nano" => Ok(Case { name: "nano", dims: nano, prompt: 16, batch: 32, input: 24, target: 2 }),
        "small" => Ok(Case { name: "small", dims: small, prompt: 100, batch: 16, input: 128, target: 8 }),
        "small4" => Ok(Case { name: "small4", dims: small, prompt: 100, batch: 4, input: 128, target: 8 }),
        "base" => Ok(Case { name: "base", dims: base, prompt: 100, batch: 8, input: 128, target: 8 }),
        other => Err(format!("no case `{other}`; there are nano, small, small4 and base")),
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

    fn weights(&self) -> Arc<Weights> {
        Arc::new(Weights::random(self.dims.clone(), &mut Stream::new(0, "weights")))
    }

    /// Of the matrix products of a step: forward, and backward to the inputs.
    fn operations(&self) -> f64 {
        let Dims { width, ff, vocab, encoder_layers, decoder_layers, .. } = self.dims;
        let inner = self.dims.inner();
        let (batch, rows, targets) = (self.batch as f64, (self.prompt + self.input) as f64, self.target as f64);
        let linear =
            |layers: usize, projections: usize| (layers * (projections * width * inner + 3 * width * ff)) as f64;
        let encoder = rows * linear(encoder_layers, 4) + (encoder_layers * 2 * inner) as f64 * rows * rows;
        let cross = rows * (decoder_layers * 2 * width * inner) as f64;
        let decoder = targets * (linear(decoder_layers, 6) + (width * vocab) as f64)
            + (decoder_layers * 2 * inner) as f64 * targets * (targets + rows);
        // Two operations a product and sum; backward as much again, and for attention twice.
        let attention = (encoder_layers * 2 * inner) as f64 * rows * rows
            + (decoder_layers * 2 * inner) as f64 * targets * (targets + rows);
        2.0 * batch * (2.0 * (encoder + cross + decoder) + attention)
    }
}

fn threads() -> usize {
    rayon::current_num_threads()
}

fn serve(weights: &Arc<Weights>) -> Result<Batcher, Box<dyn Error>> {
    let settings = batcher::Settings { device: "cpu".to_owned(), threads: threads(), memory: usize::MAX };
    Ok(Batcher::start(weights, &settings)?)
}

fn tuner<'d>(
    batcher: &Batcher,
    weights: &Weights,
    rows: &'d [Row],
    case: &Case,
    seed: u64,
) -> Result<Tuner<'d>, Box<dyn Error>> {
    let train = rows.iter().map(|row| (&row.input[..], &row.target[..])).collect();
    let first = prompt::sampled_vocabulary(weights, case.prompt, 5000, &mut Stream::new(seed, "prompt"));
    let settings = Settings { steps: u64::MAX, batch_size: case.batch, dropout: 0.0, ..Settings::default() };
    Ok(Tuner::new(batcher.client(&seed.to_string()), train, settings, first, seed)?)
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

fn step(case: &Case, steps: usize) -> Result<(), Box<dyn Error>> {
    let (weights, rows) = (case.weights(), case.rows(case.batch, 1));
    let batcher = serve(&weights)?;
    let mut tuner = tuner(&batcher, &weights, &rows, case, 0)?;
    // The first step fills the buffers.
    tuner.step()?;
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        tuner.step()?;
        times.push(start.elapsed().as_secs_f64());
    }
    let seconds = median(times);
    let rate = case.operations() / seconds / 1e9;
    let line = json!({"case": case.name, "seconds": seconds, "gflop": case.operations() / 1e9, "gflop_per_s": rate,
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
    let weights = case.weights();
    let batcher = serve(&weights)?;
    let mut tuner = tuner(&batcher, &weights, &rows, &case, 0)?;
    tuner.step()?;
    let steps = rows.len() / case.batch;
    let start = Instant::now();
    for _ in 0..steps {
        tuner.step()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", json!({"epoch": seconds, "steps": steps, "peak_mib": peak(), "threads": threads()}));
    Ok(())
}

fn together(case: &Case, runs: u64, steps: usize) -> Result<(), Box<dyn Error>> {
    let weights = case.weights();
    let batcher = serve(&weights)?;
    let rows: Vec<Vec<Row>> = (0..runs).map(|seed| case.rows(case.batch * steps, seed)).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (seed, rows) in (0..runs).zip(&rows) {
            let (batcher, weights) = (&batcher, &weights);
            scope.spawn(move || {
                let mut tuner = tuner(batcher, weights, rows, case, seed).expect("the settings are in range");
                for _ in 0..steps {
                    tuner.step().expect("a step with random weights is finite");
                }
            });
        }
    });
    let joint = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for (seed, rows) in (0..runs).zip(&rows) {
        let mut tuner = tuner(&batcher, &weights, rows, case, seed)?;
        for _ in 0..steps {
            tuner.step()?;
        }
    }
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
            step(&case("nano")?, 100)?;
            step(&case("small")?, 5)?;
            together(&case("nano")?, 48, 10)?;
            together(&case("small4")?, 4, 3)
        }
        ["ceiling"] => {
            ceiling();
            Ok(())
        }
        ["step", name, steps] => step(&case(name)?, steps.parse()?),
        ["rows", folder, count] => rows(folder, count.parse()?),
        ["epoch", file] => epoch(file),
        ["together", name, runs, steps] => together(&case(name)?, runs.parse()?, steps.parse()?),
        _ => Err("unknown arguments; see the top of benches/tuning.rs".into()),
    }
}
