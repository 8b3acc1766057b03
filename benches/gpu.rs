//! Does a GPU compute what the CPU computes, and how fast?
//!
//! `benches/gpu.sh` runs this on a machine with a GPU and keeps the table. Parity compares losses and prompt gradients of
//! two runs in one batch, of ragged lengths, and the likelihoods of labels with the CPU engine's in f32, and counts equal
//! answers, greedy and of a beam search; then the gradients of all weights, tensor by tensor, and the weights after some steps
//! of model tuning. A difference above the tolerance ends the program with 1. A step of the throughput is losses and prompt
//! gradients of whole batches, without the optimiser; its gain is against the same runs one after the other. A step of model
//! tuning is whole. Random weights.
//!
//! Arguments: the device, `cuda:0` if none is named (`candle` tries all of it on the CPU), and a model to do no other.

use spot::ml::error::Result;
use spot::ml::generate::{Beam, Generation};
use spot::ml::model::batch::{Batch, Ragged};
use spot::ml::model::gpu::{self, Gradient};
use spot::ml::model::{CrossEntropy, Dropout, Key, Sharing};
use spot::ml::model::{Dims, Engine, Precision, Weights, cpu, open};
use spot::ml::prompt::init;
use spot::ml::random::Stream;
use spot::ml::train::Learner;
use spot::ml::train::examples::{Batching, Examples, Size};
use spot::ml::train::mixture::Mixing;
use spot::ml::train::model_tuning::{Compute, ModelLearner};
use spot::ml::train::optim::{self, AdafactorSettings};
use spot::ml::train::settings::Settings;
use spot::ml::train::weight_gradients::Workers;
use std::process::ExitCode;
use std::time::Instant;

/// Largest relative difference of losses and likelihoods, and of gradients in the Euclidean norm. A gradient that has gone
/// through all layers in bf16 is some 2 % off even on CPU tensors.
fn tolerance(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (1e-4, 1e-4),
        Precision::Bf16 => (1e-2, 5e-2),
    }
}

/// As T5 was trained.
const LOSS: CrossEntropy = CrossEntropy { z_loss: 1e-4, label_smoothing: 0.0 };

struct Case {
    name: &'static str,
    dims: Dims,
    prompt: usize,
    batch: usize,
    input: usize,
    target: usize,
    /// How many runs share a step.
    runs: &'static [usize],
    /// Whether to time a step of the CPU too.
    on_cpu: bool,
}

fn cases(only: Option<&str>) -> Vec<Case> {
    let all = [
        Case {
            name: "nano",
            dims: Dims::v1_1(4096, 128, (4, 32), 256, (3, 2)),
            prompt: 16,
            batch: 32,
            input: 24,
            target: 2,
            runs: &[1, 2, 4, 8, 16],
            on_cpu: true,
        },
        Case {
            name: "v1.1-small",
            dims: Dims::v1_1(32_128, 512, (6, 64), 1024, (8, 8)),
            prompt: 100,
            batch: 16,
            input: 128,
            target: 8,
            runs: &[1, 2, 4, 8],
            on_cpu: true,
        },
        Case {
            name: "v1.1-base",
            dims: Dims::v1_1(32_128, 768, (12, 64), 2048, (12, 12)),
            prompt: 100,
            batch: 16,
            input: 128,
            target: 8,
            runs: &[1, 2, 4],
            on_cpu: true,
        },
        // What `benches/peft.py --gpu` measures of PEFT.
        Case {
            name: "v1.1-base-512",
            dims: Dims::v1_1(32_128, 768, (12, 64), 2048, (12, 12)),
            prompt: 100,
            batch: 32,
            input: 512,
            target: 8,
            runs: &[1],
            on_cpu: false,
        },
    ];
    all.into_iter().filter(|case| only.is_none_or(|name| name == case.name)).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect(); // cargo adds `--bench`
    let device = arguments.first().map_or("cuda:0", String::as_str);
    match run(device, &cases(arguments.get(1).map(String::as_str))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu: {device}: {error}");
            ExitCode::FAILURE
        }
    }
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    }
}

fn random(case: &Case, precision: Precision) -> Weights {
    let weights = Weights::random(case.dims.clone(), &mut Stream::new(0, "weights"));
    if precision == Precision::F32 { weights } else { weights.to_bf16() }
}

