//! Damage, death and company: what is found, what is served, what is made anew.

use super::shell::{Shell, named, smoke};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::thread::yield_now;
use std::time::Instant;

/// Overwrites a read-only file of the store.
fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}

/// The audit names the damage and who used it, the next run makes exactly `job` anew, and then all is as it was.
#[track_caller]
fn is_found_and_made_anew(shell: &Shell, job: &str, message: &str, users: &[&str], before: &[String]) {
    let audit = shell.spot("audit smoke").exits_with(3);
    audit.prints(message);
    for user in users {
        audit.prints(&format!("used by smoke: {user}\n"));
    }
    assert!(!shell.spot("audit --format json").exits_with(3).json()["problems"].as_array().unwrap().is_empty());
    assert_ne!(shell.states("smoke")[job], "cached");
    assert_eq!(shell.executed_by("run smoke"), [job]);
    shell.spot("audit smoke").ok().prints("everything is as it was made");
    assert_eq!(shell.blobs(), before);
}

#[test]
fn an_audit_of_an_undamaged_store_counts_what_is_there() {
    let shell = Shell::finished();
    let audit = shell.spot("audit smoke --format json").ok().json();
    assert_eq!(audit["blobs"], shell.blobs().len());
    assert!(audit["entries"].as_u64().unwrap() > 10 && audit["bytes"].as_u64().unwrap() > 1000);
    assert_eq!(audit["lineage"]["jobs"], audit["lineage"]["cached"]);
    shell.spot("audit").ok().prints(" entries, ").prints(" blobs, ").prints(" bytes, ");
}

#[test]
fn a_flipped_bit_in_a_prompt_is_found_and_never_served() {
    let shell = Shell::finished();
    let before = shell.blobs();
    overwrite(&shell.behind("smoke", "source[w_sum,0]", "prompt"), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let users = ["source[w_sum,0]"];
    is_found_and_made_anew(&shell, "source[w_sum,0]", "of `source[w_sum,0].prompt` is corrupt", &users, &before);
}

#[test]
fn a_truncated_data_set_is_found_and_never_served() {
    let shell = Shell::finished();
    let before = shell.blobs();
    overwrite(&shell.behind("smoke", "data[w_mood]", "dataset"), |bytes| bytes.truncate(bytes.len() / 2));
    let users = ["data[w_mood]", "target[w_mood,0]", "target_scores[w_mood,0]"];
    is_found_and_made_anew(&shell, "data[w_mood]", "of `data[w_mood].dataset` is corrupt", &users, &before);
}

#[test]
fn a_deleted_blob_is_found_and_made_anew() {
    let shell = Shell::finished();
    let before = shell.blobs();
    std::fs::remove_file(shell.behind("smoke", "ranking[w_mood,0]", "ranking")).unwrap();
    let users = ["ranking[w_mood,0]", "transfer[w_mood,0,1]"];
    is_found_and_made_anew(&shell, "ranking[w_mood,0]", "of `ranking[w_mood,0].ranking` is missing", &users, &before);
}

#[test]
fn an_edited_entry_is_found_and_made_anew() {
    let shell = Shell::finished();
    let before = shell.blobs();
    overwrite(&shell.behind("smoke", "target_scores[w_mood,0]", "entry.json"), |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("\"cpu\"", "\"gpu\"").into_bytes();
    });
    let message = "the seal does not fit the text: it was edited or damaged";
    is_found_and_made_anew(&shell, "target_scores[w_mood,0]", message, &["target_scores[w_mood,0]"], &before);
}

#[test]
fn what_an_audit_repairs_is_set_aside_and_made_anew() {
    let shell = Shell::finished();
    overwrite(&shell.behind("smoke", "source[w_sum,0]", "prompt"), |bytes| bytes[20] ^= 0x80);
    shell.spot("audit --repair").ok().prints("damaged: 1, set aside");
    shell.spot("audit").ok();
    assert_eq!(shell.executed_by("run smoke"), ["source[w_sum,0]"]);
}

