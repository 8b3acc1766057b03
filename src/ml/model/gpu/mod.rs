//! T5 forward and backward by hand on candle tensors: any device, f32 or bf16, gradients of the prompts, and on request of all
//! weights.
//!
//! Its layers are those of the CPU engine ([`stack`](super::stack)): rows of all examples are packed for the linear layers,
//! heads are padded for attention, what is between two products is one operation
//! ([`fused`](self::fused)), and nothing is recorded for autograd. With bf16, weights and activations
//! are bf16; prompts, the inside of norms and softmax, biases, losses and the prompts' gradients are f32.

#[cfg(feature = "cuda")]
mod cuda;
mod decode;
pub(in crate::ml) mod fused;
mod gradient;
mod operations;
mod parameters;
#[cfg(test)]
mod tests;

use super::batch::{Batch, Ragged};
use super::cpu::kernels::{CrossEntropy, Dropout};
use super::cpu::{Loss, shifted};
use super::decoder::Questions;
use super::layout::{Layout, Stack};
use super::position::offset_buckets;
use super::stack::{Keep, Plan, Scratch, Tape, Wanted, Work};
use super::{Dims, Weights};
use crate::ml::error::{Error, Result};
use candle_core::{Device, Tensor};
use fused::Masks;
pub use gradient::Gradient;
use operations::{Context, Memory, Tensors, held};
pub use parameters::Parameters;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// A T5 on a device.
pub struct Engine<'w> {
    dims: &'w Dims,
    layout: &'w Layout,
    parameters: Parameters,
    recompute: bool,
    absorb: bool,
}

/// The GPU number `index`.
///
/// # Errors
/// If this program or this machine has none.
pub fn gpu(index: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    return cuda::open(index);
    #[cfg(not(feature = "cuda"))]
    Ok(Device::new_cuda(index)?)
}

/// Logits in memory at one time. Few in tests, so that batches are cut there too.
const LOGITS: usize = if cfg!(test) { 1 << 9 } else { 1 << 26 };

/// Attention scores of a layer in memory at one time, padding included. Few in tests, so that batches are cut there too.
const SCORES: usize = if cfg!(test) { 1 << 12 } else { 1 << 28 };

/// Where [`Engine::gradients`] adds what it finds.
pub struct Gradients<'a> {
    /// For each run the gradient of its prompt, `[P, E]`.
    pub prompts: &'a mut [Vec<f32>],
    /// The gradient of all weights, which stays on the device. The weights must be f32.
    pub weights: Option<&'a Gradient>,
}

/// What a pass does beside computing losses.
#[derive(Clone, Copy)]
struct Pass<'a> {
    masks: Option<&'a Masks>,
    keep: Keep,
    /// Where gradients of weights go, if they learn.
    weights: Option<&'a Gradient>,
}

/// What a forward pass leaves.
struct Passed {
    encoder: Rows,
    decoder: Rows,
    /// Output of the encoder, `[N, E]`, if the weights learn.
    read: Option<Tensor>,
    /// What the decoder looks at.
    memory: Memory,
    /// Output of the decoder, `[M, E]`.
    decoded: Tensor,
    tapes: [Tape<Tensors>; 2],
}

impl<'w> Engine<'w> {
    /// Copies the weights to `device`.
    pub fn new(weights: &'w Weights, device: &Device) -> Result<Self> {
        Ok(Self::on(&weights.dims, &weights.layout, Parameters::new(weights, device)?))
    }

    /// An engine on weights that are on a device already.
    pub fn on(dims: &'w Dims, layout: &'w Layout, parameters: Parameters) -> Self {
        Self { dims, layout, parameters, recompute: false, absorb: false }
    }

    /// Whether the backward pass computes the activations of each layer again instead of keeping them.
    pub fn recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// Says how long the targets of the coming batches are at most, in tokens: if they are short, the rows of the encoder
    /// need no keys and values (see [`cpu::Engine::expect`](super::cpu::Engine::expect)).
    pub fn expect(&mut self, longest: usize) {
        self.absorb = self.dims.absorbs(longest);
    }

