//! Data sets of which only what is asked for comes into memory: examples of one split, or the ids of one, which go to a file in which
//! each is found by its number.

use super::DataError;
use super::dataset::{Dataset, Part, Tokenized, entry, no_split, rows, splits_of, task};
use super::spill::{Sorter, nameless};
use super::table::{Table, TableFile};
use crate::ml::tasks::{Split, Task};
use crate::ml::train::examples::{Fetched, Pool};
use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Examples of a split that are held in memory: of about a kilobyte each.
const HELD: usize = 1_000_000;

/// A data set in its file.
pub struct DatasetFile {
    table: TableFile,
    /// What the examples are for.
    pub task: Task,
    template: String,
    /// Digest of the tokenizer that made the ids; `None` if there are none.
    pub tokenizer: Option<String>,
    splits: Vec<Split>,
    /// How many examples of each split each row group has.
    counts: Vec<Vec<usize>>,
}

impl DatasetFile {
    /// A data set of which the metadata and the column of splits are read.
    ///
    /// # Errors
    /// If it is not Parquet, or its metadata or a split is not one that a data set can have.
    pub fn open(file: fs_err::File) -> Result<Self, DataError> {
        let table = TableFile::open(file)?;
        let mut head = table.head();
        let task = task(&mut head)?;
        let template = entry(&mut head, "template", "a text")?;
        let words = entry(&mut head, "splits", "names of splits")?;
        let tokenizer = entry(&mut head, "tokenizer", "a digest").ok();
        let splits = splits_of(&words)?;
        let mut counts = Vec::new();
        for group in 0..table.groups() {
            let mut of_group = vec![0; splits.len()];
            table.each(group, &|name| name == "split", &mut |mut table, first| {
                for (row, word) in table.take_text("split")?.iter().enumerate() {
                    let at = Split::named(word).and_then(|split| splits.iter().position(|known| *known == split));
                    of_group[at.ok_or_else(|| no_split(first + row, word, &words))?] += 1;
                }
                Ok(())
            })?;
            counts.push(of_group);
        }
        Ok(Self { table, task, template, tokenizer, splits, counts })
    }

    /// Number of examples of a split.
    pub fn count(&self, split: Split) -> usize {
        let Some(at) = self.place(split) else { return 0 };
        self.counts.iter().map(|of_group| of_group[at]).sum()
    }

    fn place(&self, split: Split) -> Option<usize> {
        self.splits.iter().position(|known| *known == split)
    }

    /// The data set with the examples of some splits; it does not name the others.
    ///
    /// # Errors
    /// If the file is damaged, a row is not one that the task can have, or a split has more than a million examples.
    pub fn read(&self, splits: &[Split]) -> Result<Dataset, DataError> {
        self.read_at_most(splits, HELD)
    }

    fn read_at_most(&self, splits: &[Split], limit: usize) -> Result<Dataset, DataError> {
        let wanted: Vec<Split> = self.splits.iter().copied().filter(|split| splits.contains(split)).collect();
        if let Some(split) = wanted.iter().find(|split| self.count(**split) > limit) {
            return Err(DataError::Many { split: split.name(), rows: self.count(*split), limit });
        }
        let part = |split: &Split| Part { split: *split, examples: Vec::new(), tokens: Vec::new() };
        let mut parts: Vec<Part> = wanted.iter().map(part).collect();
        let has_ids = self.tokenizer.is_some();
        self.each(&wanted, &|_| true, &mut |mut table, first| {
            let ids = if has_ids { Some((table.take_ids("input_ids")?, table.take_ids("target_ids")?)) } else { None };
            let rows = rows(&mut table, &self.task).map_err(|error| behind(error, first))?;
            let mut ids = ids.map(|(inputs, targets)| inputs.into_iter().zip(targets));
            for (word, example) in rows {
                let ids = ids.as_mut().and_then(Iterator::next);
                let Some(part) = parts.iter_mut().find(|part| part.split.name() == word) else { continue };
                part.examples.push(example);
                part.tokens.extend(ids.map(|(input, target)| Tokenized { input, target }));
            }
            Ok(())
        })?;
        let (task, template, tokenizer) = (self.task.clone(), self.template.clone(), self.tokenizer.clone());
        Ok(Dataset { task, template, tokenizer, parts })
    }

