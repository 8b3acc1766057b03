//! Text without labels, as language modelling: `from: {text: …}`. The start of a window of text is the input, the rest the
//! target, as in T5's `prefix_lm`.

use super::rows::Row;
use super::stem;
use crate::data::{Spill, Tokenized, nameless};
use crate::engine::context::{Cx, Interrupted};
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Issue, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Example, Spacing, Task, check_name};
use crate::ml::text::tokens::Tokens;
use crate::ml::train::pretrain::{SHORTEST, prefix_length};
use crate::stages::corpus::{self, Form, Passage};
use crate::stages::pace::RowPace;
use anyhow::{Context, ensure};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How an input is put together.
pub(super) const TEMPLATE: &str = "{the start of a text}";

/// Text files, cut into windows that the model learns to continue. The task has a training split alone and no metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    /// Text, UTF-8, blank lines between documents; or JSON (`.jsonl`, `.ndjson`, `.json`) of objects with a document as `text`, as C4
    /// has it. Files packed with gzip or zstd (`.json.gz`, `.txt.zst`) are unpacked. `rows.train` says how many windows are drawn
    /// from all of them; all by default.
    files: Vec<FileInput>,
    /// Ids of a window. A document is cut into windows one after the other; each is split in two anywhere with equal
    /// probability.
    window: usize,
    /// Name of the task; by default that of the first file. It is not put in front of inputs.
    #[serde(default)]
    name: Option<String>,
}

/// What decides the data set: everything but the paths.
#[derive(Serialize)]
struct Recipe {
    forms: Vec<Form>,
    window: usize,
    name: String,
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = |file: &FileInput| Form::of(file.name());
        Recipe { forms: self.files.iter().map(form).collect(), window: self.window, name: self.name() }
            .serialize(serializer)
    }
}

impl Text {
    pub(super) fn inputs(&self) -> impl Iterator<Item = Input> {
        self.files.iter().enumerate().map(|(i, file)| file.input(role(i), Type::FILE))
    }

    /// Looks for contradictions.
    ///
    /// # Errors
    /// The first field that is empty, out of its range, or shorter than the window.
    pub(super) fn check(&self, input_length: usize, target_length: usize) -> Result<(), Issue> {
        if self.files.is_empty() {
            return Err(Issue::new("from.text.files", "is empty, expected at least one"));
        }
        if let Some((i, file)) = self.files.iter().enumerate().find(|(_, file)| file.name().is_empty()) {
            let message =
                format!("is `{file}`, which names no output; its ending says how text is held: `{file}.name.jsonl`");
            return Err(Issue::new(role(i), message));
        }
        for (i, file) in self.files.iter().enumerate() {
            corpus::check_name(file.name()).map_err(|message| Issue::new(role(i), message))?;
        }
        if let Some(Err(message)) = self.name.as_deref().map(check_name) {
            return Err(Issue::new("from.text.name", message));
        }
        let window = self.window;
        if !(SHORTEST..=1 << 16).contains(&window) {
            return Err(Issue::new("from.text.window", format!("is {window}, expected {SHORTEST} to {}", 1 << 16)));
        }
        for (field, length) in [("input_length", input_length), ("target_length", target_length)] {
            if length < window {
                let message = format!("is {length}, expected at least {window}, which is `from.text.window`");
                return Err(Issue::new(field, message));
            }
        }
        Ok(())
    }

    pub(super) fn task(&self) -> Task {
        let (labels, metrics) = (Vec::new(), Vec::new());
        Task {
            name: self.name(),
            format: None,
            labels,
            answer: Answer::Text,
            metrics,
            around: None,
            spacing: Spacing::default(),
        }
    }