    /// Loss of each run; adds the gradients of the sums of the losses. The prompts are `[P, E]`.
    pub fn gradients(
        &self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        mut gradients: Gradients<'_>,
    ) -> Result<Vec<Loss>> {
        let lengths = self.lengths(prompts, &batch.run, &batch.inputs).zip(batch.targets.rows());
        let lengths: Vec<usize> = lengths.map(|(encoder, target)| encoder.max(target.len())).collect();
        let mut sums = vec![Loss::default(); prompts.len()];
        for examples in self.alike(&lengths) {
            let mut some = Batch::default();
            examples.iter().for_each(|e| some.push(batch.run[*e], batch.inputs.row(*e), batch.targets.row(*e)));
            let dropout = dropout.map(|dropout| {
                let keys = examples.iter().map(|example| dropout.keys[*example]).collect();
                Dropout { keys, ..*dropout }
            });
            let losses = self.gradients_of_some(prompts, &some, settings, dropout.as_ref(), &mut gradients)?;
            for (run, bounds) in some.run.iter().zip(some.targets.starts().windows(2)) {
                sums[*run].sum += losses[bounds[0]..bounds[1]].iter().map(|loss| f64::from(*loss)).sum::<f64>();
                sums[*run].tokens += bounds[1] - bounds[0];
            }
        }
        Ok(sums)
    }

