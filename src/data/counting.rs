//! The card of a data set whose examples pass by one after the other: what is counted of them takes little memory, whatever their
//! number, and what must be compared with all others goes to files, as digests of 128 bits.

use super::card::{Card, Lengths, SplitCard};
use super::dataset::Tokenized;
use super::spill::{Sorted, Sorter};
use crate::ml::tasks::{Answer, Example, LeftOut, Split, Task, WordCounts, Words};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// Different words of which the hashes are in memory.
const WORDS: usize = 1 << 19;

/// What a card counts of an example.
pub struct Fact {
    /// Digests of the input and, with the bit below them all for an answer that is known, of the target.
    digests: [u64; 3],
    is_known: bool,
    lengths: [usize; 2],
    is_unknown: bool,
    /// Of a training example its words; of others whether they tell its answer.
    words: Option<Words>,
    is_told: bool,
}

/// Counts of a split.
struct Tally {
    split: Split,
    left_out: Vec<LeftOut>,
    rows: usize,
    hidden: usize,
    /// Examples of each target, those with an answer alone.
    known: BTreeMap<String, usize>,
    /// All examples by label.
    labels: Vec<usize>,
    inputs: Histogram,
    targets: Histogram,
    unknown: usize,
    told: usize,
    digests: Sorter<3>,
}

/// How often each length is there.
#[derive(Default)]
struct Histogram(BTreeMap<usize, usize>);

/// The number of different words, of which many may be in a file.
struct Vocabulary {
    seen: HashSet<u64>,
    sorter: Sorter<1>,
}

/// A card in the making. Splits are counted one after the other, that for training first.
pub struct CardWriter {
    task: Task,
    /// The ids that examples may have at most, of inputs and targets.
    most: [usize; 2],
    unknown: Option<u32>,
    folder: PathBuf,
    parts: Vec<Tally>,
    words: WordCounts,
    vocabulary: Vocabulary,
}

/// What looks at the examples of a split, on any thread.
#[derive(Clone, Copy)]
pub struct Judge<'c> {
    task: &'c Task,
    unknown: Option<u32>,
    /// What tells answers from words; of the training split none.
    words: Option<&'c WordCounts>,
}

/// What counts the examples of a split.
pub struct Counter<'c> {
    task: &'c Task,
    tally: &'c mut Tally,
    /// What learns from the examples of the training split.
    learned: Option<(&'c mut WordCounts, &'c mut Vocabulary)>,
}

impl CardWriter {
    /// Of a task whose inputs and targets have so many ids at most; `unknown` is the id of what the tokenizer does not know. Files are
    /// made in `folder`.
    pub fn new(task: &Task, most: [usize; 2], unknown: Option<u32>, folder: &Path) -> Self {
        Self {
            most,
            unknown,
            folder: folder.to_owned(),
            parts: Vec::new(),
            words: WordCounts::new(task.labels.clone()),
            vocabulary: Vocabulary { seen: HashSet::new(), sorter: Sorter::new(folder) },
            task: task.clone(),
        }
    }

    /// Announces the words of an example of a split that is none for training. Needed where answers are labels.
    pub fn will_ask(&mut self, words: &Words) {
        self.words.will_ask(words);
    }

    /// Begins with the next split.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    ///
    /// # Panics
    /// If it is the one for training, and not the first.
    pub fn begin(&mut self, split: Split, left_out: Vec<LeftOut>) -> io::Result<(Judge<'_>, Counter<'_>)> {
        assert!(split != Split::Train || self.parts.is_empty(), "the training split comes first");
        if let Some(last) = self.parts.last_mut() {
            last.digests.close()?;
        }
        if self.parts.len() == 1 {
            self.words.know(self.vocabulary.count()?);
        }
        self.parts.push(Tally {
            split,
            left_out,
            rows: 0,
            hidden: 0,
            known: BTreeMap::new(),
            labels: vec![0; self.task.labels.len()],
            inputs: Histogram::default(),
            targets: Histogram::default(),
            unknown: 0,
            told: 0,
            digests: Sorter::new(&self.folder),
        });
        let (task, unknown) = (&self.task, self.unknown);
        let tally = self.parts.last_mut().expect("pushed just above");
        Ok(if split == Split::Train {
            let learned = Some((&mut self.words, &mut self.vocabulary));
            (Judge { task, unknown, words: None }, Counter { task, tally, learned })
        } else {
            (Judge { task, unknown, words: Some(&self.words) }, Counter { task, tally, learned: None })
        })
    }

