//! The seam between the engine and the kinds of stages.
//!
//! A kind is a type that implements [`Stage`]; its fields are the YAML of a stage and, serialised, the parameters of the
//! recipe. The engine sees kinds only through the table of [`Kind`]s that it is given.

use super::context::{Artifact, Cx};
use super::library::Library;
use super::manifest::node::Node;
use super::manifest::typed::{self, Mistake};
use super::remote::Remote;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The type of an artifact: `dataset`, `prompt`. References are checked against it before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    name: &'static str,
    ending: &'static str,
}

impl Type {
    /// What an input asks for that takes every type.
    pub const ANY: Self = Self::new("artifact", "");
    /// A file that a program made; only its reader knows what is in it, and its name has an ending of its own.
    pub const FILE: Self = Self::new("file", "");

    /// A type, and what the names of its files end in: `parquet`.
    pub const fn new(name: &'static str, ending: &'static str) -> Self {
        Self { name, ending }
    }

    /// What people and entries call it.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// What the names of its files end in; nothing where they have endings of their own.
    pub const fn ending(self) -> &'static str {
        self.ending
    }

    /// Whether an artifact of this type will do where `wanted` is asked for.
    pub(super) fn fits(self, wanted: Self) -> bool {
        wanted == Self::ANY || self == wanted
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An artifact that a kind always writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name within the job.
    pub name: &'static str,
    /// Its type.
    pub of: Type,
}

/// An artifact that a job writes: one of its kind, or one that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its name within the job.
    pub name: Arc<str>,
    /// Its type.
    pub of: Type,
}

impl Promise {
    /// The name of its file in the folder of a job's views: its own and the ending of its type, unless it has that already.
    pub fn file_name(&self) -> String {
        match self.of.ending {
            "" => self.name.to_string(),
            ending if self.name.rsplit_once('.').is_some_and(|(_, own)| own == ending) => self.name.to_string(),
            ending => format!("{}.{ending}", self.name),
        }
    }
}

impl From<&Output> for Promise {
    fn from(output: &Output) -> Self {
        Self { name: output.name.into(), of: output.of }
    }
}

/// A reference to one output of one job: `stage`, `stage[mnli,0]`, `stage[mnli,0].curve`.
///
/// The output may be left out where the referenced kind has exactly one of the type asked for. A reference serialises as
/// nothing (`null`): inputs enter a recipe by the digest of their content, never by the name of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ref(pub String);

/// One reference or a list of them; each may have wildcards (`stage[*]`, `stage[*,0]`), which stand for all jobs that fit.
/// What they refer to is a set: it is handed over and hashed in the order of the digests. Serialises as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs(pub Vec<Ref>);

impl Refs {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Ref {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A job of another stage: `stage`, `stage[value,value]`, `stage[value].output`.",
        })
    }
}

impl Serialize for Refs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Refs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Refs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference or a list of references")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Refs, E> {
                Ok(Refs(vec![Ref(text.to_owned())]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Refs, A::Error> {
                let mut refs = Vec::new();
                while let Some(item) = items.next_element()? {
                    refs.push(item);
                }
                Ok(Refs(refs))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Refs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "References".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Jobs of other stages; `*` stands for every value: `stage[*]`, `stage[*,0]`.",
        })
    }
}

/// Something that a job reads, as it is known so far: `M` is what is known of what other jobs make. A kind gives what it
/// [`Asked`] for; a plan knows the jobs that make it, an order the artifacts.
#[derive(Clone, Debug)]
pub struct Input<M = Asked> {
    /// The YAML path of the field that names it (`init.prompt`): its role in the recipe, and where problems are shown. The role
    /// of one of several files is `role/name`.
    pub role: String,
    /// Where it comes from.
    pub from: Source<M>,
}

/// Where an input comes from.
#[derive(Clone, Debug)]
pub enum Source<M = Asked> {
    /// Artifacts of other jobs; several are hashed and handed over in the order of their digests.
    Made(M),
    /// A file, relative to the current folder.
    File(PathBuf),
    /// Some files of a folder, relative to the current folder.
    Folder(PathBuf, Pick),
    /// Files that are kept elsewhere until a run fetches them.
    Remote(Arc<dyn Remote>),
}

/// Which of a folder's files (their names, sorted) are read.
#[derive(Clone)]
pub struct Pick(Arc<Choose>);

