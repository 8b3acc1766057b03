//! Tasks of a user's own: tables and text that people have, and what is refused in them.

use super::shell::{PROJECT, Shell, smoke};
use spot::data::{Column, Dataset, Table, read_dataset};
use spot::ml::tasks::{Answer, Metric, Split};

/// What README.md shows, on the built-in model and with a short tuning.
const REVIEWS: &str = r#"version: 1
name: own
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from:
      table:
        train: data/reviews.csv
        template: "title: {title} review: {text}"
        label: stars
        labels: {1: bad, 2: bad, 4: good, 5: good}
        metrics: [accuracy, f1]
    hold_out: {share: 0.5}
    input_length: 48
  prompt:
    kind: tune
    backbone: backbone
    data: data
    length: 4
    training: {steps: 4, batch_size: 8, evaluate_every: 2}
  scores: {kind: evaluate, backbone: backbone, prompt: prompt, data: data, split: test}
"#;

/// The rows of a table: title, text, stars.
fn rows() -> Vec<(String, String, i64)> {
    let nouns = ["film", "book", "meal", "song", "hotel"];
    let words = [("dull", 1), ("poor", 2), ("warm", 4), ("fine", 5)];
    let row = |i: usize| {
        let (noun, (word, stars)) = (nouns[i % 5], words[i % 4]);
        (format!("A {word} {noun}"), format!("This {noun} was \"{word}\",\nI say, number {i}."), stars)
    };
    (0..60).map(row).collect()
}

fn csv(delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(b"\xef\xbb\xbf".to_vec());
    writer.write_record(["title", "text", "stars"]).unwrap();
    rows().iter().for_each(|(title, text, stars)| writer.write_record([title, text, &stars.to_string()]).unwrap());
    writer.into_inner().unwrap()
}

fn shell() -> Shell {
    Shell::new().write("pipelines/own.yaml", REVIEWS).write("data/reviews.csv", csv(b','))
}

fn dataset(shell: &Shell) -> Dataset {
    read_dataset(&std::fs::read(shell.behind("own", "data", "dataset")).unwrap()).unwrap()
}

#[test]
fn a_csv_is_tuned_and_evaluated() {
    let shell = shell();
    shell.spot("run own").ok();
    let data = dataset(&shell);
    assert_eq!((data.task.name.as_str(), data.task.answer), ("reviews", Answer::Label));
    assert_eq!(
        (&data.task.labels[..], &data.task.metrics[..]),
        (&["bad".into(), "good".into()][..], &[Metric::Accuracy, Metric::F1][..])
    );
    let sizes = Split::ALL.map(|split| data.examples(split).len());
    assert_eq!(sizes, [54, 3, 3]);
    let all: Vec<_> = Split::ALL.iter().flat_map(|split| data.examples(*split)).collect();
    let first = all.iter().find(|example| example.id == "0").unwrap();
    assert_eq!(first.input, "reviews title: A dull film review: This film was \"dull\",\nI say, number 0.");
    assert_eq!(all.iter().filter(|example| example.label == Some(1)).count(), 30);
    shell.spot("show scores").ok().prints("accuracy").prints("f1").prints("score");
    shell.spot("audit own").ok();
}

#[test]
fn the_readme_shows_the_task_that_is_run_here() {
    let start = REVIEWS.find("  data:\n").unwrap();
    let stage = &REVIEWS[start..REVIEWS.find("    hold_out:").unwrap()];
    let readme = std::fs::read_to_string(std::path::Path::new(PROJECT).join("README.md")).unwrap();
    assert!(readme.contains(stage), "README.md lacks\n{stage}");
}

