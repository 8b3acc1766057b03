//! The examples of a split wherever they are: in memory, or in a file in which the rows of a table wait until it is decided which of
//! them become examples of which split.

use crate::data::{Sorter, Spill, Tokenized};
use crate::engine::context::Interrupted;
use crate::ml::tasks::{Answers, Draft, Drafts, Example, Keys, LeftOut, Own, Sheet, SheetError, Split};
use anyhow::{Context, anyhow, ensure};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Examples in their order, which are read in blocks.
pub(super) enum Rows<'o> {
    /// In memory.
    Held(Vec<Example>),
    /// Rows of a table in a file.
    Drafts(Waiting<'o>),
    /// Examples of a published file, in a file.
    Written(Examples),
    /// Windows of text, with their ids, in a file.
    Windows(super::text::Windows<'o>),
}

/// Rows of a table in a file, and how their answers are read.
pub(super) struct Waiting<'o> {
    spill: Spill,
    own: &'o Own,
    answers: Answers<'o>,
    /// Names of the files that they are from, as messages have them.
    names: Vec<String>,
}

/// Examples in a file.
pub(super) struct Examples {
    spill: Spill,
    /// Examples without an answer.
    hidden: usize,
    /// Whether two have one id, so that all are called by their numbers.
    are_numbered: bool,
}

/// Examples of one split, some or all of those that are there.
pub(super) struct Part<'o> {
    pub(super) split: Split,
    rows: Arc<Rows<'o>>,
    /// Which of them are of the split; all if there is no list.
    chosen: Option<Vec<bool>>,
    count: usize,
    /// Of the examples of the split; none once it is decided which are drawn.
    pub(super) keys: Keys,
}

/// Examples of a block of [`Rows::Held`].
const HELD: usize = 1024;

/// An example, with its ids where they are known already.
pub(super) type Row = (Example, Option<Tokenized>);

impl<'o> Rows<'o> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Held(examples) => examples.len(),
            Self::Drafts(waiting) => waiting.spill.rows(),
            Self::Written(examples) => examples.spill.rows(),
            Self::Windows(windows) => windows.len(),
        }
    }

    fn blocks(&self) -> usize {
        match self {
            Self::Held(examples) => examples.len().div_ceil(HELD),
            Self::Drafts(waiting) => waiting.spill.blocks(),
            Self::Written(examples) => examples.spill.blocks(),
            Self::Windows(windows) => windows.blocks(),
        }
    }

    /// The examples of a block, by their numbers.
    fn range(&self, block: usize) -> Range<usize> {
        match self {
            Self::Held(examples) => block * HELD..examples.len().min((block + 1) * HELD),
            Self::Drafts(waiting) => waiting.spill.range(block),
            Self::Written(examples) => examples.spill.range(block),
            Self::Windows(windows) => windows.range(block),
        }
    }

    fn block(&self, block: usize) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Held(examples) => Ok(examples[self.range(block)].iter().map(|e| (e.clone(), None)).collect()),
            Self::Drafts(waiting) => waiting.block(block),
            Self::Written(examples) => examples.block(block),
            Self::Windows(windows) => windows.block(block),
        }
    }

    /// What the examples are drawn by. Reads all of them, and so finds what is wrong with their answers.
    fn keys(&self, folder: &Path, stopped: &dyn Fn() -> bool) -> anyhow::Result<Keys> {
        if let Self::Held(examples) = self {
            return Ok(Keys::of(examples));
        }
        let (mut labels, mut groups) = (Vec::with_capacity(self.len()), Groups::new(folder));
        let blocks: Vec<usize> = (0..self.blocks()).collect();
        for some in blocks.chunks(at_a_time()) {
            still_wanted(stopped)?;
            let keys = some.par_iter().map(|block| {
                let key = |(example, _): &Row| (Keys::label(example.label), example.group.as_deref().map(digest));
                Ok(self.block(*block)?.iter().map(key).collect::<Vec<_>>())
            });
            for keys in keys.collect::<Vec<anyhow::Result<_>>>() {
                for (label, group) in keys? {
                    labels.push(label);
                    groups.push(group)?;
                }
            }
        }
        groups.keys(labels)
    }
}

