//! The engine at work on toy kinds: what runs again, what does not, and what happens when something breaks.

use super::check::audit::audit;
use super::plan::Plan;
use super::run::state::{Question, survey};
use super::run::{Ending, Fault};
use super::stage::{Pick, Source};
use super::store::Store;
use super::store::digest::{Digest, Key};
use super::toys::{Borrower, Concat, Elsewhere, Fan, Length, Sketch, Slow, Trouble, Yard, all, of, overwrite};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

fn concat(text: &str) -> Concat {
    Concat { text: text.to_owned(), ..Concat::default() }
}

fn logged(yard: &Yard, text: &str) -> Concat {
    Concat { log: yard.path("log"), ..concat(text) }
}

/// `a` and `b` into `c`.
fn triangle(yard: &Yard, a: &str) -> Plan {
    let mut sketch = Sketch::new();
    let (a, b) = (sketch.job("a", logged(yard, a), vec![]), sketch.job("b", logged(yard, "b"), vec![]));
    sketch.job("c", logged(yard, "c"), vec![("parts", all(&[a, b]))]);
    sketch.plan()
}

/// One job that reads a file.
fn reader(job: Concat, path: &Path) -> Plan {
    let mut sketch = Sketch::new();
    sketch.job("reader", job, vec![("file", Source::File(path.to_owned()))]);
    sketch.plan()
}

fn states(yard: &Yard, plan: &Plan) -> Vec<(String, String, Vec<String>)> {
    let states = survey(plan, &yard.store, &Question::default()).unwrap();
    let reasons = |reasons: &[super::run::reason::Reason]| reasons.iter().map(ToString::to_string).collect();
    states.into_iter().map(|job| (job.job, job.state.to_string(), reasons(&job.reasons))).collect()
}

fn state(yard: &Yard, plan: &Plan, job: &str) -> (String, Vec<String>) {
    let found = states(yard, plan).into_iter().find(|(name, ..)| name == job);
    found.map(|(_, state, reasons)| (state, reasons)).unwrap()
}

fn key(yard: &Yard, plan: &Plan) -> Key {
    survey(plan, &yard.store, &Question::default()).unwrap().pop().unwrap().key.unwrap()
}

/// A job that reads a file which is kept elsewhere, and one that reads the job.
fn fetcher(yard: &Yard) -> Plan {
    let remote = Elsewhere { from: yard.path("elsewhere"), to: yard.path("here") };
    let mut sketch = Sketch::new();
    let fetcher = sketch.job("fetcher", concat("x"), vec![("folder", Source::Remote(Arc::new(remote)))]);
    sketch.job("below", concat("y"), vec![("parts", all(&[fetcher]))]);
    sketch.plan()
}

// ---- what is kept elsewhere ---------------------------------------------------------------------------------------------

#[test]
fn only_a_run_fetches_what_is_kept_elsewhere() {
    let mut yard = Yard::new();
    yard.file("elsewhere", "content");
    let plan = fetcher(&yard);
    assert_eq!(state(&yard, &plan, "fetcher"), ("blocked".to_owned(), vec!["input `folder`: not fetched".to_owned()]));
    assert_eq!(state(&yard, &plan, "below").0, "blocked");
    yard.settings.fetch = false;
    assert_eq!((yard.run(&plan).failed, yard.path("here").exists()), (1, false));
    assert!(
        yard.error("fetcher").contains("`folder`: not fetched; `spot run` fetches it"),
        "{}",
        yard.error("fetcher")
    );
    yard.settings.fetch = true;
    assert_eq!(yard.run(&plan).executed, 2);
    assert_eq!(yard.text("fetcher"), "x0;xcontent");
    // By then it is a file like any other: what it was fetched from counts no more, its content does.
    fs_err::remove_file(yard.path("elsewhere")).unwrap();
    assert_eq!(yard.run(&plan).cached, 2);
    yard.file("here", "other content");
    assert_eq!(state(&yard, &plan, "fetcher").0, "stale");
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["below", "fetcher"]);
    let entry = survey(&plan, &yard.store, &Question::default()).unwrap().remove(0).entry.unwrap();
    assert_eq!(entry.provenance.notes["folder"], "the first");
}

#[test]
fn what_cannot_be_fetched_fails_its_job_and_what_is_stopped_goes_on_later() {
    let mut yard = Yard::new();
    let plan = fetcher(&yard);
    let summary = yard.run(&plan);
    assert_eq!((summary.failed, summary.blocked), (1, 1));
    assert!(yard.error("fetcher").contains("elsewhere"), "{}", yard.error("fetcher"));
    yard.file("elsewhere", "content");
    yard.stop_at = Some(1);
    let summary = yard.run(&plan);
    assert_eq!((summary.interrupted, summary.failed, summary.executed), (true, 0, 0));
    yard.stop_at = None;
    assert_eq!(yard.run(&plan).executed, 2);
}

// ---- what runs again ----------------------------------------------------------------------------------------------------

