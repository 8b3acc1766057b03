//! Mixtures of tasks through the real program: what is tuned on them, and what is refused.

use super::shell::{Shell, smoke};
use spot::ml::prompt_file::PromptFile;

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
    assert_eq!((both.get("task"), both.get("step")), (Some("w_sum+w_topic"), Some("2")));
    let target = prompt(&shell, "mixed[w_mood,0]");
    assert_eq!(target.get("task"), Some("w_mood"));
    let source = target.get("source").unwrap();
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
