//! `spot analyse`: what transfer scores that someone already has say.

mod scores;
mod sheet;

use super::output::Output;
use super::page::Joining;
use super::rank::{self, Metric};
use crate::engine::store::digest::Digest;
use crate::engine::store::provenance;
use crate::error::{Exit, Usage};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::similarity::Similarity;
use crate::report::analysis::{Analysis, Brought};
use crate::report::page::Record;
use crate::report::prediction::Likeness;
use clap::{Args, ValueEnum};
use scores::{Scale, Scores};
use sheet::Sheet;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Arguments of `spot analyse`.
#[derive(Args)]
pub(super) struct Analyse {
    /// CSV of scores: a matrix, whose first column names sources and whose others are targets, with or without a row BASELINE of
    /// the scores without transfer; or a long table with the columns source, target, score, and any of seed, source_seed,
    /// validation, similarity. Empty cells were not tried
    matrix: PathBuf,
    /// Name of the row without transfer
    #[arg(long, value_name = "NAME", default_value = scores::BASELINE)]
    baseline: String,
    /// What scores and deviations are; needed where all scores are between -1 and 1
    #[arg(long, value_enum)]
    scale: Option<Scale>,
    /// CSV of the same sources and targets: standard deviations of the scores over runs
    #[arg(long, value_name = "CSV")]
    deviations: Option<PathBuf>,
    /// Runs behind each score and deviation, from which the reliability of the scores follows
    #[arg(long, value_name = "N", requires = "deviations", value_parser = clap::value_parser!(u32).range(2..))]
    runs: Option<u32>,
    /// CSV of the same sources and targets: the similarity of their prompts
    #[arg(long, value_name = "CSV")]
    similarity: Option<PathBuf>,
    /// Folder of the prompts of sources and targets, named as these are, from which similarities are computed
    #[arg(long, value_name = "FOLDER", conflicts_with = "similarity")]
    prompts: Option<PathBuf>,
    /// Cosine of the mean rows, or mean cosine over all pairs of rows
    #[arg(long, value_enum, default_value = "average-tokens", requires = "prompts")]
    metric: Metric,
    /// Steps of tuning a source prompt; with --target-steps, costs are shown
    #[arg(long, value_name = "N", requires = "target_steps")]
    source_steps: Option<u64>,
    /// Steps of tuning a target
    #[arg(long, value_name = "N", requires = "source_steps")]
    target_steps: Option<u64>,
    /// Steps of the run behind a target's embedding
    #[arg(long, value_name = "N", requires = "target_steps")]
    embedding_steps: Option<u64>,
    /// How similar tasks are clustered in the page
    #[arg(long, value_enum, default_value = "average")]
    linkage: Joining,
    /// Which form; `html` is a page with figures
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Text,
    Markdown,
    Json,
    Html,
    Parquet,
}

