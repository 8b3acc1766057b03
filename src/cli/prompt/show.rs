//! `spot prompt show`: shape, metadata and norms of a prompt, and the pieces of the vocabulary that its rows are like.

use super::given::{Given, Which};
use crate::cli::{Format, JSON_VERSION, show};
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::content::Content;
use crate::engine::store::digest::Digest;
use crate::engine::store::entry::{Entry, Record};
use crate::error::{Exit, Usage};
use crate::ml::prompt::neighbours::{self, Neighbour};
use crate::stages::backbone::{Model, Parts};
use crate::ui;
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `spot prompt show`.
#[derive(Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    which: Which,
    /// The model whose vocabulary is compared: a job, or a folder in Hugging Face's layout [default: the one that the prompt
    /// was tuned on if it is in the cache, or else the built-in nano]
    #[arg(long, value_name = "JOB|FOLDER")]
    backbone: Option<String>,
    /// Pieces shown of each row
    #[arg(long, value_name = "N", default_value_t = 3)]
    nearest: usize,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A model, and what it is called.
type Backbone = (String, Model);

impl Show {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let given = self.which.read()?;
        let (name, model) = self.backbone(&given)?;
        let width = model.weights.dims.width;
        given.prompt.fits(width).map_err(|error| {
            Usage(format!("`{}` and the backbone `{name}`: {error}; name its own with `--backbone`", given.name))
        })?;
        let neighbours = neighbours::nearest(&model.weights, model.tokens.size(), &given.prompt, self.nearest);
        let norms = neighbours::norms(&given.prompt);
        let piece = |neighbour: &Neighbour| model.tokens.piece(neighbour.id).unwrap_or_default();
        match self.format {
            Format::Text => ui::print(&text(&given, &name, &norms, &neighbours, &piece))?,
            Format::Json => {
                let near = |near: &Neighbour| json!({"piece": piece(near), "id": near.id, "cosine": near.cosine});
                let row = |(norm, row): (&f64, &Vec<Neighbour>)| -> Value {
                    json!({"norm": norm, "nearest": row.iter().map(near).collect::<Vec<_>>()})
                };
                ui::print_json(&json!({
                    "version": JSON_VERSION,
                    "prompt": given.name,
                    "length": given.prompt.length(),
                    "width": width,
                    "metadata": given.about.metadata().entries(),
                    "backbone": name,
                    "rows": norms.iter().zip(&neighbours).map(row).collect::<Vec<_>>(),
                }))?;
            }
        }
        Ok(Exit::Ok)
    }

    fn backbone(&self, given: &Given) -> anyhow::Result<Backbone> {
        let store = self.which.cache.open();
        let catalog = Catalog::read(&store)?;
        let Some(named) = &self.backbone else {
            let own = given.about.backbone.as_ref().and_then(|digest| digest.parse::<Digest>().ok());
            let maker = own.and_then(|digest| catalog.makers(&digest).next().map(|(entry, _)| (entry, digest)));
            return match maker {
                Some((entry, digest)) => of_entry(&store, entry, &digest),
                None => Ok(("nano".to_owned(), Model::nano()?)),
            };
        };
        if Path::new(named).join("config.json").is_file() {
            return Ok((named.clone(), Model::from_folder(Path::new(named))?));
        }
        let found = show::find(&store, &catalog, named)?;
        let records = found.entries.iter().flat_map(|entry| entry.artifacts.iter().map(move |record| (*entry, record)));
        let mut backbones = records.filter(|(_, record)| record.r#type == "backbone");
        let backbone = backbones.next();
        let (entry, record) = backbone.ok_or_else(|| Usage(format!("`{named}` made nothing of type backbone")))?;
        if backbones.any(|(_, other)| other.digest != record.digest) {
            return Err(Usage(format!("`{named}` is several jobs; name one as `pipeline:job`")).into());
        }
        of_entry(&store, entry, &record.digest)
    }
}

/// The model of an entry whose artifact has this digest.
fn of_entry(store: &Store, entry: &Entry, digest: &Digest) -> anyhow::Result<Backbone> {
    let name = entry.provenance.job.clone();
    let record = entry.artifacts.iter().find(|record| record.digest == *digest);
    let record = record.with_context(|| format!("`{name}` has no artifact `{}`", digest.short()))?;
    let parts: Parts = serde_json::from_slice(&store.read(digest, &name)?).context("a backbone artifact")?;
    let weights = parts.weights.iter().map(|digest| part(store, record, digest)).collect::<anyhow::Result<Vec<_>>>()?;
    let (config, tokenizer) = (part(store, record, &parts.config)?, part(store, record, &parts.tokenizer)?);
    Ok((name, parts.model(&config, &tokenizer, &weights)?))
}

/// A part of an artifact, in the store or outside.
fn part(store: &Store, record: &Record, digest: &Digest) -> anyhow::Result<Content> {
    let external = record.parts.iter().find(|part| part.digest == *digest).and_then(|part| part.external.as_ref());
    match external {
        Some(path) => Ok(Content::of(path)?),
        None => store.map(digest, &record.name),
    }
}

fn text(
    given: &Given,
    backbone: &str,
    norms: &[f64],
    neighbours: &[Vec<Neighbour>],
    piece: &dyn Fn(&Neighbour) -> String,
) -> String {
    let mut text = format!("{}: {} rows of {}\n", given.name, given.prompt.length(), given.prompt.width);
    for (key, value) in given.about.metadata().entries() {
        text += &format!("  {key}: {value}\n");
    }
    let mean = norms.iter().sum::<f64>() / norms.len() as f64;
    let (low, high) = norms.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), x| (low.min(*x), high.max(*x)));
    text += &format!("  lengths of rows: {low:.4} to {high:.4}, mean {mean:.4}\n");
    text += &format!("\nrow    length  nearest in the vocabulary of `{backbone}`, with cosines\n");
    for (row, (norm, near)) in norms.iter().zip(neighbours).enumerate() {
        let near: Vec<String> = near.iter().map(|near| format!("{} {:.3}", piece(near), near.cosine)).collect();
        text += &format!("{row:>3}  {norm:>8.4}  {}\n", near.join("  "));
    }
    text
}