    /// Ids of the examples of a split, in a file in `folder` that nobody else sees.
    ///
    /// # Errors
    /// If the file is damaged or has no ids, or the other one cannot be written.
    pub fn ids(&self, split: Split, folder: &Path) -> Result<IdFile, DataError> {
        let mut ids = IdFile::new(folder)?;
        let wanted = |name: &str| ["split", "input_ids", "target_ids"].contains(&name);
        self.each(&[split], &wanted, &mut |mut table, _| {
            let pairs = table.take_ids("input_ids")?.into_iter().zip(table.take_ids("target_ids")?);
            for (word, (input, target)) in table.take_text("split")?.iter().zip(pairs) {
                if word == split.name() {
                    ids.push(&input, &target)?;
                }
            }
            Ok(())
        })?;
        ids.close()?;
        Ok(ids)
    }

    /// The same with the examples of one split and, if their answers are hidden, one of every other split: that with the longest answer
    /// among those that are known.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_to_answer(&self, split: Split) -> Result<Dataset, DataError> {
        let mut dataset = self.read(&[split])?;
        if dataset.has_answers(split) {
            return Ok(dataset);
        }
        let others: Vec<Split> = self.splits.iter().copied().filter(|other| *other != split).collect();
        let mut longest: Vec<Part> = Vec::new();
        self.each(&others, &|_| true, &mut |mut table, first| {
            let mut targets = table.take_ids("target_ids")?.into_iter();
            for (word, example) in rows(&mut table, &self.task).map_err(|error| behind(error, first))? {
                let target = targets.next().unwrap_or_default();
                let Some(split) = Split::named(&word).filter(|split| others.contains(split)) else { continue };
                if !self.task.knows(&example) {
                    continue;
                }
                let part = match longest.iter_mut().find(|part| part.split == split) {
                    Some(part) if part.tokens[0].target.len() >= target.len() => continue,
                    Some(part) => part,
                    None => {
                        longest.push(Part { split, examples: Vec::new(), tokens: Vec::new() });
                        longest.last_mut().expect("pushed just above")
                    }
                };
                part.examples = vec![example];
                part.tokens = vec![Tokenized { input: Vec::new(), target }];
            }
            Ok(())
        })?;
        dataset.parts.extend(longest);
        Ok(dataset)
    }

    /// Inputs and targets of some examples of a split, by their numbers and in the order of these.
    ///
    /// # Errors
    /// If the file is damaged.
    ///
    /// # Panics
    /// If a number is that of none.
    pub fn texts(&self, split: Split, wanted: &[usize]) -> Result<Vec<(String, String)>, DataError> {
        let (mut found, mut at) = (vec![None; wanted.len()], 0);
        self.each_text(split, &mut |input, target| {
            for (_, place) in wanted.iter().zip(&mut found).filter(|(wanted, _)| **wanted == at) {
                *place = Some((input.clone(), target.clone()));
            }
            at += 1;
        })?;
        Ok(found.into_iter().map(|text| text.expect("the number of an example")).collect())
    }

    /// The most common target of a split, of several the last by name; `None` if it has no examples. `folder` takes what does not fit
    /// into memory.
    ///
    /// # Errors
    /// If the file is damaged, or the folder cannot be written.
    pub fn most_common_target(&self, split: Split, folder: &Path) -> Result<Option<String>, DataError> {
        let digest = |target: &str| {
            let hash = blake3::hash(target.as_bytes());
            let (numbers, _) = hash.as_bytes().as_chunks::<8>();
            [u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1])]
        };
        let (mut sorter, mut written) = (Sorter::<2>::new(folder), Ok(()));
        self.each_text(split, &mut |_, target| {
            if written.is_ok() {
                written = sorter.push(digest(target));
            }
        })?;
        written?;
        sorter.close()?;
        let (mut most, mut of_most) = (0, HashSet::new());
        let (mut last, mut count) = (None, 0);
        for record in sorter.sorted() {
            let record = record?;
            count = if last == Some(record) { count + 1 } else { 1 };
            last = Some(record);
            if count > most {
                (most, of_most) = (count, HashSet::new());
            }
            // Where nothing is there twice, all are most common.
            if count == most && most > 1 {
                of_most.insert(record);
            }
        }
        let mut answer: Option<String> = None;
        self.each_text(split, &mut |_, target| {
            let is_later = answer.as_ref().is_none_or(|answer| answer < target);
            if is_later && (most == 1 || of_most.contains(&digest(target))) {
                answer = Some(target.clone());
            }
        })?;
        Ok(answer)
    }

    /// Inputs and targets of a split, one after the other.
    fn each_text(&self, split: Split, take: &mut dyn FnMut(&String, &String)) -> Result<(), DataError> {
        let wanted = |name: &str| ["split", "input", "target"].contains(&name);
        self.each(&[split], &wanted, &mut |mut table, _| {
            let (inputs, targets) = (table.take_text("input")?, table.take_text("target")?);
            let rows = table.take_text("split")?.into_iter().zip(inputs.iter().zip(&targets));
            rows.filter(|(word, _)| word == split.name()).for_each(|(_, (input, target))| take(input, target));
            Ok(())
        })
    }

    /// Some columns of the row groups that have examples of some splits, some rows at a time.
    fn each(
        &self,
        splits: &[Split],
        wanted: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(Table, usize) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let places: Vec<usize> = splits.iter().filter_map(|split| self.place(*split)).collect();
        let is_wanted = |group: &usize| places.iter().any(|at| self.counts[*group][*at] > 0);
        (0..self.table.groups()).filter(is_wanted).try_for_each(|group| self.table.each(group, wanted, take))
    }
}

