//! `spot run`: runs what is not cached.

use super::hq::Tasks;
use super::keys::Sign;
use super::pipeline::{self, Pipeline, select};
use super::sharing::{self, SharedStore, run_name};
use super::slurm::{self, Afar, Array, Executor, Monitor, Queue, Script, Slurm, requeue_self};
use super::workers::{Worker, work_together};
use super::{Cache, Format, machine, project, status};
use crate::engine::plan::Plan;
use crate::engine::resources::Capacity;
use crate::engine::run::forecast::DeviceClass;
use crate::engine::run::state::{Question, survey};
use crate::engine::run::{Role, Settings, Summary, Unavailable, Watch, run};
use crate::engine::sharing::{Access, Failures, Tally};
use crate::engine::stage::Kind;
use crate::engine::store::digest::Digest;
use crate::engine::store::{Found, Store};
use crate::error::{Exit, Usage};
use crate::remote::Objects;
use crate::remote::lease::nonce;
use crate::ui::{self, Colour, Events, Lines, Trace};
use crate::units::{duration, size};
use clap::{Args, FromArgMatches as _, ValueHint};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

/// Arguments of `spot run`.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    shared: SharedStore,
    /// Work the plan off together with others: take jobs that nobody else does, and leave when none is left
    #[arg(long, conflicts_with_all = ["force", "dry_run"])]
    worker: bool,
    /// What workers of one run call it: a job that failed at one of them fails for all
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,
    #[command(flatten)]
    slurm: Slurm,
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
    /// Memory that there is for jobs: a worker leaves those whose `resources` need more to others [default: all of the machine, or of
    /// its container or Slurm job]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<usize>,
    /// How long this process may run: a worker leaves jobs whose `resources` need longer than is left to others [default: as long as
    /// SLURM_JOB_END_TIME says, if it is set]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    time_limit: Option<Duration>,
    /// Start so many workers for each GPU of this machine, or of `--device cuda:N,M`, and wait for them
    #[arg(long, value_name = "N", conflicts_with = "trace")]
    workers_per_gpu: Option<NonZero<usize>>,
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

/// How many GPUs a device is.
fn gpus_of(device: &str) -> u32 {
    device.strip_prefix("cuda:").map_or(0, |numbers| numbers.split(',').count() as u32)
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
    let (device, threads) = (chosen_device("auto")?, machine::cores());
    let (jobs, together) = side_by_side(&device, threads);
    let (memory, command_line) = (machine::Memory::here().free / 2, std::env::args().collect());
    Ok(Settings { jobs, together, threads, memory, device, keep_going: true, command_line, ..Settings::default() })
}

