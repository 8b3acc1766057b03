//! `spot schema`: the JSON Schema of manifests, for editors.

use crate::engine::schema;
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::ui;
use clap::Args;

/// Arguments of `spot schema`.
#[derive(Args)]
pub(super) struct Schema {}

impl Schema {
    #[expect(clippy::unused_self, reason = "every command is executed in one way")]
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        ui::print(&serde_json::to_string_pretty(&schema::schema(kinds))?)?;
        Ok(Exit::Ok)
    }
}
