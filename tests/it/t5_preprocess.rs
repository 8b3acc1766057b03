//! The catalogue's templates against the code that they are from: what T5's and SPoT's own preprocessors made of rows and files
//! (`tests/golden/t5_preprocess.py`), by whole texts.

use super::shell::{PROJECT, Shell};
use arrow_array::{ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use parquet::arrow::ArrowWriter;
use serde::Deserialize;
use serde_json::Value;
use spot::data::{Dataset, read_dataset};
use spot::ml::tasks::{Example, Split};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Case>,
    files: Vec<Real>,
}

/// Rows in the columns of the hub, or the text of a file as its authors write it, and the examples: input, target, accepted answers.
#[derive(Deserialize)]
struct Case {
    task: String,
    variant: Option<String>,
    split: Split,
    #[serde(default)]
    rows: Vec<Value>,
    #[serde(default)]
    ending: Option<String>,
    #[serde(default)]
    text: String,
    examples: Vec<Texts>,
}

/// A file of the benchmarks, and the digest of its examples.
#[derive(Deserialize)]
struct Real {
    task: String,
    variant: Option<String>,
    split: Split,
    file: String,
    examples: usize,
    digest: String,
}

/// Input, target, and the accepted answers of tasks that have some.
type Texts = Vec<String>;

/// Where the examples of a split are meant to be others than theirs.
struct Different {
    task: &'static str,
    split: Split,
    /// What theirs become.
    ours: fn(Vec<Texts>) -> Vec<Texts>,
}

const DIFFERENT: [Different; 3] = [
    // Rows on which the annotators did not agree have the target `<unk>` in the paper's code.
    Different {
        task: "snli",
        split: Split::Train,
        ours: |theirs| theirs.into_iter().filter(|e| e[1] != "<unk>").collect(),
    },
    // The hub has -1 for a score that is hidden, and T5's code writes it as a number.
    Different {
        task: "stsb",
        split: Split::Test,
        ours: |theirs| theirs.into_iter().map(|e| vec![e[0].clone(), e[1].replace("-1.0", "<unk>")]).collect(),
    },
    // T5's code makes an example of every accepted answer in validation too, and its metric counts a query once.
    Different {
        task: "record",
        split: Split::Validation,
        ours: |mut theirs| {
            theirs.dedup_by(|next, first| next[0] == first[0]);
            theirs
        },
    },
];

/// The row whose template is T5's and that is not compared: T5's `prefix_lm` draws where ids are cut, and there is no text to compare.
const NOT_COMPARED: &str = "c4";

fn golden() -> Golden {
    let path = Path::new(PROJECT).join("tests/golden/t5_preprocess.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Digests by reader and file.
fn pinned() -> BTreeMap<String, String> {
    serde_json::from_slice(&std::fs::read(Path::new(PROJECT).join("tests/golden/tasks.json")).unwrap()).unwrap()
}

impl Real {
    /// The digest that the file has among others: `glue/rte of RTE/dev.tsv`.
    fn pinned<'p>(&self, pinned: &'p BTreeMap<String, String>) -> Option<&'p String> {
        let reader = self.task.trim_start_matches("glue_");
        let variant = self.variant.as_ref().map_or_else(String::new, |variant| format!("_{variant}"));
        let (suite, file) = self.file.split_once('/').unwrap();
        let key = format!("{reader}{variant} of {file}");
        pinned.get(&format!("{suite}/{key}")).or_else(|| pinned.get(&key))
    }
}

/// A column as the hub has it, of values of one type.
fn column(values: &[&Value]) -> ArrayRef {
    match values[0] {
        Value::String(_) => Arc::new(StringArray::from_iter_values(values.iter().map(|value| value.as_str().unwrap()))),
        Value::Number(number) if number.is_f64() => {
            Arc::new(Float32Array::from_iter_values(values.iter().map(|value| value.as_f64().unwrap() as f32)))
        }
        Value::Number(_) => Arc::new(Int64Array::from_iter_values(values.iter().map(|value| value.as_i64().unwrap()))),
        Value::Array(_) => {
            let lists: Vec<&Vec<Value>> = values.iter().map(|value| value.as_array().unwrap()).collect();
            let items = column(&lists.iter().copied().flatten().collect::<Vec<_>>());
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            Arc::new(ListArray::new(field, offsets, items, None))
        }
        Value::Object(_) => {
            let fields = columns(values)
                .into_iter()
                .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
            Arc::new(StructArray::from(fields.collect::<Vec<_>>()))
        }
        other => panic!("{other}"),
    }
}

