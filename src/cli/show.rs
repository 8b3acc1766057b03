//! `spot show`: a job, key or digest: made by whom, from what, used by what, and a look at what it is.

use super::explain::origin_in_words;
use super::{Cache, Format, JSON_VERSION};
use crate::data::{Card, Table};
use crate::engine::manifest::problem::suggestion;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::{Entry, Record};
use crate::error::{Exit, Usage};
use crate::stages::CARD;
use crate::ui;
use anyhow::Context;
use clap::Args;
use parquet::file::reader::{FileReader, SerializedFileReader};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Shortest prefix of a key or digest.
const SHORTEST: usize = 8;
/// Readers of a result that are shown.
const MOST_USERS: usize = 12;
/// Rows of a table, lines of a text, tensors of a file that are shown.
const MOST_ROWS: usize = 4;
const MOST_LINES: usize = 12;
/// Characters of a table's cell.
const WIDEST: usize = 40;

/// Arguments of `spot show`.
#[derive(Args)]
pub(super) struct Show {
    /// A job (`source[mnli,0]`, or `pipeline:job`), or at least 8 digits of a key or digest
    #[arg(value_name = "WHAT")]
    what: String,
    #[command(flatten)]
    cache: Cache,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Print one of its outputs instead, a table, as CSV: `curve`, `scores`
    #[arg(long, value_name = "OUTPUT", conflicts_with = "format")]
    csv: Option<String>,
}

/// What `WHAT` stands for: entries, and perhaps one digest in them.
pub(super) struct Found<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) digest: Option<Digest>,
}

impl Show {
    /// Runs the command.
    ///
    /// # Errors
    /// If nothing is called that, it is damaged, or with `--csv` it is not a table.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let store = self.cache.open();
        let catalog = Catalog::read(&store)?;
        let found = find(&store, &catalog, &self.what)?;
        if let Some(output) = &self.csv {
            return self.print_csv(&store, &found, output);
        }
        match self.format {
            Format::Text => {
                let texts = found.entries.iter().map(|entry| text(&store, &catalog, entry, found.digest.as_ref()));
                let texts = texts.collect::<anyhow::Result<Vec<_>>>()?;
                ui::print(&texts.join("\n"))?;
            }
            Format::Json => {
                let entries: Vec<_> = found.entries.iter().map(|entry| json(&catalog, entry)).collect();
                ui::print_json(&json!({"version": JSON_VERSION, "digest": found.digest, "entries": entries}))?;
            }
        }
        Ok(Exit::Ok)
    }

    fn print_csv(&self, store: &Store, found: &Found<'_>, output: &str) -> anyhow::Result<Exit> {
        let [entry] = found.entries[..] else {
            let n = found.entries.len();
            let message =
                format!("`{}` stands for {n} results; `--csv` prints one of them; name it by its key", self.what);
            return Err(Usage(message).into());
        };
        let Some(artifact) = entry.artifact(output) else {
            let names = entry.artifacts.iter().map(|artifact| artifact.name.as_str());
            let message = format!("`{}` has no output `{output}`{}", self.what, suggestion(output, names));
            return Err(Usage(message).into());
        };
        let name = format!("{}.{output}", entry.provenance.job);
        let table = Table::from_parquet(&store.read(&artifact.digest, &name)?).with_context(|| name.clone())?;
        let (csv, left_out) = table.to_csv().with_context(|| name.clone())?;
        if !left_out.is_empty() {
            let left_out = format!("{name}: left out, since CSV has no lists: `{}`", left_out.join("`, `"));
            ui::tell("warning:", ui::Colour::Yellow, &left_out);
        }
        ui::print_data(&String::from_utf8(csv).context("CSV of a table of texts")?)?;
        Ok(Exit::Ok)
    }
}

/// What a name, a key or a digest stands for.
///
/// # Errors
/// If nothing in the store is called that, or the beginning of a key fits several.
pub(super) fn find<'a>(store: &Store, catalog: &'a Catalog, what: &str) -> anyhow::Result<Found<'a>> {
    let is_prefix = what.len() >= SHORTEST && what.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_prefix && let Some(found) = find_hexadecimal(catalog, what)? {
        return Ok(found);
    }
    let (pipeline, job) = what.split_once(':').map_or((None, what), |(pipeline, job)| (Some(pipeline), job));
    let views = store.all_views()?;
    let fits = |p: &str, j: &str| j == job && pipeline.is_none_or(|pipeline| p == pipeline);
    let keys: BTreeSet<Key> = views.iter().filter(|(p, j, _)| fits(p, j)).map(|(_, _, key)| *key).collect();
    let entries: Vec<_> = keys.iter().filter_map(|key| catalog.entry(key)).collect();
    if !entries.is_empty() {
        return Ok(Found { entries, digest: None });
    }
    let names: BTreeSet<&str> = views.iter().map(|(_, job, _)| job.as_str()).collect();
    let near = crate::engine::manifest::problem::nearest(job, names.iter().copied());
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let message = format!("nothing in the cache is called `{what}`, as a job that ran, a key or a digest{hint}");
    Err(Usage(message).into())
}

