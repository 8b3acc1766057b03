//! The operations of a stack on tensors of a device. A slot is empty until something is written to it, and when it is released.

use super::fused::{self, Masks, Visible};
use super::{Gradient, Parameters, Rows, Selection, Side};
use crate::ml::error::{Error, Result};
use crate::ml::model::Dims;
use crate::ml::model::layout::Place;
use crate::ml::model::site::Site;
use crate::ml::model::stack::{Input, Linear, Operations, Part, Seen, Slots};
use candle_core::Tensor;

/// Slots with a tensor or none.
#[derive(Default)]
pub(super) struct Tensors;

pub(super) type Slot = Option<Tensor>;

impl Slots for Tensors {
    type Rows = Slot;
    type Saved = Slot;
    /// `[B, H, Q, K]`.
    type Probabilities = Slot;
}

/// What is in a slot.
pub(super) fn held(slot: &Slot) -> &Tensor {
    slot.as_ref().expect("a slot is written before it is read")
}

/// What the decoder's cross-attentions look at.
pub(super) enum Memory {
    /// Keys and values of all layers, `[N, 2I·layers]`.
    Projected(Tensor),
    /// The encoder's rows themselves, `[B, L, E]`: queries are projected to them instead, as `absorbed.rs` among the
    /// kernels does it. For short targets that is less work.
    Absorbed(Tensor),
}

/// A stack at work on one batch.
pub(super) struct Context<'a> {
    dims: &'a Dims,
    parameters: &'a Parameters,
    side: &'a Side<'a>,
    /// Where the weights of all cross-attention keys and values are.
    cross: &'a Place,
    masks: Option<&'a Masks>,
    /// The example and the row in it of each row, `[n, 2]`.
    places: &'a Tensor,
    /// Where gradients of weights go, if they learn.
    pub(super) weights: Option<&'a Gradient>,
    /// What a decoder looks at.
    pub(super) memory: Option<&'a Memory>,
    /// What makes the gradient of that, of each layer, last to first: of projected memory the gradient of the layer's keys and
    /// values, `[N, 2I]`; of absorbed memory two factors, `[B, 2H·Q, L]` and `[B, 2H·Q, E]`, whose product over the middle it
    /// is.
    seen: Vec<(Tensor, Slot)>,
    /// Rows of the input that need a gradient, if it is not all.
    pub(super) selection: Option<&'a Selection>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        dims: &'a Dims,
        parameters: &'a Parameters,
        cross: &'a Place,
        side: &'a Side<'a>,
        masks: Option<&'a Masks>,
    ) -> Self {
        let places = &side.rows.on_device.places;
        let seen = Vec::new();
        Self { dims, parameters, side, cross, masks, places, weights: None, memory: None, seen, selection: None }
    }

    /// After the decoder's backward pass the gradient of the encoder's output, `[N, E]`. `read` is that output, if weights
    /// learn.
    pub(super) fn memory_gradient(mut self, read: Option<&Tensor>) -> Result<Tensor> {
        self.seen.reverse();
        let (first, second): (Vec<Tensor>, Vec<Slot>) = std::mem::take(&mut self.seen).into_iter().unzip();
        let first = Tensor::cat(&first, 1)?.contiguous()?;
        if let Some((weights, read)) = self.weights.zip(read) {
            weights.linear(self.cross, &first, read)?;
        }
        match self.memory() {
            Memory::Projected(_) => self.parameters.linear_backward(&first, self.cross),
            Memory::Absorbed(_) => {
                let second: Vec<Tensor> = second.into_iter().flatten().collect();
                let d_rows = first.t()?.matmul(&Tensor::cat(&second, 1)?.contiguous()?)?;
                Ok(fused::merge_heads(&[&d_rows.unsqueeze(1)?], &self.memory_rows().on_device.places)?)
            }
        }
    }

    fn decoder(&self) -> bool {
        self.side.memory.is_some()
    }

    fn drop_probabilities(&self, p: &Tensor, site: Site) -> Result<Tensor> {
        match self.masks {
            None => Ok(p.clone()),
            Some(masks) => {
                Ok(masks.probabilities(p, &self.side.rows.on_device.lengths, site.number(self.decoder()))?)
            }
        }
    }

    /// One third of joined queries, keys and values, as heads.
    fn heads(&self, x: &Tensor, part: usize, rows: &Rows) -> Result<Tensor> {
        let Dims { heads, head_width, .. } = *self.dims;
        let column = part * self.dims.inner();
        Ok(fused::split_heads(x, &rows.on_device.starts, column, (heads, head_width), rows.longest)?)
    }

    /// Keys and values of what is looked at.
    fn keys_values(&self, part: Part<'_>, projected: &Tensor) -> Result<(Tensor, Tensor)> {
        let (x, first, rows) = match self.memory {
            Some(Memory::Projected(cross)) if part.crosses => (cross, 2 * part.layer, self.memory_rows()),
            _ => (projected, 1, self.side.rows),
        };
        Ok((self.heads(x, first, rows)?, self.heads(x, first + 1, rows)?))
    }

    /// The rows of absorbed memory, if that is what is looked at.
    fn absorbed(&self, part: Part<'_>) -> Option<&'a Tensor> {
        match self.memory {
            Some(Memory::Absorbed(rows)) if part.crosses => Some(rows),
            _ => None,
        }
    }

    fn memory(&self) -> &'a Memory {
        self.memory.expect("what has cross-attentions has a memory")
    }

    fn memory_rows(&self) -> &Rows {
        self.side.memory.expect("only decoders have cross-attentions")
    }

    fn visible(&self, part: Part<'_>) -> Visible<'_> {
        if part.crosses {
            return Visible { keys: &self.memory_rows().on_device.lengths, bias: None, position: 0, causal: false };
        }
        let bias = &self.side.biases[self.side.stack.bias_of(part.layer)];
        let lengths = &self.side.rows.on_device.lengths;
        Visible { keys: lengths, bias: Some(bias), position: 0, causal: self.decoder() }
    }
}

