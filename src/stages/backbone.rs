//! `backbone`: the frozen model of a pipeline, from a folder in Hugging Face's layout or built into the program.

use super::checkpoint_files::{CONFIG, SPIECE, TOKENIZER, choose, pick};
use super::checkpoint_weights::{Form, SAFETENSORS};
use super::work::note_model;
use super::{BACKBONE, hub};
use crate::data::Dataset;
use crate::engine::context::{Artifact, Cx, Interrupted};
use crate::engine::run::Unavailable;
use crate::engine::stage::{Input, Issue, Output, Pick, Ref, Stage};
use crate::engine::store::content::Content;
use crate::engine::store::digest::Digest;
use crate::hub::{Kind, Repo, check_id, check_revision};
use crate::ml;
use crate::ml::batcher::{self, Batcher, Client};
use crate::ml::model::{Bytes, Dims, Precision, Shard, Weights, pack};
use crate::ml::text::tokens::Tokens;
use crate::ml::text::{bytes, sentencepiece};
use anyhow::{Context, anyhow, bail, ensure};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A frozen T5.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backbone {
    /// Where the model comes from.
    #[schemars(with = "Fields")]
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
            "`f16` is refused: activations of T5 exceed its largest number, 65,504, and become infinite; use `bf16`",
        )),
        other => Err(D::Error::custom(format!("unknown precision `{other}`, expected `f32` or `bf16`"))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_single(precision: &Precision) -> bool {
    *precision == Precision::F32
}

/// Where a model comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Fields")]
enum From {
    /// A model that is part of the program.
    Builtin(Builtin),
    /// A folder in Hugging Face's layout.
    Path(#[serde(skip_serializing)] String),
    /// A repository of the hub, by the same files.
    Hub(#[serde(skip_serializing)] Hub),
}

/// A repository of the hub.
#[derive(Clone, Debug)]
struct Hub {
    name: String,
    revision: String,
}

/// Where a model comes from: one of `builtin`, `path` and `hub`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FromModel")]
#[schemars(extend("oneOf" = [{"required": ["builtin"]}, {"required": ["path"]}, {"required": ["hub"]}]))]
#[schemars(extend("dependentRequired" = {"revision": ["hub"]}))]
struct Fields {
    /// A model that is part of the program.
    builtin: Option<Builtin>,
    /// A folder in Hugging Face's layout: `config.json`, `tokenizer.json` or else `spiece.model` (ByT5 needs neither),
    /// `model.safetensors` or its shards, or else `pytorch_model.bin` or its.
    path: Option<String>,
    /// A repository of the Hugging Face hub, such as `google/t5-base-lm-adapt`: what is not in the cache that its Python tools
    /// share is downloaded by `spot run`.
    hub: Option<String>,
    /// Its branch, tag, commit or `refs/pr/N`; `main` if it is not said. Content counts, not its name.
    revision: Option<String>,
}

impl TryFrom<Fields> for From {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        match fields {
            Fields { builtin: Some(model), path: None, hub: None, revision: None } => Ok(Self::Builtin(model)),
            Fields { builtin: None, path: Some(path), hub: None, revision: None } => Ok(Self::Path(path)),
            Fields { builtin: None, path: None, hub: Some(name), revision } => {
                Ok(Self::Hub(Hub { name, revision: revision.unwrap_or_else(|| "main".to_owned()) }))
            }
            Fields { hub: None, revision: Some(_), .. } => {
                Err("`revision` belongs to `hub`, which is not given".to_owned())
            }
            _ => Err("expected one of `builtin`, `path` and `hub`".to_owned()),
        }
    }
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
    /// `tokenizer.json`, possibly made of a `spiece.model`, or for ByT5 of nothing.
    pub tokenizer: Digest,
    /// Files of weights, in the order of their names.
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

    /// The model of the contents of these parts. `part` opens a part by its digest; `names` are those of all parts, of which
    /// [`PACKED`] is the weights as they are used.
    ///
    /// # Errors
    /// What `part` returns, or if they are not those that were checked when the artifact was made.
    pub fn model(
        &self,
        names: &[(&str, Digest)],
        part: impl Fn(&Digest) -> anyhow::Result<Content>,
    ) -> anyhow::Result<Model> {
        let (config, tokenizer) = (part(&self.config)?, part(&self.tokenizer)?);
        let tokenizer = Shard { name: TOKENIZER, bytes: &tokenizer };
        let packed = names.iter().find(|(name, _)| *name == PACKED && self.precision == Precision::Bf16);
        if let Some((_, digest)) = packed {
            let weights: Bytes = Arc::new(part(digest)?);
            return Model::with(&config, tokenizer, |dims| Weights::packed(&dims, &weights));
        }
        let weights = self.weights.iter().map(&part).collect::<anyhow::Result<Vec<_>>>()?;
        let names: Vec<String> = self.weights.iter().map(|part| format!("weights {}", part.short())).collect();
        let shards: Vec<Shard<'_>> = names.iter().zip(&weights).map(|(name, bytes)| Shard { name, bytes }).collect();
        Model::new(&config, tokenizer, &shards, self.precision)
    }
}

/// The part that has the weights of a model in bf16 as they are used, so that they are converted once. It follows from the other
/// parts, and is not named by the artifact's bytes.
const PACKED: &str = "packed.safetensors";

impl Stage for Backbone {
    const KIND: &'static str = "backbone";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "backbone", of: BACKBONE }];

    fn inputs(&self) -> Vec<Input> {
        match &self.from {
            From::Builtin(_) => Vec::new(),
            From::Path(path) => vec![Input::folder(FOLDER, path, Pick::by(|names| Ok(pick(names))))],
            From::Hub(Hub { name, revision }) => {
                // What is not a name was refused by `check`.
                let repo = Repo::new(Kind::Model, name, revision).ok();
                repo.map(|repo| Input::remote(HUB, Arc::new(hub::Files { repo, choose: Arc::new(choose) })))
                    .into_iter()
                    .collect()
            }
        }
    }

    fn check(&self) -> Result<(), Issue> {
        let From::Hub(Hub { name, revision }) = &self.from else { return Ok(()) };
        check_id(name).map_err(|message| Issue::new(HUB, message))?;
        check_revision(revision).map_err(|message| Issue::new("from.revision", message))
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let parts = match &self.from {
            From::Builtin(Builtin::Nano) => {
                note_model(cx, &Dims::from_json(Nano::CONFIG)?);
                Parts {
                    config: cx.attach("backbone", CONFIG, Nano::CONFIG)?,
                    tokenizer: cx.attach("backbone", TOKENIZER, Nano::TOKENIZER)?,
                    weights: vec![cx.attach("backbone", SAFETENSORS.single, Nano::WEIGHTS)?],
                    precision: self.precision,
                }
            }
            From::Path(path) => from_folder(cx, FOLDER, path, self.precision)?,
            From::Hub(hub) => from_folder(cx, HUB, &hub.name, self.precision)?,
        };
        cx.write("backbone", &parts.to_bytes())
    }
}

/// Role of the files of a folder.
const FOLDER: &str = "from.path";
/// Role of the files of a repository.
const HUB: &str = "from.hub";

fn from_folder(cx: &mut Cx<'_>, role: &str, path: &str, precision: Precision) -> anyhow::Result<Parts> {
    let files: Vec<(String, Artifact)> =
        cx.folder(role).into_iter().map(|(name, file)| (name.to_owned(), file.clone())).collect();
    let find = |name: &str| files.iter().find(|(known, _)| known == name).map(|(_, file)| file);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let read = |name: &str| find(name).with_context(|| missing(path, name))?.map().with_context(|| format!("`{name}`"));
    let source = Source::read(path, &names, read)?;
    let shown = || format!("model in `{path}`");
    match precision {
        Precision::F32 => drop(source.model(precision).with_context(shown)?),
        Precision::Bf16 => {
            let file = cx.scratch()?.join(PACKED);
            source.pack(&file, cx).with_context(shown)?;
            cx.attach_file("backbone", PACKED, &file)?;
        }
    }
    note_model(cx, &Dims::from_json(&source.config).with_context(|| format!("`{CONFIG}`")).with_context(shown)?);
    let config = cx.attach("backbone", CONFIG, &source.config)?;
    let tokenizer = cx.attach("backbone", TOKENIZER, &source.tokenizer)?;
    let mut weights = Vec::new();
    for (name, _) in &source.weights {
        let file = find(name).with_context(|| missing(path, name))?;
        weights.push(cx.attach_input("backbone", name, file)?);
    }
    Ok(Parts { config, tokenizer, weights, precision })
}

fn missing(path: &str, name: &str) -> String {
    format!(
        "`{path}` has no `{name}`; expected a folder in Hugging Face's layout with `config.json`, `tokenizer.json` (or \
         SentencePiece's `spiece.model`, or neither if the `tokenizer_class` of `config.json` is `ByT5Tokenizer`) and \
         `model.safetensors` or `pytorch_model.bin` (or the shards of one of them)"
    )
}

/// The files of a folder in Hugging Face's layout.
struct Source {
    config: Content,
    /// `tokenizer.json`, possibly made of `spiece.model` or of nothing but the size of the vocabulary.
    tokenizer: Vec<u8>,
    /// The file that says what it is.
    tokenizer_name: &'static str,
    /// Files of weights by name.
    weights: Vec<(String, Content)>,
}

impl Source {
    /// Reads the files `names` of the folder `path`.
    fn read(path: &str, names: &[&str], read: impl Fn(&str) -> anyhow::Result<Content>) -> anyhow::Result<Self> {
        let shown = || format!("model in `{path}`");
        let config = read(CONFIG)?;
        let rows =
            || anyhow::Ok(Dims::from_json(&config).with_context(|| format!("`{CONFIG}`")).with_context(shown)?.vocab);
        // T5X's and T5's own checkpoints have SentencePiece's file only; ByT5's ids are bytes.
        let (tokenizer_name, tokenizer) = if names.contains(&TOKENIZER) {
            (TOKENIZER, read(TOKENIZER)?.to_vec())
        } else if names.contains(&SPIECE) {
            let made = sentencepiece::to_tokenizer_json(&read(SPIECE)?, rows()?);
            (SPIECE, made.with_context(|| format!("`{SPIECE}`")).with_context(shown)?)
        } else if is_of_bytes(&config) {
            (CONFIG, bytes::to_tokenizer_json(rows()?).with_context(|| format!("`{CONFIG}`")).with_context(shown)?)
        } else {
            bail!(missing(path, TOKENIZER))
        };
        let form = Form::of(names);
        let index = if names.contains(&form.index) { Some(read(form.index)?) } else { None };
        let weights: Vec<&str> = names.iter().copied().filter(|name| form.is_weights(name)).collect();
        form.check_shards(&weights, index.as_deref()).with_context(shown)?;
        ensure!(!weights.is_empty(), missing(path, form.single));
        let weights = weights.into_iter().map(|name| Ok((name.to_owned(), read(name)?)));
        Ok(Self { config, tokenizer, tokenizer_name, weights: weights.collect::<anyhow::Result<_>>()? })
    }

    /// The artifact that a pipeline would make of it.
    fn parts(&self, precision: Precision) -> Parts {
        let weights = self.weights.iter().map(|(_, bytes)| Digest::of(bytes)).collect();
        Parts { config: Digest::of(&self.config), tokenizer: Digest::of(&self.tokenizer), weights, precision }
    }

    fn model(&self, precision: Precision) -> anyhow::Result<Model> {
        Model::new(&self.config, self.tokenizer(), &self.shards(), precision)
    }

    fn tokenizer(&self) -> Shard<'_> {
        Shard { name: self.tokenizer_name, bytes: &self.tokenizer }
    }

    fn shards(&self) -> Vec<Shard<'_>> {
        self.weights.iter().map(|(name, bytes)| Shard { name, bytes }).collect()
    }

    /// Checks the model as [`model`](Self::model) does, and writes its weights in bf16 to `file`, one tensor in memory at a time.
    fn pack(&self, file: &Path, cx: &Cx<'_>) -> anyhow::Result<()> {
        let (dims, _) = Model::sizes(&self.config, self.tokenizer())?;
        let mut out = BufWriter::new(fs_err::File::create(file)?);
        let is_whole = pack(dims, &self.shards(), &mut out, &mut |done, all| {
            cx.progress().step(done as u64, all as u64, "converted to bf16");
            !cx.stopped()
        })?;
        ensure!(is_whole, Interrupted { step: 0 });
        Ok(out.flush()?)
    }
}