    /// The windows of the training split: `rows` of them, or all.
    ///
    /// # Errors
    /// If a file is damaged or not in its form, or no document is long enough.
    pub(super) fn read<'t>(
        &self,
        cx: &Cx<'_>,
        tokens: &'t Tokens,
        rows: Option<usize>,
        seed: u64,
    ) -> anyhow::Result<Windows<'t>> {
        let mut sample = Sample::new(rows, Stream::new(seed, "windows of text"), (self.window, cx.scratch()?))?;
        let mut pace = RowPace::new();
        for (i, file) in self.files.iter().enumerate() {
            let mut document = Vec::new();
            let mut take = |passages: Vec<Passage>| {
                let ids = passages.par_iter().map(|passage| match passage {
                    Passage::Paragraph(text) => Ok(Some(tokens.pieces(text)?)),
                    Passage::End => Ok(None),
                });
                for ids in ids.collect::<anyhow::Result<Vec<_>>>()? {
                    pace.rows += sample.see_all(&mut document, ids)?;
                }
                if pace.is_due() {
                    let (done, all) = (i as u64, self.files.len() as u64);
                    cx.progress().step(done, all, &format!("reading {}", pace.text(None)));
                    if cx.stopped() {
                        return Err(Interrupted { step: 0 }.into());
                    }
                }
                Ok(())
            };
            let artifact = cx.one(&role(i))?;
            corpus::each_passage(artifact, file.name(), &mut take).with_context(|| format!("`{file}`"))?;
        }
        let windows = sample.windows(tokens, Stream::new(seed, "prefixes of text"))?;
        let shown = || self.files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
        ensure!(windows.len() > 0, "no document of {} has {SHORTEST} ids or more", shown());
        Ok(windows)
    }

    pub(super) fn name(&self) -> String {
        let first = self.files.first().map(|file| stem(file.name()));
        self.name.clone().or_else(|| first.map(str::to_owned)).unwrap_or_default()
    }
}

fn role(i: usize) -> String {
    format!("from.text.files[{i}]")
}

/// Windows of text in a file.
pub(super) struct Windows<'t> {
    spill: Spill,
    tokens: &'t Tokens,
}

impl Windows<'_> {
    pub(super) fn len(&self) -> usize {
        self.spill.rows()
    }

    pub(super) fn blocks(&self) -> usize {
        self.spill.blocks()
    }

    pub(super) fn range(&self, block: usize) -> Range<usize> {
        self.spill.range(block)
    }

    /// The examples of a block. Their ids are those of the window and not of its parts' texts, which might be other ones where a word
    /// is cut.
    pub(super) fn block(&self, block: usize) -> anyhow::Result<Vec<Row>> {
        let (bytes, tokens) = (self.spill.read(block)?, self.tokens);
        let (numbers, mut rows) = (words(&bytes), Vec::new());
        let mut numbers = &numbers[..];
        while let Some([low, high, cut, length]) = numbers.split_off(..4) {
            let number = u64::from(*low) | u64::from(*high) << 32;
            let window = numbers.split_off(..*length as usize).context("a window that was written")?;
            let (input, target) = window.split_at_checked(*cut as usize).context("a window that was written")?;
            let close = |part: &[u32]| part.iter().copied().chain([tokens.eos()]).collect();
            let example = Example {
                id: number.to_string(),
                input: tokens.decode(input)?,
                target: tokens.decode(target)?,
                label: None,
                group: None,
                answers: Vec::new(),
                choices: Vec::new(),
            };
            rows.push((example, Some(Tokenized { input: close(input), target: close(target) })));
        }
        Ok(rows)
    }
}

/// Numbers that stand one after the other.
fn words(bytes: &[u8]) -> Vec<u32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| u32::from_le_bytes(*number)).collect()
}

/// A random sample of windows that are seen one after the other, each with its number (Vitter 1985, algorithm R): all that is in memory
/// are 16 bytes for each that is kept.
struct Sample {
    /// How many are kept; all if it is not said.
    size: Option<usize>,
    /// Ids of a window.
    window: usize,
    seen: usize,
    /// Numbers of those that are kept, by their places in the file.
    kept: Vec<usize>,
    file: fs_err::File,
    folder: PathBuf,
    stream: Stream,
}

