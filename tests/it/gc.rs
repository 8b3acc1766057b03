//! What `spot gc` removes, what it keeps and for whom, and that nothing it does at any instant hurts a run.

use super::shell::{Shell, smoke};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread::yield_now;
use std::time::{Duration, SystemTime};

/// A finished pipeline, and what an earlier version of it left behind.
fn edited() -> Shell {
    let shell = Shell::finished();
    shell.edit("pipelines/smoke.yaml", "learning_rate: 0.3", "learning_rate: 0.5");
    shell.spot("run smoke").ok();
    shell
}

/// The files of entries.
fn entries(shell: &Shell) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(shell.path("cache/v1/entries")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Everything in the store is as it was made, and the pipeline needs no run.
#[track_caller]
fn is_whole(shell: &Shell) {
    shell.spot("audit smoke").ok().prints("everything is as it was made");
    assert_eq!(shell.executed_by("run smoke"), [""; 0]);
}

/// Makes a file or folder look as if nothing had changed in it for so long.
fn rest(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn hold(shell: &Shell) -> File {
    let path = shell.path("cache/v1/locks/store");
    std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap()
}

#[test]
fn gc_is_dry_unless_it_is_told_to_apply() {
    let shell = edited();
    let (blobs, before) = (shell.blobs(), entries(&shell).len());
    let dry = shell.spot("gc --keep-runs 1").ok();
    dry.prints("by `pipelines/smoke.yaml`")
        .prints("by the last run of `smoke`")
        .prints("smoke: source[w_sum,0], smoke: ");
    dry.prints("nothing was removed\n\nhint: `spot gc --apply` with the same options removes it");
    assert_eq!((shell.blobs(), entries(&shell).len()), (blobs, before));

    let said = shell.spot("gc --keep-runs 1 --apply --format json").ok().json();
    let number = |field: &str| said[field].as_array().unwrap().len();
    assert_eq!((&said["version"], &said["applied"]), (&1.into(), &true.into()));
    assert!(number("goes") > 5);
    assert_eq!(number("stays") + number("goes"), before);
    assert_eq!(entries(&shell).len(), number("stays"));
    assert_eq!(shell.blobs().len(), said["blobs"]);
    let left: u64 = shell.blobs().iter().map(|blob| shell.path(blob).metadata().unwrap().len()).sum();
    let files: u64 = entries(&shell).iter().map(|entry| entry.metadata().unwrap().len()).sum();
    assert_eq!(said["bytes"], left + files);
    is_whole(&shell);
    shell.spot("gc --apply --keep-runs 1").ok().prints("there is nothing to remove");
}

#[test]
fn what_the_last_runs_named_stays_and_only_that_of_older_ones_goes() {
    let shell = edited();
    shell.spot("gc --apply").ok().prints("by the last 2 runs of `smoke`").prints("there is nothing to remove");
    shell.spot("gc --apply --keep-runs 1").ok().prints("removed");
    // The old rate needs its tunings again, the data sets are still there.
    let again = shell.executed_by("run smoke --set vars.training.learning_rate=0.3");
    assert!(again.contains(&"source[w_sum,0]".to_owned()) && !again.contains(&"data[w_sum]".to_owned()), "{again:?}");
}

#[test]
fn every_profile_of_every_manifest_is_a_root_and_says_what_it_keeps() {
    let profiles = "profiles:\n  short: {vars: {length: 2}}\n  long: {vars: {length: 3}}\nvars:\n";
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke().replace("vars:\n", profiles));
    shell.spot("run smoke --profile long").ok();
    shell.spot("run smoke --profile short").ok();
    let said = shell.spot("gc --keep-runs 0 --format json").ok().json();
    assert_eq!(said["goes"].as_array().unwrap().len(), 0);
    let kept = |profile: &str| {
        let name = format!("`pipelines/smoke.yaml` ({profile})");
        said["stays"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["kept_by"].as_array().unwrap().contains(&name.as_str().into()))
            .count()
    };
    assert_eq!(kept("short"), kept("long"));
    assert!(kept("long") > 10);
    // A profile less, and its results go.
    shell.edit("pipelines/smoke.yaml", "  long: {vars: {length: 3}}\n", "");
    shell.spot("gc --keep-runs 0 --apply").ok().prints("removed");
    is_whole(&shell);
}

#[test]
fn a_result_stays_while_its_job_waits_for_an_edit_to_run() {
    let shell = Shell::finished();
    shell.edit("pipelines/smoke.yaml", "learning_rate: 0.3", "learning_rate: 0.5");
    shell.spot("gc --keep-runs 0 --apply").ok().prints("there is nothing to remove");
    shell.edit("pipelines/smoke.yaml", "learning_rate: 0.5", "learning_rate: 0.3");
    is_whole(&shell);
}

/// A pipeline of one small program that prints `text`.
fn small(name: &str, text: &str) -> String {
    format!(
        "version: 1\nname: {name}\nprofiles: {{plain: {{}}, other: {{vars: {{text: other}}}}}}\nvars: {{text: {text}}}\nstages:\n  \
         it: {{kind: command, run: [sh, -c, 'echo ${{text}} > \"$SPOT_OUT/x\"'], outputs: [x]}}\n"
    )
}

#[test]
fn a_manifest_that_cannot_be_planned_keeps_what_its_last_runs_used() {
    let broken = |text: String| text.replace("vars: {text: other}", "stages: {it: {kind: nothing}}");
    let shell = Shell::new().write("pipelines/a.yaml", small("a", "one")).write("pipelines/b.yaml", small("b", "two"));
    for line in ["run a --profile plain", "run a --profile other", "run b --profile plain"] {
        shell.spot(line).ok();
    }
    shell.put("pipelines/a.yaml", broken(small("a", "three")));
    shell.put("pipelines/b.yaml", small("b", "four"));
    shell.spot("run b").ok();
    let done = shell.spot("gc --apply --keep-runs 0").ok();
    done.complains(
        "warning: what `pipelines/a.yaml` (profile `other`) needs cannot be determined, so what its last runs used stays",
    );
    done.complains("no kind `nothing`").prints("by `pipelines/a.yaml`, which cannot be planned").prints("removed");
    let texts = || {
        let mut texts: Vec<String> = shell.blobs().iter().map(|blob| shell.read(blob)).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts(), ["four\n", "one\n", "other\n"], "only `two` is gone");
    // Not even its name can be read: whatever belongs to no other manifest stays.
    shell.put("pipelines/a.yaml", "a: [\n");
    shell.spot("gc --apply --keep-runs 0").ok().complains("pipelines/a.yaml").prints("there is nothing to remove");
    assert_eq!(texts().len(), 3);
    std::fs::remove_dir_all(shell.path("pipelines")).unwrap();
    shell.spot("gc --apply --keep-runs 0").exits_with(2).complains("no manifest in `pipelines/`");
}

#[test]
fn links_in_saved_work_are_not_followed() {
    let shell = Shell::new().write("pipelines/a.yaml", small("a", "one"));
    shell.spot("run a").ok();
    let folder = format!("cache/v1/partial/{}", "0".repeat(64));
    shell.put(&format!("{folder}/step"), "1");
    for (name, target) in [("a", "."), ("b", "."), ("root", "/")] {
        std::os::unix::fs::symlink(target, shell.path(&format!("{folder}/{name}"))).unwrap();
    }
    shell.spot("gc --apply --partial").ok().prints("saved work of an interrupted job");
    assert!(!shell.path(&folder).exists());
}

#[test]
fn journals_of_old_runs_are_folded() {
    let shell = Shell::new().write("pipelines/a.yaml", small("a", "one"));
    for _ in 0..24 {
        shell.spot("run a").ok();
    }
    let journals = || std::fs::read_dir(shell.path("cache/v1/runs/a")).unwrap().count();
    assert_eq!(journals(), 24 + 1);
    shell.spot("gc --apply").ok().prints("journals of 4 old runs: only what they named is remembered, and when");
    assert_eq!(journals(), 21 + 1);
    shell.spot("audit a").ok();
    shell.spot("gc --apply").ok().prints("there is nothing to remove");
    shell.spot("run a").ok();
    shell.spot("audit a").ok().prints("everything is as it was made");
}

#[test]
fn nothing_is_removed_beside_a_run_and_a_run_waits_for_a_removal() {
    let shell = edited();
    let before = shell.blobs();
    let run = hold(&shell);
    run.lock_shared().unwrap();
    shell.spot("gc --apply --keep-runs 1").exits_with(4).complains("is in use: a run or a repair works in it");
    shell.spot("audit --repair").exits_with(4);
    shell.spot("gc --keep-runs 1").ok().prints("nothing was removed");
    shell.spot("run smoke").ok();
    drop(run);
    assert_eq!(shell.blobs(), before);

    let gc = hold(&shell);
    gc.lock().unwrap();
    shell.spot("status smoke --exit-code").ok();
    let mut child = shell.spot("run smoke").start();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert!(line.contains("something is being removed from the store; waiting"), "{line}");
    drop(gc);
    err.read_to_string(&mut line).unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
}

#[test]
fn a_running_tuning_loses_nothing_to_gc() {
    let shell = edited();
    let mut child = shell.spot("run smoke --set vars.length=3 --format json").start();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    // From its first event on, a run holds the store.
    let gc = shell.spot("gc --apply --keep-runs 0").start().wait_with_output().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    // It may have ended before gc began; then gc was right to go on.
    assert!([Some(0), Some(4)].contains(&gc.status.code()), "{gc:?}");
    shell.spot("audit smoke").ok();
}

#[test]
fn a_killed_gc_leaves_a_whole_store_and_the_next_one_goes_on() {
    for left in [0, 1, 3, 6] {
        let shell = edited();
        let before = entries(&shell).len();
        let mut child = shell.spot("gc --apply --keep-runs 1").start();
        while child.try_wait().unwrap().is_none() && entries(&shell).len() + left >= before {
            yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        is_whole(&shell);
        shell.spot("gc --apply --keep-runs 1").ok();
        is_whole(&shell);
    }
}

#[test]
fn blobs_without_an_entry_go_once_they_have_rested() {
    let shell = Shell::finished();
    let whole = shell.blobs();
    let digest = blake3::hash(b"left by a kill").to_hex().to_string();
    let path = format!("cache/v1/blobs/{}/{}", &digest[..2], &digest[2..]);
    shell.put(&path, b"left by a kill");
    shell.spot("gc --apply").ok().prints("1 blobs without an entry; they are recent");
    rest(&shell.path(&path), Duration::from_secs(7200));
    shell.spot("gc --apply --older-than 1d").ok().prints("1 blobs without an entry");
    shell.spot("gc --apply").ok().prints("goes: 0 entries, 1 blobs, 14 bytes in all");
    assert_eq!(shell.blobs(), whole);
}

#[test]
fn blobs_stay_beside_an_entry_that_cannot_be_read() {
    let shell = Shell::finished();
    let (path, whole) = (shell.behind("smoke", "source[w_sum,0]", "entry.json"), shell.blobs());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "from a later version").unwrap();
    for blob in &whole {
        rest(&shell.path(blob), Duration::from_secs(7200));
    }
    shell.spot("gc --apply").ok().prints("1 entries that cannot be read, and ").prints("see `spot audit --repair`");
    assert_eq!(shell.blobs(), whole);
}

#[test]
fn saved_work_of_interrupted_jobs_stays_unless_it_is_asked_for_or_old() {
    let shell = Shell::finished();
    shell.edit("pipelines/smoke.yaml", "learning_rate: 0.3", "learning_rate: 0.5");
    let status = shell.spot("status smoke --format json").ok().json();
    let job = status["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "source[w_sum,0]").unwrap().clone();
    let done = shell.spot("show source[w_topic,0] --format json").ok().json();
    let [wanted, unknown, done] =
        [job["key"].as_str().unwrap(), &"0".repeat(64), done["entries"][0]["key"].as_str().unwrap()]
            .map(|key| format!("cache/v1/partial/{key}"));
    for folder in [&wanted, &unknown, &done] {
        shell.put(&format!("{folder}/step"), "1");
    }
    let left = || [&wanted, &unknown, &done].map(|folder| shell.path(folder).exists());
    shell.spot("gc --apply").ok().prints("saved work of 2 interrupted jobs").prints("saved work of a job that is done");
    assert_eq!(left(), [true, true, false]);
    shell.spot("gc --apply --older-than 1h").ok();
    assert_eq!(left(), [true, true, false]);
    shell.spot("gc --apply --older-than 0s").ok().prints("saved work of an interrupted job: `");
    assert_eq!(left(), [true, false, false]);
    assert_eq!(shell.states("smoke")["source[w_sum,0]"], "interrupted at step 1");
    shell.spot("gc --apply --partial").ok();
    assert_eq!(left(), [false, false, false]);
}

#[test]
fn only_what_is_older_goes() {
    let shell = edited();
    shell
        .spot("gc --apply --keep-runs 0 --older-than 1h")
        .ok()
        .prints("used since 20")
        .prints("there is nothing to remove");
    shell.spot("gc --apply --keep-runs 0 --older-than 0s").ok().prints("removed");
    is_whole(&shell);
    shell.spot("gc --older-than 5").exits_with(2).complains("such as `30d`");
}

#[test]
fn a_largest_size_makes_kept_results_go_those_first_that_nothing_was_made_from() {
    let shell = Shell::finished();
    let (whole, all) = (shell.blobs(), entries(&shell).len());
    let said = shell.spot("gc --format json --max-size 1GiB").ok().json();
    assert_eq!(said["goes"].as_array().unwrap().len(), 0);
    // The backbone alone is larger than what is allowed, so everything has to go.
    let dry = shell.spot("gc --max-size 1KiB").ok();
    dry.prints("of them kept but for `--max-size`");
    let limit = said["bytes"].as_u64().unwrap() / 1024 - 60;
    let said = shell.spot(&format!("gc --apply --format json --max-size {limit}KiB")).ok().json();
    let gone = said["goes"].as_array().unwrap();
    assert!(!gone.is_empty() && gone.len() < all, "{gone:?}");
    assert!(said["bytes"].as_u64().unwrap() <= limit * 1024);
    assert!(gone.iter().all(|item| !item["kept_by"].as_array().unwrap().is_empty()));
    // What is left can be followed to its sources, and the rest is made again.
    shell.spot("audit smoke").ok().prints("everything is as it was made");
    shell.spot("run smoke").ok();
    assert_eq!(shell.blobs(), whole);
}

#[test]
fn views_that_lead_nowhere_go_with_their_results() {
    let shell = Shell::finished();
    let kept = shell.path("cache/v1/views/smoke/source,w_sum,0/notes.txt");
    shell.put("cache/v1/views/smoke/source,w_sum,0/notes.txt", "mine");
    std::fs::remove_file(shell.path("pipelines/smoke.yaml")).unwrap();
    shell
        .put("pipelines/other.yaml", "version: 1\nname: other\nstages: {b: {kind: backbone, from: {builtin: nano}}}\n");
    shell.spot("gc --keep-runs 0 --apply").ok().prints("removed");
    assert!(
        shell.path("cache/v1/views/smoke/backbone/entry.json").exists(),
        "the other manifest has the same backbone"
    );
    assert!(!shell.path("cache/v1/views/smoke/source,w_topic,0").exists());
    assert!(kept.exists() && !kept.with_file_name("entry.json").is_symlink());
    assert_eq!(entries(&shell).len(), 1);
}
