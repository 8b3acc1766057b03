//! Model tuning through the real program: all weights of the built-in model learn, alone, after a mixture, and after a kill.

use super::shell::{Shell, named};
use spot::data::Table;
use spot::ml::prompt::file::{Matrices, PromptFile};
use std::thread::yield_now;

/// A model tuned on a task; one on a mixture, and from it one on a task with the optimiser as it was; and what is made of a
/// tuned model.
const PIPELINE: &str = r#"
version: 1
name: models
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [w_mood, w_senti]}
    backbone: backbone
    from: {builtin: "${task}"}
    rows: {train: 120, validation: 40, test: 40}
    input_length: 48
  tuned:
    kind: tune_model
    backbone: backbone
    data: data[w_mood]
    training: {steps: 16, batch_size: 24, learning_rate: 0.02, evaluate_every: 4}
  untuned_scores: {kind: evaluate, backbone: backbone, data: "data[w_mood]", split: test}
  scores: {kind: evaluate, backbone: tuned, data: "data[w_mood]", split: test, seed: 0}
  prompt:
    kind: tune
    backbone: tuned
    data: data[w_mood]
    length: 2
    training: {steps: 2, batch_size: 4, evaluate_every: 2}
  multi:
    kind: tune_model
    backbone: backbone
    data: data[*]
    training: {steps: 6, batch_tokens: 300, evaluate_every: 2}
    checkpoint: final
  restored:
    kind: tune_model
    backbone: multi
    restore: multi
    data: data[w_mood]
    training: {steps: 2, batch_size: 8, evaluate_every: 1}
  fresh:
    kind: tune_model
    backbone: multi
    data: data[w_mood]
    training: {steps: 2, batch_size: 8, evaluate_every: 1}
"#;

fn shell() -> Shell {
    Shell::new().write("pipelines/models.yaml", PIPELINE)
}

fn bytes(shell: &Shell, job: &str, name: &str) -> Vec<u8> {
    std::fs::read(shell.behind("models", job, name)).unwrap()
}

fn score(shell: &Shell, job: &str) -> f64 {
    let mut table = Table::from_parquet(&bytes(shell, job, "scores")).unwrap();
    let names = table.take_text("metric").unwrap();
    let at = names.iter().position(|name| name == "score").unwrap();
    table.take_float("value").unwrap()[at]
}

fn seen(shell: &Shell, job: &str) -> (u64, u64) {
    let file = PromptFile::from_bytes(&bytes(shell, job, "optimizer")).unwrap();
    (file.about.step.unwrap(), file.about.other["seen"].parse().unwrap())
}

#[test]
fn a_tuned_model_is_a_backbone_that_does_its_task_better() {
    let shell = shell();
    shell.spot("run models --only scores --only untuned_scores --only prompt").ok();
    let (before, after) = (score(&shell, "untuned_scores"), score(&shell, "scores"));
    assert!(after >= before + 20.0, "from {before} to {after}");
    shell.spot("audit models").ok();
    // Whatever the threads, it is the same model.
    let threads = self::shell();
    threads.spot("run models --only tuned --threads 3 --jobs 1").ok();
    assert!(bytes(&threads, "tuned", "backbone") == bytes(&shell, "tuned", "backbone"));
    assert!(bytes(&threads, "tuned", "curve") == bytes(&shell, "tuned", "curve"));
}

