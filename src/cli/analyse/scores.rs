//! Scores of transfers as people have them: matrices with or without a baseline, and long tables.

use super::sheet::{Row, Sheet};
use super::wrong;
use crate::report::analysis::Brought;
use crate::report::evaluation::Evaluation;
use crate::report::prediction::Likeness;
use clap::ValueEnum;
use std::collections::BTreeMap;

/// The usual name of the row without transfer.
pub(super) const BASELINE: &str = "BASELINE";

/// The columns that a long table must have, and those that it may have.
const NEEDED: [&str; 3] = ["source", "target", "score"];
const POSSIBLE: [&str; 4] = ["seed", "source_seed", "validation", "similarity"];

/// What scores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scale {
    /// -100 to 100
    Percent,
    /// -1 to 1
    Fraction,
}

/// Scores in percent.
pub(super) struct Scores {
    factor: f64,
    /// In the order of the file.
    targets: Vec<String>,
    transfers: Vec<Evaluation>,
    baseline: Vec<Evaluation>,
    likeness: Vec<Likeness>,
    notes: Vec<String>,
}

/// A score as it stands in the file.
struct Cell {
    source: (String, String),
    target: String,
    seed: String,
    score: f64,
    validation: Option<f64>,
    similarity: Option<f64>,
}

impl Scores {
    /// Those of a matrix, or of a long table if its header has the names of one.
    ///
    /// # Errors
    /// If there is no score, a score is not a number on the scale, or a pair is there twice.
    pub(super) fn of(sheet: &Sheet, baseline: &str, scale: Option<Scale>) -> anyhow::Result<Self> {
        let is_long = NEEDED.iter().all(|name| sheet.column(name).is_some());
        let cells = if is_long { long(sheet)? } else { matrix(sheet)? };
        if cells.is_empty() {
            return Err(wrong(&sheet.path, "no score below the header"));
        }
        let factor = factor(sheet, &cells, scale)?;
        let mut found = Self {
            factor,
            targets: Vec::new(),
            transfers: Vec::new(),
            baseline: Vec::new(),
            likeness: Vec::new(),
            notes: Vec::new(),
        };
        let mut own = 0;
        for cell in cells {
            if !found.targets.contains(&cell.target) {
                found.targets.push(cell.target.clone());
            }
            if cell.source.0 == cell.target {
                own += 1;
                continue;
            }
            let is_baseline = cell.source.0 == baseline;
            found.likeness.extend(cell.similarity.map(|value| Likeness {
                source: cell.source.clone(),
                target: (cell.target.clone(), cell.seed.clone()),
                value,
            }));
            let e = Evaluation {
                task: cell.target,
                seed: cell.seed,
                source: if is_baseline { Default::default() } else { cell.source },
                score: factor * cell.score,
                validation: cell.validation.map(|score| factor * score),
                digest: sheet.digest.to_string(),
                ..Evaluation::default()
            };
            if is_baseline { &mut found.baseline } else { &mut found.transfers }.push(e);
        }
        if own > 0 {
            found.notes.push(format!("{own} scores of a task on itself are left out; a task is not its own source."));
        }
        found.check(sheet, baseline)?;
        found.notes.extend(found.small_columns());
        Ok(found)
    }

    fn check(&self, sheet: &Sheet, baseline: &str) -> anyhow::Result<()> {
        if self.transfers.is_empty() {
            return Err(wrong(&sheet.path, "no score of a source on another task; expected some beside the baseline"));
        }
        if self.baseline.is_empty() && baseline != BASELINE {
            return Err(wrong(&sheet.path, format!("no row `{baseline}`")));
        }
        let near = self.transfers.iter().map(|e| &e.source.0).find(|name| name.eq_ignore_ascii_case(BASELINE));
        if let Some(near) = near {
            let message = format!(
                "`{near}` may be the row without transfer, or a source of that name; say `--baseline {near}`, or give it another name"
            );
            return Err(wrong(&sheet.path, message));
        }
        let lacks =
            |e: &&Evaluation| !self.baseline.is_empty() && !self.baseline.iter().any(|base| base.task == e.task);
        if let Some(e) = self.transfers.iter().find(lacks) {
            let target = &e.task;
            return Err(wrong(
                &sheet.path,
                format!("`{baseline}` has no score of `{target}`; fill it in, or leave the row out"),
            ));
        }
        Ok(())
    }