    /// The card.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn finish(mut self) -> io::Result<Card> {
        if let Some(last) = self.parts.last_mut() {
            last.digests.close()?;
        }
        let train = self.parts.iter().find(|part| part.split == Split::Train);
        let majority = train.filter(|_| self.task.answer == Answer::Label).and_then(Tally::most_common);
        let splits = self.parts.iter().map(|part| part.card(&self.task, train, majority, self.most));
        Ok(Card { task: self.task.name.clone(), splits: splits.collect::<io::Result<_>>()? })
    }
}

impl Judge<'_> {
    /// What is counted of an example, with its ids and how many there were before they were cut.
    pub fn fact(&self, example: &Example, ids: &Tokenized, lengths: [usize; 2]) -> Fact {
        let is_known = self.task.knows(example);
        let [first, second] = digest(&example.input);
        let [target, _] = digest(&example.target);
        let words = (self.task.answer == Answer::Label && is_known).then(|| Words::of(&example.input));
        let told = |words: &Words| self.words.is_some_and(|known| known.predict(words) == Some(&*example.target));
        Fact {
            digests: [first, second, (target & !1) | u64::from(is_known)],
            is_known,
            lengths,
            is_unknown: ids.input.iter().any(|id| Some(*id) == self.unknown),
            is_told: words.as_ref().is_some_and(told),
            words: words.filter(|_| self.words.is_none()),
        }
    }
}

impl Counter<'_> {
    /// Counts an example.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn count(&mut self, fact: &Fact, target: &str) -> io::Result<()> {
        let tally = &mut *self.tally;
        tally.rows += 1;
        tally.hidden += usize::from(!fact.is_known);
        tally.unknown += usize::from(fact.is_unknown);
        tally.told += usize::from(fact.is_told);
        let [input, of_target] = fact.lengths;
        tally.inputs.add(input);
        tally.targets.add(of_target);
        tally.digests.push(fact.digests)?;
        if self.task.answer != Answer::Label {
            return Ok(());
        }
        if let Some(label) = self.task.labels.iter().position(|label| label == target) {
            tally.labels[label] += 1;
        }
        if fact.is_known {
            match tally.known.get_mut(target) {
                Some(count) => *count += 1,
                None => drop(tally.known.insert(target.to_owned(), 1)),
            }
        }
        if let (Some(words), Some((learned, vocabulary))) = (&fact.words, &mut self.learned) {
            learned.learn(words, target);
            vocabulary.add(words)?;
        }
        Ok(())
    }
}

impl Tally {
    /// The most common answer, of several the first by name.
    fn most_common(&self) -> Option<&str> {
        let most = self.known.values().copied().max()?;
        self.known.iter().find(|(_, count)| **count == most).map(|(target, _)| target.as_str())
    }

    fn card(
        &self,
        task: &Task,
        train: Option<&Self>,
        majority: Option<&str>,
        most: [usize; 2],
    ) -> io::Result<SplitCard> {
        let is_train = self.split == Split::Train;
        let (distinct, contradictions) = compared(&self.digests)?;
        let known = self.rows - self.hidden;
        let percent = |right: usize| 100.0 * right as f64 / known as f64;
        // Where nothing was learned there is nothing to beat.
        let majority = majority.filter(|_| known > 0);
        let by_label = || task.labels.iter().cloned().zip(self.labels.iter().copied()).collect();
        Ok(SplitCard {
            split: self.split,
            rows: self.rows,
            left_out: self.left_out.clone(),
            hidden: self.hidden,
            duplicates: self.rows - distinct,
            contradictions: if task.answer == Answer::Label { contradictions } else { 0 },
            labels: if task.answer == Answer::Label && known > 0 { by_label() } else { Vec::new() },
            inputs: self.inputs.lengths(most[0]),
            targets: self.targets.lengths(most[1]),
            unknown: self.unknown,
            in_train: match train {
                Some(train) if !is_train => shared(&self.digests, &train.digests)?,
                _ => 0,
            },
            majority: majority.map(|label| percent(self.known.get(label).copied().unwrap_or(0))),
            bag_of_words: majority.filter(|_| !is_train).map(|_| percent(self.told)),
        })
    }
}

