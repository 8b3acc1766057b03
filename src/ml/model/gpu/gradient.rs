//! The gradient of all weights on a device.

use super::fused;
use super::ids;
use crate::ml::error::Result;
use crate::ml::model::Dims;
use crate::ml::model::layout::Place;
use crate::ml::model::position::offset_buckets;
use candle_core::{Device, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A sum of gradients of all weights, in tensors like those of [`Parameters`](super::Parameters). A tensor that nothing was
/// added to is not there.
#[derive(Default)]
pub struct Gradient {
    /// By where they begin in the layout. A pass adds to it from many places.
    tensors: RefCell<BTreeMap<usize, Tensor>>,
}

impl Gradient {
    /// Takes out the gradient of the tensor that begins at `start`, `[n, m]` as the matrix is, or `[n]` for a scale.
    pub fn take(&self, start: usize) -> Option<Tensor> {
        self.tensors.borrow_mut().remove(&start)
    }

    /// Whether every element is a number and finite.
    ///
    /// # Errors
    /// If the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        let mut total: Option<Tensor> = None;
        for tensor in self.tensors.borrow().values() {
            // Of a number that is finite it is 0, of others no number: no sum of them can overflow.
            let nothing = tensor.affine(0.0, 0.0)?.sum_all()?;
            total = Some(match total {
                None => nothing,
                Some(total) => (total + nothing)?,
            });
        }
        Ok(total.map_or(Ok(0.0), |total| total.to_scalar::<f32>())? == 0.0)
    }

    fn add(&self, place: &Place, d: Tensor) -> Result<()> {
        let mut tensors = self.tensors.borrow_mut();
        let sum = match tensors.remove(&place.start) {
            None => d,
            Some(sum) => (sum + d)?,
        };
        tensors.insert(place.start, sum);
        Ok(())
    }

    /// Of the matrix that made `y`, `[n, outputs]`, of `x`, `[n, inputs]`: `d_yᵀ · x`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn linear(&self, place: &Place, d_y: &Tensor, x: &Tensor) -> Result<()> {
        self.add(place, d_y.t()?.matmul(x)?)
    }

    /// Of the scale, `[E]`, of a norm with the input `x`, `[n, E]`: the sum of the rows of `d_y ∘ x / sqrt(mean(x²) +
    /// epsilon)`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn norm(&self, place: &Place, d_y: &Tensor, x: &Tensor, epsilon: f32) -> Result<()> {
        let ones = Tensor::ones(place.len(), x.dtype(), x.device())?;
        self.add(place, sum_of_rows(&(d_y * fused::rms_norm(x, &ones, epsilon)?)?)?)
    }

    /// Of the rows of the embedding, `[V, E]`, that are `named`: an id, and the row of `d_x` that is the gradient of its row.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn rows(
        &self,
        place: &Place,
        d_x: &Tensor,
        named: impl Iterator<Item = (u32, usize)>,
        vocab: usize,
    ) -> Result<()> {
        let named: Vec<(usize, usize)> = named.map(|(id, row)| (id as usize, row)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let (starts, rows) = grouped(named, vocab, d_x.device())?;
        self.add(place, fused::sum_rows(d_x, &starts, &rows)?)
    }

    /// Of a table of position biases, `[buckets, H]`, from the gradient of attention scores, `[B, H, L, L]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn bias(&self, table: &Place, d_scores: &Tensor, dims: &Dims, causal: bool) -> Result<()> {
        let (batch, heads, length, _) = d_scores.dims4()?;
        let d = sum_of_rows(&d_scores.reshape((batch, heads * length * length))?)?;
        let by_offset = sums_of_diagonals(&d.reshape((heads, length, length))?)?;
        let offsets = offset_buckets(dims.buckets, length, causal, dims.max_distance);
        let named = offsets.enumerate().map(|(offset, bucket)| (bucket, offset)).collect();
        let (starts, offsets) = grouped(named, dims.buckets, d_scores.device())?;
        self.add(table, fused::sum_rows(&by_offset.t()?.contiguous()?, &starts, &offsets)?)
    }
}

/// For [`fused::sum_rows`]: the rows of each of `groups`, given a group and a row at a time.
fn grouped(mut named: Vec<(usize, usize)>, groups: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    // Rows of a group stay in their order.
    named.sort_by_key(|(group, _)| *group);
    let starts = (0..=groups).map(|group| named.partition_point(|(other, _)| *other < group));
    Ok((ids(starts, device)?, ids(named.iter().map(|(_, row)| *row), device)?))
}

/// The sum of the rows of `x`, `[n, W]`, as a product: that reads whole rows, where a reduction would jump from row to row.
fn sum_of_rows(x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    Ok(ones.matmul(x)?.squeeze(0)?)
}

/// Sums over `j - i` of `x`, `[H, L, L]` with `i` and `j` in this order, from `1 - L` to `L - 1`: `[H, 2L - 1]`.
fn sums_of_diagonals(x: &Tensor) -> Result<Tensor> {
    let (heads, length, _) = x.dims3()?;
    // Rows from the last to the first, `L` zeros behind each. Read as rows that are one shorter, the first row stays and
    // every further one moves one place to the right: then a diagonal is a column.
    let rows = x.flip(&[1])?.pad_with_zeros(2, 0, length)?.flatten_from(1)?;
    let skewed = rows.narrow(1, 0, length * (2 * length - 1))?.contiguous()?;
    Ok(skewed.reshape((heads, length, 2 * length - 1))?.sum(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagonals_are_summed_by_their_offset() {
        for length in [1, 2, 5] {
            let value = |head: usize, i: usize, j: usize| (100 * head + 10 * i + j * j) as f32;
            let mut values = Vec::new();
            let mut expected = vec![vec![0.0; 2 * length - 1]; 2];
            for (head, expected) in expected.iter_mut().enumerate() {
                for (i, j) in (0..length).flat_map(|i| (0..length).map(move |j| (i, j))) {
                    values.push(value(head, i, j));
                    expected[j + length - 1 - i] += value(head, i, j);
                }
            }
            let x = Tensor::from_vec(values, (2, length, length), &Device::Cpu).unwrap();
            assert_eq!(sums_of_diagonals(&x).unwrap().to_vec2::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn a_number_that_is_none_is_seen() {
        let with = |values: &[f32]| {
            let gradient = Gradient::default();
            gradient.add(&(0..2), Tensor::new(&[f32::MAX, f32::MAX], &Device::Cpu).unwrap()).unwrap();
            gradient.add(&(2..4), Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
            gradient.is_finite().unwrap()
        };
        assert!(with(&[1.0, -0.0]));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!with(&[1.0, wrong]), "{wrong}");
        }
    }
}
