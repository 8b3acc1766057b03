//! T5 on candle's differentiable operations: short, plain, any device and precision; the oracle of the CPU engine.
//!
//! candle-transformers' own T5 cannot serve: it takes no embeddings, has no padding mask, uses the encoder's position
//! buckets in the decoder, and its fused softmax stops gradients without a word.

use super::batch::{Batch, Ragged};
use super::cpu::Loss;
use super::cpu::kernels::{Activation, CrossEntropy, Dropout, Sharing};
use super::position::bucket;
use super::site::Site;
use super::{Dims, Head, Weights};
use crate::ml::error::{Error, Result};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::{log_softmax, softmax};
use std::collections::BTreeMap;

/// A T5 whose parameters are candle tensors by Hugging Face name.
pub(super) struct Reference {
    dims: Dims,
    tensors: BTreeMap<String, Tensor>,
    dtype: DType,
    device: Device,
}

/// Who sees whom in a padded batch, and which masks dropout draws.
struct Stack<'a> {
    name: &'static str,
    layers: usize,
    decoder: bool,
    /// Lengths of the rows, `[B]`.
    lengths: Vec<usize>,
    /// `[B, 1, 1, L]`, 0 or -inf, of the rows themselves; with the causal part `[B, 1, L, L]`.
    mask: Tensor,
    dropout: Option<&'a Dropout>,
}