fn run(device: &str, cases: &[Case]) -> Result<bool> {
    let mut equal = true;
    let [f32, bf16] = PRECISIONS.map(tolerance);
    println!(
        "Parity of {device} with the CPU in f32: largest relative differences of losses and likelihoods, of gradients:"
    );
    println!("at most {:e}, {:e} in f32 and {:e}, {:e} in bf16", f32.0, f32.1, bf16.0, bf16.1);
    println!(
        "{:14} {:>5} {:>8} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "model", "", "dropout", "loss", "gradient", "labels", "greedy", "beam"
    );
    for case in cases.iter().filter(|case| case.on_cpu) {
        for precision in PRECISIONS {
            for dropout in [0.0, 0.1] {
                equal &= parity(case, precision, device, dropout)?;
            }
        }
    }
    println!("\nThe same of model tuning: of losses, of the gradients of each tensor, and of how far {STEPS} steps go");
    println!("at most {:e}, {:e}, {:e}", f32.0, f32.1, MOVED);
    println!("{:14} {:>5} {:>8} {:>9} {:>9} {:>9}", "model", "", "dropout", "loss", "gradient", "steps");
    for case in cases.iter().filter(|case| case.on_cpu) {
        for dropout in [0.0, 0.1] {
            equal &= model_parity(case, device, dropout)?;
        }
    }
    let threads = rayon::current_num_threads();
    println!("\nThroughput: losses and prompt gradients of a step, without the optimiser; {threads} CPU threads");
    println!(
        "{:14} {:>8} {:>5} {:>5} {:>9} {:>12} {:>12} {:>12}",
        "model", "device", "", "runs", "examples", "ms a step", "examples/s", "gain"
    );
    for case in cases {
        if case.on_cpu {
            throughput(case, Precision::F32, "cpu", &[1])?;
        }
        for precision in PRECISIONS {
            throughput(case, precision, device, case.runs)?;
        }
    }
    println!("\nModel tuning in f32: steps of Adafactor on all weights, after the first");
    println!("{:14} {:>8} {:>9} {:>12} {:>12}", "model", "device", "examples", "ms a step", "examples/s");
    for case in cases {
        if case.on_cpu {
            model_throughput(case, "cpu")?;
        }
        model_throughput(case, device)?;
    }
    Ok(equal)
}

/// Prints a line of the table; whether `device` is within the tolerance.
fn parity(case: &Case, precision: Precision, device: &str, rate: f32) -> Result<bool> {
    let wide = random(case, Precision::F32);
    let mut stream = Stream::new(1, "parity");
    let (prompts, batch) = (prompts(case, &wide, 2, &mut stream), ragged(case, 2, 4, &mut stream));
    let keys = (0..batch.len() as u64).map(|slot| Key::new(0, 0, slot)).collect();
    let dropout = (rate > 0.0).then_some(Dropout { rate, sharing: Sharing::Sequence, keys });
    let labels: Ragged = [vec![5, 1], vec![7, 8, 1]].into_iter().collect();
    let compute = |device: &str, weights: &Weights| -> Result<_> {
        let mut engine = Engine::on(device, weights)?;
        engine.expect(case.target);
        let mut gradients: Vec<Vec<f32>> = prompts.iter().map(|prompt| vec![0.0; prompt.len()]).collect();
        let losses = engine.gradients(&slices(&prompts), &batch, LOSS, dropout.as_ref(), &mut gradients)?;
        let (prompt, run) = ([&prompts[0][..]], vec![0; batch.len()]);
        let scores = engine.label_scores(&prompt, &run, &batch.inputs, &labels)?;
        let mut answer = |generation| engine.generate(&prompt, &run, &batch.inputs, &[], case.target, &generation);
        let answers = [answer(Generation::Greedy)?, answer(Generation::Beam(Beam::default()))?];
        Ok((losses, gradients, scores, answers))
    };
    let expected = compute("cpu", &wide)?;
    let found = compute(device, &random(case, precision))?;
    let losses = found.0.iter().zip(&expected.0);
    let loss = largest(losses.map(|(found, expected)| (found.sum / expected.sum - 1.0).abs()));
    let gradient = largest(found.1.iter().zip(&expected.1).map(|(found, expected)| distance(found, expected)));
    let scores = found.2.iter().flatten().zip(expected.2.iter().flatten());
    let label = largest(scores.map(|(found, expected)| (found.log_likelihood / expected.log_likelihood - 1.0).abs()));
    let same = |which: usize| {
        let answers = found.3[which].iter().zip(&expected.3[which]);
        format!("{}/{}", answers.filter(|(found, expected)| found == expected).count(), batch.len())
    };
    let (value_bound, gradient_bound) = tolerance(precision);
    let equal = loss <= value_bound && label <= value_bound && gradient <= gradient_bound;
    let verdict = if equal { "" } else { "  TOO LARGE" };
    println!(
        "{:14} {:>5} {rate:8} {loss:9.1e} {gradient:9.1e} {label:9.1e} {:>7} {:>7}{verdict}",
        case.name,
        name(precision),
        same(0),
        same(1)
    );
    Ok(equal)
}