/// An error of a row among others, of which the first has this number.
fn behind(error: DataError, first: usize) -> DataError {
    match error {
        DataError::Cell { row, column, found, expected } => {
            DataError::Cell { row: first + row, column, found, expected }
        }
        other => other,
    }
}

/// Rows between those whose places are in memory.
const STEP: usize = 32;

/// Bytes that are written at a time.
const PIECE: usize = 1 << 20;

/// Ids of examples in a file, each found by its number. In memory are a little more than four bytes of each.
pub struct IdFile {
    file: fs_err::File,
    /// Where every [`STEP`]th begins, in words of four bytes.
    places: Vec<u64>,
    /// Words of each.
    sizes: Vec<u32>,
    end: u64,
    open: Vec<u8>,
    /// The largest id.
    largest: Option<u32>,
}

impl IdFile {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = nameless(folder)?;
        Ok(Self { file, places: Vec::new(), sizes: Vec::new(), end: 0, open: Vec::new(), largest: None })
    }

    fn push(&mut self, input: &[u32], target: &[u32]) -> io::Result<()> {
        let size = u32::try_from(1 + input.len() + target.len()).map_err(io::Error::other)?;
        if self.sizes.len().is_multiple_of(STEP) {
            self.places.push(self.end);
        }
        self.sizes.push(size);
        self.end += u64::from(size);
        self.open.extend((input.len() as u32).to_le_bytes());
        for id in input.iter().chain(target) {
            self.open.extend(id.to_le_bytes());
            self.largest = self.largest.max(Some(*id));
        }
        if self.open.len() >= PIECE { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.open)?;
        self.open.clear();
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.write()?;
        self.open = Vec::new();
        Ok(())
    }

    /// The largest id; a model must have a row for it.
    pub fn largest_id(&self) -> Option<u32> {
        self.largest
    }

    /// The first of the words of an example, and how many there are.
    fn place(&self, at: usize) -> (u64, usize) {
        let before = at / STEP * STEP;
        let between = self.sizes[before..at].iter().map(|size| u64::from(*size)).sum::<u64>();
        (self.places[at / STEP] + between, self.sizes[at] as usize)
    }

    fn words(&self, start: u64, count: usize) -> io::Result<Vec<u32>> {
        let mut bytes = vec![0; 4 * count];
        self.file.file().read_exact_at(&mut bytes, 4 * start)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }
}

