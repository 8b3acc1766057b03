//! How much memory a step needs: the sizes of all buffers of the CPU engine, as a function of the model and the batch.
//!
//! The buffers of a stack are counted by running it on slots that have a size and nothing in them.

use super::cpu::LOGITS;
use super::layout::Place;
use super::site::Site;
use super::stack::{Bytes, Input, Keep, Linear, Operations, Part, Plan, Scratch, Seen, Slots, Tape, Wanted, Work};
use super::{Dims, Layout, Precision};
use half::bf16;
use std::convert::Infallible;

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
    /// that it [expects](super::cpu::Engine::expect). `layout` is that of a model of these sizes.
    pub fn activation_bytes(
        &self,
        layout: &Layout,
        rows: Rows,
        precision: Precision,
        recompute: bool,
        dropout: bool,
    ) -> usize {
        let counts = Counts::of((0..rows.examples).map(|_| (rows.encoder, rows.decoder)));
        let pass = if self.absorbs(rows.decoder) { Pass::Absorbed } else { Pass::Projected };
        self.buffer_bytes(layout, counts, precision, (recompute, dropout), pass)
    }

    /// The same of any batch whose gradients go to all weights.
    pub fn learning_bytes(&self, layout: &Layout, counts: Counts, recompute: bool, dropout: bool) -> usize {
        self.buffer_bytes(layout, counts, Precision::F32, (recompute, dropout), Pass::Weights)
    }

    fn buffer_bytes(
        &self,
        layout: &Layout,
        counts: Counts,
        precision: Precision,
        (recompute, dropout): (bool, bool),
        pass: Pass,
    ) -> usize {
        let keep = if recompute { Keep::Inputs } else { Keep::Everything };
        let learns = pass == Pass::Weights;
        let (mut scratch, mut within) = (Scratch::default(), Within::default());
        let mut stack_bytes = |stack, rows, pairs, frozen| {
            let mut counter = Counter {
                plan: Plan { dims: self, stack, keep, learns, drops: dropout },
                rows,
                pairs,
                cross_pairs: counts.cross_pairs,
                narrow: precision == Precision::Bf16 && !recompute,
                absorbs: pass == Pass::Absorbed,
                within: &mut within,
            };
            counter.stack_bytes(if learns { Wanted::Everything } else { frozen }, &mut scratch)
        };
        let Counts { encoder: n, decoder: m, encoder_pairs, decoder_pairs, .. } = counts;
        let stacks = stack_bytes(&layout.encoder, n, encoder_pairs, Wanted::Selected)
            + stack_bytes(&layout.decoder, m, decoder_pairs, Wanted::Nothing);
        let cross = if pass == Pass::Absorbed { 0 } else { 4 * n * self.inner() * self.decoder_layers };
        let logits = m.min((LOGITS / self.vocab).max(1)) * self.vocab;
        stacks + scratch.bytes() + within.bytes() + (cross + m + logits) * size_of::<f32>()
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

type Done = Result<(), Infallible>;

/// Slots that hold nothing.
#[derive(Default)]
struct Sizes;

/// The most bytes that a slot had to hold.
#[derive(Default)]
struct Size(usize);

impl Slots for Sizes {
    type Rows = Size;
    type Saved = Size;
    type Probabilities = Size;
}

impl Size {
    fn room<T>(&mut self, len: usize) {
        self.0 = self.0.max(len * size_of::<T>());
    }
}

impl Bytes for Size {
    fn bytes(&self) -> usize {
        self.0
    }
}

/// Buffers within an operation.
#[derive(Default)]
struct Within {
    wide: Size,
    absorbed: Size,
}

impl Bytes for Within {
    fn bytes(&self) -> usize {
        self.wide.bytes() + self.absorbed.bytes()
    }
}

/// The operations of the CPU engine without arithmetic.
struct Counter<'a> {
    plan: Plan<'a>,
    rows: usize,
    /// Pairs of rows that attend to each other, and of rows and those of the memory.
    pairs: usize,
    cross_pairs: usize,
    /// Whether what is kept is bf16.
    narrow: bool,
    /// Whether cross-attention is absorbed.
    absorbs: bool,
    within: &'a mut Within,
}

impl Counter<'_> {
    /// Of what a stack has for itself: its tape, its input and its output.
    fn stack_bytes(&mut self, wanted: Wanted, scratch: &mut Scratch<Sizes>) -> usize {
        let (mut x, mut out, mut tape) = (Size::default(), Size::default(), Tape::default());
        x.room::<f32>(self.rows * self.plan.dims.width);
        let mut work = Work { plan: self.plan, operations: self, scratch };
        let Ok(()) = work.forward(&mut x, &mut tape, &mut out);
        let Ok(()) = work.backward(&mut out, &mut tape, wanted);
        tape.bytes() + x.bytes() + out.bytes()
    }

    /// So many activations that are kept.
    fn keep(&mut self, saved: &mut Size, len: usize) {
        if self.narrow {
            saved.room::<bf16>(len);
            self.within.wide.room::<f32>(len);
        } else {
            saved.room::<f32>(len);
        }
    }
}