/// Steps of model tuning that are compared.
const STEPS: u64 = 4;
/// Largest distance of weights after these steps, relative to how far they moved. Adafactor divides by the size of a gradient
/// however small it is, so what is rounding in a gradient can be as large as an update.
const MOVED: f64 = 1e-2;

/// Prints a line of the table; whether model tuning on `device` is within the tolerance.
fn model_parity(case: &Case, device: &str, rate: f32) -> Result<bool> {
    let weights = random(case, Precision::F32);
    let batch = ragged(case, 1, 8, &mut Stream::new(1, "parity"));
    let keys = (0..batch.len() as u64).map(|slot| Key::new(0, 0, slot)).collect();
    let dropout = (rate > 0.0).then_some(Dropout { rate, sharing: Sharing::Sequence, keys });
    let mut expected = vec![0.0; weights.layout.len()];
    let gradients = cpu::Gradients { prompts: &mut [Vec::new()], weights: Some(&mut expected) };
    let expected_loss = cpu::Engine::new(&weights).gradients(&[&[]], &batch, LOSS, dropout.as_ref(), gradients)[0];

    let opened = open(device)?;
    let (parameters, gradient) = (gpu::Parameters::new(&weights, &opened)?, Gradient::default());
    let engine = gpu::Engine::on(&weights.dims, &weights.layout, parameters.clone());
    let gradients = gpu::Gradients { prompts: &mut [Vec::new()], weights: Some(&gradient) };
    let found_loss = engine.gradients(&[&[]], &batch, LOSS, dropout.as_ref(), gradients)?[0];
    let loss = (found_loss.sum / expected_loss.sum - 1.0).abs();
    let mut worst = 0.0;
    for (start, tensor) in parameters.tensors() {
        let found = gradient.take(start).unwrap_or(tensor.zeros_like()?).flatten_all()?.to_vec1::<f32>()?;
        worst = largest([worst, distance(&found, &expected[start..start + found.len()])].into_iter());
    }
    drop((engine, parameters, gradient));

    let learned = |device: &str| -> Result<Vec<f32>> {
        let rows: Vec<_> = batch.inputs.rows().zip(batch.targets.rows()).collect();
        let mut learner = learner(device, weights.clone(), rows, f64::from(rate))?;
        for step in 0..STEPS {
            learner.step(step)?;
        }
        learner.fetch()?;
        Ok(learner.parameters().to_vec())
    };
    let moved =
        |weights: Vec<f32>, start: &[f32]| -> Vec<f32> { weights.iter().zip(start).map(|(a, b)| a - b).collect() };
    let [found, expected] = [learned(device)?, learned("cpu")?].map(|learned| moved(learned, weights.data()));
    let steps = distance(&found, &expected);
    let (value_bound, gradient_bound) = tolerance(Precision::F32);
    let equal = loss <= value_bound && worst <= gradient_bound && steps <= MOVED;
    let verdict = if equal { "" } else { "  TOO LARGE" };
    println!("{:14} {:>5} {rate:8} {loss:9.1e} {worst:9.1e} {steps:9.1e}{verdict}", case.name, name(Precision::F32));
    Ok(equal)
}

/// Model tuning with all of `rows` in a batch.
fn learner<'r>(
    device: &str,
    weights: Weights,
    rows: Vec<(&'r [u32], &'r [u32])>,
    dropout: f64,
) -> Result<ModelLearner<'r>> {
    let compute = match device {
        "cpu" => Compute::Cpu(Workers::new(rayon::current_num_threads(), usize::MAX)?),
        device => Compute::Device { device: open(device)?, memory: usize::MAX },
    };
    let batching = Batching::of(Size::Examples(rows.len()));
    let examples = Examples::new(vec![rows], Mixing::default(), batching, 0)?;
    let optimizer = optim::Settings::Adafactor(AdafactorSettings::of_weights());
    let settings = Settings { learning_rate: 0.001, optimizer, dropout, ..Settings::default() };
    ModelLearner::new(weights, compute, examples, settings)
}

