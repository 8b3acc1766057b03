//! Text of a target that a source has learned from: planted, and found by the report.

use super::checkpoints;
use super::shell::Shell;
use serde_json::{Value, json};
use spot::data::Table;

/// A source and a target whose templates differ.
const STUDY: &str = r#"
version: 1
name: leaky
vars: {training: {steps: 1, batch_size: 2, learning_rate: 0.3, dropout: 0.0, evaluate_every: 1}}
stages:
  backbone: {kind: backbone, from: {path: model}}
  source_data:
    kind: ingest
    backbone: backbone
    from:
      table:
        {name: gossip, train: data/s.csv, validation: data/sv.csv, template: "story: {story} is it so: {what}", label: y, labels: [bad, good]}
  target_data:
    kind: ingest
    backbone: backbone
    from:
      table:
        name: news
        train: data/t.csv
        validation: data/tv.csv
        test: data/tt.csv
        template: "{question} / {text}"
        label: y
        labels: [bad, good]
  source: {kind: tune, backbone: backbone, data: source_data, init: {sampled_vocabulary: {top: 100}}, length: 2, training: "${training}"}
  target: {kind: tune, backbone: backbone, data: target_data, init: {sampled_vocabulary: {top: 100}}, length: 2, training: "${training}"}
  pair: {kind: tune, backbone: backbone, data: target_data, init: {prompt: source}, length: 2, training: "${training}"}
  target_scores: {kind: evaluate, backbone: backbone, prompt: target, data: target_data, split: test}
  pair_scores: {kind: evaluate, backbone: backbone, prompt: pair, data: target_data, split: test}
  report: {kind: report, baseline: target_scores, pairs: pair_scores, data: {sources: source_data, targets: target_data}}
"#;

fn shell() -> Shell {
    let shell = checkpoints::shell();
    shell.put("pipelines/leaky.yaml", STUDY);
    shell.put("data/s.csv", "story,what,y\nIt rains,it pours,1\nA cat sat,a dog ran,0\nAll is well,so it is,1\n");
    shell.put("data/sv.csv", "story,what,y\nNobody knows,who did it,1\n");
    shell.put("data/t.csv", "question,text,y\nwhat is up,the sky,1\nis it late,no,0\n");
    shell.put("data/tv.csv", "question,text,y\nso it is,all is  well,1\nwho came,nobody,0\n");
    // Twice what a source has in training, once what it has in validation, once half of a text.
    let test = "question,text,y\nit pours,It rains,1\nIT POURS,it rains,0\nwho did it,Nobody knows,1\na dog ran,a bird sang,0\n";
    shell.put("data/tt.csv", test);
    shell
}

const OF_TEST: &str = "Of the 4 test inputs of news some are in the training text of sources, 2 (50.0 %) in that of gossip: what \
                       transfer from these sources gains may be memory.";
const OF_VALIDATION: &str = "Of the 2 validation inputs of news some are in the training text of sources, 1 (50.0 %) in that of \
                             gossip: checkpoints are chosen by text that these sources have seen.";

#[test]
fn a_planted_leak_is_found_behind_another_template_and_said_everywhere() {
    let shell = shell();
    shell.spot("run leaky").ok().complains(OF_TEST).complains(OF_VALIDATION);
    for format in ["text", "markdown"] {
        shell.spot(&format!("report leaky --format {format}")).ok().prints(OF_TEST).prints(OF_VALIDATION);
    }
    shell.spot("report leaky --format html").ok().prints("2 (50.0 %) in that of gossip");
    let leaks = shell.spot("report leaky --format json").ok().json()["leaks"].clone();
    let leak = |split: &str, shared: usize, examples: usize| json!({"target": "news", "split": split, "source": "gossip", "shared": shared, "examples": examples});
    assert_eq!(leaks, json!([leak("test", 2, 4), leak("validation", 1, 2)]));
    // What the tables say: the digests that both have.
    let (tests, trained) = (digests(&shell, "target_data", "test"), digests(&shell, "source_data", "train"));
    assert_eq!(tests.iter().filter(|digest| trained.contains(digest)).count(), 2);
}

/// The digests of a split's inputs.
fn digests(shell: &Shell, job: &str, of: &str) -> Vec<u64> {
    let bytes = std::fs::read(shell.behind("leaky", job, "inputs")).unwrap();
    let mut table = Table::from_parquet(&bytes).unwrap();
    let splits = table.take_text("split").unwrap();
    let digests = table.take_unsigned("digest").unwrap();
    splits.into_iter().zip(digests).filter(|(split, _)| split == of).map(|(_, digest)| digest).collect()
}

#[test]
fn without_a_leak_or_without_a_look_nothing_is_said() {
    let shell = shell();
    shell.put("data/s.csv", "story,what,y\nOther,text,1\nNothing,alike,0\n");
    let done = shell.spot("run leaky").ok();
    assert!(!done.err.contains("training text of sources"), "{}", done.err);
    assert_eq!(shell.spot("report leaky --format json").ok().json()["leaks"], json!([]));
    shell.edit("pipelines/leaky.yaml", ", data: {sources: source_data, targets: target_data}", "");
    assert_eq!(shell.executed_by("run leaky"), ["report"]);
    assert_eq!(shell.spot("report leaky --format json").ok().json()["leaks"], Value::Null);
    shell.edit(
        "pipelines/leaky.yaml",
        "pairs: pair_scores}",
        "pairs: pair_scores, data: {sources: target_data, targets: target_data}}",
    );
    shell.spot("run leaky").ok();
    let said = "Text that targets share with sources was not looked for in gossip: `data` lacks them.";
    shell.spot("report leaky").ok().prints(said);
}
