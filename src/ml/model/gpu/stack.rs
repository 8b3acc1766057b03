//! The layers of an encoder or a decoder on a device, forward and backward.

use super::fused::{self, Masks, Visible};
use super::{Gradient, Parameters, Rows, Side, Wanted};
use crate::ml::error::Result;
use crate::ml::model::Dims;
use crate::ml::model::cpu::kernels::Activation;
use crate::ml::model::layout::{CrossAttention, FeedForward, Layer, Place, SelfAttention};
use crate::ml::model::site::Site;
use candle_core::Tensor;

/// What a forward pass leaves for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: there will be none.
    Nothing,
    /// The input of each layer; the rest is computed again, layer by layer.
    Inputs,
    /// All activations.
    Everything,
}

/// What the decoder's cross-attentions look at.
pub(super) enum Memory {
    /// Keys and values of all layers, `[N, 2I·layers]`.
    Projected(Tensor),
    /// The encoder's rows themselves, `[B, L, E]`: queries are projected to them instead, as `absorbed.rs` among the
    /// kernels does it. For short targets that is less work.
    Absorbed(Tensor),
}

/// What a stack keeps for its backward pass.
pub(super) struct Tape {
    layers: Vec<Kept>,
    /// Input of the last norm.
    x: Tensor,
}

enum Kept {
    Input(Tensor),
    Everything(LayerTape),
}

struct LayerTape {
    attention: AttentionTape,
    cross: Option<AttentionTape>,
    ff: FeedForwardTape,
}

struct AttentionTape {
    /// Input of the norm.
    x: Tensor,
    /// Query, key and value, `[n, 3I]`; of cross-attention the query alone, `[n, I]`.
    projected: Tensor,
    /// `[B, H, Q, K]`.
    probabilities: Tensor,
    /// Output of the heads, `[n, I]`; only the gradients of weights need it.
    heads: Option<Tensor>,
}

struct FeedForwardTape {
    x: Tensor,
    inner: Tensor,
}

/// A stack at work on one batch.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) dims: &'a Dims,
    pub(super) parameters: &'a Parameters,
    pub(super) side: &'a Side<'a>,
    /// Where the weights of all cross-attention keys and values are.
    pub(super) cross: &'a Place,
    pub(super) masks: Option<&'a Masks>,
    pub(super) keep: Keep,
    /// Where gradients of weights go, if they learn.
    pub(super) weights: Option<&'a Gradient>,
}

/// Runs the stack on `x`, `[n, E]`. A decoder looks at `memory`.
pub(super) fn forward(context: Context<'_>, x: Tensor, memory: Option<&Memory>) -> Result<(Tensor, Tape)> {
    let mut x = context.drop_rows(x, Site::Embedding)?;
    let mut layers = Vec::new();
    for (index, layer) in context.side.stack.layers.iter().enumerate() {
        let input = x.clone();
        let (out, tape) = layer_forward(context, index, layer, x, memory)?;
        x = out;
        match context.keep {
            Keep::Nothing => {}
            Keep::Inputs => layers.push(Kept::Input(input)),
            Keep::Everything => layers.push(Kept::Everything(tape)),
        }
    }
    let out = fused::rms_norm(&x, context.parameters.at(&context.side.stack.norm), context.dims.epsilon)?;
    Ok((context.drop_rows(out, Site::Last)?, Tape { layers, x }))
}

fn layer_forward(
    context: Context<'_>,
    index: usize,
    layer: &Layer,
    x: Tensor,
    memory: Option<&Memory>,
) -> Result<(Tensor, LayerTape)> {
    let (x, attention) = attention_forward(context, index, &layer.attention, x)?;
    let (x, cross) = match layer.cross.as_ref().zip(memory) {
        None => (x, None),
        Some((part, memory)) => {
            let (x, tape) = cross_forward(context, index, part, x, memory)?;
            (x, Some(tape))
        }
    };
    let (x, ff) = ff_forward(context, index, &layer.ff, x)?;
    Ok((x, LayerTape { attention, cross, ff }))
}