/// Chooses among names, or says what is missing.
type Choose = dyn Fn(&[String]) -> Result<Vec<String>, String> + Send + Sync;

impl Pick {
    /// Those that a function chooses; it may say why there are none.
    pub fn by(choose: impl Fn(&[String]) -> Result<Vec<String>, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    /// The chosen of these names.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(&self, names: &[String]) -> Result<Vec<String>, String> {
        (self.0)(names)
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pick")
    }
}

/// Artifacts of other jobs as a kind asks for them.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the field says.
    pub refs: Vec<Ref>,
    /// The type they must have.
    pub of: Type,
    /// Whether wildcards and lists are allowed.
    pub many: bool,
    /// Whether it is the path of a file if no stage has that name.
    pub or_file: bool,
}

/// Something that a job made or will make. `J` says which job: its place among those that are asked for together, or in a plan.
#[derive(Clone, Debug)]
pub enum Made<J = usize> {
    /// What is there already.
    Artifact(Artifact),
    /// An output of a job, by its name.
    Output(J, Arc<str>),
}

impl Input {
    /// One artifact.
    pub fn one(field: impl Into<String>, reference: &Ref, of: Type) -> Self {
        Self {
            role: field.into(),
            from: Source::Made(Asked { refs: vec![reference.clone()], of, many: false, or_file: false }),
        }
    }

    /// One artifact, or a file if no stage has the name.
    pub fn one_or_file(field: impl Into<String>, reference: &Ref, of: Type) -> Self {
        Self {
            role: field.into(),
            from: Source::Made(Asked { refs: vec![reference.clone()], of, many: false, or_file: true }),
        }
    }

    /// Any number of artifacts.
    pub fn many(field: impl Into<String>, refs: &Refs, of: Type) -> Self {
        Self { role: field.into(), from: Source::Made(Asked { refs: refs.0.clone(), of, many: true, or_file: false }) }
    }

    /// A file.
    pub fn file(field: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { role: field.into(), from: Source::File(path.into()) }
    }

    /// Some files of a folder.
    pub fn folder(field: impl Into<String>, path: impl Into<PathBuf>, pick: Pick) -> Self {
        Self { role: field.into(), from: Source::Folder(path.into(), pick) }
    }

    /// Files that are kept elsewhere.
    pub fn remote(field: impl Into<String>, remote: Arc<dyn Remote>) -> Self {
        Self { role: field.into(), from: Source::Remote(remote) }
    }
}

impl<M> Input<M> {
    /// The same input with more known of what other jobs make for it; `None` if that is not to be had.
    pub(super) fn refine<N>(&self, made: impl FnOnce(&M) -> Option<N>) -> Option<Input<N>> {
        let from = match &self.from {
            Source::Made(known) => Source::Made(made(known)?),
            Source::File(path) => Source::File(path.clone()),
            Source::Folder(path, pick) => Source::Folder(path.clone(), pick.clone()),
            Source::Remote(remote) => Source::Remote(remote.clone()),
        };
        Some(Input { role: self.role.clone(), from })
    }

    /// What is known of what other jobs make for it; `None` if it is not such an input.
    pub(super) fn made(&self) -> Option<&M> {
        match &self.from {
            Source::Made(known) => Some(known),
            Source::File(_) | Source::Folder(..) | Source::Remote(_) => None,
        }
    }
}

impl From<Artifact> for Made {
    fn from(artifact: Artifact) -> Self {
        Self::Artifact(artifact)
    }
}

/// A mistake in the parameters of a stage that its types do not rule out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// YAML path within the stage: `optimizer.adafactor.decay_rate`; empty for the stage as a whole.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
}

impl Issue {
    /// A mistake at a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A job that a stage asks for while it runs ([`Stage::expand`]).
pub struct Spec {
    /// What people call it, after the name of the job that asked: `mnli,0`.
    pub name: String,
    /// What to do. Its references are not looked at; `inputs` stand for them.
    pub job: Box<dyn Job>,
    /// Inputs by role, in the order in which [`Stage::inputs`] of the kind gives them.
    pub inputs: Vec<(String, Made)>,
}

/// What the outputs of a job are about, as far as the manifest tells: later jobs find them by name, so that two of one name that
/// are not the same must not meet. The engine carries it from job to job and does not look inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// What people and later jobs call it: a task.
    pub name: String,
    /// Which repetition it is: a seed.
    pub run: Option<String>,
    /// What it is, whatever it is called: where the data are from. `None` if only running tells, so that it is like any other.
    pub origin: Option<String>,
    /// What it began from.
    pub source: Option<Box<Subject>>,
}

