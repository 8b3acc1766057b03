//! `spot doctor`: is this machine fit for a run, and what is to be done where it is not?

mod backbone;

use super::machine::Memory;
use super::sharing::SharedStore;
use super::{Cache, Format, JSON_VERSION, pipeline, run};
use crate::engine::manifest::{self, LoadError, Options};
use crate::engine::plan::{Plan, Planned};
use crate::engine::sharing::Access;
use crate::engine::stage::{Kind, Stage as _};
use crate::engine::store::Store;
use crate::engine::store::provenance;
use crate::error::Exit;
use crate::stages::training::PromptTraining;
use crate::stages::transfer::Transfer;
use crate::stages::tune::Tune;
use crate::ui;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::io;
use std::num::NonZero;
use std::path::Path;

/// Free memory and disk space below which a warning is due.
const LITTLE_MEMORY: u64 = 2 << 30;
const LITTLE_SPACE: u64 = 2 << 30;

/// Arguments of `spot doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    shared: SharedStore,
    /// A model to look at as well: a job, a folder in Hugging Face's layout, or a repository of the hub that is on this machine
    #[arg(long, value_name = "WHAT")]
    backbone: Option<String>,
    /// Where its steps are computed: `auto`, `cpu`, `cuda` (the first GPU), or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = run::device, requires = "backbone")]
    device: String,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Something that was looked at.
#[derive(Serialize)]
struct Check {
    /// What.
    check: String,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

impl Check {
    fn new(check: impl Into<String>, state: State, found: impl Into<String>, hint: &str) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self { check: check.into(), state, found: found.into(), hint }
    }

    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found, "")
    }
}

impl Doctor {
    /// Runs the command.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let store = self.cache.open();
        let mut checks = vec![program(), machine(), threads(), memory(), cpu(), device()];
        checks.extend(folder(store.root()));
        checks.push(held(&store));
        checks.extend(shared(&self.shared));
        for path in pipeline::manifests() {
            checks.extend(plans(&path, kinds));
            checks.extend(environment(&path));
        }
        if let Some(name) = &self.backbone {
            let failed = |error: anyhow::Error| {
                vec![Check::new(format!("backbone `{name}`"), State::Fail, format!("{error:#}"), "")]
            };
            checks.extend(backbone::checks(name, &self.device, &store).unwrap_or_else(failed));
        }
        match self.format {
            Format::Text => ui::print(&checks.iter().map(text).collect::<String>())?,
            Format::Json => ui::print_json(&json!({"version": JSON_VERSION, "checks": checks}))?,
        }
        let fails = checks.iter().any(|check| check.state == State::Fail);
        Ok(if fails { Exit::Environment } else { Exit::Ok })
    }
}

fn text(check: &Check) -> String {
    let state = match check.state {
        State::Ok => "ok  ",
        State::Warn => "warn",
        State::Fail => "fail",
    };
    let hint = check.hint.as_ref().map_or_else(String::new, |hint| format!("      {hint}\n"));
    format!("{state}  {}: {}\n{hint}", check.check, check.found)
}

/// The store that machines share, if one is named.
fn shared(store: &SharedStore) -> Option<Check> {
    const CHECK: &str = "shared store";
    let hint = "until this is mended, results are neither taken from there nor brought there";
    let sharing = match store.open(Access::Write) {
        Ok(sharing) => sharing?,
        Err(error) => return Some(Check::new(CHECK, State::Fail, format!("{error:#}"), hint)),
    };
    let address = sharing.address();
    Some(match sharing.probe() {
        Ok(()) if sharing.writes() => Check::ok(
            CHECK,
            format!("`{address}` creates and replaces only what it should, and gives back what it got"),
        ),
        Ok(()) => Check::ok(CHECK, format!("`{address}` is there, and only read")),
        Err(why) => Check::new(CHECK, State::Fail, format!("`{address}`: {why}"), hint),
    })
}

fn program() -> Check {
    let revision = provenance::revision().map_or_else(String::new, |revision| format!(" ({revision})"));
    Check::ok("program", format!("spot {}{revision}", provenance::program()))
}

fn machine() -> Check {
    Check::ok("machine", provenance::host())
}

