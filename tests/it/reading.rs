//! Data read as it is meant: labels, hidden answers, groups, and the files that people have.

use super::shell::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use spot::data::{Column, Dataset, Table, read_dataset};
use spot::ml::tasks::Split;
use std::collections::BTreeMap;
use std::io::Write;

/// A manifest with one data set; `from` is YAML in one line.
fn shell(from: &str) -> Shell {
    let manifest = format!(
        "version: 1\nname: own\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n  data:\n    kind: ingest\n    \
         backbone: backbone\n    from: {from}\n    input_length: 48\n"
    );
    Shell::new().write("pipelines/own.yaml", manifest)
}

fn table(file: &str, labels: &str) -> Shell {
    shell(&format!(
        "{{table: {{train: {file}, validation: {file}, template: \"{{text}}\", label: y, name: t, {labels}}}}}"
    ))
}

fn dataset(shell: &Shell) -> Dataset {
    read_dataset(&std::fs::read(shell.behind("own", "data", "dataset")).unwrap()).unwrap()
}

/// Texts of the training split with their targets.
fn targets(shell: &Shell) -> Vec<(String, String)> {
    let data = dataset(shell);
    data.examples(Split::Train).iter().map(|e| (e.input.clone(), e.target.clone())).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A column of two values in every container, with the texts `a` and `b`.
fn containers(csv: [&str; 2], json: [&str; 2], parquet: Column) -> Vec<(&'static str, Vec<u8>)> {
    let rows = |delimiter: char| format!("text{delimiter}y\na{delimiter}{}\nb{delimiter}{}\n", csv[0], csv[1]);
    let object = |text: &str, value: &str| format!("{{\"y\": {value}, \"text\": \"{text}\"}}");
    let (a, b) = (object("a", json[0]), object("b", json[1]));
    let table = Table::new([("text", Column::Text(vec!["a".to_owned(), "b".to_owned()])), ("y", parquet)]);
    vec![
        ("t.csv", rows(',').into_bytes()),
        ("t.tsv", rows('\t').into_bytes()),
        ("t.csv.gz", gzip(rows(',').as_bytes())),
        ("t.jsonl", format!("{a}\n{b}\n").into_bytes()),
        ("t.JSON", format!("[{a},\n{b}]").into_bytes()),
        ("t.jsonl.zst", zstd::encode_all(format!("{a}\n{b}\n").as_bytes(), 1).unwrap()),
        ("t.parquet", table.to_parquet().unwrap()),
    ]
}

fn truths() -> Vec<(&'static str, Vec<u8>)> {
    containers(["True", "False"], ["true", "false"], Column::Bool(vec![true, false]))
}

fn numbers() -> Vec<(&'static str, Vec<u8>)> {
    containers(["1.0", "0.0"], ["1", "0"], Column::Float(vec![1.0, 0.0]))
}

#[track_caller]
fn reads(containers: Vec<(&'static str, Vec<u8>)>, labels: &str, expected: [&str; 2]) {
    for (file, content) in containers {
        let shell = table(file, labels);
        shell.put(file, content);
        shell.spot("run own").ok();
        let found = targets(&shell);
        let found: Vec<&str> = found.iter().map(|(_, target)| target.as_str()).collect();
        assert_eq!(found, expected, "{labels} {file}");
    }
}

#[track_caller]
fn refuses(containers: Vec<(&'static str, Vec<u8>)>, labels: &str, messages: &[&str]) {
    for (file, content) in containers {
        let shell = table(file, labels);
        shell.put(file, content);
        let done = shell.spot("run own").exits_with(1);
        for message in messages {
            done.complains(message);
        }
    }
}

#[test]
fn truth_values_are_looked_up_by_value_in_every_container() {
    for labels in [
        "labels: {True: good, False: bad}",
        "labels: {\"True\": good, \"False\": bad}",
        "labels: {true: good, false: bad}",
        "labels: {FALSE: bad, TRUE: good}",
    ] {
        reads(truths(), labels, ["good", "bad"]);
    }
    reads(truths(), "labels: [True, False]", ["True", "False"]);
    reads(truths(), "labels: [false, true]", ["true", "false"]);
    for labels in ["labels: {1: good, 0: bad}", "labels: {yes: good, no: bad}", "labels: [\"1\", \"0\"]"] {
        refuses(truths(), labels, &["which is not a label", "say which is meant: `labels: {true: …, false: …}`"]);
    }
    refuses(truths(), "labels: [yes, no]", &["it may stand for ", ", the place of `no`, or for `yes`"]);
}

#[test]
fn numbers_are_looked_up_by_value_in_every_container() {
    for labels in
        ["labels: {1: good, 0: bad}", "labels: {\"1.0\": good, \"0.0\": bad}", "labels: {0.0: bad, 1.0: good}"]
    {
        reads(numbers(), labels, ["good", "bad"]);
    }
    reads(numbers(), "labels: [\"0.0\", \"1.0\"]", ["1.0", "0.0"]);
    reads(numbers(), "labels: [1, 0]", ["1", "0"]);
    // Whole numbers are places in a list of words, floats of a table that had gaps too.
    reads(numbers(), "labels: [bad, good]", ["good", "bad"]);
    refuses(
        numbers(),
        "labels: {True: good, False: bad}",
        &["a number, which is not a label: as a truth value it would be `good`"],
    );
    refuses(numbers(), "labels: [True, False]", &["as a place of `labels` it is `False`, as a truth value `True`"]);
    let halves = || containers(["1.5", "2"], ["1.5", "2.0"], Column::Float(vec![1.5, 2.0]));
    reads(halves(), "labels: [\"0.5\", \"1.0\", \"1.5\", \"2.0\"]", ["1.5", "2.0"]);
    refuses(halves(), "labels: [a, b, c]", &["1.5", "which is not a label; labels are 0 `a`, 1 `b`, 2 `c`"]);
}

#[test]
fn numbers_are_answers_with_the_digits_that_they_have() {
    let wide = || {
        containers(
            ["3.70", "12345678901234567890"],
            ["3.7", "12345678901234567890"],
            Column::Text(vec!["3.7".into(), "12345678901234567890".into()]),
        )
    };
    reads(wide(), "answer: number", ["3.7", "12345678901234567890"]);
    reads(wide(), "labels: [12345678901234567890, \"3.7\"]", ["3.7", "12345678901234567890"]);
    reads(wide(), "labels: {12345678901234567890: large, 3.7: small}", ["small", "large"]);
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_runs() {
    let refused = |labels: &str, message: &str| {
        let done = table("t.csv", labels).spot("status own").exits_with(2);
        done.complains("pipelines/own.yaml:8:").complains(message);
    };
    refused("labels: {1: a, \"1.0\": b}", "`from.table.labels` has `1` and `1.0`, which are one value in every table");
    refused("labels: {True: a, \"true\": b}", "has `True` and `true`, which are one value in every table");
    refused("labels: [\"1\", \"1.0\"]", "has `1` and `1.0`, which are one value in every table");
    refused("labels: [0.5, 1.5]", "is the number 0.5, expected a word; a number with a fraction in quotes");
    refused("labels: [1.0, 2.0]", "is the number 1.0, expected a word; a number with a fraction in quotes");
    refused("labels: [a, b], quotes: text", "`from.table.quotes` is given, but no file is a `.tsv`");
    let shell = table("t.csv", "labels: [a, b]");
    shell.edit("pipelines/own.yaml", "input_length: 48", "input_length: 48.0");
    shell.spot("status own").exits_with(2).complains("is the number 48.0, expected a whole number, 0 or more");
}

#[test]
fn a_file_with_tabs_is_read_as_somebody_says_where_it_can_be_read_in_two_ways() {
    let shell = table("t.tsv", "labels: [bad, good]");
    shell.put("t.tsv", "text\ty\n\"good\"\t1\nbad\t0\n");
    shell
        .spot("run own")
        .exits_with(1)
        .complains("`t.tsv`: line 2: `text` can be read in two ways")
        .complains("`quotes: text`");
    for (quotes, text) in [("text", "\"good\""), ("fields", "good")] {
        shell.put(
            "pipelines/own.yaml",
            table("t.tsv", &format!("labels: [bad, good], quotes: {quotes}")).read("pipelines/own.yaml"),
        );
        shell.spot("run own").ok();
        assert_eq!(targets(&shell)[0].0, format!("t {text}"));
    }
    let shell = table("t.tsv", "labels: [bad, good]");
    shell.put("t.tsv", "text\ty\n\"one\t1\ntwo\"\t0\n\"three\t1\nfour\t0\nfive\"\t1\n");
    shell.spot("run own").ok();
    assert_eq!(targets(&shell).len(), 5);
}

// ---- hidden answers ---------------------------------------------------------------------------------------------------

const HIDDEN: &str = r#"version: 1
name: own
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {files: {format: glue/sst2, train: train.tsv, validation: train.tsv, test: test.tsv}}
    input_length: 32
  scores: {kind: evaluate, backbone: backbone, data: data, split: test}
"#;

fn hidden() -> Shell {
    Shell::new()
        .write("pipelines/own.yaml", HIDDEN)
        .write("train.tsv", "sentence\tlabel\na\t1\nb\t0\n")
        .write("test.tsv", "index\tsentence\n0\tx\n1\ty\n")
}

#[test]
fn a_split_without_answers_is_not_scored() {
    let shell = hidden();
    let done = shell.spot("run own").exits_with(1);
    done.complains(
        "job `scores` failed: the answers to the test split of `sst2` are hidden, so there is nothing to score",
    );
    done.complains("name `scores.predictions` in a `submission`");
    // Somebody who reads the scores gets none either, though the predictions are for somebody.
    let more = "  board: {kind: submission, benchmark: glue, predictions: scores}\n  report: {kind: report, baseline: scores}\n";
    shell.put("pipelines/own.yaml", format!("{HIDDEN}{more}"));
    shell.spot("run own").exits_with(1).complains("but another stage reads `scores.scores`");
    shell.put("pipelines/own.yaml", format!("{HIDDEN}{}", more.lines().next().unwrap()));
    shell.spot("run own").ok();
    let scores = Table::from_parquet(&std::fs::read(shell.behind("own", "scores", "scores")).unwrap()).unwrap();
    assert_eq!((scores.rows(), scores.metadata["examples"].as_str()), (0, "2"));
    shell.put("pipelines/own.yaml", HIDDEN.replace("split: test", "split: validation"));
    shell.spot("run own").ok();
}

#[test]
fn rows_without_an_answer_are_refused_in_training_and_validation() {
    for file in ["train.tsv", "v.tsv"] {
        for (label, found) in [("-1", "`-1`"), ("", "empty"), ("NA", "`NA`"), ("NaN", "`NaN`")] {
            let shell = hidden();
            shell.edit("pipelines/own.yaml", "validation: train.tsv", "validation: v.tsv");
            shell.put("v.tsv", "sentence\tlabel\na\t1\n");
            shell.put(file, format!("sentence\tlabel\na\t1\nb\t{label}\n"));
            let done = shell.spot("run own --only data").exits_with(1);
            done.complains(&format!("`{file}`: line 3: column `label` is {found}, which hides the answer"));
        }
    }
}

#[test]
fn rows_of_a_test_split_without_an_answer_are_not_scored_and_counted() {
    let shell = hidden();
    shell.put("test.tsv", "sentence\tlabel\nx\t1\ny\t-1\nz\t0\n");
    let done = shell.spot("run own").ok();
    done.complains("data: 1 of 3 rows of the test split hide their answers; they are predicted and not scored");
    done.complains("scores: 1 of 3 examples hide their answers and are not scored");
    let scores = Table::from_parquet(&std::fs::read(shell.behind("own", "scores", "scores")).unwrap()).unwrap();
    assert_eq!((scores.rows(), scores.metadata["examples"].as_str()), (2, "2"));
}

#[test]
fn predictions_of_hidden_answers_are_as_long_as_known_ones() {
    // A prompt that was not tuned makes the model go on and on.
    let manifest = r#"version: 1
name: own
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {table: {train: t.jsonl, validation: t.jsonl, test: test.jsonl, template: "{text}", label: y, name: t}}
    input_length: 48
    target_length: 40
  answers: {kind: evaluate, backbone: backbone, data: data, split: test}
  reader: {kind: command, run: [sh, -c, "cp $SPOT_IN_p $SPOT_OUT/copy"], inputs: {p: {output: answers.predictions}}, outputs: [copy]}
"#;
    let long = "the dog ran home and the cat slept and the bird sang and the fish swam and the cow ate all day";
    let known: String = (0..6).map(|i| format!("{{\"text\": \"{long} {i}\", \"y\": \"{long}\"}}\n")).collect();
    let rows: String = (0..6).map(|i| format!("{{\"text\": \"{long} {i}\"}}\n")).collect();
    let shell = Shell::new().write("pipelines/own.yaml", manifest).write("t.jsonl", &known).write("test.jsonl", &rows);
    let predictions = |shell: &Shell| {
        shell.spot("run own").ok();
        let bytes = std::fs::read(shell.behind("own", "answers", "predictions")).unwrap();
        Table::from_parquet(&bytes).unwrap().take_text("prediction").unwrap()
    };
    let hidden = predictions(&shell);
    shell.put("test.jsonl", &known);
    assert_eq!(predictions(&shell), hidden);
    assert!(hidden.iter().any(|answer| answer.split_whitespace().count() > 9), "{hidden:?}");
}

// ---- groups -----------------------------------------------------------------------------------------------------------

#[test]
fn rows_are_drawn_in_whole_groups_in_every_split_of_every_source() {
    let multirc = |first: usize, questions: usize| -> String {
        let answers = |q: usize| {
            let answer = |a: usize| format!("{{\"text\": \"a\", \"idx\": {a}, \"label\": {}}}", (q + a) % 2);
            (0..2 + q % 4).map(answer).collect::<Vec<_>>().join(", ")
        };
        let question = |q: usize| format!("{{\"question\": \"Q\", \"idx\": {q}, \"answers\": [{}]}}", answers(q));
        let line = |q: usize| {
            format!("{{\"idx\": {q}, \"passage\": {{\"text\": \"P\", \"questions\": [{}]}}}}\n", question(q))
        };
        (first..first + questions).map(line).collect()
    };
    let csv = |questions: usize| -> String {
        let rows = (0..questions).flat_map(|q| (0..2 + q % 4).map(move |a| format!("x{a},{},q{q}\n", (q + a) % 2)));
        "text,y,q\n".to_owned() + &rows.collect::<String>()
    };
    let files = "{files: {format: superglue/multirc, train: a.jsonl, validation: b.jsonl, test: c.jsonl}}";
    let own = "{table: {train: a.csv, validation: a.csv, test: a.csv, template: \"{text}\", label: y, group: q, labels: [no, yes]}}";
    for from in [files, own] {
        let shell = shell(from);
        for (file, first) in [("a.jsonl", 0), ("b.jsonl", 100), ("c.jsonl", 200)] {
            shell.put(file, multirc(first, 40));
        }
        shell.put("a.csv", csv(40));
        shell.spot("run own").ok();
        let whole = dataset(&shell);
        shell.edit(
            "pipelines/own.yaml",
            "input_length: 48",
            "input_length: 48\n    rows: {train: 50, validation: 21, test: 8}",
        );
        shell.spot("run own").ok();
        let drawn = dataset(&shell);
        for (split, rows) in [(Split::Train, 50), (Split::Validation, 21), (Split::Test, 8)] {
            let sizes = |data: &Dataset| {
                let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
                for example in data.examples(split) {
                    *sizes.entry(example.group.clone().unwrap()).or_default() += 1;
                }
                sizes
            };
            let (all, some) = (sizes(&whole), sizes(&drawn));
            assert!(some.iter().all(|(group, size)| all[group] == *size), "{from} {split:?}");
            let count = drawn.examples(split).len();
            assert!(count <= rows && count + 5 > rows, "{from} {split:?}: {count} of {rows}");
        }
    }
}

// ---- files ------------------------------------------------------------------------------------------------------------

#[test]
fn what_a_json_table_may_not_hold_is_named_with_its_place() {
    let fails = |content: &str, message: &str| {
        let shell = table("t.jsonl", "labels: [bad, good]");
        shell.put("t.jsonl", content);
        shell.spot("run own").exits_with(1).complains("`t.jsonl`: ").complains(message);
    };
    let row = "{\"text\": \"a\", \"y\": 0}\n";
    fails(
        &format!("{row}{{\"text\": \"a\", \"y\": 0, \"text\": \"b\"}}"),
        "line 2: column 34: the name `text` appears in the object a second time",
    );
    fails(
        &format!("{row}{{\"text\": \"a\", \"y\": NaN}}"),
        "line 2: column 20: `y`: `NaN`, which Python writes, is not JSON; write `null`",
    );
    fails("[]", "line 1: no rows; expected at least one");
    fails("{\"text\": {\"0\": \"a\"}, \"y\": {\"0\": 1}}", "line 1: `y` is an object, expected a text");
    fails(&row.replace('\n', "\r").repeat(2), "line 1: lines end in carriage returns alone");
    fails(&format!("{row}\u{1f}"), "line 2: column 1: expected value");
}

#[test]
fn published_formats_are_read_from_any_json_packed_or_not_and_refused_without_rows() {
    let from = "{files: {format: glue/sst2, train: a, validation: b}}";
    let rows = "[{\"sentence\": \"x\", \"label\": 1},\n{\"sentence\": \"y\", \"label\": 0.0}]";
    let shell = shell(from);
    shell.put("a", gzip(rows.as_bytes()));
    shell.put("b", format!("\u{feff}{rows}"));
    shell.spot("run own").ok();
    let expected: Vec<(String, String)> = [("sst2 sentence: x", "positive"), ("sst2 sentence: y", "negative")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into();
    assert_eq!(targets(&shell), expected);
    for (content, message) in [
        (&b"sentence\tlabel\n"[..], "`b`: no rows; expected at least one"),
        (b"[]", "`b`: no rows"),
        (b"PAR1....PAR1", "`b`: a Parquet file; `glue/sst2` is read from its original files, or as JSON lines"),
        (b"\xfd7zXZ\0\0\0", "`b`: cannot be unpacked: "),
        (b"7z\xbc\xaf\x27\x1c\0", "`b`: is packed with 7-Zip, which is not read; unpack it, for instance with `7z x`"),
        (b"\xff\xfes\0", "`b`: UTF-16 text; convert the file to UTF-8"),
    ] {
        shell.put("b", content);
        shell.spot("run own").exits_with(1).complains(message);
    }
}

#[test]
fn rows_that_nobody_could_decide_are_counted() {
    let shell = shell("{files: {format: glue/mnli, train: a, validation: a}}");
    let row = |label: &str| format!("{{\"gold_label\": \"{label}\", \"sentence1\": \"P\", \"sentence2\": \"H\"}}\n");
    shell.put("a", row("-") + &row("neutral") + &row("-"));
    shell.spot("run own").ok().complains("`a`: 2 of 3 rows are left out; their gold label is `-`");
    assert_eq!(targets(&shell).len(), 1);
}

fn text(files: &str) -> Shell {
    let shell = shell(&format!("{{text: {{files: [{files}], window: 12, name: t}}}}"));
    shell.edit("pipelines/own.yaml", "input_length: 48", "input_length: 12\n    target_length: 12");
    shell
}

/// Lines as C4 has them.
fn c4() -> String {
    let line = |i: usize| {
        let text = format!("The old dog number {i} ran to the town. It was a warm day.");
        serde_json::json!({"text": text, "url": format!("http://x/{i}"), "timestamp": "2019-04-25T12:57:54Z"})
            .to_string()
            + "\n"
    };
    (0..4).map(line).collect()
}

#[test]
fn c4_is_read_as_json_and_never_as_prose() {
    let rows: Vec<String> = c4().lines().map(str::to_owned).collect();
    let contents = [
        ("c4.json", c4().into_bytes()),
        ("c4.JSONL", c4().into_bytes()),
        ("c4.json.gz", gzip(c4().as_bytes())),
        ("c4.jsonl.zst", zstd::encode_all(c4().as_bytes(), 1).unwrap()),
        ("bom.jsonl", format!("\u{feff}{}", c4()).into_bytes()),
        ("array.json", format!("[{}]", rows.join(",\n")).into_bytes()),
    ];
    let mut first = None;
    for (file, content) in contents {
        let shell = text(file);
        shell.put(file, content);
        shell.spot("run own").ok();
        let data = dataset(&shell);
        let examples = data.examples(Split::Train);
        assert!(
            examples.len() >= 4 && examples.iter().all(|e| !format!("{} {}", e.input, e.target).contains("url")),
            "{file}"
        );
        assert_eq!(first.get_or_insert(examples.to_vec()), examples, "{file}");
    }
    let shell = text("c4.txt");
    shell.put("c4.txt", c4());
    shell.spot("run own").exits_with(1).complains("`c4.txt`: begins with a JSON object that has a `text`");
    shell.put("pipelines/own.yaml", text("c4.parquet").read("pipelines/own.yaml"));
    shell.spot("status own").exits_with(2).complains("is `c4.parquet`, but a `.parquet` file is not prose");
    let shell = text("c4.json.gz");
    shell.put("c4.json.gz", c4());
    shell.spot("run own").exits_with(1).complains("`c4.json.gz`: ends in `.gz`, but is not packed with gzip");
}

// ---- names ------------------------------------------------------------------------------------------------------------

/// Two data sets of one format, and what is done with them.
fn two(name: &str, rest: &str) -> Shell {
    let manifest = format!(
        r#"version: 1
name: own
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  glue: {{kind: ingest, backbone: backbone, input_length: 32, from: {{files: {{format: glue/rte, train: a, validation: a}}}}}}
  super: {{kind: ingest, backbone: backbone, input_length: 32, from: {{files: {{format: superglue/rte, train: b, validation: b, test: c{name}}}}}}}
  one: {{kind: tune, backbone: backbone, data: glue, length: 2, training: &t {{steps: 1, batch_size: 2, evaluate_every: 1}}}}
  two: {{kind: tune, backbone: backbone, data: super, length: 2, training: *t}}
{rest}"#
    );
    let rows = |a: &str, b: &str, label: &str| {
        (0..3).map(|i| format!("{{\"{a}\": \"P{i}\", \"{b}\": \"H\", \"idx\": {i}{label}}}\n")).collect::<String>()
    };
    Shell::new()
        .write("pipelines/own.yaml", manifest)
        .write("a", rows("sentence1", "sentence2", ", \"label\": 0"))
        .write("b", rows("premise", "hypothesis", ", \"label\": \"entailment\""))
        .write("c", rows("premise", "hypothesis", ""))
}

const MIXED: &str = "  both: {kind: tune, backbone: backbone, data: [glue, super], length: 2, training: *t}\n";

const STUDY: &str = r#"  of_one: {kind: embed, prompt: one}
  of_two: {kind: embed, prompt: two}
  ranking: {kind: rank, target: of_one, sources: [of_one, of_two]}
"#;

const REPORT: &str = r#"  a: {kind: evaluate, backbone: backbone, prompt: one, data: glue}
  b: {kind: evaluate, backbone: backbone, prompt: two, data: super}
  report: {kind: report, baseline: [a, b]}
"#;

const TRANSFER: &str = r#"  ranking: {kind: rank, target: of_one, sources: [of_one]}
  of_one: {kind: embed, prompt: one}
  transfer:
    kind: transfer
    backbone: backbone
    data: glue
    ranking: ranking
    prompts: [one, two]
    strategy: {best_of_top_k: 1}
    length: 2
    training: *t
"#;

#[test]
fn two_data_sets_of_one_name_are_refused_before_anything_runs() {
    let cases = [
        (MIXED, ":9:", "`data` has two data sets of the task `rte`, `glue` and `super`; a mixture has one of each"),
        (STUDY, ":11:", "`sources` has two data sets called `rte`, behind `of_one` and `of_two`"),
        (REPORT, ":11:", "`baseline` has two data sets called `rte`, behind `a` and `b`"),
        (TRANSFER, ":16:", "`prompts` has two data sets called `rte`, behind `one` and `two`"),
    ];
    for (rest, place, message) in cases {
        let shell = two("", rest);
        let done = shell.spot("run own").exits_with(2);
        done.complains(&format!("pipelines/own.yaml{place}"))
            .complains(message)
            .complains("by `name` in `from: {files: …}`");
        assert!(!shell.path("cache").exists(), "nothing ran");
        two(", name: superglue_rte", rest).spot("status own").ok();
    }
}

#[test]
fn a_name_changes_what_a_task_is_called_and_nothing_else() {
    let board = "  answers: {kind: evaluate, backbone: backbone, prompt: two, data: super, split: test}\n  board: {kind: submission, \
                 benchmark: superglue, predictions: answers}\n";
    let read = |shell: &Shell, stage: &str| {
        read_dataset(&std::fs::read(shell.behind("own", stage, "dataset")).unwrap()).unwrap()
    };
    let (plain, named) = (two("", board), two(", name: superglue_rte", &format!("{board}{MIXED}{STUDY}{REPORT}")));
    plain.spot("run own").ok();
    named.spot("run own").ok();
    let (plain, other) = (read(&plain, "super"), read(&named, "super"));
    assert_eq!((plain.task.name.as_str(), other.task.name.as_str()), ("rte", "superglue_rte"));
    assert_eq!((plain.parts, plain.template), (other.parts, other.template));
    let results = named.spot("report own --format json").ok().json();
    let targets: Vec<&str> =
        results["targets"].as_array().unwrap().iter().map(|t| t["task"].as_str().unwrap()).collect();
    assert_eq!(targets, ["rte", "superglue_rte"]);
    // The leaderboard knows the task by the name that it gave it.
    assert_eq!(named.read("cache/v1/views/own/board/submission.parts/RTE.jsonl").lines().count(), 3);
    let shell = two(", name: \" \"", "");
    shell.spot("status own").exits_with(2).complains("`from.files.name` is ` `, expected a word or two");
}

// ---- the terminal -----------------------------------------------------------------------------------------------------

/// What steers a terminal.
fn steers(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

const EVIL: &str = "\u{1b}[31mred\u{7}\u{9b}2J\u{7f}";

#[test]
fn nothing_of_a_file_steers_the_terminal() {
    let json = serde_json::to_string(EVIL).unwrap();
    let name = format!("t{EVIL}.jsonl");
    let contents = [
        format!("{{\"text\": \"a\", \"y\": {json}}}"),
        format!("{{\"text\": \"a\", {json}: 1}}"),
        format!("{{\"text\": \"a\", {json}: 1, {json}: 2, \"y\": 0}}"),
        format!("{{\"text\": \"a\", \"y\": {EVIL}}}"),
    ];
    for content in contents {
        for file in ["t.jsonl", &name] {
            let shell = table(&serde_json::to_string(file).unwrap(), "labels: [bad, good]");
            shell.put(file, &content);
            for line in ["run own", "run own --format json", "status own", "explain own data", "run own --verbose"] {
                let done = shell.spot(line);
                let done = if line.starts_with("run") { done.exits_with(1) } else { done.ok() };
                assert!(!steers(&done.err) && !steers(&done.out), "{line}: {:?} {:?}", done.err, done.out);
            }
        }
    }
}

#[test]
fn nothing_of_a_result_steers_the_terminal() {
    // Texts may hold anything; labels, names of tasks and of stages may not.
    let shell = table("t.jsonl", "answer: text");
    let row = |y: &str| serde_json::json!({"text": EVIL, "y": y}).to_string() + "\n";
    shell.put("t.jsonl", row(EVIL) + &row("b"));
    shell.spot("run own").ok();
    assert_eq!(targets(&shell)[0].1, EVIL);
    for line in
        ["show data", "show data --format json", "status own", "gc own", "audit own", "explain own data", "graph own"]
    {
        let done = shell.spot(line).ok();
        assert!(!steers(&done.err) && !steers(&done.out), "{line}: {:?} {:?}", done.err, done.out);
    }
    // Data for a program stay as they are.
    assert!(shell.spot("show data --csv dataset").ok().out.contains(EVIL));
    let done = shell.spot("show").arg(EVIL).exits_with(2);
    assert!(!steers(&done.err), "{:?}", done.err);
    let done = shell.spot("run own --only").arg(EVIL).exits_with(2);
    assert!(!steers(&done.err), "{:?}", done.err);
    let done = shell.spot("run own --jobs").arg(EVIL).exits_with(2);
    assert!(!steers(&done.err) && done.err.contains("red\\u{9b}2J"), "{:?}", done.err);
}
