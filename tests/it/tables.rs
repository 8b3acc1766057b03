//! Tables in the forms in which people and hubs have them: shards, nested columns, choices, files without a header.

use super::shell::Shell;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression as Codec;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use spot::data::{Dataset, read_dataset};
use spot::ml::tasks::{Example, Metric, Split};
use std::io::Write;
use std::sync::Arc;

/// A task in ten lines, and everything up to its scores.
fn manifest(table: &str, decoding: &str) -> String {
    format!(
        "version: 1
name: it
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  data:
    kind: ingest
    backbone: backbone
    from:
      table:
{table}
    hold_out: {{share: 0.5}}
    input_length: 48
  prompt:
    {{kind: tune, backbone: backbone, data: data, length: 4, training: {{steps: 4, batch_size: 8, evaluate_every: 2}}}}
  scores: {{kind: evaluate, backbone: backbone, prompt: prompt, data: data, split: test{decoding}}}
"
    )
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}

fn shell(table: &str) -> Shell {
    Shell::new().write("pipelines/it.yaml", manifest(&indented(table), ""))
}

fn dataset(shell: &Shell) -> Dataset {
    read_dataset(&std::fs::read(shell.behind("it", "data", "dataset")).unwrap()).unwrap()
}

/// The examples of all splits by their ids.
fn examples(shell: &Shell) -> Vec<Example> {
    let data = dataset(shell);
    let mut all: Vec<Example> = Split::ALL.iter().flat_map(|split| data.examples(*split).to_vec()).collect();
    all.sort_by_key(|example| example.id.parse::<usize>().unwrap_or(usize::MAX));
    all
}

