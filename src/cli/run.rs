//! `spot run`: runs what is not cached.

use super::keys::Sign;
use super::pipeline::{self, Pipeline, select};
use super::{Cache, Format, project, status};
use crate::engine::plan::Plan;
use crate::engine::run::forecast::DeviceClass;
use crate::engine::run::state::{Question, survey};
use crate::engine::run::{Settings, Summary, Unavailable, Watch, run};
use crate::engine::stage::Kind;
use crate::engine::store::{Found, Store};
use crate::error::Exit;
use crate::ui::{self, Colour, Events, Lines, Trace};
use clap::{Args, ValueHint};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Arguments of `spot run`.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    cache: Cache,
    /// Run only these jobs or stages and what they need; `*` stands for any text
    #[arg(long, value_name = "JOB")]
    only: Vec<String>,
    /// Execute these jobs or stages even if they are cached
    #[arg(long, value_name = "JOB")]
    force: Vec<String>,
    /// Say what would run, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// After a failure go on with what does not depend on it
    #[arg(long)]
    keep_going: bool,
    /// Jobs that run side by side [default: one per core, one on a GPU]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Jobs that share the model and compute in common batches [default: four per core, 32 per GPU]
    #[arg(long, value_name = "N")]
    together: Option<NonZero<usize>>,
    /// Threads of all jobs together [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Memory for the activations of all models at work together: `6GiB`, `500MiB` [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<usize>,
    /// `auto`, `cpu`, `cuda` (the first GPU), `cuda:N`, or several GPUs as `cuda:N,M`
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: String,
    /// Off a terminal and in JSON, say how far the run is every so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    progress: u32,
    /// Write when jobs ran to a file that Perfetto and chrome://tracing open
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = project::path())]
    trace: Option<PathBuf>,
    #[command(flatten)]
    sign: Sign,
    /// Show cached jobs too
    #[arg(short, long)]
    verbose: bool,
    /// Text, or an event a line as JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A device as people write it; `cuda` is `cuda:0`. Of several GPUs none may be named twice.
///
/// # Errors
/// If it names no device, or a GPU twice.
pub(super) fn device(text: &str) -> Result<String, String> {
    let several = |numbers: &str| {
        let numbers: Option<Vec<u16>> = numbers.split(',').map(|number| number.parse().ok()).collect();
        numbers.is_some_and(|numbers| numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len())
    };
    match text {
        "auto" | "cpu" => Ok(text.to_owned()),
        "cuda" => Ok("cuda:0".to_owned()),
        _ if text.strip_prefix("cuda:").is_some_and(several) => Ok(text.to_owned()),
        _ => Err("expected `auto`, `cpu`, `cuda`, `cuda:N` or `cuda:N,M`".to_owned()),
    }
}

/// A size as people write it.
///
/// # Errors
/// If it is not a number with a unit, is 0, or does not fit a `usize`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "GiB" => 1 << 30,
        "MiB" => 1 << 20,
        "KiB" => 1 << 10,
        _ => return Err("expected a number and `GiB`, `MiB` or `KiB`, such as `6GiB`".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| "no machine has that much memory".to_owned())
}

/// Memory that is free, in bytes, as Linux says; 4 GiB where it does not.
pub(super) fn free_memory() -> usize {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.map_or(4 << 30, |kib| kib * 1024)
}

/// Whether this build can use a GPU.
const CUDA: bool = cfg!(feature = "cuda");

