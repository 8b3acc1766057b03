//! The kind `best`: sweeps over settings, of which one is chosen by its validation score.

use super::shell::{PROJECT, Shell};
use serde_json::Value;
use spot::data::Candidates;
use spot::ml::prompt::file::PromptFile;

/// The manifest of docs/studies.md, with smaller numbers.
fn sweep() -> Shell {
    let text = std::fs::read_to_string(std::path::Path::new(PROJECT).join("docs/studies.md")).unwrap();
    let section = text.split("\n## Sweeps\n").nth(1).unwrap();
    let manifest = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(manifest.lines().count() <= 20, "{manifest}");
    let shell = Shell::new().write("pipelines/sweep.yaml", manifest);
    shell.edit(
        "pipelines/sweep.yaml",
        "{train: 256, validation: 128, test: 256}",
        "{train: 16, validation: 8, test: 8}",
    );
    shell.edit("pipelines/sweep.yaml", "steps: 300, batch_size: 16", "steps: 4, batch_size: 4");
    shell.edit("pipelines/sweep.yaml", "evaluate_every: 50", "evaluate_every: 2");
    shell.edit("pipelines/sweep.yaml", "length: 8", "length: 2");
    shell
}

fn bytes(shell: &Shell, job: &str, output: &str) -> Vec<u8> {
    std::fs::read(shell.behind("sweep", job, output)).unwrap()
}

fn candidates(shell: &Shell, job: &str) -> Candidates {
    Candidates::from_parquet(&bytes(shell, job, "candidates")).unwrap()
}

const RATES: [&str; 3] = ["0.03", "0.3", "3"];

/// The validation score that a tuning says its prompt has, and the digest of the prompt.
fn scored(shell: &Shell, job: &str) -> (f64, String) {
    let prompt = bytes(shell, job, "prompt");
    let score = PromptFile::about_in(&prompt).unwrap().score.unwrap();
    (score, blake3::hash(&prompt).to_hex().to_string())
}

#[test]
fn a_sweep_hands_on_its_best_prompt_and_says_which() {
    let shell = sweep();
    shell.spot("run sweep").ok();
    for seed in [0, 1] {
        let best = format!("best[{seed}]");
        let all = RATES.map(|rate| scored(&shell, &format!("tuning[{rate},{seed}]")));
        // Of equal scores, steps and seeds the lowest digest.
        let (score, digest) = all.iter().min_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y))).unwrap();
        let rate = RATES[all.iter().position(|(_, other)| other == digest).unwrap()];
        let table = candidates(&shell, &best);
        let chosen = table.chosen().unwrap();
        assert_eq!((&chosen.prompt, chosen.validation, chosen.seed), (digest, *score, Some(seed)));
        assert_eq!((table.task.as_str(), table.metric.as_str(), table.rows.len()), ("w_mood", "score", 3));
        assert_eq!(bytes(&shell, &best, "prompt"), bytes(&shell, &format!("tuning[{rate},{seed}]"), "prompt"));

        let handed_on = format!("prompts from tuning[{rate},{seed}].prompt ({}), handed on as `prompt`", &digest[..12]);
        let shown = shell.spot(&format!("show {best}")).ok();
        shown
            .prints(&handed_on)
            .prints(&format!("chosen: `tuning[{rate},{seed}]` is the best of 3 by score on validation"));
        assert_eq!(shown.out.matches("handed on as").count(), 1, "{}", shown.out);
        shell.spot(&format!("explain sweep {best}")).ok().prints(&handed_on);
    }
    // What is reported is the score on the test split, beside the one by which it was chosen.
    let report: Value = serde_json::from_str(&String::from_utf8(bytes(&shell, "report", "json")).unwrap()).unwrap();
    let [choice] = report["choices"].as_array().unwrap().as_slice() else { panic!("{report}") };
    let of_seeds = |of: &dyn Fn(&Candidates) -> f64| {
        ["best[0]", "best[1]"].iter().map(|job| of(&candidates(&shell, job))).sum::<f64>() / 2.0
    };
    assert_eq!(choice["candidates"], 3);
    assert_eq!(choice["validation"], of_seeds(&|table| table.rows[0].validation));
    let mean = |table: &Candidates| table.rows.iter().map(|row| row.validation).sum::<f64>() / 3.0;
    assert!((choice["mean_of_all"].as_f64().unwrap() - of_seeds(&mean)).abs() < 1e-9);
    assert_eq!(report["split"], "test");
    assert_eq!(choice["score"], report["methods"][1]["score"]["mean"]);
    assert_eq!((&report["methods"][1]["tunings"], &report["methods"][1]["target_steps"]), (&3.into(), &12.0.into()));
    let text = shell.spot("report sweep").ok();
    text.prints("best of 3 by score").prints("The best of n scores on validation is optimistic").prints("on test");
    let page = shell.spot("report sweep --format html").ok();
    page.prints("best of 3 by score").prints("tuning[").prints("on which nothing was chosen");
    shell.spot("query").arg("select count(*) as n from candidates where chosen").arg("sweep").ok().prints("2");
    assert!(shell.executed_by("run sweep").is_empty());
}

