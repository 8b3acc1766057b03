//! Whatever shares a batch, and however many workers there are, answers are those of an engine alone.

use super::*;
use crate::ml::generate::Sample;
use crate::ml::model::cpu::{self, Gradients};
use crate::ml::model::{Dims, Precision};
use crate::ml::model::{Key, Sharing};
use crate::ml::random::Stream;

const SETTINGS: CrossEntropy = CrossEntropy { z_loss: 1e-3, label_smoothing: 0.0 };

fn weights() -> Arc<Weights> {
    let config = include_bytes!("../../../tests/golden/t5_v1_1/config.json");
    let bytes = include_bytes!("../../../tests/golden/t5_v1_1/model.safetensors");
    Arc::new(Weights::from_safetensors(Dims::from_json(config).unwrap(), &[bytes], Precision::F32).unwrap())
}

fn batcher(weights: &Arc<Weights>, threads: usize, memory: usize) -> Batcher {
    Batcher::start(weights, &Settings { device: "cpu".to_owned(), threads, memory }).unwrap()
}

/// What one run asks for.
struct Run {
    prompt: Vec<f32>,
    batch: Batch,
    dropout: Option<Dropout>,
}

/// Runs with prompts, batches and dropout of their own; some longer than a worker takes at a time, and every other one with
/// targets short enough to be absorbed.
fn runs(weights: &Weights) -> Vec<Run> {
    (0..12)
        .map(|seed| {
            let mut stream = Stream::new(seed, "run");
            let prompt = (0..(1 + seed as usize) * weights.dims.width).map(|_| stream.normal() as f32).collect();
            let mut batch = Batch::default();
            for _ in 0..1 + stream.below(60) {
                let (input, target) = (1 + stream.below(30), 1 + stream.below(if seed % 2 == 0 { 2 } else { 12 }));
                let mut ids = |count| (0..count).map(|_| stream.below(weights.dims.vocab) as u32).collect::<Vec<_>>();
                batch.push(0, &ids(input), &ids(target));
            }
            let sharing = [None, Some(Sharing::Sequence), Some(Sharing::Element)][seed as usize % 3];
            let keys = (0..batch.len() as u64).map(|slot| Key::new(seed, 3, slot)).collect();
            let dropout = sharing.map(|sharing| Dropout { rate: 0.2, sharing, keys });
            Run { prompt, batch, dropout }
        })
        .collect()
}

fn engine(weights: &Weights, longest: usize) -> cpu::Engine<'_> {
    let mut engine = cpu::Engine::new(weights);
    engine.expect(longest);
    engine
}

fn alone(weights: &Weights, run: &Run) -> (Loss, Vec<f32>) {
    let mut gradient = [vec![0.0; run.prompt.len()]];
    let asked = Gradients { prompts: &mut gradient, weights: None };
    let longest = run.batch.targets.rows().map(<[u32]>::len).max().unwrap_or(0);
    let losses = engine(weights, longest).gradients(&[&run.prompt], &run.batch, SETTINGS, run.dropout.as_ref(), asked);
    let [gradient] = gradient;
    (losses[0], gradient)
}