/// The device that `--device` stands for.
///
/// # Errors
/// If it is a GPU, and the program was built without CUDA.
pub(super) fn chosen_device(asked: &str) -> Result<String, Unavailable> {
    match asked {
        "auto" if CUDA => Ok("cuda:0".to_owned()),
        "auto" => Ok("cpu".to_owned()),
        other if other != "cpu" && !CUDA => Err(Unavailable(format!(
            "`--device {other}`: this program was built without CUDA; build it with `--features cuda`"
        ))),
        other => Ok(other.to_owned()),
    }
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Jobs that run side by side, and those that share a model.
fn side_by_side(device: &str, threads: usize) -> (usize, usize) {
    if device == "cpu" { (threads, 4 * threads) } else { (1, 32 * device.split(',').count()) }
}

/// What a run would compute on that is told this device, whether or not it is there, and perhaps how many jobs run side by side.
pub(super) fn device_class(asked: &str, threads: usize, jobs: Option<usize>) -> DeviceClass {
    let device = chosen_device(asked).unwrap_or_else(|_| asked.to_owned());
    DeviceClass::of(&device, threads, jobs.unwrap_or(side_by_side(&device, threads).0))
}

/// How jobs run where nobody says more.
///
/// # Errors
/// As [`chosen_device`]; `auto` always stands for a device.
pub(super) fn defaults() -> anyhow::Result<Settings> {
    let (device, threads) = (chosen_device("auto")?, cores());
    let (jobs, together) = side_by_side(&device, threads);
    let (memory, command_line) = (free_memory() / 2, std::env::args().collect());
    let (only, forced) = (None, BTreeSet::new());
    let (keep_going, programs, fetch, signer) = (true, false, false, None);
    Ok(Settings {
        jobs,
        together,
        threads,
        memory,
        device,
        keep_going,
        only,
        programs,
        fetch,
        forced,
        signer,
        command_line,
    })
}

impl Run {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest or an option is wrong, the device is not there, or the store cannot be used; a job that fails is an exit
    /// code.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        let only = if self.only.is_empty() { None } else { Some(select(&plan, &self.only)?) };
        let forced = select(&plan, &self.force)?;
        if self.dry_run {
            return self.dry_run(&plan, &store, &Question { only, forced });
        }
        let settings = self.settings(only, forced)?;
        let stop = stop_on_signals()?;
        match self.format {
            Format::Text => self.run_for_people(&plan, &store, &settings, &stop),
            Format::Json => {
                let events = Events::new(&plan, settings.only.is_none(), &store, self.every());
                let summary = self.traced(&plan, &store, &settings, &events, &stop);
                drop(events);
                let summary = summary?;
                ui::print_json(&summary.event())?;
                Ok(exit(&summary))
            }
        }
    }

    fn every(&self) -> Option<Duration> {
        (self.progress > 0).then(|| Duration::from_secs(self.progress.into()))
    }

    /// Runs the plan, and writes the trace if one is asked for, of a run that fails too.
    fn traced(
        &self,
        plan: &Plan,
        store: &Arc<Store>,
        settings: &Settings,
        watch: &dyn Watch,
        stop: &AtomicBool,
    ) -> anyhow::Result<Summary> {
        let Some(path) = &self.trace else { return run(plan, store, settings, watch, stop) };
        let trace = Trace::new(watch);
        let summary = run(plan, store, settings, &trace, stop);
        // What was run counts, whatever becomes of the trace.
        if let Err(error) = trace.write(path) {
            ui::tell("warning:", Colour::Yellow, &format!("the trace could not be written: {error}"));
        }
        summary
    }

    /// How the manifest is read.
    pub(super) fn into_settings(self) -> pipeline::Settings {
        self.pipeline.into_settings()
    }

    fn settings(&self, only: Option<BTreeSet<String>>, forced: BTreeSet<String>) -> anyhow::Result<Settings> {
        let device = chosen_device(&self.device)?;
        let threads = self.threads.map_or_else(cores, NonZero::get);
        let (jobs, together) = side_by_side(&device, threads);
        Ok(Settings {
            jobs: self.jobs.map_or(jobs, NonZero::get),
            together: self.together.map_or(together, NonZero::get),
            threads,
            memory: self.memory.unwrap_or_else(|| free_memory() / 2),
            device,
            keep_going: self.keep_going,
            only,
            programs: true,
            fetch: true,
            forced,
            signer: self.sign.signer()?,
            command_line: std::env::args().collect(),
        })
    }

    fn dry_run(&self, plan: &Plan, store: &Arc<Store>, question: &Question) -> anyhow::Result<Exit> {
        let jobs = survey(plan, store, question)?;
        store.files().save()?;
        let threads = self.threads.map_or_else(cores, NonZero::get);
        let device = device_class(&self.device, threads, self.jobs.map(NonZero::get));
        let cost = status::Cost::of(plan, store, &jobs, device)?;
        let running = status::running(plan, store, &jobs);
        match self.format {
            Format::Text => ui::print(&status::text(plan, &jobs, &running, &cost, self.verbose))?,
            Format::Json => ui::print_json(&status::json(plan, &jobs, &running, &cost))?,
        }
        Ok(Exit::Ok)
    }

    fn run_for_people(
        &self,
        plan: &Plan,
        store: &Arc<Store>,
        settings: &Settings,
        stop: &AtomicBool,
    ) -> anyhow::Result<Exit> {
        let lines = Lines::of_plan(self.verbose, plan, settings.only.is_none(), store, self.every());
        let summary = self.traced(plan, store, settings, &lines, stop);
        lines.finish();
        let summary = summary?;
        let reports = reports(store, &summary)?;
        for text in &reports {
            ui::print(text)?;
        }
        ui::remark(&in_words(&summary));
        if !reports.is_empty() {
            let pipe = self.pipeline.name();
            ui::remark(&format!("as a page: `spot report {pipe} --format html --output report.html`, for any browser"));
        }
        Ok(exit(&summary))
    }
}

