//! Runs as their journals tell them, for the commands that name one.

use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::engine::store::journal;
use crate::engine::store::provenance::Manifest;
use crate::error::Usage;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Runs listed where none is found.
const MOST_RUNS: usize = 8;

/// A run, as its journal tells it.
#[derive(Serialize)]
pub(super) struct Run {
    pub(super) pipeline: String,
    pub(super) run: String,
    pub(super) time: Value,
    /// The manifest, as the run found it.
    pub(super) manifest: Value,
    /// Its files, with what it extends; runs of older programs do not say.
    pub(super) manifests: Vec<Manifest>,
    pub(super) profile: Value,
    pub(super) command_line: Value,
    pub(super) executed: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    /// How long it took; nothing of a run that did not come to its end.
    pub(super) seconds: Option<f64>,
    #[serde(skip)]
    pub(super) jobs: BTreeMap<String, Job>,
}

/// What became of a job in a run.
pub(super) struct Job {
    pub(super) stage: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) key: Option<Key>,
}

/// All runs that are not only remembered in short, those of a pipeline from the oldest to the newest.
///
/// # Errors
/// If a folder of journals cannot be read.
pub(super) fn all(store: &Store) -> io::Result<Vec<Run>> {
    Ok(journal::runs(store)?.into_iter().map(run).collect())
}

fn run(journal::Run { pipeline, run, events }: journal::Run) -> Run {
    let run = run.strip_suffix(".jsonl").unwrap_or(&run).to_owned();
    let start = events.first().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut jobs = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "job") {
        let key = event["key"].as_str().and_then(|key| key.parse().ok());
        let (stage, kind, state) = (text(&event["stage"]), text(&event["kind"]), text(&event["state"]));
        jobs.insert(text(&event["job"]), Job { stage, kind, state, key });
    }
    let count = |state: &str| jobs.values().filter(|job: &&Job| job.state == state).count();
    let (executed, cached, failed) = (count("executed"), count("cached"), count("failed"));
    let [time, manifest, profile, command_line] =
        ["time", "manifest", "profile", "command_line"].map(|field| start[field].clone());
    let seconds = events.iter().find(|event| event["event"] == "summary").and_then(|event| event["seconds"].as_f64());
    let manifests = serde_json::from_value(start["manifests"].clone()).unwrap_or_default();
    Run { pipeline, run, time, manifest, manifests, profile, command_line, executed, cached, failed, seconds, jobs }
}

impl Run {
    /// The command line, as it may be typed again.
    pub(super) fn command(&self) -> String {
        let words = self.words();
        let program = words.first().map(|program| program.rsplit('/').next().unwrap_or(program).to_owned());
        program.into_iter().chain(words.iter().skip(1).map(|word| quoted(word))).collect::<Vec<_>>().join(" ")
    }

    /// The command line as it was.
    pub(super) fn words(&self) -> Vec<String> {
        let words = self.command_line.as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// The results that it made or found.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        let has_result = |job: &&Job| job.state == "executed" || job.state == "cached";
        self.jobs.values().filter(has_result).filter_map(|job| job.key).collect()
    }

    /// Whether it ran this manifest.
    pub(super) fn is_of(&self, manifest: &Path) -> bool {
        let ran = self.manifest.as_str().map(Path::new);
        let is_same = |path: &Path| canonical(path).is_some_and(|path| canonical(manifest) == Some(path));
        ran.is_some_and(|path| path == manifest || is_same(path))
    }
}

fn canonical(path: &Path) -> Option<PathBuf> {
    fs_err::canonicalize(path).ok()
}

/// A word as shells take it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+~".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The run that is meant; `runs` are those of one pipeline, oldest first.
pub(super) fn find<'a>(runs: &'a [Run], pipeline: &str, name: &str) -> Result<&'a Run, Usage> {
    let known = || {
        let shown = runs.iter().rev().take(MOST_RUNS).map(|run| run.run.as_str()).collect::<Vec<_>>().join(", ");
        let more = if runs.len() > MOST_RUNS { ", …" } else { "" };
        if shown.is_empty() { "it has no runs".to_owned() } else { format!("there are {shown}{more}") }
    };
    if let Some(rest) = name.strip_prefix("last") {
        let back = match rest.strip_prefix('~') {
            Some(number) => number.parse::<usize>().ok(),
            None => rest.is_empty().then_some(0),
        };
        let back = back.ok_or_else(|| Usage(format!("`{name}` is not a run; expected `last` or `last~N`")))?;
        let found = runs.len().checked_sub(back.saturating_add(1)).map(|at| &runs[at]);
        let count = runs.len();
        return found.ok_or_else(|| Usage(format!("no run `{name}` of `{pipeline}`, which has {count} runs")));
    }
    let fitting: Vec<&Run> = runs.iter().filter(|run| run.run.starts_with(name)).collect();
    match fitting[..] {
        [one] => Ok(one),
        [] => Err(Usage(format!("no run `{name}` of `{pipeline}`; {}", known()))),
        _ => Err(Usage(format!("`{name}` is the start of {} runs of `{pipeline}`; {}", fitting.len(), known()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_their_place_and_by_the_start_of_their_name() {
        let named = |name: &str| {
            run(journal::Run { pipeline: "p".to_owned(), run: format!("{name}.jsonl"), events: Vec::new() })
        };
        let runs = ["20260101T000000Z-001", "20260101T000000Z-002", "20260102T000000Z-001"].map(named);
        let found = |name: &str| find(&runs, "p", name).map(|run| run.run.clone()).map_err(|error| error.0);
        assert_eq!(found("last").unwrap(), "20260102T000000Z-001");
        assert_eq!(found("last~2").unwrap(), found("20260101T000000Z-001").unwrap());
        assert_eq!(found("20260102").unwrap(), found("last").unwrap());
        assert_eq!(found("last~3").unwrap_err(), "no run `last~3` of `p`, which has 3 runs");
        assert!(
            found("20260101").unwrap_err().starts_with("`20260101` is the start of 2 runs of `p`; there are 20260102T")
        );
        assert!(found("2025").unwrap_err().starts_with("no run `2025` of `p`; there are "));
        assert!(found("last~x").is_err() && found("last1").is_err() && found("last~99999999999999999999").is_err());
    }
}