/// The entry whose key, or those whose artifacts' or inputs' digest, starts so.
fn find_hexadecimal<'a>(catalog: &'a Catalog, prefix: &str) -> Result<Option<Found<'a>>, Usage> {
    let fits = |text: String| text.starts_with(prefix);
    let keys: Vec<_> = catalog.entries().iter().filter(|entry| fits(entry.key.to_string())).collect();
    let made = catalog.entries().iter().flat_map(|entry| entry.blobs().map(|(_, digest, _)| digest));
    let external = catalog.entries().iter().flat_map(|entry| entry.external().map(|(_, part, _)| part.digest));
    let read = catalog.entries().iter().flat_map(|entry| entry.recipe.inputs.iter().map(|(_, digest)| *digest));
    let digests: BTreeSet<Digest> =
        made.chain(external).chain(read).filter(|digest| fits(digest.to_string())).collect();
    if keys.len() + digests.len() > 1 {
        return Err(Usage(format!("`{prefix}` is the start of several keys or digests; give more digits")));
    }
    let Some(digest) = digests.first() else {
        return Ok((!keys.is_empty()).then_some(Found { entries: keys, digest: None }));
    };
    let mut entries: Vec<_> = catalog.makers(digest).map(|(entry, _)| entry).collect();
    if entries.is_empty() {
        entries = catalog.readers(digest).map(|(entry, _)| entry).collect();
    }
    Ok(Some(Found { entries, digest: Some(*digest) }))
}

/// The jobs that read what an entry made: `pipeline: job (role)`.
fn used_by(catalog: &Catalog, entry: &Entry) -> BTreeSet<String> {
    let readers = entry.artifacts.iter().flat_map(|artifact| catalog.readers(&artifact.digest));
    readers
        .flat_map(|(reader, role)| catalog.jobs(&reader.key).into_iter().map(move |job| format!("{job} ({role})")))
        .collect()
}

fn json(catalog: &Catalog, entry: &Entry) -> Value {
    json!({
        "key": entry.key,
        "jobs": catalog.jobs(&entry.key),
        "recipe": entry.recipe,
        "artifacts": entry.artifacts,
        "provenance": entry.provenance,
        "used_by": used_by(catalog, entry),
    })
}

fn text(store: &Store, catalog: &Catalog, entry: &Entry, only: Option<&Digest>) -> anyhow::Result<String> {
    let provenance = &entry.provenance;
    let mut text = format!("{} ({} v{})\n", provenance.job, entry.recipe.kind, entry.recipe.version);
    text += &format!("  key     {}\n", entry.key);
    for job in catalog.jobs(&entry.key) {
        text += &format!("  job     {job}\n");
    }
    text += &format!("  params  {}\n", entry.recipe.params);
    for manifest in &provenance.manifests {
        text += &format!("  said by {}, {}\n", manifest.file.display(), manifest.digest.short());
    }
    for origin in &provenance.inputs {
        text += &format!("  reads   {}\n", origin_in_words(origin, &entry.artifacts));
    }
    let users = used_by(catalog, entry);
    for user in users.iter().take(MOST_USERS) {
        text += &format!("  used by {user}\n");
    }
    if users.len() > MOST_USERS {
        text += &format!("  used by {} more; `--format json` has all\n", users.len() - MOST_USERS);
    }
    let device = &provenance.device;
    let took = ui::seconds(provenance.seconds);
    text += &format!("  made    {} in {took} on {device} by spot {}", provenance.end, provenance.program);
    text += &provenance.revision.as_ref().map_or_else(String::new, |revision| format!(" ({revision})"));
    text += &format!(", {} threads, {}\n", provenance.threads, provenance.host);
    for (name, value) in &provenance.notes {
        // What a program said may have several lines.
        text += &format!("  {name}: {}\n", value.replace('\n', "\n    "));
    }
    for artifact in &entry.artifacts {
        let wanted = only.is_none_or(|digest| *digest == artifact.digest || !makes(entry, digest));
        if wanted {
            text += &artifact_in_words(store, artifact)?;
        }
    }
    Ok(text)
}

