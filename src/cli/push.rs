//! `spot push`: brings results of this machine to where others find them.

use super::sharing::Places;
use super::{Format, JSON_VERSION};
use crate::engine::run::state::{Question, State, survey};
use crate::engine::sharing::{Access, Pushed};
use crate::engine::stage::Kind;
use crate::engine::store::Found;
use crate::error::Exit;
use crate::ui::{self, Colour};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// Arguments of `spot push`.
#[derive(Args)]
pub(super) struct Push {
    #[command(flatten)]
    pub(super) places: Places,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Push {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, the store is only read, or something cannot be brought there.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.places.pipeline.load(kinds)?;
        let store = self.places.cache.open();
        let sharing = self.places.shared.required("`spot push`", Access::Make)?;
        let jobs = survey(&plan, &store, &Question::default())?;
        store.files().save()?;
        let cached = jobs.iter().filter(|job| job.state == State::Cached).filter_map(|job| job.key);
        let mut keys: Vec<_> = cached.chain(sharing.owed(&store)?).collect();
        keys.sort_unstable();
        keys.dedup();
        // What is told already need not be told again.
        sharing.look(Duration::ZERO, None)?;
        let (mut new, mut same, mut other) = (0, 0, 0);
        for key in &keys {
            // One that was noted and never written, or is damaged, is nothing to bring.
            if let Found::Hit(entry) = store.find(key)? {
                match sharing.push(&store, &entry)? {
                    Pushed::New => new += 1,
                    Pushed::Same => same += 1,
                    Pushed::Other(theirs) => {
                        other += 1;
                        let (job, machine) = (&entry.provenance.job, &theirs.provenance.host);
                        let text = format!(
                            "`{job}`: a machine ({machine}) had brought something else under its key, which counts"
                        );
                        ui::tell("warning:", Colour::Yellow, &text);
                    }
                }
            }
            sharing.paid(&store, key)?;
        }
        match self.format {
            Format::Json => {
                ui::print_json(&json!({"version": JSON_VERSION, "new": new, "same": same, "other": other}))?;
            }
            Format::Text => {
                ui::print(&format!(
                    "{new} results brought to `{}`, {same} were there, {other} differed",
                    sharing.address()
                ))?;
            }
        }
        Ok(Exit::Ok)
    }
}
