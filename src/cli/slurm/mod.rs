//! Slurm: `spot run --executor slurm` hands workers to it as one array job, and `spot slurm script` prints that job.
//!
//! Slurm starts workers and nothing else: what is done is known from where results are. It is asked with `sbatch`, `squeue`,
//! `scontrol` and `scancel` alone, so no accounting is needed.

mod queue;
mod script;
mod watch;

use super::pipeline::Pipeline;
use super::run::Run;
use crate::engine::stage::Kind;
use crate::engine::store::digest::Digest;
use crate::engine::store::provenance;
use crate::error::{Exit, Usage};
use crate::remote::Objects;
use crate::ui;
use clap::{Args, Subcommand};
pub(super) use queue::{Queue, requeue_self};
pub(super) use script::Script;
use serde::{Deserialize, Serialize};
pub(super) use watch::{Afar, Monitor, pause};

/// What of a run is Slurm's.
#[derive(Args)]
pub(super) struct Slurm {
    /// Who does the work: this process, or workers of a Slurm array; the same command again attaches to an array that is at work
    #[arg(long, value_enum, default_value = "local")]
    pub(super) executor: Executor,
    /// Workers of the array [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: Option<u32>,
    /// More for `sbatch`, such as `--partition=gpu --gres=gpu:1 --time=8:00:00`
    #[arg(long, value_name = "ARGS", default_value = "", hide_default_value = true, allow_hyphen_values = true, value_parser = script::arguments)]
    pub(super) slurm: String,
    /// Submit, and do not wait
    #[arg(long)]
    pub(super) detach: bool,
}

impl Slurm {
    /// How many workers an array has.
    pub(super) fn workers(&self) -> u32 {
        self.workers.unwrap_or(4)
    }

    /// Refuses what would be ignored.
    ///
    /// # Errors
    /// If something is said of an array, and there is none.
    pub(super) fn check(&self) -> Result<(), Usage> {
        let said =
            [("--workers", self.workers.is_some()), ("--slurm", !self.slurm.is_empty()), ("--detach", self.detach)];
        match said.into_iter().find(|(_, is_said)| *is_said && self.executor == Executor::Local) {
            Some((option, _)) => Err(Usage(format!("`{option}` is for `--executor slurm`; add that, or leave it out"))),
            None => Ok(()),
        }
    }
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Executor {
    /// This process.
    Local,
    /// Workers of a Slurm array.
    Slurm,
}

/// `spot slurm …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the array job that `spot run --executor slurm` would submit
    Script(Box<Run>),
}

impl Command {
    pub(super) fn pipeline(&self) -> &Pipeline {
        let Self::Script(run) = self;
        &run.pipeline
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest or an option is wrong.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let Self::Script(run) = self;
        ui::print(run.slurm_script(kinds)?.text().trim_end())?;
        Ok(Exit::Ok)
    }
}

/// An array that was submitted, as those who attach to it find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Array {
    /// What Slurm calls it, and the comment by which it is told from a job of another cluster that is called so too.
    pub(super) id: u64,
    pub(super) mark: String,
    /// The run that its workers do.
    pub(super) run: String,
    /// How many of them there are.
    pub(super) workers: u32,
    /// Where it was submitted, and when.
    pub(super) host: String,
    pub(super) time: String,
    /// What its workers were told.
    pub(super) command: String,
    /// Of the manifests that they read; earlier programs did not say.
    #[serde(default)]
    pub(super) manifests: Option<Digest>,
}

impl Array {
    /// Of a user: another one's array is not his to cancel.
    fn name(pipeline: &str) -> String {
        let user = std::env::var("USER").unwrap_or_default();
        format!("slurm/{}.json", Digest::of(format!("{user}\n{pipeline}").as_bytes()))
    }

    /// The array that was submitted last for a pipeline.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub(super) fn last(objects: &dyn Objects, pipeline: &str) -> anyhow::Result<Option<Self>> {
        let object = objects.get(&Self::name(pipeline))?;
        // What cannot be read was written by another program, and says nothing of an array that this one could attach to.
        Ok(object.and_then(|object| serde_json::from_slice(&object.bytes).ok()))
    }

    fn keep(&self, objects: &dyn Objects, pipeline: &str) -> anyhow::Result<()> {
        Ok(objects.put(&Self::name(pipeline), &serde_json::to_vec(self)?)?)
    }

    /// Submits an array, and leaves word of it.
    ///
    /// # Errors
    /// If Slurm refuses or does not answer, or word of it cannot be left.
    pub(super) fn submit(script: &Script, objects: &dyn Objects, pipeline: &str) -> anyhow::Result<Self> {
        script.prepare()?;
        let id = Queue::submit(&script.text(), &script.mark)?;
        let Script { run, workers, mark, .. } = script;
        let array = Self {
            id,
            mark: mark.clone(),
            run: run.clone(),
            workers: *workers,
            host: provenance::node(),
            time: provenance::now(),
            command: script.command(),
            manifests: Some(script.manifests),
        };
        array.keep(objects, pipeline)?;
        Ok(array)
    }
}