/// Whether an artifact of the entry itself, not a part or an input, has this digest.
fn makes(entry: &Entry, digest: &Digest) -> bool {
    entry.artifacts.iter().any(|artifact| artifact.digest == *digest)
}

fn artifact_in_words(store: &Store, artifact: &Record) -> anyhow::Result<String> {
    let Record { name, r#type, digest, sha256, size, parts } = artifact;
    let mut text = format!("\n{name}: {type}, {size} bytes, {digest}\n");
    if let Some(sha256) = sha256 {
        text += &format!("  sha256 {sha256}\n");
    }
    for part in parts {
        let place = part.external.as_ref().map_or_else(String::new, |path| format!(", in {}", path.display()));
        text += &format!("  part {}: {} bytes, {}{place}\n", part.name, part.size, part.digest.short());
    }
    let bytes = store.read(digest, name)?;
    let card = Some(&bytes).filter(|_| r#type == CARD.name()).and_then(|bytes| Card::from_bytes(bytes).ok());
    let shown = card.map_or_else(|| preview(bytes), |card| aligned(&card.lines()));
    for line in shown.lines() {
        text += &format!("  {line}\n");
    }
    Ok(text)
}

/// The first of what the bytes hold: rows of Parquet, tensors of safetensors, lines of text.
fn preview(bytes: Vec<u8>) -> String {
    if bytes.starts_with(b"PAR1") {
        return table(bytes).unwrap_or_else(|error| format!("unreadable Parquet: {error}"));
    }
    if let Ok((_, metadata)) = SafeTensors::read_metadata(&bytes) {
        return tensors(&metadata);
    }
    match String::from_utf8(bytes) {
        Ok(text) => lines(&text),
        Err(_) => "binary".to_owned(),
    }
}

fn table(bytes: Vec<u8>) -> Result<String, parquet::errors::ParquetError> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes))?;
    let total = reader.metadata().file_metadata().num_rows();
    let columns = reader.metadata().file_metadata().schema_descr().root_schema().get_fields().iter();
    let mut rows: Vec<Vec<String>> = vec![columns.map(|column| column.name().to_owned()).collect()];
    for row in reader.get_row_iter(None)?.take(MOST_ROWS) {
        rows.push(row?.get_column_iter().map(|(_, value)| cell(&value.to_string())).collect());
    }
    let shown = rows.len() - 1;
    Ok(format!("{}{shown} of {total} rows", aligned(&rows)))
}

/// A value in one short line.
fn cell(value: &str) -> String {
    let line = value.replace(['\n', '\r', '\t'], " ");
    if line.chars().count() <= WIDEST {
        return line;
    }
    line.chars().take(WIDEST - 1).chain(['…']).collect()
}

/// Rows with their cells below each other.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn tensors(metadata: &safetensors::tensor::Metadata) -> String {
    let tensors = metadata.tensors();
    let mut names: Vec<_> = tensors.keys().collect();
    names.sort();
    let mut text = String::new();
    for name in names.iter().take(MOST_LINES) {
        let info = tensors[*name];
        text += &format!("{name}: {:?} {:?}\n", info.dtype, info.shape);
    }
    if names.len() > MOST_LINES {
        text += &format!("and {} more tensors\n", names.len() - MOST_LINES);
    }
    let notes: std::collections::BTreeMap<_, _> = metadata.metadata().iter().flatten().collect();
    for (name, value) in notes {
        text += &format!("{name} = {}\n", cell(value));
    }
    text
}

fn lines(text: &str) -> String {
    let mut shown: Vec<String> = text.lines().take(MOST_LINES).map(|line| line.chars().take(160).collect()).collect();
    let more = text.lines().count().saturating_sub(MOST_LINES);
    if more > 0 {
        shown.push(format!("and {more} more lines"));
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short_and_columns_align() {
        let long = "x".repeat(100);
        assert_eq!(cell(&long).chars().count(), WIDEST);
        assert_eq!(cell("a\nb"), "a b");
        let rows = vec![vec!["name".to_owned(), "n".to_owned()], vec!["é".to_owned(), "12".to_owned()]];
        assert_eq!(aligned(&rows), "name  n\né     12\n");
    }

    #[test]
    fn bytes_that_lie_about_what_they_are_do_no_harm() {
        assert!(preview(b"PAR1 and then nothing of the kind".to_vec()).starts_with("unreadable Parquet"));
        assert_eq!(preview(vec![0xff; 100]), "binary");
        assert_eq!(preview(b"{\"a\": 1}".to_vec()), "{\"a\": 1}");
    }
}