#[test]
fn a_csv_goes_through_the_whole_study() {
    let origins = r#"  origins:
    w_sum: {builtin: w_sum}
    w_topic: {builtin: w_topic}
    w_mood: {builtin: w_mood}
    reviews:
      table:
        train: data/reviews.csv
        validation: data/reviews.csv
        test: data/reviews.csv
        template: "title: {title} review: {text}"
        label: stars
        labels: {1: bad, 2: bad, 4: good, 5: good}
"#;
    let study = smoke()
        .replace("from: {builtin: \"${task}\"}", "from: \"${origins.${task}}\"")
        .replace("targets: [w_mood, w_animal]\n", &format!("targets: [w_mood, reviews]\n{origins}"));
    let shell = Shell::new().write("pipelines/smoke.yaml", study).write("data/reviews.csv", csv(b','));
    shell.spot("run smoke").ok();
    let results = shell.spot("report smoke --format json").ok().json();
    let targets = results["targets"].as_array().unwrap();
    let reviews = targets.iter().find(|target| target["task"] == "reviews").unwrap();
    assert_eq!(reviews["cells"].as_array().unwrap().len(), results["methods"].as_array().unwrap().len());
    assert_eq!(results["matrix"]["scores"]["targets"], serde_json::json!(["reviews", "w_mood"]));
    shell.spot("audit smoke").ok();
}

#[test]
fn the_same_rows_in_any_layout_are_the_same_data_set() {
    let shell = shell();
    shell.spot("run own --only data").ok();
    let bytes = shell.behind("own", "data", "dataset");
    let lines: String = rows()
        .iter()
        .map(|(title, text, stars)| format!("{}\n", serde_json::json!({"stars": stars, "title": title, "text": text})))
        .collect();
    let column =
        |of: fn(&(String, String, i64)) -> &String| Column::Text(rows().iter().map(|row| of(row).clone()).collect());
    let stars = rows().iter().map(|(_, _, stars)| *stars as f64).collect();
    let parquet =
        Table::new([("text", column(|r| &r.1)), ("stars", Column::Float(stars)), ("title", column(|r| &r.0))]);
    shell.put("data/reviews.tsv", csv(b'\t'));
    shell.put("data/reviews.jsonl", lines);
    shell.put("data/reviews.parquet", parquet.to_parquet().unwrap());
    let mut last = "csv";
    for ending in ["tsv", "jsonl", "parquet"] {
        shell.edit("pipelines/own.yaml", &format!("reviews.{last}"), &format!("reviews.{ending}"));
        assert_eq!(shell.executed_by("run own --only data"), ["data"], "{ending}");
        assert_eq!(shell.behind("own", "data", "dataset"), bytes, "{ending}");
        last = ending;
    }
}

#[test]
fn a_file_moved_or_renamed_changes_nothing_where_the_task_has_a_name() {
    let shell = shell();
    shell.edit("pipelines/own.yaml", "label: stars", "label: stars\n        name: mine");
    shell.spot("run own --only data").ok();
    std::fs::rename(shell.path("data/reviews.csv"), shell.path("data/renamed.csv")).unwrap();
    shell.edit("pipelines/own.yaml", "reviews.csv", "renamed.csv");
    assert_eq!(shell.executed_by("run own --only data"), [""; 0]);
    shell.edit("pipelines/own.yaml", "{share: 0.5}", "{rows: 2}");
    assert_eq!(shell.executed_by("run own --only data"), ["data"]);
    assert_eq!(dataset(&shell).examples(Split::Test).len(), 2);
}

/// After an edit of the manifest nothing is planned; the message names the place.
#[track_caller]
fn refused(from: &str, to: &str, message: &str) {
    let shell = shell();
    shell.edit("pipelines/own.yaml", from, to);
    shell.spot("status own").exits_with(2).complains("pipelines/own.yaml:").complains(message);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    refused(
        "[accuracy, f1]",
        "[accuracy, rouge1]",
        "`from.table.metrics` has `rouge1`, which does not fit answers that are labels; those that fit: `accuracy`, `f1`, \
         `macro_f1`, `matthews`, `group_exact_match`",
    );
    refused("[accuracy, f1]", "[acuracy]", "cannot be `acuracy`; did you mean `accuracy`?");
    refused(
        "4: good",
        "4: fair",
        "`from.table.metrics` has `f1`, which is of two labels, but there are 3; use `macro_f1`",
    );
    refused("{title}", "{title", "`from.table.template` has a `{` without its partner");
    refused("title: {title}", "title: {stars}", "`from.table.template` has `{stars}`, the column with the answer");
    refused(
        "reviews.csv",
        "reviews.xlsx",
        "expected a file whose name ends in `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet` or `.arrow`",
    );
    refused("label: stars", "label: stars\n        answer: number", "is given beside `labels`");
    refused("label: stars", "label: stars\n        validation_share: 1.5", "is 1.5, expected between 0 and 1");
    refused("{1: bad, 2: bad, 4: good, 5: good}", "[good]", "has 1 different words, expected at least two");
    refused(
        "{1: bad, 2: bad, 4: good, 5: good}",
        "good",
        "expected a list of words, or a mapping from values to words",
    );
    refused("{share: 0.5}", "{share: 0}", "`hold_out.share` is 0, expected between 0 and 1");
    refused(
        "labels: {1: bad, 2: bad, 4: good, 5: good}",
        "answer: number",
        "those that fit: `pearson`, `spearman`, `accuracy`",
    );
    refused(
        "labels: {1: bad, 2: bad, 4: good, 5: good}",
        "answer: text",
        "those that fit: `exact_match`, `token_f1`, `accuracy`, `rouge1`, `rouge2`, `rouge_lsum`",
    );
}

