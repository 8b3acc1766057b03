//! How long does a step of prompt tuning take, and how many floating-point operations a second is that?
//!
//! `make bench` prints a table: the built-in nano model's shapes, and those of T5 v1.1-small with random weights. Medians of
//! single steps after one to warm up; the operations are those of the matrix products.

use spot::ml::prompt;
use spot::ml::random::Stream;
use spot::ml::t5::{Dims, Engine, Weights};
use spot::ml::train::{Settings, Tuner};
use std::time::Instant;

struct Case {
    name: &'static str,
    dims: Dims,
    prompt: usize,
    batch: usize,
    input: usize,
    target: usize,
    steps: usize,
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

fn main() {
    let cases = [
        Case {
            name: "nano, batch 32, prompt 16, input 24, target 2",
            dims: dims(4096, 128, 4, 32, 256, (3, 2)),
            prompt: 16,
            batch: 32,
            input: 24,
            target: 2,
            steps: 30,
        },
        Case {
            name: "v1.1-small, batch 16, prompt 100, input 128, target 8",
            dims: dims(32_128, 512, 6, 64, 1024, (8, 8)),
            prompt: 100,
            batch: 16,
            input: 128,
            target: 8,
            steps: 5,
        },
    ];
    println!("threads: {}", rayon::current_num_threads());
    println!("{:55} {:>10} {:>12}", "case", "ms a step", "GFLOP/s");
    for case in cases {
        let seconds = median(&case);
        println!("{:55} {:10.1} {:12.1}", case.name, seconds * 1e3, operations(&case) / seconds / 1e9);
    }
}

fn median(case: &Case) -> f64 {
    let mut stream = Stream::new(0, "bench");
    let weights = Weights::random(case.dims.clone(), &mut stream);
    let ids = |length: usize, stream: &mut Stream| -> Vec<u32> {
        (0..length).map(|_| stream.below(case.dims.vocab) as u32).collect()
    };
    let rows: Vec<(Vec<u32>, Vec<u32>)> =
        (0..case.batch).map(|_| (ids(case.input, &mut stream), ids(case.target, &mut stream))).collect();
    let train = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
    let first = prompt::sampled_vocabulary(&weights, case.prompt, 5000, &mut stream);
    let settings = Settings { steps: u64::MAX, batch_size: case.batch, dropout: 0.0, ..Settings::default() };
    let engine = Engine::on("cpu", &weights).expect("every machine has a CPU");
    let mut tuner = Tuner::new(engine, train, settings, first, 0).expect("the settings are in range");
    tuner.step().expect("a step with random weights is finite");
    let mut times: Vec<f64> = (0..case.steps)
        .map(|_| {
            let start = Instant::now();
            tuner.step().expect("a step with random weights is finite");
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Of the matrix products of a step: forward, and backward to the inputs.
fn operations(case: &Case) -> f64 {
    let Dims { width, ff, vocab, encoder_layers, decoder_layers, .. } = case.dims;
    let inner = case.dims.inner();
    let (batch, rows, targets) = (case.batch as f64, (case.prompt + case.input) as f64, case.target as f64);
    let linear = |layers: usize, projections: usize| (layers * (projections * width * inner + 3 * width * ff)) as f64;
    let encoder = rows * linear(encoder_layers, 4) + (encoder_layers * 2 * inner) as f64 * rows * rows;
    let cross = rows * (decoder_layers * 2 * width * inner) as f64;
    let decoder = targets * (linear(decoder_layers, 6) + (width * vocab) as f64)
        + (decoder_layers * 2 * inner) as f64 * targets * (targets + rows);
    // Two operations a product and sum; backward, attention costs twice its forward pass and a linear layer once.
    2.0 * 2.0 * batch * (encoder + cross + decoder)
}
