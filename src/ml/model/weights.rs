//! The parameters of a T5 in one vector: read from safetensors, drawn at random, written back.

use super::cpu::kernels::Matrix;
use super::layout::{Place, Slot};
use super::packed::{self, Bytes, Packed};
use super::shards::{Shard, Tensors};
use super::{Dims, Layout};
use crate::ml::error::Result;
use crate::ml::random::Stream;
use half::bf16;
use safetensors::tensor::{Dtype, TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the parameters of a frozen model are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half the memory; norms and position biases stay f32, and products are summed in f32.
    Bf16,
}

impl Precision {
    /// Bytes of a parameter.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Sizes, layout and parameters.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Sizes.
    pub dims: Dims,
    /// Where each matrix lies among the parameters.
    pub layout: Layout,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    F32(Vec<f32>),
    Bf16 {
        matrices: Matrices,
        /// Norms and position biases again, by where they begin, as precisely as they were given.
        vectors: BTreeMap<usize, Vec<f32>>,
    },
}

/// Matrices in bf16.
#[derive(Clone, Debug)]
enum Matrices {
    /// All parameters.
    Own(Vec<bf16>),
    /// In a file.
    Packed(Packed),
}

impl Weights {
    /// Reads the weights of `dims` from the files of a checkpoint.
    ///
    /// Every tensor that the configuration asks for must be there once with its shape, as f32, bf16 or f16. The embedding may
    /// be there under its other names, again or only; every other tensor is refused by name.
    ///
    /// # Errors
    /// If a file is damaged, or a tensor is missing, there twice, of another shape or type, or not one of this T5.
    pub fn read(dims: Dims, shards: &[Shard<'_>], precision: Precision) -> Result<Self> {
        let tensors = Tensors::find(dims, shards)?;
        Self::fill(tensors.dims.clone(), precision, |slot, out| tensors.read(slot, out))
    }

    /// Reads the weights of `dims` from the bytes of the files of a checkpoint, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_safetensors(dims: Dims, files: &[&[u8]], precision: Precision) -> Result<Self> {
        let shards: Vec<Shard<'_>> = files.iter().map(|bytes| Shard { name: "model.safetensors", bytes }).collect();
        Self::read(dims, &shards, precision)
    }

    /// Weights in bf16 that stay in the file that [`pack`](super::pack) wrote.
    ///
    /// # Errors
    /// If it is not one of a model of these sizes.
    pub fn packed(dims: &Dims, file: &Bytes) -> Result<Self> {
        let (dims, packed, vectors) = packed::open(dims, file)?;
        let layout = Layout::new(&dims);
        Ok(Self { dims, layout, values: Values::Bf16 { matrices: Matrices::Packed(packed), vectors } })
    }

    /// Weights whose tensors `fill` writes, one after the other, each row by row: `[n]` for all `n` of its numbers.
    ///
    /// # Errors
    /// What `fill` returns.
    pub fn fill(
        dims: Dims,
        precision: Precision,
        mut fill: impl FnMut(&Slot, &mut [f32]) -> Result<()>,
    ) -> Result<Self> {
        let layout = Layout::new(&dims);
        let values = match precision {
            Precision::F32 => {
                let mut values = vec![0.0; layout.len()];
                for slot in layout.slots() {
                    fill(slot, &mut values[slot.place.clone()])?;
                }
                Values::F32(values)
            }
            Precision::Bf16 => {
                let (mut all, mut vectors) = (vec![bf16::ZERO; layout.len()], BTreeMap::new());
                let mut wide = Vec::new();
                for slot in layout.slots() {
                    wide.resize(slot.place.len(), 0.0);
                    fill(slot, &mut wide)?;
                    all[slot.place.clone()].iter_mut().zip(&wide).for_each(|(x, wide)| *x = bf16::from_f32(*wide));
                    if slot.is_vector() {
                        vectors.insert(slot.place.start, wide.clone());
                    }
                }
                Values::Bf16 { matrices: Matrices::Own(all), vectors }
            }
        };
        Ok(Self { dims, layout, values })
    }

