//! How much memory a step needs: the sizes of all buffers of the CPU engine, as a function of the model and the batch.

use super::cpu::LOGITS;
use super::{Dims, Layout, Precision};
use half::bf16;

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

    /// Bytes of the buffers with which [`cpu::Engine`](super::cpu::Engine) learns from a batch of equally long examples
    /// that it [expects](super::cpu::Engine::expect).
    pub fn activation_bytes(&self, rows: Rows, precision: Precision, recompute: bool, dropout: bool) -> usize {
        let counts = Counts::of((0..rows.examples).map(|_| (rows.encoder, rows.decoder)));
        let pass = if self.absorbs(rows.decoder) { Pass::Absorbed } else { Pass::Projected };
        self.buffer_bytes(counts, precision, recompute, dropout, pass)
    }

    /// The same of any batch whose gradients go to all weights.
    pub fn learning_bytes(&self, counts: Counts, recompute: bool, dropout: bool) -> usize {
        self.buffer_bytes(counts, Precision::F32, recompute, dropout, Pass::Weights)
    }

    fn buffer_bytes(&self, counts: Counts, precision: Precision, recompute: bool, dropout: bool, pass: Pass) -> usize {
        let (e, i, f) = (self.width, self.inner(), self.ff);
        let inner = self.activation.inner(f);
        let Counts { encoder: n, decoder: m, .. } = counts;
        let scores = |pairs: usize| self.heads * pairs;
        // What all layers keep may be kept in bf16.
        let narrow = precision == Precision::Bf16 && !recompute;
        let word = if narrow { size_of::<bf16>() } else { size_of::<f32>() };
        let weights = pass == Pass::Weights;
        // The outputs of the heads are kept for the gradients of the weights after them.
        let heads = if weights { i } else { 0 };
        // Of each layer the bytes of what is f32 in any case, and of the rest; cross-attention that is absorbed keeps its scores.
        let encoder_layer =
            size_of::<f32>() * n * (2 * (e + 1) + heads) + word * (n * (3 * i + inner) + scores(counts.encoder_pairs));
        let (cross_f32, cross_rest) = match pass {
            Pass::Absorbed => (scores(counts.cross_pairs), 0),
            Pass::Projected | Pass::Weights => (0, scores(counts.cross_pairs)),
        };
        let decoder_layer = size_of::<f32>() * (m * (3 * (e + 1) + 2 * heads) + cross_f32)
            + word * (m * (4 * i + inner) + scores(counts.decoder_pairs) + cross_rest);
        let stack = |rows: usize, layers: usize, layer: usize| {
            let kept = if recompute { layer + size_of::<f32>() * layers * rows * e } else { layers * layer };
            kept + size_of::<f32>() * rows * (2 * e + 1)
        };
        let stacks = stack(n, self.encoder_layers, encoder_layer) + stack(m, self.decoder_layers, decoder_layer);

        let widest = n.max(m);
        // Forward and backward passes share two buffers, unless they alternate or weights learn.
        let shared = e + f.max(i);
        let scratch = widest * (if recompute || weights { shared + e + f } else { shared } + 4 * i - heads)
            + if dropout { 2 * widest * e } else { 0 }
            + if recompute { widest * e } else { 0 }
            + if narrow { widest * inner.max(3 * i) } else { 0 };
        let cross = match pass {
            Pass::Absorbed => 3 * m * self.heads * e,
            Pass::Projected | Pass::Weights => 4 * n * i * self.decoder_layers,
        };
        let ends = n * 2 * e + cross + m * (2 * e + 1);
        let logits = m.min((LOGITS / self.vocab).max(1)) * self.vocab;
        stacks + (scratch + ends + logits) * size_of::<f32>()
    }
}

/// What a step computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Gradients of prompts; the decoder looks at the rows of the encoder.
    Absorbed,
    /// Gradients of prompts; the decoder looks at keys and values.
    Projected,
    /// Gradients of all weights.
    Weights,
}

/// What the sizes of buffers depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the encoder: of prompts and texts.
    encoder: usize,
    /// Rows of the decoder: target tokens.
    decoder: usize,
    /// Pairs of rows that attend to each other, in the encoder, in the decoder, and between them.
    encoder_pairs: usize,
    decoder_pairs: usize,
    cross_pairs: usize,
}

