//! `spot audit`: is everything in the store what it was when it was made?

use super::pipeline::Settings;
use super::{Cache, Format, JSON_VERSION};
use crate::engine::audit::{self, Problem};
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::ui;
use clap::Args;
use serde_json::json;

/// Arguments of `spot audit`.
#[derive(Args)]
pub(super) struct Audit {
    /// A manifest whose results are followed to their sources: a path, or a name in `pipelines/`
    #[arg(value_name = "PIPE")]
    pipe: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    cache: Cache,
    /// Set aside what is damaged, so that the next run makes it anew
    #[arg(long)]
    repair: bool,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Audit {
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipe.as_ref().map(|pipe| self.settings.load(pipe, kinds)).transpose()?;
        let store = self.cache.open();
        let mut found = audit::audit(&store, plan.as_ref())?;
        if self.repair {
            found.repair(&store)?;
        }
        match self.format {
            Format::Text => ui::print(&text(&found))?,
            Format::Json => {
                let mut value = serde_json::to_value(&found)?;
                value["version"] = json!(JSON_VERSION);
                ui::print_json(&value)?;
            }
        }
        Ok(if found.is_clean() { Exit::Ok } else { Exit::Integrity })
    }
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
    text + &match (audit.problems.len(), audit.is_clean()) {
        (0, _) => "everything is as it was made\n".to_owned(),
        (n, true) => format!("damaged: {n}, set aside; `spot run` makes anew what is needed\n"),
        (n, false) => format!("damaged: {n}\n\nhint: `spot audit --repair` sets aside what can be made anew\n"),
    }
}

fn problem(problem: &Problem) -> String {
    let mut text = format!("{}\n  {}\n", problem.what, problem.path.display());
    for job in &problem.jobs {
        text += &format!("  used by {job}\n");
    }
    text
}
