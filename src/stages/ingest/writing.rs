//! The outputs of a data set, written while its examples pass by: none of them is in memory for longer than it takes to tokenise it.

use super::Left;
use super::rows::{Part, Row};
use crate::data::{CardWriter, DatasetWriter, Fact, Head, Inputs, Sorter, Tokenized};
use crate::engine::context::Cx;
use crate::ml::tasks::{Answer, Content, Example, LeftOut, Split, Task, Words};
use crate::ml::text::tokens::Tokens;
use crate::stages::pace::RowPace;
use crate::stages::work::Counted;
use anyhow::Context;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// What the outputs say of all examples.
pub(super) struct About<'a> {
    pub(super) task: &'a Task,
    /// How inputs are put together.
    pub(super) template: &'a str,
    pub(super) tokens: &'a Tokens,
    /// Digest of the tokenizer.
    pub(super) tokenizer: &'a str,
    /// Ids of an input and of a target, with eos.
    pub(super) most: [usize; 2],
    /// The piece for what the tokenizer does not know.
    pub(super) unknown: &'a str,
}

/// A file of the job's folder, which is gone with it unless it was handed over.
struct Output {
    path: PathBuf,
}

impl Output {
    /// A file that is written from its beginning.
    fn new(folder: &Path, name: &str) -> anyhow::Result<(Self, BufWriter<fs_err::File>)> {
        let path = folder.join(name);
        let file = fs_err::File::create(&path)?;
        Ok((Self { path }, BufWriter::new(file)))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Whatever became of it, the folder goes with the job.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// A data set and its inputs in files, and its card.
pub(super) struct Written {
    dataset: Output,
    inputs: Output,
    pub(super) card: crate::data::Card,
    counted: Counted,
}

impl Written {
    /// Makes the files outputs of the job.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn keep(self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        self.counted.note(cx);
        cx.write("card", &self.card.to_bytes())?;
        cx.write_file("inputs", &self.inputs.path)?;
        cx.write_file("dataset", &self.dataset.path)
    }
}

/// An example with all that the outputs have of it.
struct Made {
    example: Example,
    ids: Tokenized,
    fact: Fact,
    /// Of what the input says.
    digest: u64,
    /// Whether its answer comes back from the tokenizer as another text.
    is_lost: bool,
}

/// Writes the examples of all parts, that for training first.
///
/// # Errors
/// If an example cannot be read or tokenised, a file cannot be written, or somebody asked to stop.
pub(super) fn write(cx: &Cx<'_>, about: &About<'_>, parts: &[Part<'_>], left: &Left) -> anyhow::Result<Written> {
    let folder = cx.scratch()?;
    let unknown = about.tokens.id(about.unknown);
    let mut card = CardWriter::new(about.task, about.most, unknown, folder);
    announce(cx, about.task, parts, &mut card)?;
    let head = Head {
        task: about.task,
        template: about.template,
        tokenizer: Some(about.tokenizer),
        splits: &parts.iter().map(|part| part.split).collect::<Vec<_>>(),
        brings_choices: parts.iter().any(Part::brings_choices),
    };
    let (dataset, file) = Output::new(folder, "dataset")?;
    let mut writer = DatasetWriter::new(file, &head)?;
    let content = Content::of(about.template);
    let (mut digests, mut pace, mut counted) = (Vec::new(), RowPace::new(), Counted::default());
    let all = parts.iter().map(Part::len).sum();
    for part in parts {
        let mut of_split = Sorter::<1>::new(folder);
        let left_out = left.iter().filter(|(split, _)| *split == part.split);
        let left_out: Vec<LeftOut> = left_out.map(|(_, left)| left.clone()).collect();
        let (judge, mut counter) = card.begin(part.split, left_out)?;
        let make = |(example, ids): Row| {
            let (ids, lengths) = match ids {
                Some(ids) => {
                    let lengths = [ids.input.len(), ids.target.len()];
                    (ids, lengths)
                }
                None => about.encode(&example)?,
            };
            let fact = judge.fact(&example, &ids, lengths);
            let is_lost = about.task.answer == Answer::Choice
                && about.task.knows(&example)
                && about.tokens.decode(&ids.target)? != example.target;
            let digest = content.digest(&example.input);
            Ok(Made { example, ids, fact, digest, is_lost })
        };
        let mut lost = 0;
        let progress = cx.progress();
        part.each(&|| cx.stopped(), make, |some| {
            pace.rows += some.len();
            for Made { example, ids, fact, digest, is_lost } in some {
                lost += usize::from(is_lost);
                counter.count(&fact, &example.target)?;
                counted.add(part.split, &ids);
                of_split.push([digest])?;
                writer.push(part.split, example, ids)?;
            }
            if pace.is_due() {
                progress.step(pace.rows as u64, all as u64, &format!("tokenising {}", pace.text(Some(all))));
            }
            Ok(())
        })?;
        tell_unwritable(cx, lost, part);
        of_split.close()?;
        digests.push((part.split, of_split));
    }
    writer.finish()?.into_inner().context("the data set")?;
    let card = card.finish()?;
    let (inputs, file) = Output::new(folder, "inputs")?;
    Inputs::write(&about.task.name, &digests, file)?.into_inner().context("digests of inputs")?;
    Ok(Written { dataset, inputs, card, counted })
}

/// Tells the card which words it will be asked about.
fn announce(cx: &Cx<'_>, task: &Task, parts: &[Part<'_>], card: &mut CardWriter) -> anyhow::Result<()> {
    let learns = parts.iter().any(|part| part.split == Split::Train);
    if task.answer != Answer::Label || !learns {
        return Ok(());
    }
    for part in parts.iter().filter(|part| part.split != Split::Train) {
        let words = |(example, _): Row| Ok(task.knows(&example).then(|| Words::of(&example.input)));
        part.each(&|| cx.stopped(), words, |some| {
            some.iter().flatten().for_each(|words| card.will_ask(words));
            Ok(())
        })?;
    }
    Ok(())
}

impl About<'_> {
    /// The ids of an example, and how many there were before they were cut.
    fn encode(&self, example: &Example) -> anyhow::Result<(Tokenized, [usize; 2])> {
        let (input, of_input) = self.tokens.encode_counted(&example.input, self.most[0])?;
        let (target, of_target) = self.tokens.encode_counted(&example.target, self.most[1])?;
        Ok((Tokenized { input, target }, [of_input, of_target]))
    }
}

/// Says how many right choices come back from the tokenizer as another text, so that no written answer is ever one of them.
fn tell_unwritable(cx: &Cx<'_>, lost: usize, part: &Part<'_>) {
    if lost > 0 {
        let (all, split) = (part.len(), part.split.name());
        cx.progress().warn(&format!(
            "{lost} of {all} right choices of the {split} split come back from the tokenizer as another text, so that no written answer is \
             right; `decoding: {{rank: {{}}}}` of `evaluate` compares likelihoods instead"
        ));
    }
}