/// With this file the ingest fails, and the message names file and line.
#[track_caller]
fn fails(content: impl AsRef<[u8]>, message: &str) {
    let shell = shell();
    shell.put("data/reviews.csv", content);
    shell.spot("run own").exits_with(1).complains("`data/reviews.csv`: ").complains(message);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place() {
    fails(
        "titel,text,stars\na,b,1\n",
        "line 1: no column `title` (did you mean `titel`?); found `titel`, `text`, `stars`",
    );
    fails(
        "title,text,stars\na,b,1\nc,d,3\n",
        "line 3: `stars` is `3`, which is not a label; labels are `1`, `2`, `4`, `5`",
    );
    fails("title,text,stars\na,\"b\nc\",1\nc,d\n", "line 4: 2 fields, expected 3");
    fails("title,text,stars\na,\"b,1\nc,d,5\n", "line 2: a quote is opened here and never closed");
    fails("title,text,stars,title\na,b,1,c\n", "line 1: column 4 is called `title`, and so is column 1");
    fails(b"title,text,stars\na,\xe9,1\n", "line 2: not UTF-8");
    fails("", "line 1: the file is empty");
    fails("title,text,stars\n", "line 1: no rows");
    fails("title,text,stars\na,b,\n", "line 2: `stars` is empty, expected an answer");
}

#[test]
fn a_table_that_is_too_small_to_split_is_refused() {
    let shell = shell();
    shell.put("data/reviews.csv", "title,text,stars\na,b,1\n");
    let message = "no `validation`, so it is split off `data/reviews.csv`: 1 examples would become 1 and 0 held out";
    shell.spot("run own").exits_with(1).complains(message);
}

#[test]
fn labels_that_the_model_cannot_write_are_refused() {
    let shell = shell();
    shell.edit("pipelines/own.yaml", "4: good, 5: good", "4: 良, 5: 良");
    shell.spot("run own").exits_with(1).complains("the label `良` comes back from the tokenizer as");
    shell.edit("pipelines/own.yaml", "4: 良, 5: 良", "4: good, 5: good");
    shell.edit("pipelines/own.yaml", "input_length: 48", "input_length: 48\n    target_length: 2");
    shell.edit("pipelines/own.yaml", "4: good, 5: good", "4: very good indeed, 5: very good indeed");
    shell.spot("run own").exits_with(1).complains("the label `very good indeed` is ").complains("`target_length` is 2");
}

const MULTIRC: &str = r#"version: 1
name: own
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {files: {format: superglue/multirc, train: data/train.jsonl, validation: data/val.jsonl}}
    hold_out: {share: 0.4}
    rows: {test: 3}
"#;

fn multirc(passages: usize, label: &str) -> String {
    let answers = |q: usize| {
        (0..3).map(|a| format!(r#"{{"text": "a", "idx": {}{label}}}"#, 3 * q + a)).collect::<Vec<_>>().join(", ")
    };
    let line = |i: usize| {
        let questions = [2 * i, 2 * i + 1]
            .map(|q| format!(r#"{{"question": "Q", "idx": {q}, "answers": [{}]}}"#, answers(q)))
            .join(", ");
        format!("{{\"idx\": {i}, \"passage\": {{\"text\": \"P\", \"questions\": [{questions}]}}}}\n")
    };
    (0..passages).map(line).collect()
}

#[test]
fn a_part_of_validation_is_held_out_with_groups_in_one_piece() {
    let known = r#", "label": 1"#;
    let shell = Shell::new().write("pipelines/own.yaml", MULTIRC);
    shell.put("data/train.jsonl", multirc(2, known));
    shell.put("data/val.jsonl", multirc(5, known));
    shell.spot("run own").ok();
    let data = dataset(&shell);
    let groups = |split| {
        let groups = data.examples(split).iter().map(|example| example.group.clone().unwrap());
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    // 4 of 10 questions with 3 answers each, of which `rows` takes 3.
    assert_eq!(data.examples(Split::Validation).len(), 18);
    assert_eq!(data.examples(Split::Test).len(), 3);
    assert!(groups(Split::Validation).is_disjoint(&groups(Split::Test)));
    assert_eq!(groups(Split::Validation).len(), 6);

    // A test split without labels makes way; one with labels is a contradiction.
    let with_test = "validation: data/val.jsonl, test: data/test.jsonl";
    shell.edit("pipelines/own.yaml", "validation: data/val.jsonl", with_test);
    shell.put("data/test.jsonl", multirc(3, ""));
    shell.spot("run own").ok().complains("the test split without answers makes way");
    assert_eq!(dataset(&shell).parts, data.parts);
    shell.put("data/test.jsonl", multirc(3, known));
    shell.spot("run own").exits_with(1).complains("`hold_out`: the test split has 18 examples with answers already");
}

#[test]
fn nothing_is_held_out_of_nothing() {
    let shell = Shell::new().write("pipelines/own.yaml", MULTIRC.replace(", validation: data/val.jsonl", ""));
    let done = shell.spot("status own").exits_with(2);
    done.complains("pipelines/own.yaml:9:15: `hold_out`: needs a validation split to draw from; name its file");
    let builtin = MULTIRC.replace(
        "{files: {format: superglue/multirc, train: data/train.jsonl, validation: data/val.jsonl}}",
        "{builtin: w_sum}",
    );
    shell.put("pipelines/own.yaml", builtin.replace("w_sum", "w_text"));
    shell.spot("status own").exits_with(2).complains("`hold_out`: needs a validation split, and text has none");
    // Of a built-in task no test split is made, and the part comes from all that is usual, whatever `rows` leaves of it.
    shell.put("pipelines/own.yaml", builtin.replace("{test: 3}", "{train: 8, validation: 10, test: 7}"));
    shell.spot("run own").ok();
    let data = dataset(&shell);
    let (validation, test) = (data.examples(Split::Validation), data.examples(Split::Test));
    assert_eq!((validation.len(), test.len()), (10, 7));
    assert!(test.iter().all(|example| !validation.iter().any(|other| other.input == example.input)));
    shell.edit("pipelines/own.yaml", "{share: 0.4}", "{rows: 100000}");
    shell.spot("run own").exits_with(1).complains("examples would become 0 and ");
}

const TEXT: &str = r#"version: 1
name: own
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {text: {files: [data/story.txt, data/more.jsonl.zst], window: 12}}
    rows: {train: 20}
    input_length: 12
    target_length: 12
  prompt:
    kind: tune
    backbone: backbone
    data: data
    length: 2
    training: {steps: 2, batch_size: 4, evaluate_every: 1}
"#;

fn text() -> Shell {
    let story: String =
        (0..40).map(|i| format!("The dog number {i} ran home.\n{}", if i % 9 == 8 { "\n" } else { "" })).collect();
    let lines: String = (0..10)
        .map(|i| format!("{}\n", serde_json::json!({"text": format!("A cat saw {i} birds.\nIt slept."), "url": i})))
        .collect();
    let packed = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    Shell::new().write("pipelines/own.yaml", TEXT).write("data/story.txt", story).write("data/more.jsonl.zst", packed)
}

#[test]
fn text_is_cut_into_windows_and_continued() {
    let shell = text();
    shell.spot("run own").ok();
    let data = dataset(&shell);
    assert_eq!((data.task.name.as_str(), data.task.answer, data.task.metrics.len()), ("story", Answer::Text, 0));
    assert_eq!(data.parts.len(), 1);
    let part = data.part(Split::Train).unwrap();
    assert_eq!(part.examples.len(), 20);
    for (example, tokens) in part.examples.iter().zip(&part.tokens) {
        // Both end in eos; together they are a window.
        let ids = tokens.input.len() + tokens.target.len() - 2;
        assert!((4..=12).contains(&ids) && tokens.input.len() > 1 && tokens.target.len() > 1, "{example:?}");
        assert_eq!((tokens.input.last(), tokens.target.last()), (Some(&1), Some(&1)));
    }
    let texts: Vec<String> = part.examples.iter().map(|e| format!("{} {}", e.input, e.target)).collect();
    assert!(
        texts.iter().any(|text| text.contains("dog")) && texts.iter().any(|text| text.contains("cat")),
        "{texts:?}"
    );
    // The last prompt is kept, since nothing says which is best.
    shell.spot("show prompt").ok().prints("step");
    let prompt = std::fs::read(shell.behind("own", "prompt", "prompt")).unwrap();
    let prompt = spot::ml::prompt::file::PromptFile::from_bytes(&prompt).unwrap();
    assert_eq!((prompt.about.step, prompt.about.score), (Some(2), None));
}

#[test]
fn the_built_in_text_is_continued_too() {
    let shell = text();
    let from = "{text: {files: [data/story.txt, data/more.jsonl.zst], window: 12}}";
    shell.edit("pipelines/own.yaml", from, "{builtin: w_text}");
    shell.spot("run own").ok();
    let data = dataset(&shell);
    assert_eq!((data.task.name.as_str(), data.task.answer, data.task.metrics.len()), ("w_text", Answer::Text, 0));
    assert_eq!((data.parts.len(), data.examples(Split::Train).len()), (1, 20));
    assert!(data.examples(Split::Train).iter().all(|example| !example.input.contains("w_text")));
    let prompt = std::fs::read(shell.behind("own", "prompt", "prompt")).unwrap();
    let prompt = spot::ml::prompt::file::PromptFile::from_bytes(&prompt).unwrap();
    assert_eq!((prompt.about.task.as_deref(), prompt.about.step, prompt.about.score), (Some("w_text"), Some(2), None));
    let refused = |from: &str, to: &str, message: &str| {
        shell.edit("pipelines/own.yaml", from, to);
        shell.spot("status own").exits_with(2).complains(message);
        shell.edit("pipelines/own.yaml", to, from);
    };
    refused("rows:", "hold_out: {rows: 1}\n    rows:", "needs a validation split, and text has none");
    refused("w_text", "w_txt", "no built-in task `w_txt`; did you mean `w_text`?");
}

#[test]
fn text_of_another_seed_is_another_sample() {
    let shell = text();
    shell.spot("run own --only data").ok();
    let first = dataset(&shell);
    shell.edit("pipelines/own.yaml", "rows: {train: 20}", "rows: {train: 20}\n    seed: 1");
    shell.spot("run own --only data").ok();
    assert_ne!(dataset(&shell), first);
    shell.edit("pipelines/own.yaml", "rows: {train: 20}\n    ", "");
    shell.spot("run own --only data").ok();
    assert!(dataset(&shell).examples(Split::Train).len() > 20);
}

#[test]
fn text_that_does_not_fit_is_refused() {
    let refused = |from: &str, to: &str, code: i32, message: &str| {
        let shell = text();
        shell.edit("pipelines/own.yaml", from, to);
        shell.spot("run own").exits_with(code).complains(message);
    };
    refused(
        "target_length: 12",
        "target_length: 8",
        2,
        "`target_length` is 8, expected at least 12, which is `from.text.window`",
    );
    refused("window: 12", "window: 1", 2, "`from.text.window` is 1, expected 4 to 65536");
    refused("[data/story.txt, data/more.jsonl.zst]", "[]", 2, "`from.text.files` is empty");
    refused("rows:", "hold_out: {rows: 1}\n    rows:", 2, "needs a validation split, and text has none");
    let shell = text();
    shell.put("data/more.jsonl.zst", zstd::encode_all(&b"{\"text\": 1}"[..], 1).unwrap());
    shell
        .spot("run own")
        .exits_with(1)
        .complains("`data/more.jsonl.zst`: line 1: expected an object with a text `text`");
    shell.put("data/more.jsonl.zst", "not packed");
    shell.spot("run own").exits_with(1).complains("data/more.jsonl.zst");
}
