//! Decoding on a device: keys and values of earlier positions stay there, those of texts that end are left behind.

use super::fused::{self, Visible};
use super::{Engine, Keep, LOGITS, Pass, Rows, ids, known};
use crate::ml::error::Result;
use crate::ml::model::Dims;
use crate::ml::model::decoder::{Decode, LIKELIHOOD, Questions, Reader, Texts};
use crate::ml::model::layout::{CrossAttention, FeedForward, Layer, Place, SelfAttention};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// The questions as a decoder looks at them.
pub(crate) struct Memory {
    /// Lengths of the questions, `[B]`.
    lengths: Tensor,
    /// For each layer the keys and the values, `[B, H, L, D]`.
    layers: Vec<(Tensor, Tensor)>,
    examples: usize,
}

impl Reader for Engine<'_> {
    type Memory = Memory;

    fn dims(&self) -> &Dims {
        self.dims
    }

    fn read(&mut self, questions: &Questions<'_>) -> Result<Memory> {
        let Self { dims, layout, .. } = *self;
        let Questions { prompts, run, inputs } = *questions;
        let (memory, rows, _) =
            self.encoder(prompts, run, inputs, Pass { masks: None, keep: Keep::Nothing, weights: None })?;
        let cross = self.parameters.linear(&memory, &layout.cross)?;
        let heads = |part: usize| {
            let column = part * dims.inner();
            fused::split_heads(&cross, &rows.on_device.starts, column, (dims.heads, dims.head_width), rows.longest)
        };
        let layers = (0..dims.decoder_layers).map(|layer| Ok((heads(2 * layer)?, heads(2 * layer + 1)?)));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Memory { lengths: rows.on_device.lengths, layers, examples: run.len() })
    }

    fn decoder<'d>(&'d self, memory: &'d Memory, _slots: usize, longest: usize) -> Result<Box<dyn Decode + 'd>> {
        let longest = longest.max(1);
        let biases = self.position_biases(&self.layout.decoder, longest, true)?;
        Ok(Box::new(Decoder { engine: self, memory, longest, biases, past: Vec::new(), held: BTreeMap::new() }))
    }
}

/// A decoder in the middle of texts.
struct Decoder<'a> {
    engine: &'a Engine<'a>,
    memory: &'a Memory,
    longest: usize,
    /// Bias by offset, `[H, 2·longest - 1]`, for each table of the decoder.
    biases: Vec<Tensor>,
    /// For each layer keys and values of the positions so far, `[S, H, longest, D]`.
    past: Vec<(Tensor, Tensor)>,
    /// Where among the S each slot is.
    held: BTreeMap<usize, usize>,
}

/// Who looks at whom in one step.
struct Step {
    /// Rows of each text.
    texts: Rows,
    position: usize,
    /// Keys that the last row of each text sees.
    keys: Tensor,
    /// Rows of the texts that look at the same question, one after the other.
    askers: Rows,
    questions: Seen,
}

/// The questions that the texts of a step look at.
struct Seen {
    lengths: Tensor,
    /// Which ones of the memory; none if they are all.
    some: Option<Tensor>,
}

impl Decode for Decoder<'_> {
    fn vocab(&self) -> usize {
        self.engine.dims.vocab
    }

    fn step(
        &mut self,
        texts: &[Texts],
        ids: &[u32],
        position: usize,
        read: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<()> {
        let out = self.decode(texts, ids, position)?;
        self.logits(&out, ids.len(), |first, logits| {
            let mut logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            read(first, &mut logits);
            Ok(())
        })
    }

    fn copy(&mut self, from: usize, to: usize, _positions: usize) {
        // The next step gathers what each slot holds.
        if let Some(row) = self.held.get(&from) {
            self.held.insert(to, *row);
        }
    }

    fn highest(&mut self, texts: &[Texts], ids: &[u32], position: usize) -> Result<Vec<u32>> {
        let out = self.decode(texts, ids, position)?;
        let mut next = Vec::with_capacity(ids.len());
        self.logits(&out, ids.len(), |_, logits| {
            next.extend(fused::highest(logits)?.to_vec1::<u32>()?);
            Ok(())
        })?;
        Ok(next)
    }

    fn losses(&mut self, texts: &[Texts], ids: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        let out = self.decode(texts, ids, 0)?;
        let targets = known(targets, self.engine.dims)?;
        let mut losses = Vec::with_capacity(targets.len());
        self.logits(&out, ids.len(), |first, logits| {
            let rows = logits.dim(0)?;
            let targets = Tensor::from_slice(&targets[first..first + rows], rows, logits.device())?;
            let found = fused::cross_entropy(LIKELIHOOD, logits, &targets)?.to_vec2::<f32>()?;
            losses.extend(found.into_iter().map(|row| row[0]));
            Ok(())
        })?;
        Ok(losses)
    }
}