    /// What `ask` finds for each example, asked for examples of like length together.
    pub(crate) fn answer<A: Clone + Default>(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        mut ask: impl FnMut(&mut Self, &Questions<'_>, &[usize]) -> Result<Vec<A>>,
    ) -> Result<Vec<A>> {
        let mut answers = vec![A::default(); run.len()];
        let lengths: Vec<usize> = self.lengths(prompts, run, inputs).collect();
        for examples in self.alike(&lengths) {
            let run: Vec<usize> = examples.iter().map(|example| run[*example]).collect();
            let inputs: Ragged = examples.iter().map(|example| inputs.row(*example).iter().copied()).collect();
            let found = ask(self, &Questions { prompts, run: &run, inputs: &inputs }, &examples)?;
            examples.iter().zip(found).for_each(|(example, answer)| answers[*example] = answer);
        }
        Ok(answers)
    }

    /// Rows of the encoder of each example.
    fn lengths<'l>(
        &self,
        prompts: &'l [&[f32]],
        run: &'l [usize],
        inputs: &'l Ragged,
    ) -> impl Iterator<Item = usize> + use<'l> {
        let width = self.dims.width;
        run.iter().zip(inputs.rows()).map(move |(run, ids)| prompts[*run].len() / width + ids.len())
    }

    /// Examples of like lengths together, so many that their padded attention scores fit in memory.
    fn alike(&self, lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|example| lengths[*example]);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for example in order {
            let scores = self.dims.heads * lengths[example] * lengths[example];
            match groups.last_mut() {
                Some(group) if (group.len() + 1) * scores <= SCORES => group.push(example),
                _ => groups.push(vec![example]),
            }
        }
        groups
    }

    /// Losses of all target tokens of a batch with an example at least.
    fn gradients_of_some(
        &self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        gradients: &mut Gradients<'_>,
    ) -> Result<Vec<f32>> {
        // The row that stands for none would be learned from.
        if batch.targets.ids().is_empty() {
            return Ok(Vec::new());
        }
        // Without a prompt and weights nothing learns.
        let learn = gradients.weights.is_some() || batch.run.iter().any(|run| !prompts[*run].is_empty());
        let keep = match (learn, self.recompute) {
            (false, _) => Keep::Nothing,
            (true, true) => Keep::Inputs,
            (true, false) => Keep::Everything,
        };
        let masks = dropout.map(|dropout| Masks::new(dropout, self.device())).transpose()?;
        let pass = Pass { masks: masks.as_ref(), keep, weights: gradients.weights };
        let passed = self.forward(prompts, batch, pass)?;
        let (losses, d_decoded) = self.loss(&passed.decoded, batch, settings, pass)?;
        if let Some(d_decoded) = d_decoded {
            self.backward(prompts, batch, pass, passed, d_decoded, gradients.prompts)?;
        }
        Ok(losses)
    }

    /// Memory of the device that is free; none on a CPU.
    ///
    /// # Errors
    /// If the device does not say.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        self.parameters.free_memory()
    }

    fn device(&self) -> &Device {
        &self.parameters.device
    }

    /// Bias by offset, `[H, 2·longest - 1]`, for each table of a stack, as [`offset_bias`](super::position::offset_bias) makes it.
    fn position_biases(&self, stack: &Stack, longest: usize, causal: bool) -> Result<Vec<Tensor>> {
        let Dims { buckets, max_distance, .. } = *self.dims;
        let rows = ids(offset_buckets(buckets, longest, causal, max_distance), self.device())?;
        let bias = |table| Ok(self.parameters.at(table).index_select(&rows, 0)?.t()?.contiguous()?);
        stack.biases.iter().map(bias).collect()
    }

    /// Output of the encoder, `[N, E]`, where its rows lie, and what it leaves for a backward pass.
    fn encoder(
        &self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        pass: Pass<'_>,
    ) -> Result<(Tensor, Rows, Tape<Tensors>)> {
        let rows = Rows::new(self.lengths(prompts, run, inputs), self.device())?;
        let x = self.embed(prompts, run, inputs, &rows)?;
        let side = Side::new(self, &self.layout.encoder, &rows, None)?;
        let (memory, tape) = self.stack(&side, pass, x, None)?;
        Ok((memory, rows, tape))
    }

    /// Each example's prompt and text, `[N, E]`. Runs that share a prompt share its slice, and it is copied once.
    fn embed(&self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, rows: &Rows) -> Result<Tensor> {
        let width = self.dims.width;
        let (mut first, mut values) = (BTreeMap::new(), Vec::new());
        let mut places = Vec::with_capacity(run.len());
        for run in run {
            let prompt = prompts[*run];
            places.push(match first.entry((prompt.as_ptr(), prompt.len())) {
                Entry::Occupied(earlier) => *earlier.get(),
                Entry::Vacant(place) => {
                    let start = *place.insert(values.len() / width);
                    values.extend_from_slice(prompt);
                    start
                }
            });
        }
        let led = values.len() / width;
        let mut sources = Vec::new();
        if led > 0 {
            sources.push(Tensor::from_vec(values, (led, width), self.device())?.to_dtype(self.parameters.dtype)?);
        }
        if !inputs.ids().is_empty() {
            sources.push(self.gather(inputs.ids())?);
        }
        if sources.is_empty() {
            return Ok(Tensor::zeros((rows.count, width), self.parameters.dtype, self.device())?);
        }
        let mut order = Vec::with_capacity(rows.count);
        for ((run, place), text) in run.iter().zip(places).zip(inputs.starts().windows(2)) {
            order.extend(place..place + prompts[*run].len() / width);
            order.extend(led + text[0]..led + text[1]);
        }
        Ok(Tensor::cat(&sources, 0)?.index_select(&ids(order, self.device())?, 0)?)
    }

    /// Embeddings of some ids.
    fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(known(ids, self.dims)?, ids.len(), self.device())?;
        Ok(self.parameters.at(&self.layout.embedding).index_select(&ids, 0)?)
    }

    fn forward(&self, prompts: &[&[f32]], batch: &Batch, pass: Pass<'_>) -> Result<Passed> {
        let &Self { dims, layout, .. } = self;
        let (memory, encoder, encoder_tape) = self.encoder(prompts, &batch.run, &batch.inputs, pass)?;
        let read = pass.weights.map(|_| memory.clone());
        // The gradients of the weights are not written for cross-attention that is absorbed.
        let memory = if self.absorb && pass.weights.is_none() {
            let rows = fused::split_heads(&memory, &encoder.on_device.starts, 0, (1, dims.width), encoder.longest)?;
            Memory::Absorbed(rows.squeeze(1)?)
        } else {
            Memory::Projected(self.parameters.linear(&memory, &layout.cross)?)
        };
        let decoder = Rows::new(batch.targets.rows().map(<[u32]>::len), self.device())?;
        let side = Side::new(self, &layout.decoder, &decoder, Some(&encoder))?;
        let y = self.gather(&shifted(&batch.targets, dims.start))?;
        let (decoded, decoder_tape) = self.stack(&side, pass, y, Some(&memory))?;
        let decoded = self.scaled(decoded)?;
        Ok(Passed { encoder, decoder, read, memory, decoded, tapes: [encoder_tape, decoder_tape] })
    }

    /// Output of a stack, `[n, E]`, given its input, and what it leaves for a backward pass.
    fn stack(
        &self,
        side: &Side<'_>,
        pass: Pass<'_>,
        x: Tensor,
        memory: Option<&Memory>,
    ) -> Result<(Tensor, Tape<Tensors>)> {
        let mut context = self.context(side, pass);
        context.memory = memory;
        let (mut x, mut out, mut tape) = (Some(x), None, Tape::default());
        let plan = self.plan(side, pass);
        Work { operations: &mut context, plan, scratch: &mut Scratch::default() }
            .forward(&mut x, &mut tape, &mut out)?;
        Ok((out.expect("a stack writes its output"), tape))
    }

    /// The head of v1.0 reads the decoder's output divided by sqrt(E).
    fn scaled(&self, x: Tensor) -> Result<Tensor> {
        Ok(if self.dims.scaled { x.affine((self.dims.width as f64).powf(-0.5), 0.0)? } else { x })
    }

    /// Losses of all target tokens from the decoder's output, and if something learns the gradient of that; some rows of
    /// logits at a time.
    fn loss(
        &self,
        decoded: &Tensor,
        batch: &Batch,
        settings: CrossEntropy,
        pass: Pass<'_>,
    ) -> Result<(Vec<f32>, Option<Tensor>)> {
        let &Self { dims, layout, .. } = self;
        let count = decoded.dim(0)?;
        let targets = Tensor::from_slice(known(batch.targets.ids(), dims)?, count, self.device())?;
        let learn = pass.keep != Keep::Nothing;
        let together = (LOGITS / dims.vocab).max(1);
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(together) {
            let rows = together.min(count - first);
            let targets = targets.narrow(0, first, rows)?;
            let decoded = decoded.narrow(0, first, rows)?;
            let logits = self.parameters.linear(&decoded, &layout.head)?;
            let found = fused::cross_entropy(settings, &logits, &targets)?;
            if learn {
                let d_logits = fused::cross_entropy_gradient(settings, &logits, &targets, &found)?;
                gradients.push(self.parameters.linear_backward(&d_logits, &layout.head)?);
                if let Some(weights) = pass.weights {
                    weights.linear(&layout.head, &d_logits, &decoded)?;
                }
            }
            losses.push(found);
        }
        let losses = Tensor::cat(&losses, 0)?.to_vec2::<f32>()?.into_iter().map(|row| row[0]).collect();
        let gradient = if learn { Some(Tensor::cat(&gradients, 0)?) } else { None };
        Ok((losses, gradient))
    }

    fn backward(
        &self,
        prompts: &[&[f32]],
        batch: &Batch,
        pass: Pass<'_>,
        passed: Passed,
        d_decoded: Tensor,
        d_prompts: &mut [Vec<f32>],
    ) -> Result<()> {
        let &Self { dims, layout, .. } = self;
        let Passed { encoder, decoder, read, memory, decoded: _, tapes: [mut encoder_tape, mut tape] } = passed;
        let side = Side::new(self, &layout.decoder, &decoder, Some(&encoder))?;
        let (mut context, plan) = (self.context(&side, pass), self.plan(&side, pass));
        context.memory = Some(&memory);
        let mut d_out = Some(self.scaled(d_decoded)?);
        let wanted = if plan.learns { Wanted::Everything } else { Wanted::Nothing };
        let scratch = &mut Scratch::default();
        Work { operations: &mut context, plan, scratch }.backward(&mut d_out, &mut tape, wanted)?;
        let mut d_memory = Some(context.memory_gradient(read.as_ref())?);
        drop((memory, read));
        if let Some(weights) = pass.weights {
            let named = shifted(&batch.targets, dims.start).into_iter().zip(0..);
            weights.rows(&layout.embedding, held(&tape.d_x), named, dims.vocab)?;
        }
        drop(tape);

        let side = Side::new(self, &layout.encoder, &encoder, None)?;
        let (mut context, plan) = (self.context(&side, pass), self.plan(&side, pass));
        let (led, selection) = if plan.learns {
            (Led::among(&encoder, prompts, batch, dims.width), None)
        } else {
            let led = Led::new(prompts, batch, dims.width);
            let selection = led.selection(&encoder, self.device())?;
            (led, Some(selection))
        };
        context.selection = selection.as_ref();
        let wanted = if plan.learns { Wanted::Everything } else { Wanted::Selected };
        let scratch = &mut Scratch::default();
        Work { operations: &mut context, plan, scratch }.backward(&mut d_memory, &mut encoder_tape, wanted)?;
        let d_x = held(&encoder_tape.d_x);
        if let Some(weights) = pass.weights {
            let texts = batch.inputs.rows().zip(encoder.starts.iter().zip(&led.places));
            let named = texts.flat_map(|(ids, (start, led))| ids.iter().copied().zip(start + led.len()..));
            weights.rows(&layout.embedding, d_x, named, dims.vocab)?;
        }
        led.add(d_x, d_prompts)
    }

    fn context<'c>(&'c self, side: &'c Side<'c>, pass: Pass<'c>) -> Context<'c> {
        let &Self { dims, layout, .. } = self;
        let mut context = Context::new(dims, &self.parameters, &layout.cross, side, pass.masks);
        context.weights = pass.weights;
        context
    }

    fn plan<'p>(&'p self, side: &Side<'p>, pass: Pass<'_>) -> Plan<'p> {
        let Pass { masks, keep, weights } = pass;
        Plan { dims: self.dims, stack: side.stack, keep, learns: weights.is_some(), drops: masks.is_some() }
    }
}