impl Pool for IdFile {
    fn count(&self) -> usize {
        self.sizes.len()
    }

    fn fetch(&self, at: usize) -> io::Result<Fetched> {
        let (start, size) = self.place(at);
        let mut words = self.words(start, size)?;
        let target = words.split_off(1 + words[0] as usize);
        words.remove(0);
        Ok((words, target))
    }

    fn input_length(&self, at: usize) -> io::Result<usize> {
        Ok(self.words(self.place(at).0, 1)?[0] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{read_dataset, write_dataset};
    use crate::ml::random::Stream;
    use crate::ml::tasks::{self, Example};
    use std::collections::BTreeMap;

    fn dataset(sizes: &[(Split, usize)]) -> Dataset {
        let mut stream = Stream::new(1, "data sets in files");
        let example = |i: usize| Example {
            id: i.to_string(),
            input: format!("multirc question: {i}"),
            target: ["False", "True"][i % 2].to_owned(),
            label: (!i.is_multiple_of(7)).then_some(i as u32 % 2),
            group: Some(format!("q{}", i / 2)),
            answers: vec!["a".to_owned(); i % 3],
            choices: Vec::new(),
        };
        let mut ids = |_| {
            let mut ids = |most: usize| (0..stream.below(most)).map(|_| stream.below(1000) as u32).collect();
            Tokenized { input: ids(40), target: ids(5) }
        };
        let part = |(split, count): &(Split, usize)| Part {
            split: *split,
            examples: (0..*count).map(example).collect(),
            tokens: (0..*count).map(&mut ids).collect(),
        };
        Dataset {
            task: tasks::task("superglue/multirc").unwrap(),
            template: "multirc question: {question}".to_owned(),
            tokenizer: Some("0123".to_owned()),
            parts: sizes.iter().map(part).collect(),
        }
    }

    fn open(bytes: &[u8], folder: &Path) -> Result<DatasetFile, DataError> {
        let path = folder.join("dataset");
        fs_err::write(&path, bytes).unwrap();
        DatasetFile::open(fs_err::File::open(path).unwrap())
    }

    #[test]
    fn a_split_that_memory_does_not_hold_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = write_dataset(&dataset(&[(Split::Train, 9), (Split::Test, 4)])).unwrap();
        let file = open(&bytes, folder.path()).unwrap();
        assert_eq!(file.read_at_most(&[Split::Test], 4).unwrap().examples(Split::Test).len(), 4);
        assert_eq!(
            file.read_at_most(&[Split::Test], 3).unwrap_err().to_string(),
            "the test split has 4 examples, of which 3 may be held in memory; draw fewer by `rows` of its `ingest`"
        );
    }

    #[test]
    fn what_is_asked_for_is_what_is_there() {
        use Split::{Test, Train, Validation};
        let folder = tempfile::tempdir().unwrap();
        for sizes in [
            &[(Train, 5), (Validation, 3), (Test, 0)][..],
            &[(Train, 40_000), (Validation, 17_000), (Test, 100)],
            &[(Validation, 20), (Train, 16_384)],
            &[(Test, 3)],
            &[],
        ] {
            let expected = dataset(sizes);
            let bytes = write_dataset(&expected).unwrap();
            let file = open(&bytes, folder.path()).unwrap();
            assert_eq!(file.read(&Split::ALL).unwrap(), read_dataset(&bytes).unwrap());
            assert_eq!((&file.task, &file.tokenizer), (&expected.task, &expected.tokenizer));
            for split in Split::ALL {
                let one = file.read(&[split]).unwrap();
                assert_eq!(one.part(split), expected.part(split));
                assert!(one.parts.len() <= 1);
                assert_eq!(file.count(split), expected.examples(split).len());
                let ids = file.ids(split, folder.path()).unwrap();
                let pairs: Vec<_> = expected.pairs(split).collect();
                assert_eq!(ids.count(), pairs.len());
                for (at, (input, target)) in pairs.iter().enumerate() {
                    assert_eq!(ids.fetch(at).unwrap(), (input.to_vec(), target.to_vec()));
                    assert_eq!(ids.input_length(at).unwrap(), input.len());
                }
                assert_eq!(ids.largest_id(), pairs.iter().flat_map(|(i, t)| i.iter().chain(*t)).max().copied());
                let examples = expected.examples(split);
                let numbers: Vec<usize> = [examples.len() / 2, 0, examples.len() / 3].to_vec();
                let numbers = if examples.is_empty() { Vec::new() } else { numbers };
                let texts = numbers.iter().map(|at| (examples[*at].input.clone(), examples[*at].target.clone()));
                assert_eq!(file.texts(split, &numbers).unwrap(), texts.collect::<Vec<_>>());
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                examples.iter().for_each(|example| *counts.entry(&example.target).or_default() += 1);
                let common = counts.into_iter().max_by_key(|(_, count)| *count).map(|(target, _)| target.to_owned());
                assert_eq!(file.most_common_target(split, folder.path()).unwrap(), common);
            }
        }
    }

    #[test]
    fn what_says_how_long_hidden_answers_may_be_is_read_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut hidden = dataset(&[(Split::Train, 900), (Split::Validation, 40), (Split::Test, 30)]);
        hidden.parts[2].examples.iter_mut().for_each(|example| example.label = None);
        let file = open(&write_dataset(&hidden).unwrap(), folder.path()).unwrap();
        let read = file.read_to_answer(Split::Test).unwrap();
        assert_eq!(read.part(Split::Test), hidden.part(Split::Test));
        for split in [Split::Train, Split::Validation] {
            let part = hidden.part(split).unwrap();
            let known = part.examples.iter().zip(&part.tokens).filter(|(example, _)| hidden.task.knows(example));
            let longest = known.map(|(_, ids)| ids.target.len()).max();
            assert_eq!(read.pairs(split).map(|(_, target)| target.len()).collect::<Vec<_>>(), [longest.unwrap()]);
            assert!(read.has_answers(split));
        }
        assert_eq!(file.read_to_answer(Split::Validation).unwrap().parts.len(), 1);
    }