impl Decoder<'_> {
    /// The last norm's output for `ids`, the tokens of all texts from `position` on; at least one row.
    fn decode(&mut self, texts: &[Texts], ids: &[u32], position: usize) -> Result<Tensor> {
        let layout = self.engine.layout;
        let step = self.plan(texts, position)?;
        self.gather_past(texts, position)?;
        let mut read = ids.to_vec();
        read.resize(step.texts.count, self.engine.dims.start);
        let mut x = self.engine.gather(&read)?;
        for (index, Layer { attention, cross, ff }) in layout.decoder.layers.iter().enumerate() {
            x = self.self_attention(index, attention, x, &step)?;
            let cross = cross.as_ref().expect("every layer of a decoder looks at the encoder");
            x = self.cross_attention(index, cross, &x, &step)?;
            x = self.feed_forward(ff, &x)?;
        }
        self.engine.scaled(self.norm(&x, &layout.decoder.norm)?)
    }

    /// Gives the logits of the first `count` rows to `read`, some rows at a time.
    fn logits(&self, out: &Tensor, count: usize, mut read: impl FnMut(usize, &Tensor) -> Result<()>) -> Result<()> {
        let &Engine { dims, layout, .. } = self.engine;
        let together = (LOGITS / dims.vocab).max(1);
        for first in (0..count).step_by(together) {
            let out = out.narrow(0, first, together.min(count - first))?;
            read(first, &self.engine.parameters.linear(&out, &layout.head)?)?;
        }
        Ok(())
    }

    fn plan(&self, texts: &[Texts], position: usize) -> Result<Step> {
        let device = &self.engine.parameters.device;
        let tokens: Vec<usize> = texts.iter().flat_map(|text| text.slots.iter().map(|_| text.tokens)).collect();
        let (mut examples, mut askers): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for text in texts {
            let rows = text.slots.len() * text.tokens;
            match askers.last_mut() {
                Some(last) if examples.last() == Some(&text.example) => *last += rows,
                _ => {
                    examples.push(text.example);
                    askers.push(rows);
                }
            }
        }
        let keys = ids(tokens.iter().map(|tokens| position + tokens), device)?;
        let all = examples.iter().copied().eq(0..self.memory.examples);
        let some = if all { None } else { Some(ids(examples, device)?) };
        let lengths = match &some {
            None => self.memory.lengths.clone(),
            Some(some) => self.memory.lengths.index_select(some, 0)?,
        };
        let texts = Rows::new(tokens.into_iter(), device)?;
        let askers = Rows::new(askers.into_iter(), device)?;
        Ok(Step { texts, position, keys, askers, questions: Seen { lengths, some } })
    }

    /// Brings the past of the texts into their order.
    fn gather_past(&mut self, texts: &[Texts], position: usize) -> Result<()> {
        let slots: Vec<usize> = texts.iter().flat_map(|text| text.slots.iter().copied()).collect();
        if position > 0 && !self.past.is_empty() {
            let rows: Vec<usize> = slots.iter().map(|slot| self.held[slot]).collect();
            if !rows.iter().copied().eq(0..self.past[0].0.dim(0)?) {
                let rows = ids(rows, &self.engine.parameters.device)?;
                for (keys, values) in &mut self.past {
                    (*keys, *values) = (keys.index_select(&rows, 0)?, values.index_select(&rows, 0)?);
                }
            }
        }
        self.held = slots.into_iter().enumerate().map(|(row, slot)| (slot, row)).collect();
        Ok(())
    }

    /// Keys and values of all positions so far, given the new ones, `[S, H, T, D]`, which are kept.
    fn with_past(&mut self, index: usize, step: &Step, new: (Tensor, Tensor)) -> Result<(Tensor, Tensor)> {
        let (texts, heads, tokens, width) = new.0.dims4()?;
        let end = step.position + tokens;
        if step.position == 0 {
            // Nothing comes after texts of full length.
            if tokens < self.longest {
                let room = || Tensor::zeros((texts, heads, self.longest, width), new.0.dtype(), new.0.device());
                self.past.push((room()?, room()?));
            } else {
                return Ok(new);
            }
        }
        let (keys, values) = &self.past[index];
        keys.slice_set(&new.0, 2, step.position)?;
        values.slice_set(&new.1, 2, step.position)?;
        Ok((keys.narrow(2, 0, end)?, values.narrow(2, 0, end)?))
    }

    fn norm(&self, x: &Tensor, place: &Place) -> Result<Tensor> {
        Ok(fused::rms_norm(x, self.engine.parameters.at(place), self.engine.dims.epsilon)?)
    }

    fn heads(&self, x: &Tensor, part: usize, rows: &Rows) -> Result<Tensor> {
        let dims = self.engine.dims;
        let (column, size) = (part * dims.inner(), (dims.heads, dims.head_width));
        Ok(fused::split_heads(x, &rows.on_device.starts, column, size, rows.longest)?)
    }

    fn self_attention(&mut self, index: usize, part: &SelfAttention, x: Tensor, step: &Step) -> Result<Tensor> {
        let parameters = &self.engine.parameters;
        let qkv = parameters.linear(&self.norm(&x, &part.norm)?, &part.qkv)?;
        let q = self.heads(&qkv, 0, &step.texts)?;
        let new = (self.heads(&qkv, 1, &step.texts)?, self.heads(&qkv, 2, &step.texts)?);
        let (k, v) = self.with_past(index, step, new)?;
        let bias = Some(&self.biases[self.engine.layout.decoder.bias_of(index)]);
        let visible = Visible { keys: &step.keys, bias, position: step.position, causal: true };
        let heads = fused::softmax(&q.matmul(&k.t()?)?, visible)?.matmul(&v)?;
        let heads = fused::merge_heads(&[&heads], &step.texts.on_device.places)?;
        Ok((x + parameters.linear(&heads, &part.out)?)?)
    }

    fn cross_attention(&self, index: usize, part: &CrossAttention, x: &Tensor, step: &Step) -> Result<Tensor> {
        let parameters = &self.engine.parameters;
        let queries = parameters.linear(&self.norm(x, &part.norm)?, &part.query)?;
        let q = self.heads(&queries, 0, &step.askers)?;
        let (k, v) = &self.memory.layers[index];
        let (k, v) = match &step.questions.some {
            None => (k.clone(), v.clone()),
            Some(some) => (k.index_select(some, 0)?, v.index_select(some, 0)?),
        };
        let visible = Visible { keys: &step.questions.lengths, bias: None, position: 0, causal: false };
        let heads = fused::softmax(&q.matmul(&k.t()?)?, visible)?.matmul(&v)?;
        let heads = fused::merge_heads(&[&heads], &step.askers.on_device.places)?;
        Ok((x + parameters.linear(&heads, &part.out)?)?)
    }

    fn feed_forward(&self, part: &FeedForward, x: &Tensor) -> Result<Tensor> {
        let parameters = &self.engine.parameters;
        let inner = parameters.linear(&self.norm(x, &part.norm)?, &part.inner)?;
        let activated = fused::activate(self.engine.dims.activation, &inner)?;
        Ok((x + parameters.linear(&activated, &part.out)?)?)
    }
}
