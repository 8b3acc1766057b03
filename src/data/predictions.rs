//! What a model said to every example of a split, as Parquet.

use super::scores::split;
use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;
use crate::ml::tasks::Split;

/// Answers to a split, example by example.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The task, as its data set calls it.
    pub task: String,
    /// The published task, by which a leaderboard knows it, or the task's own name.
    pub published: String,
    /// The split that was answered.
    pub split: Split,
    /// Seed of the run, if it is of a single one.
    pub seed: Option<u64>,
    /// Ids of the examples.
    pub ids: Vec<String>,
    /// What the model read.
    pub inputs: Vec<String>,
    /// What it should have said.
    pub targets: Vec<String>,
    /// What it said.
    pub answers: Vec<String>,
}

impl Predictions {
    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    ///
    /// # Panics
    /// If there are not as many of one as of another.
    pub fn into_parquet(self) -> Result<Vec<u8>, DataError> {
        let Self { task, published, split, seed, ids, inputs, targets, answers } = self;
        let rows = ids.len();
        let mut table = Table::new([
            ("task", Column::Text(vec![task.clone(); rows])),
            ("split", Column::Text(vec![split.name().to_owned(); rows])),
            ("seed", Column::OptUnsigned(vec![seed; rows])),
            ("id", Column::Text(ids)),
            ("input", Column::Text(inputs)),
            ("target", Column::Text(targets)),
            ("prediction", Column::Text(answers)),
        ]);
        let said = Metadata::default().with("task", &task).with("published", &published);
        table.metadata = said.with("split", &split.name().to_owned()).with_known("seed", seed.as_ref()).into();
        table.to_parquet()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let mut said = Metadata::from(std::mem::take(&mut table.metadata));
        Ok(Self {
            task: said.need("task")?,
            published: said.need("published")?,
            split: split(&mut said)?,
            seed: said.take("seed")?,
            ids: table.take_text("id")?,
            inputs: table.take_text("input")?,
            targets: table.take_text("target")?,
            answers: table.take_text("prediction")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_come_back_as_they_were() {
        let text = |text: &str| vec![text.to_owned(), String::new()];
        let predictions = Predictions {
            task: "mine".to_owned(),
            published: "rte".to_owned(),
            split: Split::Test,
            seed: Some(u64::MAX),
            ids: text("0"),
            inputs: text("a"),
            targets: text("b"),
            answers: text("c"),
        };
        let bytes = predictions.clone().into_parquet().unwrap();
        assert_eq!(Predictions::from_parquet(&bytes).unwrap(), predictions);
        let mut table = Table::from_parquet(&bytes).unwrap();
        table.metadata.remove("task");
        let error = Predictions::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "file metadata `task` is missing, expected a word");
    }
}