/// A digest of a text.
fn digest(text: &str) -> [u64; 2] {
    let hash = blake3::hash(text.as_bytes());
    let (numbers, _) = hash.as_bytes().as_chunks::<8>();
    [u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1])]
}

/// How many examples differ from all others in input or target, and how many inputs have several answers that are known.
fn compared(digests: &Sorter<3>) -> io::Result<(usize, usize)> {
    let (mut distinct, mut contradictions) = (0, 0);
    let mut last: Option<[u64; 3]> = None;
    let (mut answer, mut is_counted): (Option<u64>, bool) = (None, false);
    for record in digests.sorted() {
        let record = record?;
        let [first, second, target] = record;
        if last.is_none_or(|last| [last[0], last[1]] != [first, second]) {
            (answer, is_counted) = (None, false);
        }
        distinct +=
            usize::from(last.is_none_or(|last| [last[0], last[1], last[2] >> 1] != [first, second, target >> 1]));
        if target & 1 == 1 {
            if answer.is_some_and(|answer| answer != target) && !is_counted {
                contradictions += 1;
                is_counted = true;
            }
            answer = Some(target);
        }
        last = Some(record);
    }
    Ok((distinct, contradictions))
}

/// How many examples have an input that is there among others.
fn shared(digests: &Sorter<3>, others: &Sorter<3>) -> io::Result<usize> {
    let (mut count, mut others) = (0, others.sorted());
    let input = |record: [u64; 3]| [record[0], record[1]];
    let next = |others: &mut Sorted<'_, 3>| others.next().transpose();
    let mut other = next(&mut others)?;
    for record in digests.sorted() {
        let record = record?;
        loop {
            match other.map(|other| input(other).cmp(&input(record))) {
                Some(Ordering::Less) => other = next(&mut others)?,
                Some(Ordering::Equal) => {
                    count += 1;
                    break;
                }
                Some(Ordering::Greater) | None => break,
            }
        }
    }
    Ok(count)
}

impl Histogram {
    fn add(&mut self, length: usize) {
        *self.0.entry(length).or_default() += 1;
    }

    /// As [`Lengths::of`] all of them.
    fn lengths(&self, most: usize) -> Lengths {
        let all: usize = self.0.values().sum();
        let at = |percent: usize| {
            let mut rank = (all * percent).div_ceil(100).max(1);
            let found = self.0.iter().find(|(_, count)| {
                let is_there = rank <= **count;
                rank = rank.saturating_sub(**count);
                is_there
            });
            found.map_or(0, |(length, _)| *length)
        };
        let cut = self.0.range(most.saturating_add(1)..).map(|(_, count)| count).sum();
        Lengths { median: at(50), p90: at(90), p99: at(99), longest: at(100), cut }
    }
}