/// Blocks that are read at a time.
fn at_a_time() -> usize {
    (4 * rayon::current_num_threads()).max(8)
}

/// # Errors
/// If somebody asked to stop.
pub(super) fn still_wanted(stopped: &dyn Fn() -> bool) -> anyhow::Result<()> {
    if stopped() { Err(Interrupted { step: 0 }.into()) } else { Ok(()) }
}

/// 128 bits of a text.
fn digest(text: &str) -> [u64; 2] {
    let hash = blake3::hash(text.as_bytes());
    let (numbers, _) = hash.as_bytes().as_chunks::<8>();
    [u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1])]
}

/// Which examples belong together, by digests of the names of their groups.
struct Groups {
    sorter: Sorter<3>,
    count: usize,
}

impl Groups {
    fn new(folder: &Path) -> Self {
        Self { sorter: Sorter::new(folder), count: 0 }
    }

    fn push(&mut self, group: Option<[u64; 2]>) -> anyhow::Result<()> {
        if let Some([first, second]) = group {
            self.sorter.push([first, second, self.count as u64])?;
        }
        self.count += 1;
        Ok(())
    }

    fn keys(mut self, labels: Vec<u32>) -> anyhow::Result<Keys> {
        if self.sorter.is_empty() {
            return Ok(Keys::new(labels, Vec::new(), |_| false));
        }
        self.sorter.close()?;
        // Of every example the first of its group, and whether it has one; then the number of that one's unit.
        let mut units: Vec<u32> = (0..u32::try_from(self.count).context("too many rows")?).collect();
        let mut is_grouped = vec![false; self.count];
        let mut group = None;
        for record in self.sorter.sorted() {
            let [first, second, row] = record?;
            let known: ([u64; 2], u32) = match group {
                Some((of, leader)) if of == [first, second] => (of, leader),
                _ => ([first, second], row as u32),
            };
            (units[row as usize], is_grouped[row as usize]) = (known.1, true);
            group = Some(known);
        }
        let mut count = 0;
        for row in 0..units.len() {
            let leader = units[row] as usize;
            if leader == row {
                units[row] = count;
                count += 1;
            } else {
                units[row] = units[leader];
            }
        }
        Ok(Keys::new(labels, units, |row| is_grouped[row]))
    }
}