/// The encoder's backward pass: the gradient of its input, of all rows or of those that are `wanted`.
pub(super) fn backward(context: Context<'_>, d_out: Tensor, tape: Tape, wanted: Option<&Wanted>) -> Result<Tensor> {
    let mut layers = tape.layers;
    let mut d_x = context.last_backward(d_out, &tape.x)?;
    for (index, layer) in context.side.stack.layers.iter().enumerate().rev() {
        let tape = context.activations(layers.pop(), index, layer, None)?;
        d_x = ff_backward(context, index, &layer.ff, &d_x, &tape.ff)?;
        let rows = if index == 0 { wanted } else { None };
        d_x = attention_backward(context, index, &layer.attention, &d_x, &tape.attention, rows)?;
    }
    match (context.masks, wanted) {
        (Some(masks), Some(wanted)) => Ok(masks.rows(&d_x, &wanted.places, Site::Embedding.number(false))?),
        _ => context.drop_rows(d_x, Site::Embedding),
    }
}

/// The decoder's backward pass: the gradient of the encoder's output, `[N, E]`, and if the weights learn, that of the decoder's
/// own input. `read` is the encoder's output.
pub(super) fn decoder_backward(
    context: Context<'_>,
    d_out: Tensor,
    tape: Tape,
    memory: &Memory,
    read: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    let learns = context.weights.is_some();
    let mut layers = tape.layers;
    let mut d_x = context.last_backward(d_out, &tape.x)?;
    let mut seen = Vec::new();
    for (index, layer) in context.side.stack.layers.iter().enumerate().rev() {
        let tape = context.activations(layers.pop(), index, layer, Some(memory))?;
        d_x = ff_backward(context, index, &layer.ff, &d_x, &tape.ff)?;
        let (part, of_part) = layer.cross.as_ref().zip(tape.cross.as_ref()).expect("layers of a decoder have both");
        let (next, of_layer) = cross_backward(context, index, part, &d_x, of_part, memory)?;
        seen.push(of_layer);
        d_x = next;
        if index > 0 || learns {
            d_x = attention_backward(context, index, &layer.attention, &d_x, &tape.attention, None)?;
        }
    }
    seen.reverse();
    let (first, second): (Vec<Tensor>, Vec<Option<Tensor>>) = seen.into_iter().unzip();
    let first = Tensor::cat(&first, 1)?.contiguous()?;
    if let Some((weights, read)) = context.weights.zip(read) {
        weights.linear(context.cross, &first, read)?;
    }
    let d_memory = match memory {
        Memory::Projected(_) => context.parameters.linear_backward(&first, context.cross)?,
        Memory::Absorbed(_) => {
            let second: Vec<Tensor> = second.into_iter().flatten().collect();
            let d_rows = first.t()?.matmul(&Tensor::cat(&second, 1)?.contiguous()?)?;
            fused::merge_heads(&[&d_rows.unsqueeze(1)?], &context.memory_rows().on_device.places)?
        }
    };
    let d_y = if learns { Some(context.drop_rows(d_x, Site::Embedding)?) } else { None };
    Ok((d_memory, d_y))
}