/// A flag that the first signal sets; the second ends the program at once.
///
/// # Errors
/// If the system does not take the handlers.
pub(super) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Whether whoever started the program wants it to outlive a signal, as `nohup` does; known on Linux only.
fn is_ignored(signal: i32) -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// What the report jobs of a run have to say, as text.
fn reports(store: &Store, summary: &Summary) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for (job, _, key) in summary.results.iter().filter(|(_, kind, _)| *kind == "report") {
        let Found::Hit(entry) = store.find(key)? else { continue };
        if let Some(output) = entry.artifact("text").or_else(|| entry.artifact("markdown")) {
            let bytes = store.read(&output.digest, &format!("{job}.{}", output.name))?;
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(texts)
}

fn exit(summary: &Summary) -> Exit {
    match summary.fault {
        Some(fault) => fault.into(),
        None if summary.interrupted => Exit::Interrupted,
        None => Exit::Ok,
    }
}

fn in_words(summary: &Summary) -> String {
    let Summary { jobs, executed, cached, failed, blocked, .. } = summary;
    let mut text = format!("{jobs} jobs: {executed} executed, {cached} cached, {failed} failed");
    if *blocked > 0 {
        text += &format!(", {blocked} blocked");
    }
    text += &format!(" in {}", ui::seconds(summary.seconds));
    if summary.saved >= 1.0 {
        text += &format!("; what was cached took {} when it was made", ui::seconds(summary.saved));
    }
    if summary.interrupted {
        text += "; interrupted, the same command goes on from here";
    } else if *failed > 0 && executed + cached + failed + blocked < *jobs {
        let left = jobs - executed - cached - failed - blocked;
        text += &format!("; {left} not started, `--keep-going` runs those that need nothing that failed");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_spelt_one_way() {
        assert_eq!(device("cuda").unwrap(), "cuda:0");
        assert_eq!(device("cuda:3").unwrap(), "cuda:3");
        assert_eq!(device("cuda:3,0").unwrap(), "cuda:3,0");
        for wrong in ["cuda:", "cuda:1,", "cuda:1,1", "cuda:1,cuda:2", "cpu,cpu", "cuda:-1"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
        assert!(device("gpu").is_err());
        assert!(device("cuda:x").is_err());
    }
}