fn columns<'v>(rows: &[&'v Value]) -> Vec<(&'v str, ArrayRef)> {
    let names: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    let of = |name: &str| column(&rows.iter().map(|row| &row[name]).collect::<Vec<_>>());
    names.into_iter().map(|name| (name, of(name))).collect()
}

fn parquet(rows: &[Value]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns(&rows.iter().collect::<Vec<_>>())).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A pipeline that reads tasks of the catalogue from files.
struct Reading {
    shell: Shell,
    pipeline: String,
}

impl Reading {
    fn new() -> Self {
        let pipeline =
            "version: 1\nname: t5\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n".to_owned();
        Self { shell: Shell::new(), pipeline }
    }

    fn add(&mut self, stage: &str, (task, variant): (&str, Option<&str>), files: &BTreeMap<Split, String>) {
        let variant = variant.map_or_else(String::new, |variant| format!(", variant: {variant}"));
        let mut files = files.clone();
        let first = files.values().next().unwrap().clone();
        for split in [Split::Train, Split::Validation] {
            files.entry(split).or_insert_with(|| first.clone());
        }
        let files: String = files.iter().map(|(split, file)| format!(", {}: {file}", split.name())).collect();
        self.pipeline += &format!(
            "  {stage}:\n    kind: ingest\n    backbone: backbone\n    from: {{task: {{name: {task}{variant}{files}}}}}\n"
        );
    }

    fn run(self) -> Shell {
        let shell = self.shell.write("pipelines/t5.yaml", self.pipeline);
        shell.spot("run t5").ok();
        shell
    }
}

fn examples(shell: &Shell, stage: &str, split: Split) -> Vec<Example> {
    let data: Dataset = read_dataset(&std::fs::read(shell.behind("t5", stage, "dataset")).unwrap()).unwrap();
    data.examples(split).to_vec()
}

fn texts(example: &Example, with_answers: bool) -> Texts {
    let answers = if with_answers { &example.answers[..] } else { &[] };
    [&example.input, &example.target].into_iter().chain(answers).cloned().collect()
}

impl Case {
    fn stage(&self) -> String {
        let variant = self.variant.as_deref().unwrap_or("usual");
        let form = self.ending.as_deref().unwrap_or("hub");
        format!("{}_{variant}_{form}", self.task)
    }

    /// Their examples, or what is said to be different.
    fn expected(&self) -> Vec<Texts> {
        let different = DIFFERENT.iter().find(|other| other.task == self.task && other.split == self.split);
        let theirs = self.examples.clone();
        match different {
            None => theirs,
            Some(Different { task, ours, .. }) => {
                let ours = ours(theirs);
                assert_ne!(ours, self.examples, "{task} is not different");
                ours
            }
        }
    }
}