impl Context<'_> {
    fn decoder(&self) -> bool {
        self.side.memory.is_some()
    }

    fn drop_rows(&self, x: Tensor, site: Site) -> Result<Tensor> {
        match self.masks {
            None => Ok(x),
            Some(masks) => Ok(masks.rows(&x, &self.side.rows.on_device.places, site.number(self.decoder()))?),
        }
    }

    fn drop_probabilities(&self, p: &Tensor, site: Site) -> Result<Tensor> {
        match self.masks {
            None => Ok(p.clone()),
            Some(masks) => {
                Ok(masks.probabilities(p, &self.side.rows.on_device.lengths, site.number(self.decoder()))?)
            }
        }
    }

    /// The gradient of the input of the last norm.
    fn last_backward(&self, d_out: Tensor, x: &Tensor) -> Result<Tensor> {
        let d_out = self.drop_rows(d_out, Site::Last)?;
        self.norm_backward(&d_out.zeros_like()?, &d_out, x, &self.side.stack.norm)
    }

    /// What a layer's forward pass kept, or keeps if it is run once more.
    fn activations(
        &self,
        kept: Option<Kept>,
        index: usize,
        layer: &Layer,
        memory: Option<&Memory>,
    ) -> Result<LayerTape> {
        match kept.expect("a forward pass that keeps something keeps it of every layer") {
            Kept::Everything(tape) => Ok(tape),
            Kept::Input(x) => Ok(layer_forward(*self, index, layer, x, memory)?.1),
        }
    }

    /// `x + dropout(branch · weightᵀ)`.
    fn residual(&self, x: &Tensor, branch: &Tensor, weight: &Place, site: Site) -> Result<Tensor> {
        let out = self.drop_rows(self.parameters.linear(branch, weight)?, site)?;
        Ok((x + out)?)
    }

    fn norm(&self, x: &Tensor, place: &Place) -> Result<Tensor> {
        Ok(fused::rms_norm(x, self.parameters.at(place), self.dims.epsilon)?)
    }

    /// Adds the gradient that came through the norm before a sublayer.
    fn norm_backward(&self, d_x: &Tensor, d_normed: &Tensor, x: &Tensor, place: &Place) -> Result<Tensor> {
        if let Some(weights) = self.weights {
            weights.norm(place, d_normed, x, self.dims.epsilon)?;
        }
        Ok(fused::rms_norm_backward(d_x, d_normed, x, self.parameters.at(place), self.dims.epsilon)?)
    }

    /// The gradient of the output of the heads from that of what the residual branch adds.
    fn out_backward(&self, d_branch: &Tensor, tape: &AttentionTape, out: &Place) -> Result<Tensor> {
        if let Some((weights, heads)) = self.weights.zip(tape.heads.as_ref()) {
            weights.linear(out, d_branch, heads)?;
        }
        self.parameters.linear_backward(d_branch, out)
    }

    /// The gradient of a sublayer's normed input from that of what the matrix at `place` made of it. `x` is the input of the
    /// norm.
    fn in_backward(&self, d_y: &Tensor, x: &Tensor, norm: &Place, place: &Place) -> Result<Tensor> {
        if let Some(weights) = self.weights {
            weights.linear(place, d_y, &self.norm(x, norm)?)?;
        }
        self.parameters.linear_backward(d_y, place)
    }

    /// One third of joined queries, keys and values, as heads.
    fn heads(&self, x: &Tensor, part: usize, rows: &Rows) -> Result<Tensor> {
        let Dims { heads, head_width, .. } = *self.dims;
        let column = part * self.dims.inner();
        Ok(fused::split_heads(x, &rows.on_device.starts, column, (heads, head_width), rows.longest)?)
    }

    /// Keys and values of a cross-attention.
    fn keys_values(&self, cross: &Tensor, index: usize) -> Result<(Tensor, Tensor)> {
        let rows = self.memory_rows();
        Ok((self.heads(cross, 2 * index, rows)?, self.heads(cross, 2 * index + 1, rows)?))
    }

    fn memory_rows(&self) -> &Rows {
        self.side.memory.expect("only decoders have cross-attentions")
    }

    fn self_visible(&self, index: usize) -> Visible<'_> {
        let lengths = &self.side.rows.on_device.lengths;
        let bias = &self.side.biases[self.side.stack.bias_of(index)];
        Visible { keys: lengths, bias: Some(bias), position: 0, causal: self.decoder() }
    }

    fn cross_visible(&self) -> Visible<'_> {
        Visible { keys: &self.memory_rows().on_device.lengths, bias: None, position: 0, causal: false }
    }

    /// The rows that attention hands on, `[n, I]`, and the probabilities.
    fn attend(
        &self,
        q: &Tensor,
        (k, v): (&Tensor, &Tensor),
        visible: Visible<'_>,
        site: Site,
    ) -> Result<(Tensor, Tensor)> {
        let p = fused::softmax(&q.matmul(&k.t()?)?, visible)?;
        let heads = self.drop_probabilities(&p, site)?.matmul(v)?;
        Ok((fused::merge_heads(&[&heads], &self.side.rows.on_device.places)?, p))
    }

    /// Gradients of queries, keys and values, and of scores, given that of the rows that attention handed on.
    fn attend_backward(
        &self,
        d_heads: &Tensor,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        p: &Tensor,
        site: Site,
    ) -> Result<([Tensor; 3], Tensor)> {
        let d_heads = self.heads(d_heads, 0, self.side.rows)?;
        let d_values = self.drop_probabilities(p, site)?.t()?.matmul(&d_heads)?;
        let d_p = self.drop_probabilities(&d_heads.matmul(&v.t()?)?, site)?;
        let d_scores = fused::softmax_backward(p, &d_p)?;
        Ok(([d_scores.matmul(k)?, d_scores.t()?.matmul(q)?, d_values], d_scores))
    }

    fn activation(&self) -> Activation {
        self.dims.activation
    }

    /// The activated inner layer, dropped out.
    fn activated(&self, index: usize, inner: &Tensor) -> Result<Tensor> {
        self.drop_rows(fused::activate(self.activation(), inner)?, Site::Inner(index))
    }
}

