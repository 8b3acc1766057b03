//! The parameters of a T5 in one vector: read from safetensors, drawn at random, written back.

use super::{Dims, Layout};
use crate::ml::error::{Error, Result};
use crate::ml::random::Stream;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Sizes, layout and parameters.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Sizes.
    pub dims: Dims,
    /// Where each matrix lies in [`data`](Self::data).
    pub layout: Layout,
    /// All parameters, f32.
    pub data: Vec<f32>,
}

impl Weights {
    /// Reads the weights of `dims` from the bytes of one or more safetensors files (shards).
    ///
    /// Every tensor that the configuration asks for must be there once with its shape, as f32, bf16 or f16; others, such
    /// as the copies of the embedding that some exporters add, are left alone.
    pub fn from_safetensors(dims: Dims, files: &[&[u8]]) -> Result<Self> {
        let files =
            files.iter().map(|bytes| SafeTensors::deserialize(bytes)).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut found: BTreeMap<String, TensorView<'_>> = BTreeMap::new();
        for (name, view) in files.iter().flat_map(SafeTensors::tensors) {
            if found.insert(name.clone(), view).is_some() {
                return Err(tensor(&name, "is there twice", "once in all shards"));
            }
        }
        let layout = Layout::new(&dims);
        for slot in layout.slots() {
            let view = found
                .get(&slot.name)
                .ok_or_else(|| tensor(&slot.name, "is missing", format!("shape {:?}", slot.shape)))?;
            if view.shape() != slot.shape {
                let found = format!("has shape {:?}", view.shape());
                return Err(tensor(&slot.name, found, format!("{:?} by config.json", slot.shape)));
            }
        }
        let mut data = vec![0.0; layout.len()];
        for slot in layout.slots() {
            read(&slot.name, &found[&slot.name], &mut data[slot.place.clone()])?;
        }
        Ok(Self { dims, layout, data })
    }

    /// Random weights, drawn as Hugging Face does for training from scratch (`T5PreTrainedModel._init_weights`):
    /// normal with standard deviation E^-0.5 for matrices that read the residual stream, (E·D)^-0.5 for queries,
    /// I^-0.5 and F^-0.5 for outputs, 1 for the embedding; norms are 1. An untied head has E^-0.5 here.
    pub fn random(dims: Dims, stream: &mut Stream) -> Self {
        let layout = Layout::new(&dims);
        let mut data = vec![0.0; layout.len()];
        let reads = (dims.width as f64).powf(-0.5);
        for slot in layout.slots() {
            let deviation = match slot.name.rsplit('.').nth(1) {
                Some("layer_norm" | "final_layer_norm") => {
                    data[slot.place.clone()].fill(1.0);
                    continue;
                }
                Some("shared") => 1.0,
                Some("q") => ((dims.width * dims.head_width) as f64).powf(-0.5),
                Some("o") => (dims.inner() as f64).powf(-0.5),
                Some("wo") => (dims.ff as f64).powf(-0.5),
                _ => reads,
            };
            data[slot.place.clone()].fill_with(|| (stream.normal() * deviation) as f32);
        }
        Self { dims, layout, data }
    }

    /// The parameters at `place`.
    pub fn at(&self, place: &std::ops::Range<usize>) -> &[f32] {
        &self.data[place.clone()]
    }

    /// One safetensors file in Hugging Face's layout; `half` stores bf16, rounded to nearest even.
    pub fn to_safetensors(&self, half: bool) -> Result<Vec<u8>> {
        let bytes: Vec<Vec<u8>> = self
            .layout
            .slots()
            .iter()
            .map(|slot| {
                let values = self.at(&slot.place).iter();
                if half {
                    values.flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
                } else {
                    values.flat_map(|x| x.to_le_bytes()).collect()
                }
            })
            .collect();
        let dtype = if half { Dtype::BF16 } else { Dtype::F32 };
        let views = self
            .layout
            .slots()
            .iter()
            .zip(&bytes)
            .map(|(slot, bytes)| Ok((slot.name.as_str(), TensorView::new(dtype, slot.shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        Ok(safetensors::serialize(views, Some(metadata))?)
    }
}

fn read(name: &str, view: &TensorView<'_>, out: &mut [f32]) -> Result<()> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Dtype::BF16 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = bf16::from_le_bytes(*b).to_f32();
            }
        }
        Dtype::F16 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = f16::from_le_bytes(*b).to_f32();
            }
        }
        other => return Err(tensor(name, format!("has type {other:?}"), "f32, bf16 or f16")),
    }
    if out.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(tensor(name, "holds a NaN or an infinity", "finite numbers"))
    }
}

fn tensor(name: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Tensor { name: name.to_owned(), found: found.into(), expected: expected.into() }
}
