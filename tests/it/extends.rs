//! Studies of one's own: a manifest that extends another, stages that are like others, and commands that are typed anywhere.

use super::shell::{PROJECT, Shell, named, smoke};
use super::tables::{gzip, snappy};
use serde_json::Value;
use serde_json::json;
use std::path::Path;

/// A newcomer's study: a task of ten lines, on all that the shipped study compares.
const OWN: &str = r#"version: 1
name: reviews
extends: spot_glue.yaml
vars:
  sources: [w_senti, w_topic, w_nli, w_para]
  targets: [reviews]
  seeds: [0]
  source_seeds: [0]
  suites: []
  data:
    reviews:
      table:
        train: data/reviews.csv
        template: "title: {title} review: {text}"
        label: stars
        labels: {1: bad, 2: bad, 4: good, 5: good}
  target_rows: {validation: null, test: null}
  design_decoding: {reviews: {rank: {}}}
stages:
  target_data: {hold_out: {share: 0.5}}
"#;

/// Five data sets in the forms in which hubs and people have them, each a task in at most ten lines.
const FIVE: &str = r#"version: 1
name: five
extends: spot_glue.yaml
vars:
  sources: [w_senti, w_topic, w_nli, w_para]
  targets: [options, nested, lines, mood, shards]
  seeds: [0]
  source_seeds: [0]
  suites: []
  data:
    options:
      table:
        train: data/options.jsonl
        template: 'question: {question} options: {options|join(", ")}'
        label: gold
        choices: {from: options, first: 0}
    nested:
      table:
        train: data/nested.json.gz
        template: "question: {question} context: {context}"
        label: answers.text
    lines:
      table:
        train: data/lines.jsonl.gz
        template: "{text}"
        label: stars
        answer: number
        round: 0.5
    mood:
      table:
        train: data/mood.csv
        columns: [text, mood]
        template: "{text}"
        label: mood
        labels: [bad, good]
    shards:
      table:
        name: shards
        train: data/shards/train-*.parquet
        query: select upper(text) as text, label from rows where label < 2
        template: "{text}"
        label: label
        labels: [bad, good]
  target_rows: {validation: null, test: null}
  design_decoding: {options: {rank: {}}, nested: greedy, lines: greedy, mood: {rank: {}}, shards: {rank: {}}}
stages:
  target_data: {hold_out: {share: 0.5}}
"#;

/// What makes it a matter of seconds.
const TINY: &str = r#"  source_rows: {train: 8, validation: 4}
  length: 2
  input_length: 24
  embedding_step: 1
  text_length: 16
  source_training: &two {steps: 2, batch_size: 2, evaluate_every: 1}
  target_training: *two
  model_source_training: *two
  model_training: *two
"#;

fn study() -> String {
    std::fs::read_to_string(Path::new(PROJECT).join("pipelines/spot_glue.yaml")).unwrap()
}

fn reviews() -> String {
    let row = |i: usize| format!("{},title {i},text of number {i}\n", [1, 2, 4, 5][i % 4]);
    "stars,title,text\n".to_owned() + &(0..60).map(row).collect::<String>()
}

fn own() -> Shell {
    let shell = Shell::new().write("pipelines/spot_glue.yaml", study()).write("data/reviews.csv", reviews());
    shell.write("pipelines/reviews.yaml", OWN)
}

/// The key of each job, as `status` says it.
fn keys(status: &Value) -> Vec<(&str, Option<&str>)> {
    status["jobs"].as_array().unwrap().iter().map(|job| (job["job"].as_str().unwrap(), job["key"].as_str())).collect()
}

#[test]
fn a_study_of_one_s_own_takes_thirty_lines() {
    assert!(OWN.lines().count() <= 30 && study().lines().count() <= 250);
    let shell = own();
    for profile in ["embedded", "files", "t5-base", "t5-base,without-text"] {
        let planned = shell.spot(&format!("status reviews --profile {profile} --format json")).ok().json();
        let jobs = keys(&planned);
        assert!(jobs.iter().any(|(job, _)| *job == "target[reviews,0]"), "{profile}");
        assert!(!jobs.iter().any(|(job, _)| job.contains("w_mood") || job.contains("cola")), "{profile}");
    }
    shell.edit("pipelines/reviews.yaml", "  target_rows:", &format!("{TINY}  target_rows:"));
    let done = shell.spot("run reviews --format json").ok();
    assert_eq!(done.summary()["failed"], 0);
    assert!(named(&done.lines(), "executed").contains(&"report".to_owned()));
    let report = shell.spot("report reviews").ok();
    report.prints("reviews").prints("best of top 1").prints("model tuning");
    shell.spot("audit reviews").ok();
}

