//! Results that machines share: through a folder, with caches of their own; several workers, one plan.

use super::shell::{Done, Shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Jobs that write down that they ran, and one that reads what they made.
fn plan(jobs: usize, seconds: f64) -> Shell {
    let numbers: Vec<String> = (0..jobs).map(|i| i.to_string()).collect();
    let shell = Shell::new();
    let log = shell.path("log").display().to_string();
    let text = format!(
        "version: 1\nname: many\nstages:\n  leaf:\n    kind: command\n    matrix: {{i: [{}]}}\n    \
         run: [sh, -c, 'sleep {seconds}; echo $0 >> {log}; echo made $0 > \"$SPOT_OUT/o.txt\"', \"${{i}}\"]\n    outputs: [o.txt]\n  \
         sum:\n    kind: command\n    run: [sh, -c, 'echo sum >> {log}; cat \"$SPOT_IN_leaf\"/* | sort > \"$SPOT_OUT/all.txt\"']\n    \
         sets: {{leaf: \"leaf[*].o.txt\"}}\n    outputs: [all.txt]\n",
        numbers.join(", ")
    );
    shell.write("pipelines/many.yaml", text)
}

/// A machine of its own: a cache, and the folder that all share.
fn at(shell: &Shell, machine: &str, more: &str) -> String {
    format!("run many --cache {machine} --store file://{} {more}", shell.path("shared").display())
}

/// How often each job ran.
fn executions(shell: &Shell) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(shell.path("log")).unwrap_or_default().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

fn summary(done: &Done) -> Value {
    let line = done.out.lines().rfind(|line| line.contains("\"summary\"")).expect("a summary");
    serde_json::from_str(line).unwrap()
}

/// Files below a folder of the shared place.
fn objects(shell: &Shell, folder: &str) -> Vec<std::path::PathBuf> {
    let found = Command::new("find").arg(shell.path("shared").join(folder)).args(["-type", "f"]).output().unwrap();
    let mut paths: Vec<_> = String::from_utf8(found.stdout).unwrap().lines().map(Into::into).collect();
    paths.sort();
    paths
}

fn all(shell: &Shell, machine: &str) -> String {
    shell.read(&format!("{machine}/v1/views/many/sum/all.txt"))
}

#[test]
fn what_one_machine_made_another_takes() {
    let shell = plan(3, 0.0);
    let first = summary(&shell.spot(&at(&shell, "a", "--format json")).ok());
    assert_eq!((&first["executed"], &first["store"]["pushed"]), (&4.into(), &4.into()));
    let second = summary(&shell.spot(&at(&shell, "b", "--format json")).ok());
    assert_eq!((&second["executed"], &second["cached"]), (&0.into(), &4.into()));
    let expected = serde_json::json!({"hits": 4, "misses": 0, "errors": 0, "refused": 0, "pushed": 0});
    assert_eq!(second["store"], expected);
    assert_eq!(all(&shell, "a"), all(&shell, "b"));
    shell.spot("audit many --cache b").ok();
    assert!(
        objects(&shell, "claims").is_empty()
            && objects(&shell, "workers").is_empty()
            && objects(&shell, "tmp").is_empty()
    );
    assert!(executions(&shell).values().all(|n| *n == 1));
}

#[test]
fn workers_share_the_work_and_make_each_result_once() {
    let shell = plan(24, 0.05);
    let mut workers: Vec<_> = (0..4)
        .map(|i| {
            let line = at(&shell, &format!("w{i}"), "--worker --run one");
            shell.spot(&line).env("SPOT_LEASE_SECONDS", "2").start()
        })
        .collect();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    let counts = executions(&shell);
    assert_eq!(counts.len(), 25);
    assert!(counts.values().all(|n| *n == 1), "{counts:?}");
    shell.spot(&at(&shell, "z", "")).ok();
    assert_eq!(all(&shell, "z").lines().count(), 24);
}

#[test]
fn the_work_of_a_worker_that_was_killed_is_taken_up() {
    let shell = plan(4, 0.6);
    let mut killed = shell.spot(&at(&shell, "a", "--worker")).env("SPOT_LEASE_SECONDS", "1").start();
    let start = Instant::now();
    while objects(&shell, "claims").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let done = shell.spot(&at(&shell, "b", "--worker --format json")).env("SPOT_LEASE_SECONDS", "1").ok();
    assert_eq!(summary(&done)["jobs"], 5);
    assert_eq!(executions(&shell).len(), 5);
}

#[test]
fn wrong_bytes_are_named_never_taken_and_made_good() {
    let shell = plan(2, 0.0);
    shell.spot(&at(&shell, "a", "")).ok();
    let made = all(&shell, "a");
    for blob in objects(&shell, "blobs") {
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&blob, bytes).unwrap();
    }
    let done = shell.spot(&at(&shell, "b", "--format json")).ok();
    assert!(done.out.contains("has other bytes than its name says"), "{}", done.out);
    let told = summary(&done);
    assert_eq!(
        (&told["executed"], &told["store"]["refused"], &told["store"]["hits"]),
        (&3.into(), &3.into(), &0.into())
    );
    assert_eq!(all(&shell, "b"), made);
    // What was wrong there has been replaced.
    let third = summary(&shell.spot(&at(&shell, "c", "--format json")).ok());
    assert_eq!((&third["executed"], &third["store"]["refused"]), (&0.into(), &0.into()));
}

