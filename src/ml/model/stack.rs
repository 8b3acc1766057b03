//! The layers of an encoder or a decoder, forward and backward, said once over the [`Operations`] that they are made of.
//!
//! The CPU engine has these on buffers that stay, the GPU engine on tensors, and [`memory`](super::memory) counts the bytes
//! of the buffers. Shapes are in the alphabet of [`model`](super), with n for the rows of all examples of a batch.
//! An operation writes to a slot, whatever was in it, and reads others.

use super::Dims;
use super::layout::{CrossAttention, FeedForward, Layer, Place, SelfAttention, Stack};
use super::site::Site;

/// What the slots of a stack hold.
pub(super) trait Slots: Default {
    /// Activations or their gradient, `[n, W]`.
    type Rows: Default;
    /// Activations that are kept for the backward pass, `[n, W]`, maybe in bf16.
    type Saved: Default;
    /// Attention probabilities of all heads and examples.
    type Probabilities: Default;
}

pub(super) type Rows<O> = <<O as Operations>::Slots as Slots>::Rows;
pub(super) type Saved<O> = <<O as Operations>::Slots as Slots>::Saved;
pub(super) type Done<O> = Result<(), <O as Operations>::Error>;

/// What a stack is made of, at work on one batch. Where weights learn, [`norm_backward`](Self::norm_backward),
/// [`attend_backward`](Self::attend_backward) and [`feed_backward`](Self::feed_backward) add to the gradients of theirs.
pub(super) trait Operations: Sized {
    type Error;
    type Slots: Slots;

    /// Whether a slot that is released still has what was in it.
    const STAYS: bool;

    /// Says that nobody reads what is in a slot, or in several.
    fn release<S: Default>(&self, slot: &mut S);

    /// `out = x`, `[n, E]`.
    fn copy(&self, out: &mut Rows<Self>, x: &Rows<Self>);

    /// `out = 0`, of the sizes of `like`, `[n, E]`.
    fn zeros(&self, out: &mut Rows<Self>, like: &Rows<Self>) -> Done<Self>;

    /// `x = mask ∘ x`, if something is dropped out: `[n, E]`, inside a feed-forward sublayer `[n, F]`.
    fn drop_rows(&self, x: &mut Rows<Self>, site: Site) -> Done<Self>;

    /// `out = x / rms(x) · scale`, `[n, E]`, of the input `x`.
    fn norm(&self, out: &mut Rows<Self>, input: &mut Input<Self::Slots>, scale: &Place) -> Done<Self>;

    /// Adds to `d_x` the gradient that comes through a norm, given that of its output; both `[n, E]`.
    fn norm_backward(
        &mut self,
        d_x: &mut Rows<Self>,
        d_out: &Rows<Self>,
        input: &Input<Self::Slots>,
        scale: &Place,
    ) -> Done<Self>;

    /// `x += dropout(branch · weightᵀ)`, `[n, E]`; `room` may take the summand.
    fn residual(
        &self,
        x: &mut Rows<Self>,
        branch: &Rows<Self>,
        weight: Linear<'_>,
        site: Site,
        room: &mut Rows<Self>,
    ) -> Done<Self>;