fn attention_forward(
    context: Context<'_>,
    index: usize,
    part: &SelfAttention,
    x: Tensor,
) -> Result<(Tensor, AttentionTape)> {
    let qkv = context.parameters.linear(&context.norm(&x, &part.norm)?, &part.qkv)?;
    let rows = context.side.rows;
    let (q, k, v) = (context.heads(&qkv, 0, rows)?, context.heads(&qkv, 1, rows)?, context.heads(&qkv, 2, rows)?);
    let (heads, probabilities) = context.attend(&q, (&k, &v), context.self_visible(index), Site::Attention(index))?;
    let out = context.residual(&x, &heads, &part.out, Site::AttentionOut(index))?;
    let heads = context.weights.map(|_| heads);
    Ok((out, AttentionTape { x, projected: qkv, probabilities, heads }))
}

/// The gradient of a self-attention's input; only that of the rows that are `wanted`, if some are named.
fn attention_backward(
    context: Context<'_>,
    index: usize,
    part: &SelfAttention,
    d_x: &Tensor,
    tape: &AttentionTape,
    wanted: Option<&Wanted>,
) -> Result<Tensor> {
    let d_branch = context.drop_rows(d_x.clone(), Site::AttentionOut(index))?;
    let d_heads = context.out_backward(&d_branch, tape, &part.out)?;
    let rows = context.side.rows;
    let qkv = &tape.projected;
    let (q, k, v) = (context.heads(qkv, 0, rows)?, context.heads(qkv, 1, rows)?, context.heads(qkv, 2, rows)?);
    let ([d_q, d_k, d_v], d_scores) =
        context.attend_backward(&d_heads, (&q, &k, &v), &tape.probabilities, Site::Attention(index))?;
    if let Some(weights) = context.weights {
        let stack = context.side.stack;
        weights.bias(&stack.biases[stack.bias_of(index)], &d_scores, context.dims, context.decoder())?;
    }
    let places = wanted.map_or(&rows.on_device.places, |wanted| &wanted.places);
    let d_qkv = fused::merge_heads(&[&d_q, &d_k, &d_v], places)?;
    let (d_x, x) = match wanted {
        None => (d_x.clone(), tape.x.clone()),
        Some(Wanted { rows, .. }) => (d_x.index_select(rows, 0)?, tape.x.index_select(rows, 0)?),
    };
    let d_normed = context.in_backward(&d_qkv, &x, &part.norm, &part.qkv)?;
    context.norm_backward(&d_x, &d_normed, &x, &part.norm)
}

fn cross_forward(
    context: Context<'_>,
    index: usize,
    part: &CrossAttention,
    x: Tensor,
    memory: &Memory,
) -> Result<(Tensor, AttentionTape)> {
    let queries = context.parameters.linear(&context.norm(&x, &part.norm)?, &part.query)?;
    let q = context.heads(&queries, 0, context.side.rows)?;
    let (heads, probabilities) = match memory {
        Memory::Projected(cross) => {
            let (k, v) = context.keys_values(cross, index)?;
            context.attend(&q, (&k, &v), context.cross_visible(), Site::Cross(index))?
        }
        Memory::Absorbed(rows) => context.attend_absorbed(index, &q, rows)?,
    };
    let out = context.residual(&x, &heads, &part.out, Site::CrossOut(index))?;
    let heads = context.weights.map(|_| heads);
    Ok((out, AttentionTape { x, projected: queries, probabilities, heads }))
}

