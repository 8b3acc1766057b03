//! The two engines behind one face: hand-written kernels on the CPU, tensors on any other device.

use super::fast::{self, Gradients, Loss};
use super::{Generation, LabelScore, Weights, device};
use crate::ml::batch::{Batch, Ragged};
use crate::ml::error::{Error, Result};
use crate::ml::kernels::{CrossEntropy, Dropout};
use candle_core::Device;

/// A frozen T5 at work on a device.
pub enum Engine<'w> {
    /// On the CPU, by hand-written kernels.
    Fast(Box<fast::Engine<'w>>),
    /// On a candle device, by operations on tensors.
    Device(Box<device::Engine<'w>>),
}

impl<'w> Engine<'w> {
    /// An engine for `device`: `cpu`, `cuda:0`; `candle` is the CPU with the operations that a GPU uses.
    ///
    /// # Errors
    /// If this program or this machine has no such device.
    pub fn on(device: &str, weights: &'w Weights) -> Result<Self> {
        if device == "cpu" {
            return Ok(Self::Fast(Box::new(fast::Engine::new(weights))));
        }
        Ok(Self::Device(Box::new(device::Engine::new(weights, &open(device)?)?)))
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
            Self::Device(engine) => {
                let gradients = device::Gradients { prompts: d_prompts, weights: None };
                engine.gradients(prompts, batch, settings, dropout, gradients)
            }
        }
    }

    /// An answer to each example, as [`fast::Engine::generate`] gives it.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        match self {
            Self::Fast(engine) => engine.generate(prompts, run, inputs, streams, longest, generation),
            Self::Device(engine) => engine.generate(prompts, run, inputs, streams, longest, generation),
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
            Self::Device(engine) => engine.label_scores(prompts, run, inputs, labels),
        }
    }

    /// How long targets and answers will be: see [`fast::Engine::expect`].
    pub fn expect(&mut self, longest: usize) {
        match self {
            Self::Fast(engine) => engine.expect(longest),
            Self::Device(engine) => engine.expect(longest),
        }
    }

    /// Whether to compute activations twice to save memory.
    pub fn recompute(&mut self, recompute: bool) {
        match self {
            Self::Fast(engine) => engine.recompute(recompute),
            Self::Device(engine) => engine.recompute(recompute),
        }
    }

    /// Memory of the device that is free, if it has its own.
    ///
    /// # Errors
    /// If the device does not say.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        match self {
            Self::Fast(_) => Ok(None),
            Self::Device(engine) => engine.free_memory(),
        }
    }
}

/// The device `cuda:0`, or `candle`.
///
/// # Errors
/// If this program or this machine has no such device.
pub fn open(device: &str) -> Result<Device> {
    match device.strip_prefix("cuda:") {
        None if device == "candle" => Ok(Device::Cpu),
        Some(index) => device::gpu(index.parse().map_err(|_| no_device(device))?),
        None => Err(no_device(device)),
    }
}

/// The devices of a setting, one for each engine: `cuda:0,1` is `cuda:0` and `cuda:1`.
pub fn devices(setting: &str) -> Vec<String> {
    let name = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("cuda:{part}"),
        false => part.to_owned(),
    };
    setting.split(',').map(name).collect()
}

fn no_device(device: &str) -> Error {
    let expected = "`cpu`, `cuda:N` or `cuda:N,M`".to_owned();
    Error::Setting { field: "device", found: device.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::devices;

    #[test]
    fn several_devices_are_named_by_their_numbers() {
        assert_eq!(devices("cpu"), ["cpu"]);
        assert_eq!(devices("cuda:2"), ["cuda:2"]);
        assert_eq!(devices("cuda:0,1,13"), ["cuda:0", "cuda:1", "cuda:13"]);
        assert_eq!(devices("candle,candle"), ["candle", "candle"]);
    }
}