    #[test]
    fn the_most_common_of_texts_that_are_there_once_is_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut once = dataset(&[(Split::Train, 50)]);
        once.parts[0].examples.iter_mut().for_each(|example| example.target = format!("t{}", example.id));
        let file = open(&write_dataset(&once).unwrap(), folder.path()).unwrap();
        assert_eq!(file.most_common_target(Split::Train, folder.path()).unwrap().as_deref(), Some("t9"));
    }

    #[test]
    fn damage_is_named_as_where_all_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = write_dataset(&dataset(&[(Split::Train, 20_000)])).unwrap();
        let refused = |change: &dyn Fn(&mut Table)| {
            let mut table = Table::from_parquet(&bytes).unwrap();
            change(&mut table);
            let bytes = table.to_parquet().unwrap();
            let error = open(&bytes, folder.path()).and_then(|file| file.read(&Split::ALL)).unwrap_err().to_string();
            assert_eq!(error, read_dataset(&bytes).unwrap_err().to_string());
        };
        refused(&|table| drop(table.metadata.remove("task")));
        refused(&|table| drop(table.metadata.insert("splits".into(), "train train".into())));
        refused(&|table| drop(table.metadata.insert("splits".into(), "test".into())));
        refused(&|table| {
            let label = table.columns.iter_mut().find(|(name, _)| name == "label").unwrap();
            let crate::data::Column::OptInt(labels) = &mut label.1 else { panic!() };
            labels[17_000] = Some(9);
        });
        assert!(open(&bytes[..bytes.len() / 2], folder.path()).is_err());
    }
}