#[test]
fn a_report_puts_a_tuned_model_beside_a_prompt() {
    let shell = shell();
    let more = r#"
  plain: {kind: tune, backbone: backbone, data: "data[w_mood]", length: 2, training: {steps: 2, batch_size: 4, evaluate_every: 2}}
  plain_scores: {kind: evaluate, backbone: backbone, prompt: plain, data: "data[w_mood]", split: test}
  report: {kind: report, baseline: plain_scores, strategies: [{name: model tuning, scores: scores}]}
  fresh:
"#;
    shell.edit("pipelines/models.yaml", "\n  fresh:\n", more);
    shell.spot("run models --only report").ok();
    let results = shell.spot("report models --format json").ok().json();
    let names: Vec<&str> = results["methods"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["prompt tuning", "model tuning"]);
    assert!(results["methods"][1]["change"]["mean"].as_f64().unwrap() > 0.0, "{results}");
    shell.spot("report models").ok().prints("| method | points |");
    shell.spot("report models --format html --output x.html").ok();
    let page = shell.read("x.html");
    assert!(page.contains("\"tuned.backbone\"") && page.contains("\"backbone.backbone\""), "both models have records");
    // Models learn in a figure of their own, under the name of their task.
    let curves = page.split("id=\"curves\"").nth(1).unwrap().split("</section>").next().unwrap();
    let figures: Vec<&str> = curves.split("<figure>").skip(1).collect();
    let line = |job: &str| format!("aria-label=\"{job}: ");
    assert_eq!(figures.len(), 2, "{curves}");
    assert!(
        figures[0].contains("prompts") && figures[0].contains(&line("plain")) && !figures[0].contains(&line("tuned"))
    );
    assert!(
        figures[1].contains("models") && figures[1].contains(&line("tuned")) && figures[1].contains("<h3>w_mood</h3>")
    );
    shell.spot("audit models").ok();
}

#[test]
fn a_mixture_is_tuned_and_its_optimiser_goes_on() {
    let shell = shell();
    shell.spot("run models --only restored --only fresh").ok();
    assert_eq!(seen(&shell, "multi"), (6, 6), "the final checkpoint");
    for (job, before) in [("restored", 6), ("fresh", 0)] {
        let (step, seen) = seen(&shell, job);
        assert_eq!(seen, before + step, "{job}");
    }
    let mut curve = Table::from_parquet(&bytes(&shell, "multi", "curve")).unwrap();
    let mood = curve.take_float("score_w_mood").unwrap();
    let senti = curve.take_float("score_w_senti").unwrap();
    let scores = curve.take_opt_float("score").unwrap();
    assert_eq!(scores.len(), 4);
    for ((mood, senti), score) in mood.iter().zip(senti).zip(scores) {
        assert!(((mood + senti) / 2.0 - score.unwrap()).abs() < 1e-9);
    }
    let losses = |job| Table::from_parquet(&bytes(&shell, job, "curve")).unwrap().take_opt_float("loss").unwrap();
    let (restored, fresh) = (losses("restored"), losses("fresh"));
    assert_eq!(restored[1], fresh[1], "the first step learns from the same");
    assert_ne!(restored[2], fresh[2], "and moves elsewhere");
}

/// Gradient descent without momentum has no moments to go on with, and an optimiser all the same.
#[test]
fn an_optimiser_without_moments_goes_on() {
    let shell = shell();
    shell.edit("pipelines/models.yaml", "batch_size: 8, ", "batch_size: 8, optimizer: {sgd: {}}, ");
    shell.edit("pipelines/models.yaml", "batch_tokens: 300, ", "batch_tokens: 300, optimizer: {sgd: {}}, ");
    shell.spot("run models --only restored").ok();
    let Matrices { by_name, mut metadata } = Matrices::from_bytes(&bytes(&shell, "restored", "optimizer")).unwrap();
    assert!(by_name.is_empty());
    let step: u64 = metadata.need("step").unwrap();
    assert_eq!(metadata.need("seen"), Ok(6 + step));
}

