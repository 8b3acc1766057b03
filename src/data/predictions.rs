//! What a model said to every example of a split, as Parquet.

use super::scores::split;
use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;
use crate::ml::tasks::Split;

/// Answers to a split, example by example.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The published task, by which a leaderboard knows it, or the task's own name.
    pub task: String,
    /// The split that was answered.
    pub split: Split,
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
        let Self { task, split, ids, inputs, targets, answers } = self;
        let mut table = Table::new([
            ("id", Column::Text(ids)),
            ("input", Column::Text(inputs)),
            ("target", Column::Text(targets)),
            ("prediction", Column::Text(answers)),
        ]);
        table.metadata = Metadata::default().with("task", &task).with("split", &split.name().to_owned()).into();
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
            split: split(&mut said)?,
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
        let (task, split) = ("glue/rte".to_owned(), Split::Test);
        let predictions =
            Predictions { task, split, ids: text("0"), inputs: text("a"), targets: text("b"), answers: text("c") };
        let bytes = predictions.clone().into_parquet().unwrap();
        assert_eq!(Predictions::from_parquet(&bytes).unwrap(), predictions);
        let mut table = Table::from_parquet(&bytes).unwrap();
        table.metadata.remove("task");
        let error = Predictions::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "file metadata `task` is missing, expected a word");
    }
}