#[test]
fn an_entry_without_its_blobs_is_a_miss_that_is_said_and_replaced() {
    let shell = plan(2, 0.0);
    shell.spot(&at(&shell, "a", "")).ok();
    std::fs::remove_dir_all(shell.path("shared/blobs")).unwrap();
    let done = shell.spot(&at(&shell, "b", "")).ok();
    assert!(done.err.contains("cannot be used: blob `") && done.err.contains("is missing"), "{}", done.err);
    let third = summary(&shell.spot(&at(&shell, "c", "--format json")).ok());
    assert_eq!(third["executed"], 0);
}

#[test]
fn a_damaged_entry_is_replaced_and_one_that_was_changed_is_not_believed() {
    let shell = plan(2, 0.0);
    shell.spot(&at(&shell, "a", "")).ok();
    for (i, entry) in objects(&shell, "entries").into_iter().enumerate() {
        let text = std::fs::read_to_string(&entry).unwrap();
        std::fs::remove_file(&entry).unwrap();
        std::fs::write(
            &entry,
            if i == 0 { text[..100].to_owned() } else { text.replace("\"seconds\":0", "\"seconds\":1") },
        )
        .unwrap();
    }
    let done = shell.spot(&at(&shell, "b", "")).ok();
    assert!(done.err.contains("its entry is damaged"), "{}", done.err);
    assert_eq!(summary(&shell.spot(&at(&shell, "c", "--format json")).ok())["executed"], 0);
}

#[test]
fn a_job_that_makes_something_else_each_time_is_found_out_and_the_first_counts() {
    let text = "version: 1\nname: many\nstages:\n  sum:\n    kind: command\n    \
                run: [sh, -c, 'od -An -N8 -tx8 /dev/urandom > \"$SPOT_OUT/all.txt\"']\n    outputs: [all.txt]\n";
    let shell = Shell::new().write("pipelines/many.yaml", text);
    shell.spot("run many --cache b").ok();
    shell.spot(&at(&shell, "a", "")).ok();
    let first = all(&shell, "a");
    assert_ne!(all(&shell, "b"), first);
    let store = format!("file://{}", shell.path("shared").display());
    let done = shell.spot(&format!("push many --cache b --store {store}")).ok();
    assert!(done.out.contains("0 results brought") && done.out.contains("1 differed"), "{}", done.out);
    assert!(done.err.contains("had brought something else"), "{}", done.err);
    assert_eq!(objects(&shell, "observations").len(), 1);
    shell.spot(&at(&shell, "b", "")).ok();
    assert_eq!(all(&shell, "b"), first);
}

