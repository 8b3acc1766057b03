//! `spot schema`: the JSON Schema of manifests, for editors.

use crate::engine::manifest::schema;
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::ui;

/// Prints the schema over a table of kinds.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn execute(kinds: &[Kind]) -> anyhow::Result<Exit> {
    ui::print(&serde_json::to_string_pretty(&schema::schema(kinds))?)?;
    Ok(Exit::Ok)
}