    /// Random weights, drawn as Hugging Face does for training from scratch (`T5PreTrainedModel._init_weights`):
    /// normal with standard deviation E^-0.5 for matrices that read the residual stream, (E·D)^-0.5 for queries,
    /// I^-0.5 and F^-0.5 for outputs, 1 for the embedding; norms are 1. An untied head has E^-0.5 here.
    pub fn random(dims: Dims, stream: &mut Stream) -> Self {
        let reads = (dims.width as f64).powf(-0.5);
        let sizes = dims.clone();
        let filled = Self::fill(dims, Precision::F32, |slot, out| {
            let deviation = match slot.name.rsplit('.').nth(1) {
                Some("layer_norm" | "final_layer_norm") => {
                    out.fill(1.0);
                    return Ok(());
                }
                Some("shared") => 1.0,
                Some("q") => ((sizes.width * sizes.head_width) as f64).powf(-0.5),
                Some("o") => (sizes.inner() as f64).powf(-0.5),
                Some("wo") => (sizes.ff as f64).powf(-0.5),
                _ => reads,
            };
            out.fill_with(|| (stream.normal() * deviation) as f32);
            Ok(())
        });
        filled.expect("nothing fails here")
    }

    /// The same parameters, rounded to bf16.
    pub fn to_bf16(&self) -> Self {
        let rounded = Self::fill(self.dims.clone(), Precision::Bf16, |slot, out| {
            match slot.is_vector() {
                true => out.copy_from_slice(self.vector(&slot.place)),
                false => self.at(&slot.place).copy_to(0, out),
            }
            Ok(())
        });
        rounded.expect("nothing fails here")
    }

    /// How the parameters are kept.
    pub fn precision(&self) -> Precision {
        match &self.values {
            Values::F32(_) => Precision::F32,
            Values::Bf16 { .. } => Precision::Bf16,
        }
    }

    /// The matrix at `place`, row by row: `[n]` for all `n` of its numbers.
    pub fn at(&self, place: &Place) -> Matrix<'_> {
        match &self.values {
            Values::F32(values) => Matrix::F32(&values[place.clone()]),
            Values::Bf16 { matrices: Matrices::Own(all), .. } => Matrix::Bf16(&all[place.clone()]),
            Values::Bf16 { matrices: Matrices::Packed(packed), .. } => Matrix::Bf16(packed.at(place)),
        }
    }

    /// The scale of a norm, `[E]`, or the table of a position bias, `[buckets, H]`, at `place`, which are f32 whatever the
    /// precision.
    ///
    /// # Panics
    /// If something else is there.
    pub fn vector(&self, place: &Place) -> &[f32] {
        match &self.values {
            Values::F32(values) => &values[place.clone()],
            Values::Bf16 { vectors, .. } => &vectors[&place.start],
        }
    }

    /// All parameters, `[n]` in the order of their layout.
    ///
    /// # Panics
    /// If they are kept in bf16: such weights are frozen.
    pub fn data(&self) -> &[f32] {
        match &self.values {
            Values::F32(values) => values,
            Values::Bf16 { .. } => panic!("weights in bf16 are frozen"),
        }
    }

    /// All parameters, `[n]`, to be changed.
    ///
    /// # Panics
    /// As [`data`](Self::data).
    pub fn data_mut(&mut self) -> &mut [f32] {
        match &mut self.values {
            Values::F32(values) => values,
            Values::Bf16 { .. } => panic!("weights in bf16 are frozen"),
        }
    }

    /// One safetensors file in Hugging Face's layout; `half` stores bf16, rounded to nearest even.
    ///
    /// # Errors
    /// Never, as every tensor has its bytes.
    pub fn to_safetensors(&self, half: bool) -> Result<Vec<u8>> {
        let bytes: Vec<Vec<u8>> = self
            .layout
            .slots()
            .iter()
            .map(|slot| {
                let mut values = vec![0.0; slot.place.len()];
                self.at(&slot.place).copy_to(0, &mut values);
                if half {
                    values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
                } else {
                    values.iter().flat_map(|x| x.to_le_bytes()).collect()
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