#[test]
fn what_could_not_be_brought_is_noted_and_brought_later() {
    let shell = plan(2, 0.0);
    shell.spot("run many --cache a").ok();
    let store = format!("--store file://{}", shell.path("shared").display());
    let done = shell.spot(&format!("push many --cache a {store}")).ok();
    assert!(done.out.starts_with("3 results brought"), "{}", done.out);
    let done = shell.spot(&format!("pull many --cache b {store}")).ok();
    assert!(done.out.starts_with("3 results brought"), "{}", done.out);
    assert_eq!(all(&shell, "b"), all(&shell, "a"));
    // A note that a killed run left.
    let entry = objects(&shell, "entries").remove(0);
    let key = entry.file_stem().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_file(&entry).unwrap();
    shell.put(&format!("a/v1/unpushed/{key}"), format!("file://{}", shell.path("shared").display()));
    shell.spot(&at(&shell, "a", "")).ok();
    assert!(entry.exists());
    assert!(!shell.path(&format!("a/v1/unpushed/{key}")).exists());
}

#[test]
fn a_store_that_is_only_read_gives_and_takes_nothing() {
    let shell = plan(2, 0.0);
    let refused = shell.spot(&at(&shell, "a", "--read-only-store")).exits_with(5);
    assert!(refused.err.contains("there is no store at"), "{}", refused.err);
    shell.spot(&at(&shell, "a", "")).ok();
    let before = objects(&shell, "");
    shell.edit("pipelines/many.yaml", "echo made", "echo done");
    let done = summary(&shell.spot(&at(&shell, "b", "--read-only-store --format json")).ok());
    assert_eq!((&done["executed"], &done["store"]["pushed"]), (&3.into(), &0.into()));
    assert_eq!(objects(&shell, ""), before);
}

