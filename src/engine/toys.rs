//! Kinds and plans for the tests of the engine: no model, no manifest.

use super::context::{Cx, Interrupted, Progress};
use super::plan::{Linked, Plan, Planned};
use super::remote::{Presence, Remote};
use super::resources::Resources;
use super::run::{Ending, Outcome, Settings, Summary, Watch, run};
use super::stage::{Input, Job, Made, Needs, Output, Ref, Refs, Source, Spec, Stage, Type};
use super::store::Store;
use super::store::digest::Digest;
use petgraph::graph::{DiGraph, NodeIndex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OF_TEXT: Type = Type::new("text", "txt");
const TEXT: Output = Output { name: "text", of: OF_TEXT };

/// Joins its text, its seed and the content of its inputs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Concat {
    pub(super) text: String,
    pub(super) seed: u64,
    pub(super) upper: bool,
    pub(super) parts: Refs,
    /// Gets a line for every execution.
    #[serde(skip_serializing)]
    pub(super) log: PathBuf,
    /// How long it takes at least.
    #[serde(skip_serializing)]
    pub(super) lasts: Duration,
}

fn log(path: &Path, line: &str) {
    if path != Path::new("") {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        // In one write: jobs side by side have one log.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Stage for Concat {
    const KIND: &'static str = "concat";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::many("parts", &self.parts, OF_TEXT)]
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        log(&self.log, &self.text);
        std::thread::sleep(self.lasts);
        let mut text = format!("{}{};", self.text, self.seed).into_bytes();
        for part in cx.many("parts") {
            text.extend(part.bytes()?);
        }
        if let Ok(file) = cx.one("file") {
            text.extend(file.bytes()?);
        }
        for (name, file) in cx.folder("folder") {
            text.extend(name.bytes());
            text.extend(file.bytes()?);
        }
        if self.upper {
            text.make_ascii_uppercase();
        }
        cx.write("text", &text)
    }
}

/// Counts the bytes of its input, so that different inputs may give one output.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Length {
    of: Ref,
}

impl Stage for Length {
    const KIND: &'static str = "length";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::one("of", &self.of, OF_TEXT)]
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let length = cx.one("of")?.bytes()?.len();
        cx.write("text", length.to_string().as_bytes())
    }
}

/// Asks for a [`Concat`] for every letter of its input that is at most `until`, and joins what they make; or, as a `chain`,
/// for jobs each of which reads what the one before it makes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Fan {
    pub(super) until: char,
    pub(super) chain: bool,
    pub(super) of: Ref,
    #[serde(skip_serializing)]
    pub(super) log: PathBuf,
}

impl Stage for Fan {
    const KIND: &'static str = "fan";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];
    const EXPANDS: bool = true;

    fn inputs(&self) -> Vec<Input> {
        vec![Input::one("of", &self.of, OF_TEXT)]
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let of = cx.one("of")?;
        let letters = String::from_utf8(of.bytes()?)?;
        let letters = letters.chars().filter(|letter| letter.is_alphabetic() && *letter <= self.until);
        let spec = |(place, letter): (usize, char)| {
            let text = letter.to_string();
            let job = Concat { text: text.clone(), log: self.log.clone(), ..Concat::default() };
            let read = match place.checked_sub(1) {
                Some(before) if self.chain => Made::Output(before, "text".into()),
                _ => of.clone().into(),
            };
            Spec { name: text, job: Box::new(job), inputs: vec![("parts".to_owned(), read)] }
        };
        Ok(letters.enumerate().map(spec).collect())
    }

    fn expands_to_at_most(&self, _: &dyn Fn(&str) -> usize) -> usize {
        26
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for job in cx.expanded() {
            text.extend(job.outputs[0].1.bytes()?);
        }
        cx.write("text", &text)
    }
}

/// What can go wrong in a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Trouble {
    pub(super) how: String,
}

impl Stage for Trouble {
    const KIND: &'static str = "trouble";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        match self.how.as_str() {
            "error" => anyhow::bail!("loss is NaN at step 3"),
            "panic" => panic!("index out of bounds"),
            "full" => Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into()),
            "twice" => {
                cx.write("text", b"a")?;
                cx.write("text", b"b")
            }
            "unknown" => cx.write("txet", b"a"),
            "silent" => Ok(()),
            // Somebody edits the input while the job runs.
            _ => {
                let path = cx.one("file")?.origin();
                cx.write("text", b"a")?;
                Ok(fs_err::write(path, "changed while it ran")?)
            }
        }
    }
}

