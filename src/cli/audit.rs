//! `spot audit`: is everything in the store what it was when it was made?

use super::keys::Sign;
use super::pipeline::Settings;
use super::{Cache, Format, JSON_VERSION, run};
use super::{project, trust};
use crate::engine::check::audit::{self, Problem};
use crate::engine::check::require::Trusted;
use crate::engine::check::rerun::{Rerun, rerun};
use crate::engine::plan::Plan;
use crate::engine::run::Settings as How;
use crate::engine::signing::{Signer, again};
use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::error::Exit;
use crate::error::Usage;
use crate::ui::{self, Lines};
use clap::Args;
use serde_json::json;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Arguments of `spot audit`.
#[derive(Args)]
pub(super) struct Audit {
    /// A manifest whose results are followed to their sources: a path, or a name in `pipelines/`
    #[arg(value_name = "PIPE", value_parser = project::name())]
    pub(super) pipe: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    cache: Cache,
    /// Set aside what is damaged, so that the next run makes it anew
    #[arg(long)]
    repair: bool,
    /// Execute N cached jobs of the manifest again, elsewhere, and compare what they make
    #[arg(long, value_name = "N", requires = "pipe", conflicts_with = "repair")]
    rerun: Option<NonZero<usize>>,
    /// Every result must be made by this key, or one of several: a name of the project's ring `keys/`, or the path of a public key.
    /// Without it the project's `trust.yaml` decides, if there is one
    #[arg(long, value_name = "KEY", value_parser = project::name())]
    require: Vec<String>,
    #[command(flatten)]
    sign: Sign,
    /// With `--rerun`: jobs of the kind `command` too, which start the programs that the manifest names
    #[arg(long, requires = "rerun")]
    commands: bool,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Audit {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, the store cannot be read or repaired, or with `--repair` another process uses it.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipe.as_ref().map(|pipe| self.settings.load(pipe, kinds)).transpose()?;
        let store = self.cache.open();
        // What is found damaged must not be repaired by a run in the meantime.
        let _alone = if self.repair && store.root().is_dir() { Some(store.claim()?) } else { None };
        let signer = self.sign.signer()?;
        if signer.is_some() && self.rerun.is_none() {
            return Err(Usage(
                "`--sign` signs what `--rerun N` finds; `spot run --sign` signs what it makes".to_owned(),
            )
            .into());
        }
        let required = trust::requirements(&self.require)?;
        let mut found = audit::audit(&store, plan.as_ref(), required.as_ref())?;
        if self.repair {
            found.repair(&store)?;
        }
        let again = match (self.rerun, &plan) {
            (Some(count), Some(plan)) => Some(self::again(plan, &store, count.get(), self.commands)?),
            _ => None,
        };
        if let (Some(signer), Some(again)) = (&signer, &again) {
            sign(&store, signer, again)?;
        }
        match self.format {
            Format::Text => ui::print(&(text(&found) + &again.as_deref().map_or_else(String::new, reruns)))?,
            Format::Json => {
                let mut value = serde_json::to_value(&found)?;
                value["version"] = json!(JSON_VERSION);
                value["reruns"] = json!(again);
                ui::print_json(&value)?;
            }
        }
        let again = again.unwrap_or_default();
        Ok(match () {
            () if !found.is_clean() || again.iter().any(|job| !job.differs.is_empty()) => Exit::Integrity,
            () if again.iter().any(|job| job.error.is_some()) => Exit::JobFailed,
            () => Exit::Ok,
        })
    }
}

/// Executes jobs again in a folder of their own. While it does, nothing is removed from the store.
fn again(plan: &Plan, store: &Arc<Store>, count: usize, programs: bool) -> anyhow::Result<Vec<Rerun>> {
    let stop = run::stop_on_signals()?;
    let Some(_hold) = store.share(|| !stop.load(Ordering::Relaxed))? else { return Ok(Vec::new()) };
    let (scratch, lines) = (store.temp_path(), Lines::new(false));
    let settings = How { programs, ..run::defaults()? };
    let found = rerun(plan, store, count, &scratch, &settings, &lines, &stop);
    lines.finish();
    if scratch.is_dir() {
        fs_err::remove_dir_all(scratch)?;
    }
    if !programs && plan.graph.node_weights().any(|job| job.job.needs().program) {
        ui::remark("hint: jobs that start programs of the manifest were left out; `--commands` includes them");
    }
    found
}

