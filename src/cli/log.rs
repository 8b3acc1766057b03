//! `spot log`: the runs of a pipeline, or of all.

use super::runs::{self, Run};
use super::{Cache, Format, JSON_VERSION, pipeline, project};
use crate::error::Exit;
use crate::ui;
use clap::{Args, ValueHint};
use serde_json::json;

/// Arguments of `spot log`.
#[derive(Args)]
pub(super) struct Log {
    /// A manifest: a path, or a name in `pipelines/` [default: all that ran in this cache]
    #[arg(value_name = "PIPE", value_hint = ValueHint::FilePath, value_parser = project::name())]
    pub(super) pipe: Option<String>,
    #[command(flatten)]
    cache: Cache,
    /// At most how many runs, the newest first
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    number: usize,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Log {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such manifest, or the journals cannot be read.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let manifest = self.pipe.as_deref().map(pipeline::find).transpose()?;
        let store = self.cache.open();
        let mut runs = runs::all(&store)?;
        runs.retain(|run| manifest.as_ref().is_none_or(|manifest| run.is_of(manifest)));
        runs.sort_by(|a, b| (b.time.as_str(), &b.run).cmp(&(a.time.as_str(), &a.run)));
        let left = runs.len().saturating_sub(self.number);
        runs.truncate(self.number);
        match self.format {
            Format::Json => ui::print_json(&json!({"version": JSON_VERSION, "runs": runs, "older": left}))?,
            Format::Text if runs.is_empty() => {
                let of = self.pipe.as_ref().map_or_else(String::new, |pipe| format!(" of `{pipe}`"));
                ui::remark(&format!("no runs{of} in `{}`", store.root().display()));
            }
            Format::Text => {
                ui::print(&text(&runs))?;
                if left > 0 {
                    ui::remark(&format!("{left} older runs; `--number {}` shows them", self.number + left));
                }
            }
        }
        Ok(Exit::Ok)
    }
}

/// A line a run.
fn text(runs: &[Run]) -> String {
    let widths = |of: fn(&Run) -> String| runs.iter().map(|run| of(run).chars().count()).max().unwrap_or(0);
    let (name, ended) = (widths(|run| run.run.clone()), widths(outcome));
    let line = |run: &Run| format!("{:name$}  {:ended$}  {}\n", run.run, outcome(run), run.command());
    runs.iter().map(line).collect()
}

/// What became of a run.
fn outcome(run: &Run) -> String {
    let Run { executed, cached, failed, .. } = run;
    let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
    let time = run.seconds.map_or_else(|| "not ended".to_owned(), ui::seconds);
    format!("{executed} executed, {cached} cached{failed}, {time}")
}
