//! What an edit makes stale, and what it does not: `status` before, `run` after.

use super::shell::{Shell, smoke};

const MANIFEST: &str = "pipelines/smoke.yaml";

/// Nothing is stale and nothing runs.
#[track_caller]
fn changes_nothing(shell: &Shell) {
    shell.spot("status smoke --exit-code").ok();
    assert_eq!(shell.executed_by("run smoke"), [""; 0]);
}

#[test]
fn a_comment_changes_nothing() {
    let shell = Shell::finished();
    shell.edit(MANIFEST, "# Every kind", "# A remark.\n# Every kind");
    changes_nothing(&shell);
}

#[test]
fn the_order_of_keys_changes_nothing() {
    let shell = Shell::finished();
    shell.edit(MANIFEST, "steps: 2, batch_size: 2", "batch_size: 2, steps: 2");
    shell.edit(
        MANIFEST,
        "    input_length: 24\n    target_length: 8\n",
        "    target_length: 8\n    input_length: 24\n",
    );
    changes_nothing(&shell);
}

#[test]
fn a_renamed_stage_changes_nothing() {
    let shell = Shell::finished();
    shell.edit(MANIFEST, "  source:\n", "  teacher:\n");
    shell.edit(MANIFEST, "source[", "teacher[");
    changes_nothing(&shell);
    shell.spot("run smoke").ok();
    shell.spot("show teacher[w_sum,0]").ok().prints("(tune v");
}

#[test]
fn a_learning_rate_changes_its_stage_and_what_depends_on_it() {
    let shell = Shell::finished();
    let of_target =
        "init: {class_labels: {top: \"${vocabulary}\"}}\n    length: ${length}\n    seed: ${seed}\n    training: ";
    let slower = "{steps: 2, batch_size: 2, learning_rate: 0.1, dropout: 0.0, evaluate_every: 2}";
    shell.edit(MANIFEST, &format!("{of_target}${{training}}"), &format!("{of_target}{slower}"));
    let states = shell.states("smoke");
    for (job, state) in &states {
        let expected = match job.split(['[', '/']).next().unwrap() {
            // Restarts are tuned as the targets are.
            "target" | "restart" => "stale",
            "backbone" | "data" | "source" | "source_embedding" | "pair" | "pair_scores" => "cached",
            _ => "may run",
        };
        assert_eq!(state, expected, "{job}");
    }
    shell.spot("explain smoke target[w_mood,0]").ok().prints("training.learning_rate  0.3 -> 0.1");
    let executed = shell.executed_by("run smoke");
    assert!(executed.contains(&"target[w_mood,0]".to_owned()) && executed.contains(&"target[w_animal,0]".to_owned()));
    assert!(!executed.iter().any(|job| job.starts_with("source") || job.starts_with("data")), "{executed:?}");
    shell.spot("status smoke --exit-code").ok();
}

#[test]
fn a_larger_k_tunes_once_more_for_each_target_and_seed() {
    // Without brute force and the matrix, which have all tunings already.
    let shell = Shell::new().write(MANIFEST, smoke());
    shell.spot("run smoke --only transfer").ok();
    shell.edit(MANIFEST, "k: [1]", "k: [1, 2]");
    let states = shell.states("smoke");
    let larger = |job: &str| job.starts_with("transfer[") && job.contains(",2]/");
    let stale = states.iter().filter(|(job, state)| *state == "stale" && larger(job));
    assert_eq!(stale.count(), 2, "{states:?}");
    let events = shell.spot("run smoke --only transfer --format json").ok().lines();
    let tuned: Vec<_> =
        events.iter().filter(|e| e["event"] == "job" && e["kind"] == "tune" && e["state"] == "executed").collect();
    assert_eq!(tuned.len(), 2, "{tuned:?}");
    for job in tuned {
        assert!(job["job"].as_str().unwrap().starts_with("transfer["), "{job}");
    }
}

#[test]
fn a_first_run_is_compared_with_nothing() {
    let shell = Shell::finished();
    let one = "version: 1\nname: one\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n  data: {kind: ingest, \
               backbone: backbone, from: {builtin: w_mood}, rows: {train: 6, validation: 4, test: 4}}\n";
    let shell = shell.write("pipelines/one.yaml", one);
    let status = shell.spot("status one").ok();
    status.prints("data: stale: never seen");
    let explained = shell.spot("explain one data").ok();
    explained.prints("never seen");
    assert!(!explained.out.contains("compared with"), "{}", explained.out);
    shell.spot("run one").ok();
    // Another task in the same pipeline is seen for the first time too.
    shell.edit(MANIFEST, "[w_sum, w_topic]", "[w_sum, w_topic, w_qa]");
    shell.spot("explain smoke data[w_qa]").ok().prints("never seen");
    shell.edit("pipelines/one.yaml", "train: 6", "train: 5");
    shell.spot("explain one data").ok().prints("rows.train").prints("6 -> 5").prints("compared with the entry");
}

#[test]
fn a_parameter_changed_and_changed_back_executes_nothing() {
    let shell = Shell::finished();
    shell.edit(MANIFEST, "length: 2\n", "length: 3\n");
    shell.spot("status smoke --exit-code").exits_with(10).prints("length: 2 -> 3");
    assert!(!shell.executed_by("run smoke").is_empty());
    shell.edit(MANIFEST, "length: 3\n", "length: 2\n");
    changes_nothing(&shell);
}

