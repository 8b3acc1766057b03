//! T5 forward and backward by hand: no tape, no padding, buffers that stay.
//!
//! Rows of all examples are packed for the linear layers; attention runs per example. The backward pass goes to the
//! prompts, and on request to all weights. Checked against [`reference`](super::reference) and Hugging Face.

mod cross;
mod decode;
pub mod kernels;
mod operations;

use super::batch::{Batch, Ragged};
use super::layout::Stack;
use super::position::offset_bias;
use super::stack::{Bytes, Keep, Plan, Scratch, Tape, Wanted, Work};
use super::{Dims, Weights};
use cross::Memory;
use kernels::{
    CrossEntropy, Dropout, Span, cross_entropy, gather, linear, linear_backward, linear_weight_gradient, room, scatter,
};
use operations::{Buffers, Context, Given, Learned};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

/// Loss of the examples of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum over target tokens, z-loss included.
    pub sum: f64,
    /// Number of target tokens.
    pub tokens: usize,
}

impl Loss {
    /// Mean loss of a token.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

/// Where [`Engine::gradients`] adds what it finds.
pub struct Gradients<'a> {
    /// For each run the gradient of its prompt, `[P, E]`.
    pub prompts: &'a mut [Vec<f32>],
    /// The gradient of all weights, in the layout of the weights.
    pub weights: Option<&'a mut [f32]>,
}

/// A T5 with room to compute in.
pub struct Engine<'w> {
    weights: &'w Weights,
    recompute: bool,
    absorb: bool,
    space: Space,
}

/// Buffers that keep their size from step to step.
#[derive(Default)]
struct Space {
    encoder: Tape<Buffers>,
    decoder: Tape<Buffers>,
    /// Input of the encoder, `[N, E]`; after its forward pass the gradient of its output.
    x: Vec<f32>,
    /// Input of the decoder, `[M, E]`; after its forward pass the gradient of its output.
    y: Vec<f32>,
    /// Output of the encoder, `[N, E]`.
    memory: Vec<f32>,
    /// Cross-attention keys and values of all decoder layers, `[N, 2I·layers]`, unless they are absorbed.
    cross: Vec<f32>,
    d_cross: Vec<f32>,
    /// Output of the decoder, `[M, E]`.
    decoded: Vec<f32>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    scratch: Scratch<Buffers>,
    within: operations::Scratch,
}

impl Space {
    fn bytes(&self) -> usize {
        let Self { encoder, decoder, x, y, memory, cross, d_cross, decoded, logits, losses, scratch, within } = self;
        let own = [x, y, memory, cross, d_cross, decoded, logits, losses];
        let own: usize = own.into_iter().map(Bytes::bytes).sum();
        own + encoder.bytes() + decoder.bytes() + scratch.bytes() + within.bytes()
    }
}

/// Logits in memory at one time.
pub(super) const LOGITS: usize = 1 << 22;

impl<'w> Engine<'w> {
    /// An engine on these weights.
    pub fn new(weights: &'w Weights) -> Self {
        Self { weights, recompute: false, absorb: false, space: Space::default() }
    }

    /// Whether the backward pass computes the activations of each layer again instead of keeping them: the results are the
    /// same to the bit, for a third more work and memory for the activations of one layer.
    pub fn recompute(&mut self, recompute: bool) {
        if self.recompute != recompute {
            self.recompute = recompute;
            self.space = Space::default();
        }
    }

    /// Says how long the targets or answers of the coming batches are at most, in tokens. If they are short, the rows of
    /// the encoder need no keys and values: the queries are projected to them instead. The results differ in rounding,
    /// so batches that must agree to the bit need the same `longest`.
    pub fn expect(&mut self, longest: usize) {
        self.absorb = self.weights.dims.absorbs(longest);
        if self.absorb {
            (self.space.cross, self.space.d_cross) = Default::default();
        }
    }