#[test]
fn a_store_that_cannot_be_used_never_looks_like_an_empty_one() {
    let shell = plan(1, 0.0).write("elsewhere/store.json", "not ours");
    let line = |address: &str| format!("run many --store {address}");
    let other = shell.spot(&line(&format!("file://{}", shell.path("elsewhere").display()))).exits_with(5);
    assert!(
        other.err.contains("cannot be read") && other.err.contains("is something else kept there?"),
        "{}",
        other.err
    );
    shell.put("elsewhere/store.json", "{\"format\": 2, \"made_by\": \"9.0\"}");
    let newer = shell.spot(&line(&format!("file://{}", shell.path("elsewhere").display()))).exits_with(5);
    assert!(newer.err.contains("has format 2, and this program reads 1"), "{}", newer.err);
    for (address, why) in
        [("s3:/lab", "is no address"), ("file://x", "three slashes"), ("ftp://x/y", "nothing is known of `ftp://`")]
    {
        let refused = shell.spot(&line(address)).exits_with(2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    if !cfg!(feature = "bucket") {
        let refused = shell.spot(&line("s3://lab/spot")).exits_with(5);
        assert!(refused.err.contains("built without the client for buckets"), "{}", refused.err);
    }
    assert!(executions(&shell).is_empty());
}

#[test]
fn a_project_names_its_store_once() {
    let shell = plan(1, 0.0);
    let folder = shell.path("shared").display().to_string();
    shell.put("spot.yaml", format!("store: file://{folder}\n"));
    shell.spot("run many --cache a").ok();
    assert_eq!(summary(&shell.spot("run many --cache b --format json").ok())["store"]["hits"], 2);
    let alone = summary(&shell.spot("run many --cache c --store none --format json").ok());
    assert!(alone.get("store").is_none());
    for (text, why) in [
        ("stores: x\n", "stores"),
        ("store:\n", "store"),
        ("read_only: true\n", "store"),
        ("store: true\n", "`store` is `true`"),
    ] {
        shell.put("spot.yaml", text);
        let refused = shell.spot("run many").exits_with(2);
        assert!(refused.err.contains("spot.yaml") && refused.err.contains(why), "{text}: {}", refused.err);
    }
    // What the project only reads is not written because somebody names it once more.
    shell.put("spot.yaml", format!("store: file://{folder}\nread_only: true\n"));
    shell.edit("pipelines/many.yaml", "echo made", "echo done");
    assert_eq!(summary(&shell.spot(&at(&shell, "d", "--format json")).ok())["store"]["pushed"], 0);
}

#[test]
fn commands_that_only_look_make_no_store() {
    let shell = plan(1, 0.0);
    let store = format!("--store file://{}", shell.path("shared").display());
    for line in ["status many", "pull many", "cancel many", "gc --shared", "doctor"] {
        let done = shell.spot(&format!("{line} {store}"));
        let done = done.exits_with(5);
        assert!(
            done.err.contains("there is no store at") || done.out.contains("there is no store at"),
            "{line}: {}",
            done.err
        );
    }
    assert!(!shell.path("shared").exists());
    let made = shell.spot(&at(&shell, "a", "")).ok();
    assert!(made.err.contains("there was no store at") && made.err.contains("made one"), "{}", made.err);
    let done = shell.spot(&format!("doctor {store}")).ok();
    assert!(done.out.contains("ok    shared store: `file://"), "{}", done.out);
    assert!(objects(&shell, "doctor").is_empty());
}

#[test]
fn what_is_in_the_store_alone_is_not_stale() {
    let shell = Shell::finished();
    let store = format!("--store file://{}", shell.path("shared").display());
    shell.spot(&format!("push smoke {store}")).ok();
    let jobs = shell.spot("status smoke --format json").ok().json()["jobs"].as_array().unwrap().len();
    let status = shell.spot(&format!("status smoke --cache b {store} --exit-code")).ok();
    status.prints(&format!("{jobs} jobs: {jobs} shared\n"));
    let told = shell.spot(&format!("status smoke --cache b {store} --verbose")).ok();
    told.prints(&format!("shared: its result is in `file://{}`", shell.path("shared").display()));
    shell.spot("status smoke --cache b --exit-code").exits_with(10);
    let dry = shell.spot(&format!("run smoke --cache b {store} --dry-run --format json")).ok().json();
    assert_eq!(dry["counts"], serde_json::json!({"shared": jobs}));
    // What is neither here nor there runs.
    let shell = plan(3, 0.0);
    shell.spot(&at(&shell, "a", "")).ok();
    lose(&shell, "a", "sum", true);
    let store = format!("--store file://{}", shell.path("shared").display());
    let status = shell.spot(&format!("status many --cache b {store} --format json --exit-code")).exits_with(10);
    assert_eq!(status.json()["counts"], serde_json::json!({"shared": 3, "stale": 1}));
}

#[test]
fn a_cache_may_be_anywhere() {
    let shell = plan(1, 0.0);
    for cache in ["../of another", "100%", "x/../y"] {
        for line in ["run many", "run many --worker", "status many", "cancel many"] {
            shell.spot(line).arg("--cache").arg(&shell.path("deep/er").join(cache).display().to_string()).ok();
        }
    }
}

#[test]
fn variables_that_make_no_sense_are_refused() {
    let shell = plan(1, 0.0);
    for (name, value) in
        [("SPOT_LEASE_SECONDS", "0"), ("SPOT_LEASE_SECONDS", "soon"), ("SPOT_LEASES", "yes"), ("SPOT_STORE", "true")]
    {
        let refused = shell.spot(&at(&shell, "a", "--worker")).env(name, value);
        let refused = if name == "SPOT_STORE" { shell.spot("run many").env(name, value) } else { refused };
        let refused = if name == "SPOT_LEASES" { shell.spot("run many").env(name, value) } else { refused };
        let refused = refused.exits_with(2);
        assert!(refused.err.contains(name), "{}", refused.err);
    }
}

#[test]
fn what_a_worker_leaves_in_the_store_has_no_view_here() {
    let shell = plan(3, 0.0);
    shell.spot(&at(&shell, "a", "--only leaf")).ok();
    shell.spot(&at(&shell, "b", "--worker")).ok();
    let dangling = Command::new("find").arg(shell.path("b/v1/views")).args(["-xtype", "l"]).output().unwrap();
    assert_eq!(String::from_utf8(dangling.stdout).unwrap(), "");
    assert_eq!(all(&shell, "b").lines().count(), 3);
    shell.spot("audit many --cache b").ok();
}

#[test]
fn what_nobody_needs_goes_and_what_a_pipeline_used_last_stays() {
    let shell = plan(3, 0.0);
    let store = format!("--store file://{}", shell.path("shared").display());
    shell.spot(&at(&shell, "a", "")).ok();
    shell.edit("pipelines/many.yaml", "echo made", "echo done");
    shell.spot(&at(&shell, "a", "")).ok();
    let sweep = |more: &str| shell.spot(&format!("gc --shared {store} {more}")).ok().out;
    assert!(sweep("").contains("to go: 0 results"), "young");
    assert!(sweep("--older-than 0s --apply").contains("4 results stay for 1 pipelines"));
    assert_eq!((objects(&shell, "entries").len(), objects(&shell, "blobs").len()), (4, 4));
    assert_eq!(summary(&shell.spot(&at(&shell, "b", "--format json")).ok())["executed"], 0);
    // A root that nobody can read might need anything.
    let root = objects(&shell, "roots").remove(0);
    std::fs::write(&root, "{").unwrap();
    let refused = shell.spot(&format!("gc --shared {store} --older-than 0s --apply")).exits_with(1);
    assert!(refused.err.contains("cannot be read, so it is not known what is needed"), "{}", refused.err);
    assert_eq!(objects(&shell, "entries").len(), 4);
}

#[test]
fn a_job_that_fails_at_one_worker_fails_for_the_run() {
    let shell = Shell::new();
    let log = shell.path("log").display().to_string();
    let text = format!(
        "version: 1\nname: many\nstages:\n  bad:\n    kind: command\n    run: [sh, -c, 'echo bad >> {log}; echo no such luck >&2; exit 3']\n    outputs: [o]\n"
    );
    let shell = shell.write("pipelines/many.yaml", text);
    shell.spot(&at(&shell, "a", "--worker --run r")).exits_with(1);
    let second = shell.spot(&at(&shell, "b", "--worker --run r")).exits_with(1);
    assert!(second.err.contains("failed at the worker `") && second.err.contains("no such luck"), "{}", second.err);
    assert_eq!(executions(&shell)["bad"], 1);
    // Another run tries again.
    shell.spot(&at(&shell, "b", "--worker --run s")).exits_with(1);
    assert_eq!(executions(&shell)["bad"], 2);
}

#[test]
fn workers_are_seen_at_work_and_leave_when_they_are_asked() {
    let shell = plan(6, 1.5);
    let mut worker = shell.spot(&at(&shell, "a", "--worker --jobs 1")).env("SPOT_LEASE_SECONDS", "1").start();
    let store = format!("--store file://{}", shell.path("shared").display());
    let start = Instant::now();
    while !shell.path("shared/store.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = loop {
        let text = shell.spot(&format!("status many --cache b {store}")).ok().out;
        if text.contains("leaf[") && text.contains("1 workers") && !text.contains(": waits") {
            break text;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(text.contains(", cpu: leaf["), "{text}");
    let json: Value =
        serde_json::from_str(&shell.spot(&format!("status many --cache b --format json {store}")).ok().out).unwrap();
    let busy = json["jobs"].as_array().unwrap().iter().filter(|job| job["worker"].is_string()).count();
    assert_eq!((json["workers"].as_array().unwrap().len(), busy), (1, 1));
    let done = shell.spot(&format!("cancel many --cache b {store}")).ok();
    assert!(done.out.contains("asked 1 workers"), "{}", done.out);
    assert_eq!(worker.wait().unwrap().code(), Some(130));
    assert!(objects(&shell, "workers").is_empty() && objects(&shell, "claims").is_empty());
    assert!(executions(&shell).len() < 7);
}

#[test]
fn a_run_that_only_waits_for_another_stops_when_it_is_told() {
    let shell = plan(1, 20.0);
    let mut first = shell.spot(&at(&shell, "a", "")).start();
    let start = Instant::now();
    while objects(&shell, "claims").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut second = shell.spot(&at(&shell, "b", "")).start();
    std::thread::sleep(Duration::from_secs(3));
    let told = Instant::now();
    for child in [&mut second, &mut first] {
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
    // Leases are looked at every two seconds and more; the jobs take twenty.
    assert!(told.elapsed() < Duration::from_secs(15));
}

#[test]
fn workers_of_one_cache_need_no_store() {
    let shell = plan(16, 0.05);
    let start = |leases: &str| {
        shell.spot("run many --worker").env("SPOT_LEASES", leases).env("SPOT_LEASE_SECONDS", "1").start()
    };
    for leases in ["", "always"] {
        let mut workers = [start(leases), start(leases), start(leases)];
        assert!(workers.iter_mut().all(|worker| worker.wait().unwrap().success()));
        assert!(executions(&shell).values().all(|n| *n == 1), "{:?}", executions(&shell));
        assert_eq!(executions(&shell).len(), 17);
        std::fs::remove_file(shell.path("log")).unwrap();
        std::fs::remove_dir_all(shell.path("cache")).unwrap();
    }
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let shell = plan(1, 0.0);
    shell.spot("run many --worker --force sum").exits_with(2);
    for option in ["--workers 3", "--detach", "--slurm=--time=1"] {
        let refused = shell.spot(&format!("run many {option}")).exits_with(2);
        assert!(refused.err.contains("is for `--executor slurm`"), "{}", refused.err);
    }
    let refused = shell.spot("run many --executor slurm --force sum").exits_with(2);
    assert!(refused.err.contains("each worker of the array would do it"), "{}", refused.err);
    shell.spot("run many --run a/b --worker").exits_with(2);
    let refused = shell.spot("push many").exits_with(2);
    assert!(refused.err.contains("needs a store that machines share"), "{}", refused.err);
}

/// Removes the results of a job from the shared place; what is told of them too, or else only the entry.
fn lose(shell: &Shell, machine: &str, job: &str, with_word: bool) {
    let shown = shell.spot(&format!("show {job} --cache {machine} --format json")).ok().json();
    let key = shown["entries"][0]["key"].as_str().unwrap().to_owned();
    std::fs::remove_file(shell.path(&format!("shared/entries/{}/{key}.json", &key[..2]))).unwrap();
    if with_word {
        let told = objects(shell, &format!("told/{}", &key[..2]));
        assert_eq!(told.len(), 1, "of few keys two hardly begin alike");
        std::fs::remove_file(&told[0]).unwrap();
    }
}

#[test]
fn what_is_told_of_and_not_there_a_worker_makes_again_when_it_needs_it() {
    let shell = plan(3, 0.0);
    shell.spot(&at(&shell, "a", "--worker")).ok();
    let made = all(&shell, "a");
    assert_eq!(objects(&shell, "told").len(), 4);
    // Names tell a worker everything that it does not read.
    let idle = summary(&shell.spot(&at(&shell, "b", "--worker --format json")).ok());
    assert_eq!((&idle["cached"], &idle["store"]["hits"]), (&4.into(), &0.into()));

    lose(&shell, "a", "sum", true);
    lose(&shell, "a", "leaf[1]", false);
    let done = shell.spot(&at(&shell, "c", "--worker --format json")).ok();
    assert!(done.out.contains("so it is made again"), "{}", done.out);
    let told = summary(&done);
    assert_eq!((&told["jobs"], &told["executed"], &told["cached"]), (&4.into(), &2.into(), &2.into()));

    // A blob with other bytes, which only whoever reads it sees.
    lose(&shell, "a", "sum", true);
    for blob in objects(&shell, "blobs") {
        if std::fs::read_to_string(&blob).unwrap() == "made 2\n" {
            std::fs::remove_file(&blob).unwrap();
            std::fs::write(&blob, "made 3\n").unwrap();
        }
    }
    let done = shell.spot(&at(&shell, "d", "--worker --format json")).ok();
    let told = summary(&done);
    assert_eq!((&told["jobs"], &told["executed"], &told["failed"]), (&4.into(), &2.into(), &0.into()), "{}", done.out);
    let last = summary(&shell.spot(&at(&shell, "e", "--format json")).ok());
    assert_eq!((&last["executed"], &last["store"]["refused"]), (&0.into(), &0.into()));
    assert_eq!(all(&shell, "e"), made);
}

#[test]
fn a_store_of_which_nothing_is_told_serves_workers_and_is_told_of_then() {
    let shell = plan(3, 0.0);
    shell.spot(&at(&shell, "a", "")).ok();
    std::fs::remove_dir_all(shell.path("shared/told")).unwrap();
    let done = summary(&shell.spot(&at(&shell, "b", "--worker --format json")).ok());
    assert_eq!((&done["executed"], &done["cached"]), (&0.into(), &4.into()));
    assert_eq!(objects(&shell, "told").len(), 4);
}

/// A Slurm of two files: what is submitted runs at once, one task after the other.
fn slurm(shell: &Shell) -> String {
    let bin = shell.path("bin").display().to_string();
    let queue = shell.path("queue").display().to_string();
    std::fs::create_dir_all(&bin).unwrap();
    let sbatch = format!(
        "#!/bin/sh\ncat > {queue}.sh\n[ -e {queue}.refuse ] && {{ echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1; }}\n\
         n=$(sed -n 's/^#SBATCH --array=0-//p' {queue}.sh)\nsed -n 's/^#SBATCH --comment=//p' {queue}.sh > {queue}\n\
         (for i in $(seq 0 $n); do SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i sh {queue}.sh > {queue}.$i.log 2>&1; done; rm {queue}) > /dev/null 2>&1 &\necho 7\n"
    );
    let squeue = format!("#!/bin/sh\n[ -e {queue} ] && echo '7_0|RUNNING|'$(cat {queue})'|None'\nexit 0\n");
    let scancel = format!("#!/bin/sh\necho $1 >> {queue}.cancelled\n");
    for (name, text) in
        [("sbatch", sbatch), ("squeue", squeue), ("scancel", scancel), ("scontrol", "#!/bin/sh\n".to_owned())]
    {
        let path = Path::new(&bin).join(name);
        std::fs::write(&path, text).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
    }
    format!("{bin}:{}", std::env::var("PATH").unwrap())
}

#[test]
fn slurm_gets_one_array_and_the_client_sees_what_its_workers_make() {
    let shell = plan(6, 0.02);
    let path = slurm(&shell);
    let run = |more: &str| {
        let line = at(&shell, "a", &format!("--executor slurm --workers 2 {more}"));
        shell.spot(&line).env("PATH", &path).env("SPOT_SLURM_SECONDS", "0.3").env("SPOT_LEASE_SECONDS", "1")
    };
    // The client may see all results before the last worker has seen that nothing is left.
    let all_left = || {
        let start = Instant::now();
        while shell.path("queue").exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "workers stay");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let done = run("").ok();
    all_left();
    assert!(done.err.contains("submitted the Slurm array 7: 2 workers"), "{}", done.err);
    assert!(done.err.contains("7 jobs: 0 executed, 7 cached"), "{}", done.err);
    assert_eq!(all(&shell, "a").lines().count(), 6);
    assert!(executions(&shell).values().all(|n| *n == 1));
    shell.put("queue.refuse", "");
    shell.edit("pipelines/many.yaml", "echo made", "echo done");
    let refused = run("").exits_with(5);
    assert!(refused.err.contains("Slurm does not take the job: invalid partition specified: nope"), "{}", refused.err);
    std::fs::remove_file(shell.path("queue.refuse")).unwrap();
    let detached = run("--detach").ok();
    assert!(detached.err.contains("submitted") && detached.out.is_empty(), "{}{}", detached.out, detached.err);
    let attached = run("").ok();
    assert!(attached.err.contains("7 jobs: 0 executed, 7 cached"), "{}", attached.err);
    all_left();
    assert!(executions(&shell).values().all(|n| *n <= 2));
    // Whoever attaches to an array that has read another manifest is told, and gets what its own says.
    let script = shell.read("queue.sh");
    let mark = script.lines().find_map(|line| line.strip_prefix("#SBATCH --comment=")).unwrap();
    shell.put("queue", format!("{mark}\n"));
    shell.edit("pipelines/many.yaml", "echo done", "echo ended");
    let other = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            std::fs::remove_file(shell.path("queue")).unwrap();
        });
        run("").ok()
    });
    assert!(other.err.contains("attached") && other.err.contains("the manifest has changed since"), "{}", other.err);
    assert!(other.err.contains("submitted the array 7") && all(&shell, "a").contains("ended 5"), "{}", other.err);
    all_left();
    // Nobody is left in the queue, so there is nothing to cancel.
    shell.spot(&format!("cancel many --store file://{}", shell.path("shared").display())).env("PATH", &path).ok();
    assert!(!shell.path("queue.cancelled").exists());
}

#[test]
fn a_client_of_slurm_shows_what_its_workers_do() {
    let shell = plan(2, 3.0);
    let path = slurm(&shell);
    let line = at(&shell, "a", "--executor slurm --workers 1 --format json");
    let run = shell.spot(&line).env("PATH", &path).env("SPOT_SLURM_SECONDS", "0.2").env("SPOT_LEASE_SECONDS", "1");
    let events = run.ok().lines();
    for job in ["leaf[0]", "leaf[1]"] {
        let places = |what: &str| -> Vec<usize> {
            let is_one = |event: &Value| event["event"] == what && event["job"] == job;
            events.iter().enumerate().filter(|(_, event)| is_one(event)).map(|(at, _)| at).collect()
        };
        let (started, ended) = (places("started"), places("job"));
        assert!(started.len() == 1 && ended.len() == 1 && started < ended, "{job}: {started:?} {ended:?}");
    }
}

#[test]
fn an_array_that_slurm_takes_late_is_not_submitted_again() {
    let shell = plan(2, 0.0);
    let path = slurm(&shell);
    let bin = shell.path("bin").display().to_string();
    // A controller that was busy: it has no answer for `sbatch`, and takes the job three seconds later. It still knows a job that has ended.
    std::fs::rename(shell.path("bin/sbatch"), shell.path("bin/taken")).unwrap();
    let late = format!(
        "#!/bin/sh\ncat > {bin}/script\n(sleep 3; {bin}/taken < {bin}/script) > /dev/null 2>&1 &\necho x >> {bin}/submitted\n\
         echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2\nexit 1\n"
    );
    shell.put("bin/late", late);
    let marked = shell.read("bin/squeue").replace(
        "#!/bin/sh\n",
        &format!(
            "#!/bin/sh\ncase \"$*\" in *%F*) [ -e {queue}.sh ] && echo \"7|$(sed -n 's/^#SBATCH --comment=//p' {queue}.sh)\"; exit 0 ;; esac\n",
            queue = shell.path("queue").display()
        ),
    );
    shell.put("bin/squeue", marked);
    // In the place of the other, whose rights it has.
    std::fs::copy(shell.path("bin/taken"), shell.path("bin/sbatch")).unwrap();
    shell.put("bin/sbatch", shell.read("bin/late"));
    let line = at(&shell, "a", "--executor slurm --workers 1");
    let done =
        shell.spot(&line).env("PATH", &path).env("SPOT_SLURM_SECONDS", "0.3").env("SPOT_LEASE_SECONDS", "1").ok();
    assert!(done.err.contains("submitted the Slurm array 7: 1 workers"), "{}", done.err);
    assert!(done.err.contains("3 jobs: 0 executed, 3 cached"), "{}", done.err);
    assert_eq!(shell.read("bin/submitted"), "x\n");
    assert!(executions(&shell).values().all(|n| *n == 1));
}

#[test]
fn an_array_that_is_gone_and_refused_since_ends_the_run_that_waits() {
    let shell = plan(2, 0.0);
    let path = slurm(&shell);
    // Of a Slurm that takes one array and loses it, and takes no other.
    shell.put("bin/sbatch", "#!/bin/sh\ncat > /dev/null\n[ -e taken ] && { echo 'sbatch: error: no more' >&2; exit 1; }\ntouch taken; echo 7\n");
    let line = at(&shell, "a", "--executor slurm");
    let done = shell.spot(&line).env("PATH", &path).env("SPOT_SLURM_SECONDS", "0.1").exits_with(5);
    assert!(
        done.err.contains("no worker is left, and jobs are left: Slurm does not take the job: no more"),
        "{}",
        done.err
    );
}

#[test]
fn without_slurm_that_is_said() {
    let shell = plan(1, 0.0);
    let refused = shell.spot("run many --executor slurm").env("PATH", "/nowhere").exits_with(5);
    assert!(refused.err.contains("there is no `sbatch` here"), "{}", refused.err);
    let script = shell.spot("slurm script many --workers 3 --slurm=--time=1:00:00").ok().out;
    assert!(script.contains("#SBATCH --array=0-2\n") && script.contains("#SBATCH --time=1:00:00\n"), "{script}");
    let checked = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().and_then(|mut child| {
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes())?;
        child.wait()
    });
    assert!(checked.unwrap().success());
}