impl Run {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest or an option is wrong, the device is not there, or the store cannot be used; a job that fails is an exit
    /// code.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        self.slurm.check()?;
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        if let Some(each) = self.workers_per_gpu.filter(|_| self.slurm.executor == Executor::Local) {
            return self.start_workers(each.get(), &store);
        }
        let only = if self.only.is_empty() { None } else { Some(select(&plan, &self.only)?) };
        let forced = select(&plan, &self.force)?;
        if self.dry_run {
            let sharing = self.shared.open(Access::Read)?;
            return self.dry_run(&plan, &store, &Question { only, forced, sharing });
        }
        let stop = stop_on_signals()?;
        let leaving = self.leaves_on_notice(&stop)?;
        let mut settings = self.settings(only, forced)?;
        let home = sharing::home(settings.sharing.as_ref(), &store);
        if let Some(run) = &self.run {
            settings.failures = Some(Arc::new(Failures::new(home.clone(), run)));
        }
        settings.leases = match settings.role {
            Role::Run | Role::Worker => sharing::leases(&settings, &store, &plan, self.run.as_deref(), &stop)?,
            Role::Watch | Role::Pull => None,
        };
        let array = match self.slurm.executor {
            Executor::Local => None,
            Executor::Slurm => {
                let (script, pause) = (self.script(&plan, &store)?, slurm::pause()?);
                let array = self.submitted(&script, &home, &plan)?;
                if self.slurm.detach {
                    return Ok(Exit::Ok);
                }
                settings.failures = Some(Arc::new(Failures::new(home.clone(), &array.run)));
                Some(Hands { script: Script { run: array.run.clone(), ..script }, array, home, pause })
            }
        };
        let work = Work { plan: &plan, store: &store, settings: &settings, stop: &stop, hands: array.as_ref() };
        let exit = self.done(&work)?;
        self.requeue(&leaving, exit)
    }

    /// Starts workers, and waits until all have left.
    fn start_workers(&self, each: usize, store: &Store) -> anyhow::Result<Exit> {
        if !self.worker {
            let why = "add `--worker`, or `--executor slurm` whose workers it is for";
            return Err(Usage(format!("`--workers-per-gpu` starts workers; {why}")).into());
        }
        let device = chosen_device(&self.device)?;
        let gpus: Vec<String> = match device.strip_prefix("cuda:") {
            Some(_) if self.device == "auto" => {
                let gpus = machine::gpus().map_err(|why| {
                    Unavailable(format!("`--workers-per-gpu`: {why}; name the GPUs, as `--device cuda:0,1`"))
                })?;
                (0..gpus).map(|gpu| gpu.to_string()).collect()
            }
            Some(numbers) => numbers.split(',').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        if gpus.is_empty() {
            let why = match &*self.device {
                "cpu" => "`--device cpu` is none",
                _ if CUDA => "there is none here",
                _ => "this program was built without CUDA",
            };
            return Err(Unavailable(format!("`--workers-per-gpu`: it is to compute on GPUs, and {why}")).into());
        }
        let stop = stop_on_signals()?;
        let leaving = self.leaves_on_notice(&stop)?;
        let exit = work_together(self.workers(&gpus, each, store)?, &stop, self.format == Format::Text)?;
        self.requeue(&leaving, exit)
    }

    /// The workers for these GPUs, so many for each: this command line, with a share of the machine.
    fn workers(&self, gpus: &[String], each: usize, store: &Store) -> anyhow::Result<Vec<Worker>> {
        let run = self.run.clone().unwrap_or_else(|| format!("workers-{:.12}", nonce()));
        let mut workers = Vec::new();
        for gpu in gpus {
            for at in 1..=each {
                let device = format!("cuda:{gpu}");
                let name = if each == 1 { device.clone() } else { format!("{device}.{at}") };
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("run").args(self.words(store, &self.share(gpus.len() * each, device))?);
                command.args(["--worker", "--run", &run, "--progress", &self.progress.to_string()]);
                command.args(self.verbose.then_some("--verbose"));
                command.args((self.format == Format::Json).then_some("--format=json"));
                workers.push(Worker { name, command });
            }
        }
        Ok(workers)
    }

    /// A worker that was told that its time is up has Slurm bring it back.
    fn requeue(&self, leaving: &AtomicBool, exit: Exit) -> anyhow::Result<Exit> {
        if leaving.load(Ordering::Relaxed) && exit == Exit::Interrupted && requeue_self()? {
            ui::remark("the time of this worker is up; Slurm has it back in its queue");
        }
        Ok(exit)
    }

    /// Does the work, and shows it as was asked for.
    fn done(&self, work: &Work<'_>) -> anyhow::Result<Exit> {
        let Work { plan, store, settings, .. } = work;
        match self.format {
            Format::Text => self.run_for_people(work),
            Format::Json => {
                let events = Events::new(plan, settings.only.is_none(), store, self.every());
                let summary = self.traced(work, &events);
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
    fn traced(&self, work: &Work<'_>, watch: &dyn Watch) -> anyhow::Result<Summary> {
        let Some(path) = &self.trace else { return work.run(watch) };
        let trace = Trace::new(watch);
        let summary = work.run(&trace);
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
        let threads = self.threads.map_or_else(machine::cores, NonZero::get);
        let (jobs, together) = side_by_side(&device, threads);
        let memory = machine::Memory::here();
        let most = self.memory_limit.unwrap_or(memory.most);
        Ok(Settings {
            role: match self.slurm.executor {
                Executor::Slurm => Role::Watch,
                Executor::Local if self.worker => Role::Worker,
                Executor::Local => Role::Run,
            },
            failures: None,
            sharing: self.shared.open(Access::Make)?,
            leases: None,
            jobs: self.jobs.map_or(jobs, NonZero::get),
            together: self.together.map_or(together, NonZero::get),
            threads,
            memory: self.memory.unwrap_or(memory.free.min(most) / 2),
            capacity: Capacity { gpus: gpus_of(&device), memory: most, until: self.ends_at() },
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

    /// When this process will be ended, if that is known.
    fn ends_at(&self) -> Option<SystemTime> {
        self.time_limit.map_or_else(machine::ends_at, |limit| SystemTime::now().checked_add(limit))
    }

    /// A flag that says that a worker was told to leave since its time is up: `SIGUSR1`, as `sbatch --signal` sends it.
    fn leaves_on_notice(&self, stop: &Arc<AtomicBool>) -> anyhow::Result<Arc<AtomicBool>> {
        let leaving = Arc::new(AtomicBool::new(false));
        if self.worker {
            flag::register(SIGUSR1, leaving.clone())?;
            flag::register(SIGUSR1, stop.clone())?;
        }
        Ok(leaving)
    }

    /// The array job that does this run.
    ///
    /// # Errors
    /// If the manifest or an option is wrong.
    pub(super) fn slurm_script(&self, kinds: &[Kind]) -> anyhow::Result<Script> {
        let plan = self.pipeline.load(kinds)?;
        self.script(&plan, &self.cache.open())
    }

    fn script(&self, plan: &Plan, store: &Store) -> anyhow::Result<Script> {
        if self.worker || !self.force.is_empty() {
            let why = "each worker of the array would do it; `--worker` and `--force` are for runs of this machine";
            return Err(Usage(format!("`--executor slurm`: {why}")).into());
        }
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(self.words(store, &self.own())?);
        arguments.push("--worker".to_owned());
        if let Some(each) = self.workers_per_gpu {
            arguments.extend(["--workers-per-gpu".to_owned(), each.to_string()]);
        }
        // Where the nodes are too: they go to the project. A cache elsewhere may be of this machine alone.
        let project = std::env::current_dir()?;
        let is_inside = store.root().starts_with(&project);
        let logs = if is_inside { store.root().join("slurm") } else { project.join("slurm") };
        Ok(Script {
            pipeline: plan.name.clone(),
            run: self.run.clone().unwrap_or_else(|| format!("slurm-{:.12}", nonce())),
            workers: self.slurm.workers(),
            manifests: Digest::of(
                plan.manifests.iter().map(|manifest| manifest.digest.to_string()).collect::<String>().as_bytes(),
            ),
            mark: format!("spot-{:.12}", nonce()),
            more: self.slurm.slurm.clone(),
            project,
            logs,
            program: std::env::current_exe()?,
            arguments,
        })
    }

    /// The options of `spot run` that are in these words.
    ///
    /// # Errors
    /// If there is another word among them.
    pub(super) fn read(words: &[String]) -> Result<Self, Usage> {
        let command = Self::augment_args(clap::Command::new("spot run").no_binary_name(true));
        let found = command.try_get_matches_from(words).and_then(|found| Self::from_arg_matches(&found));
        found.map_err(|error| Usage(error.to_string().trim_start_matches("error: ").trim_end().to_owned()))
    }

    /// The tasks of HyperQueue that do this run, a job each.
    ///
    /// # Errors
    /// If an option is wrong or makes no sense for a task.
    pub(super) fn tasks(&self) -> anyhow::Result<Tasks> {
        let none = [
            ("--worker", self.worker),
            ("--run", self.run.is_some()),
            ("--executor", self.slurm.executor != Executor::Local),
            ("--only", !self.only.is_empty()),
            ("--force", !self.force.is_empty()),
            ("--dry-run", self.dry_run),
            ("--keep-going", self.keep_going),
            ("--trace", self.trace.is_some()),
            ("--workers-per-gpu", self.workers_per_gpu.is_some()),
            ("--time-limit", self.time_limit.is_some()),
        ];
        if let Some((option, _)) = none.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Usage(format!("`{option}` is of a whole run, and a task of HyperQueue is one job")).into());
        }
        self.slurm.check()?;
        let threads = self.threads.map_or(1, NonZero::get);
        let mut arguments = self.words(&self.cache.open(), &self.own())?;
        if self.threads.is_none() {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        let with_gpu = chosen_device(&self.device)? != "cpu";
        Ok(Tasks { program: std::env::current_exe()?, arguments, project: std::env::current_dir()?, threads, with_gpu })
    }

    /// What was said of the machine.
    fn own(&self) -> Share {
        let Self { jobs, together, threads, memory, memory_limit, time_limit, device, .. } = self;
        let [jobs, together, threads] = [jobs, together, threads].map(|number| number.map(NonZero::get));
        let (memory, memory_limit, time_limit) = (*memory, *memory_limit, *time_limit);
        Share { jobs, together, threads, memory, memory_limit, time_limit, device: device.clone() }
    }

    /// What one of so many processes on this machine has of it, and its device.
    fn share(&self, processes: usize, device: String) -> Share {
        let part = |all: usize| (all / processes).max(1);
        let memory = machine::Memory::here();
        let most = self.memory_limit.unwrap_or(memory.most);
        Share {
            threads: Some(part(self.threads.map_or_else(machine::cores, NonZero::get))),
            memory: Some(part(self.memory.unwrap_or(memory.free.min(most) / 2))),
            memory_limit: Some(part(most)),
            device,
            ..self.own()
        }
    }

    /// The words after `spot run` that do the same in another process, with what it has of a machine.
    fn words(&self, store: &Store, share: &Share) -> anyhow::Result<Vec<String>> {
        let mut arguments = vec![self.pipeline.manifest()?.display().to_string()];
        arguments.extend(self.pipeline.words());
        arguments.extend(["--cache".to_owned(), store.root().parent().unwrap_or(store.root()).display().to_string()]);
        arguments.extend(self.shared.words()?);
        arguments.extend(self.only.iter().flat_map(|job| ["--only".to_owned(), job.clone()]));
        let numbers = [("--jobs", share.jobs), ("--together", share.together), ("--threads", share.threads)];
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        let sizes = [("--memory", share.memory), ("--memory-limit", share.memory_limit)];
        let sizes = sizes.into_iter().filter_map(|(name, bytes)| Some((name, format!("{}KiB", (bytes? >> 10).max(1)))));
        let time = share.time_limit.map(|limit| ("--time-limit", format!("{}s", limit.as_secs())));
        let device = ("--device", share.device.clone());
        let sign = self.sign.named().map(|key| ("--sign", key.to_owned()));
        for (name, value) in numbers.chain(sizes).chain(time).chain([device]).chain(sign) {
            arguments.extend([name.to_owned(), value]);
        }
        arguments.extend(self.keep_going.then(|| "--keep-going".to_owned()));
        Ok(arguments)
    }

    /// The array that does this run: the one that is at work, or a new one.
    fn submitted(&self, script: &Script, home: &Arc<dyn Objects>, plan: &Plan) -> anyhow::Result<Array> {
        if let Some(array) = Array::last(&**home, &plan.name)? {
            let queue = Queue::of(&array)?;
            let as_his = Script { run: array.run.clone(), ..script.clone() };
            let failures = Failures::new(home.clone(), &array.run);
            failures.look()?;
            if !queue.is_empty() && failures.any() && !self.keep_going {
                // Its workers leave; whoever asks again may have mended the cause.
                Queue::cancel(array.id)?;
                let (id, workers) = (array.id, queue.in_words());
                ui::remark(&format!("a job failed in the Slurm array {id}, which is ended ({workers}) and begun anew"));
            } else if !queue.is_empty() && array.command == as_his.command() {
                let (id, host, time) = (array.id, &array.host, &array.time);
                ui::remark(&format!(
                    "attached to the Slurm array {id} of {time}, submitted on `{host}`: {}",
                    queue.in_words()
                ));
                if array.manifests.is_some_and(|manifests| manifests != script.manifests) {
                    ui::remark(&format!(
                        "the manifest has changed since: its workers do what it said then, and what they leave is submitted anew; `spot cancel {}` ends them at once",
                        self.pipeline.name()
                    ));
                }
                return Ok(array);
            } else if !queue.is_empty() {
                let pipe = self.pipeline.name();
                return Err(Usage(format!(
                    "the Slurm array {} works at this pipeline already, told otherwise: `{}`; type the same options to attach to it, or end it with `spot cancel {pipe}`",
                    array.id, array.command
                ))
                .into());
            }
        }
        let array = Array::submit(script, &**home, &plan.name)?;
        let (id, workers, logs) = (array.id, array.workers, script.logs.display());
        ui::remark(&format!("submitted the Slurm array {id}: {workers} workers; what they print is in `{logs}`"));
        Ok(array)
    }

    fn dry_run(&self, plan: &Plan, store: &Arc<Store>, question: &Question) -> anyhow::Result<Exit> {
        let jobs = survey(plan, store, question)?;
        store.files().save()?;
        let threads = self.threads.map_or_else(machine::cores, NonZero::get);
        let device = device_class(&self.device, threads, self.jobs.map(NonZero::get));
        let cost = status::Cost::of(plan, store, &jobs, device)?;
        let running = status::running(plan, store, &jobs);
        match self.format {
            Format::Text => ui::print(&status::text(plan, &jobs, &running, &cost, self.verbose))?,
            Format::Json => ui::print_json(&status::json(plan, &jobs, &running, &cost))?,
        }
        Ok(Exit::Ok)
    }

    fn run_for_people(&self, work: &Work<'_>) -> anyhow::Result<Exit> {
        let Work { plan, store, settings, .. } = work;
        let lines = Lines::of_plan(self.verbose, plan, settings.only.is_none(), store, self.every());
        let summary = self.traced(work, &lines);
        lines.finish();
        let summary = summary?;
        let reports = if self.worker { Vec::new() } else { reports(store, &summary)? };
        for text in &reports {
            ui::print(text)?;
        }
        ui::remark(&in_words(&summary));
        if let Some(Hands { array, .. }) = work.hands.filter(|_| summary.interrupted) {
            let pipe = self.pipeline.name();
            ui::remark(&format!(
                "the workers of the Slurm array {} go on; the same command attaches again, `spot cancel {pipe}` ends them",
                array.id
            ));
        }
        if !reports.is_empty() {
            let pipe = self.pipeline.name();
            ui::remark(&format!("as a page: `spot report {pipe} --format html --output report.html`, for any browser"));
        }
        Ok(exit(&summary))
    }
}

/// What a process has of a machine, as far as it is told.
#[derive(Clone)]
struct Share {
    jobs: Option<usize>,
    together: Option<usize>,
    threads: Option<usize>,
    memory: Option<usize>,
    memory_limit: Option<usize>,
    time_limit: Option<Duration>,
    device: String,
}

/// A run that is to be done.
struct Work<'a> {
    plan: &'a Plan,
    store: &'a Arc<Store>,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    hands: Option<&'a Hands>,
}

/// Who does a run that is only watched.
struct Hands {
    script: Script,
    array: Array,
    home: Arc<dyn Objects>,
    /// Between two questions to Slurm.
    pause: Duration,
}

impl Work<'_> {
    /// Runs the plan, and looks after those who do it meanwhile.
    fn run(&self, watch: &dyn Watch) -> anyhow::Result<Summary> {
        let Self { plan, store, settings, stop, .. } = self;
        let Some(Hands { script, array, home, pause }) = self.hands else {
            return run(plan, store, settings, watch, stop);
        };
        let ((over, ended), watch) = (mpsc::channel(), &Afar::new(watch));
        let monitor = Monitor { script, objects: &**home, pipeline: &plan.name, watch, stop, pause: *pause };
        std::thread::scope(|scope| {
            let monitor = scope.spawn(move || monitor.look_after(array.clone(), &ended));
            let summary = run(plan, store, settings, watch, stop);
            drop(over);
            match monitor.join().unwrap_or_default() {
                Some(why) => Err(Unavailable(why).into()),
                None => summary,
            }
        })
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
        None if !summary.beyond.is_empty() => Exit::Environment,
        None => Exit::Ok,
    }
}

fn in_words(summary: &Summary) -> String {
    let Summary { jobs, executed, cached, failed, blocked, elsewhere, beyond, .. } = summary;
    let mut text = format!("{jobs} jobs: {executed} executed, {cached} cached, {failed} failed");
    if *blocked > 0 {
        text += &format!(", {blocked} blocked");
    }
    text += &format!(" in {}", ui::seconds(summary.seconds));
    if summary.saved >= 1.0 {
        text += &format!("; what was cached took {} when it was made", ui::seconds(summary.saved));
    }
    if *elsewhere > beyond.len() {
        text += &format!("; {} left to others, who work on them", elsewhere - beyond.len());
    }
    if let [(job, lack), ..] = &beyond[..] {
        text += &format!("; {} left that nobody is seen to do and this worker cannot: `{job}` {lack}", beyond.len());
    }
    if let Some(Tally { hits, misses, errors, refused, pushed }) = summary.store {
        text += &format!("; store: {hits} taken, {pushed} brought, {misses} not there");
        if refused > 0 {
            text += &format!(", {refused} unusable");
        }
        if errors > 0 {
            text += &format!(", {errors} errors");
        }
    }
    if summary.interrupted {
        text += "; interrupted, the same command goes on from here";
    } else if *failed > 0 && executed + cached + failed + blocked + elsewhere < *jobs {
        let left = jobs - executed - cached - failed - blocked - elsewhere;
        text += &format!("; {left} not started, `--keep-going` runs those that need nothing that failed");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_for_gpus_are_told_what_was_typed_and_share_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("study.yaml").display().to_string();
        fs_err::write(&pipe, "").unwrap();
        let words = "--worker --workers-per-gpu 2 --threads 8 --memory 8GiB --memory-limit 40GiB --time-limit 2h --keep-going --verbose";
        let typed: Vec<String> = std::iter::once(pipe).chain(words.split(' ').map(str::to_owned)).collect();
        let run = Run::read(&typed).unwrap();
        let workers = run.workers(&["0".to_owned(), "3".to_owned()], 2, &Store::new(folder.path())).unwrap();
        let names: Vec<&str> = workers.iter().map(|worker| &*worker.name).collect();
        assert_eq!(names, ["cuda:0.1", "cuda:0.2", "cuda:3.1", "cuda:3.2"]);
        let mut runs = BTreeSet::new();
        for (worker, device) in workers.iter().zip(["cuda:0", "cuda:0", "cuda:3", "cuda:3"]) {
            let told: Vec<String> = worker.command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(told[0], "run");
            let told = Run::read(&told[1..]).unwrap();
            assert!(told.worker && told.keep_going && told.verbose && told.workers_per_gpu.is_none());
            assert_eq!((&*told.device, told.threads, told.progress), (device, NonZero::new(2), 30));
            assert_eq!((told.memory, told.memory_limit), (Some(2 << 30), Some(10 << 30)));
            assert_eq!(told.time_limit, Some(Duration::from_secs(7200)));
            runs.insert(told.run);
        }
        assert_eq!(runs.len(), 1, "what fails at one of them fails for all");
    }

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