impl Vocabulary {
    fn add(&mut self, words: &Words) -> io::Result<()> {
        self.seen.extend(words.hashes());
        if self.seen.len() >= WORDS { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.seen.drain().try_for_each(|word| self.sorter.push([word]))
    }

    /// The number of different words; nothing is added behind this.
    fn count(&mut self) -> io::Result<u64> {
        if self.sorter.is_empty() {
            return Ok(std::mem::take(&mut self.seen).len() as u64);
        }
        self.spill()?;
        self.seen.shrink_to_fit();
        self.sorter.close()?;
        let (mut count, mut last) = (0, None);
        for word in self.sorter.sorted() {
            let word = word?;
            count += u64::from(last != Some(word));
            last = Some(word);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::oracle::Made;
    use crate::data::{Dataset, Part};
    use crate::ml::random::Stream;

    /// Few words, so that there are duplicates, contradictions and leaks, and some that are there once.
    fn example(stream: &mut Stream, answer: Answer) -> (Example, Tokenized) {
        let word = |stream: &mut Stream| match stream.below(30) {
            0 => format!("rare{}", stream.below(1000)),
            n => format!("w{}", n % 6),
        };
        let input: Vec<String> = (0..1 + stream.below(3)).map(|_| word(stream)).collect();
        let label = (stream.below(9) > 0).then(|| stream.below(3) as u32);
        let target = match label {
            None => "<unk>".to_owned(),
            Some(label) if answer == Answer::Label => ["bad", "good", "so so"][label as usize].to_owned(),
            Some(label) => format!("{label}.5"),
        };
        let example = Example {
            id: String::new(),
            input: input.join(" "),
            target,
            label: label.filter(|_| answer == Answer::Label),
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        };
        let ids = (0..stream.below(9)).map(|_| stream.below(40) as u32).collect();
        (example, Tokenized { input: ids, target: vec![1] })
    }

    fn task(answer: Answer) -> Task {
        let labels = if answer == Answer::Label { vec!["so so", "bad", "good"] } else { Vec::new() };
        let labels = labels.into_iter().map(str::to_owned).collect();
        Task {
            name: "mood".to_owned(),
            format: None,
            labels,
            answer,
            metrics: Vec::new(),
            around: None,
            spacing: crate::ml::tasks::Spacing::default(),
        }
    }

    #[test]
    fn what_is_counted_is_what_comparing_all_examples_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(1, "cards");
        for round in 0..60 {
            let answer = [Answer::Label, Answer::Number, Answer::Text][round % 3];
            let task = task(answer);
            let splits = [Split::Train, Split::Validation, Split::Test];
            let splits = &splits[round / 3 % 2..];
            let part = |split: &Split, stream: &mut Stream| {
                let rows = (0..stream.below(80)).map(|_| example(stream, answer));
                let (examples, tokens) = rows.unzip();
                Part { split: *split, examples, tokens }
            };
            let parts: Vec<Part> = splits.iter().map(|split| part(split, &mut stream)).collect();
            let mut card = CardWriter::new(&task, [7, 0], Some(3), folder.path());
            for example in parts.iter().filter(|part| part.split != Split::Train).flat_map(|part| &part.examples) {
                card.will_ask(&Words::of(&example.input));
            }
            let mut made = Vec::new();
            for part in &parts {
                let left_out = vec![LeftOut { rows: 1, why: part.split.name().to_owned() }];
                let lengths = |ids: &Tokenized| [ids.input.len() * 2, ids.target.len()];
                let (judge, mut counter) = card.begin(part.split, left_out.clone()).unwrap();
                for (example, ids) in part.examples.iter().zip(&part.tokens) {
                    counter.count(&judge.fact(example, ids, lengths(ids)), &example.target).unwrap();
                }
                let all = |of: usize, most| Lengths::of(part.tokens.iter().map(|ids| lengths(ids)[of]), most);
                made.push(Made { left_out, inputs: all(0, 7), targets: all(1, 0) });
            }
            let dataset = Dataset { task, template: String::new(), tokenizer: Some("t".to_owned()), parts };
            assert_eq!(card.finish().unwrap(), Card::of(&dataset, &made, Some(3)), "round {round}");
        }
    }

    #[test]
    fn words_are_counted_beyond_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut vocabulary = Vocabulary { seen: HashSet::new(), sorter: Sorter::new(folder.path()) };
        for round in 0..3 {
            for start in (0..400_000).step_by(1000) {
                let text: Vec<String> =
                    (start..start + 1000).map(|word| format!("w{}", word + 200_000 * round)).collect();
                vocabulary.add(&Words::of(&text.join(" "))).unwrap();
            }
        }
        assert!(!vocabulary.sorter.is_empty());
        assert_eq!(vocabulary.count().unwrap(), 800_000);
    }
}