#[test]
fn gradients_do_not_depend_on_other_runs_workers_or_memory() {
    let weights = weights();
    let runs = runs(&weights);
    let expected: Vec<_> = runs.iter().map(|run| alone(&weights, run)).collect();
    for (threads, memory) in [(1, usize::MAX), (2, usize::MAX), (3, usize::MAX), (2, 8 << 20), (2, 1)] {
        let batcher = batcher(&weights, threads, memory);
        let mut shared = 0;
        for _ in 0..3 {
            let clients: Vec<Client> = (0..runs.len()).map(|i| batcher.client(&i.to_string())).collect();
            let found: Vec<_> = std::thread::scope(|scope| {
                let ask = |(run, client): (&'_ Run, &'_ Client)| {
                    client.gradients(&run.prompt, run.batch.clone(), SETTINGS, run.dropout.clone()).unwrap()
                };
                let asked: Vec<_> = runs.iter().zip(&clients).map(|both| scope.spawn(move || ask(both))).collect();
                asked.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(found == expected, "run {i}, {threads} workers, {memory} bytes");
            }
            shared += clients.iter().map(|client| client.batched_with().len()).sum::<usize>();
        }
        assert!(memory == 1 || shared > 0, "no two runs ever shared a batch");
        let queue = lock(&batcher.shared.queue);
        assert_eq!(queue.recompute, memory == 1, "{memory} bytes");
        assert_eq!(queue.rows < ROWS, memory < usize::MAX, "{memory} bytes");
        assert!(queue.micro_batches.is_empty());
    }
}

#[test]
fn texts_do_not_depend_on_other_runs() {
    let weights = weights();
    let runs = runs(&weights);
    let batcher = batcher(&weights, 2, usize::MAX);
    let ask = |i: usize, run: &Run| {
        let longest = [2, 20][i % 2];
        batcher
            .client(&i.to_string())
            .generate(&run.prompt, run.batch.inputs.clone(), Vec::new(), longest, Generation::Greedy)
            .unwrap()
    };
    let ask = &ask;
    let found: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = runs.iter().enumerate().map(|(i, run)| scope.spawn(move || ask(i, run))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, (run, found)) in runs.iter().zip(found).enumerate() {
        let of = vec![0; run.batch.len()];
        let inputs = &run.batch.inputs;
        let longest = [2, 20][i % 2];
        assert_eq!(found, engine(&weights, longest).greedy(&[&run.prompt], &of, inputs, longest), "run {i}");
    }
}

#[test]
fn label_scores_and_samples_do_not_depend_on_other_runs() {
    let weights = weights();
    let runs = runs(&weights);
    let labels: Ragged = [vec![5, 1], vec![7, 8, 1]].into_iter().collect();
    let sample = Generation::Sample(Sample { seed: 3, ..Sample::default() });
    let batcher = batcher(&weights, 2, usize::MAX);
    let ask = |run: &Run, first: u64| {
        let client = batcher.client("asks");
        let (inputs, streams) = (&run.batch.inputs, (0..run.batch.len() as u64).map(|i| first + i).collect());
        let scores = client.label_scores(&run.prompt, inputs.clone(), labels.clone()).unwrap();
        (scores, client.generate(&run.prompt, inputs.clone(), streams, 9, sample).unwrap())
    };
    let ask = &ask;
    let found: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..).zip(&runs).map(|(i, run)| scope.spawn(move || ask(run, 100 * i))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for ((i, run), found) in (0..).zip(&runs).zip(found) {
        let (of, inputs) = (vec![0; run.batch.len()], &run.batch.inputs);
        let scores = engine(&weights, labels.ids().len()).label_scores(&[&run.prompt], &of, inputs, &labels);
        let streams: Vec<u64> = (0..run.batch.len() as u64).map(|n| 100 * i + n).collect();
        let texts = engine(&weights, 9).generate(&[&run.prompt], &of, inputs, &streams, 9, &sample).unwrap();
        assert!(found == (scores, texts), "run {i}");
    }
}

#[test]
fn a_request_without_examples_is_answered() {
    let weights = weights();
    let client = batcher(&weights, 1, usize::MAX);
    assert!(
        client.client("empty").generate(&[], Ragged::default(), Vec::new(), 5, Generation::Greedy).unwrap().is_empty()
    );
}

#[test]
fn what_breaks_a_worker_is_an_error_of_the_run_and_of_no_other() {
    let weights = weights();
    let batcher = batcher(&weights, 1, usize::MAX);
    let mut batch = Batch::default();
    batch.push(0, &[weights.dims.vocab as u32], &[1]);
    let error = batcher.client("bad").gradients(&[], batch, SETTINGS, None).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    let run = &runs(&weights)[0];
    let found = batcher.client("good").gradients(&run.prompt, run.batch.clone(), SETTINGS, None).unwrap();
    assert!(found == alone(&weights, run));
}

/// Two devices, each with a worker: here both are tensors on the CPU.
#[test]
fn several_devices_share_the_work() {
    let weights = weights();
    let runs = runs(&weights);
    let settings = Settings { device: "candle,candle".to_owned(), threads: 1, memory: usize::MAX };
    let batcher = Batcher::start(&weights, &settings).unwrap();
    assert_eq!(batcher.workers.len(), 2);
    let ask = |run: &Run| {
        let client = batcher.client("asks");
        let greedy = client.generate(&run.prompt, run.batch.inputs.clone(), Vec::new(), 7, Generation::Greedy);
        (client.gradients(&run.prompt, run.batch.clone(), SETTINGS, run.dropout.clone()).unwrap(), greedy.unwrap())
    };
    let ask = &ask;
    let found: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = runs.iter().map(|run| scope.spawn(move || ask(run))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let length = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    for (i, (run, ((loss, gradient), greedy))) in runs.iter().zip(found).enumerate() {
        let (expected_loss, expected) = alone(&weights, run);
        assert_eq!(loss.tokens, expected_loss.tokens);
        assert!((loss.sum / expected_loss.sum - 1.0).abs() < 1e-5, "run {i}: {loss:?}, expected {expected_loss:?}");
        let apart: Vec<f32> = gradient.iter().zip(&expected).map(|(a, b)| a - b).collect();
        // Some of these examples are so steep that even the CPU engine and autograd differ by 3e-4.
        assert!(length(&apart) < 1e-3 * length(&expected), "run {i}");
        let of = vec![0; run.batch.len()];
        assert_eq!(greedy, cpu::Engine::new(&weights).greedy(&[&run.prompt], &of, &run.batch.inputs, 7), "run {i}");
    }
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let settings = Settings { device: "tpu".to_owned(), threads: 1, memory: usize::MAX };
    let error = Batcher::start(&weights(), &settings).err().unwrap().to_string();
    assert!(error.contains("is tpu"), "{error}");
}

#[test]
fn micro_batches_are_whole_in_order_and_no_larger_than_a_worker_takes() {
    assert_eq!(cut(&[], 2, 300), [] as [Range<usize>; 0]);
    assert_eq!(cut(&[40; 4], 2, 2048), [0..2, 2..4]);
    assert_eq!(cut(&[20, 20], 2, 2048), [0..2; 1], "too few rows for two workers");
    // Sixteen examples make fourteen shares of at most 300 rows, but no two of them fit.
    assert_eq!(cut(&[236; 16], 2, 300), (0..16).map(|i| i..i + 1).collect::<Vec<_>>());
    let mut stream = Stream::new(0, "sizes");
    for _ in 0..1000 {
        let mut draw = |from: usize, below: usize| from + stream.below(below);
        let (count, workers, most) = (draw(1, 60), draw(1, 5), draw(50, 1000));
        let sizes: Vec<usize> = (0..count).map(|_| draw(1, 400)).collect();
        let micro_batches = cut(&sizes, workers, most);
        assert_eq!(micro_batches.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        for micro_batch in micro_batches {
            let rows: usize = sizes[micro_batch.clone()].iter().sum();
            assert!(
                !micro_batch.is_empty() && (rows <= most || micro_batch.len() == 1),
                "{micro_batch:?} has {rows} of {most} rows"
            );
        }
    }
}
