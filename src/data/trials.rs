//! What a transfer tried and what it spent, as Parquet.

use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;

/// The tunings of a transfer. Steps are updates of a prompt, each where it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    /// A row for each source, or for each tuning from scratch.
    pub rows: Vec<Trial>,
    /// The target.
    pub task: String,
    /// The seed of the transfer.
    pub seed: u64,
    /// Target tunings.
    pub tunings: usize,
    /// Sources among which it chose; 0 where there was nothing to choose.
    pub candidates: usize,
    /// Steps of one target tuning, as a mean.
    pub tuning_steps: Option<f64>,
    /// Steps that were spent for this target, with those of its embedding if sources were ranked.
    pub target_steps: Option<u64>,
    /// Steps of the sources that had to be tuned.
    pub source_steps: Option<u64>,
    /// Steps of all candidates.
    pub library_steps: Option<u64>,
}

/// A source that was tried, or a tuning from scratch.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Task and seed of the source.
    pub source: Option<(String, u64)>,
    /// Its similarity to the target.
    pub similarity: Option<f64>,
    /// The seed of the tuning.
    pub seed: u64,
    /// The validation score of the tuning.
    pub validation: f64,
    /// Whether its prompt is the transfer's.
    pub chosen: bool,
}

impl Trials {
    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        let source = |trial: &Trial| trial.source.as_ref().map(|(task, _)| task.clone());
        let source_seed = |trial: &Trial| trial.source.as_ref().map(|(_, seed)| *seed);
        let mut table = Table::new([
            ("task", Column::Text(vec![self.task.clone(); self.rows.len()])),
            ("source", Column::OptText(self.rows.iter().map(source).collect())),
            ("source_seed", Column::OptUnsigned(self.rows.iter().map(source_seed).collect())),
            ("similarity", Column::OptFloat(self.rows.iter().map(|trial| trial.similarity).collect())),
            ("seed", Column::Unsigned(self.rows.iter().map(|trial| trial.seed).collect())),
            ("validation_score", Column::Float(self.rows.iter().map(|trial| trial.validation).collect())),
            ("chosen", Column::Bool(self.rows.iter().map(|trial| trial.chosen).collect())),
        ]);
        table.metadata = self.metadata().into();
        table.to_parquet()
    }

    fn metadata(&self) -> Metadata {
        let Self { rows: _, task, seed, tunings, candidates, tuning_steps, target_steps, source_steps, library_steps } =
            self;
        Metadata::default()
            .with("task", task)
            .with("seed", seed)
            .with("tunings", tunings)
            .with("candidates", candidates)
            .with_known("tuning_steps", tuning_steps.as_ref())
            .with_known("target_steps", target_steps.as_ref())
            .with_known("source_steps", source_steps.as_ref())
            .with_known("library_steps", library_steps.as_ref())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let mut said = Metadata::from(std::mem::take(&mut table.metadata));
        Ok(Self {
            rows: rows(&mut table)?,
            task: said.need("task")?,
            seed: said.need("seed")?,
            tunings: said.need("tunings")?,
            candidates: said.need("candidates")?,
            tuning_steps: said.take("tuning_steps")?,
            target_steps: said.take("target_steps")?,
            source_steps: said.take("source_steps")?,
            library_steps: said.take("library_steps")?,
        })
    }
}

fn rows(table: &mut Table) -> Result<Vec<Trial>, DataError> {
    let (tasks, source_seeds) = (table.take_opt_text("source")?, table.take_opt_unsigned("source_seed")?);
    let sources = tasks.into_iter().zip(source_seeds).enumerate().map(|(row, (task, seed))| source(row, task, seed));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let (similarities, seeds) = (table.take_opt_float("similarity")?, table.take_unsigned("seed")?);
    let (scores, chosen) = (table.take_float("validation_score")?, table.take_bool("chosen")?);
    let cells = sources.into_iter().zip(similarities).zip(seeds).zip(scores).zip(chosen);
    let trial =
        |((((source, similarity), seed), validation), chosen)| Trial { source, similarity, seed, validation, chosen };
    Ok(cells.map(trial).collect())
}

/// Task and seed of a source; nothing where both are missing.
fn source(row: usize, task: Option<String>, seed: Option<u64>) -> Result<Option<(String, u64)>, DataError> {
    let missing = |column: &str, expected: &str| {
        let (column, found) = (column.to_owned(), "missing".to_owned());
        Err(DataError::Cell { row, column, found, expected: expected.to_owned() })
    };
    match (task, seed) {
        (None, None) => Ok(None),
        (Some(task), Some(seed)) => Ok(Some((task, seed))),
        (None, Some(_)) => missing("source", "a task beside its seed"),
        (Some(_), None) => missing("source_seed", "a seed beside its task"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials() -> Trials {
        let trial = |source, similarity, validation, chosen| Trial { source, similarity, seed: 3, validation, chosen };
        let source = |task: &str| Some((task.to_owned(), 0));
        Trials {
            rows: vec![trial(source("w_sum"), Some(0.5), 50.0, false), trial(source("w_topic"), None, 75.0, true)],
            task: "w_mood".to_owned(),
            seed: 3,
            tunings: 2,
            candidates: 4,
            tuning_steps: Some(2.5),
            target_steps: Some(6),
            source_steps: Some(8),
            library_steps: None,
        }
    }

    #[test]
    fn trials_come_back_as_they_were() {
        let scratch = Trial { source: None, similarity: None, ..trials().rows[0].clone() };
        for trials in [trials(), Trials { rows: vec![scratch], ..trials() }] {
            assert_eq!(Trials::from_parquet(&trials.to_parquet().unwrap()).unwrap(), trials);
        }
    }

    #[test]
    fn what_is_missing_or_no_number_is_named() {
        let refused = |change: &dyn Fn(&mut Table)| {
            let mut table = Table::from_parquet(&trials().to_parquet().unwrap()).unwrap();
            change(&mut table);
            Trials::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string()
        };
        for key in ["seed", "tunings", "candidates"] {
            let missing = format!("file metadata `{key}` is missing, expected a whole number from 0");
            assert_eq!(refused(&|table| drop(table.metadata.remove(key))), missing);
        }
        for key in ["target_steps", "source_steps", "library_steps"] {
            let say = |table: &mut Table| drop(table.metadata.insert(key.to_owned(), "2.5".to_owned()));
            assert_eq!(refused(&say), format!("file metadata `{key}` is `2.5`, expected a whole number from 0"));
        }
        let column = |table: &mut Table| table.columns[2].1 = Column::OptUnsigned(vec![Some(0), None]);
        assert_eq!(refused(&column), "row 1, column `source_seed`: missing, expected a seed beside its task");
    }
}