impl Reference {
    /// A frozen model.
    pub(super) fn new(weights: &Weights, dtype: DType, device: &Device) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for slot in weights.layout.slots() {
            let mut values = vec![0.0f32; slot.place.len()];
            weights.at(&slot.place).copy_to(0, &mut values);
            let tensor = Tensor::from_vec(values, slot.shape.as_slice(), device)?;
            tensors.insert(slot.name.clone(), tensor.to_dtype(dtype)?);
        }
        Ok(Self { dims: weights.dims.clone(), tensors, dtype, device: device.clone() })
    }

    /// Makes every parameter a variable and returns them by name, so that their gradients can be asked for.
    pub(super) fn unfreeze(&mut self) -> Result<BTreeMap<String, Var>> {
        let mut vars = BTreeMap::new();
        for (name, tensor) in &mut self.tensors {
            let var = Var::from_tensor(tensor)?;
            *tensor = var.as_tensor().clone();
            vars.insert(name.clone(), var);
        }
        Ok(vars)
    }

    /// Output of the encoder, `[B, L, E]`, zero at padding, and the length of each row. `prompts`: `[P, E]` each.
    pub(super) fn encode(
        &self,
        prompts: &[Tensor],
        run: &[usize],
        inputs: &Ragged,
        dropout: Option<&Dropout>,
    ) -> Result<(Tensor, Vec<usize>)> {
        let width = self.dims.width;
        let lengths = run
            .iter()
            .zip(inputs.rows())
            .map(|(run, ids)| Ok(prompts[*run].dim(0)? + ids.len()))
            .collect::<Result<Vec<_>>>()?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let rows = run
            .iter()
            .zip(inputs.rows())
            .zip(&lengths)
            .map(|((run, ids), length)| {
                let padding = Tensor::zeros((longest - length, width), self.dtype, &self.device)?;
                let text = self.embed(ids)?;
                Ok(Tensor::cat(&[&prompts[*run], &text, &padding], 0)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let x = Tensor::stack(&rows, 0)?;
        let mask = self.padding(&lengths, longest)?;
        let stack = Stack { name: "encoder", layers: self.dims.encoder_layers, decoder: false, lengths, mask, dropout };
        let out = self.stack(&stack, x, None)?;
        let real = stack.mask.exp()?.squeeze(1)?.transpose(1, 2)?;
        Ok((out.broadcast_mul(&real)?, stack.lengths))
    }

    /// Sum of the losses of each run, `[R]`, in at least f32, and the number of target tokens of each.
    pub(super) fn loss(
        &self,
        prompts: &[Tensor],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
    ) -> Result<(Tensor, Vec<usize>)> {
        let (memory, lengths) = self.encode(prompts, &batch.run, &batch.inputs, dropout)?;
        let logits = self.logits(&memory, &lengths, &batch.targets, dropout)?;
        let (_, longest, vocab) = logits.dims3()?;
        let logits = if self.dtype == DType::F64 { logits } else { logits.to_dtype(DType::F32)? };
        let mut targets = vec![0u32; batch.len() * longest];
        let mut shares = vec![0.0f64; prompts.len() * batch.len() * longest];
        let mut tokens = vec![0; prompts.len()];
        for ((i, row), run) in batch.targets.rows().enumerate().zip(&batch.run) {
            targets[i * longest..i * longest + row.len()].copy_from_slice(row);
            let start = (run * batch.len() + i) * longest;
            shares[start..start + row.len()].fill(1.0);
            tokens[*run] += row.len();
        }
        let count = batch.len() * longest;
        let targets = Tensor::from_vec(targets, (count, 1), &self.device)?;
        let shares = Tensor::from_vec(shares, (prompts.len(), count), &self.device)?.to_dtype(logits.dtype())?;
        let logits = logits.reshape((count, vocab))?;
        let log_p = log_softmax(&logits, D::Minus1)?;
        let log_z = logits.log_sum_exp(D::Minus1)?;
        let smoothing = f64::from(settings.label_smoothing);
        let low = smoothing / (vocab as f64 - 1.0);
        let wanted = log_p.gather(&targets, 1)?.squeeze(1)?;
        let mut losses = ((&wanted * -(1.0 - smoothing))? + (log_z.sqr()? * f64::from(settings.z_loss))?)?;
        if smoothing > 0.0 {
            let others = (log_p.sum(D::Minus1)? - &wanted)?;
            let entropy = (1.0 - smoothing) * (1.0 - smoothing).ln() + (vocab as f64 - 1.0) * low * (low + 1e-20).ln();
            losses = ((losses - (others * low)?)? + entropy)?;
        }
        Ok((shares.matmul(&losses.reshape((count, 1))?)?.squeeze(1)?, tokens))
    }

    /// Losses and gradients of the prompts, as [`Engine::gradients`](super::cpu::Engine::gradients) gives them.
    pub(super) fn gradients(
        &self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        d_prompts: &mut [Vec<f32>],
    ) -> Result<Vec<Loss>> {
        let vars = self.prompt_vars(prompts)?;
        let tensors: Vec<Tensor> =
            vars.iter().map(|var| var.as_tensor().to_dtype(self.dtype)).collect::<candle_core::Result<_>>()?;
        let (sums, tokens) = self.loss(&tensors, batch, settings, dropout)?;
        let store = sums.sum_all()?.backward()?;
        for (var, d) in vars.iter().zip(d_prompts) {
            if let Some(gradient) = store.get(var) {
                let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                d.iter_mut().zip(gradient).for_each(|(d, g)| *d += g);
            }
        }
        let sums = sums.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        Ok(sums.into_iter().zip(tokens).map(|(sum, tokens)| Loss { sum, tokens }).collect())
    }

    fn prompt_vars(&self, prompts: &[&[f32]]) -> Result<Vec<Var>> {
        prompts
            .iter()
            .map(|prompt| {
                let shape = (prompt.len() / self.dims.width, self.dims.width);
                Ok(Var::from_tensor(&Tensor::from_slice(prompt, shape, &self.device)?)?)
            })
            .collect()
    }

    /// Logits for every position of the targets, teacher-forced, `[B, T, V]`.
    pub(super) fn logits(
        &self,
        memory: &Tensor,
        memory_lengths: &[usize],
        targets: &Ragged,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let lengths: Vec<usize> = targets.rows().map(<[u32]>::len).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::with_capacity(lengths.len() * longest);
        for row in targets.rows() {
            let end = ids.len() + longest;
            ids.extend(std::iter::once(self.dims.start).chain(row.iter().copied()).take(row.len()));
            ids.resize(end, self.dims.pad);
        }
        let y = self.embed(&ids)?.reshape((lengths.len(), longest, self.dims.width))?;
        let mask = self.padding(&lengths, longest)?.broadcast_add(&self.causal(longest)?)?;
        let stack = Stack { name: "decoder", layers: self.dims.decoder_layers, decoder: true, lengths, mask, dropout };
        let cross_mask = self.padding(memory_lengths, memory.dim(1)?)?;
        let mut y = self.stack(&stack, y, Some((memory, &cross_mask)))?;
        if self.dims.scaled {
            y = (y * (self.dims.width as f64).powf(-0.5))?;
        }
        let head = if self.dims.head == Head::Own { "lm_head.weight" } else { "shared.weight" };
        self.linear(&y, head)
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::Tensor {
            name: name.to_owned(),
            found: "is missing".to_owned(),
            expected: "every tensor of the layout".to_owned(),
        })
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), &self.device)?;
        Ok(self.get("shared.weight")?.index_select(&ids, 0)?)
    }

    /// `x · weightᵀ` on the rows of `x`, as one matrix.
    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.get(name)?;
        let (batch, length, inputs) = x.dims3()?;
        let y = x.reshape((batch * length, inputs))?.matmul(&weight.t()?)?;
        Ok(y.reshape((batch, length, weight.dim(0)?))?)
    }

    /// In f32 at least, whatever the precision of the activations.
    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let wide = if self.dtype == DType::F64 { x.clone() } else { x.to_dtype(DType::F32)? };
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + f64::from(self.dims.epsilon))?.sqrt()?.recip()?;
        let normed = wide.broadcast_mul(&inverse)?.to_dtype(self.dtype)?;
        Ok(normed.broadcast_mul(self.get(name)?)?)
    }

    fn padding(&self, lengths: &[usize], longest: usize) -> Result<Tensor> {
        let mask: Vec<f64> = lengths
            .iter()
            .flat_map(|length| (0..longest).map(move |j| if j < *length { 0.0 } else { f64::NEG_INFINITY }))
            .collect();
        Ok(Tensor::from_vec(mask, (lengths.len(), 1, 1, longest), &self.device)?.to_dtype(self.dtype)?)
    }

    fn causal(&self, length: usize) -> Result<Tensor> {
        let mask: Vec<f64> =
            (0..length).flat_map(|i| (0..length).map(move |j| if j <= i { 0.0 } else { f64::NEG_INFINITY })).collect();
        Ok(Tensor::from_vec(mask, (1, 1, length, length), &self.device)?.to_dtype(self.dtype)?)
    }

    /// Relative position bias, `[1, H, L, L]`.
    fn bias(&self, stack: &Stack<'_>, layer: usize, length: usize) -> Result<Tensor> {
        let Dims { heads, buckets, max_distance, .. } = self.dims;
        let rows: Vec<u32> = (0..length as i64)
            .flat_map(|i| (0..length as i64).map(move |j| bucket(j - i, stack.decoder, buckets, max_distance) as u32))
            .collect();
        let rows = Tensor::from_vec(rows, length * length, &self.device)?;
        let layer = if self.dims.bias_per_layer { layer } else { 0 };
        let name = format!("{}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight", stack.name);
        let bias = self.get(&name)?.index_select(&rows, 0)?.reshape((length, length, heads))?;
        Ok(bias.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?)
    }

    fn stack(&self, stack: &Stack<'_>, x: Tensor, memory: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
        let mut x = self.drop_rows(stack, Site::Embedding, x)?;
        for layer in 0..stack.layers {
            let mask = self.bias(stack, layer, x.dim(1)?)?.broadcast_add(&stack.mask)?;
            let prefix = format!("{}.block.{layer}.layer", stack.name);
            let normed = self.norm(&x, &format!("{prefix}.0.layer_norm.weight"))?;
            let y = self.attention(
                stack,
                Site::Attention(layer),
                &format!("{prefix}.0.SelfAttention"),
                &normed,
                &normed,
                &mask,
            )?;
            x = (x + self.drop_rows(stack, Site::AttentionOut(layer), y)?)?;
            let mut ff = 1;
            if let Some((memory, cross_mask)) = memory {
                ff = 2;
                let normed = self.norm(&x, &format!("{prefix}.1.layer_norm.weight"))?;
                let y = self.attention(
                    stack,
                    Site::Cross(layer),
                    &format!("{prefix}.1.EncDecAttention"),
                    &normed,
                    memory,
                    cross_mask,
                )?;
                x = (x + self.drop_rows(stack, Site::CrossOut(layer), y)?)?;
            }
            let normed = self.norm(&x, &format!("{prefix}.{ff}.layer_norm.weight"))?;
            let y = self.feed_forward(stack, layer, &format!("{prefix}.{ff}.DenseReluDense"), &normed)?;
            x = (x + self.drop_rows(stack, Site::InnerOut(layer), y)?)?;
        }
        let x = self.norm(&x, &format!("{}.final_layer_norm.weight", stack.name))?;
        self.drop_rows(stack, Site::Last, x)
    }

    fn attention(
        &self,
        stack: &Stack<'_>,
        site: Site,
        prefix: &str,
        x: &Tensor,
        memory: &Tensor,
        mask: &Tensor,
    ) -> Result<Tensor> {
        let Dims { heads, head_width, .. } = self.dims;
        let split = |x: Tensor| -> Result<Tensor> {
            let (batch, length, _) = x.dims3()?;
            Ok(x.reshape((batch, length, heads, head_width))?.transpose(1, 2)?.contiguous()?)
        };
        let q = split(self.linear(x, &format!("{prefix}.q.weight"))?)?;
        let k = split(self.linear(memory, &format!("{prefix}.k.weight"))?)?;
        let v = split(self.linear(memory, &format!("{prefix}.v.weight"))?)?;
        let scores = q.matmul(&k.t()?)?.broadcast_add(mask)?;
        let scores = if self.dtype == DType::F64 { scores } else { scores.to_dtype(DType::F32)? };
        let probabilities = softmax(&scores, D::Minus1)?.to_dtype(self.dtype)?;
        let probabilities = self.drop_probabilities(stack, site, probabilities)?;
        let out = probabilities.matmul(&v)?.transpose(1, 2)?.flatten_from(2)?;
        self.linear(&out.contiguous()?, &format!("{prefix}.o.weight"))
    }

    fn feed_forward(&self, stack: &Stack<'_>, layer: usize, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let layer_of = |part: &str| self.linear(x, &format!("{prefix}.{part}.weight"));
        let inner = match self.dims.activation {
            Activation::GatedGelu => (layer_of("wi_0")?.gelu()? * layer_of("wi_1")?)?,
            Activation::GatedSilu => (layer_of("wi_0")?.silu()? * layer_of("wi_1")?)?,
            Activation::Relu => layer_of("wi")?.relu()?,
        };
        self.linear(&self.drop_rows(stack, Site::Inner(layer), inner)?, &format!("{prefix}.wo.weight"))
    }

    /// Dropout of `[B, L, width]`.
    fn drop_rows(&self, stack: &Stack<'_>, site: Site, x: Tensor) -> Result<Tensor> {
        let Some(dropout) = stack.dropout else { return Ok(x) };
        let (batch, length, width) = x.dims3()?;
        let rows = if dropout.sharing == Sharing::Sequence { 1 } else { length };
        let mut mask = vec![0.0; batch * rows * width];
        for (i, mask) in mask.chunks_exact_mut(width).enumerate() {
            dropout.fill(mask, i / rows, site.number(stack.decoder), i % rows);
        }
        let mask = Tensor::from_vec(mask, (batch, rows, width), &self.device)?.to_dtype(self.dtype)?;
        Ok(x.broadcast_mul(&mask)?)
    }

    /// Dropout of `[B, H, L, K]`; the mask of a row has as many factors as the row has real keys.
    fn drop_probabilities(&self, stack: &Stack<'_>, site: Site, p: Tensor) -> Result<Tensor> {
        let Some(dropout) = stack.dropout else { return Ok(p) };
        let (batch, heads, queries, keys) = p.dims4()?;
        let shared = dropout.sharing == Sharing::Sequence;
        let rows = if shared { 1 } else { queries };
        let mut mask = vec![0.0; batch * heads * rows * keys];
        for (i, mask) in mask.chunks_exact_mut(keys).enumerate() {
            let (example, head, row) = (i / (heads * rows), i / rows % heads, i % rows);
            let own = if shared { 1 } else { stack.lengths[example] };
            if row < own {
                dropout.fill(mask, example, site.number(stack.decoder), head * own + row);
            }
        }
        let mask = Tensor::from_vec(mask, (batch, heads, rows, keys), &self.device)?.to_dtype(self.dtype)?;
        Ok(p.broadcast_mul(&mask)?)
    }
}
