//! `backbone`: the frozen model of a pipeline, from a folder in Hugging Face's layout or built into the program.

use super::BACKBONE;
use crate::data::Dataset;
use crate::engine::content::Content;
use crate::engine::context::{Artifact, Cx};
use crate::engine::digest::Digest;
use crate::engine::run::Unavailable;
use crate::engine::stage::{Input, Output, Ref, Stage};
use crate::ml::batcher::{self, Batcher, Client};
use crate::ml::spiece;
use crate::ml::t5::{Dims, Precision, Weights};
use crate::ml::tokens::Tokens;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// A frozen T5.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backbone {
    /// Where the model comes from.
    from: From,
    /// How its weights are kept in memory: `f32`, or `bf16` in half of it, which rounds weights of other precision.
    #[serde(default, deserialize_with = "precision", skip_serializing_if = "is_single")]
    precision: Precision,
}

fn precision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Precision, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        "f16" => Err(D::Error::custom(
            "`f16` is refused: activations of T5 exceed its largest number, 65,504, and become infinite; take `bf16`",
        )),
        other => Err(D::Error::custom(format!("unknown precision `{other}`, expected `f32` or `bf16`"))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_single(precision: &Precision) -> bool {
    *precision == Precision::F32
}

/// Where a model comes from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum From {
    /// A model that is part of the program.
    Builtin(Builtin),
    /// A folder in Hugging Face's layout: `config.json`, `tokenizer.json` or else `spiece.model`, `model.safetensors` or its
    /// shards.
    Path(#[serde(skip_serializing)] String),
}

/// Models that are part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// A T5 v1.1 of some 2 million parameters that `pipelines/nano.yaml` made.
    Nano,
}

/// The files of the built-in nano model.
pub struct Nano;

impl Nano {
    /// `config.json`.
    pub const CONFIG: &'static [u8] = include_bytes!("nano/config.json");
    /// `tokenizer.json`.
    pub const TOKENIZER: &'static [u8] = include_bytes!("nano/tokenizer.json");
    /// `model.safetensors`.
    pub const WEIGHTS: &'static [u8] = include_bytes!("nano/model.safetensors");
}

/// The bytes of a backbone artifact: the digests of its parts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// `config.json`.
    pub config: Digest,
    /// `tokenizer.json`, possibly made of a `spiece.model`.
    pub tokenizer: Digest,
    /// Safetensors files, in the order of their names.
    pub weights: Vec<Digest>,
    /// How they are kept in memory.
    #[serde(default, skip_serializing_if = "is_single")]
    pub precision: Precision,
}

impl Parts {
    /// The artifact's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("digests are strings");
        bytes.push(b'\n');
        bytes
    }
}

impl Stage for Backbone {
    const KIND: &'static str = "backbone";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "backbone", of: BACKBONE }];

    fn inputs(&self) -> Vec<Input> {
        match &self.from {
            From::Builtin(_) => Vec::new(),
            From::Path(path) => vec![Input::Folder { field: FOLDER.into(), path: path.clone(), pick }],
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let parts = match &self.from {
            From::Builtin(Builtin::Nano) => Parts {
                config: cx.attach("backbone", "config.json", Nano::CONFIG)?,
                tokenizer: cx.attach("backbone", "tokenizer.json", Nano::TOKENIZER)?,
                weights: vec![cx.attach("backbone", "model.safetensors", Nano::WEIGHTS)?],
                precision: self.precision,
            },
            From::Path(path) => from_folder(cx, path, self.precision)?,
        };
        cx.write("backbone", &parts.to_bytes())
    }
}

/// Role of the files of a folder.
const FOLDER: &str = "from.path";

fn from_folder(cx: &mut Cx<'_>, path: &str, precision: Precision) -> anyhow::Result<Parts> {
    let files: Vec<(String, Artifact)> =
        cx.folder(FOLDER).into_iter().map(|(name, file)| (name.to_owned(), file.clone())).collect();
    let find = |name: &str| {
        files.iter().find(|(n, _)| n == name).map(|(_, file)| file.clone()).with_context(|| missing(path, name))
    };
    let shown = || format!("model in `{path}`");
    let config = find("config.json")?.bytes()?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let tokenizer = tokenizer_json(&config, |name| find(name)?.bytes(), &names).with_context(shown)?;
    let weights: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".safetensors")).cloned().collect();
    ensure!(!weights.is_empty(), missing(path, "model.safetensors"));
    let contents =
        weights.iter().map(|(name, file)| file.map().with_context(|| name.clone())).collect::<Result<Vec<_>, _>>()?;
    Model::new(&config, &tokenizer, &contents, precision).with_context(shown)?;
    let config = cx.attach("backbone", "config.json", &config)?;
    let tokenizer = cx.attach("backbone", "tokenizer.json", &tokenizer)?;
    let weights = weights
        .iter()
        .map(|(name, file)| cx.attach_input("backbone", name, file))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Parts { config, tokenizer, weights, precision })
}

