//! `spot prompt show`: shape, metadata and norms of a prompt, and the pieces of the vocabulary that its rows are like.

use super::given::{Given, Which};
use crate::cli::backbone::{Backbone, Backbones};
use crate::cli::{Format, JSON_VERSION, project};
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Digest;
use crate::error::{Exit, Usage};
use crate::ml::model::Precision;
use crate::ml::prompt::neighbours::{self, By, Neighbour};
use crate::stages::backbone::Model;
use crate::ui;
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `spot prompt show`.
#[derive(Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    which: Which,
    /// The model whose vocabulary is compared: a job, a folder in Hugging Face's layout, or a repository of the hub that is on
    /// this machine [default: the one that the prompt was tuned on if it is in the cache, or else the built-in nano]
    #[arg(long, value_name = "JOB|FOLDER", value_parser = project::name())]
    backbone: Option<String>,
    /// Pieces shown of each row
    #[arg(long, value_name = "N", default_value_t = 3)]
    nearest: usize,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Show {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such prompt or backbone, or the two differ in width.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let given = self.which.read()?;
        let Backbone { name, model, .. } = self.backbone(&given)?;
        let width = model.weights.dims.width;
        given.prompt.fits(width).map_err(|error| {
            Usage(format!("`{}` and the backbone `{name}`: {error}; name its own with `--backbone`", given.name))
        })?;
        let neighbours =
            neighbours::nearest(&model.weights, model.tokens.size(), &given.prompt, self.nearest, By::Cosine);
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
        let backbones = Backbones { store: &store, catalog: &catalog };
        let own = given.about.backbone.as_ref().and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(named) = &self.backbone {
            return backbones.named(named, own);
        }
        match own.map(|digest| backbones.of_digest(digest)).transpose()?.flatten() {
            Some(backbone) => Ok(backbone),
            None => Ok(Backbone { name: "nano".to_owned(), model: Model::nano(Precision::F32)?, digest: None }),
        }
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