    /// Targets of a table in percent whose scores look like fractions.
    fn small_columns(&self) -> Option<String> {
        let mut largest: BTreeMap<&str, f64> = BTreeMap::new();
        for e in self.transfers.iter().chain(&self.baseline) {
            let largest = largest.entry(&e.task).or_default();
            *largest = largest.max(e.score.abs());
        }
        let small = largest.into_iter().filter(|(_, largest)| *largest > 0.0 && *largest <= 1.0);
        let names: Vec<String> = small.map(|(target, _)| format!("`{target}`")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "All scores of {} are between -1 and 1; they are taken for percentages, as the others are.",
                names.join(", ")
            )
        })
    }

    /// The same for an analysis; every transfer took this many steps, if that is known.
    pub(super) fn brought(&self, source_steps: Option<u64>, target_steps: Option<u64>) -> Brought {
        let spent = |e: &Evaluation| Evaluation { steps: target_steps, source_steps, ..e.clone() };
        Brought {
            targets: self.targets.clone(),
            transfers: self.transfers.iter().map(spent).collect(),
            baseline: self.baseline.clone(),
            likeness: self.likeness.clone(),
            notes: self.notes.clone(),
            ..Brought::default()
        }
    }

    /// Deviations by source and target, those without transfer under the name of no source.
    ///
    /// # Errors
    /// If the matrix is malformed, or lacks the deviation of a pair that has a score.
    pub(super) fn deviations(&self, sheet: &Sheet, baseline: &str) -> anyhow::Result<BTreeMap<(String, String), f64>> {
        let mut deviations = BTreeMap::new();
        let wanted =
            self.baseline.iter().map(|e| (baseline, e)).chain(self.transfers.iter().map(|e| (e.source.0.as_str(), e)));
        let matrix = Matrix::of(sheet)?;
        for (source, e) in wanted {
            let deviation = matrix.number(source, &e.task, 0.0, 100.0 / self.factor)?;
            let deviation = deviation.ok_or_else(|| {
                wrong(&sheet.path, format!("no deviation of `{source}` on `{}`, which has a score", e.task))
            })?;
            deviations.insert((e.source.0.clone(), e.task.clone()), self.factor * deviation);
        }
        Ok(deviations)
    }

    /// Similarities of sources and targets; of a pair whose cell is empty none is known.
    ///
    /// # Errors
    /// If the matrix is malformed, or a similarity is not a number from -1 to 1.
    pub(super) fn likeness(&self, sheet: &Sheet) -> anyhow::Result<Vec<Likeness>> {
        let matrix = Matrix::of(sheet)?;
        let mut likeness: BTreeMap<(&str, &(String, String)), f64> = BTreeMap::new();
        for e in &self.transfers {
            if let Some(value) = matrix.number(&e.source.0, &e.task, -1.0, 1.0)? {
                likeness.insert((&e.task, &e.source), value);
            }
        }
        let alike = |((target, source), value): ((&str, &(String, String)), f64)| Likeness {
            source: source.clone(),
            target: (target.to_owned(), String::new()),
            value,
        };
        Ok(likeness.into_iter().map(alike).collect())
    }
}

/// A matrix by the names of its rows and columns.
struct Matrix<'s> {
    sheet: &'s Sheet,
    rows: BTreeMap<&'s str, &'s Row>,
}

impl<'s> Matrix<'s> {
    fn of(sheet: &'s Sheet) -> anyhow::Result<Self> {
        Ok(Self { sheet, rows: sheet.named()?.into_iter().collect() })
    }

    fn number(&self, row: &str, column: &str, low: f64, high: f64) -> anyhow::Result<Option<f64>> {
        let path = &self.sheet.path;
        let found = self.rows.get(row);
        let found = found.ok_or_else(|| wrong(path, format!("no row `{row}`, which is a row of the scores")))?;
        let at = self.sheet.header.iter().skip(1).position(|name| name == column);
        let at = at.ok_or_else(|| wrong(path, format!("no column `{column}`, which is a target of the scores")))?;
        self.sheet.number(found, at + 1, low, high)
    }
}

fn matrix(sheet: &Sheet) -> anyhow::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (name, row) in sheet.named()? {
        for (column, target) in sheet.header.iter().enumerate().skip(1) {
            let Some(score) = sheet.number(row, column, -100.0, 100.0)? else { continue };
            cells.push(Cell {
                source: (name.to_owned(), String::new()),
                target: target.clone(),
                seed: String::new(),
                score,
                validation: None,
                similarity: None,
            });
        }
    }
    Ok(cells)
}

fn long(sheet: &Sheet) -> anyhow::Result<Vec<Cell>> {
    let known = |name: &&String| NEEDED.contains(&name.as_str()) || POSSIBLE.contains(&name.as_str());
    if let Some(other) = sheet.header.iter().find(|name| !known(name)) {
        let message = format!(
            "has the columns of a long table ({}) and `{other}`; a long table may have {} besides, and targets \
             of a matrix must not have these names",
            NEEDED.join(", "),
            POSSIBLE.join(", ")
        );
        return Err(wrong(&sheet.path, message));
    }
    let place = |name: &str| sheet.column(name);
    let text = |row: &Row, name: &str| place(name).map_or_else(String::new, |at| row.cells[at].clone());
    let number = |row: &Row, name: &str, reach: f64| match place(name) {
        Some(at) => sheet.number(row, at, -reach, reach),
        None => Ok(None),
    };
    let mut cells = Vec::new();
    for row in &sheet.rows {
        for name in ["source", "target"] {
            if text(row, name).is_empty() {
                return Err(wrong(&sheet.path, format!("line {}, column `{name}`: empty, expected a name", row.line)));
            }
        }
        let Some(score) = number(row, "score", 100.0)? else { continue };
        cells.push(Cell {
            source: (text(row, "source"), text(row, "source_seed")),
            target: text(row, "target"),
            seed: text(row, "seed"),
            score,
            validation: number(row, "validation", 100.0)?,
            similarity: number(row, "similarity", 1.0)?,
        });
    }
    Ok(cells)
}

/// What scores are multiplied by to be percentages. Where all of them are between -1 and 1 they may be either, and are asked for.
fn factor(sheet: &Sheet, cells: &[Cell], scale: Option<Scale>) -> anyhow::Result<f64> {
    let largest = cells.iter().flat_map(|cell| [Some(cell.score), cell.validation]).flatten().map(f64::abs);
    let largest = largest.fold(0.0, f64::max);
    match scale {
        Some(Scale::Percent) => Ok(1.0),
        Some(Scale::Fraction) if largest <= 1.0 => Ok(100.0),
        Some(Scale::Fraction) => {
            Err(wrong(&sheet.path, format!("`--scale fraction`, but a score is {largest}; expected -1 to 1")))
        }
        None if largest > 1.0 => Ok(1.0),
        None => {
            let message = format!(
                "no score is above {largest} or below -{largest}: as fractions that is {} %, as percentages {largest} %; say \
                 `--scale fraction` or `--scale percent`",
                100.0 * largest
            );
            Err(wrong(&sheet.path, message))
        }
    }
}