    /// `d_x = d_out · weight`, `[n, inputs]`.
    fn linear_backward(&self, d_x: &mut Rows<Self>, d_out: &Rows<Self>, weight: Linear<'_>) -> Done<Self>;

    /// Adds `d_outᵀ · x` to the gradient of a weight.
    fn learn(&mut self, weight: Linear<'_>, d_out: &Rows<Self>, x: &Rows<Self>) -> Done<Self>;

    /// `heads = dropout(softmax(queries · keysᵀ + bias)) · values`, `[n, I]`. Uses the normed input, `[n, E]`, up; `spare` is
    /// free.
    fn attend(
        &mut self,
        part: Part<'_>,
        heads: &mut Rows<Self>,
        seen: &mut Seen<Self::Slots>,
        normed: &mut Rows<Self>,
        spare: &mut Rows<Self>,
    ) -> Done<Self>;

    /// The gradient of what was projected, given that of the heads, `[n, I]`. Takes care of that of the memory. Uses `seen` up.
    fn attend_backward(
        &mut self,
        part: Part<'_>,
        d_projected: &mut Rows<Self>,
        d_heads: &Rows<Self>,
        seen: &mut Seen<Self::Slots>,
    ) -> Done<Self>;

    /// From now on rows are only those whose gradient is wanted: of `d_x` and `input`, and of what
    /// [`attend_backward`](Self::attend_backward) writes.
    fn select(&mut self, d_x: &mut Rows<Self>, input: &mut Input<Self::Slots>) -> Done<Self>;

    /// `inner = normed · weightᵀ`, which is kept, and activated, `[n, F]`. Uses `normed`, `[n, E]`, up.
    fn feed(
        &mut self,
        activated: &mut Rows<Self>,
        inner: &mut Saved<Self>,
        normed: &mut Rows<Self>,
        weight: Linear<'_>,
    ) -> Done<Self>;

    /// Activates what was kept once more.
    fn activate(&mut self, activated: &mut Rows<Self>, inner: &mut Saved<Self>) -> Done<Self>;

    /// The gradient of `normed`, given that of what was activated. Uses `inner` and `normed` up, which only who learns reads.
    fn feed_backward(
        &mut self,
        d_normed: &mut Rows<Self>,
        d_activated: &Rows<Self>,
        inner: &mut Saved<Self>,
        normed: &mut Rows<Self>,
        weight: Linear<'_>,
    ) -> Done<Self>;
}

/// A frozen matrix, `[outputs, inputs]`.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub(super) place: &'a Place,
    pub(super) inputs: usize,
}

impl Linear<'_> {
    pub(super) fn outputs(&self) -> usize {
        self.place.len() / self.inputs
    }
}

/// A self-attention, or an attention to the memory of a decoder.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) layer: usize,
    pub(super) crosses: bool,
    norm: &'a Place,
    /// Query, key and value, `[3I, E]`, or the query alone, `[I, E]`.
    pub(super) projection: Linear<'a>,
    /// `[E, I]`.
    out: Linear<'a>,
}

impl Part<'_> {
    /// Where probabilities are dropped out.
    pub(super) fn site(&self) -> Site {
        if self.crosses { Site::Cross(self.layer) } else { Site::Attention(self.layer) }
    }

    fn out_site(&self) -> Site {
        if self.crosses { Site::CrossOut(self.layer) } else { Site::AttentionOut(self.layer) }
    }
}

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

/// Of which rows of a stack's input a backward pass finds the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of none: the embeddings of the decoder's input are frozen.
    Nothing,
    /// Of those that are [selected](Operations::select): the prompts.
    Selected,
    /// Of all.
    Everything,
}

/// A stack, and how it is run.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) dims: &'a Dims,
    pub(super) stack: &'a Stack,
    pub(super) keep: Keep,
    /// Whether the weights will get a gradient.
    pub(super) learns: bool,
    /// Whether something is dropped out.
    pub(super) drops: bool,
}