#[test]
fn a_hit_skips_execution() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    let first = yard.run(&plan);
    assert_eq!((first.jobs, first.executed, first.cached), (3, 3, 0));
    let second = yard.run(&plan);
    assert_eq!((second.executed, second.cached, second.failed), (0, 3, 0));
    assert_eq!(yard.log("log").len(), 3);
}

#[test]
fn a_changed_parameter_runs_its_job_and_what_depends_on_it() {
    let yard = Yard::new();
    yard.run(&triangle(&yard, "a"));
    let changed = triangle(&yard, "A");
    assert_eq!(state(&yard, &changed, "a"), ("stale".to_owned(), vec![r#"text: "a" -> "A""#.to_owned()]));
    assert_eq!(state(&yard, &changed, "c"), ("may run".to_owned(), vec!["depends on `a`".to_owned()]));
    yard.run(&changed);
    assert_eq!(yard.ended(Ending::Executed), ["a", "c"]);
    assert_eq!(yard.reasons("a"), [r#"text: "a" -> "A""#]);
    assert!(yard.reasons("c")[0].starts_with("input parts: "), "{:?}", yard.reasons("c"));
}

#[test]
fn a_parameter_changed_and_changed_back_runs_nothing() {
    let yard = Yard::new();
    yard.run(&triangle(&yard, "a"));
    yard.run(&triangle(&yard, "A"));
    let back = yard.run(&triangle(&yard, "a"));
    assert_eq!((back.executed, back.cached), (0, 3));
    assert!(yard.text("a").starts_with("a0;"), "the views follow");
}

#[test]
fn equal_bytes_upstream_leave_everything_below_fresh() {
    let yard = Yard::new();
    let plan = |text: &str| {
        let mut sketch = Sketch::new();
        let a = sketch.job("a", concat(text), vec![]);
        let length = sketch.job("length", Length::default(), vec![("of", of(a))]);
        sketch.job("below", logged(&yard, "x"), vec![("parts", all(&[length]))]);
        sketch.plan()
    };
    yard.run(&plan("one"));
    yard.run(&plan("two"));
    assert_eq!(yard.ended(Ending::Executed), ["a", "length"]);
    assert_eq!(yard.ended(Ending::Cached), ["below"]);
}

#[test]
fn everything_that_decides_the_result_changes_the_key() {
    let yard = Yard::new();
    let file = yard.file("rows.tsv", "rows");
    let base = key(&yard, &reader(concat("x"), &file));
    let mut keys = vec![base];
    keys.push(key(&yard, &reader(concat("y"), &file)));
    keys.push(key(&yard, &reader(Concat { seed: 1, ..concat("x") }, &file)));
    keys.push(key(&yard, &reader(Concat { upper: true, ..concat("x") }, &file)));
    let mut other_role = Sketch::new();
    other_role.job("reader", concat("x"), vec![("parts", Source::File(file.clone()))]);
    keys.push(key(&yard, &other_role.plan()));
    yard.file("rows.tsv", "rows and one more");
    keys.push(key(&yard, &reader(concat("x"), &file)));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 6);
}

#[test]
fn nothing_else_changes_the_key() {
    let yard = Yard::new();
    let file = yard.file("rows.tsv", "rows");
    let base = key(&yard, &reader(concat("x"), &file));
    // Another path with the same content, another log, another name of job, stage, pipeline; another cache, other threads.
    let elsewhere = yard.file("copy.tsv", "rows");
    let mut sketch = Sketch::named("other");
    sketch.job("other[a]", logged(&yard, "x"), vec![("file", Source::File(elsewhere))]);
    let plan = sketch.plan();
    assert_eq!(key(&yard, &plan), base);
    let mut other = Yard::new();
    other.settings.threads = 7;
    other.settings.jobs = 1;
    other.run(&plan);
    assert_eq!(other.outcome("other[a]").key, Some(base));
    // The same content written again.
    yard.file("rows.tsv", "rows");
    assert_eq!(key(&yard, &reader(concat("x"), &file)), base);
}

#[test]
fn inputs_of_one_role_are_a_set() {
    let yard = Yard::new();
    let plan = |swap: bool| {
        let mut sketch = Sketch::new();
        let nodes = [sketch.job("a", concat("a"), vec![]), sketch.job("b", concat("b"), vec![])];
        let parts = if swap { all(&[nodes[1], nodes[0]]) } else { all(&nodes) };
        sketch.job("c", concat("c"), vec![("parts", parts)]);
        sketch.plan()
    };
    yard.run(&plan(false));
    assert_eq!(yard.run(&plan(true)).executed, 0);
}

#[test]
fn only_the_picked_files_of_a_folder_count() {
    let yard = Yard::new();
    fs_err::create_dir(yard.path("folder")).unwrap();
    let write = |name: &str, text: &str| fs_err::write(yard.path("folder").join(name), text).unwrap();
    write("b.json", "1");
    write("a.json", "2");
    write("README", "3");
    let pick = Pick::by(|names| Ok(names.iter().filter(|name| name.ends_with(".json")).cloned().collect()));
    let mut sketch = Sketch::new();
    sketch.job("x", concat("x"), vec![("folder", Source::Folder(yard.path("folder"), pick))]);
    let plan = sketch.plan();
    yard.run(&plan);
    assert_eq!(yard.text("x"), "x0;a.json2b.json1");
    write("README", "changed");
    assert_eq!(yard.run(&plan).executed, 0);
    write("a.json", "4");
    assert_eq!(yard.run(&plan).executed, 1);
    assert!(yard.reasons("x")[0].starts_with("input folder/a.json: "), "{:?}", yard.reasons("x"));
}

#[test]
fn equal_recipes_execute_once() {
    let mut yard = Yard::new();
    yard.settings.jobs = 4;
    let mut sketch = Sketch::new();
    for i in 0..12 {
        sketch.job(&format!("same[{i}]"), logged(&yard, "same"), vec![]);
    }
    let summary = yard.run(&sketch.plan());
    assert_eq!((summary.executed, summary.cached), (1, 11));
    assert_eq!(yard.log("log"), ["same"]);
}

#[test]
fn a_forced_job_runs_once_more_and_its_equal_output_stops_there() {
    let mut yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    yard.settings.forced = BTreeSet::from(["a".to_owned()]);
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["a"]);
    assert_eq!(yard.reasons("a"), ["forced"]);
}

#[test]
fn only_runs_what_was_asked_for_and_what_it_needs() {
    let mut yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.settings.only = Some(BTreeSet::from(["b".to_owned()]));
    let summary = yard.run(&plan);
    assert_eq!((summary.jobs, summary.executed), (1, 1));
    yard.settings.only = Some(BTreeSet::from(["c".to_owned()]));
    assert_eq!(yard.run(&plan).executed, 2);
}

#[test]
fn the_last_event_is_what_scripts_expect() {
    let yard = Yard::new();
    let mut summary = yard.run(&triangle(&yard, "a"));
    summary.seconds = 0.5;
    let expected = r#"{"event":"summary","jobs":3,"executed":3,"cached":0,"failed":0,"seconds":0.5}"#;
    assert_eq!(serde_json::to_string(&summary.event()).unwrap(), expected);
}

// ---- jobs that ask for jobs ---------------------------------------------------------------------------------------------

fn fan(yard: &Yard, letters: &str, until: char) -> Plan {
    let mut sketch = Sketch::new();
    let source = sketch.job("source", concat(letters), vec![]);
    sketch.job("fan", Fan { until, log: yard.path("log"), ..Fan::default() }, vec![("of", of(source))]);
    sketch.plan()
}

#[test]
fn expansion_adds_jobs_and_more_of_it_runs_only_the_new_ones() {
    let yard = Yard::new();
    let plan = fan(&yard, "abc", 'b');
    let reasons = state(&yard, &plan, "fan").1;
    assert_eq!(reasons, ["depends on `source`", "asks for more jobs once its inputs are known, at most 26"]);
    let first = yard.run(&plan);
    assert_eq!((first.jobs, first.executed), (4, 4));
    assert_eq!(yard.text("fan"), "a0;abc0;b0;abc0;");
    let more = fan(&yard, "abc", 'c');
    let found: Vec<_> = states(&yard, &more).into_iter().map(|(name, state, _)| format!("{name} {state}")).collect();
    assert_eq!(found, ["source cached", "fan stale", "fan/a cached", "fan/b cached", "fan/c stale"]);
    yard.run(&more);
    assert_eq!(yard.ended(Ending::Executed), ["fan", "fan/c"]);
    let mut log = yard.log("log");
    log.sort();
    assert_eq!(log, ["a", "b", "c"]);
}

#[test]
fn an_expanded_job_shares_its_key_with_a_job_of_the_manifest() {
    let yard = Yard::new();
    let mut sketch = Sketch::new();
    let source = sketch.job("source", concat("ab"), vec![]);
    sketch.job("direct", logged(&yard, "a"), vec![("parts", all(&[source]))]);
    sketch.job("fan", Fan { until: 'a', log: yard.path("log"), ..Fan::default() }, vec![("of", of(source))]);
    let summary = yard.run(&sketch.plan());
    assert_eq!((summary.jobs, summary.executed, summary.cached), (4, 3, 1));
    assert_eq!(yard.log("log"), ["a"]);
}

#[test]
fn jobs_that_are_asked_for_may_read_what_those_before_them_make() {
    let yard = Yard::new();
    let mut sketch = Sketch::new();
    let source = sketch.job("source", concat("abc"), vec![]);
    let chain = Fan { until: 'c', chain: true, log: yard.path("log"), ..Fan::default() };
    sketch.job("fan", chain, vec![("of", of(source))]);
    let plan = sketch.plan();
    let summary = yard.run(&plan);
    assert_eq!((summary.jobs, summary.executed), (5, 5));
    assert_eq!(yard.text("fan/c"), "c0;b0;a0;abc0;");
    assert_eq!(yard.log("log"), ["a", "b", "c"], "one after the other");
    fs_err::remove_file(yard.blob("fan/b")).unwrap();
    let found: Vec<_> = states(&yard, &plan).into_iter().map(|(name, state, _)| format!("{name} {state}")).collect();
    assert_eq!(found, ["source cached", "fan may run", "fan/a cached", "fan/b stale", "fan/c may run"]);
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["fan/b"], "equal bytes leave the rest fresh");
}

// ---- what breaks --------------------------------------------------------------------------------------------------------

fn trouble(how: &str) -> Plan {
    let mut sketch = Sketch::new();
    let bad = sketch.job("bad", Trouble { how: how.to_owned() }, vec![]);
    sketch.job("below", concat("x"), vec![("parts", all(&[bad]))]);
    sketch.job("beside", concat("y"), vec![]);
    sketch.plan()
}

#[track_caller]
fn check_trouble(how: &str, error: &str, fault: Fault) {
    let mut yard = Yard::new();
    yard.settings.keep_going = true;
    let summary = yard.run(&trouble(how));
    let found = yard.outcome("bad").error.unwrap();
    assert!(found.contains(error), "{found}");
    assert_eq!(summary.fault, Some(fault));
    assert_eq!(yard.ended(Ending::Blocked), ["below"]);
    assert_eq!(yard.store.keys().unwrap().len(), summary.executed, "a failed job leaves no entry");
}

#[test]
fn what_goes_wrong_in_a_job_is_told() {
    check_trouble("error", "loss is NaN at step 3", Fault::Job);
    check_trouble("panic", "panicked: index out of bounds", Fault::Job);
    check_trouble("silent", "did not write its output `text`", Fault::Job);
    check_trouble("twice", "`text` is written a second time", Fault::Job);
    check_trouble("unknown", "no output `txet`", Fault::Job);
    check_trouble("full", "no storage space", Fault::Environment);
}

#[test]
fn a_failure_lets_running_jobs_finish_and_keep_going_runs_the_rest() {
    let mut yard = Yard::new();
    yard.settings.jobs = 1;
    let summary = yard.run(&trouble("error"));
    assert_eq!((summary.failed, summary.blocked, summary.executed), (1, 1, 0));
    yard.settings.keep_going = true;
    let summary = yard.run(&trouble("error"));
    assert_eq!((summary.failed, summary.blocked, summary.executed), (1, 1, 1));
}

#[test]
fn a_result_whose_input_changed_meanwhile_is_discarded() {
    let yard = Yard::new();
    let file = yard.file("rows.tsv", "rows");
    let mut sketch = Sketch::new();
    sketch.job("edited", Trouble { how: "edit".to_owned() }, vec![("file", Source::File(file))]);
    let summary = yard.run(&sketch.plan());
    assert_eq!(summary.failed, 1);
    assert!(yard.outcome("edited").error.unwrap().contains("changed while the job ran; its result is discarded"));
    assert!(yard.store.keys().unwrap().is_empty());
}

#[test]
fn a_missing_input_file_blocks_and_is_named() {
    let yard = Yard::new();
    let plan = reader(concat("x"), &yard.path("absent.tsv"));
    let (found, reasons) = state(&yard, &plan, "reader");
    assert_eq!(found, "blocked");
    assert!(reasons[0].contains("absent.tsv"), "{reasons:?}");
    assert_eq!(yard.run(&plan).failed, 1);
    assert!(yard.outcome("reader").error.unwrap().contains("absent.tsv"));
}

#[test]
fn a_corrupt_blob_is_never_served_and_only_its_job_runs_again() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    let blob = yard.blob("a");
    overwrite(&blob, b"A0;");
    let (found, reasons) = state(&yard, &plan, "a");
    assert_eq!(found, "stale");
    assert!(reasons[0].contains("of `text` is corrupt"), "{reasons:?}");
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["a"]);
    assert!(yard.reasons("a")[0].contains("is corrupt"));
    assert_eq!(fs_err::read(blob).unwrap(), b"a0;");
}