impl Operations for Counter<'_> {
    type Error = Infallible;
    type Slots = Sizes;

    const STAYS: bool = true;

    fn release<S: Default>(&self, _: &mut S) {}

    fn copy(&self, out: &mut Size, _: &Size) {
        out.room::<f32>(self.rows * self.plan.dims.width);
    }

    fn zeros(&self, out: &mut Size, like: &Size) -> Done {
        self.copy(out, like);
        Ok(())
    }

    fn drop_rows(&self, _: &mut Size, _: Site) -> Done {
        Ok(())
    }

    fn norm(&self, out: &mut Size, input: &mut Input<Sizes>, scale: &Place) -> Done {
        out.room::<f32>(self.rows * scale.len());
        input.inverse.room::<f32>(self.rows);
        Ok(())
    }

    fn norm_backward(&mut self, _: &mut Size, _: &Size, _: &Input<Sizes>, _: &Place) -> Done {
        Ok(())
    }

    fn residual(&self, _: &mut Size, _: &Size, weight: Linear<'_>, _: Site, summand: &mut Size) -> Done {
        if self.plan.drops {
            summand.room::<f32>(self.rows * weight.outputs());
        }
        Ok(())
    }

    fn linear_backward(&self, d_x: &mut Size, _: &Size, weight: Linear<'_>) -> Done {
        d_x.room::<f32>(self.rows * weight.inputs);
        Ok(())
    }

    fn learn(&mut self, _: Linear<'_>, _: &Size, _: &Size) -> Done {
        Ok(())
    }

    fn attend(&mut self, part: Part<'_>, heads: &mut Size, seen: &mut Seen<Sizes>, _: &mut Size, _: &mut Size) -> Done {
        heads.room::<f32>(self.rows * self.plan.dims.inner());
        self.keep(&mut seen.projected, self.rows * part.projection.outputs());
        let pairs = if part.crosses { self.cross_pairs } else { self.pairs };
        let scores = self.plan.dims.heads * pairs;
        if part.crosses && self.absorbs {
            seen.probabilities.room::<f32>(scores);
            // Queries, what they find, and a gradient.
            self.within.absorbed.room::<f32>(3 * self.rows * self.plan.dims.heads * self.plan.dims.width);
        } else if self.narrow {
            seen.probabilities.room::<bf16>(scores);
        } else {
            seen.probabilities.room::<f32>(scores);
        }
        Ok(())
    }

    fn attend_backward(&mut self, part: Part<'_>, d_projected: &mut Size, _: &Size, _: &mut Seen<Sizes>) -> Done {
        d_projected.room::<f32>(self.rows * part.projection.outputs());
        Ok(())
    }

    fn select(&mut self, _: &mut Size, _: &mut Input<Sizes>) -> Done {
        Ok(())
    }

    fn feed(&mut self, activated: &mut Size, inner: &mut Size, _: &mut Size, weight: Linear<'_>) -> Done {
        self.keep(inner, self.rows * weight.outputs());
        self.activate(activated, inner)
    }

    fn activate(&mut self, activated: &mut Size, _: &mut Size) -> Done {
        activated.room::<f32>(self.rows * self.plan.dims.ff);
        Ok(())
    }

    fn feed_backward(&mut self, d_x: &mut Size, d: &Size, _: &mut Size, _: &mut Size, weight: Linear<'_>) -> Done {
        self.linear_backward(d_x, d, weight)
    }
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
        for (activation, precision, decoder_layers) in [
            (Activation::GatedGelu, Precision::F32, 3),
            (Activation::Relu, Precision::F32, 3),
            (Activation::GatedGelu, Precision::Bf16, 3),
            (Activation::GatedGelu, Precision::F32, 1),
        ] {
            let dims = Dims { activation, decoder_layers, ..Dims::from_json(config).unwrap() };
            let weights = Weights::random(dims.clone(), &mut Stream::new(0, "weights"));
            assert_eq!(dims.weight_bytes(Precision::F32), weights.data().len() * 4);
            let weights = if precision == Precision::Bf16 { weights.to_bf16() } else { weights };
            let prompt = vec![0.1; 3 * dims.width];
            // Absorbed, projected, and longer than the inputs.
            let lengths = [dims.head_width / 2, dims.head_width / 2 + 1, 4 * dims.head_width];
            let cases = [(false, 0.0), (true, 0.0), (false, 0.1), (true, 0.1)];
            for ((recompute, rate), tokens) in cases.into_iter().flat_map(|case| lengths.map(|tokens| (case, tokens))) {
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
                let predicted = dims.activation_bytes(&weights.layout, rows, precision, recompute, rate > 0.0);
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
                let predicted = dims.learning_bytes(&weights.layout, counts, recompute, rate > 0.0);
                assert_eq!(engine.bytes(), predicted, "weights learn, recompute {recompute}, dropout {rate}");
            }
        }
    }
}