impl Operations for Context<'_> {
    type Error = Error;
    type Slots = Tensors;

    const STAYS: bool = false;

    fn release<S: Default>(&self, slot: &mut S) {
        *slot = S::default();
    }

    fn copy(&self, out: &mut Slot, x: &Slot) {
        out.clone_from(x);
    }

    fn zeros(&self, out: &mut Slot, like: &Slot) -> Result<()> {
        *out = Some(held(like).zeros_like()?);
        Ok(())
    }

    fn drop_rows(&self, x: &mut Slot, site: Site) -> Result<()> {
        if let Some(masks) = self.masks {
            *x = Some(masks.rows(held(x), self.places, site.number(self.decoder()))?);
        }
        Ok(())
    }

    fn norm(&self, out: &mut Slot, input: &mut Input<Tensors>, scale: &Place) -> Result<()> {
        *out = Some(fused::rms_norm(held(&input.x), self.parameters.at(scale), self.dims.epsilon)?);
        Ok(())
    }

    fn norm_backward(&mut self, d_x: &mut Slot, d_out: &Slot, input: &Input<Tensors>, scale: &Place) -> Result<()> {
        let (d_out, x) = (held(d_out), held(&input.x));
        if let Some(weights) = self.weights {
            weights.norm(scale, d_out, x, self.dims.epsilon)?;
        }
        *d_x = Some(fused::rms_norm_backward(held(d_x), d_out, x, self.parameters.at(scale), self.dims.epsilon)?);
        Ok(())
    }

    fn residual(&self, x: &mut Slot, branch: &Slot, weight: Linear<'_>, site: Site, summand: &mut Slot) -> Result<()> {
        *summand = Some(self.parameters.linear(held(branch), weight.place)?);
        self.drop_rows(summand, site)?;
        *x = Some((held(x) + held(summand))?);
        Ok(())
    }

    fn linear_backward(&self, d_x: &mut Slot, d_out: &Slot, weight: Linear<'_>) -> Result<()> {
        *d_x = Some(self.parameters.linear_backward(held(d_out), weight.place)?);
        Ok(())
    }

    fn learn(&mut self, weight: Linear<'_>, d_out: &Slot, x: &Slot) -> Result<()> {
        self.weights.map_or(Ok(()), |weights| weights.linear(weight.place, held(d_out), held(x)))
    }

    fn attend(
        &mut self,
        part: Part<'_>,
        heads: &mut Slot,
        seen: &mut Seen<Tensors>,
        normed: &mut Slot,
        _spare: &mut Slot,
    ) -> Result<()> {
        let projected = self.parameters.linear(held(normed), part.projection.place)?;
        self.release(normed);
        let q = self.heads(&projected, 0, self.side.rows)?;
        let (found, p) = if let Some(rows) = self.absorbed(part) {
            self.attend_absorbed(part, &q, rows)?
        } else {
            let (k, v) = self.keys_values(part, &projected)?;
            let p = fused::softmax(&q.matmul(&k.t()?)?, self.visible(part))?;
            (self.drop_probabilities(&p, part.site())?.matmul(&v)?, p)
        };
        *heads = Some(fused::merge_heads(&[&found], self.places)?);
        (seen.projected, seen.probabilities) = (Some(projected), Some(p));
        Ok(())
    }

    fn attend_backward(
        &mut self,
        part: Part<'_>,
        d_projected: &mut Slot,
        d_heads: &Slot,
        seen: &mut Seen<Tensors>,
    ) -> Result<()> {
        let (projected, d_heads, p) = (held(&seen.projected), held(d_heads), held(&seen.probabilities));
        let q = self.heads(projected, 0, self.side.rows)?;
        let parts = if let Some(rows) = self.absorbed(part) {
            let (d_q, (left, right)) = self.attend_absorbed_backward(part, d_heads, &q, rows, p)?;
            self.seen.push((left, Some(right)));
            vec![d_q]
        } else {
            let (k, v) = self.keys_values(part, projected)?;
            let ([d_q, d_k, d_v], d_scores) = self.heads_backward(part, d_heads, (&q, &k, &v), p)?;
            if part.crosses {
                let d_keys_values = fused::merge_heads(&[&d_k, &d_v], &self.memory_rows().on_device.places)?;
                self.seen.push((d_keys_values, None));
                vec![d_q]
            } else {
                self.learn_bias(part, &d_scores)?;
                vec![d_q, d_k, d_v]
            }
        };
        *d_projected = Some(fused::merge_heads(&parts.iter().collect::<Vec<_>>(), self.places)?);
        Ok(())
    }

    fn select(&mut self, d_x: &mut Slot, input: &mut Input<Tensors>) -> Result<()> {
        let selection = self.selection.expect("who wants some rows says which");
        *d_x = Some(held(d_x).index_select(&selection.rows, 0)?);
        input.x = Some(held(&input.x).index_select(&selection.rows, 0)?);
        self.places = &selection.places;
        Ok(())
    }

    fn feed(&mut self, activated: &mut Slot, inner: &mut Slot, normed: &mut Slot, weight: Linear<'_>) -> Result<()> {
        *inner = Some(self.parameters.linear(held(normed), weight.place)?);
        self.release(normed);
        self.activate(activated, inner)
    }

    fn activate(&mut self, activated: &mut Slot, inner: &mut Slot) -> Result<()> {
        *activated = Some(fused::activate(self.dims.activation, held(inner))?);
        Ok(())
    }

    fn feed_backward(
        &mut self,
        d_normed: &mut Slot,
        d_activated: &Slot,
        inner: &mut Slot,
        normed: &mut Slot,
        weight: Linear<'_>,
    ) -> Result<()> {
        *inner = Some(fused::activate_backward(self.dims.activation, held(inner), held(d_activated))?);
        if self.weights.is_some() {
            self.learn(weight, inner, normed)?;
        }
        self.release(normed);
        self.linear_backward(d_normed, inner, weight)
    }
}

