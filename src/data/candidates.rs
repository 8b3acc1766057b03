//! The candidates of a choice by validation score, as Parquet.

use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;

/// Prompts of one task, the chosen one first and the others in the order in which they would have been chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// The task that all of them are of.
    pub task: String,
    /// What they are compared by: the name of a metric, or `score`, the mean of the task's metrics.
    pub metric: String,
    /// The candidates; one at least.
    pub rows: Vec<Candidate>,
}

/// A prompt that may be chosen. What is said of it is what its file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Digest of its artifact.
    pub prompt: String,
    /// The seed of its tuning.
    pub seed: Option<u64>,
    /// The step at which it is as it is.
    pub step: Option<u64>,
    /// Updates of its tuning.
    pub steps: Option<u64>,
    /// Updates of the tunings that it began from.
    pub source_steps: Option<u64>,
    /// What it scores on the validation split.
    pub validation: f64,
}

/// The split on which candidates are compared, in the words of the files.
const SPLIT: &str = "validation";

impl Candidates {
    /// The chosen one; `None` of a value that no file gives.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.rows.first()
    }

    /// How many have the score of the chosen one, itself included.
    pub fn equals(&self) -> usize {
        let best = self.chosen().map(|chosen| chosen.validation);
        self.rows.iter().take_while(|row| Some(row.validation) == best).count()
    }

    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        let Self { task, metric, rows } = self;
        let count = rows.len();
        let numbers = |of: fn(&Candidate) -> Option<u64>| Column::OptUnsigned(rows.iter().map(of).collect());
        let mut table = Table::new([
            ("task", Column::Text(vec![task.clone(); count])),
            ("seed", numbers(|row| row.seed)),
            ("prompt", Column::Text(rows.iter().map(|row| row.prompt.clone()).collect())),
            ("step", numbers(|row| row.step)),
            ("steps", numbers(|row| row.steps)),
            ("source_steps", numbers(|row| row.source_steps)),
            ("metric", Column::Text(vec![metric.clone(); count])),
            ("validation_score", Column::Float(rows.iter().map(|row| row.validation).collect())),
            ("chosen", Column::Bool((0..count).map(|row| row == 0).collect())),
        ]);
        table.metadata =
            Metadata::default().with("task", task).with("metric", metric).with("split", &SPLIT.to_owned()).into();
        table.to_parquet()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing or is not a value of its kind, or if rows are not in the order of their scores.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let mut said = Metadata::from(std::mem::take(&mut table.metadata));
        let (prompts, seeds) = (table.take_text("prompt")?, table.take_opt_unsigned("seed")?);
        let (steps, all) = (table.take_opt_unsigned("step")?, table.take_opt_unsigned("steps")?);
        let (before, scores) = (table.take_opt_unsigned("source_steps")?, table.take_float("validation_score")?);
        let cells = prompts.into_iter().zip(seeds).zip(steps).zip(all).zip(before).zip(scores);
        let candidate = |(((((prompt, seed), step), steps), source_steps), validation)| Candidate {
            prompt,
            seed,
            step,
            steps,
            source_steps,
            validation,
        };
        let rows: Vec<Candidate> = cells.map(candidate).collect();
        check_order(&rows, &table.take_bool("chosen")?)?;
        Ok(Self { task: said.need("task")?, metric: said.need("metric")?, rows })
    }
}

/// The first row alone is chosen, and none below a row scores more.
fn check_order(rows: &[Candidate], chosen: &[bool]) -> Result<(), DataError> {
    let wrong = |row, column: &str, found: String, expected: &str| {
        Err(DataError::Cell { row, column: column.to_owned(), found, expected: expected.to_owned() })
    };
    if rows.is_empty() {
        return wrong(0, "chosen", "no row".to_owned(), "a chosen candidate in the first row");
    }
    let mut least = f64::INFINITY;
    for (row, (Candidate { validation, .. }, chosen)) in rows.iter().zip(chosen).enumerate() {
        if !validation.is_finite() || *validation > least {
            return wrong(row, "validation_score", validation.to_string(), "a number no larger than that above it");
        }
        least = *validation;
        if *chosen != (row == 0) {
            return wrong(row, "chosen", chosen.to_string(), "the first row to be chosen, and no other");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Candidates {
        let candidate = |prompt: &str, seed, validation| Candidate {
            prompt: prompt.to_owned(),
            seed,
            step: Some(5),
            steps: Some(20),
            source_steps: None,
            validation,
        };
        let rows =
            vec![candidate("ab", Some(u64::MAX), 75.0), candidate("cd", None, 75.0), candidate("ef", None, -1.5)];
        Candidates { task: "w_mood".to_owned(), metric: "f1".to_owned(), rows }
    }

    #[test]
    fn candidates_come_back_as_they_were() {
        let all = candidates();
        assert_eq!(Candidates::from_parquet(&all.to_parquet().unwrap()).unwrap(), all);
        assert_eq!((all.chosen().unwrap().prompt.as_str(), all.equals()), ("ab", 2));
    }

    #[test]
    fn a_table_that_chooses_another_than_its_best_is_refused() {
        let refused = |change: &dyn Fn(&mut Table)| {
            let mut table = Table::from_parquet(&candidates().to_parquet().unwrap()).unwrap();
            change(&mut table);
            Candidates::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string()
        };
        let scores = |table: &mut Table| table.columns[7].1 = Column::Float(vec![75.0, 76.0, 0.0]);
        let expected = "row 1, column `validation_score`: 76, expected a number no larger than that above it";
        assert_eq!(refused(&scores), expected);
        let odd = |table: &mut Table| table.columns[7].1 = Column::Float(vec![f64::NAN, 0.0, 0.0]);
        assert!(refused(&odd).starts_with("row 0, column `validation_score`: NaN"));
        let chosen = |table: &mut Table| table.columns[8].1 = Column::Bool(vec![false, true, false]);
        assert_eq!(
            refused(&chosen),
            "row 0, column `chosen`: false, expected the first row to be chosen, and no other"
        );
        let none = Candidates { rows: Vec::new(), ..candidates() };
        let error = Candidates::from_parquet(&none.to_parquet().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "row 0, column `chosen`: no row, expected a chosen candidate in the first row");
        assert_eq!(
            refused(&|table: &mut Table| drop(table.metadata.remove("metric"))),
            "file metadata `metric` is missing, expected a word"
        );
    }
}