#[test]
fn a_run_that_was_killed_goes_on_and_ends_with_the_bytes_of_an_uninterrupted_one() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    // Three times, each a little further: as soon as so many entries are there.
    for entries in [2, 5, 9] {
        let mut child = shell.spot("run smoke").start();
        while child.try_wait().unwrap().is_none() && count(&shell.path("cache/v1/entries")) < entries {
            yield_now();
        }
        // It may have ended by now; then there is nothing to kill, and the rest still has to hold.
        let _ = child.kill();
        child.wait().unwrap();
    }
    shell.spot("run smoke").ok();
    assert_eq!(shell.blobs(), Shell::finished().blobs());
    shell.spot("audit smoke").ok();
}

/// Five tunings that take a second or two, with dropout, evaluations and kept prompts; one is of a mixture.
const TUNINGS: &str = r#"
version: 1
name: tunings
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [w_sum, w_mood]}
    backbone: backbone
    from: {builtin: "${task}"}
    rows: {train: 40, validation: 8}
  mixed:
    kind: tune
    backbone: backbone
    data: data[*]
    mixing: {temperature: 2}
    length: 8
    training: {steps: 60, batch_size: 6, evaluate_every: 10, dropout: 0.1}
    keep_at: [35]
  tuned:
    kind: tune
    matrix: {task: [w_sum, w_mood], seed: [0, 1]}
    backbone: backbone
    data: data[${task}]
    length: 8
    seed: ${seed}
    training: {steps: 100, batch_size: 6, evaluate_every: 10, dropout: 0.1}
    keep_at: [35]
"#;