#[test]
fn a_missing_blob_and_an_edited_entry_run_their_job_again() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    fs_err::remove_file(yard.blob("a")).unwrap();
    let entry = yard.store.entry_path(&yard.outcome("b").key.unwrap());
    let text = fs_err::read_to_string(&entry).unwrap();
    overwrite(&entry, text.replace("\"attempts\":1", "\"attempts\":2").as_bytes());
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["a", "b"]);
    assert!(yard.reasons("a")[0].contains("is missing"));
    assert!(yard.reasons("b")[0].contains("edited or damaged"));
    assert_eq!(yard.run(&plan).executed, 0);
}

// ---- interruption -------------------------------------------------------------------------------------------------------

#[test]
fn an_interrupted_job_goes_on_where_it_was() {
    let mut yard = Yard::new();
    let mut sketch = Sketch::new();
    sketch.job("slow", Slow { steps: 5, log: yard.path("steps"), hang_at: None }, vec![]);
    let plan = sketch.plan();
    yard.stop_at = Some(3);
    let summary = yard.run(&plan);
    assert!(summary.interrupted);
    assert_eq!(yard.outcome("slow").ending, Ending::Interrupted(3));
    assert_eq!(state(&yard, &plan, "slow").0, "interrupted at step 3");
    yard.stop_at = None;
    assert_eq!(yard.run(&plan).executed, 1);
    assert_eq!(yard.log("steps"), ["0", "1", "2", "3", "4"]);
    let entry = yard.store.entry(&yard.outcome("slow").key.unwrap()).unwrap().unwrap().unwrap();
    assert_eq!((entry.provenance.attempts, entry.provenance.resumed_at), (2, Some(3)));
    assert!(!yard.store.scratch_path(&entry.key).exists());
}