impl Context<'_> {
    /// Gradients of queries, keys and values, and of scores, given that of the rows that attention handed on, `[n, I]`.
    fn heads_backward(
        &self,
        part: Part<'_>,
        d_heads: &Tensor,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        p: &Tensor,
    ) -> Result<([Tensor; 3], Tensor)> {
        let d_heads = self.heads(d_heads, 0, self.side.rows)?;
        let d_v = self.drop_probabilities(p, part.site())?.t()?.matmul(&d_heads)?;
        let d_p = self.drop_probabilities(&d_heads.matmul(&v.t()?)?, part.site())?;
        let d_scores = fused::softmax_backward(p, &d_p)?;
        Ok(([d_scores.matmul(k)?, d_scores.t()?.matmul(q)?, d_v], d_scores))
    }

    fn learn_bias(&self, part: Part<'_>, d_scores: &Tensor) -> Result<()> {
        let stack = self.side.stack;
        let table = &stack.biases[stack.bias_of(part.layer)];
        self.weights.map_or(Ok(()), |weights| weights.bias(table, d_scores, self.dims, self.decoder()))
    }
}

/// Cross-attention without keys and values: `q·(W·m) = (q·W)·m` for each row `m` of the memory, and likewise for values.
impl Context<'_> {
    /// The weights of the keys (`part` 0) or values (1) of a layer, `[H, D, E]`.
    fn cross_weight(&self, index: usize, part: usize) -> Result<Tensor> {
        let Dims { heads, head_width, width, .. } = *self.dims;
        let inner = heads * head_width;
        let weight = self.parameters.at(self.cross).narrow(0, (2 * index + part) * inner, inner)?;
        Ok(weight.reshape((heads, head_width, width))?)
    }

    /// `[B, H·Q, E]` from heads, `[B, H, Q, D]`: each times its weights.
    fn absorb(&self, heads: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (batch, count, queries, head_width) = heads.dims4()?;
        let rows = heads.transpose(0, 1)?.contiguous()?.reshape((count, batch * queries, head_width))?;
        let rows = rows.matmul(weight)?.reshape((count, batch, queries, self.dims.width))?;
        Ok(rows.transpose(0, 1)?.contiguous()?.reshape((batch, count * queries, self.dims.width))?)
    }

    /// Heads, `[B, H, Q, D]`, from `[B, H·Q, E]`: each times its weights, transposed.
    fn unabsorb(&self, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let Dims { heads, head_width, width, .. } = *self.dims;
        let (batch, queries) = (rows.dim(0)?, rows.dim(1)? / heads);
        let rows = rows.reshape((batch, heads, queries, width))?.transpose(0, 1)?.contiguous()?;
        let rows = rows.reshape((heads, batch * queries, width))?.matmul(&weight.t()?)?;
        Ok(rows.reshape((heads, batch, queries, head_width))?.transpose(0, 1)?.contiguous()?)
    }

    /// Scores of absorbed queries as [`fused::softmax`] takes them, `[B, H, Q, L]`.
    fn by_heads(&self, scores: &Tensor) -> Result<Tensor> {
        let (batch, rows, keys) = scores.dims3()?;
        Ok(scores.reshape((batch, self.dims.heads, rows / self.dims.heads, keys))?)
    }

    /// What the heads find, `[B, H, Q, D]`, and the probabilities.
    fn attend_absorbed(&self, part: Part<'_>, q: &Tensor, rows: &Tensor) -> Result<(Tensor, Tensor)> {
        let absorbed = self.absorb(q, &self.cross_weight(part.layer, 0)?)?;
        let p = fused::softmax(&self.by_heads(&absorbed.matmul(&rows.t()?)?)?, self.visible(part))?;
        let masked = self.drop_probabilities(&p, part.site())?.flatten(1, 2)?;
        Ok((self.unabsorb(&masked.matmul(rows)?, &self.cross_weight(part.layer, 1)?)?, p))
    }

    /// The gradient of the queries, and the factors of that of the rows.
    fn attend_absorbed_backward(
        &self,
        part: Part<'_>,
        d_heads: &Tensor,
        q: &Tensor,
        rows: &Tensor,
        p: &Tensor,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let (keys, values) = (self.cross_weight(part.layer, 0)?, self.cross_weight(part.layer, 1)?);
        let d_mixed = self.absorb(&self.heads(d_heads, 0, self.side.rows)?, &values)?;
        let d_p = self.drop_probabilities(&self.by_heads(&d_mixed.matmul(&rows.t()?)?)?, part.site())?;
        let d_scores = fused::softmax_backward(p, &d_p)?.flatten(1, 2)?;
        let d_q = self.unabsorb(&d_scores.matmul(rows)?, &keys)?;
        let masked = self.drop_probabilities(p, part.site())?.flatten(1, 2)?;
        let left = Tensor::cat(&[masked, d_scores], 1)?;
        let right = Tensor::cat(&[d_mixed, self.absorb(q, &keys)?], 1)?;
        Ok((d_q, (left, right)))
    }
}
