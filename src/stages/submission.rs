//! `submission`: predictions on test splits as the files that the leaderboards of GLUE and SuperGLUE take.
//!
//! Names, keys and forms of the answers are those that T5's `prepare_glue_submission.py` writes, and those that jiant wrote
//! at its version 1 (`evaluate.py`), which comes from the authors of both benchmarks. Where the two differ, jiant is followed:
//! similarities have three decimals. The diagnostic sets (`AX`, `AX-b`, `AX-g`) are jiant's.

use super::reading::read;
use super::{PREDICTIONS, SUBMISSION};
use crate::data::Predictions;
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Input, Issue, Output, Refs, Stage};
use crate::engine::store::digest::Digest;
use crate::ml::metrics::names_referent;
use crate::ml::tasks::{self, Split};
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Files for the leaderboard of a benchmark, one for each task. They are parts of the artifact; the folder of views has them
/// by their names. An output that is not an answer becomes the task's first label, which is counted and warned about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Which leaderboard.
    benchmark: Benchmark,
    /// Evaluations on `split: test`, one for each task. Tasks without one stay out, which is warned about.
    predictions: Refs,
}

/// A collection of tasks with a leaderboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Benchmark {
    /// GLUE: `CoLA.tsv` and ten more.
    Glue,
    /// SuperGLUE: `BoolQ.jsonl` and nine more.
    Superglue,
}

/// What a leaderboard wants of a task.
#[derive(Debug)]
struct Wanted {
    /// The format whose test file was read.
    format: &'static str,
    /// Name of the file.
    file: &'static str,
    /// Rows of the official test split.
    rows: usize,
    form: Form,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The label's word.
    Word,
    /// The word in lower case (BoolQ and WiC: `true`).
    LowerCase,
    /// The label's number.
    Number,
    /// A similarity from 0 to 5.
    Similarity,
    /// Whether the answer is the noun that the example names: `True` or `False`.
    Referent,
    /// The label's number, in answers of questions of passages.
    Nested,
    /// The text as it is.
    Text,
}

const fn wanted(format: &'static str, file: &'static str, rows: usize, form: Form) -> Wanted {
    Wanted { format, file, rows, form }
}

static GLUE: &[Wanted] = &[
    wanted("glue/cola", "CoLA.tsv", 1063, Form::Number),
    wanted("glue/sst2", "SST-2.tsv", 1821, Form::Number),
    wanted("glue/mrpc", "MRPC.tsv", 1725, Form::Number),
    wanted("glue/stsb", "STS-B.tsv", 1379, Form::Similarity),
    wanted("glue/qqp", "QQP.tsv", 390_965, Form::Number),
    wanted("glue/mnli", "MNLI-m.tsv", 9796, Form::Word),
    wanted("glue/mnli_mismatched", "MNLI-mm.tsv", 9847, Form::Word),
    wanted("glue/qnli", "QNLI.tsv", 5463, Form::Word),
    wanted("glue/rte", "RTE.tsv", 3000, Form::Word),
    wanted("glue/wnli", "WNLI.tsv", 146, Form::Number),
    wanted("glue/ax", "AX.tsv", 1104, Form::Word),
];

static SUPERGLUE: &[Wanted] = &[
    wanted("superglue/boolq", "BoolQ.jsonl", 3245, Form::LowerCase),
    wanted("superglue/cb", "CB.jsonl", 250, Form::Word),
    wanted("superglue/copa", "COPA.jsonl", 500, Form::Number),
    wanted("superglue/multirc", "MultiRC.jsonl", 9693, Form::Nested),
    wanted("superglue/record", "ReCoRD.jsonl", 10_000, Form::Text),
    wanted("superglue/rte", "RTE.jsonl", 3000, Form::Word),
    wanted("superglue/wic", "WiC.jsonl", 1400, Form::LowerCase),
    wanted("superglue/wsc", "WSC.jsonl", 146, Form::Referent),
    wanted("superglue/axb", "AX-b.jsonl", 1104, Form::Word),
    wanted("superglue/axg", "AX-g.jsonl", 356, Form::Word),
];