/// Something that a job reads, and what it is about.
#[derive(Clone, Debug)]
pub struct Known {
    /// The job that makes it: `source[mnli,0]`.
    pub job: String,
    /// What it is about.
    pub subject: Subject,
}

/// What a job noted down of how it ran and what it made ([`Cx::note`]).
pub type Notes = Arc<BTreeMap<String, String>>;

/// What a job needs of the machine; never part of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The role of the model that it computes through, if jobs share one. They mostly wait for it: many such jobs run side by
    /// side, so that the model serves them in one batch, but on few different models at a time.
    pub shared_model: Option<&'static str>,
    /// Whether it computes with a model of its own, for which it takes up to [`Cx::memory`].
    pub own_model: bool,
    /// Whether it starts a program that the manifest names.
    pub program: bool,
}

/// How people are shown what the jobs of a kind wrote down while they learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curves {
    /// What they show, as the caption of a figure.
    pub caption: &'static str,
    /// The output that says what was learned.
    pub told_by: &'static str,
}

/// A kind of stage: documented parameters, and what to do with them.
///
/// `Serialize` must give every parameter that affects the result and no other; mark the rest `#[serde(skip_serializing)]`.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `kind:`.
    const KIND: &'static str;
    /// Bump when the same recipe would now give other bytes.
    const VERSION: u32;
    /// What every job of this kind writes; nothing if [`outputs`](Self::outputs) says it job by job.
    const OUTPUTS: &'static [Output];
    /// Whether jobs of this kind [`expand`](Self::expand).
    const EXPANDS: bool = false;
    /// YAML paths of fields that hold words: a truth value in them is the word as it is written, `True` or `true`, and so is a whole
    /// number of any size.
    const WORDS: &'static [&'static str] = &[];
    /// The learning curves in its output `curve`, if it has them.
    const CURVES: Option<Curves> = None;

    /// The parameters with what stands for others written out, such as the name of a task that the project describes in a file of
    /// its own; `None` if nothing among them does.
    ///
    /// # Errors
    /// The first field that stands for nothing, or for two things.
    fn written_out(_params: &Node, _library: &Library) -> Result<Option<Node>, Issue> {
        Ok(None)
    }

    /// What the job reads, in the order in which it is hashed.
    fn inputs(&self) -> Vec<Input>;

    /// What this job writes, if its kind leaves that to the manifest.
    fn outputs(&self) -> Vec<Promise> {
        Self::OUTPUTS.iter().map(Promise::from).collect()
    }

    /// What types do not rule out: ranges, exclusive options.
    ///
    /// # Errors
    /// The first contradiction, with the field it is in.
    fn check(&self) -> Result<(), Issue> {
        Ok(())
    }

    /// What only the number of inputs tells: `inputs` gives the number of artifacts that the job will read in a role. Checked
    /// before anything runs.
    ///
    /// # Errors
    /// The first role with too many or too few.
    fn check_inputs(&self, _inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        Ok(())
    }

    /// What the outputs are about; `inputs` gives what is known of the inputs with a role.
    fn subject(&self, _inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        None
    }

    /// What only the names of things tell that are read together. Checked before anything runs.
    ///
    /// # Errors
    /// The first role with two things that nothing tells apart.
    fn check_subjects(&self, _inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        Ok(())
    }

    /// Why the job cannot run whatever its inputs are, if that is so; [`run`](Self::run) has to fail then.
    fn blocked(&self) -> Option<String> {
        None
    }

    /// What the job needs of the machine.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Floating-point operations that the job takes, as far as the notes of the jobs that made its inputs tell; `inputs` gives those of a role.
    /// By it the time is foretold of a job that is larger or smaller than those that were measured.
    fn operations(&self, _inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64> {
        None
    }

    /// Jobs known only once the inputs are; they run before [`run`](Self::run), which finds them in
    /// [`Cx::expanded`].
    ///
    /// # Errors
    /// If an input is damaged, or does not say what the jobs depend on.
    fn expand(&self, _cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        Ok(Vec::new())
    }

    /// At most how many jobs [`expand`](Self::expand) asks for; shown while they are not known. `inputs` gives the number of
    /// artifacts that the job will read in a role.
    fn expands_to_at_most(&self, _inputs: &dyn Fn(&str) -> usize) -> usize {
        0
    }

    /// Reads inputs, writes outputs, touches nothing else.
    ///
    /// # Errors
    /// Whatever keeps the job from its outputs; the message says what to do.
    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()>;
}

