//! A shell session with `spot`: write files, run, look at what came out, go on in the same folder.

use serde_json::Value;
use spot::ml::model::{Dims, Weights};
use spot::ml::random::Stream;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The project's own folder.
pub(crate) const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// What `pipelines/smoke.yaml` is shrunk by, so that a run takes a second. Its averages go: they need a source that is
/// similar to the target, which depends on what the model has learnt.
const SMALLER: [(&str, &str); 6] = [
    ("length: 8\n  vocabulary", "length: 2\n  vocabulary"),
    ("steps: 4, batch_size: 4", "steps: 2, batch_size: 2"),
    ("{train: 16, validation: 8, test: 8}", "{train: 8, validation: 4, test: 4}"),
    ("input_length: 64", "input_length: 24"),
    ("k: [1, 2]", "k: [1]"),
    ("      - {name: best of top 2, scores: \"transfer_scores[k=2]\"}\n", ""),
];

/// The shrunk smoke pipeline.
pub(crate) fn smoke() -> String {
    let mut text = std::fs::read_to_string(Path::new(PROJECT).join("pipelines/smoke.yaml")).unwrap();
    for (from, to) in SMALLER {
        text = replaced(&text, from, to);
    }
    for (from, to) in [("\n  average:\n", "\n  target_scores:\n"), ("\n  average_scores:\n", "\n  report:\n")] {
        let (start, end) = (text.find(from).expect(from), text.find(to).expect(to));
        text.replace_range(start..end, "");
    }
    replaced(&text, "      - {name: weighted average, scores: \"average_scores[*]\"}\n", "")
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    text.replace(from, to)
}

/// What decides where models of a hub are, and how they get there.
pub(crate) const OF_THE_HUB: [&str; 14] = [
    "ALL_PROXY",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_OFFLINE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
];

/// A folder in which commands run; removed when dropped. Set `SPOT_KEEP` to keep it.
pub(crate) struct Shell {
    folder: TempDir,
}

