//! The two engines behind one face: hand-written kernels on the CPU, candle's operations on any other device.

use super::decode::LIKELIHOOD;
use super::fast::{self, Gradients, Loss};
use super::reference::Reference;
use super::{Generation, LabelScore, Precision, Weights};
use crate::ml::batch::{Batch, Ragged};
use crate::ml::error::{Error, Result};
use crate::ml::kernels::{CrossEntropy, Dropout};
use candle_core::{DType, Device, Tensor};

/// A frozen T5 at work on a device.
pub enum Engine<'w> {
    /// On the CPU, by hand-written kernels.
    Fast(Box<fast::Engine<'w>>),
    /// On a candle device, by differentiable operations.
    Candle(Reference),
}

impl<'w> Engine<'w> {
    /// An engine for `device`: `cpu`, `cuda:0`; `candle` is the CPU with the operations that a GPU uses.
    ///
    /// # Errors
    /// If this program or this machine has no such device.
    pub fn on(device: &str, weights: &'w Weights) -> Result<Self> {
        let dtype = match weights.precision() {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        };
        let candle = |device: Device| Ok(Self::Candle(Reference::new(weights, dtype, &device)?));
        match device.strip_prefix("cuda:") {
            _ if device == "cpu" => Ok(Self::Fast(Box::new(fast::Engine::new(weights)))),
            _ if device == "candle" => candle(Device::Cpu),
            Some(index) => {
                let index = index.parse().map_err(|_| no_device(device))?;
                candle(Device::new_cuda(index)?)
            }
            None => Err(no_device(device)),
        }
    }

    /// Losses of each run; adds the gradients of the sums of the losses to `d_prompts`.
    pub fn gradients(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        d_prompts: &mut [Vec<f32>],
    ) -> Result<Vec<Loss>> {
        match self {
            Self::Fast(engine) => {
                let gradients = Gradients { prompts: d_prompts, weights: None };
                Ok(engine.gradients(prompts, batch, settings, dropout, gradients))
            }
            Self::Candle(reference) => reference.gradients(prompts, batch, settings, dropout, d_prompts),
        }
    }

    /// An answer to each example, as [`fast::Engine::generate`] gives it; beam search and sampling are on the CPU only.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        let refused = |found: &str| {
            let expected = "`greedy` on any device but `cpu`".to_owned();
            Err(Error::Setting { field: "decoding", found: found.to_owned(), expected })
        };
        match (self, generation) {
            (Self::Fast(engine), _) => engine.generate(prompts, run, inputs, streams, longest, generation),
            (Self::Candle(reference), Generation::Greedy) => reference.greedy(prompts, run, inputs, longest),
            (Self::Candle(_), Generation::Beam(_)) => refused("beam"),
            (Self::Candle(_), Generation::Sample(_)) => refused("sample"),
        }
    }

    /// The likelihood of every label for every example, `[B][L]`, as [`fast::Engine::label_scores`] gives it.
    pub fn label_scores(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Result<Vec<Vec<LabelScore>>> {
        match self {
            Self::Fast(engine) => Ok(engine.label_scores(prompts, run, inputs, labels)),
            Self::Candle(reference) => reference.label_scores(prompts, run, inputs, labels),
        }
    }

    /// How long targets and answers will be: see [`fast::Engine::expect`].
    pub fn expect(&mut self, longest: usize) {
        if let Self::Fast(engine) = self {
            engine.expect(longest);
        }
    }

    /// Whether to compute activations twice to save memory; only the hand-written kernels can.
    pub fn recompute(&mut self, recompute: bool) {
        if let Self::Fast(engine) = self {
            engine.recompute(recompute);
        }
    }
}

fn no_device(device: &str) -> Error {
    Error::Setting { field: "device", found: device.to_owned(), expected: "`cpu` or `cuda:N`".to_owned() }
}

impl Reference {
    /// Greedy decoding without a cache: every step computes all positions again.
    fn greedy(&self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, longest: usize) -> Result<Vec<Vec<u32>>> {
        let prompts = prompts.iter().map(|prompt| self.prompt(prompt)).collect::<Result<Vec<_>>>()?;
        let (memory, lengths) = self.encode(&prompts, run, inputs, None)?;
        let (pad, eos) = (self.dims().pad, self.dims().eos);
        let mut answers: Vec<Vec<u32>> = vec![Vec::new(); inputs.len()];
        let mut ended = vec![false; inputs.len()];
        for position in 0..longest {
            // The decoder reads a target one place to the right, so its last id is never read.
            let rows =
                answers.iter().map(|answer| answer.iter().copied().chain(std::iter::repeat(pad)).take(position + 1));
            let logits = self.logits(&memory, &lengths, &rows.collect(), None)?;
            let next = logits.narrow(1, position, 1)?.squeeze(1)?.argmax(candle_core::D::Minus1)?.to_vec1::<u32>()?;
            for ((answer, ended), id) in answers.iter_mut().zip(&mut ended).zip(next) {
                *ended |= id == eos;
                if !*ended {
                    answer.push(id);
                }
            }
            if ended.iter().all(|ended| *ended) {
                break;
            }
        }
        Ok(answers)
    }

    /// Every label of an example as an example of its own.
    fn label_scores(
        &self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Result<Vec<Vec<LabelScore>>> {
        let prompts = prompts.iter().map(|prompt| self.prompt(prompt)).collect::<Result<Vec<_>>>()?;
        let mut scores = Vec::with_capacity(run.len());
        for (run, input) in run.iter().zip(inputs.rows()) {
            let mut batch = Batch::default();
            labels.rows().enumerate().for_each(|(label, ids)| batch.push(label, input, ids));
            let own = vec![prompts[*run].clone(); labels.len()];
            let (losses, tokens) = self.loss(&own, &batch, LIKELIHOOD, None)?;
            let losses = losses.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            let pairs = losses.into_iter().zip(tokens);
            scores.push(pairs.map(|(loss, tokens)| LabelScore { log_likelihood: -loss, tokens }).collect());
        }
        Ok(scores)
    }

    fn prompt(&self, values: &[f32]) -> Result<Tensor> {
        let width = self.dims().width;
        Ok(Tensor::from_slice(values, (values.len() / width, width), self.device())?)
    }
}
