//! The tensors of a checkpoint's files, each used or named: by their names in Hugging Face's layout, read for a configuration.

use super::layout::Slot;
use super::{Dims, Head, Layout};
use crate::ml::error::{Error, Result};
use crate::ml::pointer;
use crate::ml::torch;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// A file of a checkpoint, safetensors or torch's own.
#[derive(Clone, Copy, Debug)]
pub struct Shard<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The embedding, V by E, which encoder, decoder and (v1.0) head share.
const EMBEDDING: &str = "shared.weight";
/// The head of a model that has one of its own.
const HEAD: &str = "lm_head.weight";
/// Other names of the embedding, under which exporters write it again, or only.
const COPIES: [&str; 2] = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
/// Written by the original export of v1.0 and used by nobody: transformers names it as to be ignored, and only it.
const IGNORED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
/// The last tensor of a stack, which every T5 has: by it a prefix of all names is known.
const LANDMARK: &str = "encoder.final_layer_norm.weight";
/// Tensors that a message lists.
const LISTED: usize = 3;

/// Tensors by name, for a model of `dims`.
pub(super) struct Tensors<'a> {
    found: BTreeMap<String, Tensor<'a>>,
    /// What messages call all files.
    files: String,
    pub(super) dims: Dims,
}

struct Tensor<'a> {
    view: TensorView<'a>,
    file: &'a str,
}