/// The files of [`FIVE`].
fn five() -> Shell {
    const COLOURS: [&str; 4] = ["red", "blue", "green", "white"];
    let lines = |row: fn(usize) -> Value| (0..40).map(|i| row(i).to_string() + "\n").collect::<String>();
    let options = lines(|i| {
        let options = &COLOURS[..2 + i % 3];
        json!({"question": format!("which, number {i}"), "options": options, "gold": i % options.len()})
    });
    let nested = lines(|i| {
        let answers = json!({"text": [COLOURS[i % 4], "a colour"], "answer_start": [i, 3]});
        json!({"question": format!("what is {i}"), "context": "much", "answers": answers})
    });
    let numbers = lines(|i| json!({"text": format!("number {i}"), "stars": i as f64 / 8.0}));
    let mood: String = (0..40).map(|i| format!("\"so, {i}\",{}\n", if i % 2 == 0 { "good" } else { "bad" })).collect();
    let mut shell = Shell::new().write("pipelines/spot_glue.yaml", study()).write("pipelines/five.yaml", FIVE);
    shell = shell.write("data/options.jsonl", options).write("data/nested.json.gz", gzip(&nested));
    shell = shell.write("data/lines.jsonl.gz", gzip(&numbers)).write("data/mood.csv", mood);
    for shard in 0..3 {
        let texts: Vec<String> = (0..20).map(|i| format!("row {i} of {shard}")).collect();
        let labels: Vec<i64> = (0..20).map(|i| i % 3).collect();
        let name = format!("data/shards/train-{shard:05}-of-00003.parquet");
        shell = shell.write(&name, snappy(&texts, &labels));
    }
    shell
}

#[test]
fn a_newcomers_five_data_sets_go_through_the_whole_study() {
    let shell = five();
    shell.edit("pipelines/five.yaml", "  target_rows:", &format!("{TINY}  target_rows:"));
    let done = shell.spot("run five --format json").ok();
    assert_eq!(done.summary()["failed"], 0);
    let report = shell.spot("report five").ok();
    for task in ["options", "nested", "lines", "mood", "shards"] {
        report.prints(task);
    }
    report.prints("best of top 1").prints("model tuning");
    shell.spot("audit five").ok();
}

#[test]
fn a_recipe_is_the_same_whether_it_is_inherited_or_written_out() {
    let shell = Shell::finished();
    let like = "version: 1\nname: other\nextends: smoke.yaml\nstages:\n  again: {like: target_scores}\n";
    shell.put("pipelines/other.yaml", like);
    let [full, short] = ["smoke", "other"].map(|name| shell.spot(&format!("status {name} --format json")).ok().json());
    let (full, short) = (keys(&full), keys(&short));
    assert!(full.iter().all(|(_, key)| key.is_some()));
    for job in &full {
        assert!(short.contains(job), "{job:?}");
    }
    for (job, key) in short.iter().filter(|(job, _)| job.starts_with("again[")) {
        let written = job.replace("again", "target_scores");
        assert!(full.contains(&(written.as_str(), *key)), "{job}");
    }
    let done = shell.spot("run other --format json").ok();
    assert_eq!(done.summary()["executed"], 0);
}