impl<'o> Part<'o> {
    /// All rows as the examples of a split.
    ///
    /// # Errors
    /// If a row is no example of the task.
    pub(super) fn of(split: Split, rows: Rows<'o>, folder: &Path, stopped: &dyn Fn() -> bool) -> anyhow::Result<Self> {
        let keys = rows.keys(folder, stopped)?;
        Ok(Self { split, rows: Arc::new(rows), chosen: None, count: keys.len(), keys })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The same, of which nothing will be drawn any more.
    pub(super) fn decided(self) -> Self {
        Self { keys: Keys::default(), ..self }
    }

    /// How many rows, all of which are of the part, have no answer.
    pub(super) fn hidden(&self, knows: impl Fn(&Example) -> bool) -> usize {
        match &*self.rows {
            Rows::Held(examples) => examples.iter().filter(|example| !knows(example)).count(),
            Rows::Drafts(waiting) => waiting.answers.hidden(),
            Rows::Written(examples) => examples.hidden,
            Rows::Windows(_) => 0,
        }
    }

    /// Those of the examples that `taken` has.
    pub(super) fn only(mut self, taken: &[bool]) -> Self {
        self.keys = self.keys.only(taken);
        self.count = self.keys.len();
        self.chosen = Some(self.narrowed(taken));
        self
    }

    /// The examples that `held` has as those of one split, and the others as those of another.
    pub(super) fn divided(self, held: &[bool], (stay, out): (Split, Split)) -> (Self, Self) {
        let others: Vec<bool> = held.iter().map(|held| !held).collect();
        let rows = self.rows.clone();
        let keys = self.keys.only(held);
        let one = Self { split: out, rows, chosen: Some(self.narrowed(held)), count: keys.len(), keys };
        let other = Self { split: stay, ..self };
        (other.only(&others), one)
    }

    /// The list of all rows that are chosen, if only some examples of the part are.
    fn narrowed(&self, taken: &[bool]) -> Vec<bool> {
        let mut taken = taken.iter().copied();
        let mut next = || taken.next().unwrap_or_default();
        match &self.chosen {
            Some(chosen) => chosen.iter().map(|chosen| *chosen && next()).collect(),
            None => (0..self.rows.len()).map(|_| next()).collect(),
        }
    }

    /// Whether some example brings choices.
    pub(super) fn brings_choices(&self) -> bool {
        match &*self.rows {
            Rows::Held(examples) => {
                let is_chosen = |at: usize| self.chosen.as_ref().is_none_or(|chosen| chosen[at]);
                examples.iter().enumerate().any(|(at, example)| !example.choices.is_empty() && is_chosen(at))
            }
            Rows::Drafts(waiting) => waiting.own.choices.is_some() && self.len() > 0,
            // No published format brings choices.
            Rows::Written(_) | Rows::Windows(_) => false,
        }
    }

    /// The examples of the part that a block has.
    fn block(&self, block: usize) -> anyhow::Result<Vec<Row>> {
        let rows = self.rows.block(block)?;
        let Some(chosen) = &self.chosen else { return Ok(rows) };
        let mut of_block = chosen[self.rows.range(block)].iter();
        Ok(rows.into_iter().filter(|_| of_block.next().copied().unwrap_or_default()).collect())
    }

    /// Makes something of every example on all threads, and takes that in their order, with how many examples there were in front.
    ///
    /// # Errors
    /// What the file, `make` and `take` fail with, or if somebody asked to stop.
    pub(super) fn each<M: Send>(
        &self,
        stopped: &dyn Fn() -> bool,
        make: impl Fn(Row) -> anyhow::Result<M> + Sync,
        mut take: impl FnMut(Vec<M>) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<()> {
        let is_wanted = |block: &usize| self.chosen.as_ref().is_none_or(|c| c[self.rows.range(*block)].contains(&true));
        let blocks: Vec<usize> = (0..self.rows.blocks()).filter(is_wanted).collect();
        let of_block = |block: &usize| self.block(*block)?.into_iter().map(&make).collect::<anyhow::Result<Vec<M>>>();
        let of_blocks = |some: &[usize]| some.par_iter().map(of_block).collect::<Vec<_>>();
        let mut taken = |made: Vec<anyhow::Result<Vec<M>>>| made.into_iter().try_for_each(|some| take(some?));
        let mut made = Vec::new();
        for some in blocks.chunks(at_a_time()) {
            still_wanted(stopped)?;
            // What was made is written while the next is made.
            let (written, next) = rayon::join(|| taken(std::mem::take(&mut made)), || of_blocks(some));
            written?;
            made = next;
        }
        taken(made)
    }
}

/// Rows of a table on their way to the file in which they wait.
pub(super) struct Writing<'o> {
    own: &'o Own,
    drafts: Drafts<'o>,
    spill: Spill,
    names: Vec<String>,
    /// Digests of ids, with the numbers of their rows.
    ids: Sorter<3>,
    kept: u64,
}

impl<'o> Writing<'o> {
    /// Of a split whose files have these names in messages.
    ///
    /// # Errors
    /// If no file can be made in the folder.
    pub(super) fn new(
        own: &'o Own,
        (split, prefix): (Split, bool),
        names: Vec<String>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let drafts = Drafts::new(own, split, prefix);
        Ok(Self { own, drafts, spill: Spill::new(folder)?, names, ids: Sorter::new(folder), kept: 0 })
    }

    /// Takes some rows of a file.
    ///
    /// # Errors
    /// Without the file's name, if one is no row of the task, or the file cannot be written.
    pub(super) fn take(&mut self, file: usize, sheet: Sheet) -> anyhow::Result<()> {
        let drafts = self.drafts.of(sheet.in_file(file))?;
        for draft in drafts {
            if self.own.id.is_some() {
                let [first, second] = digest(&draft.example.id);
                self.ids.push([first, second, self.kept])?;
            }
            self.kept += 1;
            self.spill.push(|to| draft.write(to))?;
        }
        Ok(())
    }

