//! What jobs will cost before they run, from those that were measured.

use super::shell::Shell;
use serde_json::Value;

const MANIFEST: &str = r#"version: 1
name: cost
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_mood}
    rows: {train: 16, validation: 8, test: 4}
    input_length: 24
  tuning:
    kind: tune
    backbone: backbone
    data: data
    length: 2
    training: {steps: 4, batch_size: 4, evaluate_every: 2}
"#;

fn tuning(shell: &Shell, line: &str) -> Value {
    let status = shell.spot(&format!("{line} --format json")).ok().json();
    status["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "tuning").unwrap().clone()
}

/// Passes of an example through the model: learning from one costs two, one forward and one back.
fn passes(steps: f64, batch: f64) -> f64 {
    2.0 * steps * batch + (1.0 + (steps / 2.0).ceil()) * 8.0
}

#[test]
fn a_larger_tuning_is_foretold_by_its_size_and_the_speed_of_a_smaller_one() {
    let shell = Shell::new().write("pipelines/cost.yaml", MANIFEST);
    assert_eq!(tuning(&shell, "status cost")["seconds"], Value::Null, "nothing was measured");
    shell.spot("run cost").ok();
    let entry = shell.spot("show tuning --format json").ok().json()["entries"][0].clone();
    let seconds = entry["provenance"]["seconds"].as_f64().unwrap();
    assert!(entry["provenance"]["operations"].as_f64().unwrap() > 0.0);
    let check = |to: &str, steps: f64, batch: f64| {
        shell.put("pipelines/cost.yaml", MANIFEST.replace("steps: 4, batch_size: 4", to));
        let found = tuning(&shell, "status cost");
        assert_eq!(found["seconds_by"], "size", "{found}");
        let (found, expected) = (found["seconds"].as_f64().unwrap(), seconds * passes(steps, batch) / passes(4.0, 4.0));
        assert!((found / expected - 1.0).abs() < 1e-9, "{to}: {found}, expected {expected}");
    };
    check("steps: 40, batch_size: 4", 40.0, 4.0);
    check("steps: 4, batch_size: 16", 4.0, 16.0);
    shell.spot("status cost").ok().prints("1 by their size and the speed of others, least sure");
    // Another learning rate is no other size: the job took so long itself.
    shell.put("pipelines/cost.yaml", MANIFEST.replace("batch_size: 4", "batch_size: 4, learning_rate: 0.1"));
    let same = tuning(&shell, "status cost");
    assert_eq!((&same["seconds_by"], same["seconds"].as_f64().unwrap()), (&"job".into(), seconds));
    // On a device on which no speed was measured none is claimed.
    shell.put("pipelines/cost.yaml", MANIFEST.replace("steps: 4, batch_size: 4", "steps: 40, batch_size: 4"));
    let elsewhere = tuning(&shell, "run cost --dry-run --threads 61");
    assert_eq!(elsewhere["seconds"], Value::Null, "{elsewhere}");
    // Nor of data whose size is not known yet.
    shell.put("pipelines/cost.yaml", MANIFEST.replace("train: 16", "train: 12"));
    assert_ne!(tuning(&shell, "status cost")["seconds_by"], "size");
}
