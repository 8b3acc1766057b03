//! Predictions on test splits as the files of a leaderboard.

use super::shell::{PROJECT, Shell};
use std::path::PathBuf;

const MANIFEST: &str = r#"version: 1
name: board
vars:
  tasks: [cb, wsc, multirc]
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: "${tasks}"}
    backbone: backbone
    from:
      files:
        format: superglue/${task}
        train: data/${task}.jsonl
        validation: data/${task}.jsonl
        test: data/${task}_test.jsonl
    input_length: 32
    target_length: 8
  prompt:
    kind: tune
    matrix: {task: "${tasks}"}
    backbone: backbone
    data: data[${task}]
    length: 2
    training: {steps: 1, batch_size: 2, evaluate_every: 1}
  scores:
    kind: evaluate
    matrix: {task: "${tasks}"}
    backbone: backbone
    prompt: prompt[${task}]
    data: data[${task}]
    split: test
    decoding: greedy
  submission: {kind: submission, benchmark: superglue, predictions: "scores[*]"}
"#;

/// The official test files, which are not in this repository.
fn official(task: &str) -> Option<String> {
    let root = std::env::var_os("SPOT_SHARED").map_or_else(|| PathBuf::from(PROJECT).join("../shared"), PathBuf::from);
    std::fs::read_to_string(root.join("data/superglue").join(task).join("test.jsonl")).ok()
}

/// Three tasks, with test rows from `official` where it has any.
fn shell(official: impl Fn(&str) -> Option<String>) -> Shell {
    let cb = |label: &str, idx: usize| {
        format!("{{\"premise\": \"It rains.\", \"hypothesis\": \"It pours.\", \"idx\": {idx}{label}}}\n")
    };
    let wsc = |label: &str, idx: usize| {
        format!(
            "{{\"text\": \"Ann saw Eve and she ran.\", \"target\": {{\"span1_text\": \"Ann\", \"span1_index\": 0, \
             \"span2_text\": \"she\", \"span2_index\": 4}}, \"idx\": {idx}{label}}}\n"
        )
    };
    let multirc = |label: &str, idx: usize| {
        format!(
            "{{\"idx\": {idx}, \"passage\": {{\"text\": \"P\", \"questions\": [{{\"question\": \"Q\", \"idx\": {idx}, \
             \"answers\": [{{\"text\": \"a\", \"idx\": {}{label}}}, {{\"text\": \"b\", \"idx\": {}{label}}}]}}]}}}}\n",
            2 * idx,
            2 * idx + 1
        )
    };
    let rows = |row: &dyn Fn(&str, usize) -> String, label: &str| (0..3).map(|i| row(label, i)).collect::<String>();
    Shell::new()
        .write("pipelines/board.yaml", MANIFEST)
        .write("data/cb.jsonl", rows(&cb, ", \"label\": \"neutral\""))
        .write("data/cb_test.jsonl", official("CB").unwrap_or_else(|| rows(&cb, "")))
        .write("data/wsc.jsonl", rows(&wsc, ", \"label\": true"))
        .write("data/wsc_test.jsonl", official("WSC").unwrap_or_else(|| rows(&wsc, "")))
        .write("data/multirc.jsonl", rows(&multirc, ", \"label\": 1"))
        .write("data/multirc_test.jsonl", rows(&multirc, ""))
}

/// The lines of a file of the submission, from the folder that people pack.
fn lines(shell: &Shell, file: &str) -> Vec<serde_json::Value> {
    let text = shell.read(&format!("cache/v1/views/board/submission/submission.parts/{file}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_folder_of_files_is_written_and_what_is_missing_is_told() {
    let shell = shell(official);
    let done = shell.spot("run board").ok();
    done.complains(
        "no predictions for BoolQ.jsonl, COPA.jsonl, ReCoRD.jsonl, RTE.jsonl, WiC.jsonl, AX-b.jsonl, AX-g.jsonl",
    );
    done.complains("MultiRC.jsonl has 6 rows, but the official test split has 9693");
    if official("CB").is_some() {
        assert!(!done.err.contains("CB.jsonl has") && !done.err.contains("WSC.jsonl has"), "{}", done.err);
    }
    for (file, labels) in
        [("CB.jsonl", &["entailment", "contradiction", "neutral"][..]), ("WSC.jsonl", &["True", "False"][..])]
    {
        let lines = lines(&shell, file);
        let task = file.strip_suffix(".jsonl").unwrap();
        assert_eq!(lines.len(), official(task).map_or(3, |text| text.lines().count()), "{file}");
        for (row, line) in lines.iter().enumerate() {
            assert_eq!(line["idx"], row, "{file}");
            assert!(labels.contains(&line["label"].as_str().unwrap()), "{line}");
        }
    }
    let passages = lines(&shell, "MultiRC.jsonl");
    assert_eq!(passages.len(), 3);
    let answers = &passages[2]["passage"]["questions"][0]["answers"];
    assert_eq!((&passages[2]["idx"], &answers[1]["idx"]), (&2.into(), &5.into()));
    assert!(answers[1]["label"].is_u64(), "{answers}");
    shell.spot("audit board").ok();
    assert_eq!(shell.executed_by("run board"), [""; 0]);
}

#[test]
fn files_of_tasks_that_left_are_gone_from_the_folder() {
    let shell = shell(|_| None);
    shell.spot("run board").ok();
    shell.edit("pipelines/board.yaml", "\"scores[*]\"", "[\"scores[cb]\", \"scores[multirc]\"]");
    shell.spot("run board").ok();
    let folder = shell.path("cache/v1/views/board/submission/submission.parts");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["CB.jsonl", "MultiRC.jsonl"]);
}

#[test]
fn predictions_of_another_split_or_another_benchmark_are_refused() {
    let shell = shell(|_| None);
    shell.edit("pipelines/board.yaml", "split: test", "split: validation");
    let message = "is of validation split; a leaderboard wants predictions on `split: test`";
    shell.spot("run board").exits_with(1).complains(message);
    shell.edit("pipelines/board.yaml", "split: validation", "split: test");
    shell.edit("pipelines/board.yaml", "benchmark: superglue", "benchmark: glue");
    shell.spot("run board").exits_with(1).complains("is not a task of the benchmark; its tasks are `cola`, `sst2`");
    shell.edit("pipelines/board.yaml", "benchmark: glue", "benchmark: superglue");
    shell.edit("pipelines/board.yaml", "\"scores[*]\"", "scores[cb].scores");
    shell.spot("status board").exits_with(2).complains("predictions");
    shell.edit("pipelines/board.yaml", "scores[cb].scores", "[]");
    shell.spot("status board").exits_with(2).complains("`predictions` is empty, expected evaluations on test splits");
}

#[test]
fn two_predictions_for_a_task_are_refused() {
    let shell = shell(|_| None);
    shell.edit(
        "pipelines/board.yaml",
        "  submission:",
        "  again: {kind: evaluate, backbone: backbone, prompt: \"prompt[wsc]\", data: \"data[cb]\", split: test}\n  submission:",
    );
    shell.edit("pipelines/board.yaml", "\"scores[*]\"", "[\"scores[cb]\", again]");
    let done = shell.spot("run board");
    done.exits_with(1).complains("are both for `CB.jsonl`; name one evaluation for each task");
}
