//! Text without labels, as language modelling: `from: {text: …}`. The start of a window of text is the input, the rest the
//! target, as in T5's `prefix_lm`.

use super::stem;
use crate::data::{Part, Tokenized};
use crate::engine::context::Cx;
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Issue, Type};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Example, Split, Task, check_name};
use crate::ml::text::tokens::Tokens;
use crate::ml::train::pretrain::{SHORTEST, prefix_length};
use crate::stages::corpus::{self, Form, paragraphs};
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

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
        Task { name: self.name(), format: None, labels, answer: Answer::Text, metrics, around: None }
    }

    /// The training split: `rows` windows, or all.
    ///
    /// # Errors
    /// If a file is damaged or not in its form, or no document is long enough.
    pub(super) fn read(&self, cx: &Cx<'_>, tokens: &Tokens, rows: Option<usize>, seed: u64) -> anyhow::Result<Part> {
        let mut sample = Sample::new(rows.unwrap_or(usize::MAX), Stream::new(seed, "windows of text"));
        for (i, file) in self.files.iter().enumerate() {
            let text = corpus::text(cx.one(&role(i))?, file.name())?;
            for document in Form::of(file.name()).documents(&text).with_context(|| format!("`{file}`"))? {
                let document = document.with_context(|| format!("`{file}`"))?;
                let mut ids = Vec::new();
                for paragraph in paragraphs(&document) {
                    ids.extend(tokens.pieces(paragraph)?);
                }
                ids.chunks(self.window).filter(|window| window.len() >= SHORTEST).for_each(|window| sample.see(window));
            }
        }
        let windows = sample.in_order();
        let shown = || self.files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
        ensure!(!windows.is_empty(), "no document of {} has {SHORTEST} ids or more", shown());
        let mut part = Part { split: Split::Train, examples: Vec::new(), tokens: Vec::new() };
        let mut stream = Stream::new(seed, "prefixes of text");
        for (number, window) in windows {
            let (input, target) = window.split_at(prefix_length(window.len(), &mut stream));
            part.examples.push(Example {
                id: number.to_string(),
                input: tokens.decode(input)?,
                target: tokens.decode(target)?,
                label: None,
                group: None,
                answers: Vec::new(),
                choices: Vec::new(),
            });
            // The ids of the window and not of its parts' texts, which might be other ones where a word is cut.
            let close = |part: &[u32]| part.iter().copied().chain([tokens.eos()]).collect();
            part.tokens.push(Tokenized { input: close(input), target: close(target) });
        }
        Ok(part)
    }

    pub(super) fn name(&self) -> String {
        let first = self.files.first().map(|file| stem(file.name()));
        self.name.clone().or_else(|| first.map(str::to_owned)).unwrap_or_default()
    }
}

fn role(i: usize) -> String {
    format!("from.text.files[{i}]")
}

/// A random sample of windows that are seen one after the other, each with its number (Vitter 1985, algorithm R): it needs
/// memory for what it keeps, and not for the corpus.
struct Sample {
    size: usize,
    seen: usize,
    kept: Vec<(usize, Vec<u32>)>,
    stream: Stream,
}

impl Sample {
    fn new(size: usize, stream: Stream) -> Self {
        Self { size, seen: 0, kept: Vec::new(), stream }
    }

    fn see(&mut self, window: &[u32]) {
        let number = self.seen;
        self.seen += 1;
        if self.kept.len() < self.size {
            self.kept.push((number, window.to_vec()));
            return;
        }
        let place = self.stream.below(self.seen);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = (number, window.to_vec());
        }
    }

    fn in_order(mut self) -> Vec<(usize, Vec<u32>)> {
        self.kept.sort_unstable();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(size: usize, of: u32, seed: u64) -> Vec<usize> {
        let mut sample = Sample::new(size, Stream::new(seed, "test"));
        (0..of).for_each(|i| sample.see(&[i]));
        let kept = sample.in_order();
        assert!(kept.iter().all(|(number, window)| window == &[*number as u32]));
        kept.into_iter().map(|(number, _)| number).collect()
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
