//! The kind `combine`: prompts made of prompts by arithmetic.

use super::shell::Shell;
use safetensors::SafeTensors;
use spot::ml::prompt::file::{PROMPT, PromptFile};

const MANIFEST: &str = r#"version: 1
name: sums
vars: {training: {steps: 2, batch_size: 2, learning_rate: 0.3, evaluate_every: 2}}
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [w_mood, w_animal, w_senti]}
    backbone: backbone
    from: {builtin: "${task}"}
    rows: {train: 8, validation: 4, test: 4}
    input_length: 24
  tune:
    kind: tune
    matrix: {task: [w_mood, w_animal, w_senti], seed: [0, 1]}
    backbone: backbone
    data: data[${task}]
    length: 2
    seed: ${seed}
    origin: 7
    training: ${training}
  analogy:
    kind: combine
    from: {sum: [{prompt: "tune[w_senti,0]"}, {prompt: "tune[w_animal,0]", weight: -1}, {prompt: "tune[w_mood,1]"}]}
    task: w_mood
  mean: {kind: combine, from: {mean: "tune[w_mood,*]"}}
  weighted:
    kind: combine
    from: {weighted_mean: [{prompt: "tune[w_mood,0]", weight: 3}, {prompt: "tune[w_mood,1]", weight: 1}]}
  between: {kind: combine, from: {between: {from: "tune[w_mood,0]", to: "tune[w_mood,1]", at: 0.25}}, seed: 3}
  again: {kind: combine, from: {mean: [mean, between]}}
  scores:
    kind: evaluate
    matrix: {of: [analogy, mean, again]}
    backbone: backbone
    prompt: ${of}
    data: data[w_mood]
    split: test
"#;

fn manifest() -> Shell {
    Shell::new().write("pipelines/sums.yaml", MANIFEST)
}

fn prompt(shell: &Shell, job: &str) -> PromptFile {
    PromptFile::from_bytes(&std::fs::read(shell.behind("sums", job, "prompt")).unwrap()).unwrap()
}

/// The numbers of a prompt as another reader of safetensors finds them, in double precision.
fn values(shell: &Shell, job: &str) -> Vec<f64> {
    let bytes = std::fs::read(shell.behind("sums", job, "prompt")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(PROMPT).unwrap().data().as_chunks().0;
    data.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

#[test]
fn arithmetic_of_prompts_runs_through_a_pipeline() {
    let shell = manifest();
    shell.spot("run sums").ok();
    let of = |job: &str| values(&shell, job);
    let (mood, other) = (of("tune[w_mood,0]"), of("tune[w_mood,1]"));
    let check = |job: &str, expected: &dyn Fn(usize) -> f64| {
        for (at, found) in of(job).into_iter().enumerate() {
            assert_eq!(found as f32, expected(at) as f32, "{job}: number {at}");
        }
    };
    let (senti, animal) = (of("tune[w_senti,0]"), of("tune[w_animal,0]"));
    check("analogy", &|at| senti[at] - animal[at] + other[at]);
    check("mean", &|at| (mood[at] + other[at]) / 2.0);
    check("weighted", &|at| (3.0 * mood[at] + other[at]) / 4.0);
    check("between", &|at| 0.75 * mood[at] + 0.25 * other[at]);
    let (mean, between) = (of("mean"), of("between"));
    check("again", &|at| (mean[at] + between[at]) / 2.0);

    let said = prompt(&shell, "analogy").about;
    assert_eq!((said.task.as_deref(), said.seed, said.steps_in_all()), (Some("w_mood"), Some(0), Some(6)));
    assert_eq!(said.origin, prompt(&shell, "tune[w_mood,0]").about.origin);
    let made_of: serde_json::Value = serde_json::from_str(&said.made_of.unwrap()).unwrap();
    let part = |at: usize| (made_of[at]["prompt"].as_str().unwrap(), made_of[at]["weight"].as_f64().unwrap());
    assert_eq!([0, 1, 2].map(part), [("w_senti,0", 1.0), ("w_animal,0", -1.0), ("w_mood,1", 1.0)]);
    let digest =
        shell.spot("show tune[w_senti,0] --format json").ok().json()["entries"][0]["artifacts"][0]["digest"].clone();
    assert_eq!(made_of[0]["digest"], digest);
    assert_eq!(prompt(&shell, "between").about.seed, Some(3));
    assert_eq!(prompt(&shell, "mean").about.seed, Some(0), "seeds differ, and none is said");
    assert!(shell.executed_by("run sums").is_empty());
    shell.edit("pipelines/sums.yaml", "at: 0.25", "at: 0.5");
    let again = shell.executed_by("run sums");
    assert_eq!(again, ["again", "between", "scores[again]"]);
    assert_eq!(of("between"), mean, "halfway is the mean");
}

#[test]
fn arithmetic_of_prompts_that_do_not_belong_together_is_refused() {
    let wrong = |from: &str, to: &str, message: &str| {
        let shell = manifest();
        shell.edit("pipelines/sums.yaml", from, to);
        shell.spot("status sums").exits_with(2).complains("pipelines/sums.yaml:").complains(message);
    };
    wrong("    task: w_mood\n  mean", "  mean", "is missing, and the prompts are of several, `w_senti` and `w_animal`");
    wrong("at: 0.25", "at: 1.25", "is 1.25, expected 0 to 1; `sum` with weights goes beyond the two");
    wrong("at: 0.25", "at: .nan", "");
    wrong("weight: 3}", "weight: -3}", "is -3, expected a number above 0");
    wrong("weight: -1}", "weight: .inf}", "");
    wrong("from: {mean: [mean, between]}", "from: {mean: []}", "is empty");
    wrong("from: {mean: [mean, between]}", "from: {mean: data[w_mood]}", "");

    let failed = |edits: &[(&str, &str)], message: &str| {
        let shell = manifest();
        edits.iter().for_each(|(from, to)| shell.edit("pipelines/sums.yaml", from, to));
        shell.spot("run sums --only mean").exits_with(1).complains(message);
        shell
    };
    let own = [("    origin: 7\n", "")];
    let shell = failed(&own, "began independently, so row i of one has nothing to do with row i of the other");
    shell.edit("pipelines/sums.yaml", "\"tune[w_mood,*]\"}", "\"tune[w_mood,*]\"}, allow_different_origins: true");
    shell.spot("run sums --only mean").ok();
    assert_eq!(prompt(&shell, "mean").about.origin, None);
    failed(
        &[
            ("    length: 2\n", "    length: ${lengths.${seed}}\n"),
            ("vars: {", "vars: {lengths: {\"0\": 2, \"1\": 3}, "),
        ],
        "expected one shape",
    );
    let large = ("from: {mean: \"tune[w_mood,*]\"}", "from: {sum: [{prompt: \"tune[w_mood,0]\", weight: 1.0e+39}]}");
    failed(&[large], "which single precision cannot hold; take smaller weights");
    // The same width, but another model.
    let shell = manifest();
    shell.put_backbone("other", 128);
    let stages = "  other: {kind: backbone, from: {path: other}}\n  given: {kind: prompt, backbone: other, file: g.npy, task: \
                  w_mood}\n  mean: {kind: combine, from: {mean: [given, \"tune[w_mood,0]\"]}}\n";
    shell.edit("pipelines/sums.yaml", "  mean: {kind: combine, from: {mean: \"tune[w_mood,*]\"}}\n", stages);
    shell.spot("run sums --only tune[w_mood,0]").ok();
    shell.spot("prompt export tune[w_mood,0] --to g.npy").ok();
    shell.spot("run sums --only mean").exits_with(1).complains("prompts of different models cannot be added up");
}