impl<'a> Plan<'a> {
    fn self_attention(&self, layer: usize, part: &'a SelfAttention) -> Part<'a> {
        let SelfAttention { norm, qkv, out } = part;
        self.part(layer, false, norm, (qkv, out))
    }

    fn cross_attention(&self, layer: usize, part: &'a CrossAttention) -> Part<'a> {
        let CrossAttention { norm, query, out } = part;
        self.part(layer, true, norm, (query, out))
    }

    fn part(&self, layer: usize, crosses: bool, norm: &'a Place, (first, out): (&'a Place, &'a Place)) -> Part<'a> {
        let projection = Linear { place: first, inputs: self.dims.width };
        Part { layer, crosses, norm, projection, out: Linear { place: out, inputs: self.dims.inner() } }
    }

    fn feed_forward(&self, part: &'a FeedForward) -> (Linear<'a>, Linear<'a>) {
        let FeedForward { inner, out, .. } = part;
        (Linear { place: inner, inputs: self.dims.width }, Linear { place: out, inputs: self.dims.ff })
    }
}

/// What a stack keeps for its backward pass.
#[derive(Default)]
pub(super) struct Tape<S: Slots> {
    /// One for each layer, or one that all layers use in turn.
    layers: Vec<LayerTape<S>>,
    /// The inputs of the layers, if the layers have one tape.
    inputs: Vec<S::Rows>,
    /// Of the last norm.
    last: Input<S>,
    /// Gradient of the input, once the backward pass is done.
    pub(super) d_x: S::Rows,
}

#[derive(Default)]
struct LayerTape<S: Slots> {
    attention: AttentionTape<S>,
    cross: AttentionTape<S>,
    ff: FeedForwardTape<S>,
}

#[derive(Default)]
struct AttentionTape<S: Slots> {
    input: Input<S>,
    seen: Seen<S>,
    /// Output of the heads, `[n, I]`; only the gradients of weights need it.
    heads: S::Rows,
}

#[derive(Default)]
struct FeedForwardTape<S: Slots> {
    input: Input<S>,
    /// `[n, F]`, or `[n, 2F]` if it is gated.
    inner: S::Saved,
}

/// The input of a norm.
#[derive(Default)]
pub(super) struct Input<S: Slots> {
    /// `[n, E]`.
    pub(super) x: S::Rows,
    /// `1 / rms(x)`, `[n]`, of who does not compute it again.
    pub(super) inverse: S::Rows,
}

/// What an attention keeps.
#[derive(Default)]
pub(super) struct Seen<S: Slots> {
    /// Query, key and value, `[n, 3I]`; of cross-attention the query alone, `[n, I]`.
    pub(super) projected: S::Saved,
    pub(super) probabilities: S::Probabilities,
}

/// Slots between two operations.
#[derive(Default)]
pub(super) struct Scratch<S: Slots> {
    normed: S::Rows,
    heads: S::Rows,
    branch: S::Rows,
    activated: S::Rows,
    d_normed: S::Rows,
    d_branch: S::Rows,
    /// Of the heads, or of what was activated.
    d_inner: S::Rows,
    d_projected: S::Rows,
}

impl<S: Slots> Scratch<S> {
    /// Exchanges slots of forward passes with those of gradients; done twice, all is as it was.
    fn lend_to_gradients(&mut self) {
        std::mem::swap(&mut self.normed, &mut self.d_normed);
        std::mem::swap(&mut self.activated, &mut self.d_inner);
    }
}

/// What takes memory.
pub(super) trait Bytes {
    /// Memory in use.
    fn bytes(&self) -> usize;
}

impl<S: Slots<Rows: Bytes, Saved: Bytes, Probabilities: Bytes>> Bytes for Tape<S> {
    fn bytes(&self) -> usize {
        let input = |Input { x, inverse }: &Input<S>| x.bytes() + inverse.bytes();
        let attention = |tape: &AttentionTape<S>| {
            let Seen { projected, probabilities } = &tape.seen;
            input(&tape.input) + projected.bytes() + probabilities.bytes() + tape.heads.bytes()
        };
        let ff = |tape: &FeedForwardTape<S>| input(&tape.input) + tape.inner.bytes();
        let layers = self.layers.iter().map(|tape| attention(&tape.attention) + attention(&tape.cross) + ff(&tape.ff));
        layers.chain(self.inputs.iter().map(Bytes::bytes)).sum::<usize>() + input(&self.last) + self.d_x.bytes()
    }
}

impl<S: Slots<Rows: Bytes>> Bytes for Scratch<S> {
    fn bytes(&self) -> usize {
        let Self { normed, heads, branch, activated, d_normed, d_branch, d_inner, d_projected } = self;
        let slots = [normed, heads, branch, activated, d_normed, d_branch, d_inner, d_projected];
        slots.into_iter().map(Bytes::bytes).sum()
    }
}

/// A stack at work.
pub(super) struct Work<'a, O: Operations> {
    pub(super) operations: &'a mut O,
    pub(super) plan: Plan<'a>,
    pub(super) scratch: &'a mut Scratch<O::Slots>,
}

impl<O: Operations> Work<'_, O> {
    /// Runs the stack on `x`, `[n, E]`, which it uses up; `out`, `[n, E]`, takes its output.
    pub(super) fn forward(&mut self, x: &mut Rows<O>, tape: &mut Tape<O::Slots>, out: &mut Rows<O>) -> Done<O> {
        let Plan { stack, keep, .. } = self.plan;
        let layers = stack.layers.len();
        tape.layers.resize_with(if keep == Keep::Everything { layers } else { 1 }, LayerTape::default);
        tape.inputs.resize_with(if keep == Keep::Inputs { layers } else { 0 }, Default::default);
        self.operations.drop_rows(x, Site::Embedding)?;
        for index in 0..layers {
            if let Some(input) = tape.inputs.get_mut(index) {
                self.operations.copy(input, x);
            }
            let at = index.min(tape.layers.len() - 1);
            self.layer_forward(index, x, &mut tape.layers[at])?;
            if keep != Keep::Everything {
                self.operations.release(&mut tape.layers[at]);
            }
        }
        self.operations.copy(&mut tape.last.x, x);
        self.operations.release(x);
        self.operations.norm(out, &mut tape.last, &stack.norm)?;
        self.operations.drop_rows(out, Site::Last)
    }

    /// Leaves the gradient of the stack's input in the tape, of the rows that are `wanted`. Uses `d_out`, `[n, E]`, up.
    pub(super) fn backward(&mut self, d_out: &mut Rows<O>, tape: &mut Tape<O::Slots>, wanted: Wanted) -> Done<O> {
        let Plan { stack, keep, learns, .. } = self.plan;
        let Tape { layers, inputs, last, d_x } = tape;
        // What only forward passes use, gradients can use if there is no forward pass in between.
        let shares = !learns && keep == Keep::Everything;
        if shares {
            self.scratch.lend_to_gradients();
        }
        self.operations.drop_rows(d_out, Site::Last)?;
        self.operations.zeros(d_x, d_out)?;
        self.operations.norm_backward(d_x, d_out, last, &stack.norm)?;
        self.operations.release(d_out);
        self.operations.release(last);
        for index in (0..stack.layers.len()).rev() {
            let at = index.min(layers.len() - 1);
            let is_there = O::STAYS && index + 1 == stack.layers.len();
            if let (Some(input), false) = (inputs.get_mut(index), is_there) {
                self.layer_forward(index, input, &mut layers[at])?;
                self.operations.release(input);
            }
            let wanted = if index == 0 { wanted } else { Wanted::Everything };
            self.layer_backward(index, d_x, &mut layers[at], wanted)?;
            self.operations.release(&mut layers[at]);
        }
        if wanted != Wanted::Nothing {
            self.operations.drop_rows(d_x, Site::Embedding)?;
        }
        if shares {
            self.scratch.lend_to_gradients();
        }
        Ok(())
    }

    fn layer_forward(&mut self, index: usize, x: &mut Rows<O>, tape: &mut LayerTape<O::Slots>) -> Done<O> {
        let Layer { attention, cross, ff } = &self.plan.stack.layers[index];
        self.attention_forward(self.plan.self_attention(index, attention), x, &mut tape.attention)?;
        if let Some(cross) = cross {
            self.attention_forward(self.plan.cross_attention(index, cross), x, &mut tape.cross)?;
        }
        self.ff_forward(index, ff, x, &mut tape.ff)
    }

    fn layer_backward(
        &mut self,
        index: usize,
        d_x: &mut Rows<O>,
        tape: &mut LayerTape<O::Slots>,
        wanted: Wanted,
    ) -> Done<O> {
        let Layer { attention, cross, ff } = &self.plan.stack.layers[index];
        self.ff_backward(index, ff, d_x, &mut tape.ff)?;
        if let Some(cross) = cross {
            let part = self.plan.cross_attention(index, cross);
            self.attention_backward(part, d_x, &mut tape.cross, Wanted::Everything)?;
        }
        match wanted {
            Wanted::Nothing => Ok(()),
            _ => {
                let part = self.plan.self_attention(index, attention);
                self.attention_backward(part, d_x, &mut tape.attention, wanted)
            }
        }
    }

    fn attention_forward(&mut self, part: Part<'_>, x: &mut Rows<O>, tape: &mut AttentionTape<O::Slots>) -> Done<O> {
        let Self { operations, plan, scratch } = self;
        let AttentionTape { input, seen, heads } = tape;
        operations.copy(&mut input.x, x);
        operations.norm(&mut scratch.normed, input, part.norm)?;
        let heads = if plan.learns { heads } else { &mut scratch.heads };
        operations.attend(part, heads, seen, &mut scratch.normed, &mut scratch.d_projected)?;
        operations.residual(x, heads, part.out, part.out_site(), &mut scratch.branch)?;
        operations.release(*scratch);
        Ok(())
    }

    fn attention_backward(
        &mut self,
        part: Part<'_>,
        d_x: &mut Rows<O>,
        tape: &mut AttentionTape<O::Slots>,
        wanted: Wanted,
    ) -> Done<O> {
        let Self { operations, plan, scratch } = self;
        let Scratch { normed, d_normed, d_branch, d_inner: d_heads, d_projected, .. } = &mut **scratch;
        let AttentionTape { input, seen, heads } = tape;
        let d_branch = branch_gradient(*operations, plan, d_x, part.out_site(), d_branch)?;
        if plan.learns {
            operations.learn(part.out, d_branch, heads)?;
        }
        operations.linear_backward(d_heads, d_branch, part.out)?;
        if wanted == Wanted::Selected {
            operations.select(d_x, input)?;
        }
        operations.attend_backward(part, d_projected, d_heads, seen)?;
        if plan.learns {
            operations.norm(normed, input, part.norm)?;
            operations.learn(part.projection, d_projected, normed)?;
            operations.release(normed);
        }
        operations.linear_backward(d_normed, d_projected, part.projection)?;
        operations.norm_backward(d_x, d_normed, input, part.norm)?;
        operations.release(*scratch);
        Ok(())
    }

    fn ff_forward(
        &mut self,
        index: usize,
        part: &FeedForward,
        x: &mut Rows<O>,
        tape: &mut FeedForwardTape<O::Slots>,
    ) -> Done<O> {
        let Self { operations, plan, scratch } = self;
        let Scratch { normed, activated, branch, .. } = &mut **scratch;
        let FeedForwardTape { input, inner } = tape;
        let (first, out) = plan.feed_forward(part);
        operations.copy(&mut input.x, x);
        operations.norm(normed, input, &part.norm)?;
        operations.feed(activated, inner, normed, first)?;
        operations.drop_rows(activated, Site::Inner(index))?;
        operations.residual(x, activated, out, Site::InnerOut(index), branch)?;
        operations.release(*scratch);
        Ok(())
    }

    fn ff_backward(
        &mut self,
        index: usize,
        part: &FeedForward,
        d_x: &mut Rows<O>,
        tape: &mut FeedForwardTape<O::Slots>,
    ) -> Done<O> {
        let Self { operations, plan, scratch } = self;
        let Scratch { normed, activated, d_normed, d_branch, d_inner: d_activated, .. } = &mut **scratch;
        let FeedForwardTape { input, inner } = tape;
        let (first, out) = plan.feed_forward(part);
        let d_branch = branch_gradient(*operations, plan, d_x, Site::InnerOut(index), d_branch)?;
        if plan.learns {
            operations.activate(activated, inner)?;
            operations.drop_rows(activated, Site::Inner(index))?;
            operations.learn(out, d_branch, activated)?;
            operations.release(activated);
        }
        operations.linear_backward(d_activated, d_branch, out)?;
        operations.drop_rows(d_activated, Site::Inner(index))?;
        if plan.learns {
            operations.norm(normed, input, &part.norm)?;
        }
        operations.feed_backward(d_normed, d_activated, inner, normed, first)?;
        operations.norm_backward(d_x, d_normed, input, &part.norm)?;
        operations.release(*scratch);
        Ok(())
    }
}

/// The gradient of what a residual branch adds, given that of the stream.
fn branch_gradient<'s, O: Operations>(
    operations: &O,
    plan: &Plan<'_>,
    d_x: &'s Rows<O>,
    site: Site,
    room: &'s mut Rows<O>,
) -> Result<&'s Rows<O>, O::Error> {
    if !plan.drops {
        return Ok(d_x);
    }
    operations.copy(room, d_x);
    operations.drop_rows(room, site)?;
    Ok(room)
}
