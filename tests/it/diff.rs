//! What `spot diff` says of two runs.

use super::shell::Shell;
use serde_json::Value;

fn changed(said: &Value) -> Vec<&str> {
    said["jobs"].as_array().unwrap().iter().map(|job| job["job"].as_str().unwrap()).collect()
}

#[test]
fn two_runs_of_the_same_manifest_do_not_differ() {
    let shell = Shell::finished();
    shell.spot("diff").exits_with(2).complains("no run `last~1` of `smoke`, which has 1 runs");
    shell.spot("run smoke").ok();
    shell.spot("diff").ok().prints("- smoke 20").prints("+ smoke 20").prints(" 0 executed, ").prints("no job differs");
    assert_eq!(changed(&shell.spot("diff --format json").ok().json()), [""; 0]);
}

#[test]
fn a_parameter_shows_in_recipes_and_its_effect_in_metrics() {
    let shell = Shell::finished();
    shell.spot("run smoke --set vars.training.learning_rate=9.5").ok();
    let said = shell.spot("diff").ok();
    said.prints("source: training.learning_rate: 0.3 -> 9.5 (source[w_sum,0] and 1 more)");
    said.prints(" jobs read other results of these").prints("target_scores[w_animal,0] accuracy");
    assert!(!said.out.contains("input "), "{}", said.out);
    let said = shell.spot("diff last~1 last --format json").ok().json();
    assert_eq!(said["version"], 1);
    assert!(said["runs"][0]["executed"].as_u64().unwrap() > 10 && said["runs"][1]["cached"].as_u64().unwrap() > 0);
    assert!(changed(&said).contains(&"target_scores[w_animal,0]") && !changed(&said).contains(&"data[w_mood]"));
    let jobs = said["jobs"].as_array().unwrap();
    let tuned = jobs.iter().find(|job| job["job"] == "source[w_sum,0]").unwrap();
    assert_eq!(tuned["differences"][0]["field"], "training.learning_rate");
    assert_ne!(tuned["keys"][0], tuned["keys"][1]);
    // The other way round, everything is turned.
    let back = shell.spot("diff last last~1 --format json").ok().json();
    let turned = back["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "source[w_sum,0]").unwrap().clone();
    assert_eq!((&turned["differences"][0]["old"], &turned["differences"][0]["new"]), (&9.5.into(), &0.3.into()));
    for (metric, turned) in tuned["metrics"].as_array().unwrap().iter().zip(turned["metrics"].as_array().unwrap()) {
        assert_eq!((&metric["old"], &metric["new"]), (&turned["new"], &turned["old"]));
    }
}

#[test]
fn metrics_are_those_of_the_entries() {
    let shell = Shell::finished();
    shell.spot("run smoke --set stages.target_scores.split=validation --only target_scores").ok();
    let said = shell.spot("diff --format json").ok().json();
    for job in said["jobs"].as_array().unwrap().iter().filter(|job| job["stage"] == "target_scores") {
        assert_eq!(job["differences"][0]["field"], "split");
        for metric in job["metrics"].as_array().unwrap() {
            assert_ne!(metric["old"], metric["new"]);
        }
    }
    assert!(changed(&said).contains(&"target_scores[w_mood,0]"));
}

#[test]
fn an_edited_file_is_named_with_its_path() {
    let rows = |label: &str| {
        let rows = format!("good,{label}\nbad,negative\nfine,{label}\npoor,negative\n");
        format!("text,label\n{}", rows.repeat(3))
    };
    let manifest = "version: 1\nname: own\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n  data:\n    \
                    kind: ingest\n    backbone: backbone\n    from: {table: {train: x.csv, template: \"{text}\", label: label, \
                    labels: [positive, negative], metrics: [accuracy]}}\n";
    let shell = Shell::new().write("pipelines/own.yaml", manifest).write("x.csv", rows("positive"));
    shell.spot("run own").ok();
    shell.put("x.csv", rows("positive").replace("fine", "great"));
    shell.spot("run own").ok();
    shell.spot("diff").ok().prints("data: from.table.train: `x.csv` has different content (data)");
    let said = shell.spot("diff --format json").ok().json();
    assert_eq!(said["jobs"][0]["files"]["from.table.train"], "x.csv");
}

#[test]
fn jobs_of_one_run_only_and_failures_are_named() {
    let shell = Shell::finished();
    shell.spot("run smoke --set vars.seeds=[0,1] --only source").ok();
    let said = shell.spot("diff").ok();
    said.prints("source: only in the later run (source[w_sum,1] and 1 more)");
    said.prints("report: only in the earlier run (report)");
    // What gc removed cannot be compared any more.
    shell.spot("run smoke --only source --set vars.training.learning_rate=0.9").ok();
    shell.spot("run smoke --only source").ok();
    shell.spot("gc --apply --keep-runs 1").ok().prints("removed");
    shell.spot("diff").ok().prints("source: differ, but their entries are gone (source[w_sum,0] and 1 more)");
}

#[test]
fn runs_are_named_by_pipeline_and_time() {
    let shell = Shell::finished();
    shell.spot("run smoke").ok();
    shell
        .put("pipelines/other.yaml", "version: 1\nname: other\nstages: {b: {kind: backbone, from: {builtin: nano}}}\n");
    shell.spot("run other").ok();
    shell.spot("diff").exits_with(2).complains("of `other`, which has 1 runs");
    shell.spot("diff --pipeline smoke").ok().prints("no job differs");
    shell.spot("diff --pipeline smoke 2019 last").exits_with(2).complains("no run `2019` of `smoke`; there are 20");
    let runs = std::fs::read_dir(shell.path("cache/v1/runs/smoke")).unwrap();
    let mut runs: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
    runs.sort();
    let [old, new] = [&runs[0], &runs[1]].map(|run| run.trim_end_matches(".jsonl"));
    shell.spot(&format!("diff --pipeline smoke {old} {new}")).ok().prints(old).prints(new);
    std::fs::remove_dir_all(shell.path("cache")).unwrap();
    shell.spot("diff").exits_with(2).complains("no runs in `");
}