/// A base that all begin from, and models that are tuned from it one after the other, each evaluated with three seeds.
#[test]
fn values_that_jobs_share_are_let_go_while_a_run_goes_on() {
    let mut yard = Yard::new();
    yard.settings.jobs = 1;
    let mut sketch = Sketch::new();
    let base = sketch.job("base", concat("base"), vec![]);
    let live = Arc::<AtomicUsize>::default();
    let borrower = |seed| Borrower { seed, log: yard.path("log"), live: Arc::clone(&live), ..Borrower::default() };
    for model in 0..5 {
        let tuned = sketch.job(&format!("tuned{model}"), borrower(model), vec![("of", of(base))]);
        for seed in 0..3 {
            sketch.job(&format!("scores{model}[{seed}]"), borrower(100 + 10 * model + seed), vec![("of", of(tuned))]);
        }
    }
    let done = yard.run(&sketch.plan());
    assert_eq!((done.executed, done.failed), (21, 0));
    let log = yard.log("log");
    let made = log.iter().filter(|line| line.starts_with("made")).count();
    assert_eq!(made, 6, "each value once: {log:?}");
    assert!(log.iter().all(|line| line.ends_with("1 live") || line.ends_with("2 live")), "{log:?}");
}

/// Many models that are all there and each has jobs to do.
#[test]
fn jobs_that_share_models_work_on_few_of_them_at_a_time() {
    let mut yard = Yard::new();
    yard.settings.together = 8;
    let live = Arc::<AtomicUsize>::default();
    let mut sketch = Sketch::new();
    for model in 0..6 {
        let made = sketch.job(&format!("model{model}"), concat(&model.to_string()), vec![]);
        for seed in 0..4 {
            let (seed, log, live) = (10 * model + seed, yard.path("log"), Arc::clone(&live));
            let scores = Borrower { seed, shares: true, log, live, ..Borrower::default() };
            sketch.job(&format!("scores[{seed}]"), scores, vec![("of", of(made))]);
        }
    }
    let plan = sketch.plan();
    yard.settings.only = Some((0..6).map(|model| format!("model{model}")).collect());
    yard.run(&plan);
    yard.settings.only = None;
    let done = yard.run(&plan);
    assert_eq!((done.executed, done.cached, done.failed), (24, 6, 0));
    let log = yard.log("log");
    assert_eq!(log.len(), 24);
    // One more may be on its way out in another thread.
    assert!(log.iter().all(|line| ["1 live", "2 live", "3 live"].iter().any(|live| line.ends_with(live))), "{log:?}");
}

