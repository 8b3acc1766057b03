//! What the commands print and how they end.

use super::shell::{PROJECT, Shell, named, smoke};
use std::path::Path;

#[test]
fn a_run_prints_the_results_table_on_stdout_and_progress_on_stderr() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let done = shell.spot("run pipelines/smoke.yaml").ok();
    done.prints("Scores on the test split").prints("w_mood").prints("w_animal").prints("best of top 1");
    done.complains("executed  backbone in ").complains(" 0 failed in ");
    assert!(!done.out.contains("executed"), "{}", done.out);
    assert!(!done.err.contains("Scores on"), "{}", done.err);
}

#[test]
fn a_second_run_executes_nothing_and_prints_the_same_table() {
    let shell = Shell::finished();
    let first = shell.spot("run smoke").ok();
    first.complains(": 0 executed, ").prints("Scores on");
    let events = shell.spot("run smoke --format json").ok();
    let summary = events.summary();
    let fields: Vec<&str> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    for field in ["event", "jobs", "executed", "cached", "failed", "seconds"] {
        assert!(fields.contains(&field), "{fields:?}");
    }
    assert_eq!((&summary["executed"], &summary["failed"]), (&0.into(), &0.into()));
    assert_eq!(summary["jobs"], summary["cached"]);
    assert_eq!(named(&events.lines(), "cached").len() as u64, summary["jobs"].as_u64().unwrap());
}

#[test]
fn only_runs_a_job_and_what_it_needs() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let executed = shell.executed_by("run smoke --only source[w_sum,0]");
    assert_eq!(executed, ["backbone", "data[w_sum]", "source[w_sum,0]"]);
}

#[test]
fn force_executes_a_cached_job_and_equal_bytes_leave_the_rest_cached() {
    let shell = Shell::finished();
    assert_eq!(shell.executed_by("run smoke --force source[w_sum,0]"), ["source[w_sum,0]"]);
}

#[test]
fn a_dry_run_says_what_would_run_and_runs_nothing() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    shell.spot("run smoke --dry-run").ok().prints("backbone: stale: never seen").prints("may run");
    assert!(!shell.path("cache").exists());
    let shell = Shell::finished();
    let blobs = shell.blobs();
    shell.spot("run smoke --dry-run --force source").ok().prints("stale: forced");
    assert_eq!(shell.blobs(), blobs);
}

#[test]
fn set_changes_a_variable_for_one_command() {
    let shell = Shell::finished();
    shell.spot("status smoke --set vars.length=3").ok().prints("length: 2 -> 3");
    shell.spot("status smoke --exit-code").ok();
    let done = shell.spot("status smoke --set length=3").exits_with(2);
    done.complains("error: --set: `length` cannot be set; known: `environment`, `vars`, `stages`");
}

#[test]
fn keep_going_runs_what_does_not_depend_on_a_failure() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    shell.edit("pipelines/smoke.yaml", "data: data[${task}]\n    init: {class", "data: data[w_sum]\n    init: {class");
    shell.edit("pipelines/smoke.yaml", "from: {builtin: \"${task}\"}", "from: ${origin.${task}}");
    let files = "{files: {format: glue/sst2, train: missing.tsv}}";
    let origin =
        format!("  origin: {{w_sum: {files}, w_topic: {{builtin: w_topic}}, w_mood: {files}, w_animal: {files}}}");
    shell.edit("pipelines/smoke.yaml", "vars:\n", &format!("vars:\n{origin}\n"));
    let done = shell.spot("run smoke --keep-going --format json").exits_with(1);
    let executed = named(&done.lines(), "executed");
    assert!(executed.contains(&"source[w_topic,0]".to_owned()), "{executed:?}");
    assert_eq!(done.summary()["failed"], 3);
    assert!(named(&done.lines(), "blocked").contains(&"report".to_owned()));
    // Without it the first failure ends the run, which says what there is to do.
    let stopped = Shell::new().write("pipelines/smoke.yaml", shell.read("pipelines/smoke.yaml"));
    let done = stopped.spot("run smoke --jobs 1").exits_with(1);
    done.complains("missing.tsv`; put it there").complains("not started, `--keep-going` runs those that need nothing");
}

#[test]
fn status_counts_states_and_its_exit_code_says_whether_there_is_work() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    shell.spot("status smoke").ok().prints("source              2 may run");
    shell.spot("status smoke --exit-code").exits_with(10);
    let shell = Shell::finished();
    shell.spot("status smoke --exit-code").ok().prints("source              2 cached");
    let status = shell.spot("status smoke --format json").ok().json();
    for job in status["jobs"].as_array().unwrap() {
        for field in ["job", "stage", "kind", "state", "key", "reasons"] {
            assert!(job.get(field).is_some(), "{field} of {job}");
        }
        assert_eq!(job["state"], "cached");
        assert_eq!(job["key"].as_str().unwrap().len(), 64);
    }
}