/// How often [`a_tuning_killed_at_any_time_goes_on_bit_for_bit`] kills; `SPOT_KILLS=20` for more.
fn kills() -> u32 {
    std::env::var("SPOT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn a_tuning_killed_at_any_time_goes_on_bit_for_bit() {
    let fresh = || Shell::new().write("pipelines/tunings.yaml", TUNINGS);
    let whole = fresh();
    let start = Instant::now();
    whole.spot("run tunings --threads 1 --together 1").ok();
    let (time, expected) = (start.elapsed(), whole.blobs());
    let mut resumed = 0;
    for round in 0..kills() {
        // Alone and together, on one thread and on two, before and after the kill.
        let how = |n: u32| format!("--threads {} --together {}", 1 + n % 2, [1, 4][n as usize / 2 % 2]);
        let shell = fresh();
        let mut child = shell.spot(&format!("run tunings {}", how(round))).start();
        // Any time of the run: the clock's low digits are as good as dice.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        std::thread::sleep(time.mul_f64(f64::from(now.subsec_micros() % 1000) / 1000.0));
        child.kill().unwrap();
        child.wait().unwrap();
        resumed += usize::from(shell.path("cache/v1/partial").exists() && count(&shell.path("cache/v1/partial")) > 0);
        shell.spot(&format!("run tunings {}", how(round + 1 + round / 4))).ok();
        assert!(shell.blobs() == expected, "round {round}: {} then {}", how(round), how(round + 1 + round / 4));
        shell.spot("audit tunings").ok();
    }
    println!("{resumed} of {} runs were killed in the middle of a tuning", kills());
}

#[test]
fn a_mixture_killed_between_two_saved_states_goes_on_bit_for_bit() {
    let fresh = || Shell::new().write("pipelines/tunings.yaml", TUNINGS);
    let whole = fresh();
    whole.spot("run tunings --only mixed").ok();
    let shell = fresh();
    let mut child = shell.spot("run tunings --only mixed").start();
    while saved_step(&shell).is_none_or(|step| step < 20) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it saved a state");
        yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let step = saved_step(&shell).unwrap();
    assert!((20..60).contains(&step), "{step}");
    shell.spot("run tunings --only mixed").ok();
    assert!(shell.blobs() == whole.blobs(), "killed after step {step}");
    let entry = std::fs::read_to_string(shell.behind("tunings", "mixed", "entry.json")).unwrap();
    assert!(entry.contains("\"resumed_at\":"), "{entry}");
}

/// The last step that a tuning has saved, if one is under way.
fn saved_step(shell: &Shell) -> Option<u64> {
    let folders = std::fs::read_dir(shell.path("cache/v1/partial")).ok()?.flatten();
    let step =
        |folder: std::fs::DirEntry| std::fs::read_to_string(folder.path().join("step")).ok()?.trim().parse().ok();
    folders.filter_map(step).max()
}

#[test]
fn tunings_run_in_common_batches_and_say_so() {
    let shell = Shell::new().write("pipelines/tunings.yaml", TUNINGS);
    shell.spot("run tunings --jobs 1 --together 4").ok();
    let entry = std::fs::read_to_string(shell.behind("tunings", "tuned[w_sum,0]", "entry.json")).unwrap();
    let companions =
        entry.split("\"companions\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    assert!(companions.contains("tuned["), "no companions in {entry}");
}

/// Files below a folder.
fn count(folder: &Path) -> usize {
    let Ok(items) = std::fs::read_dir(folder) else { return 0 };
    items.flatten().map(|item| if item.path().is_dir() { count(&item.path()) } else { 1 }).sum()
}

#[test]
fn two_runs_at_once_execute_every_job_once() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let start = || shell.spot("run smoke --format json").start();
    let runs = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let executed = |output: &Output| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        named(&text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>(), "executed").len()
    };
    let entries = count(&shell.path("cache/v1/entries"));
    assert_eq!(executed(&runs[0]) + executed(&runs[1]), entries);
    assert_eq!(shell.blobs(), Shell::finished().blobs());
    shell.spot("audit smoke").ok();
}

#[test]
fn a_cache_elsewhere_is_named_by_the_environment_or_an_option() {
    let shell = Shell::finished();
    std::fs::rename(shell.path("cache"), shell.path("elsewhere")).unwrap();
    shell.spot("status smoke --exit-code").exits_with(10);
    shell.spot("status smoke --exit-code").env("SPOT_CACHE", "elsewhere").ok();
    shell.spot("status smoke --exit-code --cache elsewhere").ok();
}

#[test]
fn jobs_that_are_executed_again_give_the_same_bytes_and_leave_the_store_alone() {
    let shell = Shell::finished();
    let (blobs, entries) = (shell.blobs(), count(&shell.path("cache/v1/entries")));
    let audit = shell.spot("audit smoke --rerun 6 --format json").ok().json();
    let again = audit["reruns"].as_array().unwrap();
    assert_eq!(again.len(), 6);
    let kinds: std::collections::BTreeSet<&str> = again.iter().map(|job| job["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 6, "one of each kind first");
    assert!(
        again.iter().all(|job| job["error"].is_null() && job["differs"].as_array().unwrap().is_empty()),
        "{again:?}"
    );
    assert_eq!((shell.blobs(), count(&shell.path("cache/v1/entries"))), (blobs, entries));
    assert_eq!(count(&shell.path("cache/v1/tmp")), 0);
    let runs = std::fs::read_dir(shell.path("cache/v1/runs/smoke")).unwrap().flatten();
    let journals = runs.filter(|item| item.path().extension().is_some_and(|extension| extension == "jsonl"));
    assert_eq!(journals.count(), 1, "no journal of what was tried out");
    shell.spot("audit smoke --rerun 1").ok().prints("the same bytes again: ");
    shell.spot("audit --rerun 1").exits_with(2);
}

#[test]
fn a_result_that_its_recipe_does_not_give_is_found_by_executing_it_again() {
    let shell = Shell::finished();
    // An entry that is sealed and whole, but says another score than its job gives.
    let (mood, animal) = (entry(&shell, "target_scores[w_mood,0]"), entry(&shell, "target_scores[w_animal,0]"));
    let mut forged = mood.clone();
    forged.artifacts = animal.artifacts;
    let path = shell.behind("smoke", "target_scores[w_mood,0]", "entry.json");
    overwrite(&path, |bytes| *bytes = forged.to_text().into_bytes());
    shell
        .spot("audit smoke")
        .exits_with(3)
        .prints("`scores` of `target_scores[w_mood,0]` is not what any run journaled");
    // Where the journals are gone too, only the recipe tells.
    std::fs::remove_dir_all(shell.path("cache/v1/runs")).unwrap();
    shell.spot("audit smoke").ok();
    let jobs = shell.states("smoke").len();
    let done = shell.spot(&format!("audit smoke --rerun {jobs}")).exits_with(3);
    done.prints("other bytes: target_scores[w_mood,0] (evaluate)").prints("  predictions is ");
}

fn entry(shell: &Shell, job: &str) -> spot::engine::store::entry::Entry {
    let path = shell.behind("smoke", job, "entry.json");
    let key = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    spot::engine::store::entry::Entry::from_text(&std::fs::read_to_string(path).unwrap(), key).unwrap()
}
