//! Source prompts by similarity to a target, as Parquet.

use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;
use std::collections::BTreeSet;

/// The sources of a target, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// The target's task.
    pub target: String,
    /// The seed of the target's own run, if its embedding is of a single one.
    pub seed: Option<u64>,
    /// Updates of the target's own runs whose embeddings were compared, if they say.
    pub embedding_steps: Option<u64>,
    /// The sources.
    pub sources: Vec<Ranked>,
}

/// A source of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Its task.
    pub task: String,
    /// The seed of its tuning.
    pub seed: u64,
    /// How similar it is to the target.
    pub similarity: f64,
}

impl Ranking {
    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        let Self { target, seed, embedding_steps, sources } = self;
        let mut table = Table::new([
            ("task", Column::Text(vec![target.clone(); sources.len()])),
            ("seed", Column::OptUnsigned(vec![*seed; sources.len()])),
            ("rank", Column::Int((1..=sources.len() as i64).collect())),
            ("source", Column::Text(sources.iter().map(|source| source.task.clone()).collect())),
            ("source_seed", Column::Unsigned(sources.iter().map(|source| source.seed).collect())),
            ("similarity", Column::Float(sources.iter().map(|source| source.similarity).collect())),
        ]);
        let said = Metadata::default().with("target", target).with_known("seed", seed.as_ref());
        table.metadata = said.with_known("embedding_steps", embedding_steps.as_ref()).into();
        table.to_parquet()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let mut said = Metadata::from(std::mem::take(&mut table.metadata));
        let (tasks, seeds) = (table.take_text("source")?, table.take_unsigned("source_seed")?);
        let sources = tasks.into_iter().zip(seeds).zip(table.take_float("similarity")?);
        let ranked = |((task, seed), similarity)| Ranked { task, seed, similarity };
        let sources: Vec<Ranked> = sources.map(ranked).collect();
        let mut seen = BTreeSet::new();
        for (row, source) in sources.iter().enumerate() {
            let wrong = |column: &str, found: String, expected: &str| {
                Err(DataError::Cell { row, column: column.to_owned(), found, expected: expected.to_owned() })
            };
            if !source.similarity.is_finite() {
                return wrong("similarity", source.similarity.to_string(), "a finite number");
            }
            if !seen.insert((&source.task, source.seed)) {
                return wrong(
                    "source",
                    format!("`{}` with seed {} again", source.task, source.seed),
                    "every source once",
                );
            }
        }
        let (target, seed) = (said.need("target")?, said.take("seed")?);
        Ok(Self { target, seed, embedding_steps: said.take("embedding_steps")?, sources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking() -> Ranking {
        let ranked = |task: &str, seed, similarity| Ranked { task: task.to_owned(), seed, similarity };
        let sources = vec![ranked("w_sum", u64::MAX, 0.75), ranked("w_topic", 0, -0.25)];
        Ranking { target: "w_mood".to_owned(), seed: Some(4), embedding_steps: Some(3), sources }
    }

    #[test]
    fn rankings_come_back_as_they_were() {
        for ranking in [ranking(), Ranking { embedding_steps: None, seed: None, ..ranking() }] {
            assert_eq!(Ranking::from_parquet(&ranking.to_parquet().unwrap()).unwrap(), ranking);
        }
    }

    #[test]
    fn what_is_no_number_is_named() {
        let refused = |change: fn(&mut Table)| {
            let mut table = Table::from_parquet(&ranking().to_parquet().unwrap()).unwrap();
            change(&mut table);
            Ranking::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string()
        };
        let seed: fn(&mut Table) = |table| table.columns[4].1 = Column::Text(vec!["0".to_owned(), "x".to_owned()]);
        assert_eq!(refused(seed), "column `source_seed` is text, expected whole numbers from 0");
        let gap: fn(&mut Table) = |table| table.columns[4].1 = Column::OptUnsigned(vec![Some(0), None]);
        assert_eq!(refused(gap), "row 1, column `source_seed`: missing, expected a value in every row");
        let steps: fn(&mut Table) = |table| drop(table.metadata.insert("embedding_steps".into(), "many".into()));
        assert_eq!(refused(steps), "file metadata `embedding_steps` is `many`, expected a whole number from 0");
        let target: fn(&mut Table) = |table| drop(table.metadata.remove("target"));
        assert_eq!(refused(target), "file metadata `target` is missing, expected a word");
    }
}
