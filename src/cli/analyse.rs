//! `spot analyse`: what a matrix of transfer scores that someone already has says.

use crate::error::{Exit, Usage};
use crate::report::results::Spread;
use crate::report::transfer::{Findings, Scores, Source};
use crate::ui;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `spot analyse`.
#[derive(Args)]
pub(super) struct Analyse {
    /// CSV: the first column names sources, the others are targets; a row BASELINE; scores from 0 to 100
    matrix: PathBuf,
    /// CSV of the same sources and targets: the similarity of their prompts
    #[arg(long, value_name = "CSV")]
    similarity: Option<PathBuf>,
    /// Which form
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Text,
    Markdown,
    Json,
}

/// The row without transfer.
const BASELINE: &str = "BASELINE";

/// Names of columns, and names of rows with their numbers.
struct Sheet {
    columns: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
}

impl Analyse {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let scores = scores(&self.matrix)?;
        let similarities = self.similarity.as_deref().map(|path| similarities(path, &scores)).transpose()?;
        let findings = Findings::of(&scores, similarities.as_deref());
        ui::print(&match self.format {
            Form::Text => findings.to_text(&scores),
            Form::Markdown => findings.to_markdown(&scores),
            Form::Json => findings.to_json(),
        })?;
        Ok(Exit::Ok)
    }
}

fn scores(path: &Path) -> anyhow::Result<Scores> {
    let Sheet { columns: targets, mut rows } = Sheet::read(path, 0.0..=100.0)?;
    let at = rows.iter().position(|(name, _)| name == BASELINE);
    let at = at.ok_or_else(|| {
        wrong(path, format!("no row `{BASELINE}`; expected the scores without transfer under that name"))
    })?;
    let (_, baseline) = rows.remove(at);
    if rows.is_empty() {
        return Err(wrong(path, "no row of a source beside the baseline"));
    }
    let spreads = |row: Vec<f64>| row.into_iter().map(|score| Spread::of(&[score])).collect();
    let sources = rows.into_iter().map(|(name, row)| Source { name, scores: spreads(row) });
    Ok(Scores { targets, baseline: spreads(baseline), sources: sources.collect() })
}

/// In the order of the scores.
fn similarities(path: &Path, scores: &Scores) -> anyhow::Result<Vec<Vec<f64>>> {
    let sheet = Sheet::read(path, -1.0..=1.0)?;
    let column = |target: &String| {
        let at = sheet.columns.iter().position(|name| name == target);
        at.ok_or_else(|| wrong(path, format!("no column `{target}`, which is a target of the matrix")))
    };
    let columns = scores.targets.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let row = |source: &Source| {
        let source = &source.name;
        let row = sheet.rows.iter().find(|(name, _)| name == source);
        let (_, row) = row.ok_or_else(|| wrong(path, format!("no row `{source}`, which is a source of the matrix")))?;
        Ok(columns.iter().map(|column| row[*column]).collect())
    };
    scores.sources.iter().map(row).collect()
}

fn wrong(path: &Path, message: impl std::fmt::Display) -> anyhow::Error {
    Usage(format!("{}: {message}", path.display())).into()
}

impl Sheet {
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
            None => Ok(Self { columns, rows }),
        }
    }
}

fn repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
}