#[test]
fn the_memory_is_divided_among_the_models_that_may_be_at_work() {
    let mut yard = Yard::new();
    let mut sketch = Sketch::new();
    let base = sketch.job("base", concat("base"), vec![]);
    let live = Arc::<AtomicUsize>::default();
    let borrower = |seed, shares, owns| {
        let live = Arc::clone(&live);
        Borrower { seed, shares, owns, live, ..Borrower::default() }
    };
    for seed in 0..3 {
        sketch.job(&format!("prompt[{seed}]"), borrower(seed, true, false), vec![("of", of(base))]);
        let tuned = sketch.job(&format!("tuned[{seed}]"), borrower(10 + seed, false, true), vec![("of", of(base))]);
        sketch.job(&format!("scores[{seed}]"), borrower(20 + seed, true, false), vec![("of", of(tuned))]);
    }
    let plan = sketch.plan();
    let mut check = |only: &[&str], job: &str, expected: usize| {
        yard.settings.only = Some(only.iter().map(|&job| job.to_owned()).collect());
        yard.settings.forced = BTreeSet::from([job.to_owned()]);
        assert_eq!(yard.run(&plan).failed, 0);
        let entry = yard.store.entry(&yard.outcome(job).key.unwrap()).unwrap().unwrap().unwrap();
        assert_eq!(entry.provenance.notes["memory"], expected.to_string(), "{job} of {only:?}");
    };
    let all = 1 << 30;
    // Jobs on one model have all of it, be they many; two tunings of models have half each.
    check(&["prompt[0]", "prompt[1]", "prompt[2]"], "prompt[1]", all);
    check(&["tuned[0]"], "tuned[0]", all);
    check(&["tuned[0]", "tuned[1]", "tuned[2]"], "tuned[1]", all / 2);
    // The model that prompts are tuned on, one that is evaluated, and one that learns.
    check(&["prompt[0]", "scores[0]"], "prompt[0]", all / 3);
    check(&["prompt[0]", "scores[0]"], "scores[0]", all / 3);
    check(&["prompt[0]", "scores[0]", "scores[1]"], "tuned[1]", all / 3 / 2);
    check(&["prompt[0]", "scores[0]", "scores[1]", "scores[2]"], "scores[2]", all / 3);
}