impl Analyse {
    /// Runs the command.
    ///
    /// # Errors
    /// If a table cannot be read or contradicts itself, or the output cannot be written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let mut records = Vec::new();
        let brought = self.brought(&mut records)?;
        let analysis = Analysis::of(&brought).map_err(|twice| wrong(&self.matrix, format!("has {twice}")))?;
        match self.format {
            Form::Text => self.output.text(&analysis.to_text())?,
            Form::Markdown => self.output.text(&analysis.to_markdown())?,
            Form::Json => self.output.json(&analysis.to_json())?,
            Form::Parquet => self.output.bytes(&analysis.to_parquet()?, "Parquet")?,
            Form::Html => {
                let page = analysis.page(&name(&self.matrix), self.linkage.into(), records, &provenance::program())?;
                self.output.text(&page.to_html())?;
            }
        }
        Ok(Exit::Ok)
    }

    /// Everything that was named, read; the files go into `records`.
    fn brought(&self, records: &mut Vec<Record>) -> anyhow::Result<Brought> {
        let sheet = Sheet::read(&self.matrix)?;
        records.push(sheet.record());
        let scores = Scores::of(&sheet, &self.baseline, self.scale)?;
        let mut brought = scores.brought(self.source_steps, self.target_steps);
        brought.embedding_steps = self.target_steps.map(|_| self.embedding_steps.unwrap_or(0));
        if let Some(path) = &self.deviations {
            let sheet = Sheet::read(path)?;
            records.push(sheet.record());
            brought.deviations = scores.deviations(&sheet, &self.baseline)?;
            brought.runs = self.runs.map(|runs| runs as usize);
            if self.runs.is_none() {
                let note = "The number of runs behind the deviations is not known; `--runs N` tells how reliable the scores are.";
                brought.notes.push(note.to_owned());
            }
        }
        if !brought.likeness.is_empty() {
            self.refuse_other_similarities()?;
            brought.similarity = Some((None, sheet.digest.to_string()));
        }
        if let Some(path) = &self.similarity {
            let sheet = Sheet::read(path)?;
            records.push(sheet.record());
            brought.likeness = scores.likeness(&sheet)?;
            brought.similarity = Some((None, sheet.digest.to_string()));
        }
        if let Some(folder) = &self.prompts {
            self.compare(folder, &mut brought, records)?;
        }
        Ok(brought)
    }

    fn refuse_other_similarities(&self) -> anyhow::Result<()> {
        let other = [("--similarity", self.similarity.is_some()), ("--prompts", self.prompts.is_some())];
        match other.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(wrong(
                &self.matrix,
                format!("has a column `similarity`, and so has `{flag}`; leave out one of them"),
            )),
            None => Ok(()),
        }
    }

    /// Similarities of the prompts in a folder.
    fn compare(&self, folder: &Path, brought: &mut Brought, records: &mut Vec<Record>) -> anyhow::Result<()> {
        let prompts: BTreeMap<String, Prompt> =
            rank::prompts(folder)?.into_iter().map(|known| (known.name, known.prompt)).collect();
        let metric = Similarity::from(self.metric);
        let find = |name: &String| {
            prompts.get(name).ok_or_else(|| {
                let known = prompts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                wrong(folder, format!("no prompt `{name}`, which is in {}; there are {known}", self.matrix.display()))
            })
        };
        let targets: BTreeSet<&String> = brought.transfers.iter().map(|e| &e.task).collect();
        let sources: BTreeSet<&String> = brought.transfers.iter().map(|e| &e.source.0).collect();
        let prompts_of =
            |e: &BTreeSet<&String>| e.iter().map(|name| find(name)).collect::<anyhow::Result<Vec<&Prompt>>>();
        let matrix = metric.matrix(&prompts_of(&targets)?, &prompts_of(&sources)?);
        let matrix = matrix.map_err(|error| wrong(folder, error))?;
        let seeds: BTreeSet<&(String, String)> = brought.transfers.iter().map(|e| &e.source).collect();
        let mut likeness = Vec::new();
        for (target, row) in targets.iter().zip(&matrix) {
            for (source, value) in sources.iter().zip(row) {
                let of_task = seeds.iter().filter(|(task, _)| task == *source);
                likeness.extend(of_task.map(|prompt| Likeness {
                    source: (*prompt).clone(),
                    target: ((*target).clone(), String::new()),
                    value: *value,
                }));
            }
        }
        let digest = Digest::of(format!("{matrix:?}").as_bytes()).to_string();
        records.push(Record {
            digest: digest.clone(),
            name: name(folder),
            kind: "folder of prompts".to_owned(),
            notes: vec![("compared by".to_owned(), serde_json::to_string(&metric)?)],
            ..Record::default()
        });
        brought.likeness = likeness;
        brought.similarity = Some((Some(metric), digest));
        Ok(())
    }
}

/// What people call a file.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn wrong(path: &Path, message: impl std::fmt::Display) -> anyhow::Error {
    Usage(format!("{}: {message}", path.display())).into()
}
