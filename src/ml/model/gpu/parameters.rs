//! The weights of a T5 on a device.

use crate::ml::error::Result;
use crate::ml::model::Weights;
use crate::ml::model::cpu::kernels::Matrix;
use crate::ml::model::layout::{Layer, Place};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// Weights on a device: matrices in the type of the activations, scales of norms and tables of position biases in f32. A copy
/// shares the tensors.
#[derive(Clone)]
pub struct Parameters {
    /// By where they begin in the layout.
    tensors: BTreeMap<usize, Tensor>,
    pub(super) dtype: DType,
    pub(super) device: Device,
}

impl Parameters {
    /// Copies the weights to `device`.
    ///
    /// # Errors
    /// If the device fails, or does not have enough memory.
    pub fn new(weights: &Weights, device: &Device) -> Result<Self> {
        let Weights { dims, layout, .. } = weights;
        let (width, inner, ff) = (dims.width, dims.inner(), dims.ff);
        let mut tensors = BTreeMap::new();
        let mut matrix = |place: &Place, columns: usize| -> Result<()> {
            let shape = (place.len() / columns, columns);
            let tensor = match weights.at(place) {
                Matrix::F32(values) => Tensor::from_slice(values, shape, device)?,
                Matrix::Bf16(values) => Tensor::from_slice(values, shape, device)?,
            };
            tensors.insert(place.start, tensor);
            Ok(())
        };
        matrix(&layout.embedding, width)?;
        matrix(&layout.head, width)?;
        matrix(&layout.cross, width)?;
        let layers = || layout.encoder.layers.iter().chain(&layout.decoder.layers);
        for Layer { attention, cross, ff: part } in layers() {
            matrix(&attention.qkv, width)?;
            matrix(&attention.out, inner)?;
            if let Some(cross) = cross {
                matrix(&cross.query, width)?;
                matrix(&cross.out, inner)?;
            }
            matrix(&part.inner, width)?;
            matrix(&part.out, ff)?;
        }
        let dtype = tensors[&layout.embedding.start].dtype();
        for bias in layout.encoder.biases.iter().chain(&layout.decoder.biases) {
            let table = Tensor::from_slice(weights.vector(bias), (dims.buckets, dims.heads), device)?;
            tensors.insert(bias.start, table);
        }
        let mut norm = |place: &Place| -> Result<()> {
            tensors.insert(place.start, Tensor::from_slice(weights.vector(place), place.len(), device)?);
            Ok(())
        };
        norm(&layout.encoder.norm)?;
        norm(&layout.decoder.norm)?;
        for Layer { attention, cross, ff } in layers() {
            norm(&attention.norm)?;
            norm(&ff.norm)?;
            if let Some(cross) = cross {
                norm(&cross.norm)?;
            }
        }
        Ok(Self { tensors, dtype, device: device.clone() })
    }

    /// The tensors, matrices `[n, m]` and scales `[E]`, in the order of the layout, with where they begin in it.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &Tensor)> {
        self.tensors.iter().map(|(start, tensor)| (*start, tensor))
    }

    /// The tensors, `[n, m]` or `[E]`, to be replaced by others of their sizes.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = (usize, &mut Tensor)> {
        self.tensors.iter_mut().map(|(start, tensor)| (*start, tensor))
    }

    /// Memory of the device that is free; none on a CPU.
    ///
    /// # Errors
    /// If the device does not say.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::free_memory(device).map(Some),
            _ => Ok(None),
        }
    }

    /// The matrix, `[n, m]`, scale, `[E]`, or table, `[buckets, H]`, at `place`.
    pub(super) fn at(&self, place: &Place) -> &Tensor {
        &self.tensors[&place.start]
    }

    /// `x · weightᵀ`, `[n, outputs]`, with `x` `[n, inputs]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn linear(&self, x: &Tensor, place: &Place) -> Result<Tensor> {
        Ok(x.matmul(&self.at(place).t()?)?)
    }

    /// `d_y · weight`, `[n, inputs]`, with `d_y` `[n, outputs]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn linear_backward(&self, d_y: &Tensor, place: &Place) -> Result<Tensor> {
        Ok(d_y.matmul(self.at(place))?)
    }
}