impl Sample {
    fn new(size: Option<usize>, stream: Stream, (window, folder): (usize, &Path)) -> anyhow::Result<Self> {
        let (file, folder) = (nameless(folder)?, folder.to_owned());
        Ok(Self { size, window, seen: 0, kept: Vec::new(), file, folder, stream })
    }

    /// Sees all windows that are there once some ids of a document, or its end, come behind those that are left of it; how many.
    fn see_all(&mut self, document: &mut Vec<u32>, ids: Option<Vec<u32>>) -> anyhow::Result<usize> {
        let (before, is_end) = (self.seen, ids.is_none());
        document.extend(ids.into_iter().flatten());
        let whole = document.len() / self.window * self.window;
        let rest = document.split_off(whole);
        for window in document.chunks(self.window) {
            self.see(window)?;
        }
        *document = rest;
        if is_end {
            if document.len() >= SHORTEST {
                self.see(document)?;
            }
            document.clear();
        }
        Ok(self.seen - before)
    }

    fn see(&mut self, window: &[u32]) -> anyhow::Result<()> {
        let number = self.seen;
        self.seen += 1;
        let place = match self.size {
            Some(size) if self.kept.len() >= size => self.stream.below(self.seen),
            _ => {
                self.kept.push(number);
                self.kept.len() - 1
            }
        };
        let Some(kept) = self.kept.get_mut(place) else { return Ok(()) };
        *kept = number;
        let mut slot = Vec::with_capacity(self.slot());
        slot.extend((window.len() as u32).to_le_bytes());
        window.iter().for_each(|id| slot.extend(id.to_le_bytes()));
        slot.resize(self.slot(), 0);
        Ok(self.file.file().write_all_at(&slot, (place * self.slot()) as u64)?)
    }

    /// Bytes of a place in the file: a window and its length.
    fn slot(&self) -> usize {
        4 * (self.window + 1)
    }

    /// Those that were kept, in their order, each cut in two.
    fn windows<'t>(self, tokens: &'t Tokens, mut cuts: Stream) -> anyhow::Result<Windows<'t>> {
        let mut spill = Spill::new(&self.folder)?;
        self.in_order(|number, window| {
            let cut = prefix_length(window.len(), &mut cuts) as u32;
            let head = [number as u32, (number as u64 >> 32) as u32, cut, window.len() as u32];
            Ok(spill.push(|to| head.iter().chain(window).for_each(|word| to.extend(word.to_le_bytes())))?)
        })?;
        spill.close()?;
        Ok(Windows { spill, tokens })
    }

    fn in_order(&self, mut take: impl FnMut(usize, &[u32]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut order: Vec<(usize, usize)> = self.kept.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut slot = vec![0; self.slot()];
        for (number, place) in order {
            self.file.file().read_exact_at(&mut slot, (place * self.slot()) as u64)?;
            let words = words(&slot);
            let (length, window) = words.split_first().context("a place has a length")?;
            take(number, window.get(..*length as usize).context("a window that was written")?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(size: usize, of: u32, seed: u64) -> Vec<usize> {
        let folder = tempfile::tempdir().unwrap();
        let mut sample = Sample::new(Some(size), Stream::new(seed, "test"), (1, folder.path())).unwrap();
        (0..of).for_each(|i| sample.see(&[i]).unwrap());
        let mut kept = Vec::new();
        let keep = |number: usize, window: &[u32]| {
            assert_eq!(window, [number as u32]);
            kept.push(number);
            Ok(())
        };
        sample.in_order(keep).unwrap();
        kept
    }

    #[test]
    fn a_sample_is_uniform_and_in_order() {
        let mut seen = [0; 20];
        for seed in 0..2000 {
            let sample = numbers(5, 20, seed);
            assert!(sample.len() == 5 && sample.is_sorted());
            sample.iter().for_each(|number| seen[*number] += 1);
        }
        assert!(seen.iter().all(|count| (400..600).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_sample_of_all_is_all() {
        assert_eq!(numbers(9, 4, 0), [0, 1, 2, 3]);
        assert_eq!(numbers(0, 4, 0), [0; 0]);
    }
}