/// The gradient of a cross-attention's input, and what makes that of the memory: of projected memory the gradient of the
/// layer's keys and values, `[N, 2I]`; of absorbed memory two factors, `[B, 2H·Q, L]` and `[B, 2H·Q, E]`, whose product
/// over the middle it is.
fn cross_backward(
    context: Context<'_>,
    index: usize,
    part: &CrossAttention,
    d_x: &Tensor,
    tape: &AttentionTape,
    memory: &Memory,
) -> Result<(Tensor, (Tensor, Option<Tensor>))> {
    let d_branch = context.drop_rows(d_x.clone(), Site::CrossOut(index))?;
    let d_heads = context.out_backward(&d_branch, tape, &part.out)?;
    let rows = context.side.rows;
    let q = context.heads(&tape.projected, 0, rows)?;
    let (d_q, seen) = match memory {
        Memory::Projected(cross) => {
            let (k, v) = context.keys_values(cross, index)?;
            let ([d_q, d_k, d_v], _) =
                context.attend_backward(&d_heads, (&q, &k, &v), &tape.probabilities, Site::Cross(index))?;
            let d_keys_values = fused::merge_heads(&[&d_k, &d_v], &context.memory_rows().on_device.places)?;
            (d_q, (d_keys_values, None))
        }
        Memory::Absorbed(rows) => {
            let (d_q, (left, right)) =
                context.attend_absorbed_backward(index, &d_heads, &q, rows, &tape.probabilities)?;
            (d_q, (left, Some(right)))
        }
    };
    let d_queries = fused::merge_heads(&[&d_q], &rows.on_device.places)?;
    let d_normed = context.in_backward(&d_queries, &tape.x, &part.norm, &part.query)?;
    Ok((context.norm_backward(d_x, &d_normed, &tape.x, &part.norm)?, seen))
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
    fn release(&self, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
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

    fn attend_absorbed(&self, index: usize, q: &Tensor, rows: &Tensor) -> Result<(Tensor, Tensor)> {
        let absorbed = self.absorb(q, &self.cross_weight(index, 0)?)?;
        let p = fused::softmax(&self.by_heads(&absorbed.matmul(&rows.t()?)?)?, self.cross_visible())?;
        let masked = self.drop_probabilities(&p, Site::Cross(index))?.flatten(1, 2)?;
        let heads = self.release(&masked.matmul(rows)?, &self.cross_weight(index, 1)?)?;
        Ok((fused::merge_heads(&[&heads], &self.side.rows.on_device.places)?, p))
    }

    /// The gradient of the queries, and the factors of that of the rows.
    fn attend_absorbed_backward(
        &self,
        index: usize,
        d_heads: &Tensor,
        q: &Tensor,
        rows: &Tensor,
        p: &Tensor,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let (keys, values) = (self.cross_weight(index, 0)?, self.cross_weight(index, 1)?);
        let d_mixed = self.absorb(&self.heads(d_heads, 0, self.side.rows)?, &values)?;
        let d_p = self.drop_probabilities(&self.by_heads(&d_mixed.matmul(&rows.t()?)?)?, Site::Cross(index))?;
        let d_scores = fused::softmax_backward(p, &d_p)?.flatten(1, 2)?;
        let d_q = self.release(&d_scores.matmul(rows)?, &keys)?;
        let masked = self.drop_probabilities(p, Site::Cross(index))?.flatten(1, 2)?;
        let left = Tensor::cat(&[masked, d_scores], 1)?;
        let right = Tensor::cat(&[d_mixed, self.absorb(q, &keys)?], 1)?;
        Ok((d_q, (left, right)))
    }
}

fn ff_forward(context: Context<'_>, index: usize, part: &FeedForward, x: Tensor) -> Result<(Tensor, FeedForwardTape)> {
    let inner = context.parameters.linear(&context.norm(&x, &part.norm)?, &part.inner)?;
    let activated = context.activated(index, &inner)?;
    let out = context.residual(&x, &activated, &part.out, Site::InnerOut(index))?;
    Ok((out, FeedForwardTape { x, inner }))
}

fn ff_backward(
    context: Context<'_>,
    index: usize,
    part: &FeedForward,
    d_x: &Tensor,
    tape: &FeedForwardTape,
) -> Result<Tensor> {
    let d_branch = context.drop_rows(d_x.clone(), Site::InnerOut(index))?;
    if let Some(weights) = context.weights {
        weights.linear(&part.out, &d_branch, &context.activated(index, &tape.inner)?)?;
    }
    let d_activated = context.parameters.linear_backward(&d_branch, &part.out)?;
    let d_activated = context.drop_rows(d_activated, Site::Inner(index))?;
    let d_inner = fused::activate_backward(context.activation(), &tape.inner, &d_activated)?;
    let d_normed = context.in_backward(&d_inner, &tape.x, &part.norm, &part.inner)?;
    context.norm_backward(d_x, &d_normed, &tape.x, &part.norm)
}