/// Takes steps, saves each in its scratch folder, and stops when asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Slow {
    pub(super) steps: u64,
    #[serde(skip_serializing)]
    pub(super) log: PathBuf,
    /// Do nothing any more once this step is saved, until killed.
    #[serde(skip_serializing)]
    pub(super) hang_at: Option<u64>,
}

impl Stage for Slow {
    const KIND: &'static str = "slow";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let saved = cx.scratch()?.join("step");
        let from = fs_err::read_to_string(&saved).ok().map_or(0, |text| text.parse().unwrap());
        for step in from..self.steps {
            while self.hang_at == Some(step) {
                std::thread::park();
            }
            if cx.stopped() {
                return Err(Interrupted { step }.into());
            }
            log(&self.log, &step.to_string());
            let new = saved.with_extension("new");
            fs_err::write(&new, (step + 1).to_string())?;
            fs_err::rename(new, &saved)?;
            cx.progress().step(step + 1, self.steps, "");
        }
        cx.write("text", self.steps.to_string().as_bytes())
    }
}

/// Works with a value made of its input, as jobs do with a model; tells in its log how many such values live.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Borrower {
    pub(super) of: Ref,
    /// Tells jobs on one input apart.
    pub(super) seed: u64,
    /// Whether its value is a model that jobs share.
    pub(super) shares: bool,
    /// Whether it has a model of its own.
    pub(super) owns: bool,
    #[serde(skip_serializing)]
    pub(super) log: PathBuf,
    /// Of all values together.
    #[serde(skip)]
    pub(super) live: Arc<AtomicUsize>,
}

struct Borrowed(Arc<AtomicUsize>);

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stage for Borrower {
    const KIND: &'static str = "borrower";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[TEXT];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::one("of", &self.of, OF_TEXT)]
    }

    fn needs(&self) -> Needs {
        Needs { shared_model: self.shares.then_some("of"), own_model: self.owns, ..Needs::default() }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        cx.note("memory", cx.memory());
        let mut made = "found";
        let make = || {
            self.live.fetch_add(1, Ordering::Relaxed);
            made = "made";
            Ok(Borrowed(self.live.clone()))
        };
        let value = cx.shared(&cx.one("of")?.digest, make)?;
        log(&self.log, &format!("{made}, {} live", self.live.load(Ordering::Relaxed)));
        drop(value);
        cx.write("text", &self.seed.to_le_bytes())
    }
}

/// A plan under construction.
pub(super) struct Sketch {
    plan: Plan,
}

impl Sketch {
    pub(super) fn new() -> Self {
        let graph = DiGraph::new();
        let path = PathBuf::from("pipelines/toy.yaml");
        Self {
            plan: Plan {
                name: "toy".to_owned(),
                profile: None,
                path,
                manifests: Vec::new(),
                stages: Vec::new(),
                graph,
            },
        }
    }

    pub(super) fn named(name: &str) -> Self {
        let mut sketch = Self::new();
        sketch.plan.name = name.to_owned();
        sketch
    }

    pub(super) fn job(&mut self, name: &str, job: impl Stage, inputs: Vec<(&str, From)>) -> NodeIndex {
        let stage = name.split('[').next().unwrap().to_owned();
        let inputs: Vec<_> = inputs.into_iter().map(|(role, from)| Input { role: role.to_owned(), from }).collect();
        let from: Vec<_> = inputs.iter().flat_map(Linked::jobs).collect();
        let job: Arc<dyn Job> = Arc::new(job);
        let (name, resources) = (name.to_owned(), Resources::default());
        let node = self.plan.graph.add_node(Planned { name, stage, kind: job.kind(), job, inputs, resources });
        for upstream in from {
            self.plan.graph.update_edge(upstream, node, ());
        }
        node
    }

    pub(super) fn plan(self) -> Plan {
        self.plan
    }
}