/// The artifact's own bytes: which files there are.
#[derive(Serialize)]
struct Summary {
    benchmark: Benchmark,
    files: Vec<Written>,
    missing: Vec<&'static str>,
}

/// A file of a submission.
#[derive(Serialize)]
struct Written {
    file: &'static str,
    digest: Digest,
    rows: usize,
    illegal: usize,
}

impl Stage for Submission {
    const KIND: &'static str = "submission";
    const VERSION: u32 = 2;
    const OUTPUTS: &'static [Output] = &[Output { name: "submission", of: SUBMISSION }];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::many("predictions", &self.predictions, PREDICTIONS)]
    }

    fn check(&self) -> Result<(), Issue> {
        if self.predictions.0.is_empty() {
            return Err(Issue::new("predictions", "is empty, expected evaluations on test splits"));
        }
        Ok(())
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let table = self.benchmark.table();
        let mut given: BTreeMap<&str, (String, Predictions)> = BTreeMap::new();
        for artifact in cx.many("predictions") {
            let predictions = on_test(artifact)?;
            let wanted =
                self.benchmark.wanted(&predictions.published).with_context(|| format!("`{}`", artifact.origin()))?;
            if let Some((other, _)) = given.insert(wanted.file, (artifact.origin(), predictions)) {
                let this = artifact.origin();
                bail!("`{other}` and `{this}` are both for `{}`; name one evaluation for each task", wanted.file);
            }
        }
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for wanted in table {
            let Some((origin, predictions)) = given.get(wanted.file) else {
                missing.push(wanted.file);
                continue;
            };
            let (bytes, illegal) = wanted.bytes(predictions).with_context(|| format!("`{origin}`"))?;
            let rows = predictions.ids.len();
            for warning in wanted.warnings(rows, illegal) {
                cx.progress().warn(&warning);
            }
            let digest = cx.attach("submission", wanted.file, &bytes)?;
            files.push(Written { file: wanted.file, digest, rows, illegal });
        }
        if !missing.is_empty() {
            cx.progress().warn(&format!("no predictions for {}; the leaderboard wants all files", missing.join(", ")));
        }
        let mut summary = serde_json::to_vec_pretty(&Summary { benchmark: self.benchmark, files, missing })?;
        summary.push(b'\n');
        cx.write("submission", &summary)
    }
}

impl Benchmark {
    fn table(self) -> &'static [Wanted] {
        match self {
            Self::Glue => GLUE,
            Self::Superglue => SUPERGLUE,
        }
    }

    /// What is wanted of a task, by its name.
    fn wanted(self, task: &str) -> anyhow::Result<&'static Wanted> {
        let found = self.table().iter().find(|wanted| wanted.task() == task);
        found.with_context(|| {
            let known: Vec<String> = self.table().iter().map(|wanted| format!("`{}`", wanted.task())).collect();
            format!("`{task}` is not a task of the benchmark; its tasks are {}", known.join(", "))
        })
    }
}

/// What an evaluation made the model say on a test split.
fn on_test(artifact: &Artifact) -> anyhow::Result<Predictions> {
    let predictions = read("predictions", artifact, Predictions::from_parquet)?;
    let (origin, split) = (artifact.origin(), predictions.split);
    let name = split.name();
    ensure!(split == Split::Test, "`{origin}` is of {name} split; a leaderboard wants predictions on `split: test`");
    Ok(predictions)
}

impl Wanted {
    fn task(&self) -> String {
        tasks::task(self.format).expect("the tables name formats that exist").name
    }

