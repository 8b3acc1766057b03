//! Where every matrix of a T5 lies in one long vector of parameters.
//!
//! Matrices that meet the same input are stacked row under row (query, key and value; the two inputs of a gated
//! feed-forward layer; the cross-attention keys and values of all decoder layers), so that one multiplication serves
//! them. Every tensor of the Hugging Face layout is still one contiguous range, listed by [`Layout::slots`].
//! Gradients and optimiser states of all weights are vectors of the same layout.

use super::{Dims, Head};
use std::ops::Range;

/// A matrix `[rows, columns]` in the vector, row by row.
pub type Place = Range<usize>;

/// A tensor by its Hugging Face name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Hugging Face name: `encoder.block.0.layer.0.SelfAttention.q.weight`.
    pub name: String,
    /// `[rows, columns]`, or `[length]` for the scale of a norm.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub place: Place,
}

impl Slot {
    /// Whether it is the scale of a norm or a table of position biases, which are used in f32 whatever the precision.
    pub(super) fn is_vector(&self) -> bool {
        self.shape.len() == 1 || self.name.ends_with("relative_attention_bias.weight")
    }
}

/// The parts of a self-attention sublayer.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// Scale of the norm before it, `[E]`.
    pub norm: Place,
    /// Query, key and value, `[3I, E]`.
    pub qkv: Place,
    /// Output, `[E, I]`.
    pub out: Place,
}

/// The parts of a cross-attention sublayer; its keys and values are in [`Layout::cross`].
#[derive(Clone, Debug)]
pub struct CrossAttention {
    /// Scale of the norm before it, `[E]`.
    pub norm: Place,
    /// Query, `[I, E]`.
    pub query: Place,
    /// Output, `[E, I]`.
    pub out: Place,
}

/// The parts of a feed-forward sublayer.
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// Scale of the norm before it, `[E]`.
    pub norm: Place,
    /// Inner layer, `[2F, E]` if gated, else `[F, E]`.
    pub inner: Place,
    /// Output, `[E, F]`.
    pub out: Place,
}

/// A layer of the encoder or of the decoder.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Self-attention.
    pub attention: SelfAttention,
    /// Cross-attention; only in the decoder.
    pub cross: Option<CrossAttention>,
    /// Feed-forward.
    pub ff: FeedForward,
}

/// One of the two stacks.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Tables of relative position biases, `[buckets, H]`: one that all layers share, or one for each layer (umT5).
    pub biases: Vec<Place>,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Scale of the last norm, `[E]`.
    pub norm: Place,
}

impl Stack {
    /// Which of the tables of position biases a layer uses.
    pub fn bias_of(&self, layer: usize) -> usize {
        layer.min(self.biases.len() - 1)
    }
}

/// All places.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Embedding, `[V, E]`.
    pub embedding: Place,
    /// Output head, `[V, E]`; the embedding itself if tied.
    pub head: Place,
    /// Cross-attention keys and values of all decoder layers, `[2I·layers, E]`.
    pub cross: Place,
    /// Encoder.
    pub encoder: Stack,
    /// Decoder.
    pub decoder: Stack,
    slots: Vec<Slot>,
    len: usize,
}

impl Layout {
    /// The layout of a T5 of these sizes.
    pub fn new(dims: &Dims) -> Self {
        let mut build = Builder { slots: Vec::new(), len: 0 };
        let (width, inner) = (dims.width, dims.inner());
        let embedding = build.matrix("shared.weight", dims.vocab, width);
        let head = match dims.head {
            Head::Own => build.matrix("lm_head.weight", dims.vocab, width),
            Head::Embedding | Head::AsInFile => embedding.clone(),
        };
        let cross = build.stacked(
            (0..dims.decoder_layers).flat_map(|layer| {
                ["k", "v"].map(|part| (format!("decoder.block.{layer}.layer.1.EncDecAttention.{part}.weight"), inner))
            }),
            width,
        );
        let encoder = build.stack(dims, "encoder", dims.encoder_layers, false);
        let decoder = build.stack(dims, "decoder", dims.decoder_layers, true);
        Self { embedding, head, cross, encoder, decoder, slots: build.slots, len: build.len }
    }

    /// Length of the vector: the number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no parameters; there always are.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every tensor of the Hugging Face layout, in the order of the vector.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

struct Builder {
    slots: Vec<Slot>,
    len: usize,
}

impl Builder {
    fn slot(&mut self, name: String, shape: Vec<usize>) -> Place {
        let place = self.len..self.len + shape.iter().product::<usize>();
        self.len = place.end;
        self.slots.push(Slot { name, shape, place: place.clone() });
        place
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Place {
        self.slot(name.to_owned(), vec![rows, columns])
    }

    fn stacked(&mut self, parts: impl IntoIterator<Item = (String, usize)>, columns: usize) -> Place {
        let start = self.len;
        for (name, rows) in parts {
            self.slot(name, vec![rows, columns]);
        }
        start..self.len
    }

    fn norm(&mut self, prefix: &str, width: usize) -> Place {
        self.slot(format!("{prefix}layer_norm.weight"), vec![width])
    }

    fn stack(&mut self, dims: &Dims, name: &str, layers: usize, cross: bool) -> Stack {
        let tables = if dims.bias_per_layer { layers } else { 1 };
        let bias = |layer| format!("{name}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight");
        let biases = (0..tables).map(|layer| self.matrix(&bias(layer), dims.buckets, dims.heads)).collect();
        let layers = (0..layers).map(|layer| self.layer(dims, &format!("{name}.block.{layer}.layer"), cross)).collect();
        let norm = self.norm(&format!("{name}.final_"), dims.width);
        Stack { biases, layers, norm }
    }

    fn layer(&mut self, dims: &Dims, prefix: &str, cross: bool) -> Layer {
        let (width, inner, ff) = (dims.width, dims.inner(), dims.ff);
        let attention = SelfAttention {
            norm: self.norm(&format!("{prefix}.0."), width),
            qkv: self.stacked(["q", "k", "v"].map(|p| (format!("{prefix}.0.SelfAttention.{p}.weight"), inner)), width),
            out: self.matrix(&format!("{prefix}.0.SelfAttention.o.weight"), width, inner),
        };
        let cross = cross.then(|| CrossAttention {
            norm: self.norm(&format!("{prefix}.1."), width),
            query: self.matrix(&format!("{prefix}.1.EncDecAttention.q.weight"), inner, width),
            out: self.matrix(&format!("{prefix}.1.EncDecAttention.o.weight"), width, inner),
        });
        let at = if cross.is_some() { 2 } else { 1 };
        let parts: &[&str] = if dims.activation.is_gated() { &["wi_0", "wi_1"] } else { &["wi"] };
        let ff = FeedForward {
            norm: self.norm(&format!("{prefix}.{at}."), width),
            inner: self.stacked(parts.iter().map(|p| (format!("{prefix}.{at}.DenseReluDense.{p}.weight"), ff)), width),
            out: self.matrix(&format!("{prefix}.{at}.DenseReluDense.wo.weight"), width, ff),
        };
        Layer { attention, cross, ff }
    }
}
