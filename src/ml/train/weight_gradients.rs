//! Gradients of all weights on the CPU, in micro-batches that threads share.
//!
//! A sum of gradients depends on how a batch is cut, so the cut is a function of the batch alone, and the gradients of the
//! micro-batches are added in their order: results depend neither on threads nor on memory.

use crate::ml::error::{Error, Result};
use crate::ml::model::batch::Batch;
use crate::ml::model::cpu::{Engine, Gradients, Loss};
use crate::ml::model::{Counts, Weights};
use crate::ml::model::{CrossEntropy, Dropout};
use std::ops::Range;

/// Rows of encoder and decoder in a micro-batch, about: enough for matrix products to be worth their while, and so few that
/// common batches have one for every core.
const ROWS: usize = 512;

/// Threads that learn side by side, each with a gradient of its own.
pub struct Workers {
    pools: Vec<rayon::ThreadPool>,
    /// Gradients of all weights on the micro-batches under way, and their losses.
    buffers: Vec<(Vec<f32>, Loss)>,
    memory: usize,
}

impl Workers {
    /// Starts `threads` threads, whose activations together may take `memory` bytes.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(threads: usize, memory: usize) -> Result<Self> {
        let start = |_| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            pool.map_err(|error| Error::Worker(format!("failed to start a thread: {error}")))
        };
        let pools = if threads > 1 { (0..threads).map(start).collect::<Result<_>>()? } else { Vec::new() };
        Ok(Self { pools, buffers: Vec::new(), memory })
    }

    /// The loss of a batch without prompts; adds the gradient of the sum of its losses to `gradient`, `[n]`, which is of all
    /// weights in the order of their layout.
    ///
    /// # Errors
    /// If not even one micro-batch fits the memory.
    pub fn gradients(
        &mut self,
        weights: &Weights,
        batch: &Batch,
        loss: CrossEntropy,
        dropout: Option<&Dropout>,
        gradient: &mut [f32],
    ) -> Result<Loss> {
        let micro_batches = cut(batch, ROWS);
        let (workers, recompute) = self.fitting(weights, batch, &micro_batches, dropout.is_some())?;
        self.buffers.resize_with(workers, || (vec![0.0; gradient.len()], Loss::default()));
        let engine = || {
            let mut engine = Engine::new(weights);
            engine.recompute(recompute);
            engine
        };
        let mut engines: Vec<Engine<'_>> = (0..workers).map(|_| engine()).collect();
        let mut total = Loss::default();
        for wave in micro_batches.chunks(workers) {
            let tasks = wave.iter().zip(&mut engines).zip(&mut self.buffers);
            let learn = |(examples, engine): (&Range<usize>, &mut Engine<'_>), out: &mut (Vec<f32>, Loss)| {
                out.0.fill(0.0);
                out.1 = one(engine, batch, examples, loss, dropout, &mut out.0);
            };
            if workers == 1 {
                // The kernels have the threads of the caller to themselves.
                tasks.for_each(|(task, out)| learn(task, out));
            } else {
                let learn = &learn;
                std::thread::scope(|scope| {
                    for ((task, out), pool) in tasks.zip(&self.pools) {
                        scope.spawn(move || pool.install(|| learn(task, out)));
                    }
                });
            }
            for (learned, loss) in &self.buffers[..wave.len()] {
                gradient.iter_mut().zip(learned).for_each(|(sum, g)| *sum += g);
                total.sum += loss.sum;
                total.tokens += loss.tokens;
            }
        }
        Ok(total)
    }

    /// How many micro-batches are computed at a time, and whether their activations are computed twice.
    fn fitting(
        &self,
        weights: &Weights,
        batch: &Batch,
        micro_batches: &[Range<usize>],
        dropout: bool,
    ) -> Result<(usize, bool)> {
        let most = self.pools.len().min(micro_batches.len()).max(1);
        let counts = micro_batches.iter().map(|examples| Counts::of(examples.clone().map(|i| rows(batch, i))));
        let counts = counts.fold(Counts::default(), Counts::max);
        let bytes = |recompute| weights.dims.learning_bytes(&weights.layout, counts, recompute, dropout);
        let fitting = |recompute| most.min(self.memory / bytes(recompute).max(1));
        match (fitting(false), fitting(true)) {
            (once, twice) if once > 0 && once >= twice => Ok((once, false)),
            (_, 0) => {
                let mib = |bytes: usize| format!("{} MiB", bytes.div_ceil(1 << 20));
                let expected = format!("at least {} for a part of a batch, or shorter examples", mib(bytes(true)));
                Err(Error::setting("memory", &format!("{} for a job", mib(self.memory)), expected))
            }
            (_, twice) => Ok((twice, true)),
        }
    }
}

/// Rows of an example in the encoder and in the decoder.
pub(super) fn rows(batch: &Batch, example: usize) -> (usize, usize) {
    (batch.inputs.row(example).len(), batch.targets.row(example).len())
}

/// Micro-batches of about equal size, of about this many rows at most: neighbouring examples.
pub(super) fn cut(batch: &Batch, most: usize) -> Vec<Range<usize>> {
    let sizes: Vec<usize> = (0..batch.len()).map(|i| rows(batch, i)).map(|(input, target)| input + target).collect();
    let total: usize = sizes.iter().sum();
    let count = total.div_ceil(most).max(1);
    let mut micro_batches: Vec<Range<usize>> = Vec::with_capacity(count);
    let (mut start, mut done) = (0, 0);
    for (i, size) in sizes.iter().enumerate() {
        done += size;
        if i + 1 == sizes.len() || done * count >= (micro_batches.len() + 1) * total {
            micro_batches.push(start..i + 1);
            start = i + 1;
        }
    }
    micro_batches
}