impl<'a> Tensors<'a> {
    /// Finds every tensor that a T5 of `dims` has, once and in its shape, and none beside them but the embedding under its
    /// other names. In `dims` the head is settled.
    ///
    /// # Errors
    /// If a file is damaged, or a tensor is missing, there twice, of another shape, or not one of this T5.
    pub(super) fn find(dims: Dims, shards: &[Shard<'a>]) -> Result<Self> {
        let files = match shards {
            [] => "no file".to_owned(),
            [only] => format!("`{}`", only.name),
            [first, .., last] => format!("`{}` to `{}`", first.name, last.name),
        };
        let mut tensors = Self { found: BTreeMap::new(), files, dims };
        for shard in shards {
            tensors.add(*shard)?;
        }
        tensors.check_layers()?;
        tensors.strip_prefix()?;
        tensors.find_embedding()?;
        tensors.settle_head()?;
        tensors.check_copies()?;
        tensors.check_layout()?;
        Ok(tensors)
    }

    /// Writes the tensor of a slot, row by row: `[n]` for all `n` of its numbers.
    ///
    /// # Errors
    /// If its type is not one that weights have, or a weight matrix has one value everywhere, as placeholders do.
    pub(super) fn read(&self, slot: &Slot, out: &mut [f32]) -> Result<()> {
        let tensor = self.found.get(&slot.name).ok_or_else(|| self.missing(slot))?;
        read(&tensor.view, out).map_err(|(found, expected)| tensor.wrong(&slot.name, found, expected))?;
        match (is_weight(slot), out) {
            (true, [first, rest @ ..]) if !rest.is_empty() && rest.iter().all(|x| x == first) => {
                Err(tensor.wrong(&slot.name, format!("is {first} everywhere"), "weights; is the file a placeholder?"))
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, Shard { name: file, bytes }: Shard<'a>) -> Result<()> {
        let named = |error: Error| Error::File { file: format!("`{file}`"), message: error.to_string() };
        pointer::refuse(bytes).map_err(named)?;
        let views = match torch::is(bytes) {
            true => of_torch(bytes).map_err(named)?,
            false => SafeTensors::deserialize(bytes).map_err(|error| Error::damaged(file, &error))?.tensors(),
        };
        for (name, view) in views {
            if let Some(other) = self.found.insert(name.clone(), Tensor { view, file }) {
                let found = format!("is in `{}` too", other.file);
                return Err(self.found[&name].wrong(&name, found, "once in all files"));
            }
        }
        Ok(())
    }

    /// Checks that there are tensors enough for all layers, before all of their names are made.
    fn check_layers(&self) -> Result<()> {
        let (tensors, files) = (self.found.len(), &self.files);
        for (field, layers) in
            [("num_layers", self.dims.encoder_layers), ("num_decoder_layers", self.dims.decoder_layers)]
        {
            if layers > tensors {
                let expected = format!("no more than the {tensors} tensors of {files}");
                return Err(Error::Config { field, found: layers.to_string(), expected });
            }
        }
        Ok(())
    }

    /// Takes off what stands in front of all names, such as `model.` where the T5 was a part of something larger.
    fn strip_prefix(&mut self) -> Result<()> {
        let mut prefixes = self.found.keys().filter_map(|name| name.strip_suffix(LANDMARK));
        let Some(prefix) = prefixes.next().filter(|prefix| !prefix.is_empty()).map(str::to_owned) else {
            return Ok(());
        };
        if let Some(other) = prefixes.next() {
            let name = format!("{other}{LANDMARK}");
            let found = format!("stands beside `{prefix}{LANDMARK}`");
            return Err(self.found[&name].wrong(&name, found, "the tensors of one model"));
        }
        for (name, tensor) in std::mem::take(&mut self.found) {
            let own = name.strip_prefix(&prefix).unwrap_or(&name).to_owned();
            if let Some(other) = self.found.insert(own.clone(), tensor) {
                let found = format!("is there with `{prefix}` in front and without");
                return Err(other.wrong(&own, found, "one of the two"));
            }
        }
        Ok(())
    }

    /// Where the embedding is there under another name only, that is its name.
    fn find_embedding(&mut self) -> Result<()> {
        if self.found.contains_key(EMBEDDING) {
            return Ok(());
        }
        let Some(copy) = COPIES.into_iter().find(|name| self.found.contains_key(*name)) else { return Ok(()) };
        let tensor = self.found.remove(copy);
        self.found.extend(tensor.map(|tensor| (EMBEDDING.to_owned(), tensor)));
        Ok(())
    }

    /// Settles which matrix the head is, where the configuration leaves it to the file, and checks that both say the same.
    fn settle_head(&mut self) -> Result<()> {
        let same = match (self.found.get(HEAD), self.found.get(EMBEDDING)) {
            (None, _) | (_, None) => None,
            (Some(head), Some(embedding)) => Some(head.equals(embedding)),
        };
        match (self.dims.head, same) {
            (Head::Own, None) if !self.found.contains_key(HEAD) => {
                return Err(self.lacks(
                    HEAD,
                    "a matrix of its own by `tie_word_embeddings: false` of config.json (transformers 4 would draw it at random, \
                     and 5 take the embedding: where that is meant, write `tie_word_embeddings: true` and \
                     `scale_decoder_outputs: false`)",
                ));
            }
            (Head::Embedding, Some(false)) => {
                return Err(self.found[HEAD].wrong(
                    HEAD,
                    "is another matrix than the embedding",
                    "the embedding by `tie_word_embeddings: true` of config.json (transformers 4 would leave the matrix out, and 5 \
                     take it and scale what it reads; with `scale_decoder_outputs: false` or `true` beside it, it is taken)",
                ));
            }
            (Head::AsInFile, Some(false)) => self.dims.head = Head::Own,
            (Head::AsInFile, _) => self.dims.head = Head::Embedding,
            (Head::Own | Head::Embedding, _) => {}
        }
        if self.dims.head == Head::Embedding {
            self.found.remove(HEAD);
        }
        Ok(())
    }

    /// Takes the embedding's copies away, after a look whether they are copies.
    fn check_copies(&mut self) -> Result<()> {
        for name in COPIES {
            let Some(copy) = self.found.remove(name) else { continue };
            if self.found.get(EMBEDDING).is_some_and(|embedding| !copy.equals(embedding)) {
                return Err(copy.wrong(
                    name,
                    format!("is another matrix than `{EMBEDDING}`"),
                    "the same: a T5 has one embedding",
                ));
            }
        }
        self.found.remove(IGNORED);
        Ok(())
    }

    /// Checks that what is left is what the layout asks for.
    fn check_layout(&self) -> Result<()> {
        let layout = Layout::new(&self.dims);
        let mut unused: BTreeMap<&str, &Tensor<'_>> = self.found.iter().map(|(name, t)| (name.as_str(), t)).collect();
        for slot in layout.slots() {
            let Some(tensor) = unused.remove(slot.name.as_str()) else { return Err(self.missing(slot)) };
            if tensor.view.shape() != slot.shape {
                let found = format!("has shape {:?}", tensor.view.shape());
                return Err(tensor.wrong(&slot.name, found, format!("{:?} by config.json", slot.shape)));
            }
        }
        let Some((name, tensor)) = unused.first_key_value() else { return Ok(()) };
        let more = match unused.len() - 1 {
            0 => String::new(),
            others => {
                let listed = unused.keys().skip(1).take(LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>();
                let rest = if others > LISTED { " …" } else { "" };
                format!(", like {others} more ({}{rest})", listed.join(", "))
            }
        };
        Err(tensor.wrong(name, format!("has no place in the model of config.json{more}"), self.reason(name)))
    }

    /// What a tensor without a place may be of.
    fn reason(&self, name: &str) -> String {
        let Dims { encoder_layers, decoder_layers, .. } = self.dims;
        for (stack, field, layers) in
            [("encoder", "num_layers", encoder_layers), ("decoder", "num_decoder_layers", decoder_layers)]
        {
            let block = name.strip_prefix(stack).and_then(|rest| rest.strip_prefix(".block."));
            let Some((layer, rest)) = block.and_then(|rest| rest.split_once('.')) else { continue };
            let Ok(layer) = layer.parse::<usize>() else { continue };
            if layer >= layers {
                return format!("at most layer {} by `{field}` ({layers})", layers - 1);
            }
            if rest.ends_with("relative_attention_bias.weight") {
                return "a position bias in the first layer only; one in every layer makes a umT5 (`model_type: umt5`)"
                    .to_owned();
            }
        }
        "only tensors that a T5 for text to text uses".to_owned()
    }

    fn missing(&self, slot: &Slot) -> Error {
        self.lacks(&slot.name, format!("shape {:?}", slot.shape))
    }

    /// That there is no such tensor, with the one that is called most like it.
    fn lacks(&self, name: &str, expected: impl Into<String>) -> Error {
        let near = self.found.keys().map(|known| (strsim::jaro_winkler(name, known), known));
        let near = near.filter(|(likeness, _)| *likeness > 0.9).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let layout = Layout::new(&self.dims);
        let near = near.filter(|(_, known)| !layout.slots().iter().any(|slot| slot.name == **known));
        let hint = near.map_or_else(String::new, |(_, known)| format!("; the nearest there is `{known}`"));
        let tensor =
            Error::Tensor { name: name.to_owned(), found: format!("is missing{hint}"), expected: expected.into() };
        Error::File { file: self.files.clone(), message: tensor.to_string() }
    }
}

/// Whether a slot is a matrix that no model has without a difference among its numbers. A position bias may be the same at all
/// distances.
fn is_weight(slot: &Slot) -> bool {
    slot.shape.len() == 2 && !slot.name.ends_with("relative_attention_bias.weight")
}

impl Tensor<'_> {
    fn wrong(&self, name: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        let tensor = Error::Tensor { name: name.to_owned(), found: found.into(), expected: expected.into() };
        Error::File { file: format!("`{}`", self.file), message: tensor.to_string() }
    }

    /// Whether two tensors hold the same numbers, whatever their types.
    fn equals(&self, other: &Self) -> bool {
        if self.view.shape() != other.view.shape() {
            return false;
        }
        if self.view.dtype() == other.view.dtype() {
            return self.view.data() == other.view.data();
        }
        let numbers = |tensor: &Self| {
            let mut out = vec![0.0; tensor.view.shape().iter().product()];
            read(&tensor.view, &mut out).ok().map(|()| out)
        };
        numbers(self).is_some_and(|own| numbers(other) == Some(own))
    }
}

/// The tensors of one of torch's files.
fn of_torch(bytes: &[u8]) -> Result<Vec<(String, TensorView<'_>)>> {
    match torch::read(bytes)? {
        torch::Contents::Named(tensors) => Ok(tensors),
        torch::Contents::Bare(tensor) => Err(Error::Torch(format!(
            "a single tensor without a name, of shape {:?}; expected those of a model by name",
            tensor.shape()
        ))),
    }
}

/// Writes the numbers of a tensor, or says what it has and what it should have.
fn read(view: &TensorView<'_>, out: &mut [f32]) -> std::result::Result<(), (String, &'static str)> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Dtype::BF16 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = bf16::from_le_bytes(*b).to_f32();
            }
        }
        Dtype::F16 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = f16::from_le_bytes(*b).to_f32();
            }
        }
        other => return Err((format!("has type {other:?}"), "f32, bf16 or f16")),
    }
    if out.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(("holds a NaN or an infinity".to_owned(), "finite numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::golden::{Golden, SCALED, TIED, V1_0, V1_1};
    use crate::ml::model::{Precision, Weights};

    /// A checkpoint in memory: values by name.
    #[derive(Clone)]
    struct Checkpoint {
        dims: Dims,
        tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    }

    impl Checkpoint {
        fn of(golden: &Golden) -> Self {
            let views = SafeTensors::deserialize(golden.weights).unwrap();
            let tensors = views.tensors().into_iter().map(|(name, view)| {
                let mut values = vec![0.0; view.shape().iter().product()];
                read(&view, &mut values).unwrap();
                (name, (view.shape().to_vec(), values))
            });
            Self { dims: Dims::from_json(golden.config).unwrap(), tensors: tensors.collect() }
        }

        fn with(mut self, name: &str, like: &str, change: f32) -> Self {
            let mut tensor = self.tensors[like].clone();
            tensor.1[0] += change;
            self.tensors.insert(name.to_owned(), tensor);
            self
        }

        fn without(mut self, name: &str) -> Self {
            self.tensors.remove(name).unwrap();
            self
        }

        fn renamed(mut self, from: &str, to: &str) -> Self {
            let tensor = self.tensors.remove(from).unwrap();
            self.tensors.insert(to.to_owned(), tensor);
            self
        }

        fn prefixed(mut self, prefix: &str) -> Self {
            self.tensors = self.tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let data: Vec<_> = self.tensors.iter().map(|(name, (shape, v))| (name, shape.clone(), bytes(v))).collect();
            let views = data.iter().map(|(name, shape, bytes)| {
                (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
            });
            safetensors::serialize(views, None).unwrap()
        }

        fn read(&self) -> Result<Weights> {
            let bytes = self.bytes();
            Weights::read(self.dims.clone(), &[Shard { name: "some.safetensors", bytes: &bytes }], Precision::F32)
        }

        #[track_caller]
        fn reads_as(&self, golden: &Golden) {
            let (found, expected) = (self.read().unwrap(), golden.weights());
            assert_eq!((&found.dims, found.data()), (&expected.dims, expected.data()));
        }

        #[track_caller]
        fn refused(&self, parts: &[&str]) {
            let error = self.read().unwrap_err().to_string();
            assert!(error.starts_with("`some.safetensors`: weights: tensor `"), "{error}");
            parts.iter().for_each(|part| assert!(error.contains(part), "`{part}` is not in {error}"));
        }
    }

    const ENCODER: &str = COPIES[0];
    const DECODER: &str = COPIES[1];

    #[test]
    fn copies_of_the_embedding_are_read_and_other_matrices_refused() {
        for golden in [&V1_1, &V1_0, &TIED, &SCALED] {
            let checkpoint = Checkpoint::of(golden);
            checkpoint.reads_as(golden);
            checkpoint.clone().with(ENCODER, EMBEDDING, 0.0).with(DECODER, EMBEDDING, 0.0).reads_as(golden);
            checkpoint
                .clone()
                .with(IGNORED, "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1.0)
                .reads_as(golden);
            checkpoint.clone().renamed(EMBEDDING, DECODER).reads_as(golden);
            checkpoint.clone().renamed(EMBEDDING, ENCODER).with(DECODER, ENCODER, 0.0).reads_as(golden);
            checkpoint.clone().with(DECODER, EMBEDDING, 1.0).refused(&[DECODER, "another matrix than `shared.weight`"]);
            checkpoint
                .clone()
                .renamed(EMBEDDING, ENCODER)
                .with(DECODER, ENCODER, 1.0)
                .refused(&[DECODER, "another matrix"]);
        }
        Checkpoint::of(&V1_0).with(HEAD, EMBEDDING, 0.0).reads_as(&V1_0);
        Checkpoint::of(&TIED).with(HEAD, EMBEDDING, 0.0).reads_as(&TIED);
        let other = Checkpoint::of(&V1_0).with(HEAD, EMBEDDING, 1.0);
        other.refused(&[HEAD, "transformers 4", "`scale_decoder_outputs: false`"]);
        Checkpoint::of(&V1_1).without(HEAD).refused(&[
            HEAD,
            "is missing",
            "`tie_word_embeddings: false`",
            "transformers 4",
        ]);
    }

    #[test]
    fn copies_may_be_in_another_type() {
        let checkpoint = Checkpoint::of(&V1_0);
        let (shape, values) = &checkpoint.tensors[EMBEDDING];
        let halves = |values: &[f32]| values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect::<Vec<u8>>();
        let rounded: Vec<f32> = values.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        let (half, wide) = (halves(values), rounded.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        let tensor = |dtype, bytes| Tensor { view: TensorView::new(dtype, shape.clone(), bytes).unwrap(), file: "x" };
        assert!(tensor(Dtype::BF16, &half).equals(&tensor(Dtype::F32, &wide)));
        let exact: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(!tensor(Dtype::BF16, &half).equals(&tensor(Dtype::F32, &exact)));
    }

    #[test]
    fn a_prefix_of_all_names_is_taken_off() {
        for prefix in ["model.", "transformer.", "a.b."] {
            Checkpoint::of(&V1_1).prefixed(prefix).reads_as(&V1_1);
        }
        let head_apart = Checkpoint::of(&V1_1).prefixed("model.").renamed("model.lm_head.weight", HEAD);
        head_apart.reads_as(&V1_1);
        let twice = Checkpoint::of(&V1_1).prefixed("model.").with(HEAD, "model.lm_head.weight", 0.0);
        twice.refused(&["is there with `model.` in front and without"]);
        let two = Checkpoint::of(&V1_1).with("b.encoder.final_layer_norm.weight", LANDMARK, 0.0);
        two.refused(&["`encoder.final_layer_norm.weight` stands beside `b.encoder.final_layer_norm.weight`"]);
        let two = Checkpoint::of(&V1_1).prefixed("a.").with(
            "b.encoder.final_layer_norm.weight",
            "a.encoder.final_layer_norm.weight",
            0.0,
        );
        two.refused(&["the tensors of one model"]);
    }

    #[test]
    fn every_tensor_without_a_place_is_named() {
        let norm = "encoder.block.1.layer.0.layer_norm.weight";
        let more = Checkpoint::of(&V1_1).with("encoder.block.2.layer.0.layer_norm.weight", norm, 0.0);
        more.refused(&["encoder.block.2.layer.0.layer_norm.weight", "expected at most layer 1 by `num_layers` (2)"]);
        let more = Checkpoint::of(&V1_1).with("decoder.block.3.layer.0.layer_norm.weight", norm, 0.0);
        more.refused(&["decoder.block.3", "at most layer 2 by `num_decoder_layers` (3)"]);
        let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        let umt5 = Checkpoint::of(&V1_1).with(&bias.replace("block.0", "block.1"), bias, 0.0);
        umt5.refused(&["makes a umT5"]);
        let other = Checkpoint::of(&V1_1).with("classification_head.dense.weight", bias, 0.0);
        other.refused(&["`classification_head.dense.weight` has no place in the model"]);
        let several = (0..6).fold(Checkpoint::of(&V1_1), |all, i| all.with(&format!("x{i}"), bias, 0.0));
        several.refused(&["`x0` has no place", "like 5 more (`x1`, `x2`, `x3` …)"]);
        // Fewer layers in the configuration than in the file.
        let mut fewer = Checkpoint::of(&V1_1);
        fewer.dims.encoder_layers = 1;
        fewer.refused(&["encoder.block.1.layer.0", "at most layer 0 by `num_layers` (1)"]);
        let mut many = Checkpoint::of(&V1_1);
        many.dims.decoder_layers = 1 << 22;
        let error = many.read().unwrap_err().to_string();
        assert!(error.contains("`num_decoder_layers` is 4194304, expected no more than the "), "{error}");
    }

    #[test]
    fn what_is_missing_or_damaged_is_named_with_its_file() {
        Checkpoint::of(&V1_1)
            .renamed(EMBEDDING, "shared.weights")
            .refused(&["`shared.weight` is missing; the nearest there is `shared.weights`"]);
        let norm = "decoder.final_layer_norm.weight";
        Checkpoint::of(&V1_1).without(norm).refused(&[norm, "is missing, expected shape [16]"]);
        let nan = Checkpoint::of(&V1_1).with(norm, norm, f32::NAN);
        nan.refused(&[norm, "holds a NaN"]);
        let whole = Checkpoint::of(&V1_1).bytes();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70\n";
        for (bytes, message) in [
            (&whole[..whole.len() - 1], "safetensors: `b`: the file is cut off, or of another kind"),
            (&whole[..100], "safetensors: `b`: the file is cut off"),
            (b"PK\x03\x04 and so on, a zip", "`b`: torch file: the zip is cut off or damaged"),
            (pointer, "`b`: a Git LFS pointer in place of the file of 70 bytes"),
            (&whole, "is in `a` too, expected once in all files"),
        ] {
            let shards = [Shard { name: "a", bytes: &whole }, Shard { name: "b", bytes }];
            let error = Weights::read(V1_1.weights().dims, &shards, Precision::F32).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
