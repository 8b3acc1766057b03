//! How much memory a step needs: the sizes of all buffers of the fast engine, as a function of the model and the batch.

use super::fast::LOGITS;
use super::{Dims, Layout, Precision};

/// Numbers of rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Examples.
    pub examples: usize,
    /// Rows of the encoder for each: P + T.
    pub encoder: usize,
    /// Target tokens of each.
    pub decoder: usize,
}

impl Dims {
    /// Bytes of the frozen weights.
    pub fn weight_bytes(&self, precision: Precision) -> usize {
        Layout::new(self).len() * precision.bytes()
    }

    /// Bytes of the buffers with which [`fast::Engine`](super::fast::Engine) learns from a batch of equally long examples.
    pub fn activation_bytes(&self, rows: Rows, recompute: bool, dropout: bool) -> usize {
        let (e, i, f) = (self.width, self.inner(), self.ff);
        let inner = if self.gated { 2 * f } else { f };
        let (n, m) = (rows.examples * rows.encoder, rows.examples * rows.decoder);
        let scores = |queries: usize, keys: usize| self.heads * rows.examples * queries * keys;
        let ff = |rows: usize| rows * (e + 1 + inner);
        let attention = |rows: usize, scores: usize| rows * (e + 1 + 3 * i) + scores;

        let encoder_layer = attention(n, scores(rows.encoder, rows.encoder)) + ff(n);
        let cross = m * (e + 1 + i) + scores(rows.decoder, rows.encoder);
        let decoder_layer = attention(m, scores(rows.decoder, rows.decoder)) + cross + ff(m);
        let stack = |rows: usize, layers: usize, layer: usize| {
            let kept = if recompute { layer + layers * rows * e } else { layers * layer };
            kept + rows * (2 * e + 1)
        };
        let stacks = stack(n, self.encoder_layers, encoder_layer) + stack(m, self.decoder_layers, decoder_layer);

        let widest = n.max(m);
        // Forward and backward passes that do not alternate share two buffers.
        let shared = e + f.max(i);
        let scratch = widest * (if recompute { shared + e + f } else { shared } + 4 * i)
            + if dropout { 2 * widest * e } else { 0 }
            + if recompute { widest * e } else { 0 };
        let ends = n * (2 * e + 4 * i * self.decoder_layers) + m * (2 * e + 1);
        let logits = m.min((LOGITS / self.vocab).max(1)) * self.vocab;
        (stacks + scratch + ends + logits) * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weights;
    use super::super::fast::{Engine, Gradients};
    use super::*;
    use crate::ml::batch::Batch;
    use crate::ml::kernels::{CrossEntropy, Dropout, Key, Sharing};
    use crate::ml::random::Stream;

    /// To the byte, for everything that an engine keeps.
    #[test]
    fn the_engine_needs_what_is_predicted() {
        let config = include_bytes!("../../../tests/golden/t5_v1_1/config.json");
        for gated in [true, false] {
            let dims = Dims { gated, ..Dims::from_json(config).unwrap() };
            let weights = Weights::random(dims.clone(), &mut Stream::new(0, "weights"));
            assert_eq!(dims.weight_bytes(Precision::F32), weights.data().len() * 4);
            let prompt = vec![0.1; 3 * dims.width];
            let mut batch = Batch::default();
            (0..5).for_each(|_| batch.push(0, &[5; 9], &[7; 4]));
            let rows = Rows { examples: 5, encoder: 12, decoder: 4 };
            let keys = vec![Key::new(0, 0, 0); 5];
            for (recompute, rate) in [(false, 0.0), (true, 0.0), (false, 0.1), (true, 0.1)] {
                let dropout = (rate > 0.0).then(|| Dropout { rate, sharing: Sharing::Element, keys: keys.clone() });
                let mut engine = Engine::new(&weights);
                engine.recompute(recompute);
                let settings = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };
                let gradients = Gradients { prompts: &mut [vec![0.0; prompt.len()]], weights: None };
                engine.gradients(&[&prompt], &batch, settings, dropout.as_ref(), gradients);
                let predicted = dims.activation_bytes(rows, recompute, rate > 0.0);
                assert_eq!(engine.bytes(), predicted, "recompute {recompute}, dropout {rate}");
            }
        }
    }
}