/// The rows of the prompts, and whose gradients they are.
struct Led {
    /// For each example the rows of its prompt in the gradient of the encoder's input.
    places: Vec<Range<usize>>,
    /// For each run that has a prompt and an example its number and its examples.
    runs: BTreeMap<usize, Vec<usize>>,
}

impl Led {
    /// If the gradient has the rows of the prompts alone.
    fn new(prompts: &[&[f32]], batch: &Batch, width: usize) -> Self {
        let mut ends = 0;
        Self::at(prompts, batch, width, |_, rows| {
            ends += rows;
            ends - rows
        })
    }

    /// If the gradient has all rows of the encoder.
    fn among(encoder: &Rows, prompts: &[&[f32]], batch: &Batch, width: usize) -> Self {
        Self::at(prompts, batch, width, |example, _| encoder.starts[example])
    }

    /// With the first row of each example's prompt, given the example and the number of its rows.
    fn at(prompts: &[&[f32]], batch: &Batch, width: usize, mut first: impl FnMut(usize, usize) -> usize) -> Self {
        let (mut places, mut runs) = (Vec::with_capacity(batch.len()), BTreeMap::<usize, Vec<usize>>::new());
        for (example, run) in batch.run.iter().enumerate() {
            let rows = prompts[*run].len() / width;
            let first = first(example, rows);
            places.push(first..first + rows);
            if rows > 0 {
                runs.entry(*run).or_default().push(example);
            }
        }
        Self { places, runs }
    }