#[test]
fn a_stage_added_or_removed_leaves_the_others_cached() {
    let shell = Shell::finished();
    let more =
        "  more:\n    kind: evaluate\n    backbone: backbone\n    prompt: source[w_sum,0]\n    data: data[w_sum]\n";
    shell.edit(MANIFEST, "\n  report:\n", &format!("\n{more}\n  report:\n"));
    assert_eq!(shell.executed_by("run smoke"), ["more"]);
    shell.edit(MANIFEST, more, "");
    changes_nothing(&shell);
}

#[test]
fn strategies_share_their_tunings() {
    let shell = Shell::new().write(MANIFEST, smoke());
    let of = |jobs: &[String], prefix: &str| jobs.iter().filter(|job| job.starts_with(prefix)).count();
    let first = shell.executed_by("run smoke --only transfer[w_mood,0,1]");
    assert_eq!((of(&first, "transfer"), of(&first, "pair")), (2, 0), "the transfer and its one tuning: {first:?}");
    // Of two sources one is tried already.
    let all = shell.executed_by("run smoke --only brute_force[w_mood,0]");
    assert_eq!((all.len(), of(&all, "brute_force[w_mood,0]/")), (2, 1), "{all:?}");
    // The matrix of all pairs has the same tunings.
    assert_eq!(shell.executed_by("run smoke --only pair[w_mood,*,0]"), [""; 0]);
}

/// Two tasks read from files, tuned and evaluated.
const FILES: &str = "
version: 1
name: files
vars:
  origins:
    sst2: {files: {format: glue/sst2, train: data/sst2.tsv, validation: data/sst2_dev.tsv}}
    cb: {files: {format: superglue/cb, train: data/cb.jsonl, validation: data/cb_dev.jsonl}}
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [sst2, cb]}
    backbone: backbone
    from: ${origins.${task}}
    rows: {train: 3}
    input_length: 24
    target_length: 8
  prompt:
    kind: tune
    matrix: {task: [sst2, cb]}
    backbone: backbone
    data: data[${task}]
    length: 2
    training: {steps: 1, batch_size: 2, evaluate_every: 1}
  scores:
    kind: evaluate
    matrix: {task: [sst2, cb]}
    backbone: backbone
    prompt: prompt[${task}]
    data: data[${task}]
";

pub(crate) fn files() -> Shell {
    let cb =
        |label: &str| format!("{{\"premise\": \"It rains.\", \"hypothesis\": \"{label}\", \"label\": \"{label}\"}}\n");
    let rows = [cb("entailment"), cb("neutral"), cb("contradiction"), cb("neutral")].concat();
    Shell::new()
        .write("pipelines/files.yaml", FILES)
        .write("data/sst2.tsv", "sentence\tlabel\na fine film\t1\na dull film\t0\na warm film\t1\n")
        .write("data/sst2_dev.tsv", "sentence\tlabel\na good film\t1\n")
        .write("data/cb.jsonl", &rows)
        .write("data/cb_dev.jsonl", cb("neutral"))
}

#[test]
fn one_row_of_a_training_file_changes_the_jobs_of_its_task_only() {
    let shell = files();
    shell.spot("run files").ok();
    shell.edit("data/sst2.tsv", "a dull film", "a poor film");
    let states = shell.states("files");
    assert_eq!(
        (&*states["data[sst2]"], &*states["prompt[sst2]"], &*states["data[cb]"]),
        ("stale", "may run", "cached")
    );
    shell.spot("explain files data[sst2]").ok().prints("from.files.train  ");
    let executed = shell.executed_by("run files");
    assert!(
        executed.contains(&"data[sst2]".to_owned()) && executed.contains(&"prompt[sst2]".to_owned()),
        "{executed:?}"
    );
    assert!(executed.iter().all(|job| job.ends_with("[sst2]")), "{executed:?}");
}

#[test]
fn a_row_outside_the_sample_ends_at_the_data_set() {
    let shell = files();
    shell.spot("run files").ok();
    let rows: Vec<String> = shell.read("data/cb.jsonl").lines().map(str::to_owned).collect();
    let dataset = shell.behind("files", "data[cb]", "dataset");
    // Three of four rows are taken; one of these edits meets the row that is not.
    let cut_off = (0..rows.len()).any(|row| {
        let mut edited = rows.clone();
        edited[row] = edited[row].replace("It rains.", "It snows.");
        shell.put("data/cb.jsonl", edited.join("\n"));
        let executed = shell.executed_by("run files --only data[cb]");
        assert_eq!(executed, ["data[cb]"]);
        shell.behind("files", "data[cb]", "dataset") == dataset
    });
    assert!(cut_off);
    assert_eq!(shell.executed_by("run files"), [""; 0]);
}

#[test]
fn a_file_that_was_only_touched_or_moved_changes_nothing() {
    let shell = files();
    shell.spot("run files").ok();
    shell.put("data/sst2.tsv", shell.read("data/sst2.tsv"));
    std::fs::rename(shell.path("data/cb.jsonl"), shell.path("data/renamed.jsonl")).unwrap();
    shell.edit("pipelines/files.yaml", "data/cb.jsonl", "data/renamed.jsonl");
    assert_eq!(shell.executed_by("run files"), [""; 0]);
}