/// Signs what came out of jobs that were executed again.
fn sign(store: &Store, signer: &Signer, jobs: &[Rerun]) -> anyhow::Result<()> {
    for job in jobs.iter().filter(|job| job.error.is_none()) {
        store.keep_signature(&again::signature(store, signer, (job.key, &job.job), &job.differs)?)?;
    }
    Ok(())
}

fn reruns(jobs: &[Rerun]) -> String {
    let line = |job: &Rerun| {
        let name = format!("{} ({})", job.job, job.kind);
        if let Some(error) = &job.error {
            return format!("not executed again: {name}: {error}\n");
        }
        let differs = job.differs.iter().map(|(artifact, then, now)| {
            format!("  {artifact} is {} in the store, and {} now\n", then.short(), now.short())
        });
        let differs: String = differs.collect();
        let what = if differs.is_empty() { "the same bytes again" } else { "other bytes" };
        format!("{what}: {name} in {}\n{differs}", ui::seconds(job.seconds))
    };
    let mut text = jobs.iter().map(line).collect::<String>();
    if jobs.iter().any(|job| !job.differs.is_empty()) {
        text += "\nhint: last bits depend on whether the CPU has AVX-512; on the same machine, other bytes mean that the program \
                 was changed without a new version of the kind, or that the machine computes wrongly; a `command` whose \
                 program is no function of its inputs differs too\n";
    }
    text
}

fn text(audit: &audit::Audit) -> String {
    let mut text = audit.problems.iter().map(problem).collect::<String>();
    let audit::Audit { entries, blobs, bytes, runs, external, unreferenced, .. } = audit;
    text += &format!("{entries} entries, {blobs} blobs, {bytes} bytes, {runs} runs");
    if *external > 0 {
        text += &format!(", {external} files outside");
    }
    if *unreferenced > 0 {
        text += &format!(", {unreferenced} blobs that no entry needs");
    }
    text.push('\n');
    if let Some(lineage) = &audit.lineage {
        text += &format!(
            "{} of {} jobs have a result; through {} entries they lead to {} source files\n",
            lineage.cached,
            lineage.jobs,
            lineage.entries,
            lineage.sources.len()
        );
    }
    text += &audit.trusted.as_ref().map_or_else(String::new, trusted);
    text + &match (audit.problems.len(), audit.is_clean()) {
        (0, _) => "everything is as it was made\n".to_owned(),
        (n, true) => format!("damaged: {n}, set aside; `spot run` makes anew what is needed\n"),
        (n, false) if audit.problems.iter().all(Problem::is_doubt) => {
            format!(
                "not as required: {n}\n\nhint: `spot run PIPE --sign KEY --force JOB` makes a result anew and signs it\n"
            )
        }
        (n, false) => format!("damaged: {n}\n\nhint: `spot audit --repair` sets aside what can be made anew\n"),
    }
}

fn trusted(trusted: &Trusted) -> String {
    let by = |keys: &std::collections::BTreeMap<String, usize>| {
        let keys: Vec<String> = keys.iter().map(|(name, results)| format!("{results} by `{name}`")).collect();
        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
    };
    let Trusted { results, made_by, rerun_by, runs } = trusted;
    let again = if rerun_by.is_empty() { String::new() } else { format!("; executed again: {}", by(rerun_by)) };
    format!("signed, of {results} results: {}{again}; signed runs: {runs}\n", by(made_by))
}

fn problem(problem: &Problem) -> String {
    let mut text = format!("{}\n  {}\n", problem.what, problem.path.display());
    for job in &problem.jobs {
        text += &format!("  used by {job}\n");
    }
    text
}