/// A file that is kept in one folder and fetched into another.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

impl Remote for Elsewhere {
    fn look(&self) -> anyhow::Result<Presence> {
        if !self.to.exists() {
            return Ok(Presence::Away("not fetched".to_owned()));
        }
        Ok(Presence::Here { files: vec![("x".to_owned(), self.to.clone())], version: "the first".to_owned() })
    }

    fn fetch(&self, progress: &dyn Progress, stopped: &dyn Fn() -> bool) -> anyhow::Result<()> {
        progress.step(1, 2, "");
        if stopped() {
            return Err(Interrupted { step: 1 }.into());
        }
        fs_err::copy(&self.from, &self.to)?;
        Ok(())
    }
}

/// Where an input of a planned job comes from.
pub(super) type From = Source<Vec<Made<NodeIndex>>>;

/// Everything that one job makes.
pub(super) fn of(node: NodeIndex) -> From {
    all(&[node])
}

/// What several jobs make.
pub(super) fn all(nodes: &[NodeIndex]) -> From {
    Source::Made(nodes.iter().map(|node| Made::Output(*node, "text".into())).collect())
}

/// A cache, a place for files, and what happened in the last run.
pub(super) struct Yard {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Arc<Store>,
    pub(super) settings: Settings,
    pub(super) stop: AtomicBool,
    /// Set `stop` when a job reports this step.
    pub(super) stop_at: Option<u64>,
    pub(super) outcomes: Mutex<Vec<Outcome>>,
    pub(super) warnings: Mutex<Vec<String>>,
}

impl Watch for Yard {
    fn known(&self, _: usize) {}
    fn started(&self, _: &str) {}

    fn step(&self, _: &str, done: u64, _: u64, _: &str) {
        if self.stop_at == Some(done) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn say(&self, _: &str, _: &str) {}

    fn warn(&self, job: &str, message: &str) {
        self.warnings.lock().unwrap().push(format!("{job}: {message}"));
    }

    fn ended(&self, outcome: &Outcome) {
        self.outcomes.lock().unwrap().push(outcome.clone());
    }
}

impl Yard {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (jobs, together, threads) = (2, 2, 2);
        let settings = Settings { jobs, together, threads, programs: true, fetch: true, ..Settings::default() };
        let store = Store::new(&folder.path().join("cache"));
        let (outcomes, warnings) = (Mutex::default(), Mutex::default());
        Self { folder, store, settings, stop: AtomicBool::new(false), stop_at: None, outcomes, warnings }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        fs_err::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Lines that jobs wrote into a log.
    pub(super) fn log(&self, name: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn run(&self, plan: &Plan) -> Summary {
        self.stop.store(false, Ordering::Relaxed);
        self.outcomes.lock().unwrap().clear();
        run(plan, &self.store, &self.settings, self, &self.stop).unwrap()
    }

    /// Names of the jobs that ended so in the last run, sorted.
    pub(super) fn ended(&self, ending: Ending) -> Vec<String> {
        let outcomes = self.outcomes.lock().unwrap();
        let mut names: Vec<_> = outcomes.iter().filter(|o| o.ending == ending).map(|o| o.job.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn outcome(&self, job: &str) -> Outcome {
        self.outcomes.lock().unwrap().iter().find(|outcome| outcome.job == job).unwrap().clone()
    }

    pub(super) fn reasons(&self, job: &str) -> Vec<String> {
        self.outcome(job).reasons.iter().map(ToString::to_string).collect()
    }

    /// What went wrong with a job in the last run.
    pub(super) fn error(&self, job: &str) -> String {
        self.outcome(job).error.unwrap()
    }

    /// What a job of the pipeline `toy` made, through its view.
    pub(super) fn text(&self, job: &str) -> String {
        fs_err::read_to_string(self.store.view_path("toy", job).join("text.txt")).unwrap()
    }

    pub(super) fn blob(&self, job: &str) -> PathBuf {
        self.store.blob_path(&Digest::of(self.text(job).as_bytes()))
    }
}

/// Replaces a read-only file.
pub(super) fn overwrite(path: &Path, content: &[u8]) {
    fs_err::remove_file(path).unwrap();
    fs_err::write(path, content).unwrap();
}