impl Counts {
    /// Of a batch, by the rows of each example in encoder and decoder.
    pub fn of(examples: impl Iterator<Item = (usize, usize)>) -> Self {
        examples.fold(Self::default(), |sum, (encoder, decoder)| Self {
            encoder: sum.encoder + encoder,
            decoder: sum.decoder + decoder,
            encoder_pairs: sum.encoder_pairs + encoder * encoder,
            decoder_pairs: sum.decoder_pairs + decoder * decoder,
            cross_pairs: sum.cross_pairs + encoder * decoder,
        })
    }

    /// The larger of each: what one engine needs for both batches, one after the other.
    pub fn max(self, other: Self) -> Self {
        Self {
            encoder: self.encoder.max(other.encoder),
            decoder: self.decoder.max(other.decoder),
            encoder_pairs: self.encoder_pairs.max(other.encoder_pairs),
            decoder_pairs: self.decoder_pairs.max(other.decoder_pairs),
            cross_pairs: self.cross_pairs.max(other.cross_pairs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Weights;
    use crate::ml::model::batch::Batch;
    use crate::ml::model::cpu::kernels::{Activation, CrossEntropy, Dropout, Key, Sharing};
    use crate::ml::model::cpu::{Engine, Gradients};
    use crate::ml::random::Stream;

    /// To the byte, for everything that an engine keeps.
    #[test]
    fn the_engine_needs_what_is_predicted() {
        let config = include_bytes!("../../../tests/golden/t5_v1_1/config.json");
        for (activation, precision) in [
            (Activation::GatedGelu, Precision::F32),
            (Activation::Relu, Precision::F32),
            (Activation::GatedGelu, Precision::Bf16),
        ] {
            let dims = Dims { activation, ..Dims::from_json(config).unwrap() };
            let weights = Weights::random(dims.clone(), &mut Stream::new(0, "weights"));
            assert_eq!(dims.weight_bytes(Precision::F32), weights.data().len() * 4);
            let weights = if precision == Precision::Bf16 { weights.to_bf16() } else { weights };
            let prompt = vec![0.1; 3 * dims.width];
            let tokens = dims.head_width / 2;
            let cases = [(false, 0.0), (true, 0.0), (false, 0.1), (true, 0.1)];
            for ((recompute, rate), tokens) in cases.into_iter().flat_map(|case| [(case, tokens), (case, tokens + 1)]) {
                let mut batch = Batch::default();
                (0..5).for_each(|_| batch.push(0, &[5; 9], &vec![7; tokens]));
                let rows = Rows { examples: 5, encoder: 12, decoder: tokens };
                let keys = vec![Key::new(0, 0, 0); 5];
                let dropout = (rate > 0.0).then_some(Dropout { rate, sharing: Sharing::Element, keys });
                let mut engine = Engine::new(&weights);
                engine.recompute(recompute);
                engine.expect(tokens);
                let settings = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };
                let gradients = Gradients { prompts: &mut [vec![0.0; prompt.len()]], weights: None };
                engine.gradients(&[&prompt], &batch, settings, dropout.as_ref(), gradients);
                let predicted = dims.activation_bytes(rows, precision, recompute, rate > 0.0);
                let case = format!("{tokens} tokens, {precision:?}, recompute {recompute}, dropout {rate}");
                assert_eq!(engine.bytes(), predicted, "{case}");
                if precision == Precision::Bf16 {
                    continue;
                }

                let mut engine = Engine::new(&weights);
                engine.recompute(recompute);
                let mut learned = vec![0.0; weights.layout.len()];
                let gradients = Gradients { prompts: &mut [vec![0.0; prompt.len()]], weights: Some(&mut learned) };
                engine.gradients(&[&prompt], &batch, settings, dropout.as_ref(), gradients);
                let counts = Counts::of([(12, tokens); 5].into_iter());
                let predicted = dims.learning_bytes(counts, recompute, rate > 0.0);
                assert_eq!(engine.bytes(), predicted, "weights learn, recompute {recompute}, dropout {rate}");
            }
        }
    }
}