#[test]
fn explain_names_the_field_and_its_old_and_new_value() {
    let shell = Shell::finished();
    shell.edit("pipelines/smoke.yaml", "learning_rate: 0.3", "learning_rate: 0.5");
    let done = shell.spot("explain smoke source[w_sum,0]").ok();
    done.prints("source[w_sum,0] (tune): stale").prints("training.learning_rate  0.3 -> 0.5");
    assert_eq!(done.out.matches(" -> ").count(), 1, "one field differs:\n{}", done.out);
    let json = shell.spot("explain smoke source[w_sum,0] --format json").ok().json();
    let change = &json["jobs"][0]["changes"][0];
    assert_eq!(
        (&change["field"], &change["old"], &change["new"]),
        (&"training.learning_rate".into(), &0.3.into(), &0.5.into())
    );
}

#[test]
fn graphs_are_drawn_in_four_formats() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    shell
        .spot("graph smoke --set vars.targets=[w_mood]")
        .ok()
        .prints("source[w_sum,0]")
        .prints("← backbone, data[w_sum]");
    shell
        .spot("graph smoke --set vars.targets=[w_mood] --format mermaid")
        .ok()
        .prints("flowchart")
        .prints("[\"source[w_sum,0]\"]");
    shell.spot("graph smoke --set vars.targets=[w_mood] --format dot").ok().prints("digraph").prints("->");
    let graph = shell.spot("graph smoke --set vars.targets=[w_mood] --format json").ok().json();
    let edges = graph["edges"].as_array().unwrap();
    assert!(edges.contains(&serde_json::json!(["data[w_sum]", "source[w_sum,0]"])));
}