    /// The weights.
    pub fn weights(&self) -> &'w Weights {
        self.weights
    }

    /// Bytes of the buffers: what the largest batch so far needed.
    pub fn bytes(&self) -> usize {
        self.space.bytes()
    }

    /// Loss of each run, without gradients. `prompts`: for each run `[P, E]`, possibly with P = 0.
    pub fn losses(&mut self, prompts: &[&[f32]], batch: &Batch, settings: CrossEntropy) -> Vec<Loss> {
        self.forward(prompts, batch, None, Keep::Nothing, false);
        self.loss(batch, prompts.len(), settings, None, false)
    }

    /// Loss of each run; adds the gradients of the sums of the losses.
    pub fn gradients(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        gradients: Gradients<'_>,
    ) -> Vec<Loss> {
        let Gradients { prompts: d_prompts, weights: mut d_weights } = gradients;
        let keep = if self.recompute { Keep::Inputs } else { Keep::Everything };
        self.forward(prompts, batch, dropout, keep, d_weights.is_some());
        let losses = self.loss(batch, prompts.len(), settings, d_weights.as_deref_mut(), true);
        self.backward(prompts, batch, dropout, keep, d_prompts, d_weights);
        losses
    }

    /// Output of the encoder for each example, `[P + T, E]`, and where each begins.
    pub fn encode(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged) -> (&[f32], Vec<usize>) {
        let starts = self.encoder(prompts, run, inputs, None, Keep::Nothing, false);
        let rows = starts[run.len()];
        (&self.space.memory[..rows * self.weights.dims.width], starts)
    }

    /// What a decoder looks at, and where each example's rows begin.
    pub(super) fn memory(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
    ) -> (Memory<Vec<f32>>, Vec<usize>) {
        let (weights, absorb) = (self.weights, self.absorb);
        let Weights { dims, layout, .. } = weights;
        let (memory, starts) = self.encode(prompts, run, inputs);
        if absorb {
            return (Memory::Absorbed(memory.to_vec()), starts);
        }
        let mut cross = vec![0.0; starts[run.len()] * 2 * dims.inner() * dims.decoder_layers];
        linear(&mut cross, memory, weights.at(&layout.cross), dims.width);
        (Memory::Projected(cross), starts)
    }

    fn encoder(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        dropout: Option<&Dropout>,
        keep: Keep,
        learns: bool,
    ) -> Vec<usize> {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let starts = encoder_starts(prompts, run, inputs, width);
        let Space { encoder, memory, scratch, within, x, .. } = &mut self.space;
        let rows = room(x, starts[run.len()] * width);
        for ((run, ids), start) in run.iter().zip(inputs.rows()).zip(&starts) {
            let (prompt, text) = rows[start * width..].split_at_mut(prompts[*run].len());
            prompt.copy_from_slice(prompts[*run]);
            gather(&mut text[..ids.len() * width], self.weights.at(&layout.embedding), ids, width);
        }
        // With dropout no two examples have equal rows.
        let repeated = if dropout.is_none() { repeated(prompts, run, &starts, width) } else { Vec::new() };
        let side = Side::encoder(self.weights, &starts);
        let plan = side.plan(dims, keep, learns, dropout);
        let given = Given { repeated: &repeated, ..side.given(self.weights, dropout) };
        let mut context = Context::new(given, keep, within);
        let Ok(()) = Work { operations: &mut context, plan, scratch }.forward(x, encoder, memory);
        starts
    }

    fn forward(&mut self, prompts: &[&[f32]], batch: &Batch, dropout: Option<&Dropout>, keep: Keep, learns: bool) {
        let starts = self.encoder(prompts, &batch.run, &batch.inputs, dropout, keep, learns);
        let Weights { dims, layout, .. } = self.weights;
        let (width, rows) = (dims.width, starts[batch.len()]);
        let absorb = self.absorbs(learns);
        let Space { decoder, memory, cross, decoded, scratch, within, y, .. } = &mut self.space;
        let memory = &memory[..rows * width];
        let memory = if absorb {
            Memory::Absorbed(memory)
        } else {
            let cross = room(cross, rows * 2 * dims.inner() * dims.decoder_layers);
            linear(cross, memory, self.weights.at(&layout.cross), width);
            Memory::Projected(&*cross)
        };
        let ids = shifted(&batch.targets, dims.start);
        gather(room(y, ids.len() * width), self.weights.at(&layout.embedding), &ids, width);
        let side = Side::decoder(self.weights, batch.targets.starts(), &starts);
        let plan = side.plan(dims, keep, learns, dropout);
        let given = Given { memory: Some(memory), ..side.given(self.weights, dropout) };
        let mut context = Context::new(given, keep, within);
        let Ok(()) = Work { operations: &mut context, plan, scratch }.forward(y, decoder, decoded);
        if dims.scaled {
            scale(&mut decoded[..ids.len() * width], width);
        }
    }

    /// Whether cross-attention is absorbed. The gradients of the weights are not written for that.
    fn absorbs(&self, learns: bool) -> bool {
        self.absorb && !learns
    }

    /// Losses from the decoder's output, some rows of logits at a time. To `learn`, it leaves the gradient of the decoder's
    /// output behind.
    fn loss(
        &mut self,
        batch: &Batch,
        runs: usize,
        settings: CrossEntropy,
        mut d_weights: Option<&mut [f32]>,
        learn: bool,
    ) -> Vec<Loss> {
        let Weights { dims, layout, .. } = self.weights;
        let (width, vocab) = (dims.width, dims.vocab);
        let head = self.weights.at(&layout.head);
        let targets = batch.targets.ids();
        let Space { decoded, y: d_decoded, logits, losses, .. } = &mut self.space;
        let losses = room(losses, targets.len());
        let d_decoded = room(d_decoded, targets.len() * width);
        let rows = (LOGITS / vocab).max(1);
        let chunks = targets.chunks(rows).zip(losses.chunks_mut(rows)).zip(decoded.chunks(rows * width));
        for (((targets, losses), decoded), d_decoded) in chunks.zip(d_decoded.chunks_mut(rows * width)) {
            let logits = room(logits, targets.len() * vocab);
            let decoded = &decoded[..targets.len() * width];
            linear(logits, decoded, head, width);
            cross_entropy(settings, losses, logits, targets, vocab);
            if learn {
                linear_backward(d_decoded, logits, head, width, false);
            }
            if let Some(d_weights) = d_weights.as_deref_mut() {
                linear_weight_gradient(&mut d_weights[layout.head.clone()], logits, decoded, width);
            }
        }
        let mut sums = vec![Loss::default(); runs];
        for (run, bounds) in batch.run.iter().zip(batch.targets.starts().windows(2)) {
            sums[*run].sum += losses[bounds[0]..bounds[1]].iter().map(|x| f64::from(*x)).sum::<f64>();
            sums[*run].tokens += bounds[1] - bounds[0];
        }
        sums
    }

    fn backward(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        dropout: Option<&Dropout>,
        keep: Keep,
        d_prompts: &mut [Vec<f32>],
        mut d_weights: Option<&mut [f32]>,
    ) {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let starts = encoder_starts(prompts, &batch.run, &batch.inputs, width);
        let rows = starts[batch.len()];
        let learns = d_weights.is_some();
        let absorb = self.absorbs(learns);
        let Space { encoder, decoder, memory, x, cross, d_cross, y: d_decoded, scratch, within, .. } = &mut self.space;
        if dims.scaled {
            scale(&mut d_decoded[..batch.targets.ids().len() * width], width);
        }

        let side = Side::decoder(self.weights, batch.targets.starts(), &starts);
        let plan = side.plan(dims, keep, learns, dropout);
        let memory = &memory[..rows * width];
        let d_memory = room(x, rows * width);
        let cross_width = if absorb { 0 } else { 2 * dims.inner() * dims.decoder_layers };
        let d_cross = room(d_cross, rows * cross_width);
        let (seen, d_seen) = if absorb {
            d_memory.fill(0.0);
            (Memory::Absorbed(memory), &mut *d_memory)
        } else {
            (Memory::Projected(&cross[..rows * cross_width]), &mut *d_cross)
        };
        let given = Given { memory: Some(seen), ..side.given(self.weights, dropout) };
        let mut context = Context::new(given, keep, within);
        context.d_memory = d_seen;
        context.learned = d_weights.as_deref_mut().map(|d_weights| Learned::new(d_weights, &side));
        let wanted = if learns { Wanted::Everything } else { Wanted::Nothing };
        let Ok(()) = Work { operations: &mut context, plan, scratch }.backward(d_decoded, decoder, wanted);
        context.learn_biases();
        if let Some(d_weights) = d_weights.as_deref_mut() {
            let ids = shifted(&batch.targets, dims.start);
            let d_y = &decoder.d_x[..ids.len() * width];
            scatter(&mut d_weights[layout.embedding.clone()], d_y, &ids, width);
            linear_weight_gradient(&mut d_weights[layout.cross.clone()], d_cross, memory, width);
        }
        if !absorb {
            linear_backward(d_memory, d_cross, self.weights.at(&layout.cross), width, false);
        }

        let side = Side::encoder(self.weights, &starts);
        let plan = side.plan(dims, keep, learns, dropout);
        let led = batch.run.iter().zip(&starts).map(|(run, start)| *start..start + prompts[*run].len() / width);
        let led: Vec<Range<usize>> = led.collect();
        let given = Given { wanted: &led, ..side.given(self.weights, dropout) };
        let mut context = Context::new(given, keep, within);
        context.learned = d_weights.as_deref_mut().map(|d_weights| Learned::new(d_weights, &side));
        let wanted = if learns { Wanted::Everything } else { Wanted::Selected };
        let Ok(()) = Work { operations: &mut context, plan, scratch }.backward(x, encoder, wanted);
        context.learn_biases();
        let mut selected = 0;
        for ((run, ids), led) in batch.run.iter().zip(batch.inputs.rows()).zip(&led) {
            let first = if learns { led.start } else { selected };
            selected += led.len();
            let (prompt, text) = encoder.d_x[first * width..].split_at(led.len() * width);
            for (d, x) in d_prompts[*run].iter_mut().zip(prompt) {
                *d += x;
            }
            if let Some(d_weights) = d_weights.as_deref_mut() {
                scatter(&mut d_weights[layout.embedding.clone()], &text[..ids.len() * width], ids, width);
            }
        }
    }
}

