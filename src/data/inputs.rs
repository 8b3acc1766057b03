//! What the examples of a data set say, as digests: a small table by which the same text is found in another data set.

use super::spill::Sorter;
use super::table::{GROUP, TableWriter};
use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;
use crate::ml::tasks::Split;
use std::io::Write;

/// Digests of the inputs of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The task.
    pub task: String,
    /// Of each split those of its examples, sorted; equal ones stand as often as they are there.
    splits: Vec<(Split, Vec<u64>)>,
}

impl Inputs {
    /// Writes the file of digests that may be too many for memory: of a task called `task`, of each split those that were sorted.
    ///
    /// # Errors
    /// If Parquet refuses, or something cannot be read or written.
    pub fn write<W: Write + Send>(task: &str, splits: &[(Split, Sorter<1>)], to: W) -> Result<W, DataError> {
        let mut writer = TableWriter::new(to, &Self { task: task.to_owned(), splits: Vec::new() }.table())?;
        let all = splits.iter().flat_map(|(split, digests)| digests.sorted().map(move |digest| Ok((*split, digest?))));
        let mut group: Vec<(Split, Vec<u64>)> = Vec::new();
        let mut count = 0;
        for digest in all {
            let (split, [digest]): (Split, [u64; 1]) =
                digest.map_err(|error: std::io::Error| DataError::from(error))?;
            match group.last_mut().filter(|(known, _)| *known == split) {
                Some((_, digests)) => digests.push(digest),
                None => group.push((split, vec![digest])),
            }
            count += 1;
            if count == GROUP {
                writer.write(&Self { task: task.to_owned(), splits: std::mem::take(&mut group) }.table())?;
                count = 0;
            }
        }
        if count > 0 {
            writer.write(&Self { task: task.to_owned(), splits: group }.table())?;
        }
        writer.finish()
    }

    /// The digests of a split, sorted; none if there is no such split.
    pub fn digests(&self, split: Split) -> &[u64] {
        self.splits.iter().find(|(known, _)| *known == split).map_or(&[], |(_, digests)| digests)
    }

    /// How many examples of a split have an input that is among the training inputs of another data set.
    pub fn shared(&self, split: Split, other: &Self) -> usize {
        let known = other.digests(Split::Train);
        self.digests(split).iter().filter(|digest| known.binary_search(digest).is_ok()).count()
    }

    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        self.table().to_parquet()
    }

    fn table(&self) -> Table {
        let of_split = |(split, digests): &(Split, Vec<u64>)| vec![split.name().to_owned(); digests.len()];
        let digests: Vec<u64> = self.splits.iter().flat_map(|(_, digests)| digests.iter().copied()).collect();
        let mut table = Table::new([
            ("task", Column::Text(vec![self.task.clone(); digests.len()])),
            ("split", Column::Text(self.splits.iter().flat_map(of_split).collect())),
            ("digest", Column::Unsigned(digests)),
        ]);
        table.metadata = Metadata::default().with("task", &self.task).into();
        table
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let task = Metadata::from(std::mem::take(&mut table.metadata)).need("task")?;
        let mut splits: Vec<(Split, Vec<u64>)> = Vec::new();
        let rows = table.take_text("split")?.into_iter().zip(table.take_unsigned("digest")?);
        for (row, (name, digest)) in rows.enumerate() {
            let split = Split::named(&name).ok_or_else(|| DataError::Cell {
                row,
                column: "split".to_owned(),
                found: format!("`{}`", name.escape_debug()),
                expected: "`train`, `validation` or `test`".to_owned(),
            })?;
            match splits.iter_mut().find(|(known, _)| *known == split) {
                Some((_, digests)) => digests.push(digest),
                None => splits.push((split, vec![digest])),
            }
        }
        splits.iter_mut().for_each(|(_, digests)| digests.sort_unstable());
        Ok(Self { task, splits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Part};
    use crate::ml::tasks::{Answer, Content, Example, Spacing, Task};

    impl Inputs {
        /// Of a data set in memory: what [`write`](Self::write) must be.
        fn of(dataset: &Dataset) -> Self {
            let content = Content::of(&dataset.template);
            let splits = dataset.parts.iter().map(|part| {
                let mut digests: Vec<u64> =
                    part.examples.iter().map(|example| content.digest(&example.input)).collect();
                digests.sort_unstable();
                (part.split, digests)
            });
            Self { task: dataset.task.name.clone(), splits: splits.collect() }
        }
    }

    fn inputs(task: &str, template: &str, parts: &[(Split, &[&str])]) -> Inputs {
        let task = Task {
            name: task.to_owned(),
            format: None,
            labels: Vec::new(),
            answer: Answer::Text,
            metrics: Vec::new(),
            around: None,
            spacing: Spacing::default(),
        };
        let example = |input: &&str| Example {
            id: String::new(),
            input: (*input).to_owned(),
            target: String::new(),
            label: None,
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        };
        let part = |(split, inputs): &(Split, &[&str])| Part {
            split: *split,
            examples: inputs.iter().map(example).collect(),
            tokens: Vec::new(),
        };
        let parts = parts.iter().map(part).collect();
        Inputs::of(&Dataset { task, template: template.to_owned(), tokenizer: None, parts })
    }

    #[test]
    fn examples_whose_text_a_source_has_seen_are_counted() {
        let source =
            inputs("a", "a s: {s}", &[(Split::Train, &["a s: One.", "a s: two"]), (Split::Test, &["a s: three"])]);
        let parts: &[(Split, &[&str])] =
            &[(Split::Train, &["b one."]), (Split::Test, &["b one.", "b ONE.", "b three"])];
        let target = inputs("b", "b {t}", parts);
        assert_eq!((target.shared(Split::Test, &source), target.shared(Split::Validation, &source)), (2, 0));
        for inputs in [source, target] {
            assert_eq!(Inputs::from_parquet(&inputs.to_parquet().unwrap()).unwrap(), inputs);
        }
    }

    #[test]
    fn digests_from_files_are_written_as_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = crate::ml::random::Stream::new(5, "digests");
        for count in [0, 1, GROUP, 2 * GROUP + 5] {
            let splits = [(Split::Train, count), (Split::Test, 0), (Split::Validation, count / 3)];
            let (mut sorted, mut held) = (Vec::new(), Vec::new());
            for (split, count) in splits {
                let mut digests: Vec<u64> = (0..count).map(|_| stream.bits()).collect();
                let mut sorter = Sorter::new(folder.path());
                digests.iter().for_each(|digest| sorter.push([*digest]).unwrap());
                sorter.close().unwrap();
                sorted.push((split, sorter));
                digests.sort_unstable();
                held.push((split, digests));
            }
            let expected = Inputs { task: "t".to_owned(), splits: held }.to_parquet().unwrap();
            assert!(Inputs::write("t", &sorted, Vec::new()).unwrap() == expected, "{count}");
        }
    }
}