fn threads() -> Check {
    match std::thread::available_parallelism().map(NonZero::get) {
        Ok(1) => Check::new("threads", State::Warn, "1", "tunings run one after another; more cores would share them"),
        Ok(threads) => Check::ok("threads", format!("{threads}; `run --threads` takes fewer")),
        Err(error) => Check::new(
            "threads",
            State::Warn,
            error.to_string(),
            "one thread is used; say how many with `run --threads`",
        ),
    }
}

fn memory() -> Check {
    let Memory { most, free } = Memory::here();
    let (free, shown) = (free as u64, format!("{} of {}", ui::bytes(free as u64), ui::bytes(most as u64)));
    if free < LITTLE_MEMORY {
        let hint = "enough for the built-in model; T5 base needs about 2 GiB beside `run --memory`, XL in bf16 about 6";
        return Check::new("memory", State::Warn, format!("{shown} free"), hint);
    }
    Check::ok("memory", format!("{shown} free; a run takes half of it, or `run --memory`"))
}

fn cpu() -> Check {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Check::ok("CPU", "has AVX-512, for which the kernels are made");
        }
        let hint = "results are as good, but sums are taken in another order: last bits differ from those of machines with \
                    AVX-512, and with them digests";
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Check::new("CPU", State::Warn, "no AVX-512; AVX2 is used, at about half the speed", hint);
        }
        Check::new("CPU", State::Warn, "neither AVX-512 nor AVX2 with FMA: several times slower", hint)
    }
    #[cfg(not(target_arch = "x86_64"))]
    Check::new(
        "CPU",
        State::Warn,
        format!("{}, on which this program has never been tested", std::env::consts::ARCH),
        "it should run; last bits of results differ from those of x86-64",
    )
}

fn device() -> Check {
    if !cfg!(feature = "cuda") {
        return Check::ok("devices", "cpu; this build has no CUDA (`cargo build --features cuda` makes one that has)");
    }
    match candle_core::Device::new_cuda(0) {
        Ok(_) => Check::ok("devices", "cpu, cuda:0"),
        Err(error) => {
            let hint = "check the driver with `nvidia-smi`, or run with `--device cpu`";
            Check::new("devices", State::Fail, format!("cpu; built for CUDA, but the first GPU fails: {error}"), hint)
        }
    }
}

/// The folder of the cache: whether files can be written, synced, locked and linked, on what, and how many.
fn folder(root: &Path) -> Vec<Check> {
    // Nothing is made only to be looked at.
    let existing = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let made = if root.is_dir() { "" } else { ", to be made" };
    let name = format!("cache `{}`", root.display());
    let mut checks = vec![match try_out(existing) {
        Ok(()) => Check::ok(&name, format!("can be written{made}")),
        Err(Trial::Write(error)) => {
            let hint = "make it writable, or name another with `--cache FOLDER` or SPOT_CACHE";
            return vec![Check::new(&name, State::Fail, error.to_string(), hint)];
        }
        Err(Trial::Lock(error)) => {
            let hint =
                "runs beside each other, and `gc`, need locks; take a local folder, or a file system mounted with them";
            Check::new(&name, State::Fail, format!("cannot be locked: {error}"), hint)
        }
    }];
    checks.extend(space(existing));
    checks
}

/// What went wrong with a file of the cache.
enum Trial {
    Write(io::Error),
    Lock(io::Error),
}

fn try_out(folder: &Path) -> Result<(), Trial> {
    let path = folder.join(format!(".spot-doctor-{}", std::process::id()));
    let tried = (|| {
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path).map_err(Trial::Write)?;
        file.sync_all().map_err(Trial::Write)?;
        file.file().try_lock().map_err(|error| Trial::Lock(error.into()))?;
        let link = path.with_extension("link");
        let linked = fs_err::os::unix::fs::symlink(&path, &link).map_err(Trial::Write);
        linked.and_then(|()| fs_err::remove_file(link).map_err(Trial::Write))
    })();
    let _ = fs_err::remove_file(&path);
    tried
}

/// File systems by the number that Linux gives them, and what is to be said of them.
const FILE_SYSTEMS: [(u64, &str, &str); 8] = [
    (0xef53, "ext4", ""),
    (0x5846_5342, "xfs", ""),
    (0x9123_683e, "btrfs", ""),
    (0x2fc1_2fc1, "zfs", ""),
    (0x794c_7630, "overlay", "if this is a container's own layer, results end with it; mount a folder"),
    (0x0102_1994, "tmpfs", "in memory: results end with the machine's next start; name another folder with `--cache`"),
    (0x6969, "NFS", "runs on several machines may share it only if it is mounted with locks"),
    (0xff53_4d42, "CIFS", "runs on several machines may share it only if it is mounted with locks"),
];