#[test]
fn what_reads_the_choice_stays_fresh_while_the_same_one_wins() {
    let shell = sweep();
    // What was computed of the winner itself is found again: with one rate, the row of the report and the baseline are one.
    shell.edit("pipelines/sweep.yaml", "[0.03, 0.3, 3]", "[0.3]");
    let executed = shell.executed_by("run sweep");
    assert_eq!(
        executed.iter().filter(|job| job.starts_with("scores[") || job.starts_with("plain[")).count(),
        2,
        "{executed:?}"
    );
    // A candidate that learns nothing scores what every one scores at its first step, and of equal ones has the most updates.
    let longer =
        "  longer: {like: tuning, matrix: {rate: null}, training: {steps: 6, learning_rate: 1.0e-30}}\n  best:";
    shell.edit("pipelines/sweep.yaml", "  best:", longer);
    let prompts = "prompts: [\"tuning[*,${seed}]\", \"longer[${seed}]\"]";
    shell.edit("pipelines/sweep.yaml", "prompts: \"tuning[*,${seed}]\"", prompts);
    let again = shell.executed_by("run sweep");
    assert_eq!(again, ["best[0]", "best[1]", "longer[0]", "longer[1]", "report"], "nobody who reads the chosen prompt");
    assert_eq!(candidates(&shell, "best[1]").rows.len(), 2);
}

#[test]
fn what_cannot_be_compared_or_would_be_reported_on_what_it_was_chosen_by_is_refused() {
    let wrong = |to: &str, message: &str| {
        let shell = sweep();
        shell.edit("pipelines/sweep.yaml", "prompts: \"tuning[*,${seed}]\"", to);
        shell.spot("status sweep").exits_with(2).complains("pipelines/sweep.yaml:").complains(message);
    };
    wrong(
        "prompts: \"tuning[*,${seed}]\", split: test",
        "is `test`, expected `validation`: a score on `test` by which",
    );
    wrong("prompts: []", "is empty, expected one candidate at least");
    wrong("prompts: data", "`data` makes no prompt");
    wrong("prompts: \"tuning[*]\", scored_on: {backbone: backbone, data: data, metric: acuracy}", "acuracy");
    let others = "  other: {like: data, from: {builtin: w_animal}}\n  tuned: {like: tuning, matrix: null, data: other, seed: 0, \
                  training: {learning_rate: 0.3}}\n  best:";
    let shell = sweep();
    shell.edit("pipelines/sweep.yaml", "  best:", others);
    shell.edit("pipelines/sweep.yaml", "prompts: \"tuning[*,${seed}]\"", "prompts: [\"tuning[*,${seed}]\", tuned]");
    let done = shell.spot("status sweep").exits_with(2);
    done.complains("are of several tasks, `tuning[0.03,0]` of `w_mood` and `tuned` of `w_animal`");
}

#[test]
fn candidates_are_evaluated_on_a_data_set_where_a_metric_is_named() {
    let shell = sweep();
    let scored_on = "prompts: \"tuning[*,${seed}]\", scored_on: {backbone: backbone, data: data, metric: accuracy}";
    shell.edit("pipelines/sweep.yaml", "prompts: \"tuning[*,${seed}]\"", scored_on);
    shell.edit("pipelines/sweep.yaml", "rates: [0.03, 0.3, 3], ", "rates: [0.03, 0.3], ");
    let plan = shell.spot("status sweep").ok();
    plan.prints("up to 4 more");
    // An evaluation that the manifest has itself is the same job.
    let validation = "  own: {kind: evaluate, backbone: backbone, prompt: \"tuning[0.3,0]\", data: data}\n  report:";
    shell.edit("pipelines/sweep.yaml", "  report:", validation);
    shell.spot("run sweep --only own").ok();
    let executed = shell.executed_by("run sweep");
    let evaluations: Vec<&String> =
        executed.iter().filter(|job| job.starts_with("best[") && job.contains('/')).collect();
    assert_eq!(evaluations, ["best[0]/tuning[0.03,0]", "best[1]/tuning[0.03,1]", "best[1]/tuning[0.3,1]"]);
    for seed in [0, 1] {
        let table = candidates(&shell, &format!("best[{seed}]"));
        assert_eq!((table.metric.as_str(), table.rows.len()), ("accuracy", 2));
        // The task has one metric, so that evaluations find what the tunings measured.
        for rate in ["0.03", "0.3"] {
            let (score, digest) = scored(&shell, &format!("tuning[{rate},{seed}]"));
            let row = table.rows.iter().find(|row| row.prompt == digest).unwrap();
            assert_eq!(row.validation, score);
        }
    }
    assert!(shell.executed_by("run sweep").is_empty());
    shell.edit("pipelines/sweep.yaml", "metric: accuracy", "metric: f1");
    let done = shell.spot("run sweep").exits_with(1);
    done.complains("`scored_on.metric` is `f1`, but the metrics of the task `w_mood` are `accuracy`");
    // A prompt that no tuning chose has no score of its own.
    let shell = sweep();
    let mean = "  mean: {kind: combine, from: {mean: \"tuning[*,0]\"}, allow_different_origins: true}\n  best:";
    shell.edit("pipelines/sweep.yaml", "  best:", mean);
    shell.edit("pipelines/sweep.yaml", "prompts: \"tuning[*,${seed}]\"", "prompts: [mean, \"tuning[*,${seed}]\"]");
    shell
        .spot("run sweep")
        .exits_with(1)
        .complains("`mean.prompt` does not say what it scored on the validation split");
}