#[cfg(test)]
impl<'w> Engine<'w> {
    /// An engine whose decoder looks at keys and values, and one whose decoder looks at the encoder's rows.
    pub(crate) fn both(weights: &'w Weights) -> [Self; 2] {
        let mut absorbs = Self::new(weights);
        absorbs.expect(0);
        [Self::new(weights), absorbs]
    }
}

/// Who sees whom in one of the two stacks.
struct Side<'a> {
    stack: &'a Stack,
    starts: &'a [usize],
    spans: Vec<Span>,
    cross_spans: Vec<Span>,
    /// Bias by offset, `[H, 2·longest - 1]`, for each table of the stack.
    biases: Vec<Vec<f32>>,
    longest: usize,
    decoder: bool,
}

impl<'a> Side<'a> {
    fn encoder(weights: &'a Weights, starts: &'a [usize]) -> Self {
        Self::new(weights, &weights.layout.encoder, starts, Vec::new(), false)
    }

    fn decoder(weights: &'a Weights, starts: &'a [usize], encoder_starts: &[usize]) -> Self {
        Self::new(weights, &weights.layout.decoder, starts, spans(starts, encoder_starts), true)
    }

    fn new(weights: &'a Weights, stack: &'a Stack, starts: &'a [usize], cross_spans: Vec<Span>, decoder: bool) -> Self {
        let longest = starts.windows(2).map(|bounds| bounds[1] - bounds[0]).max().unwrap_or(0).max(1);
        let Dims { heads, max_distance, .. } = weights.dims;
        let bias = |table| offset_bias(weights.vector(table), heads, longest, decoder, max_distance);
        let biases = stack.biases.iter().map(bias).collect();
        Self { stack, starts, spans: spans(starts, starts), cross_spans, biases, longest, decoder }
    }

