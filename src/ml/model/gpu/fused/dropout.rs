//! Dropout of tensors, with the masks of [`Dropout`], which a device hashes by itself.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use crate::ml::model::cpu::kernels::Key;
use crate::ml::model::{Dropout, Sharing};
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// The dropout of a batch, with its keys on a device.
pub(crate) struct Masks {
    rate: f32,
    sharing: Sharing,
    /// `[B, 2]`: the halves of the key of each example.
    keys: Tensor,
}

impl Masks {
    /// Copies the keys to `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(dropout: &Dropout, device: &Device) -> Result<Self> {
        let halves: Vec<u32> = dropout.keys.iter().flat_map(|key| key.halves()).collect();
        let keys = Tensor::from_vec(halves, (dropout.keys.len(), 2), device)?;
        Ok(Self { rate: dropout.rate, sharing: dropout.sharing, keys })
    }

    /// `mask ∘ x`, `[n, W]`. `places`, `[n, 2]`: the example and the row in it that each row is.
    ///
    /// # Errors
    /// If a tensor has another shape or type, or the device fails.
    pub(crate) fn rows(&self, x: &Tensor, places: &Tensor, site: u32) -> Result<Tensor> {
        run(&DropRows(Law::new(self, site)), &[x, &self.keys, places])
    }

    /// `mask ∘ p`, `[B, H, Q, K]`. `queries`, `[B]`: those of each example; what is beyond them becomes 0.
    ///
    /// # Errors
    /// If a tensor has another shape or type, or the device fails.
    pub(crate) fn probabilities(&self, p: &Tensor, queries: &Tensor, site: u32) -> Result<Tensor> {
        run(&DropProbabilities(Law::new(self, site)), &[p, &self.keys, queries])
    }
}

/// What a mask depends on beside the key and the row.
#[derive(Clone, Copy)]
pub(super) struct Law {
    pub(super) rate: f32,
    pub(super) sharing: Sharing,
    pub(super) site: u32,
}

pub(super) struct DropRows(pub(super) Law);

pub(super) struct DropProbabilities(pub(super) Law);

impl Law {
    fn new(masks: &Masks, site: u32) -> Self {
        Self { rate: masks.rate, sharing: masks.sharing, site }
    }

    fn dropout(self, keys: &[u32]) -> Dropout {
        let keys = keys.chunks_exact(2).map(|halves| Key::of_halves([halves[0], halves[1]])).collect();
        Dropout { rate: self.rate, sharing: self.sharing, keys }
    }

    fn shared(self) -> bool {
        self.sharing == Sharing::Sequence
    }

    /// Adds the law to the arguments.
    fn numbers(self, launch: Launch) -> Launch {
        let (threshold, kept) = self.dropout(&[]).law();
        launch.int(self.site).int(u32::from(self.shared())).int(threshold).float(kept)
    }
}

impl Operation for DropRows {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "drop_rows";
        let [rows, width] = operands[0].floats(kernel)?;
        let [examples, two] = operands[1].ids(kernel)?;
        let fits = two == 2 && operands[2].ids(kernel)? == [rows, 2];
        require(kernel, fits, "keys or places that do not fit the rows")?;
        let launch = Launch::by_warps(kernel, rows, operands[0].dtype, operands[0].dims);
        Ok(self.0.numbers(launch.sizes(&[rows, width, examples])?))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (dropout, places) = (self.0.dropout(operands[1].ids()), operands[2].ids());
        let (mut x, width) = (operands[0].floats().to_vec(), out.dims[1]);
        x.par_chunks_exact_mut(width).zip(places.par_chunks_exact(2)).for_each_init(
            || vec![0.0; width],
            |mask, (x, place)| {
                let row = if self.0.shared() { 0 } else { place[1] };
                dropout.fill(mask, place[0] as usize, self.0.site, row as usize);
                x.iter_mut().zip(mask).for_each(|(x, m)| *x *= *m);
            },
        );
        Output::Floats(x)
    }
}

impl Operation for DropProbabilities {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "drop_probabilities";
        let [batch, heads, queries, keys] = operands[0].floats(kernel)?;
        let fits = operands[1].ids(kernel)? == [batch, 2] && operands[2].ids(kernel)? == [batch];
        require(kernel, fits, "keys or lengths that do not fit the probabilities")?;
        let launch = Launch::by_warps(kernel, batch * heads * queries, operands[0].dtype, operands[0].dims);
        Ok(self.0.numbers(launch.sizes(&[batch, heads, queries, keys])?))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (dropout, lengths) = (self.0.dropout(operands[1].ids()), operands[2].ids());
        let &[_, heads, queries, keys] = &out.dims[..] else { panic!("four sizes") };
        let mut p = operands[0].floats().to_vec();
        p.par_chunks_exact_mut(keys).enumerate().for_each_init(
            || vec![0.0; keys],
            |mask, (row, p)| {
                let (example, head, query) = (row / (heads * queries), row / queries % heads, row % queries);
                let own = lengths[example] as usize;
                if query >= own {
                    return p.fill(0.0);
                }
                let row = if self.0.shared() { head } else { head * own + query };
                dropout.fill(mask, example, self.0.site, row);
                p.iter_mut().zip(mask).for_each(|(p, m)| *p *= *m);
            },
        );
        Output::Floats(p)
    }
}