    /// The rows, and which were left out.
    ///
    /// # Errors
    /// If an id is there twice, or no row is left.
    pub(super) fn finish(mut self) -> anyhow::Result<(Rows<'o>, Vec<LeftOut>)> {
        self.spill.close()?;
        self.ids.close()?;
        let repeated = repeated(&self.ids)?;
        let (answers, left_out) = self.drafts.finish().map_err(|error| named(&self.names, error))?;
        let waiting = Waiting { spill: self.spill, own: self.own, answers, names: self.names };
        if let Some((first, second)) = repeated {
            let (first, second) = (waiting.draft(first)?, waiting.draft(second)?);
            let error = waiting.own.repeated(second.place, &second.example.id, first.place);
            return Err(named(&waiting.names, error));
        }
        Ok((Rows::Drafts(waiting), left_out))
    }
}

/// Examples of a published file on their way to the file in which they wait.
pub(super) struct Keeping {
    spill: Spill,
    /// Digests of ids, with the numbers of their examples, where they may repeat.
    ids: Option<Sorter<3>>,
    kept: u64,
    hidden: usize,
}

impl Keeping {
    /// Of a file in whose format ids may repeat, or may not.
    ///
    /// # Errors
    /// If no file can be made in the folder.
    pub(super) fn new(may_repeat_ids: bool, folder: &Path) -> anyhow::Result<Self> {
        let ids = may_repeat_ids.then(|| Sorter::new(folder));
        Ok(Self { spill: Spill::new(folder)?, ids, kept: 0, hidden: 0 })
    }

    /// Takes some examples; `knows` says of which the answer is there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn take(&mut self, examples: &[Example], knows: impl Fn(&Example) -> bool) -> anyhow::Result<()> {
        for example in examples {
            if let Some(ids) = &mut self.ids {
                let [first, second] = digest(&example.id);
                ids.push([first, second, self.kept])?;
            }
            self.kept += 1;
            self.hidden += usize::from(!knows(example));
            self.spill.push(|to| example.write(to))?;
        }
        Ok(())
    }

    /// All examples.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn finish<'o>(mut self) -> anyhow::Result<Rows<'o>> {
        self.spill.close()?;
        let mut are_numbered = false;
        if let Some(ids) = &mut self.ids {
            ids.close()?;
            are_numbered = repeated(ids)?.is_some();
        }
        Ok(Rows::Written(Examples { spill: self.spill, hidden: self.hidden, are_numbered }))
    }
}

impl Examples {
    fn block(&self, block: usize) -> anyhow::Result<Vec<Row>> {
        let (bytes, range) = (self.spill.read(block)?, self.spill.range(block));
        let mut rest = &bytes[..];
        let mut examples: Vec<Row> =
            std::iter::from_fn(|| Example::read(&mut rest)).map(|example| (example, None)).collect();
        ensure!(examples.len() == range.len(), "the file of rows that wait was changed by somebody");
        if self.are_numbered {
            examples.iter_mut().zip(range).for_each(|((example, _), number)| example.id = number.to_string());
        }
        Ok(examples)
    }
}

/// The first row whose id is that of an earlier one, behind that one.
fn repeated(ids: &Sorter<3>) -> anyhow::Result<Option<(usize, usize)>> {
    let mut found: Option<(usize, usize)> = None;
    let mut last: Option<([u64; 2], u64, bool)> = None;
    for record in ids.sorted() {
        let [first, second, row] = record?;
        last = match last {
            Some((id, leader, is_told)) if id == [first, second] => {
                if !is_told && found.is_none_or(|(_, second)| row < second as u64) {
                    found = Some((leader as usize, row as usize));
                }
                Some((id, leader, true))
            }
            _ => Some(([first, second], row, false)),
        };
    }
    Ok(found)
}

/// An error behind the name of the file that it is of.
fn named(names: &[String], error: SheetError) -> anyhow::Error {
    let name = names.get(error.place.file).map_or("", String::as_str);
    anyhow!(error).context(name.to_owned())
}

