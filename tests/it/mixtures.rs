//! Mixtures of tasks through the real program: what is tuned on them, and what is refused.

use super::shell::{Shell, smoke};
use spot::ml::prompt::file::PromptFile;

const MANIFEST: &str = "pipelines/smoke.yaml";

/// The shrunk smoke pipeline with a tuning on both sources, and a transfer from the mixture of the first of them.
fn shell() -> Shell {
    let more = r#"
  sources:
    kind: tune
    backbone: backbone
    data: ["data[w_sum]", "data[w_topic]"]
    mixing: {temperature: 2}
    checkpoint: final
    length: ${length}
    training: ${training}

  mixed:
    kind: transfer
    matrix: {task: "${targets}", seed: "${seeds}"}
    backbone: backbone
    data: data[${task}]
    ranking: ranking[${task},${seed}]
    prompts: source[*]
    source_data: data[*]
    strategy: {mixture_of_top_k: 1}
    mixture: {training: "${training}", vocabulary: "${vocabulary}"}
    length: ${length}
    seed: ${seed}
    training: ${training}

  brute_force:
"#;
    let shell = Shell::new().write(MANIFEST, smoke());
    shell.edit(MANIFEST, "\n  brute_force:\n", more);
    shell
}

fn prompt(shell: &Shell, job: &str) -> PromptFile {
    PromptFile::from_bytes(&std::fs::read(shell.behind("smoke", job, "prompt")).unwrap()).unwrap()
}

#[test]
fn a_prompt_of_a_mixture_is_its_last_and_that_of_one_source_and_the_target_helps_the_target() {
    let shell = shell();
    let executed = shell.executed_by("run smoke --only sources --only mixed[w_mood,0]");
    let children: Vec<&String> = executed.iter().filter(|job| job.starts_with("mixed[w_mood,0]/")).collect();
    assert_eq!(children.len(), 2, "the mixture and the target from it: {executed:?}");
    let both = prompt(&shell, "sources");
    assert_eq!((both.about.task.as_deref(), both.about.step), (Some("w_sum+w_topic"), Some(2)));
    let target = prompt(&shell, "mixed[w_mood,0]");
    assert_eq!(target.about.task.as_deref(), Some("w_mood"));
    let source = target.about.source.as_deref().unwrap();
    assert!(["w_mood+w_sum", "w_mood+w_topic"].contains(&source), "{source}");
}

#[test]
fn what_would_change_a_key_and_no_result_is_refused() {
    let refused = |from: &str, to: &str, message: &str| {
        let shell = shell();
        shell.edit(MANIFEST, from, to);
        shell.spot("status smoke").exits_with(2).complains("pipelines/smoke.yaml:").complains(message);
        assert!(!shell.path("cache").exists());
    };
    let both = r#"["data[w_sum]", "data[w_topic]"]"#;
    let message = "`mixing` has nothing to mix, since `data` is a single data set; leave it out";
    refused(both, "data[w_sum]", message);
    refused(both, "[\"data[w_sum]\"]", message);
    let patient = "evaluate_every: 2, patience: 3";
    let last = "`training.patience` is 3, but `checkpoint: final` asks for the last step; leave out one of the two";
    refused("evaluate_every: 2", patient, last);
    let tune_model = "kind: tune_model\n    backbone: backbone\n    data: [\"data";
    let shell = shell();
    shell.edit(MANIFEST, "kind: tune\n    backbone: backbone\n    data: [\"data", tune_model);
    shell.edit(
        MANIFEST,
        "length: ${length}\n    training: ${training}\n\n  mixed",
        "training: {patience: 3}\n\n  mixed",
    );
    shell.spot("status smoke").exits_with(2).complains(last);
    shell.edit(MANIFEST, "training: {patience: 3}", "training: {}");
    shell.edit(MANIFEST, both, "data[w_sum]");
    shell.spot("status smoke").exits_with(2).complains(message);
    let of_a_mixture = "`mixture.training.patience` is 3, but the last checkpoint of a mixture counts; leave it out";
    refused("mixture: {training: \"${training}\"", "mixture: {training: {patience: 3}", of_a_mixture);
}

/// Tunings that begin with class labels, on `data` and on a mixture with a task that has some.
fn class_labels(data: &str) -> Shell {
    let manifest = format!(
        r#"
version: 1
name: labels
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}}}
  data: {{kind: ingest, backbone: backbone, {data}}}
  other: {{kind: ingest, backbone: backbone, from: {{builtin: w_mood}}, rows: {{train: 8, validation: 4, test: 4}}}}
  alone: {{kind: tune, backbone: backbone, data: data, init: {{class_labels: {{}}}}, length: 4, training: {{steps: 1, batch_size: 1}}}}
  both: {{kind: tune, backbone: backbone, data: [data, other], init: {{class_labels: {{}}}}, length: 4, training: {{steps: 1, batch_size: 1}}}}
"#
    );
    let wsc = "{\"idx\": 0, \"label\": true, \"target\": {\"span1_index\": 0, \"span1_text\": \"Ann\", \"span2_index\": 3, \
               \"span2_text\": \"she\"}, \"text\": \"Ann left when she could.\"}\n";
    let record = "{\"source\": \"x\", \"passage\": {\"text\": \"Ann met Bob.\", \"entities\": [{\"start\": 0, \"end\": 2}, \
                  {\"start\": 8, \"end\": 10}]}, \"qas\": [{\"query\": \"Bob met @placeholder\", \"answers\": [{\"start\": 0, \"end\": \
                  2, \"text\": \"Ann\"}], \"idx\": 0}], \"idx\": 0}\n";
    Shell::new()
        .write("pipelines/labels.yaml", manifest)
        .write("wsc.jsonl", wsc)
        .write("record.jsonl", record)
        .write("own.csv", "text,answer\na b,c d\n")
}

#[test]
fn class_labels_of_tasks_without_labels_are_refused_with_other_words() {
    let files = |format: &str| format!("from: {{files: {{format: superglue/{format}, train: {format}.jsonl}}}}");
    let own = "from: {table: {train: own.csv, validation: own.csv, template: \"{text}\", label: answer}}";
    for (data, name, words) in [
        (files("record"), "record", "`init: {text: \"commonsense reasoning reading comprehension\"}`"),
        (files("wsc"), "wsc", "`init: {text: \"commonsense pronoun resolution\"}`"),
        (own.to_owned(), "own", "`init: {text: \"words that describe the task\"}`"),
    ] {
        let shell = class_labels(&data);
        let done = shell.spot("run labels --only alone").exits_with(1);
        done.complains("job `alone` failed: `init: class_labels` finds no labels")
            .complains(&format!("`{name}`"))
            .complains(words);
        let mixed = shell.spot("run labels --only both").ok();
        mixed.complains(&format!("begins with the labels of the other tasks, as `{name}` have none"));
    }
}