#[test]
fn every_file_of_a_manifest_is_provenance() {
    let shell = Shell::finished();
    shell.put("pipelines/other.yaml", "version: 1\nname: other\nextends: smoke.yaml\nvars: {seeds: [3]}\n");
    let only = "run other --only target_scores";
    shell.spot(only).ok();
    let shown = shell.spot("show target_scores[w_mood,3] --format json").ok().json();
    let manifests = shown["entries"][0]["provenance"]["manifests"].as_array().unwrap();
    let files: Vec<&str> = manifests.iter().map(|manifest| manifest["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["pipelines/other.yaml", "pipelines/smoke.yaml"]);
    let text = std::fs::read(shell.path("pipelines/smoke.yaml")).unwrap();
    assert_eq!(manifests[1]["digest"], blake3::hash(&text).to_hex().as_str());

    shell.spot(only).ok();
    assert!(!shell.spot("diff --pipeline other").ok().out.contains("manifest"));
    shell.edit("pipelines/smoke.yaml", "version: 1\n", "# A comment.\nversion: 1\n");
    shell.spot(only).ok();
    let said = shell.spot("diff --pipeline other").ok();
    said.prints("manifest `pipelines/smoke.yaml` was edited").prints("no job differs");
    assert!(!said.out.contains("other.yaml"), "{}", said.out);
    // What is needed by a manifest through another stays.
    shell.spot("gc --apply --keep-runs 0").ok();
    assert_eq!(shell.executed_by(only), [""; 0]);
}

#[test]
fn a_value_is_wrong_where_it_is_written() {
    let shell = own();
    shell.edit("pipelines/reviews.yaml", "  seeds: [0]\n", "  seeds: [0]\n  length: long\n");
    let said = shell.spot("status reviews").exits_with(2);
    said.complains("pipelines/reviews.yaml:8:11: `length` is the text `long`, expected a whole number");
    said.complains("used in pipelines/spot_glue.yaml:");
    assert_eq!(said.err.matches("`length` is the text").count(), 1, "{}", said.err);
    shell.edit("pipelines/reviews.yaml", "  length: long\n", "");
    shell.edit("pipelines/spot_glue.yaml", "keep_at: ${kept_steps}", "keep_at: sometimes");
    let said = shell.spot("status reviews").exits_with(2);
    said.complains("error: pipelines/spot_glue.yaml:").complains("`keep_at` is the text `sometimes`");
    assert!(!said.err.contains("reviews.yaml"), "{}", said.err);
}

#[test]
fn a_manifest_extends_only_what_is_in_its_project() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke()).write("base.yaml", smoke());
    let check = |extends: &str, code: i32| {
        shell.put("pipelines/x.yaml", format!("version: 1\nname: x\nextends: {extends}\n"));
        shell.spot("graph x").exits_with(code)
    };
    check("../base.yaml", 0);
    check("./smoke.yaml", 0);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("base.yaml"), smoke()).unwrap();
    let absolute = outside.path().join("base.yaml").display().to_string();
    check(&absolute, 2).complains("leads out of the project");
    check("../../base.yaml", 2).complains("leads out of the project");
    std::os::unix::fs::symlink(outside.path(), shell.path("pipelines/link")).unwrap();
    check("link/base.yaml", 2).complains("leads out of the project");
    check("smok.yaml", 2).complains("there is no file `pipelines/smok.yaml`; did you mean `smoke.yaml`?");
}

#[test]
fn commands_are_typed_anywhere_in_a_project_and_outside_of_it() {
    let shell = Shell::finished();
    std::fs::create_dir_all(shell.path("notes/old")).unwrap();
    let here = shell.spot("status smoke").ok().out;
    let typed = |line: &str| shell.spot(line).inside(&shell.path("notes/old"));
    assert_eq!(typed("status smoke").ok().out, here);
    assert_eq!(typed("status ../../pipelines/smoke.yaml").ok().out, here);
    assert_eq!(typed("run smoke --format json").ok().summary()["executed"], 0);
    typed("audit smoke").ok();
    typed("gc").ok().prints("there is nothing to remove");
    typed("show source[w_sum,0]").ok();
    assert!(!shell.path("notes/old/cache").exists());

    // What is typed is relative to where it is typed, what a manifest says to the project.
    typed("report smoke --format html --output page.html").ok();
    assert!(shell.path("notes/old/page.html").is_file());
    typed("prompt export source[w_sum,0] --to ../it.npy").ok();
    assert!(shell.path("notes/it.npy").is_file());
    typed("prompt show ../it.npy").ok();
    typed("status smoke --cache cache --exit-code").exits_with(10);
    typed("status smoke --cache ../../cache --exit-code").exits_with(0);

    let elsewhere = tempfile::tempdir().unwrap();
    let manifest = shell.path("pipelines/smoke.yaml").display().to_string();
    let done = shell.spot(&format!("run {manifest} --format json")).inside(elsewhere.path()).ok();
    assert_eq!(done.summary()["executed"], 0);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn an_absolute_path_outside_is_allowed_through_a_variable() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("reviews.csv"), reviews()).unwrap();
    let shell = own();
    let folder = outside.path().display().to_string();
    let data = OWN.find("      table:").map(|start| &OWN[start..OWN.find("  target_rows").unwrap()]).unwrap();
    let stage = |path: &str| {
        let written = format!("    from:\n{}", data.replace("data/reviews.csv", path));
        let text = OWN.replace("  target_data: {hold_out: {share: 0.5}}\n", &format!("  target_data:\n{written}"));
        shell.put("pipelines/reviews.yaml", text.replace("vars:\n", "environment: {REVIEWS: data}\nvars:\n"));
    };
    stage(&format!("{folder}/reviews.csv"));
    let said = shell.spot("status reviews").exits_with(2);
    said.complains("leads out of the project; an absolute path outside is allowed through a variable: `${DATA}/file`");
    stage("${REVIEWS}/reviews.csv");
    shell.spot("run reviews --only target_data").env("REVIEWS", &folder).ok();
}