    /// The file, and how many outputs were no answer.
    fn bytes(&self, predictions: &Predictions) -> anyhow::Result<(Vec<u8>, usize)> {
        let labels = match self.form {
            Form::Referent => vec!["False".to_owned(), "True".to_owned()],
            _ => tasks::task(self.format).map(|task| task.labels).unwrap_or_default(),
        };
        // WSC has a form in which the model names the noun, and one in which it answers with a label.
        let judged = predictions.targets.iter().all(|target| target == tasks::HIDDEN || labels.contains(target));
        let (mut lines, mut illegal) = (Vec::new(), 0);
        for row in 0..predictions.ids.len() {
            let (line, legal) = self.line(predictions, row, &labels, judged)?;
            lines.push(line);
            illegal += usize::from(!legal);
        }
        let text = if self.file.ends_with(".tsv") { table(&lines) } else { objects(&lines)? };
        Ok((text.into_bytes(), illegal))
    }

    /// The answer of a row, and whether the output was one.
    fn line(&self, given: &Predictions, row: usize, labels: &[String], judged: bool) -> anyhow::Result<(Line, bool)> {
        let (id, answer) = (&given.ids[row], &given.answers[row]);
        let found = match self.form {
            Form::Text => return Ok((Line::Word(last(id)?, answer.clone()), true)),
            Form::Similarity => {
                let number = answer.trim().parse().ok().filter(|number: &f64| number.is_finite());
                let text = format!("{:.3}", number.unwrap_or_default().clamp(0.0, 5.0));
                return Ok((Line::Word(last(id)?, text), number.is_some()));
            }
            Form::Referent if !judged => usize::try_from(names_referent(answer, &given.targets[row])).ok(),
            _ => labels.iter().position(|label| label == answer),
        };
        let label = found.unwrap_or_default();
        let line = match self.form {
            Form::Nested => Line::Nested(whole(id)?, label),
            Form::Number => Line::Number(last(id)?, label),
            Form::LowerCase => Line::Word(last(id)?, labels[label].to_lowercase()),
            _ => Line::Word(last(id)?, labels[label].clone()),
        };
        Ok((line, found.is_some()))
    }

    fn warnings(&self, rows: usize, illegal: usize) -> impl Iterator<Item = String> {
        let Self { file, rows: expected, .. } = self;
        let short =
            (rows != *expected).then(|| format!("{file} has {rows} rows, but the official test split has {expected}"));
        let instead = if self.form == Form::Similarity { "0" } else { "the first label" };
        let illegal = (illegal > 0)
            .then(|| format!("{file}: {illegal} of {rows} outputs were no answer; {instead} stands for them"));
        short.into_iter().chain(illegal)
    }
}

/// An answer with the index of its row.
enum Line {
    Word(u64, String),
    Number(u64, usize),
    /// Passage, question and answer.
    Nested([u64; 3], usize),
}

/// The number at the end of an identifier: a row's own one, or that of a query of ReCoRD.
fn last(id: &str) -> anyhow::Result<u64> {
    let number = id.rsplit('-').next().unwrap_or(id);
    number.parse().with_context(|| format!("the row `{id}` has no number, by which the leaderboard knows it"))
}