impl Waiting<'_> {
    fn drafts(&self, block: usize) -> anyhow::Result<Vec<Draft>> {
        let bytes = self.spill.read(block)?;
        let mut rest = &bytes[..];
        let drafts: Vec<Draft> = std::iter::from_fn(|| Draft::read(&mut rest)).collect();
        ensure!(drafts.len() == self.spill.range(block).len(), "the file of rows that wait was changed by somebody");
        Ok(drafts)
    }

    fn block(&self, block: usize) -> anyhow::Result<Vec<Row>> {
        let example = |draft| self.answers.example(draft).map_err(|error| named(&self.names, error));
        self.drafts(block)?.into_iter().map(|draft| Ok((example(draft)?, None))).collect()
    }

    fn draft(&self, row: usize) -> anyhow::Result<Draft> {
        let block = self.spill.block_of(row);
        let at = row - self.spill.range(block).start;
        self.drafts(block)?.into_iter().nth(at).context("a row that was written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;
    use crate::ml::tasks::{Answer, Choices, Condition, Dialect, Labels, Metric, Named, Template, Wanted};

    fn never() -> bool {
        false
    }

    fn own(answer: Answer) -> Own {
        Own {
            name: "mood".to_owned(),
            word: None,
            template: Template::parse("{text} by {author}").unwrap(),
            label: "label".to_owned(),
            several: false,
            labels: (answer == Answer::Label).then(|| Labels::Words(vec!["bad".to_owned(), "good".to_owned()])),
            answer,
            metrics: vec![Metric::Accuracy],
            group: None,
            id: None,
            drop: vec![Condition::parse("votes < 2").unwrap()],
            round: None,
            choices: None,
        }
    }

    fn csv(stream: &mut Stream, rows: usize, label: impl Fn(&mut Stream) -> String) -> String {
        let mut text = "text,author,label,votes,group,id,first,second\n".to_owned();
        for row in 0..rows {
            let (author, votes, group) = (stream.below(9), stream.below(7), stream.below(20));
            text += &format!("t{row} é,a{author},{},{votes},g{group},i{row},x{row},y{row}\n", label(stream));
        }
        text
    }

    fn sheet(text: &str, wanted: &[Wanted<'_>]) -> Sheet {
        Sheet::from_csv(text.as_bytes(), Dialect::default(), wanted).unwrap()
    }

    /// The rows of two files in pieces of a few.
    fn waiting<'o>(
        own: &'o Own,
        split: Split,
        files: [&str; 2],
        folder: &Path,
    ) -> anyhow::Result<(Rows<'o>, Vec<LeftOut>)> {
        let wanted = own.wanted(split);
        let names = vec!["one.csv".to_owned(), "two.csv".to_owned()];
        let mut writing = Writing::new(own, (split, true), names, folder)?;
        for (at, text) in files.into_iter().enumerate() {
            for piece in sheet(text, &wanted).pieces_of(7) {
                writing.take(at, piece)?;
            }
        }
        writing.finish()
    }

    fn all(part: &Part<'_>) -> Vec<Example> {
        let mut found = Vec::new();
        part.each(
            &never,
            |(example, _)| Ok(example),
            |some| {
                found.extend(some);
                Ok(())
            },
        )
        .unwrap();
        found
    }

    #[track_caller]
    fn alike(own: &Own, split: Split, files: [&str; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let wanted = own.wanted(split);
        let expected = own.examples(Sheet::of_files(files.map(|text| sheet(text, &wanted))), split, true);
        let found = waiting(own, split, files, folder.path())
            .and_then(|(rows, left_out)| Ok((Part::of(split, rows, folder.path(), &never)?, left_out)));
        match (expected, found) {
            (Ok(expected), Ok((part, left_out))) => {
                assert_eq!(all(&part), expected.examples);
                assert_eq!(left_out, expected.left_out);
                assert_eq!(part.keys, Keys::of(&expected.examples));
                let task = own.task(true);
                let hidden = expected.examples.iter().filter(|example| !task.knows(example)).count();
                assert_eq!(part.hidden(|example| task.knows(example)), hidden);
            }
            (Err(expected), Err(found)) => assert_eq!(found.root_cause().to_string(), expected.to_string()),
            (expected, found) => panic!("{expected:?} and {}", found.is_ok()),
        }
    }

    #[test]
    fn rows_that_wait_are_the_examples_of_all_rows_at_once() {
        let mut stream = Stream::new(2, "rows that wait");
        for split in Split::ALL {
            for rows in [3, 40, 3000] {
                let mut check = |own: &Own, label: &dyn Fn(&mut Stream) -> String| {
                    let files = [0, 1].map(|_| csv(&mut stream, rows, label));
                    alike(own, split, [&files[0], &files[1]]);
                };
                let place = |stream: &mut Stream| stream.below(2).to_string();
                let word = |stream: &mut Stream| (*stream.choose(&["bad", "good"])).to_owned();
                let some = |stream: &mut Stream| (*stream.choose(&["bad", "", "good", "-1"])).to_owned();
                let (labels, text) = (own(Answer::Label), own(Answer::Text));
                for own in [labels.clone(), Own { group: Some("group".to_owned()), drop: Vec::new(), ..labels }] {
                    check(&own, &place);
                    check(&own, &word);
                    check(&own, &some);
                    check(&own, &|_| "-1".to_owned());
                }
                check(&own(Answer::Number), &|stream| format!("{}.50", stream.below(100)));
                check(&text, &word);
                check(&text, &|_| "NA".to_owned());
                let from = vec!["first".to_owned(), "second".to_owned()];
                let choices = Some(Choices { from, named: Named::by("0").unwrap() });
                check(&Own { choices, ..own(Answer::Choice) }, &place);
            }
        }
    }

    #[test]
    fn words_and_places_in_one_column_are_found_however_far_apart() {
        let mut stream = Stream::new(4, "rows that wait");
        let own = own(Answer::Label);
        let (places, words) = (csv(&mut stream, 50, |_| "1".to_owned()), csv(&mut stream, 50, |_| "good".to_owned()));
        alike(&own, Split::Train, [&places, &words]);
    }

    #[test]
    fn an_id_that_is_there_twice_is_named_with_both_places() {
        let mut stream = Stream::new(5, "rows that wait");
        let own = Own { id: Some("id".to_owned()), drop: Vec::new(), ..own(Answer::Label) };
        let text = csv(&mut stream, 2000, |_| "bad".to_owned());
        let renamed = text.replace(",i", ",j").replace(",jd,", ",id,");
        let other = renamed.replace(",j700,", ",i30,").replace(",j1700,", ",j9,");
        alike(&own, Split::Train, [&text, &renamed]);
        alike(&own, Split::Train, [&text, &other]);
        alike(&own, Split::Train, [&text.replace(",i1999,", ",i7,"), &other]);
    }

    #[test]
    fn parts_of_parts_are_the_examples_that_were_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(6, "rows that wait");
        let own = Own { group: Some("group".to_owned()), ..own(Answer::Label) };
        let text = csv(&mut stream, 3000, |stream| stream.below(2).to_string());
        let (rows, _) = waiting(&own, Split::Train, [&text, &text], folder.path()).unwrap();
        let part = Part::of(Split::Train, rows, folder.path(), &never).unwrap();
        let mut examples = all(&part);
        let mut draw = |count: usize, p: f64| (0..count).map(|_| stream.chance(p)).collect::<Vec<bool>>();
        let filtered = |examples: &[Example], chosen: &[bool], kept: bool| -> Vec<Example> {
            examples.iter().zip(chosen).filter(|(_, chosen)| **chosen == kept).map(|(e, _)| e.clone()).collect()
        };
        let first = draw(part.len(), 0.3);
        let (stay, out) = part.divided(&first, (Split::Train, Split::Validation));
        assert_eq!(all(&out), filtered(&examples, &first, true));
        examples = filtered(&examples, &first, false);
        assert_eq!((all(&stay), &stay.keys), (examples.clone(), &Keys::of(&examples)));
        let second = draw(stay.len(), 0.002);
        let few = stay.only(&second);
        examples = filtered(&examples, &second, true);
        assert_eq!((all(&few), few.keys.clone(), few.len()), (examples.clone(), Keys::of(&examples), examples.len()));
    }
}