    /// The rows of the prompts among those of the encoder.
    fn selection(&self, encoder: &Rows, device: &Device) -> Result<Selection> {
        let rows = self.places.iter().zip(&encoder.starts).flat_map(|(place, start)| *start..start + place.len());
        let places = self.places.iter().enumerate();
        let places: Vec<u32> = places
            .flat_map(|(example, place)| (0..place.len()).flat_map(move |row| [example as u32, row as u32]))
            .collect();
        let count = places.len() / 2;
        Ok(Selection { rows: ids(rows, device)?, places: Tensor::from_vec(places, (count, 2), device)? })
    }

    /// Adds the gradients of the prompts, given that of the encoder's input.
    fn add(&self, d_x: &Tensor, d_prompts: &mut [Vec<f32>]) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        // For each row of each run's prompt the rows whose sum is its gradient, as `sum_rows` takes them.
        let (mut starts, mut named) = (vec![0], Vec::new());
        for examples in self.runs.values() {
            for row in 0..self.places[examples[0]].len() {
                named.extend(examples.iter().map(|example| self.places[*example].start + row));
                starts.push(named.len());
            }
        }
        let (starts, named) = (ids(starts, d_x.device())?, ids(named, d_x.device())?);
        let sums = fused::sum_rows(d_x, &starts, &named)?.flatten_all()?.to_vec1::<f32>()?;
        let mut rest = &sums[..];
        for run in self.runs.keys() {
            let d_prompt = &mut d_prompts[*run];
            let (mine, others) = rest.split_at(d_prompt.len());
            rest = others;
            d_prompt.iter_mut().zip(mine).for_each(|(d, sum)| *d += sum);
        }
        Ok(())
    }
}