impl Shell {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        let mut folder = TempDir::new().unwrap();
        folder.disable_cleanup(std::env::var_os("SPOT_KEEP").is_some());
        Self { folder }
    }

    /// A folder with the shrunk smoke pipeline, which was run.
    pub(crate) fn finished() -> Self {
        static FINISHED: OnceLock<Shell> = OnceLock::new();
        let finished = FINISHED.get_or_init(|| {
            let shell = Self::new().write("pipelines/smoke.yaml", smoke());
            shell.spot("run smoke").ok();
            shell
        });
        let shell = Self::new();
        let copied = Command::new("cp").arg("-a").arg(finished.path(".")).arg(shell.path(".")).status().unwrap();
        assert!(copied.success());
        shell
    }

    /// A path in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(path, content);
        self
    }

    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces a text in a file; it must be there.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = replaced(&self.read(path), from, to);
        self.put(path, text);
    }

    /// A command line of `spot`, split at spaces.
    pub(crate) fn spot(&self, line: &str) -> Spot {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spot"));
        command.args(line.split_whitespace()).current_dir(self.folder.path()).env("NO_COLOR", "1");
        for name in
            ["SPOT_CACHE", "SPOT_STORE", "SPOT_LEASES", "SPOT_LEASE_SECONDS", "GLUE_DIR", "MODELS", "CORPUS", "DATA"]
                .iter()
                .chain(&OF_THE_HUB)
        {
            command.env_remove(name);
        }
        Spot { command }
    }

    /// The names of the jobs that a run executes, and of those alone.
    #[track_caller]
    pub(crate) fn executed_by(&self, line: &str) -> Vec<String> {
        let done = self.spot(line).arg("--format").arg("json").ok();
        let mut jobs = named(&done.lines(), "executed");
        jobs.sort();
        jobs
    }

    /// The jobs of `status` with their states.
    #[track_caller]
    pub(crate) fn states(&self, line: &str) -> BTreeMap<String, String> {
        let status = self.spot(&format!("status {line} --format json")).ok().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        status["jobs"].as_array().unwrap().iter().map(|job| (text(&job["job"]), text(&job["state"]))).collect()
    }

    /// The digests of all blobs.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let mut blobs = Vec::new();
        for folder in std::fs::read_dir(self.path("cache/v1/blobs")).unwrap() {
            for blob in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                blobs.push(blob.unwrap().path().strip_prefix(self.folder.path()).unwrap().display().to_string());
            }
        }
        blobs.sort();
        blobs
    }

    /// The file behind a job's view: the blob of an artifact, which is named with or without the ending of its file, or `entry.json`.
    pub(crate) fn behind(&self, pipeline: &str, job: &str, name: &str) -> PathBuf {
        self.behind_in("cache", pipeline, job, name)
    }

    /// The same in another cache.
    pub(crate) fn behind_in(&self, cache: &str, pipeline: &str, job: &str, name: &str) -> PathBuf {
        let folder = self.path(&format!("{cache}/v1/views/{pipeline}/{}", spelled(job)));
        let endings = ["", ".parquet", ".safetensors", ".json", ".txt", ".md"];
        let found = endings.iter().find_map(|ending| folder.join(format!("{name}{ending}")).canonicalize().ok());
        found.unwrap_or_else(|| panic!("no `{name}` in {}", folder.display()))
    }

    /// A backbone in Hugging Face's layout with random weights and the built-in tokenizer.
    pub(crate) fn put_backbone(&self, folder: &str, width: usize) {
        let mut dims = Dims::from_json(spot::stages::backbone::Nano::CONFIG).unwrap();
        (dims.width, dims.heads, dims.head_width, dims.ff) = (width, 1, 4, 8);
        (dims.encoder_layers, dims.decoder_layers) = (1, 1);
        let weights = Weights::random(dims.clone(), &mut Stream::new(0, "test"));
        self.put(&format!("{folder}/config.json"), dims.to_json());
        self.put(&format!("{folder}/tokenizer.json"), spot::stages::backbone::Nano::TOKENIZER);
        self.put(&format!("{folder}/model.safetensors"), weights.to_safetensors(false).unwrap());
    }
}

/// A command that is being put together.
pub(crate) struct Spot {
    command: Command,
}

impl Spot {
    /// An argument as it is, spaces included.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Types it in another folder.
    pub(crate) fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Lets it address no more memory than this.
    pub(crate) fn within(self, mebibytes: usize) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -v {} && exec \"$0\" \"$@\"", mebibytes << 10));
        command.arg(self.command.get_program()).args(self.command.get_args()).current_dir(self.folder());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command }
    }

    fn folder(&self) -> PathBuf {
        self.command.get_current_dir().unwrap().to_owned()
    }

    /// Starts it and does not wait.
    pub(crate) fn start(mut self) -> Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it; it must exit with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Done {
        self.exits_with(0)
    }

    /// Runs it; it must exit with this code.
    #[track_caller]
    pub(crate) fn exits_with(mut self, code: i32) -> Done {
        let output = self.command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let done = Done { out: text(output.stdout), err: text(output.stderr) };
        assert_eq!(output.status.code(), Some(code), "{:?}\n{}\n{}", self.command, done.out, done.err);
        assert!(!done.err.contains("panicked"), "{}", done.err);
        done
    }
}

/// What a command said.
pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "`{text}` is not in\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn complains(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "`{text}` is not in\n{}", self.err);
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.out))
    }

    /// Standard output as a JSON value a line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The last line, which is the summary of a run.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let last = self.lines().pop().unwrap();
        assert_eq!(last["event"], "summary");
        last
    }
}

/// The name of a job's folder of views.
pub(crate) fn spelled(job: &str) -> String {
    job.replace(']', "").replace('[', ",").replace('/', "+")
}

/// The jobs of a run's events that ended so.
pub(crate) fn named(events: &[Value], state: &str) -> Vec<String> {
    let jobs = events.iter().filter(|event| event["event"] == "job" && event["state"] == state);
    jobs.map(|event| event["job"].as_str().unwrap().to_owned()).collect()
}