#[test]
fn two_runs_on_one_cache_execute_each_job_once() {
    let yard = Yard::new();
    let others: Vec<Yard> = (0..3).map(|_| Yard { store: yard.store.clone(), ..Yard::new() }).collect();
    let plan = || {
        let mut sketch = Sketch::new();
        let jobs: Vec<_> =
            (0..20).map(|i| sketch.job(&format!("job[{i}]"), logged(&yard, &i.to_string()), vec![])).collect();
        sketch.job("all", logged(&yard, "all"), vec![("parts", all(&jobs))]);
        sketch.plan()
    };
    std::thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| assert_eq!(other.run(&plan()).failed, 0));
        }
    });
    let mut log = yard.log("log");
    log.sort();
    log.dedup();
    assert_eq!((log.len(), yard.log("log").len()), (21, 21));
}

/// Set for the process that [`a_killed_run_costs_only_the_step_it_was_at`] kills.
const VICTIM: &str = "SPOT_TEST_VICTIM";

fn victim_plan(yard: &Path, hang_at: Option<u64>) -> Plan {
    let mut sketch = Sketch::new();
    sketch.job("before", concat("before"), vec![]);
    sketch.job("slow", Slow { steps: 20, log: yard.join("steps"), hang_at }, vec![]);
    sketch.plan()
}

#[test]
fn a_killed_run_costs_only_the_step_it_was_at() {
    if let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) {
        let yard = Yard { store: super::store::Store::new(&folder.join("cache")), ..Yard::new() };
        yard.run(&victim_plan(&folder, Some(10)));
        return;
    }
    let yard = Yard::new();
    let folder = yard.path("");
    let test = "engine::tests::a_killed_run_costs_only_the_step_it_was_at";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(VICTIM, &folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let plan = victim_plan(&folder, None);
    let is_at_step_10 = || states(&yard, &plan)[1].1 == "interrupted at step 10";
    while !is_at_step_10() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_at_step_10(), "{:?}", states(&yard, &plan));
    assert_eq!(yard.run(&plan).failed, 0);
    assert_eq!(yard.text("slow"), "20");
    assert_eq!(yard.log("steps").len(), 20, "no step was done twice");
    assert_eq!(super::store::journal::chain::check(&yard.store).unwrap().1, []);
}

#[test]
fn a_plan_is_looked_at_without_a_trace() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    assert_eq!(states(&yard, &plan)[0].1, "stale");
    assert_eq!(states(&yard, &plan)[0].2, ["never seen"]);
    assert!(!yard.path("cache").exists());
}