/// Prints a line; a step that fails has its error for one.
fn model_throughput(case: &Case, device: &str) -> Result<()> {
    let batch = full(case, 1, &mut Stream::new(2, "throughput"));
    let rows: Vec<_> = batch.inputs.rows().zip(batch.targets.rows()).collect();
    let examples = rows.len();
    let mut learner = learner(device, random(case, Precision::F32), rows, 0.1)?;
    let mut steps = 0..;
    print!("{:14} {device:>8} {examples:9} ", case.name);
    // Waits for the loss of every step.
    match median_of(|| learner.step(steps.next().unwrap_or_default()).map(drop)) {
        Ok(seconds) => println!("{:12.1} {:12.1}", seconds * 1e3, examples as f64 / seconds),
        Err(error) => println!("{}", error.to_string().lines().next().unwrap_or_default()),
    }
    Ok(())
}

/// Prints a line for each number of runs; a step that fails, for want of memory mostly, has its error for a line.
fn throughput(case: &Case, precision: Precision, device: &str, runs: &[usize]) -> Result<()> {
    let weights = random(case, precision);
    let mut engine = Engine::on(device, &weights)?;
    engine.expect(case.target);
    let mut single = None;
    for &runs in runs {
        let mut stream = Stream::new(2, "throughput");
        let prompts = prompts(case, &weights, runs, &mut stream);
        let batch = full(case, runs, &mut stream);
        let (model, examples) = (case.name, batch.len());
        print!("{model:14} {device:>8} {:>5} {runs:5} {examples:9} ", name(precision));
        match median(&mut engine, &prompts, &batch) {
            Ok(seconds) => {
                let single = *single.get_or_insert(seconds);
                let (speed, gain) = (examples as f64 / seconds, single * runs as f64 / seconds);
                println!("{:12.1} {speed:12.1} {gain:11.2}x", seconds * 1e3);
            }
            Err(error) => println!("{}", error.to_string().lines().next().unwrap_or_default()),
        }
    }
    Ok(())
}

/// Seconds of a step of prompt tuning.
fn median(engine: &mut Engine<'_>, prompts: &[Vec<f32>], batch: &Batch) -> Result<f64> {
    let mut gradients: Vec<Vec<f32>> = prompts.iter().map(|prompt| vec![0.0; prompt.len()]).collect();
    // Copies losses and gradients to the host, so everything has been computed when it returns.
    median_of(|| engine.gradients(&slices(prompts), batch, LOSS, None, &mut gradients).map(|_| ()))
}

/// Seconds of a step: the median of at least three that take two seconds together, after two to warm up.
fn median_of(mut step: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut step = || -> Result<f64> {
        let start = Instant::now();
        step()?;
        Ok(start.elapsed().as_secs_f64())
    };
    for _ in 0..2 {
        step()?;
    }
    let mut times = Vec::new();
    while times.len() < 3 || times.iter().sum::<f64>() < 2.0 {
        times.push(step()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn prompts(case: &Case, weights: &Weights, runs: usize, stream: &mut Stream) -> Vec<Vec<f32>> {
    (0..runs).map(|_| init::sampled_vocabulary(weights, case.prompt, 5000, stream).values).collect()
}

/// Examples of half to all of the case's length.
fn ragged(case: &Case, runs: usize, each: usize, stream: &mut Stream) -> Batch {
    let length = |longest: usize, stream: &mut Stream| longest - stream.below(longest / 2 + 1);
    batch(case, runs, each, stream, length)
}

/// Examples of the case's length.
fn full(case: &Case, runs: usize, stream: &mut Stream) -> Batch {
    batch(case, runs, case.batch, stream, |longest, _| longest)
}

fn batch(
    case: &Case,
    runs: usize,
    each: usize,
    stream: &mut Stream,
    length: impl Fn(usize, &mut Stream) -> usize,
) -> Batch {
    let mut row = |longest: usize| -> Vec<u32> {
        let length = length(longest, stream);
        (0..length).map(|_| stream.below(case.dims.vocab) as u32).collect()
    };
    let run = (0..runs * each).map(|i| i / each).collect();
    let rows: Vec<(Vec<u32>, Vec<u32>)> = (0..runs * each).map(|_| (row(case.input), row(case.target))).collect();
    let (inputs, targets): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Batch { run, inputs: inputs.into_iter().collect::<Ragged>(), targets: targets.into_iter().collect() }
}

fn slices(prompts: &[Vec<f32>]) -> Vec<&[f32]> {
    prompts.iter().map(Vec::as_slice).collect()
}

/// |found - expected| / |expected|.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let difference = squares(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    (difference / squares(&mut expected.iter().map(|e| f64::from(*e)))).sqrt()
}

/// The largest; not a number if one is not.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest, value| if value <= largest { largest } else { value })
}
