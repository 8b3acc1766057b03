//! The places where T5 drops out (`network.py` of T5X): both engines number them alike, so that they draw equal masks.

/// A place in the model, as the number that enters the hash of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// Input of a stack.
    Embedding,
    /// Probabilities of the self-attention of a layer.
    Attention(usize),
    /// Output of the self-attention of a layer.
    AttentionOut(usize),
    /// Probabilities of the cross-attention of a layer.
    Cross(usize),
    /// Output of the cross-attention of a layer.
    CrossOut(usize),
    /// Between the two linear layers of a feed-forward sublayer.
    Inner(usize),
    /// Output of a feed-forward sublayer.
    InnerOut(usize),
    /// Output of a stack.
    Last,
}

impl Site {
    /// The number of this place in the encoder or in the decoder.
    pub(super) fn number(self, decoder: bool) -> u32 {
        let (kind, layer) = match self {
            Self::Embedding => (0, 0),
            Self::Last => (1, 0),
            Self::Attention(layer) => (2, layer),
            Self::AttentionOut(layer) => (3, layer),
            Self::Cross(layer) => (4, layer),
            Self::CrossOut(layer) => (5, layer),
            Self::Inner(layer) => (6, layer),
            Self::InnerOut(layer) => (7, layer),
        };
        (layer as u32 * 8 + kind) * 2 + u32::from(decoder)
    }
}
