//! `spot analyse`: what a matrix of transfer scores that someone already has says.

use super::output::Output;
use super::page::Joining;
use crate::engine::digest::Digest;
use crate::engine::provenance;
use crate::error::{Exit, Usage};
use crate::report::analysis::Analysis;
use crate::report::page::Record;
use crate::report::results::Spread;
use crate::report::transfer::{Findings, Scores, Source, to_parquet};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `spot analyse`.
#[derive(Args)]
pub(super) struct Analyse {
    /// CSV: the first column names sources, the others are targets; a row BASELINE; scores from 0 to 100
    matrix: PathBuf,
    /// CSV of the same sources and targets, BASELINE too: standard deviations of the scores
    #[arg(long, value_name = "CSV")]
    deviations: Option<PathBuf>,
    /// CSV of the same sources and targets: the similarity of their prompts
    #[arg(long, value_name = "CSV")]
    similarity: Option<PathBuf>,
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

/// The row without transfer.
const BASELINE: &str = "BASELINE";

/// Names of columns, and names of rows with their numbers.
struct Sheet {
    path: PathBuf,
    digest: Digest,
    columns: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
}

impl Analyse {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let matrix = Sheet::read(&self.matrix, 0.0..=100.0)?;
        let deviations = self.deviations.as_deref().map(|path| Sheet::read(path, 0.0..=100.0)).transpose()?;
        let similarity = self.similarity.as_deref().map(|path| Sheet::read(path, -1.0..=1.0)).transpose()?;
        let scores = scores(&matrix, deviations.as_ref())?;
        let sources: Vec<&str> = scores.sources.iter().map(|source| source.name.as_str()).collect();
        let similarities = similarity.as_ref().map(|sheet| sheet.select(&sources, &scores.targets)).transpose()?;
        let mut findings = Findings::of(&scores, similarities.as_deref());
        if deviations.is_some() {
            findings = findings.with_deviations(&scores);
        }
        match self.format {
            Form::Text => self.output.text(&findings.to_text(&scores))?,
            Form::Markdown => self.output.text(&findings.to_markdown(&scores))?,
            Form::Json => self.output.json(&findings.to_json())?,
            Form::Parquet => self.output.bytes(&to_parquet(&scores, similarities.as_deref())?, "Parquet")?,
            Form::Html => {
                let digest = similarity.as_ref().map(|sheet| sheet.digest.to_string()).unwrap_or_default();
                let sheets = [Some(&matrix), deviations.as_ref(), similarity.as_ref()];
                let analysis = Analysis {
                    name: &name(&self.matrix),
                    scores: &scores,
                    findings: &findings,
                    similarities: similarities.as_deref().map(|similarities| (similarities, digest.as_str())),
                    linkage: self.linkage.into(),
                    records: sheets.into_iter().flatten().map(Sheet::record).collect(),
                    program: provenance::program(),
                };
                self.output.text(&analysis.page()?.to_html())?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn scores(matrix: &Sheet, deviations: Option<&Sheet>) -> anyhow::Result<Scores> {
    let path = &matrix.path;
    let Some((_, baseline)) = matrix.rows.iter().find(|(name, _)| name == BASELINE) else {
        return Err(wrong(path, format!("no row `{BASELINE}`; expected the scores without transfer under that name")));
    };
    let sources: Vec<_> = matrix.rows.iter().filter(|(name, _)| name != BASELINE).collect();
    if sources.is_empty() {
        return Err(wrong(path, "no row of a source beside the baseline"));
    }
    let digests: Vec<String> =
        [Some(matrix), deviations].into_iter().flatten().map(|sheet| sheet.digest.to_string()).collect();
    let spreads = |name: &str, row: &[f64]| -> anyhow::Result<Vec<Spread>> {
        let deviations = deviations.map(|sheet| sheet.select(&[name], &matrix.columns)).transpose()?;
        let spread = |(at, score): (usize, &f64)| Spread {
            deviation: deviations.as_ref().map(|rows| rows[0][at]),
            ..Spread::of(&[*score]).from(digests.clone())
        };
        Ok(row.iter().enumerate().map(spread).collect())
    };
    let source = |(name, row): &&(String, Vec<f64>)| Ok(Source { name: name.clone(), scores: spreads(name, row)? });
    Ok(Scores {
        targets: matrix.columns.clone(),
        baseline: spreads(BASELINE, baseline)?,
        sources: sources.iter().map(source).collect::<anyhow::Result<_>>()?,
    })
}

/// What people call a file.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn wrong(path: &Path, message: impl std::fmt::Display) -> anyhow::Error {
    Usage(format!("{}: {message}", path.display())).into()
}

impl Sheet {
    /// These rows and columns, in this order; those of a matrix, all of which have to be there.
    fn select(&self, rows: &[&str], columns: &[String]) -> anyhow::Result<Vec<Vec<f64>>> {
        let place = |column: &String| {
            let at = self.columns.iter().position(|name| name == column);
            at.ok_or_else(|| wrong(&self.path, format!("no column `{column}`, which is a target of the matrix")))
        };
        let places = columns.iter().map(place).collect::<anyhow::Result<Vec<usize>>>()?;
        let row = |wanted: &&str| {
            let row = self.rows.iter().find(|(name, _)| name == wanted);
            let (_, row) =
                row.ok_or_else(|| wrong(&self.path, format!("no row `{wanted}`, which is a row of the matrix")))?;
            Ok(places.iter().map(|at| row[*at]).collect())
        };
        rows.iter().map(row).collect()
    }

    fn record(&self) -> Record {
        let shape = format!("{} rows, {} columns of numbers", self.rows.len(), self.columns.len());
        Record {
            digest: self.digest.to_string(),
            name: name(&self.path),
            kind: "CSV file".to_owned(),
            notes: vec![("holds".to_owned(), shape)],
            ..Record::default()
        }
    }

    fn read(path: &Path, range: std::ops::RangeInclusive<f64>) -> anyhow::Result<Self> {
        let text = fs_err::read(path).map_err(|error| Usage(error.to_string()))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_slice());
        let header = reader.headers().map_err(|error| wrong(path, error))?.clone();
        let columns: Vec<String> = header.iter().skip(1).map(str::to_owned).collect();
        if columns.is_empty() {
            return Err(wrong(path, "one column; expected the names of rows and then a column for each target"));
        }
        if let Some(name) = repeated(&columns) {
            return Err(wrong(path, format!("two columns `{name}`")));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| wrong(path, error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let name = record.get(0).unwrap_or_default().to_owned();
            let cells = record.iter().skip(1).zip(&columns).map(|(cell, column)| {
                let number = cell.parse::<f64>().ok().filter(|number| range.contains(number));
                number.ok_or_else(|| {
                    let (low, high) = (range.start(), range.end());
                    wrong(
                        path,
                        format!("line {line}, column `{column}`: `{cell}`, expected a number from {low} to {high}"),
                    )
                })
            });
            let cells = cells.collect::<Result<Vec<f64>, _>>()?;
            rows.push((name, cells));
        }
        let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        match repeated(&names) {
            Some(name) => Err(wrong(path, format!("two rows `{name}`"))),
            None => Ok(Self { path: path.to_owned(), digest: Digest::of(&text), columns, rows }),
        }
    }
}

fn repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
}