/// A text, packed.
pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Texts with their labels, as a hub serves them.
pub(crate) fn snappy(texts: &[String], labels: &[i64]) -> Vec<u8> {
    let columns: [(&str, ArrayRef); 2] = [
        ("text", Arc::new(StringArray::from_iter_values(texts))),
        ("label", Arc::new(Int64Array::from(labels.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(Codec::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

const COLOURS: [&str; 4] = ["red", "blue", "green", "white"];

#[test]
fn a_list_of_options_makes_choices() {
    let row = |i: usize| {
        let options = &COLOURS[..2 + i % 3];
        json!({"question": format!("which, number {i}"), "options": options, "gold": i % options.len(), "votes": i % 7})
            .to_string()
    };
    let lines: Vec<String> = (0..60).map(row).collect();
    let table = r#"train: data/options.jsonl
name: pick
template: 'question: {question} options: {options|join(", ")} of {len(options)}'
label: gold
choices: {from: options, first: 0}
drop: votes < 1"#;
    let shell = shell(table).write("data/options.jsonl", lines.join("\n"));
    shell.spot("run it").ok().complains("9 rows of the train split are left out; `drop` has `votes < 1`");
    let data = dataset(&shell);
    assert_eq!((data.task.metrics.clone(), examples(&shell).len()), (vec![Metric::Accuracy], 51));
    let second = &examples(&shell)[1];
    assert_eq!(second.id, "2");
    assert_eq!(second.input, "pick question: which, number 2 options: red, blue, green, white of 4");
    assert_eq!((second.target.as_str(), second.label, second.choices.len()), ("green", Some(2), 4));

    shell.put("pipelines/it.yaml", manifest(&indented(table), ", decoding: {rank: {}}"));
    assert_eq!(shell.executed_by("run it"), ["scores"]);
    shell.spot("show scores").ok().prints("accuracy");
    let scores = std::fs::read(shell.behind("it", "scores", "scores")).unwrap();
    let scores = spot::data::ScoresFile::from_parquet(&scores).unwrap();
    assert_eq!((scores.illegal, scores.metrics[0].0), (0, Metric::Accuracy));
    shell.spot("audit it").ok();
}

#[test]
fn nested_answers_are_those_of_squad_on_the_hub() {
    let row = |i: usize| {
        let answers = json!({"text": [COLOURS[i % 4], "a colour"], "answer_start": [i, 3]});
        json!({"question": format!("what is {i}"), "context": "much", "answers": answers}).to_string()
    };
    let table = "train: data/nested.json.gz
template: 'question: {question} context: {context} ({answers.answer_start[0]})'
label: answers.text";
    let shell = shell(table).write("data/nested.json.gz", gzip(&(0..40).map(row).collect::<Vec<_>>().join("\n")));
    shell.spot("run it").ok();
    let third = &examples(&shell)[3];
    assert_eq!(third.input, "nested question: what is 3 context: much (3)");
    assert_eq!(
        (third.target.as_str(), third.answers.clone()),
        ("white", vec!["white".to_owned(), "a colour".to_owned()])
    );
}

#[test]
fn a_file_without_a_header_has_the_columns_that_are_named() {
    let rows: String = (0..40).map(|i| format!("\"so, {i}\",{}\n", if i % 2 == 0 { "good" } else { "bad" })).collect();
    let table = "train: data/mood.CSV
columns: [text, mood]
template: '{text}'
label: mood
labels: [bad, good]";
    let shell = shell(table).write("data/mood.CSV", &rows);
    shell.spot("run it").ok();
    assert_eq!(examples(&shell)[0].input, "mood so, 0");
    shell.edit("pipelines/it.yaml", "columns: [text, mood]\n", "quotes: text\n");
    shell.spot("run it").exits_with(2).complains("no file is a `.tsv`");
    shell.edit("pipelines/it.yaml", "quotes: text\n", "group: text\n");
    shell.spot("run it").exits_with(1).complains("if the file has no header, name its columns: `columns: […]`");
}

#[test]
fn shards_of_a_hub_are_one_table_and_none_may_be_missing() {
    let texts = |shard: usize| (0..20).map(|i| format!("text {}", 20 * shard + i)).collect::<Vec<_>>();
    let labels: Vec<i64> = (0..20).map(|i| i % 2).collect();
    let table = "train: data/sent/train-*.parquet
name: sent
template: '{text}'
label: label
labels: [negative, positive]";
    let shell = shell(table);
    let name = |shard: usize| format!("data/sent/train-{shard:05}-of-00003.parquet");
    for shard in [0, 2] {
        shell.put(&name(shard), snappy(&texts(shard), &labels));
    }
    shell.put("data/sent/README.md", "nothing");
    shell.spot("run it").exits_with(1).complains("shard 1 of 3 of `train-*.parquet` is missing, 2 are there");
    shell.put(&name(1), snappy(&texts(1), &labels));
    shell.spot("run it").ok();
    let all = examples(&shell);
    assert_eq!((all.len(), all[59].input.as_str(), all[59].label), (60, "sent text 59", Some(1)));
    shell.spot("show data").ok().prints("train-00001-of-00003.parquet");

    // Another content of one of them is another data set; a folder and a list mean the same rows.
    assert_eq!(shell.states("it")["data"], "cached");
    for train in ["data/sent/", "[data/sent/train-00000-of-00003.parquet, data/sent/train-0000[12]-of-00003.parquet]"] {
        let is_list = train.starts_with('[');
        let list = "[data/sent/train-00000-of-00003.parquet, data/sent/train-00001-of-00003.parquet, data/sent/train-00002-of-00003.parquet]";
        let train = if is_list { list } else { train };
        shell.put("pipelines/it.yaml", manifest(&indented(&table.replace("data/sent/train-*.parquet", train)), ""));
        shell.spot("run it").ok();
        assert_eq!(examples(&shell), all, "{train}");
    }
    shell.put("pipelines/it.yaml", manifest(&indented(table), ""));
    shell.put(&name(1), snappy(&texts(7), &labels));
    assert_eq!(shell.states("it")["data"], "stale");
    let other: ArrayRef = Arc::new(StringArray::from_iter_values(["x"]));
    let batch = RecordBatch::try_from_iter([("txt", other)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    shell.put(&name(1), writer.into_inner().unwrap());
    shell
        .spot("run it")
        .exits_with(1)
        .complains("data/sent/train-00001-of-00003.parquet")
        .complains("no column `label`; found `txt`");
}

#[test]
fn what_files_cannot_be_is_said_before_anything_runs() {
    let refused = |train: &str, expected: &str| {
        let table = format!("train: {train}\nname: x\ntemplate: '{{text}}'\nlabel: label");
        shell(&table).spot("status it").exits_with(2).complains(expected);
    };
    refused("[]", "`from.table.train` is an empty list, expected at least one file");
    refused("data/*/train.csv", "with a wildcard in the name of a folder");
    refused("data/rte", "or a folder, written with `/` at its end");
    refused("data/x.txt", "expected a file whose name ends in `.csv`");
    refused("7", "expected a path, a folder (`data/`), a pattern");
    refused("../out/*.csv", "leads out of the project");
    for odd in ["7", "true", "{a: 1}", "[1]"] {
        let table = format!("train: a.csv\ntemplate: '{{text}}'\nlabel: label\ndrop: {odd}");
        shell(&table).spot("status it").exits_with(2).complains("from.table.drop");
    }
    let table = "train: a.csv\ntemplate: '{text}'\nlabel: label\ndrop: 7";
    shell(table).spot("status it").exits_with(2).complains("expected a text or a list of texts");
    let table = "train: [data/a.csv, data/b.csv]\ntemplate: '{text}'\nlabel: label";
    shell(table).spot("status it").exits_with(2).complains("is needed, since the training rows are in several files");
    let blocked = shell("train: data/none-*.csv\nname: x\ntemplate: '{text}'\nlabel: label").write("data/a.csv", "a\n");
    blocked.spot("status it").ok().prints("no file is called `none-*.csv`; found `a.csv`");
}

#[test]
fn a_file_that_is_named_twice_does_not_count_twice() {
    let rows: String = (0..30).map(|i| format!("text {i},{}\n", i % 2)).collect();
    let table = "train: ['data/*.csv', data/a.csv]
name: twice
template: '{text}'
label: label
labels: [negative, positive]";
    let shell = shell(table).write("data/a.csv", format!("text,label\n{rows}"));
    shell
        .spot("run it")
        .exits_with(1)
        .complains("`from.table.train` has `data/a.csv` twice, so that its rows would count twice");
    shell.edit("pipelines/it.yaml", "['data/*.csv', data/a.csv]", "['data/*.csv']");
    shell.spot("run it").ok();
}

#[test]
fn choices_that_the_model_cannot_write_are_counted() {
    let row = |i: usize| json!({"q": format!("number {i}"), "o": ["two  words", "blue"], "y": i % 2}).to_string();
    let table = "train: data/o.jsonl
template: '{q}'
label: y
choices: {from: o, first: 0}";
    let shell = shell(table).write("data/o.jsonl", (0..40).map(row).collect::<Vec<_>>().join("\n"));
    let said = "right choices of the train split come back from the tokenizer as another text";
    shell.spot("run it").ok().complains(said).complains("18 of 36");
}