fn whole(id: &str) -> anyhow::Result<[u64; 3]> {
    let numbers: Option<Vec<u64>> = id.split('-').map(|number| number.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.with_context(|| format!("the row `{id}` does not name passage, question and answer"))
}

fn table(lines: &[Line]) -> String {
    let mut text = "index\tprediction\n".to_owned();
    for line in lines {
        text += &match line {
            Line::Word(index, word) => format!("{index}\t{word}\n"),
            Line::Number(index, number) | Line::Nested([.., index], number) => format!("{index}\t{number}\n"),
        };
    }
    text
}

/// A JSON object on each line; the nested ones have a line for each passage.
fn objects(lines: &[Line]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Labelled<L> {
        idx: u64,
        label: L,
    }
    #[derive(Serialize)]
    struct Question<'l> {
        idx: u64,
        answers: &'l [Labelled<usize>],
    }
    let mut text = String::new();
    let mut passages: BTreeMap<u64, BTreeMap<u64, Vec<Labelled<usize>>>> = BTreeMap::new();
    for line in lines {
        match line {
            Line::Word(idx, label) => text += &(serde_json::to_string(&Labelled { idx: *idx, label })? + "\n"),
            Line::Number(idx, label) => text += &(serde_json::to_string(&Labelled { idx: *idx, label })? + "\n"),
            Line::Nested([passage, question, idx], label) => {
                let questions = passages.entry(*passage).or_default();
                questions.entry(*question).or_default().push(Labelled { idx: *idx, label: *label });
            }
        }
    }
    for (idx, questions) in &passages {
        let questions: Vec<Question<'_>> =
            questions.iter().map(|(idx, answers)| Question { idx: *idx, answers }).collect();
        text += &serde_json::json!({"idx": idx, "passage": {"questions": questions}}).to_string();
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of a task whose model said this on rows with these identifiers.
    fn file(benchmark: Benchmark, task: &str, rows: &[(&str, &str, &str)]) -> (String, usize) {
        let column = |of: fn(&(&str, &str, &str)) -> String| rows.iter().map(of).collect();
        let predictions = Predictions {
            task: "any".to_owned(),
            published: task.to_owned(),
            split: Split::Test,
            seed: None,
            inputs: Vec::new(),
            ids: column(|row| row.0.to_owned()),
            targets: column(|row| row.1.to_owned()),
            answers: column(|row| row.2.to_owned()),
        };
        let (bytes, illegal) = benchmark.wanted(task).unwrap().bytes(&predictions).unwrap();
        (String::from_utf8(bytes).unwrap(), illegal)
    }

    #[track_caller]
    fn glue(task: &str, answers: &[&str], expected: &[&str], illegal: usize) {
        let ids: Vec<String> = (0..answers.len()).map(|row| row.to_string()).collect();
        let rows: Vec<_> = ids.iter().zip(answers).map(|(id, answer)| (id.as_str(), tasks::HIDDEN, *answer)).collect();
        let lines: String = expected.iter().enumerate().map(|(row, answer)| format!("{row}\t{answer}\n")).collect();
        assert_eq!(file(Benchmark::Glue, task, &rows), (format!("index\tprediction\n{lines}"), illegal));
    }

    #[track_caller]
    fn superglue(task: &str, rows: &[(&str, &str)], expected: &str, illegal: usize) {
        let rows: Vec<_> = rows.iter().map(|(id, answer)| (*id, tasks::HIDDEN, *answer)).collect();
        assert_eq!(file(Benchmark::Superglue, task, &rows), (expected.to_owned(), illegal));
    }

    #[test]
    fn glue_wants_tables_of_numbers_or_words() {
        glue("cola", &["acceptable", "unacceptable", "no"], &["1", "0", "0"], 1);
        glue("sst2", &["positive"], &["1"], 0);
        glue("mrpc", &["not_equivalent"], &["0"], 0);
        glue("qqp", &["duplicate"], &["1"], 0);
        glue("wnli", &["entailment"], &["1"], 0);
        glue("stsb", &["2.6", "9", "none", "nan"], &["2.600", "5.000", "0.000", "0.000"], 2);
        for task in ["mnli", "mnli_mismatched", "ax"] {
            glue(task, &["neutral", "contradiction", ""], &["neutral", "contradiction", "entailment"], 1);
        }
        for task in ["qnli", "rte"] {
            glue(task, &["not_entailment", "entailment"], &["not_entailment", "entailment"], 0);
        }
    }

    #[test]
    fn superglue_wants_objects_with_words_numbers_or_truths() {
        let truths = "{\"idx\":3,\"label\":\"true\"}\n{\"idx\":4,\"label\":\"false\"}\n";
        superglue("boolq", &[("3", "True"), ("4", "False")], truths, 0);
        superglue("wic", &[("3", "True"), ("4", "true")], truths, 1);
        superglue("cb", &[("0", "neutral")], "{\"idx\":0,\"label\":\"neutral\"}\n", 0);
        superglue("copa", &[("0", "choice2"), ("1", "")], "{\"idx\":0,\"label\":1}\n{\"idx\":1,\"label\":0}\n", 1);
        for task in ["rte", "axb", "axg"] {
            superglue(task, &[("0", "not_entailment")], "{\"idx\":0,\"label\":\"not_entailment\"}\n", 0);
        }
        // Of a query of ReCoRD the passage's number is left out.
        superglue("record", &[("8-21", "New \"York\"")], "{\"idx\":21,\"label\":\"New \\\"York\\\"\"}\n", 0);
    }

    #[test]
    fn answers_of_multirc_are_nested() {
        let rows = [("0-0-0", "True"), ("0-0-1", "False"), ("0-1-2", "maybe"), ("10-2-3", "True"), ("2-9-4", "True")];
        superglue(
            "multirc",
            &rows,
            "{\"idx\":0,\"passage\":{\"questions\":[{\"answers\":[{\"idx\":0,\"label\":1},{\"idx\":1,\"label\":0}],\"idx\":0},\
             {\"answers\":[{\"idx\":2,\"label\":0}],\"idx\":1}]}}\n\
             {\"idx\":2,\"passage\":{\"questions\":[{\"answers\":[{\"idx\":4,\"label\":1}],\"idx\":9}]}}\n\
             {\"idx\":10,\"passage\":{\"questions\":[{\"answers\":[{\"idx\":3,\"label\":1}],\"idx\":2}]}}\n",
            1,
        );
    }

    #[test]
    fn nouns_of_wsc_become_truths_and_judgements_stay() {
        let (text, illegal) = file(
            Benchmark::Superglue,
            "wsc",
            &[("0", "fuzzy bunny", "The bunny"), ("1", "Bob", "Eve"), ("2", "Bob", "the")],
        );
        let label = |idx: u32, label: &str| format!("{{\"idx\":{idx},\"label\":\"{label}\"}}\n");
        assert_eq!((text, illegal), ([label(0, "True"), label(1, "False"), label(2, "False")].concat(), 1));
        superglue("wsc", &[("0", "True"), ("1", "False")], &[label(0, "True"), label(1, "False")].concat(), 0);
    }

    #[test]
    fn rows_without_numbers_and_unknown_tasks_are_refused() {
        let wanted = Benchmark::Superglue.wanted("cb").unwrap();
        let predictions = |id: &str| Predictions {
            task: "any".to_owned(),
            published: "cb".to_owned(),
            split: Split::Test,
            seed: None,
            inputs: Vec::new(),
            ids: vec![id.to_owned()],
            targets: vec![tasks::HIDDEN.to_owned()],
            answers: vec!["neutral".to_owned()],
        };
        assert!(wanted.bytes(&predictions("7")).is_ok());
        let error = wanted.bytes(&predictions("a")).unwrap_err().to_string();
        assert_eq!(error, "the row `a` has no number, by which the leaderboard knows it");
        let multirc = Benchmark::Superglue.wanted("multirc").unwrap();
        assert!(multirc.bytes(&predictions("1-2")).unwrap_err().to_string().contains("passage, question and answer"));
        let error = Benchmark::Glue.wanted("boolq").unwrap_err().to_string();
        assert!(error.starts_with("`boolq` is not a task of the benchmark; its tasks are `cola`, `sst2`"), "{error}");
    }

    #[test]
    fn every_file_is_of_a_task_of_its_own() {
        for (benchmark, count) in [(Benchmark::Glue, 11), (Benchmark::Superglue, 10)] {
            let names: std::collections::BTreeSet<String> = benchmark.table().iter().map(Wanted::task).collect();
            assert_eq!((names.len(), benchmark.table().len()), (count, count));
        }
    }
}