/// A [`Stage`] whose type is forgotten.
pub trait Job: Send + Sync {
    /// Its kind.
    fn kind(&self) -> Kind;
    /// The parameters for the recipe.
    fn params(&self) -> serde_json::Value;
    /// See [`Stage::inputs`].
    fn inputs(&self) -> Vec<Input>;
    /// See [`Stage::outputs`].
    fn outputs(&self) -> Vec<Promise>;
    /// See [`Stage::check`].
    ///
    /// # Errors
    /// As [`Stage::check`].
    fn check(&self) -> Result<(), Issue>;
    /// See [`Stage::check_inputs`].
    ///
    /// # Errors
    /// As [`Stage::check_inputs`].
    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue>;
    /// See [`Stage::subject`].
    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject>;
    /// See [`Stage::check_subjects`].
    ///
    /// # Errors
    /// As [`Stage::check_subjects`].
    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue>;
    /// See [`Stage::blocked`].
    fn blocked(&self) -> Option<String>;
    /// See [`Stage::needs`].
    fn needs(&self) -> Needs;
    /// See [`Stage::operations`].
    fn operations(&self, inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64>;
    /// See [`Stage::expand`].
    ///
    /// # Errors
    /// As [`Stage::expand`].
    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>>;
    /// See [`Stage::expands_to_at_most`].
    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize;
    /// See [`Stage::run`].
    ///
    /// # Errors
    /// As [`Stage::run`].
    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()>;
}

impl<S: Stage> Job for S {
    fn kind(&self) -> Kind {
        Kind::of::<S>()
    }

    fn params(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("parameters have only string keys and finite numbers")
    }

    fn inputs(&self) -> Vec<Input> {
        Stage::inputs(self)
    }

    fn outputs(&self) -> Vec<Promise> {
        Stage::outputs(self)
    }

    fn check(&self) -> Result<(), Issue> {
        Stage::check(self)
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        Stage::check_inputs(self, inputs)
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        Stage::subject(self, inputs)
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        Stage::check_subjects(self, inputs)
    }

    fn blocked(&self) -> Option<String> {
        Stage::blocked(self)
    }

    fn needs(&self) -> Needs {
        Stage::needs(self)
    }

    fn operations(&self, inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64> {
        Stage::operations(self, inputs)
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        Stage::expand(self, cx)
    }

    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize {
        Stage::expands_to_at_most(self, inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        Stage::run(self, cx)
    }
}

/// A row of the table of kinds.
#[derive(Clone, Copy)]
pub struct Kind {
    /// [`Stage::KIND`].
    pub name: &'static str,
    /// [`Stage::VERSION`].
    pub version: u32,
    /// [`Stage::OUTPUTS`].
    pub outputs: &'static [Output],
    /// [`Stage::EXPANDS`].
    pub expands: bool,
    /// [`Stage::WORDS`].
    pub words: &'static [&'static str],
    /// [`Stage::CURVES`].
    pub curves: Option<Curves>,
    /// See [`Stage::written_out`].
    pub written_out: fn(&Node, &Library) -> Result<Option<Node>, Issue>,
    /// Reads the parameters of a stage, without `kind` and `matrix`, written out.
    pub parse: fn(&Node) -> Result<Box<dyn Job>, Mistake>,
    /// The schema of the parameters.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl Kind {
    /// The row of a kind.
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::KIND,
            version: S::VERSION,
            outputs: S::OUTPUTS,
            expands: S::EXPANDS,
            words: S::WORDS,
            curves: S::CURVES,
            written_out: S::written_out,
            parse: |params| Ok(Box::new(typed::read::<S>(params)?)),
            schema: |generator| generator.subschema_for::<S>(),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}
