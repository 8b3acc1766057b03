//! Running jobs as other processes see them: how far they are, their curves, and nothing of those that were killed.

use super::shell::{Shell, spelled};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

/// A tuning that nobody waits for.
const SLOW: &str = r#"version: 1
name: slow
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_mood}
    rows: {train: 16, validation: 4, test: 4}
    input_length: 24
  tuning:
    kind: tune
    matrix: {seed: [0]}
    backbone: backbone
    data: data
    seed: ${seed}
    length: 2
    training: {steps: 1000000, batch_size: 2, evaluate_every: 5}
"#;

const JOB: &str = "tuning[0]";

/// A run that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer.
fn soon<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nothing came");
}

fn job(shell: &Shell) -> Value {
    let status = shell.spot("status slow --format json").ok().json();
    let mut jobs = status["jobs"].as_array().unwrap().iter();
    jobs.find(|job| job["job"] == JOB).unwrap().clone()
}

fn running(shell: &Shell) -> Option<Value> {
    Some(job(shell)["running"].clone()).filter(|running| !running.is_null())
}

/// The file of a running job that ends so.
fn file(shell: &Shell, ending: &str) -> Option<PathBuf> {
    let folder = shell.path(&format!("cache/v1/curves/slow/{}", spelled(JOB)));
    let mut files = std::fs::read_dir(folder).ok()?.map(|file| file.unwrap().path());
    files.find(|file| file.extension().is_some_and(|own| own == ending))
}

/// The records of a TensorBoard file; the last may be half written.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut records) = (bytes, Vec::new());
    while let Some(length) = rest.first_chunk() {
        let length = u64::from_le_bytes(*length) as usize;
        let Some(data) = rest.get(12..12 + length) else { break };
        records.push(data);
        rest = rest.get(16 + length..).unwrap_or_default();
    }
    records
}

#[test]
fn a_running_tuning_shows_its_course_until_it_is_killed() {
    let shell = Shell::new().write("pipelines/slow.yaml", SLOW);
    shell.spot("run slow --only data").ok();
    assert_eq!(running(&shell), None);
    let mut child = Started(shell.spot("run slow").start());
    // Before the first steps there is a score and no loss.
    let has_all = |running: &Value| ["loss", "best"].iter().all(|name| running["values"][name].is_object());
    let first = soon(|| running(&shell).filter(has_all));
    assert_eq!(first["steps"], 1_000_000);
    assert_eq!(first["process"]["pid"], child.0.id());
    for name in ["loss", "score", "best"] {
        let (step, value) = (&first["values"][name]["step"], &first["values"][name]["value"]);
        assert!(step.as_u64().unwrap() <= 1_000_000 && value.as_f64().unwrap().is_finite(), "{first}");
        assert!(!first["curves"][name].as_array().unwrap().is_empty(), "{first}");
    }
    let later = soon(|| running(&shell).filter(|running| running["step"].as_u64() > first["step"].as_u64()));
    assert!(later["rate"].as_f64().unwrap() > 0.0);
    let text = shell.spot("status slow").ok();
    text.prints("tuning    1 running")
        .prints("tuning[0]: running: step ")
        .prints(" of 1000000, ")
        .prints("; loss ")
        .prints(", score ")
        .prints(", best ");

    // TensorBoard reads a file that only grows.
    let log = soon(|| file(&shell, "tfevents"));
    let before = std::fs::read(&log).unwrap();
    let after = soon(|| std::fs::read(&log).ok().filter(|after| after.len() > before.len()));
    assert!(after.starts_with(&before));
    let found = records(&after);
    assert!(found[0].ends_with(b"brain.Event:2"), "{:?}", found[0]);
    let of = |tag: &[u8]| found.iter().filter(|record| record.windows(tag.len()).any(|part| part == tag)).count();
    let (losses, scores) = (of(b"train/loss"), of(b"validation/score"));
    assert!(scores > 1 && scores - 1 <= losses + 1, "{losses} losses, {scores} scores: the first has no loss");

    // What is damaged counts as nothing and is written anew.
    std::fs::write(file(&shell, "json").unwrap(), "{\"version\": 1, ").unwrap();
    shell.spot("status slow").ok();
    soon(|| running(&shell));

    child.0.kill().unwrap();
    // Also while nobody has asked yet how it ended.
    soon(|| running(&shell).is_none().then_some(()));
    child.0.wait().unwrap();
    let dead = job(&shell);
    assert_eq!(dead["running"], Value::Null);
    assert!(dead["state"].as_str().unwrap().starts_with("interrupted at step "), "{dead}");
    assert!(!shell.spot("status slow").ok().out.contains("running:"));
    assert!(log.exists(), "it was killed");
    shell.spot("run slow --only data").ok();
    assert!(!log.parent().unwrap().exists(), "the next run has removed it");
    assert_eq!(running(&shell), None);
    shell.spot("audit slow").ok();
}

#[test]
fn a_job_that_is_done_or_was_stopped_shows_nothing_any_more() {
    let shell = Shell::new().write("pipelines/slow.yaml", SLOW);
    let mut child = Started(shell.spot("run slow").start());
    soon(|| running(&shell));
    assert!(std::process::Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    assert_eq!(running(&shell), None);
    assert!(file(&shell, "tfevents").is_none());
    let key = job(&shell)["key"].clone();
    shell.edit("pipelines/slow.yaml", "steps: 1000000", "steps: 10");
    assert_ne!(job(&shell)["key"], key);
    shell.spot("run slow").ok();
    assert!(file(&shell, "tfevents").is_none() && file(&shell, "json").is_none());
    // Of a pipeline that never runs again.
    shell.put("cache/v1/curves/gone/tuning/ab.tfevents", "left by a kill");
    shell.spot("gc --apply").ok();
    assert!(!shell.path("cache/v1/curves/gone").exists());
}
