//! The command line: one file a command. Parsing does nothing but validate; a command turns what was typed into calls of the
//! engine and what comes back into text or JSON.

mod analyse;
mod attest;
mod audit;
mod backbone;
mod cancel;
mod completions;
mod crowd;
mod diff;
mod doctor;
mod explain;
mod gc;
mod graph;
mod hq;
mod keygen;
mod keys;
mod log;
mod machine;
mod output;
mod page;
mod pipeline;
mod predict;
mod project;
mod prompt;
mod pull;
mod push;
mod query;
mod rank;
mod report;
mod run;
mod runs;
mod schema;
mod sharing;
mod show;
mod slurm;
mod status;
mod tasks;
mod trust;
mod workers;

use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::error::Exit;
use crate::ui::{Colour, printable, remark, tell};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Version of the JSON that reading commands print.
const JSON_VERSION: u32 = 1;

/// Soft prompt transfer for frozen T5 models: one manifest, cached and audited.
#[derive(Parser)]
#[command(name = "spot", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run what is not cached
    Run(Box<run::Run>),
    /// Say what is cached, what would run, and why
    Status(status::Status),
    /// Bring results of this machine to the store that machines share
    Push(push::Push),
    /// Bring results here from the store that machines share
    Pull(pull::Pull),
    /// Ask all workers of a pipeline to save their steps and leave, wherever they are
    Cancel(cancel::Cancel),
    /// What `run --executor slurm` hands to Slurm
    #[command(subcommand)]
    Slurm(slurm::Command),
    /// Say field by field why a job would run
    Explain(explain::Explain),
    /// Print the jobs and what they read from each other
    Graph(graph::Graph),
    /// Hash everything in the store again and follow results to their sources
    Audit(audit::Audit),
    /// Print who made something, from what, and what used it
    Show(show::Show),
    /// Make a key to sign results with
    Keygen(keygen::Keygen),
    /// Sign what is known of results: in-toto statements with SLSA provenance, an envelope (DSSE) a line
    Attest(attest::Attest),
    /// Print what differs between two runs: parameters, inputs, metrics
    Diff(diff::Diff),
    /// List the runs of a pipeline, or of all, the newest first
    Log(log::Log),
    /// Print the newest report of a pipeline
    Report(report::Report),
    /// Ask the tables that a run made, such as `scores`, in SQL
    ///
    /// A table is all that jobs of the run have under one name, with the columns `job` and `stage` in front.
    Query(query::Query),
    /// Rank the prompts of a folder by similarity
    Rank(rank::Rank),
    /// Answer new text with a tuned prompt: JSON lines out, in the order of what comes in
    Predict(predict::Predict),
    /// Import and export soft prompts: PEFT adapters, `.npy`, safetensors; or look at one
    #[command(subcommand)]
    Prompt(prompt::Prompt),
    /// Say what a matrix of transfer scores says
    Analyse(analyse::Analyse),
    /// Remove results that neither a manifest nor a recent run needs; a dry run unless `--apply` is given
    ///
    /// What stays: the results of all manifests in `pipelines/`, under each of their profiles; of jobs that are to run again,
    /// their last result; what the last runs of each pipeline made or found; and everything that these were made from.
    /// Of pipelines of other projects that share the cache, only the last runs count. Journals of old runs are folded into what they named. While a run is at work, nothing is removed (exit code 4).
    Gc(gc::Gc),
    /// List the tasks that a manifest can name, or explain one with an example
    Tasks(tasks::Tasks),
    /// Say whether this machine is fit for a run, and what to do where it is not
    Doctor(doctor::Doctor),
    /// Print a script with which a shell completes command lines: `source <(spot completions bash)`
    Completions(completions::Completions),
    /// Print the JSON Schema of manifests
    Schema,
}