    fn plan<'p>(&'p self, dims: &'p Dims, keep: Keep, learns: bool, dropout: Option<&Dropout>) -> Plan<'p> {
        Plan { dims, stack: self.stack, keep, learns, drops: dropout.is_some() }
    }

    fn given<'c>(&'c self, weights: &'c Weights, dropout: Option<&'c Dropout>) -> Given<'c> {
        Given { weights, side: self, dropout, repeated: &[], wanted: &[], memory: None }
    }

    /// Rows of all examples.
    fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }
}

/// The head of v1.0 reads the decoder's output divided by sqrt(E).
fn scale(x: &mut [f32], width: usize) {
    let factor = (width as f32).powf(-0.5);
    x.iter_mut().for_each(|x| *x *= factor);
}

/// Rows of prompts that led an earlier example already, and where. Runs that share a prompt share its slice.
fn repeated(prompts: &[&[f32]], run: &[usize], starts: &[usize], width: usize) -> Vec<(Range<usize>, usize)> {
    let mut first: HashMap<(*const f32, usize), usize> = HashMap::new();
    let mut repeated = Vec::new();
    for (run, start) in run.iter().zip(starts) {
        let prompt = prompts[*run];
        match first.entry((prompt.as_ptr(), prompt.len())) {
            Entry::Occupied(earlier) => repeated.push((*start..start + prompt.len() / width, *earlier.get())),
            Entry::Vacant(place) => drop(place.insert(*start)),
        }
    }
    repeated
}

/// Where each example's prompt and text begin among the packed rows.
fn encoder_starts(prompts: &[&[f32]], run: &[usize], inputs: &Ragged, width: usize) -> Vec<usize> {
    let mut starts = vec![0];
    for (run, ids) in run.iter().zip(inputs.rows()) {
        starts.push(starts[starts.len() - 1] + prompts[*run].len() / width + ids.len());
    }
    starts
}

fn spans(queries: &[usize], keys: &[usize]) -> Vec<Span> {
    let bounds = queries.windows(2).zip(keys.windows(2));
    bounds.map(|(q, k)| Span { query: q[0], queries: q[1] - q[0], key: k[0], keys: k[1] - k[0], position: 0 }).collect()
}

/// The decoder's inputs: every target one place to the right, behind the start id.
pub(super) fn shifted(targets: &Ragged, start: u32) -> Vec<u32> {
    targets.rows().flat_map(|row| std::iter::once(start).chain(row.iter().copied()).take(row.len())).collect()
}