#[test]
fn a_job_is_compared_with_itself_alone() {
    let yard = Yard::new();
    yard.run(&triangle(&yard, "a"));
    // Jobs of the same kind: in another pipeline under the same name, and under another name in the same pipeline.
    let other = Plan { name: "other".to_owned(), ..triangle(&yard, "A") };
    assert_eq!(state(&yard, &other, "a"), ("stale".to_owned(), vec!["never seen".to_owned()]));
    let mut sketch = Sketch::new();
    sketch.job("d", logged(&yard, "d"), vec![]);
    let more = sketch.plan();
    assert_eq!(state(&yard, &more, "d").1, ["never seen"]);
    yard.run(&other);
    assert_eq!(yard.reasons("a"), ["never seen"]);
    assert_eq!(yard.ended(Ending::Executed), ["a", "c"]);
    yard.run(&more);
    assert_eq!(yard.reasons("d"), ["never seen"]);
    // From then on with its own last entry.
    let other = Plan { name: "other".to_owned(), ..triangle(&yard, "B") };
    assert_eq!(state(&yard, &other, "a").1, [r#"text: "A" -> "B""#]);
    fs_err::remove_file(yard.store.entry_path(&yard.outcome("d").key.unwrap())).unwrap();
    assert_eq!(state(&yard, &more, "d").1, ["its entry is gone"]);
}

#[test]
fn the_cache_marks_itself() {
    let yard = Yard::new();
    yard.run(&triangle(&yard, "a"));
    let tag = fs_err::read_to_string(yard.path("cache/CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
    assert_eq!(fs_err::read_to_string(yard.path("cache/.gitignore")).unwrap(), "*\n");
}

// ---- audit --------------------------------------------------------------------------------------------------------------

#[track_caller]
fn check_audit(yard: &Yard, plan: &Plan, expected: &[(&str, &[&str])]) {
    let audit = audit(&yard.store, Some(plan), None).unwrap();
    let found: Vec<_> = audit.problems.iter().map(|problem| (problem.what.as_str(), &problem.jobs)).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((what, jobs), (part, users)) in found.into_iter().zip(expected) {
        assert!(what.contains(part), "{what}");
        assert_eq!(jobs, users);
    }
}

#[test]
fn an_audit_of_a_sound_store_counts_and_follows_everything_to_its_sources() {
    let yard = Yard::new();
    let file = yard.file("rows.tsv", "rows");
    let mut sketch = Sketch::new();
    let reader = sketch.job("reader", concat("x"), vec![("file", Source::File(file.clone()))]);
    sketch.job("below", concat("y"), vec![("parts", all(&[reader]))]);
    let plan = sketch.plan();
    yard.run(&plan);
    let audit = audit(&yard.store, Some(&plan), None).unwrap();
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
    assert_eq!((audit.entries, audit.blobs, audit.bytes, audit.runs, audit.unreferenced), (2, 2, 17, 1, 0));
    let lineage = audit.lineage.unwrap();
    assert_eq!((lineage.jobs, lineage.cached, lineage.entries, lineage.sources), (2, 2, 2, vec![file]));
}

#[test]
fn an_audit_names_what_is_damaged_and_who_used_it() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    overwrite(&yard.blob("a"), b"a1;");
    fs_err::remove_file(yard.blob("b")).unwrap();
    let entry = yard.store.entry_path(&yard.outcome("c").key.unwrap());
    let text = fs_err::read_to_string(&entry).unwrap();
    overwrite(&entry, text.replace("\"seed\":0", "\"seed\":1").as_bytes());
    let mut problems: Vec<_> = audit(&yard.store, None, None).unwrap().problems;
    problems.sort_by(|a, b| a.jobs.cmp(&b.jobs));
    let found: Vec<_> = problems.iter().map(|problem| (problem.what.clone(), problem.jobs.join(" "))).collect();
    assert!(found[0].0.contains("of `a.text` is corrupt") && found[0].1 == "toy: a", "{found:?}");
    assert!(found[1].0.contains("of `b.text` is missing") && found[1].1 == "toy: b", "{found:?}");
    assert!(found[2].0.contains("is damaged: the seal") && found[2].1 == "toy: c", "{found:?}");
}

#[test]
fn an_audit_names_those_who_read_what_is_damaged() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    overwrite(&yard.blob("a"), b"a1;");
    check_audit(&yard, &plan, &[("of `a.text` is corrupt", &["toy: a", "toy: c"])]);
}

#[test]
fn repair_sets_aside_and_the_next_run_makes_exactly_that_anew() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    let blob = yard.blob("a");
    overwrite(&blob, b"a1;");
    let mut found = audit(&yard.store, None, None).unwrap();
    assert!(!found.is_clean());
    found.repair(&yard.store).unwrap();
    assert!(found.is_clean() && !blob.exists());
    check_audit(&yard, &plan, &[]);
    yard.run(&plan);
    assert_eq!(yard.ended(Ending::Executed), ["a"]);
    assert!(yard.reasons("a")[0].contains("set aside by `audit --repair`"), "{:?}", yard.reasons("a"));
    check_audit(&yard, &plan, &[]);
}

#[test]
fn an_edited_journal_is_found() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    let folder = yard.path("cache/v1/runs/toy");
    let journal = fs_err::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let text = fs_err::read_to_string(&journal).unwrap();
    fs_err::write(&journal, text.replace("executed", "cached")).unwrap();
    check_audit(&yard, &plan, &[("does not follow the line before it", &[])]);
}

#[test]
fn odd_things_in_the_store_are_named_and_made_anew() {
    let folder = |path: &Path| fs_err::create_dir_all(path.join("inside")).unwrap();
    let pipe = |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let circle = |path: &Path| fs_err::os::unix::fs::symlink(path, path).unwrap();
    let odd: [&dyn Fn(&Path); 3] = [&folder, &pipe, &circle];
    for put in odd {
        let yard = Yard::new();
        let plan = triangle(&yard, "a");
        yard.run(&plan);
        let entry = yard.store.entry_path(&yard.outcome("b").key.unwrap());
        for path in [yard.blob("a"), entry, yard.store.view_path("toy", "c").join("text.txt")] {
            fs_err::remove_file(&path).unwrap();
            put(&path);
        }
        let found: Vec<String> =
            audit(&yard.store, None, None).unwrap().problems.into_iter().map(|problem| problem.what).collect();
        assert!(found.iter().any(|what| what.contains("of `a.text` is no file")), "{found:?}");
        assert!(found.iter().any(|what| what.contains("is damaged: it is not a file")), "{found:?}");
        assert_eq!(found.len(), 2);
        yard.run(&plan);
        assert_eq!(yard.ended(Ending::Executed), ["a", "b"]);
        assert_eq!(yard.text("c"), "c0;a0;b0;");
        check_audit(&yard, &plan, &[]);
    }
}