#[test]
fn a_graph_is_a_job_file_of_hyperqueue() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let line = "graph smoke --set vars.targets=[w_mood] --format hq";
    let file = shell.spot(line).ok().out;
    assert!(file.starts_with("# spot graph smoke --format hq\nname = \"smoke\"\n\n[[task]]\nid = 0\n"), "{file}");
    let jobs = shell.spot("graph smoke --set vars.targets=[w_mood] --format json").ok().json();
    let tasks: Vec<&str> = file.split("[[task]]").skip(1).collect();
    assert_eq!(tasks.len(), jobs["nodes"].as_array().unwrap().len());
    let numbered = |job: &str| tasks.iter().position(|task| task.contains(&format!("\"--only\", \"{job}\"]"))).unwrap();
    let (source, data) = (numbered("source[w_sum,0]"), numbered("data[w_sum]"));
    assert!(tasks[source].starts_with(&format!("\nid = {source}\n")), "{}", tasks[source]);
    let needs = tasks[source].lines().find_map(|line| line.strip_prefix("deps = [")).unwrap().trim_end_matches(']');
    assert!(needs.split(", ").any(|id| id == data.to_string()), "{needs}");
    assert!(tasks[source].contains("\"--set\", \"vars.targets=[w_mood]\""), "{}", tasks[source]);
    assert!(tasks[source].contains("\"--threads\", \"1\"") && tasks[source].contains("resources = { cpus = 1 }"));
    let with = shell.spot("graph smoke --format hq").arg("--hq=--threads 4 --device cpu").ok().out;
    assert!(with.contains("resources = { cpus = 4 }") && !with.contains("nvidia"), "{with}");
    for (more, why) in
        [("--worker", "`--worker` is of a whole run"), ("--thread", "unexpected argument '--thread'"), ("x", "'x'")]
    {
        let refused = shell.spot("graph smoke --format hq").arg(&format!("--hq={more}")).exits_with(2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    shell.spot("graph smoke --hq=--keep-going").exits_with(2);
    if !cfg!(feature = "cuda") {
        let refused = shell.spot("graph smoke --format hq").arg("--hq=--device cuda").exits_with(5);
        assert!(refused.err.contains("built without CUDA"), "{}", refused.err);
    }
}

#[test]
fn show_tells_who_made_something_from_what_and_what_it_holds() {
    let shell = Shell::finished();
    let done = shell.spot("show target_scores[w_mood,0]").ok();
    done.prints("target_scores[w_mood,0] (evaluate v").prints("reads   prompt from target[w_mood,0].prompt");
    done.prints("used by smoke: report (baseline)").prints("prediction").prints("\"w_mood ").prints("4 of 4 rows");
    let json = shell.spot("show target[w_mood,0] --format json").ok().json();
    let digest = json["entries"][0]["artifacts"][0]["digest"].as_str().unwrap().to_owned();
    shell.spot(&format!("show {}", &digest[..12])).ok().prints("target[w_mood,0] (tune v").prints(&digest);
    let done = shell.spot("show tarjet[w_mood,0]").exits_with(2);
    done.complains("nothing in the cache is called `tarjet[w_mood,0]`").complains("did you mean `target[w_mood,0]`?");
}

#[test]
fn the_report_is_printed_as_markdown_and_json_once_it_is_made() {
    let shell = Shell::finished();
    shell.spot("report smoke").ok().prints("| method |").prints("| prompt tuning |");
    let report = shell.spot("report smoke --format json").ok().json();
    let tasks: Vec<_> = report["targets"].as_array().unwrap().iter().map(|target| target["task"].clone()).collect();
    assert_eq!(tasks, ["w_animal", "w_mood"]);
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    shell.spot("report smoke").exits_with(1).complains("no report: `report` is not made yet (may run)");
}

#[test]
fn the_schema_in_docs_is_the_programs() {
    let shell = Shell::new();
    let kept = std::fs::read_to_string(Path::new(PROJECT).join("docs/schema.json")).unwrap_or_default();
    let printed = shell.spot("schema").ok();
    assert_eq!(printed.json()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(kept == printed.out, "docs/schema.json is out of date; write it with `spot schema > docs/schema.json`");
}

#[test]
fn every_profile_can_be_planned_without_weights_or_data() {
    let manifest = |name: &str| std::fs::read(Path::new(PROJECT).join("pipelines").join(name)).unwrap();
    let shell = Shell::new().write("pipelines/spot_glue.yaml", manifest("spot_glue.yaml"));
    shell.spot("status spot_glue --profile embedded").ok().prints("multi_task_model_scores");
    shell.spot("status spot_glue --profile files").ok().prints("multi_task_model_scores");
    for size in ["small", "base", "large", "xl", "xxl"] {
        let done = shell.spot(&format!("status spot_glue --profile t5-{size}")).ok();
        assert!(!done.out.contains("multi_task"), "{}", done.out);
        done.prints("backbone: blocked: ").prints("input `from.hub`: not downloaded");
        shell.spot(&format!("run spot_glue --profile t5-{size} --dry-run")).ok().prints("1 blocked");
    }
    // What lacks a file says so before anything ran, and one setting leaves out what no benchmark comes with.
    let text =
        "there is no file `data/corpus/wikipedia_squad_train_contexts.txt.zst`; put it there, or change the path";
    for profile in ["files", "t5-base"] {
        let status = |profile: &str| shell.spot(&format!("status spot_glue --profile {profile} --verbose")).ok();
        status(profile).prints("text_data: blocked: ").prints(text);
        let without = status(&format!("{profile},without-text"));
        assert!(!without.out.contains("text"), "{}", without.out);
        without.prints("generic_scores").prints("report: blocked");
    }
    assert!(!shell.path("cache").exists());
}

#[test]
fn unknown_names_on_the_command_line_are_refused_with_the_nearest_known() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let refused = |line: &str, message: &str| {
        shell.spot(line).exits_with(2).complains(message);
    };
    refused("run smok", "no manifest `smok`, neither as a path nor in `pipelines/`; did you mean `smoke`?");
    refused("run smoke --only sorce", "no stage `sorce`; did you mean `source`?");
    refused("run smoke --profile full", "no profile `full`");
    refused("run smoke --device gpu", "expected `auto`, `cpu`, `cuda`, `cuda:N` or `cuda:N,M`");
    refused("explain smoke source[w_sun,0]", "w_sum");
    assert!(!shell.path("cache").exists());
}

/// A table of a job as CSV, for those who have no reader of Parquet.
#[test]
fn a_table_is_printed_as_csv() {
    let shell = Shell::finished();
    let done = shell.spot("show target[w_mood,0] --csv curve").ok();
    let mut lines = done.out.lines();
    assert_eq!(lines.next(), Some("step,loss,score,learning_rate"));
    assert!(lines.next().unwrap().starts_with("0,,") && lines.count() >= 1, "{}", done.out);
    shell
        .spot("show target[w_mood,0] --csv curv")
        .exits_with(2)
        .complains("has no output `curv`; did you mean `curve`?");
    shell
        .spot("show target[w_mood,0] --csv prompt")
        .exits_with(1)
        .complains("target[w_mood,0].prompt: not a readable Parquet");
    shell.spot("show data[w_mood] --csv dataset").ok().complains("left out, since CSV has no lists: `");
}
