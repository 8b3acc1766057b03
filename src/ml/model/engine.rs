//! The two engines behind one face: hand-written kernels on the CPU, tensors on any other device.

use super::batch::Batch;
use super::cpu::kernels::{CrossEntropy, Dropout};
use super::cpu::{self, Gradients, Loss};
use super::{Weights, gpu};
use crate::ml::error::{Error, Result};
use candle_core::Device;

/// A frozen T5 at work on a device.
pub enum Engine<'w> {
    /// On the CPU, by hand-written kernels.
    Cpu(Box<cpu::Engine<'w>>),
    /// On a candle device, by operations on tensors.
    Gpu(Box<gpu::Engine<'w>>),
}

impl<'w> Engine<'w> {
    /// An engine for `device`: `cpu`, `cuda:0`; `candle` is the CPU with the operations that a GPU uses.
    ///
    /// # Errors
    /// If this program or this machine has no such device.
    pub fn on(device: &str, weights: &'w Weights) -> Result<Self> {
        if device == "cpu" {
            return Ok(Self::Cpu(Box::new(cpu::Engine::new(weights))));
        }
        Ok(Self::Gpu(Box::new(gpu::Engine::new(weights, &open(device)?)?)))
    }

    /// Losses of each run; adds the gradients of the sums of the losses to `d_prompts`. Both are `[P, E]` for each of R.
    ///
    /// # Errors
    /// If the device fails.
    pub fn gradients(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        d_prompts: &mut [Vec<f32>],
    ) -> Result<Vec<Loss>> {
        match self {
            Self::Cpu(engine) => {
                let gradients = Gradients { prompts: d_prompts, weights: None };
                Ok(engine.gradients(prompts, batch, settings, dropout, gradients))
            }
            Self::Gpu(engine) => {
                let gradients = gpu::Gradients { prompts: d_prompts, weights: None };
                engine.gradients(prompts, batch, settings, dropout, gradients)
            }
        }
    }

    /// How long targets and answers will be: see [`cpu::Engine::expect`].
    pub fn expect(&mut self, longest: usize) {
        match self {
            Self::Cpu(engine) => engine.expect(longest),
            Self::Gpu(engine) => engine.expect(longest),
        }
    }

    /// Whether to compute activations twice to save memory.
    pub fn recompute(&mut self, recompute: bool) {
        match self {
            Self::Cpu(engine) => engine.recompute(recompute),
            Self::Gpu(engine) => engine.recompute(recompute),
        }
    }

    /// Memory of the device that is free, if it has its own.
    ///
    /// # Errors
    /// If the device does not say.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        match self {
            Self::Cpu(_) => Ok(None),
            Self::Gpu(engine) => engine.free_memory(),
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
        Some(index) => gpu::gpu(index.parse().map_err(|_| no_device(device))?),
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