#[test]
fn a_file_in_place_of_a_folder_of_the_store_makes_way() {
    let yard = Yard::new();
    let plan = triangle(&yard, "a");
    yard.run(&plan);
    let (blobs, view) = (yard.blob("a").parent().unwrap().to_owned(), yard.store.view_path("toy", "b"));
    for folder in [blobs, view] {
        fs_err::remove_dir_all(&folder).unwrap();
        fs_err::write(&folder, "odd").unwrap();
    }
    yard.run(&plan);
    assert!(yard.ended(Ending::Executed).contains(&"a".to_owned()));
    assert_eq!(yard.text("b"), "b0;");
    check_audit(&yard, &plan, &[]);
}

#[test]
fn entries_of_a_newer_program_are_neither_damage_nor_replaced() {
    let seal = |text: &str| {
        let mut hasher = blake3::Hasher::new_derive_key("spot entry seal v1");
        hasher.update(text.as_bytes());
        format!("{text}\"seal\": \"{}\"\n}}\n", hasher.finalize())
    };
    for (from, to, why) in [
        ("\"version\": 1,", "\"version\": 2,", "format 2"),
        ("\"name\":\"text\"", "\"name\":\"text\",\"later\":1", "unknown field `later`"),
    ] {
        let yard = Yard::new();
        let plan = triangle(&yard, "a");
        yard.run(&plan);
        let path = yard.store.entry_path(&yard.outcome("a").key.unwrap());
        let text = fs_err::read_to_string(&path).unwrap();
        let newer = seal(&text[..text.find("\"seal\"").unwrap()].replacen(from, to, 1));
        overwrite(&path, newer.as_bytes());
        let mut found = audit(&yard.store, Some(&plan), None).unwrap();
        assert_eq!((found.newer, found.problems.len()), (1, 0), "{:?}", found.problems);
        found.repair(&yard.store).unwrap();
        assert_eq!(state(&yard, &plan, "a").0, "blocked");
        let summary = yard.run(&plan);
        assert_eq!((summary.failed, summary.fault), (1, Some(Fault::Environment)));
        let error = yard.outcome("a").error.unwrap();
        assert!(error.contains("was written by a newer program") && error.contains(why), "{error}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), newer);
    }
}

#[test]
fn an_audit_hashes_sources_again_and_repair_forgets_what_was_remembered() {
    let yard = Yard::new();
    let file = yard.file("rows.tsv", "rows");
    let rested = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let set_times = |path: &Path| fs_err::File::open(path).unwrap().file().set_modified(rested).unwrap();
    set_times(&file);
    // Until its change of times is old enough, the file is hashed each time.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let plan = reader(concat("x"), &file);
    yard.run(&plan);
    // What a writer through a map may do: another content, with no trace in size and times.
    let remembered = yard.store.root().join("files.json");
    let text = fs_err::read_to_string(&remembered).unwrap();
    let json = text.split_once('\n').unwrap().1.trim_end();
    let (old, new) = (Digest::of(b"rows").to_string(), Digest::of(b"ROWS").to_string());
    let json = json.replace(&old, &new);
    let mut hasher = blake3::Hasher::new_derive_key("spot files seal v1");
    hasher.update(json.as_bytes());
    fs_err::write(&remembered, format!("spot files v1 {}\n{json}\n", hasher.finalize())).unwrap();
    let store = Store::new(&yard.path("cache"));
    let mut found = audit(&store, Some(&plan), None).unwrap();
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].what.contains("rows.tsv` changed, but not its size and times"));
    found.repair(&store).unwrap();
    let store = Store::new(&yard.path("cache"));
    assert_eq!(audit(&store, Some(&plan), None).unwrap().problems.len(), 0);
    // One that was only flipped counts as none.
    let text = fs_err::read_to_string(&remembered).unwrap();
    fs_err::write(&remembered, text.replacen("rows.tsv", "rows.tsw", 1)).unwrap();
    let yard = Yard { store: Store::new(&yard.path("cache")), ..yard };
    assert_eq!(yard.run(&plan).cached, 1);
}

#[test]
fn a_cache_that_is_no_folder_is_named() {
    let yard = Yard::new();
    fs_err::write(yard.path("cache"), "a file").unwrap();
    assert!(audit(&yard.store, None, None).unwrap_err().to_string().contains("is not a folder"));
    assert!(yard.store.prepare().unwrap_err().to_string().contains("is not a folder"));
}