/// Rows of the encoder's input that need a gradient.
struct Selection {
    /// Their numbers, `[n]`.
    rows: Tensor,
    /// Their examples, and their rows in these, `[n, 2]`.
    places: Tensor,
}

/// Row numbers on a device.
fn ids(rows: impl IntoIterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let rows: Vec<u32> = rows.into_iter().map(|row| u32::try_from(row).expect("a batch has fewer rows")).collect();
    let count = rows.len();
    Ok(Tensor::from_vec(rows, count, device)?)
}

/// The ids, if the model has an embedding for each: a GPU would read something else.
fn known<'i>(ids: &'i [u32], dims: &Dims) -> Result<&'i [u32]> {
    match ids.iter().find(|id| **id as usize >= dims.vocab) {
        None => Ok(ids),
        Some(id) => {
            let expected = format!("below {}, the model's vocabulary", dims.vocab);
            Err(Error::Setting { field: "token id", found: id.to_string(), expected })
        }
    }
}

/// Where examples lie among the packed rows of a stack. There is at least one row: where no example has any, one that
/// belongs to none, since a device has no use for empty tensors.
struct Rows {
    starts: Vec<usize>,
    count: usize,
    /// Length of the longest example, at least 1.
    longest: usize,
    on_device: RowTensors,
}

/// The same for kernels.
struct RowTensors {
    /// `[B + 1]`.
    starts: Tensor,
    /// `[B]`.
    lengths: Tensor,
    /// The example and the row in it of each row, `[n, 2]`.
    places: Tensor,
}

impl Rows {
    fn new(lengths: impl Iterator<Item = usize>, device: &Device) -> Result<Self> {
        let lengths: Vec<usize> = lengths.collect();
        let mut starts = vec![0];
        let mut places: Vec<u32> = Vec::new();
        for (example, length) in lengths.iter().enumerate() {
            starts.push(starts[example] + length);
            places.extend((0..*length).flat_map(|row| [example as u32, row as u32]));
        }
        if places.is_empty() {
            places = vec![0, 0];
        }
        let (count, longest) = (places.len() / 2, lengths.iter().copied().max().unwrap_or(0).max(1));
        let on_device = RowTensors {
            starts: ids(starts.iter().copied(), device)?,
            lengths: ids(lengths, device)?,
            places: Tensor::from_vec(places, (count, 2), device)?,
        };
        Ok(Self { starts, count, longest, on_device })
    }
}

/// Who sees whom in one of the two stacks.
struct Side<'a> {
    stack: &'a Stack,
    rows: &'a Rows,
    /// Where the rows of the encoder lie; none for the encoder itself.
    memory: Option<&'a Rows>,
    /// Bias by offset, `[H, 2·longest - 1]`, for each table of the stack.
    biases: Vec<Tensor>,
}

impl<'a> Side<'a> {
    fn new(engine: &'a Engine<'_>, stack: &'a Stack, rows: &'a Rows, memory: Option<&'a Rows>) -> Result<Self> {
        let biases = engine.position_biases(stack, rows.longest, memory.is_some())?;
        Ok(Self { stack, rows, memory, biases })
    }
}