fn space(folder: &Path) -> Vec<Check> {
    let (Ok(statistics), Ok(system)) = (rustix::fs::statvfs(folder), rustix::fs::statfs(folder)) else {
        return vec![Check::new("disk", State::Warn, "the free space cannot be determined", "")];
    };
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let number = u64::from(system.f_type as u32);
    let known = FILE_SYSTEMS.iter().find(|(known, ..)| *known == number);
    let (kind, hint) =
        known.map_or_else(|| (format!("file system {number:#x}"), ""), |(_, name, hint)| ((*name).to_owned(), *hint));
    let found = format!("{} free, {kind}", ui::bytes(free));
    if free < LITTLE_SPACE {
        let hint = "`spot gc` says what could go; tuned models take as much as the model each, prompts next to nothing";
        return vec![Check::new("disk", State::Warn, found, hint)];
    }
    let state = if hint.is_empty() { State::Ok } else { State::Warn };
    vec![Check::new("disk", state, found, hint)]
}

/// Whether somebody works in the store.
fn held(store: &Store) -> Check {
    Check::ok("runs", if store.is_held() { "one is at work; `gc --apply` has to wait" } else { "none is at work" })
}

/// Whether the jobs of a manifest can be told, under its default profile, and what is odd about them.
fn plans(path: &Path, kinds: &[Kind]) -> Vec<Check> {
    let environment = |name: &str| std::env::var(name).ok();
    let options = Options { profile: None, set: &[], environment: &environment };
    let name = format!("manifest `{}`", path.display());
    match manifest::load(path, kinds, &options) {
        Ok(plan) => {
            let count = Check::ok(&name, format!("{} jobs", plan.graph.node_count()));
            [count].into_iter().chain(learning_rate(&name, &plan)).collect()
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            let hint = match error {
                LoadError::Io { .. } => "",
                LoadError::Problems(_) => "`spot status` shows all that is wrong with it",
            };
            vec![Check::new(name, State::Fail, first, hint)]
        }
    }
}

/// What to say of learning rates of prompts that are far from those that work.
fn learning_rate(manifest: &str, plan: &Plan) -> Option<Check> {
    let tunes = |job: &&Planned| [Tune::KIND, Transfer::KIND].contains(&job.kind.name);
    let rate = |job: &Planned| PromptTraining::of(&job.job.params()).and_then(|training| training.unusual_rate());
    let odd = plan.graph.node_weights().filter(tunes).filter_map(|job| Some((&job.name, rate(job)?)));
    let odd: Vec<(&String, f64)> = odd.collect();
    let (job, rate) = odd.first()?;
    let found = format!("{} jobs, `{job}` the first, tune prompts with Adafactor at a rate of {rate}", odd.len());
    let hint = "with Adafactor prompts are tuned at 0.3 (Lester et al. 2021); far below it they stay where they began, far above they \
                diverge";
    Some(Check::new(format!("learning rates of {manifest}"), State::Warn, found, hint))
}

/// The environment variables that a manifest names.
fn environment(path: &Path) -> Vec<Check> {
    let Ok(outline) = manifest::outline(path) else { return Vec::new() };
    let check = |(name, has_default): (String, bool)| {
        let value = std::env::var_os(&name).filter(|value| !value.is_empty());
        let title = format!("variable `{name}` of `{}`", path.display());
        match (value, has_default) {
            (Some(value), _) if Path::new(&value).exists() => Check::ok(title, value.to_string_lossy()),
            (Some(value), _) => Check::new(
                title,
                State::Warn,
                format!("`{}`, which is not a file or folder here", value.to_string_lossy()),
                "jobs that read from it will be blocked",
            ),
            (None, true) => Check::ok(title, "not set; the manifest has a default"),
            (None, false) => Check::new(
                title,
                State::Warn,
                "not set, and without a default",
                "profiles that use it cannot be planned",
            ),
        }
    };
    outline.environment.into_iter().map(check).collect()
}