/// Some neighbouring examples of a batch, with their dropout.
pub(super) fn part(batch: &Batch, dropout: Option<&Dropout>, examples: &Range<usize>) -> (Batch, Option<Dropout>) {
    let mut part = Batch::default();
    examples.clone().for_each(|i| part.push(0, batch.inputs.row(i), batch.targets.row(i)));
    let dropout = dropout.map(|dropout| Dropout { keys: dropout.keys[examples.clone()].to_vec(), ..*dropout });
    (part, dropout)
}

fn one(
    engine: &mut Engine<'_>,
    batch: &Batch,
    examples: &Range<usize>,
    loss: CrossEntropy,
    dropout: Option<&Dropout>,
    gradient: &mut [f32],
) -> Loss {
    let (part, dropout) = part(batch, dropout, examples);
    let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(gradient) };
    engine.gradients(&[&[]], &part, loss, dropout.as_ref(), gradients)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Dims;
    use crate::ml::model::{Key, Sharing};
    use crate::ml::random::Stream;

    fn weights() -> Weights {
        let dims = Dims::from_json(include_bytes!("../../../tests/golden/t5_v1_1/config.json")).unwrap();
        Weights::random(dims, &mut Stream::new(0, "weights"))
    }

    /// Some 1,300 rows.
    fn batch(vocab: usize) -> Batch {
        let mut stream = Stream::new(1, "rows");
        let mut batch = Batch::default();
        for _ in 0..60 {
            let length = 1 + stream.below(40);
            let ids: Vec<u32> = (0..length).map(|_| stream.below(vocab) as u32).collect();
            batch.push(0, &ids, &[3, 1]);
        }
        batch
    }

    const LOSS: CrossEntropy = CrossEntropy { z_loss: 1e-4, label_smoothing: 0.0 };

    fn dropout(examples: usize) -> Dropout {
        let keys = (0..examples as u64).map(|slot| Key::new(1, 2, slot)).collect();
        Dropout { rate: 0.1, sharing: Sharing::Sequence, keys }
    }

    #[test]
    fn neither_threads_nor_memory_change_a_bit() {
        let weights = weights();
        let batch = batch(weights.dims.vocab);
        let run = |threads, memory| {
            let mut gradient = vec![0.5; weights.layout.len()];
            let mut workers = Workers::new(threads, memory).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let dropout = dropout(batch.len());
            let loss = pool.install(|| workers.gradients(&weights, &batch, LOSS, Some(&dropout), &mut gradient));
            (loss.unwrap(), gradient)
        };
        let micro_batches = cut(&batch, ROWS);
        assert!(micro_batches.len() >= 3, "{micro_batches:?}");
        let counts = micro_batches.iter().map(|examples| Counts::of(examples.clone().map(|i| rows(&batch, i))));
        let bytes =
            weights.dims.learning_bytes(&weights.layout, counts.fold(Counts::default(), Counts::max), true, true);
        let alone = run(1, usize::MAX);
        for (threads, memory) in [(2, usize::MAX), (3, usize::MAX), (2, 2 * bytes), (2, bytes), (1, bytes)] {
            assert!(run(threads, memory) == alone, "{threads} threads, {memory} bytes");
        }
    }

    #[test]
    fn a_micro_batch_that_does_not_fit_is_refused_with_what_it_needs() {
        let weights = weights();
        let batch = batch(weights.dims.vocab);
        let mut gradient = vec![0.0; weights.layout.len()];
        let error =
            Workers::new(2, 1 << 10).unwrap().gradients(&weights, &batch, LOSS, None, &mut gradient).unwrap_err();
        assert!(error.to_string().contains("`memory` is 1 MiB for a job, expected at least "), "{error}");
    }

    #[test]
    fn micro_batches_are_the_whole_batch_and_about_equal() {
        let batch = batch(50);
        let micro_batches = cut(&batch, ROWS);
        assert_eq!(micro_batches[0].start, 0);
        assert_eq!(micro_batches.last().unwrap().end, batch.len());
        assert!(micro_batches.windows(2).all(|pair| pair[0].end == pair[1].start));
        let size =
            |examples: &Range<usize>| examples.clone().map(|i| rows(&batch, i)).map(|(a, b)| a + b).sum::<usize>();
        let sizes: Vec<usize> = micro_batches.iter().map(size).collect();
        assert!(sizes.iter().all(|size| (350..600).contains(size)), "{sizes:?}");
        let mut one = Batch::default();
        one.push(0, &[5; 2000], &[1]);
        assert_eq!(cut(&one, ROWS), vec![0..1_usize; 1]);
    }

    /// Uncut it is the engine's gradient.
    #[test]
    fn the_gradient_is_that_of_the_whole_batch() {
        let weights = weights();
        let batch = batch(weights.dims.vocab);
        let (mut cut, mut whole) = (vec![0.0; weights.layout.len()], vec![0.0; weights.layout.len()]);
        let loss = Workers::new(2, usize::MAX).unwrap().gradients(&weights, &batch, LOSS, None, &mut cut).unwrap();
        let expected = one(&mut Engine::new(&weights), &batch, &(0..batch.len()), LOSS, None, &mut whole);
        assert!((loss.sum - expected.sum).abs() < 1e-6 * expected.sum && loss.tokens == expected.tokens);
        let length = whole.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let apart = cut.iter().zip(&whole).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        assert!(apart < 1e-5 * length, "{apart} of {length}");
    }
}