/// Whether a configuration says that the ids of the model are bytes.
fn is_of_bytes(config: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Words {
        tokenizer_class: Option<String>,
    }
    let words = serde_json::from_slice::<Words>(config).ok();
    words.and_then(|words| words.tokenizer_class).is_some_and(|class| class == "ByT5Tokenizer")
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
    ///
    /// # Errors
    /// If one of them is damaged, or they do not fit together; names the file.
    pub fn new(
        config: &[u8],
        tokenizer: Shard<'_>,
        weights: &[Shard<'_>],
        precision: Precision,
    ) -> anyhow::Result<Self> {
        Self::with(config, tokenizer, |dims| Weights::read(dims, weights, precision))
    }

    fn with(
        config: &[u8],
        tokenizer: Shard<'_>,
        weights: impl FnOnce(Dims) -> Result<Weights, ml::error::Error>,
    ) -> anyhow::Result<Self> {
        let (dims, tokens) = Self::sizes(config, tokenizer)?;
        Ok(Self { weights: Arc::new(weights(dims)?), tokens, tokenizer: Digest::of(tokenizer.bytes) })
    }

    /// The sizes of a model and its tokenizer, which must fit together.
    fn sizes(config: &[u8], tokenizer: Shard<'_>) -> anyhow::Result<(Dims, Tokens)> {
        let dims = Dims::from_json(config).with_context(|| format!("`{CONFIG}`"))?;
        let tokens = Tokens::from_json(tokenizer.bytes, dims.eos).with_context(|| format!("`{}`", tokenizer.name))?;
        if tokens.size() > dims.vocab {
            bail!(
                "the tokenizer has {} ids, but the model's embedding has {} rows (`vocab_size` of `config.json`)",
                tokens.size(),
                dims.vocab
            );
        }
        Ok((dims, tokens))
    }

    /// Whether a data set's ids are those of this model's tokenizer.
    ///
    /// # Errors
    /// If it was made with another tokenizer, or holds an id that the model has no embedding for.
    pub fn check_data(&self, dataset: &Dataset) -> anyhow::Result<()> {
        self.check_tokenizer(&dataset.task.name, dataset.tokenizer.as_deref())?;
        self.check_ids(dataset.largest_id())
    }

    /// Checks that the data set of a task was made with this model's tokenizer, whose digest it says.
    ///
    /// # Errors
    /// If it was made with another one, or with none.
    pub fn check_tokenizer(&self, task: &str, tokenizer: Option<&str>) -> anyhow::Result<()> {
        let own = self.tokenizer.to_string();
        let other = tokenizer.unwrap_or("none");
        ensure!(
            own == other,
            "`data` of task `{task}` was made with the tokenizer {other:.12}, but the backbone has {own:.12}; give `ingest` the \
             same backbone"
        );
        Ok(())
    }

    /// Checks that the model has an embedding for the largest id of a data set.
    ///
    /// # Errors
    /// If it has none.
    pub fn check_ids(&self, largest: Option<u32>) -> anyhow::Result<()> {
        let (largest, rows) = (largest.unwrap_or(0), self.weights.dims.vocab);
        ensure!((largest as usize) < rows, "`data` holds the id {largest}, but the backbone has {rows} ids");
        Ok(())
    }

    /// This job's access to the model at work on the device that the user chose, which all jobs share. The workers live at least
    /// as long as the job.
    ///
    /// # Errors
    /// [`Unavailable`] if the device is not there or does not have enough memory.
    pub fn client(&self, cx: &Cx<'_>, artifact: &Artifact) -> anyhow::Result<Client> {
        let (device, threads, memory) = (cx.device().to_owned(), cx.threads(), cx.memory());
        let batcher = cx.shared(&artifact.digest, || {
            Batcher::start(&self.weights, &batcher::Settings { device: device.clone(), threads, memory })
                .map_err(|error| Unavailable(format!("device `{device}`: {error}")).into())
        })?;
        Ok(batcher.client(cx.job()))
    }

    /// The model of a backbone artifact, loaded once for all jobs that use it at a time.
    ///
    /// # Errors
    /// If a part is missing or damaged, or together they are not a T5.
    pub fn load(cx: &Cx<'_>, artifact: &Artifact) -> anyhow::Result<Arc<Self>> {
        cx.shared(&artifact.digest, || {
            let parts: Parts = serde_json::from_slice(&artifact.bytes()?).context("a backbone artifact")?;
            parts.model(&artifact.parts(), |part| artifact.part(part))
        })
    }
}

impl Model {
    /// The model of a folder in Hugging Face's layout, outside of any pipeline, and the digest that its artifact would have.
    /// `wanted` says which of the precisions it is to have, if it is the digest of one.
    ///
    /// # Errors
    /// If it lacks a file or they do not fit together.
    pub fn from_folder(folder: &Path, wanted: Option<Digest>) -> anyhow::Result<(Self, Digest)> {
        let items = fs_err::read_dir(folder)?;
        let names = items.map(|item| Ok(item?.file_name().to_string_lossy().into_owned()));
        let names = pick(&names.collect::<std::io::Result<Vec<String>>>()?);
        let files = names.into_iter().map(|name| (name.clone(), folder.join(name))).collect();
        Self::from_files(&folder.display().to_string(), files, wanted)
    }

    /// The same of a repository of the hub, whose files are in the cache that the Python tools share. Reaches no network.
    ///
    /// # Errors
    /// If `name` or `revision` cannot be one, if a file is not on this machine (the message says how to fetch it), or they do
    /// not fit together.
    pub fn from_hub(name: &str, revision: &str, wanted: Option<Digest>) -> anyhow::Result<(Self, Digest)> {
        let repo = Repo::new(Kind::Model, name, revision).map_err(|why| anyhow!(why))?;
        let snapshot = hub::cached(&repo, &choose)?;
        Self::from_files(&repo.to_string(), snapshot.files, wanted)
    }

    fn from_files(
        shown: &str,
        mut files: Vec<(String, PathBuf)>,
        wanted: Option<Digest>,
    ) -> anyhow::Result<(Self, Digest)> {
        files.sort();
        let read = |name: &str| {
            let file = files.iter().find(|(known, _)| known == name);
            Ok(Content::of(&file.with_context(|| missing(shown, name))?.1)?)
        };
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let source = Source::read(shown, &names, read)?;
        let of = |precision| (precision, Digest::of(&source.parts(precision).to_bytes()));
        let both = [of(Precision::F32), of(Precision::Bf16)];
        let (precision, digest) = *both.iter().find(|(_, digest)| Some(*digest) == wanted).unwrap_or(&both[0]);
        let model = source.model(precision).with_context(|| format!("model in `{shown}`"))?;
        Ok((model, digest))
    }

    /// The model that is part of the program.
    ///
    /// # Errors
    /// Never, or the program was built wrong.
    pub fn nano(precision: Precision) -> anyhow::Result<Self> {
        let tokenizer = Shard { name: TOKENIZER, bytes: Nano::TOKENIZER };
        Self::new(Nano::CONFIG, tokenizer, &[Shard { name: SAFETENSORS.single, bytes: Nano::WEIGHTS }], precision)
    }

    /// The same, if this is the digest of its artifact.
    ///
    /// # Errors
    /// As [`nano`](Self::nano).
    pub fn nano_with(digest: Digest) -> anyhow::Result<Option<Self>> {
        let [config, tokenizer, weights] = [Nano::CONFIG, Nano::TOKENIZER, Nano::WEIGHTS].map(Digest::of);
        let parts = |precision| Parts { config, tokenizer, weights: vec![weights], precision };
        let is_it = |precision: &Precision| Digest::of(&parts(*precision).to_bytes()) == digest;
        [Precision::F32, Precision::Bf16].into_iter().find(is_it).map(Self::nano).transpose()
    }
}

/// The repository of the hub and the revision that a name on a command line stands for, if it may be one: `google/t5-base-lm-adapt`,
/// `google/t5-base-lm-adapt@refs/pr/2`. Jobs have no `/` in their names.
pub fn repository(name: &str) -> Option<(&str, &str)> {
    let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
    (id.contains('/') && check_id(id).is_ok() && check_revision(revision).is_ok()).then_some((id, revision))
}

/// The embedding width of a backbone artifact, without its weights.
///
/// # Errors
/// If the artifact or its configuration is damaged.
pub fn width(artifact: &Artifact) -> anyhow::Result<usize> {
    let parts: Parts = serde_json::from_slice(&artifact.bytes()?).context("a backbone artifact")?;
    Ok(Dims::from_json(&artifact.part(&parts.config)?).context("`config.json`")?.width)
}

/// The tokenizer of a backbone artifact, without its weights.
///
/// # Errors
/// If the artifact, its configuration or its tokenizer is damaged.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byt5_needs_no_file_of_a_tokenizer() {
        let golden = Path::new("tests/golden/byt5");
        let (model, _) = Model::from_folder(golden, None).unwrap();
        assert_eq!((model.tokens.size(), model.tokens.sentinels().len()), (384, 125));
        assert_eq!(model.tokens.pieces("\u{e9}").unwrap(), [0xC3 + 3, 0xA9 + 3]);

        let folder = tempfile::TempDir::new().unwrap();
        let config = fs_err::read_to_string(golden.join(CONFIG)).unwrap();
        fs_err::copy(golden.join(SAFETENSORS.single), folder.path().join(SAFETENSORS.single)).unwrap();
        let with = |config: &str| {
            fs_err::write(folder.path().join(CONFIG), config).unwrap();
            Model::from_folder(folder.path(), None).map(drop).map_err(|error| format!("{error:#}"))
        };
        with(&config).unwrap();
        let other = with(&config.replace("ByT5Tokenizer", "T5Tokenizer")).unwrap_err();
        assert!(other.contains("has no `tokenizer.json`; expected a folder"), "{other}");
        // Nothing is made where there is a file, even one that is none.
        fs_err::write(folder.path().join(SPIECE), "x").unwrap();
        let damaged = with(&config).unwrap_err();
        assert!(damaged.contains("`spiece.model`"), "{damaged}");
    }

    #[test]
    fn repositories_are_told_from_jobs() {
        assert_eq!(repository("google/t5-base-lm-adapt"), Some(("google/t5-base-lm-adapt", "main")));
        assert_eq!(repository("org/name@refs/pr/2"), Some(("org/name", "refs/pr/2")));
        for other in
            ["backbone", "smoke:source[a,0]", "./folder/name", "/an/absolute", "a/b/c", "12ab34", "org/name@../x"]
        {
            assert_eq!(repository(other), None, "{other}");
        }
    }
}
