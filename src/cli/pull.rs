//! `spot pull`: brings results here that others made.

use super::run::{defaults, stop_on_signals};
use super::sharing::Places;
use super::{Format, JSON_VERSION};
use crate::engine::run::{Role, Settings, run};
use crate::engine::sharing::Access;
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::ui::{self, Lines};
use clap::Args;
use serde_json::json;

/// Arguments of `spot pull`.
#[derive(Args)]
pub(super) struct Pull {
    #[command(flatten)]
    pub(super) places: Places,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Pull {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, or the store cannot be used.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.places.pipeline.load(kinds)?;
        let store = self.places.cache.open();
        let sharing = self.places.shared.required("`spot pull`", Access::Read)?;
        let settings = Settings { role: Role::Pull, sharing: Some(sharing.clone()), ..defaults()? };
        let stop = stop_on_signals()?;
        let lines = Lines::of_plan(false, &plan, true, &store, None);
        let summary = run(&plan, &store, &settings, &lines, &stop);
        lines.finish();
        let summary = summary?;
        let brought = sharing.tally().hits;
        let here = summary.cached as u64;
        let absent = summary.jobs.saturating_sub(summary.cached);
        match self.format {
            Format::Json => {
                ui::print_json(&json!({"version": JSON_VERSION, "brought": brought, "here": here, "absent": absent}))?;
            }
            Format::Text => ui::print(&format!(
                "{brought} results brought from `{}`, {} were here, {absent} are not there",
                sharing.address(),
                here.saturating_sub(brought)
            ))?,
        }
        Ok(summary.fault.map_or(Exit::Ok, Exit::from))
    }
}