fn missing(path: &str, name: &str) -> String {
    format!(
        "`{path}` has no `{name}`; expected a folder in Hugging Face's layout with `config.json`, `tokenizer.json` (or \
         SentencePiece's `spiece.model`) and `model.safetensors` (or its shards)"
    )
}

/// The `tokenizer.json` of a folder's files; made of `spiece.model` where only that is there, as in T5X's and T5's own
/// checkpoints.
fn tokenizer_json(
    config: &[u8],
    find: impl Fn(&str) -> anyhow::Result<Vec<u8>>,
    names: &[&str],
) -> anyhow::Result<Vec<u8>> {
    if names.contains(&TOKENIZER) || !names.contains(&SPIECE) {
        return find(TOKENIZER);
    }
    let rows = Dims::from_json(config).context("`config.json`")?.vocab;
    spiece::to_tokenizer_json(&find(SPIECE)?, rows).with_context(|| format!("`{SPIECE}`"))
}

/// Hugging Face's file of a tokenizer.
const TOKENIZER: &str = "tokenizer.json";
/// SentencePiece's.
const SPIECE: &str = "spiece.model";

/// The files that matter: configuration, tokenizer, and the weights. Of `model.safetensors` and shards beside it, the
/// single file is taken, and of `tokenizer.json` and `spiece.model` the former.
fn pick(names: &[String]) -> Vec<String> {
    let tokenizer = [TOKENIZER, SPIECE].into_iter().find(|known| names.iter().any(|name| name == known));
    let single = names.iter().any(|name| name == "model.safetensors");
    let weights = |name: &str| {
        if single { name == "model.safetensors" } else { name.starts_with("model-") && name.ends_with(".safetensors") }
    };
    names
        .iter()
        .filter(|name| *name == "config.json" || Some(name.as_str()) == tokenizer || weights(name))
        .cloned()
        .collect()
}

/// A backbone in memory.
pub struct Model {
    /// Sizes and parameters.
    pub weights: Arc<Weights>,
    /// Its tokenizer.
    pub tokens: Tokens,
    /// Digest of `tokenizer.json`.
    tokenizer: Digest,
}

impl Model {
    /// Reads and checks configuration, tokenizer and weights.
    pub fn new(
        config: &[u8],
        tokenizer: &[u8],
        weights: &[impl Deref<Target = [u8]>],
        precision: Precision,
    ) -> anyhow::Result<Self> {
        let dims = Dims::from_json(config).context("`config.json`")?;
        let tokens = Tokens::from_json(tokenizer, dims.eos).context("`tokenizer.json`")?;
        if tokens.size() > dims.vocab {
            bail!(
                "the tokenizer has {} ids, but the model's embedding has {} rows (`vocab_size` of `config.json`)",
                tokens.size(),
                dims.vocab
            );
        }
        let files: Vec<&[u8]> = weights.iter().map(|file| &**file).collect();
        let weights = Arc::new(Weights::from_safetensors(dims, &files, precision)?);
        Ok(Self { weights, tokens, tokenizer: Digest::of(tokenizer) })
    }

    /// Whether a data set's ids are those of this model's tokenizer.
    pub fn check_data(&self, dataset: &Dataset) -> anyhow::Result<()> {
        let own = self.tokenizer.to_string();
        let other = dataset.tokenizer.as_deref().unwrap_or("none");
        ensure!(
            own == other,
            "`data` of task `{}` was made with the tokenizer {other:.12}, but the backbone has {own:.12}; give `ingest` the \
             same backbone",
            dataset.task.name
        );
        let (largest, rows) = (dataset.largest_id().unwrap_or(0), self.weights.dims.vocab);
        ensure!((largest as usize) < rows, "`data` holds the id {largest}, but the backbone has {rows} ids");
        Ok(())
    }