/// The store.
#[derive(Args)]
struct Cache {
    /// Where results are kept [default: $SPOT_CACHE, or `cache` in the folder of the project]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, value_parser = project::path())]
    cache: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Command {
    /// Whether it reads manifests or results.
    fn has_project(&self) -> bool {
        !matches!(self, Self::Rank(_) | Self::Analyse(_) | Self::Completions(_) | Self::Schema)
    }

    /// The manifest that is typed, if one is.
    fn manifest(&self) -> Option<&str> {
        match self {
            Self::Run(run) => Some(run.pipeline.name()),
            Self::Status(status) => Some(status.pipeline.name()),
            Self::Push(push) => Some(push.places.pipeline.name()),
            Self::Pull(pull) => Some(pull.places.pipeline.name()),
            Self::Cancel(cancel) => Some(cancel.places.pipeline.name()),
            Self::Slurm(slurm) => Some(slurm.pipeline().name()),
            Self::Explain(explain) => Some(explain.pipeline.name()),
            Self::Graph(graph) => Some(graph.pipeline.name()),
            Self::Report(report) => Some(report.pipeline.name()),
            Self::Audit(audit) => audit.pipe.as_deref(),
            Self::Log(log) => log.pipe.as_deref(),
            Self::Query(query) => query.pipe.as_deref(),
            Self::Gc(gc) => gc.pipes.first().map(String::as_str),
            _ => None,
        }
    }
}

impl Cache {
    fn open(&self) -> Arc<Store> {
        let from_environment = || std::env::var_os("SPOT_CACHE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = self.cache.clone().or_else(from_environment);
        Store::new(&path.unwrap_or_else(|| PathBuf::from("cache")))
    }
}

/// Runs the command line with a table of kinds.
pub fn main(kinds: &[Kind]) -> ExitCode {
    mend_panics();
    let exit = in_project().and_then(|command| dispatch(&command, kinds)).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if exit != Exit::Ok {
            tell("error:", Colour::Red, &format!("{error:#}"));
        }
        exit
    });
    ExitCode::from(exit.code())
}

/// The command, in the folder of its project.
fn in_project() -> anyhow::Result<Command> {
    let parse = || Cli::try_parse().unwrap_or_else(|error| refuse(&error)).command;
    let command = parse();
    // Paths that were typed elsewhere are read again, as seen from the project.
    Ok(if command.has_project() && project::enter(command.manifest())? { parse() } else { command })
}

/// Panics may quote anything.
fn mend_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match printable(&panic.to_string()) {
        Cow::Borrowed(_) => usual(panic),
        Cow::Owned(shown) => remark(&shown),
    }));
}

/// Ends the program with what is wrong with the command line, or with its help. Arguments are quoted in it, which may be names
/// of files that somebody else chose.
fn refuse(error: &clap::Error) -> ! {
    let plain = error.render().to_string();
    if matches!(printable(&plain), Cow::Borrowed(_)) {
        error.exit();
    }
    remark(plain.trim_end());
    std::process::exit(error.exit_code());
}

/// How a manifest was read by a run with this command line; `None` if this version has no such command.
fn settings_of_run(command_line: &[String]) -> Option<pipeline::Settings> {
    match Cli::try_parse_from(command_line).ok()?.command {
        Command::Run(run) => Some(run.into_settings()),
        _ => None,
    }
}

fn dispatch(command: &Command, kinds: &[Kind]) -> anyhow::Result<Exit> {
    match command {
        Command::Run(run) => run.execute(kinds),
        Command::Status(status) => status.execute(kinds),
        Command::Push(push) => push.execute(kinds),
        Command::Pull(pull) => pull.execute(kinds),
        Command::Cancel(cancel) => cancel.execute(kinds),
        Command::Slurm(slurm) => slurm.execute(kinds),
        Command::Explain(explain) => explain.execute(kinds),
        Command::Graph(graph) => graph.execute(kinds),
        Command::Audit(audit) => audit.execute(kinds),
        Command::Show(show) => show.execute(),
        Command::Keygen(keygen) => keygen.execute(),
        Command::Attest(attest) => attest.execute(),
        Command::Diff(diff) => diff.execute(),
        Command::Log(log) => log.execute(),
        Command::Report(report) => report.execute(kinds),
        Command::Query(query) => query.execute(),
        Command::Rank(rank) => rank.execute(),
        Command::Predict(predict) => predict.execute(),
        Command::Prompt(prompt) => prompt.execute(),
        Command::Analyse(analyse) => analyse.execute(),
        Command::Gc(gc) => gc.execute(kinds),
        Command::Tasks(tasks) => tasks.execute(),
        Command::Doctor(doctor) => doctor.execute(kinds),
        Command::Completions(completions) => completions.execute(),
        Command::Schema => schema::execute(kinds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
