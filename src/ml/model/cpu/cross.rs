//! Cross-attention: how a decoder looks at the encoder's output.

use super::kernels::{
    Absorbed, Attention, Dropout, Matrix, Probabilities, Qkv, QkvGradient, Span, attend, attend_absorbed,
    attend_absorbed_backward, attend_backward, head_linear, head_linear_backward, room,
};
use crate::ml::model::Weights;
use std::ops::Range;

/// The encoder's output as a decoder sees it. Both ways give the same but for rounding, and which one is cheaper depends on
/// how long the targets are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<T> {
    /// Keys and values of all layers, `[N, 2I·layers]`.
    Projected(T),
    /// Its rows, `[N, E]`: the decoder projects its queries and what they find instead ([`Absorbed`]).
    Absorbed(T),
}

impl Memory<Vec<f32>> {
    /// The same without owning it, `[N, 2I·layers]` or `[N, E]`.
    pub(super) fn as_slice(&self) -> Memory<&[f32]> {
        match self {
            Self::Projected(x) => Memory::Projected(x),
            Self::Absorbed(x) => Memory::Absorbed(x),
        }
    }
}

/// The cross-attention of one decoder layer.
pub(super) struct Cross<'a> {
    pub(super) weights: &'a Weights,
    /// The layer.
    pub(super) index: usize,
    /// Whose tokens look at whose rows.
    pub(super) spans: &'a [Span],
    /// Dropout of the probabilities, and its site.
    pub(super) dropout: Option<(&'a Dropout, u32)>,
}

/// Queries of absorbed attention and what they find, or the gradients of both, `[m, H, E]`.
#[derive(Default)]
pub(super) struct Scratch {
    queries: Vec<f32>,
    d_queries: Vec<f32>,
    found: Vec<f32>,
}

impl Scratch {
    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        let Self { queries, d_queries, found } = self;
        [queries, d_queries, found].map(|buffer| buffer.capacity() * size_of::<f32>()).into_iter().sum()
    }
}

impl<'a> Cross<'a> {
    /// `heads = softmax(queries · keysᵀ) · values`, both `[m, I]`; keeps the probabilities.
    pub(super) fn forward(
        &self,
        heads: &mut [f32],
        probabilities: &mut Probabilities,
        queries: &[f32],
        memory: Memory<&[f32]>,
        scratch: &mut Scratch,
    ) {
        match memory {
            Memory::Projected(projected) => {
                let qkv = Qkv::apart(queries, self.own(projected), self.weights.dims.inner());
                attend(&self.projected(), heads, probabilities, qkv);
            }
            Memory::Absorbed(memory) => {
                let Scratch { queries: absorbed, found, .. } = scratch;
                let absorbed = self.absorb(queries, self.keys(), absorbed);
                let found = room(found, absorbed.len());
                attend_absorbed(&self.absorbed(), found, probabilities, absorbed, memory);
                let dims = &self.weights.dims;
                head_linear(heads, found, self.values(), dims.heads, dims.width);
            }
        }
    }

    /// Writes the gradient of the queries, given that of the heads, all `[m, I]`. That of the memory has its form: of projected
    /// memory, `[N, 2I·layers]`, the layer's columns are written, to absorbed memory, `[N, E]`, is added. `probabilities` are
    /// used up.
    pub(super) fn backward(
        &self,
        d_queries: &mut [f32],
        d_memory: &mut [f32],
        probabilities: &mut Probabilities,
        d_heads: &[f32],
        (queries, memory): (&[f32], Memory<&[f32]>),
        scratch: &mut Scratch,
    ) {
        let dims = &self.weights.dims;
        match memory {
            Memory::Projected(projected) => {
                let at = 2 * dims.inner() * self.index;
                let gradient =
                    QkvGradient::Apart { queries: d_queries, keys_values: d_memory.get_mut(at..).unwrap_or_default() };
                let qkv = Qkv::apart(queries, self.own(projected), dims.inner());
                attend_backward(&self.projected(), gradient, None, probabilities, d_heads, qkv);
            }
            Memory::Absorbed(memory) => {
                let Scratch { queries: absorbed, d_queries: d_absorbed, found } = scratch;
                let absorbed = self.absorb(queries, self.keys(), absorbed);
                let d_found = self.absorb(d_heads, self.values(), found);
                let d_absorbed = room(d_absorbed, absorbed.len());
                let given = (absorbed, memory);
                attend_absorbed_backward(&self.absorbed(), d_absorbed, d_memory, probabilities, d_found, given);
                head_linear(d_queries, d_absorbed, self.keys(), dims.heads, dims.width);
            }
        }
    }

    /// `[m, I]` times a layer's keys or values, head by head: `[m, H, E]`.
    fn absorb<'b>(&self, x: &[f32], weight: Matrix<'_>, buffer: &'b mut Vec<f32>) -> &'b [f32] {
        let dims = &self.weights.dims;
        let out = room(buffer, x.len() / dims.head_width * dims.width);
        head_linear_backward(out, x, weight, dims.heads, dims.width);
        out
    }

    /// The weights that make keys of rows, `[I, E]`.
    fn keys(&self) -> Matrix<'a> {
        self.weights.at(&self.place(0))
    }

    /// The weights that make values of rows, `[I, E]`.
    fn values(&self) -> Matrix<'a> {
        self.weights.at(&self.place(1))
    }

    fn place(&self, part: usize) -> Range<usize> {
        let size = self.weights.dims.inner() * self.weights.dims.width;
        let start = self.weights.layout.cross.start + (2 * self.index + part) * size;
        start..start + size
    }

    /// This layer's columns and those after. Examples without a prompt and a text have nothing to look at.
    fn own<'m>(&self, projected: &'m [f32]) -> &'m [f32] {
        projected.get(2 * self.weights.dims.inner() * self.index..).unwrap_or_default()
    }

    fn projected(&self) -> Attention<'a> {
        let dims = &self.weights.dims;
        Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: dims.inner(),
            key_stride: 2 * dims.inner() * dims.decoder_layers,
            spans: self.spans,
            bias: None,
            causal: false,
            dropout: self.dropout,
        }
    }

    fn absorbed(&self) -> Absorbed<'a> {
        let dims = &self.weights.dims;
        Absorbed { heads: dims.heads, width: dims.width, spans: self.spans, dropout: self.dropout }
    }
}