#[test]
fn a_model_tuning_killed_at_any_time_goes_on_bit_for_bit() {
    let fresh = || {
        let shell = shell();
        shell.edit(
            "pipelines/models.yaml",
            "restore: multi\n    data: data[w_mood]",
            "restore: multi\n    data: data[*]",
        );
        shell.edit(
            "pipelines/models.yaml",
            "training: {steps: 2, batch_size: 8, evaluate_every: 1}\n  fresh",
            "training: {steps: 40, batch_tokens: 400, evaluate_every: 2}\n  fresh",
        );
        shell
    };
    let whole = fresh();
    whole.spot("run models --only restored --threads 1").ok();
    let shell = fresh();
    let state = |job: &str| shell.path(&format!("cache/v1/views/models/{job}")).exists();
    let mut saved = 0;
    // As soon as the scratch folder of either tuning holds another state.
    for _ in 0..4 {
        let mut child = shell.spot("run models --only restored").start();
        let mut seen = states(&shell);
        while child.try_wait().unwrap().is_none() {
            let now = states(&shell);
            if now.iter().any(|(path, step)| seen.get(path).is_none_or(|known| known < step)) {
                saved += 1;
                break;
            }
            seen = now;
            yield_now();
        }
        // It may have ended by now; then there is nothing to kill, and the rest still has to hold.
        let _ = child.kill();
        child.wait().unwrap();
        if state("restored") {
            break;
        }
    }
    assert!(saved > 0, "no tuning saved a state before it was killed");
    shell.spot("run models --only restored").ok();
    for job in ["multi", "restored"] {
        for output in ["backbone", "optimizer", "curve", "events.tfevents"] {
            assert!(bytes(&shell, job, output) == bytes(&whole, job, output), "{output} of {job}");
        }
    }
}

/// The steps of the saved states in scratch folders.
fn states(shell: &Shell) -> std::collections::BTreeMap<std::path::PathBuf, u64> {
    let folders = std::fs::read_dir(shell.path("cache/v1/partial")).into_iter().flatten().flatten();
    let step = |folder: std::fs::DirEntry| {
        let path = folder.path().join("step");
        Some((path.clone(), std::fs::read_to_string(path).ok()?.trim().parse().ok()?))
    };
    folders.filter_map(step).collect()
}

#[test]
fn what_cannot_learn_is_refused_with_the_reason() {
    let refused = |from: &str, to: &str, line: &str, code: i32, message: &str| {
        let shell = shell();
        shell.edit("pipelines/models.yaml", from, to);
        shell.spot(&format!("run models {line}")).exits_with(code).complains(message);
    };
    let both = "batch_size: 24, batch_tokens: 100";
    let message = "`batch_tokens` is 100 beside a `batch_size`, expected one of the two";
    refused("batch_size: 24", both, "--only tuned", 2, message);
    let half = "{kind: backbone, from: {builtin: nano}, precision: bf16}";
    let message = "`backbone` is kept in bf16, expected `precision: f32`";
    refused("{kind: backbone, from: {builtin: nano}}", half, "--only tuned", 1, message);
    let message = "name the same job in both";
    refused(
        "backbone: multi\n    restore: multi",
        "backbone: backbone\n    restore: multi",
        "--only restored",
        1,
        message,
    );
    let message = "its optimiser has other settings than `training.optimizer`";
    let sgd = "restore: multi\n    data: data[w_mood]\n    training: {optimizer: {sgd: {}}, ";
    refused("restore: multi\n    data: data[w_mood]\n    training: {", sgd, "--only restored", 1, message);
    let message = "`memory` is 1 MiB for a job, expected at least ";
    refused("batch_size: 24", "batch_size: 20", "--only tuned --memory 1MiB", 1, message);
}

#[test]
fn a_second_run_finds_everything_and_another_seed_is_another_model() {
    let shell = shell();
    let run = "run models --only tuned";
    assert_eq!(shell.executed_by(run), ["backbone", "data[w_mood]", "tuned"]);
    assert_eq!(shell.executed_by(run), [""; 0]);
    shell.edit(
        "pipelines/models.yaml",
        "kind: tune_model\n    backbone: backbone\n    data: data[w_mood]",
        "kind: tune_model\n    seed: 1\n    backbone: backbone\n    data: data[w_mood]",
    );
    let done = shell.spot(&format!("{run} --format json")).ok();
    assert_eq!(named(&done.lines(), "executed"), ["tuned"]);
}
