//! Models in other precision, and other ways to make answers.

use super::shell::Shell;
use spot::data::Table;

/// One tuning, evaluated in `decoding`, on a model in `precision`.
fn pipeline(precision: &str, decoding: &str) -> String {
    format!(
        r#"
version: 1
name: one
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}, precision: {precision}}}
  data:
    kind: ingest
    backbone: backbone
    from: {{builtin: w_sum}}
    rows: {{train: 16, validation: 8, test: 12}}
  tuned:
    kind: tune
    backbone: backbone
    data: data
    length: 4
    training: {{steps: 4, batch_size: 4, evaluate_every: 2}}
  scores: {{kind: evaluate, backbone: backbone, prompt: tuned, data: data, split: test, decoding: {decoding}}}
"#
    )
}

fn shell(precision: &str, decoding: &str) -> Shell {
    Shell::new().write("pipelines/one.yaml", pipeline(precision, decoding))
}

#[test]
fn half_precision_goes_all_the_way() {
    let shell = shell("bf16", "greedy");
    shell.spot("run one").ok();
    shell.spot("show scores").ok().prints("accuracy");
    shell.spot("audit one").ok();
}

#[test]
fn f16_is_refused_with_the_reason() {
    shell("f16", "greedy").spot("run one").exits_with(2).complains("one.yaml:5:").complains("65,504").complains("bf16");
    shell("int8", "greedy").spot("run one").exits_with(2).complains("unknown precision `int8`");
}

#[test]
fn ranked_answers_are_labels_whatever_the_prompt_has_learnt() {
    let shell = shell("f32", "{rank: {per_token: true}}");
    shell.spot("run one").ok();
    let predictions = std::fs::read(shell.behind("one", "scores", "predictions")).unwrap();
    let mut table = Table::from_parquet(&predictions).unwrap();
    let (answers, labels) = (table.take_text("prediction").unwrap(), table.take_text("target").unwrap());
    assert_eq!(answers.len(), 12);
    let numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    assert!(answers.iter().chain(&labels).all(|answer| numbers.contains(&answer.as_str())), "{answers:?}");
}

#[test]
fn beams_and_samples_are_ways_to_answer() {
    for decoding in ["{beam: {width: 3}}", "{sample: {temperature: 0.7, top_k: 5, seed: 1}}"] {
        shell("f32", decoding).spot("run one").ok();
    }
    let refused = shell("f32", "{beam: {width: 0}}").spot("run one").exits_with(2);
    refused.complains("`width` is 0, expected 1 to 256");
}