#[test]
fn rows_become_the_text_that_their_code_makes_of_them() {
    let cases = golden().rows;
    let mut reading = Reading::new();
    let mut stages: BTreeMap<String, (&Case, BTreeMap<Split, String>)> = BTreeMap::new();
    for case in &cases {
        let ending = case.ending.as_deref().unwrap_or("parquet");
        let file = format!("data/{}_{}.{ending}", case.stage(), case.split.name());
        let content = if case.rows.is_empty() { case.text.clone().into_bytes() } else { parquet(&case.rows) };
        reading.shell.put(&file, content);
        stages.entry(case.stage()).or_insert_with(|| (case, BTreeMap::new())).1.insert(case.split, file);
    }
    for (stage, (case, files)) in &stages {
        reading.add(stage, (&case.task, case.variant.as_deref()), files);
    }
    let shell = reading.run();
    let mut wrong = Vec::new();
    for case in &cases {
        let with_answers = case.examples.iter().any(|example| example.len() > 2);
        let found = examples(&shell, &case.stage(), case.split);
        let found: Vec<Texts> = found.iter().map(|example| texts(example, with_answers)).collect();
        let expected = case.expected();
        if found.len() != expected.len() {
            wrong.push(format!("{} {}: {} of {}", case.stage(), case.split.name(), found.len(), expected.len()));
        }
        for (found, expected) in found.iter().zip(&expected).filter(|(found, expected)| found != expected) {
            wrong.push(format!("{} {}\n  ours   {found:?}\n  theirs {expected:?}", case.stage(), case.split.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every row and variant with a template of T5 or the paper, and the sentence of the manual that says so.
#[test]
fn all_templates_that_are_theirs_are_compared() {
    let golden = golden();
    let count: usize = golden.files.iter().map(|real| real.examples).sum();
    let compared: BTreeSet<(String, Option<String>)> =
        golden.rows.into_iter().map(|case| (case.task, case.variant)).collect();
    let shell = Shell::new();
    let theirs = |row: &Value| ["t5", "spot"].iter().any(|whose| row["template_from"].get(whose).is_some());
    let mut expected = BTreeSet::new();
    for row in shell.spot("tasks --format json").ok().json()["tasks"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        if theirs(row) && name != NOT_COMPARED {
            expected.insert((name.to_owned(), None));
        }
        for variant in row["variants"].as_array().unwrap() {
            let variant = variant.as_str().unwrap();
            let of = shell.spot(&format!("tasks {name} --variant {variant} --format json")).ok().json();
            if theirs(&of["task"]) {
                expected.insert((name.to_owned(), Some(variant.to_owned())));
            }
        }
    }
    assert_eq!(compared, expected);
    let manual = std::fs::read_to_string(Path::new(PROJECT).join("docs/tasks.md")).unwrap();
    let sentence = manual.split("\n\n").find(|part| part.contains("tests/golden/t5_preprocess.py")).unwrap();
    let count = format!("{},{:03} examples of real files", count / 1000, count % 1000);
    assert!(sentence.contains(&count), "docs/tasks.md does not say {count}");
    for name in DIFFERENT.iter().map(|other| other.task).chain([NOT_COMPARED]) {
        assert!(sentence.contains(&format!("`{name}`")), "docs/tasks.md does not name `{name}`");
    }
}

/// The digests of `tests/golden/tasks.json` are those of what their code makes. `ml::tasks::shared` compares them with what the readers make.
#[test]
fn digests_of_the_readers_are_those_of_their_code() {
    let pinned = pinned();
    let golden = golden();
    let same = golden.files.iter().filter_map(|real| Some((real, real.pinned(&pinned)?)));
    let same: Vec<(&Real, &String)> = same.collect();
    assert_eq!(same.len(), pinned.len() - 1, "WNLI alone is no row of the catalogue");
    for (real, digest) in same {
        assert_eq!(real.digest, *digest, "{}", real.file);
    }
}

/// Files of which there are no other digests. Skipped where the files are not at hand.
#[test]
fn real_files_become_the_text_that_their_code_makes_of_them() {
    let shared = std::env::var_os("SPOT_SHARED").map_or_else(|| Path::new(PROJECT).join("../shared"), PathBuf::from);
    let folder = shared.join("data");
    let (mut reading, pinned) = (Reading::new(), pinned());
    let files: Vec<Real> = golden().files.into_iter().filter(|real| real.pinned(&pinned).is_none()).collect();
    for (at, real) in files.iter().enumerate() {
        let path = folder.join(&real.file);
        if !path.is_file() {
            println!("skipped: no {} (set SPOT_SHARED)", path.display());
            return;
        }
        let name = format!("data/{at}_{}", path.file_name().unwrap().to_str().unwrap());
        reading.shell.put(&name, std::fs::read(path).unwrap());
        reading.add(
            &format!("file_{at}"),
            (&real.task, real.variant.as_deref()),
            &BTreeMap::from([(real.split, name)]),
        );
        let other = if real.split == Split::Train { Split::Validation } else { Split::Train };
        reading.pipeline += &format!("    rows: {{{}: 4}}\n", other.name());
    }
    let shell = reading.run();
    for (at, real) in files.iter().enumerate() {
        let found = examples(&shell, &format!("file_{at}"), real.split);
        assert_eq!(found.len(), real.examples, "{}", real.file);
        let mut hasher = blake3::Hasher::new();
        for text in found.iter().flat_map(|example| texts(example, true)) {
            hasher.update(text.as_bytes()).update(b"\n");
        }
        assert_eq!(hasher.finalize().to_hex()[..32], real.digest, "{} of {}", real.task, real.file);
    }
}