    /// This job's access to the model at work on the device that the user chose, which all jobs share. The lanes live at least
    /// as long as the job.
    pub fn client(&self, cx: &Cx<'_>, artifact: &Artifact) -> anyhow::Result<Client> {
        let (device, threads, memory) = (cx.device().to_owned(), cx.threads(), cx.memory());
        let batcher = cx.shared(&artifact.digest, || {
            Batcher::start(&self.weights, &batcher::Settings { device: device.clone(), threads, memory })
                .map_err(|error| Unavailable(format!("device `{device}`: {error}")).into())
        })?;
        Ok(batcher.client(cx.job()))
    }

    /// The model of a backbone artifact, loaded once for all jobs that use it at a time.
    pub fn load(cx: &Cx<'_>, artifact: &Artifact) -> anyhow::Result<Arc<Self>> {
        cx.shared(&artifact.digest, || {
            let parts: Parts = serde_json::from_slice(&artifact.bytes()?).context("a backbone artifact")?;
            let weights = parts.weights.iter().map(|part| artifact.part(part)).collect::<anyhow::Result<Vec<_>>>()?;
            Self::new(&artifact.part(&parts.config)?, &artifact.part(&parts.tokenizer)?, &weights, parts.precision)
        })
    }
}

impl Model {
    /// The model of a folder in Hugging Face's layout, outside of any pipeline.
    ///
    /// # Errors
    /// If it lacks a file or they do not fit together.
    pub fn from_folder(folder: &Path) -> anyhow::Result<Self> {
        let items = fs_err::read_dir(folder)?;
        let names = items.map(|item| Ok(item?.file_name().to_string_lossy().into_owned()));
        let mut names = pick(&names.collect::<std::io::Result<Vec<String>>>()?);
        names.sort();
        let shown = folder.display().to_string();
        let read = |name: &str| {
            ensure!(names.iter().any(|known| known == name), missing(&shown, name));
            Ok(fs_err::read(folder.join(name))?)
        };
        let config = read("config.json")?;
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let tokenizer = tokenizer_json(&config, read, &known).with_context(|| format!("model in `{shown}`"))?;
        let weights = names.iter().filter(|name| name.ends_with(".safetensors"));
        let weights = weights.map(|name| Content::of(&folder.join(name))).collect::<std::io::Result<Vec<_>>>()?;
        ensure!(!weights.is_empty(), missing(&shown, "model.safetensors"));
        Self::new(&config, &tokenizer, &weights, Precision::F32).with_context(|| format!("model in `{shown}`"))
    }

    /// The model that is part of the program.
    ///
    /// # Errors
    /// Never, or the program was built wrong.
    pub fn nano() -> anyhow::Result<Self> {
        Self::new(Nano::CONFIG, Nano::TOKENIZER, &[Nano::WEIGHTS], Precision::F32)
    }
}

/// The embedding width of a backbone artifact, without its weights.
pub fn width(artifact: &Artifact) -> anyhow::Result<usize> {
    let parts: Parts = serde_json::from_slice(&artifact.bytes()?).context("a backbone artifact")?;
    Ok(Dims::from_json(&artifact.part(&parts.config)?).context("`config.json`")?.width)
}

/// The tokenizer of a backbone artifact, without its weights.
pub fn tokenizer(artifact: &Artifact) -> anyhow::Result<(Tokens, Digest)> {
    let parts: Parts = serde_json::from_slice(&artifact.bytes()?).context("a backbone artifact")?;
    let dims = Dims::from_json(&artifact.part(&parts.config)?).context("`config.json`")?;
    let tokens = Tokens::from_json(&artifact.part(&parts.tokenizer)?, dims.eos).context("`tokenizer.json`")?;
    Ok((tokens, parts.tokenizer))
}

/// The field of every stage that works on a backbone.
pub fn input(reference: &Ref) -> Input {
    Input::one("backbone", reference, BACKBONE)
}
