//! Weights in bf16 as they are used, in a file: mapped into memory it is the model, so that nothing is converted or copied at a
//! start, and processes on one machine share its pages.
//!
//! The file is safetensors, which any tool opens: the matrices in bf16 in the order of the [`Layout`], then the scales of norms and
//! the tables of position biases in f32. What is stacked in the layout lies row under row here too.

use super::layout::{Place, Slot};
use super::shards::{Shard, Tensors};
use super::{Dims, Head, Layout};
use crate::ml::error::{Error, Result};
use half::bf16;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes that stay where they are: a mapped file.
pub type Bytes = Arc<dyn Deref<Target = [u8]> + Send + Sync>;

/// The matrices of a packed file.
#[derive(Clone)]
pub(super) struct Packed {
    bytes: Bytes,
    /// Where the matrices begin in the file.
    start: usize,
    /// For the end of every vector of the layout, how many parameters of vectors lie before it: those the matrices lack.
    lacking: BTreeMap<usize, usize>,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Writes the weights of `dims` in the files of a checkpoint as a packed file, one tensor in memory at a time. `progress` hears how
/// many parameters of how many are written, and says whether to go on. Whether all were written.
///
/// # Errors
/// As [`Weights::read`](super::Weights::read), or if `out` takes no more.
pub fn pack(
    dims: Dims,
    shards: &[Shard<'_>],
    out: &mut dyn Write,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<bool> {
    let tensors = Tensors::find(dims, shards)?;
    let layout = Layout::new(&tensors.dims);
    out.write_all(&header(&layout))?;
    let (mut values, mut done) = (Vec::new(), 0);
    for slot in in_order(&layout) {
        values.resize(slot.place.len(), 0.0);
        tensors.read(slot, &mut values)?;
        for values in values.chunks(1 << 16) {
            let bytes: Vec<u8> = match slot.is_vector() {
                true => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                false => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            };
            out.write_all(&bytes)?;
        }
        done += slot.place.len();
        if !progress(done, layout.len()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The slots as a packed file has them.
fn in_order(layout: &Layout) -> impl Iterator<Item = &Slot> {
    let of = |wanted: bool| layout.slots().iter().filter(move |slot| slot.is_vector() == wanted);
    of(false).chain(of(true))
}

/// A tensor in the header of safetensors.
#[derive(Serialize)]
struct Tensor<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

/// The header of safetensors: its length in 8 bytes, and where each tensor lies; padded, so that what follows is aligned.
fn header(layout: &Layout) -> Vec<u8> {
    let (mut tensors, mut at) = (BTreeMap::new(), 0);
    for slot in in_order(layout) {
        let (dtype, size) = if slot.is_vector() { ("F32", 4) } else { ("BF16", 2) };
        let end = at + slot.place.len() * size;
        tensors.insert(slot.name.as_str(), Tensor { dtype, shape: &slot.shape, data_offsets: [at, end] });
        at = end;
    }
    let mut json = serde_json::to_vec(&tensors).expect("names and numbers");
    json.resize(json.len().next_multiple_of(64) + 56, b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}

/// Opens a packed file of `dims`: its matrices, its vectors by where they begin in the layout, and the sizes with the head settled.
///
/// # Errors
/// If it is not one of a model of this size.
pub(super) fn open(dims: &Dims, bytes: &Bytes) -> Result<(Dims, Packed, BTreeMap<usize, Vec<f32>>)> {
    let heads = if dims.head == Head::AsInFile { vec![Head::Own, Head::Embedding] } else { vec![dims.head] };
    for head in heads {
        let dims = Dims { head, ..dims.clone() };
        let layout = Layout::new(&dims);
        if let Some((packed, vectors)) = Packed::new(&layout, bytes) {
            return Ok((dims, packed, vectors));
        }
    }
    let message = "is not the packed weights of a model of this configuration".to_owned();
    Err(Error::File { file: "packed weights".to_owned(), message })
}

impl Packed {
    fn new(layout: &Layout, bytes: &Bytes) -> Option<(Self, BTreeMap<usize, Vec<f32>>)> {
        let header = header(layout);
        let data = bytes.strip_prefix(&header[..])?;
        let (mut lacking, mut vectors, mut count) = (BTreeMap::new(), BTreeMap::new(), 0);
        let matrices: usize = layout.slots().iter().filter(|slot| !slot.is_vector()).map(|slot| slot.place.len()).sum();
        let (matrices, mut rest) = data.split_at_checked(2 * matrices)?;
        for slot in layout.slots().iter().filter(|slot| slot.is_vector()) {
            let (own, others) = rest.split_at_checked(4 * slot.place.len())?;
            rest = others;
            count += slot.place.len();
            lacking.insert(slot.place.end, count);
            vectors.insert(slot.place.start, own.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect());
        }
        let is_whole = rest.is_empty() && bytemuck::try_cast_slice::<u8, bf16>(matrices).is_ok();
        is_whole.then(|| (Self { bytes: bytes.clone(), start: header.len(), lacking }, vectors))
    }

    /// The matrix at a place of the layout.
    pub(super) fn at(&self, place: &Place) -> &[bf16] {
        let lacking = self.lacking.range(..=place.start).next_back().map_or(0, |(_, count)| *count);
        let at = self.start + 2 * (place.start - lacking);
        bytemuck::cast_slice(&self.bytes[at..at + 2 * place.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::golden::{TIED, V1_0, V1_1};
    use crate::ml::model::{Precision, Weights};

    fn packed(dims: &Dims, file: &[u8]) -> Vec<u8> {
        let (mut out, mut last) = (Vec::new(), (0, 1));
        let shard = Shard { name: "model.safetensors", bytes: file };
        let mut progress = |done, all| {
            last = (done, all);
            true
        };
        assert!(pack(dims.clone(), &[shard], &mut out, &mut progress).unwrap());
        assert_eq!(last.0, last.1);
        assert!(!pack(dims.clone(), &[shard], &mut Vec::new(), &mut |_, _| false).unwrap());
        out
    }

    #[test]
    fn packed_weights_are_those_that_a_reader_converts() {
        for golden in [&V1_1, &V1_0, &TIED] {
            let weights = golden.weights();
            let file = weights.to_safetensors(false).unwrap();
            let read = Weights::from_safetensors(weights.dims.clone(), &[&file], Precision::Bf16).unwrap();
            let packed = packed(&weights.dims, &file);
            // Any tool opens it.
            let names = safetensors::SafeTensors::deserialize(&packed).unwrap().len();
            assert_eq!(names, read.layout.slots().len());
            let bytes: Bytes = Arc::new(packed);
            for head in [weights.dims.head, Head::AsInFile] {
                let dims = Dims { head, ..weights.dims.clone() };
                let mapped = Weights::packed(&dims, &bytes).unwrap();
                assert_eq!((&mapped.dims, mapped.precision()), (&read.dims, Precision::Bf16));
                for slot in read.layout.slots() {
                    if slot.is_vector() {
                        assert_eq!(mapped.vector(&slot.place), read.vector(&slot.place), "{}", slot.name);
                    } else {
                        assert_eq!(values(&mapped, &slot.place), values(&read, &slot.place), "{}", slot.name);
                    }
                }
                // What is stacked in the layout is one matrix.
                let stacked = [&read.layout.cross, &read.layout.encoder.layers[0].attention.qkv];
                stacked.iter().for_each(|place| assert_eq!(values(&mapped, place), values(&read, place)));
            }
        }
    }

    fn values(weights: &Weights, place: &Place) -> Vec<f32> {
        let mut values = vec![0.0; place.len()];
        weights.at(place).copy_to(0, &mut values);
        values
    }

    #[test]
    fn packed_weights_of_another_model_or_cut_off_are_refused() {
        let (weights, other) = (V1_1.weights(), V1_0.weights());
        let file = packed(&weights.dims, &weights.to_safetensors(false).unwrap());
        let refused = |dims: &Dims, bytes: &[u8]| {
            Weights::packed(dims, &(Arc::new(bytes.to_vec()) as Bytes)).unwrap_err().to_string()
        };
        assert!(refused(&other.dims, &file).contains("not the packed weights of a model of this configuration"));
        for length in [0, 7, 100, file.len() - 1] {
            refused(&weights.dims, &file[..length]);
        }
        refused(&weights.dims, &[&file[..], b"x"].concat());
    }
}
