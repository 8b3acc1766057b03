//! What jobs will take, by what jobs like them took before: themselves, others of their stage, others of their kind.

use super::state::{JobState, State};
use crate::engine::store::Store;
use crate::engine::store::entry::Entry;
use crate::engine::store::journal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

/// Runs of a pipeline whose pace counts.
const RECENT: usize = 5;

/// What jobs took.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    pipeline: String,
    /// The last time of each job, and when that was.
    jobs: BTreeMap<String, (String, Taken)>,
    stages: BTreeMap<(String, String), Sample>,
    kinds: BTreeMap<String, Sample>,
    /// Seconds of jobs in a second of a run.
    pace: Option<f64>,
}

/// What a job took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Taken {
    seconds: f64,
    bytes: u64,
}

/// What several jobs took, in order, so that a median costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    seconds: Vec<f64>,
    bytes: Vec<u64>,
}

impl Sample {
    fn add(&mut self, taken: Taken) {
        self.took(taken.seconds);
        let at = self.bytes.partition_point(|bytes| *bytes < taken.bytes);
        self.bytes.insert(at, taken.bytes);
    }

    /// Adds a job of which only the time is known.
    fn took(&mut self, seconds: f64) {
        let at = self.seconds.partition_point(|known| *known < seconds);
        self.seconds.insert(at, seconds);
    }

    /// The medians of both; of an even number the upper of the middle ones.
    fn median(&self) -> Option<Taken> {
        let seconds = *self.seconds.get(self.seconds.len() / 2)?;
        Some(Taken { seconds, bytes: self.bytes.get(self.bytes.len() / 2).copied().unwrap_or(0) })
    }
}

/// How sure an expectation is, from the surest to the least sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The same job took so long before.
    Job,
    /// The median of other jobs of its stage.
    Stage,
    /// The median of jobs of its kind, of any pipeline.
    Kind,
}

/// What a job is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// How long, side by side with what ran beside it before.
    pub seconds: f64,
    /// Bytes that it will write.
    pub bytes: u64,
    /// By what.
    pub basis: Basis,
}

/// What the jobs that are not cached will take.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Seconds of all jobs one after the other.
    pub job_seconds: f64,
    /// Seconds of a run, at the pace of earlier runs; `None` without one.
    pub seconds: Option<f64>,
    /// Bytes that they will write, as if none were there already.
    pub bytes: u64,
    /// Jobs whose own last time counts, those that go by their stage, those by their kind.
    pub by: [usize; 3],
    /// Jobs of which nothing like them ever ran; they are in none of the sums.
    pub unknown: usize,
}

impl Experience {
    /// What jobs took in a store, for those of one pipeline.
    ///
    /// # Errors
    /// If its folders cannot be read; entries that cannot be read are left out.
    pub fn read(store: &Store, pipeline: &str) -> io::Result<Self> {
        let mut known = Self { pipeline: pipeline.to_owned(), ..Self::default() };
        for key in store.keys()? {
            if let Ok(Ok(Some(entry))) = store.entry(&key) {
                known.add(&entry);
            }
        }
        known.pace = pace(store, pipeline)?;
        Ok(known)
    }

    fn add(&mut self, entry: &Entry) {
        let made = &entry.provenance;
        let taken = Taken { seconds: made.seconds, bytes: entry.blobs().map(|(_, _, size)| size).sum() };
        let (stage, kind) = (stage_of(&made.job).to_owned(), entry.recipe.kind.clone());
        if made.pipeline == self.pipeline {
            let is_newer = self.jobs.get(&made.job).is_none_or(|(end, _)| *end < made.end);
            if is_newer {
                self.jobs.insert(made.job.clone(), (made.end.clone(), taken));
            }
            self.stages.entry((stage, kind.clone())).or_default().add(taken);
        }
        self.kinds.entry(kind).or_default().add(taken);
    }

    /// Notes what a job took just now.
    pub fn took(&mut self, job: &str, kind: &str, seconds: f64) {
        self.stages.entry((stage_of(job).to_owned(), kind.to_owned())).or_default().took(seconds);
    }

    /// What a job will take, if anything like it ever ran.
    pub fn of(&self, job: &str, kind: &str) -> Option<Expected> {
        let expected = |taken: Taken, basis| Expected { seconds: taken.seconds, bytes: taken.bytes, basis };
        if let Some((_, taken)) = self.jobs.get(job) {
            return Some(expected(*taken, Basis::Job));
        }
        let stage = self.stages.get(&(stage_of(job).to_owned(), kind.to_owned())).and_then(Sample::median);
        let stage = stage.map(|taken| expected(taken, Basis::Stage));
        stage.or_else(|| Some(expected(self.kinds.get(kind)?.median()?, Basis::Kind)))
    }

    /// What the jobs of a survey will take that are not cached. A job that may run counts as one that will.
    pub fn forecast(&self, jobs: &[JobState]) -> Forecast {
        let mut forecast = Forecast::default();
        for job in jobs.iter().filter(|job| !matches!(job.state, State::Cached | State::Blocked)) {
            match self.of(&job.job, job.kind) {
                None => forecast.unknown += 1,
                Some(Expected { seconds, bytes, basis }) => {
                    forecast.job_seconds += seconds;
                    forecast.bytes += bytes;
                    forecast.by[basis as usize] += 1;
                }
            }
        }
        forecast.seconds = self.pace.map(|pace| forecast.job_seconds / pace);
        forecast
    }
}

/// The stage of a job, or of the job that asked for it.
fn stage_of(job: &str) -> &str {
    job.split(['[', '/']).next().unwrap_or(job)
}

/// How many seconds of jobs a second of the pipeline's latest runs had; `None` if none of them executed anything.
fn pace(store: &Store, pipeline: &str) -> io::Result<Option<f64>> {
    let mut runs = journal::runs(store)?;
    runs.retain(|run| run.events.first().is_some_and(|start| start["pipeline"] == pipeline));
    runs.sort_by(|a, b| b.run.cmp(&a.run));
    let (mut jobs, mut wall) = (0.0, 0.0);
    for run in runs.into_iter().take(RECENT) {
        let executed = run.events.iter().filter(|event| event["state"] == "executed");
        let busy: f64 = executed.filter_map(|event| event["seconds"].as_f64()).sum();
        let whole =
            run.events.iter().find(|event| event["event"] == "summary").and_then(|event| event["seconds"].as_f64());
        if let Some(whole) = whole.filter(|whole| busy > 0.0 && *whole > 0.0) {
            jobs += busy;
            wall += whole;
        }
    }
    Ok((wall > 0.0).then_some(jobs / wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(seconds: &[f64]) -> Sample {
        let mut sample = Sample::default();
        seconds.iter().for_each(|seconds| sample.add(Taken { seconds: *seconds, bytes: 10 }));
        sample
    }

    fn state(job: &str, kind: &'static str, state: State) -> JobState {
        JobState {
            job: job.to_owned(),
            stage: stage_of(job).to_owned(),
            kind,
            state,
            key: None,
            reasons: Vec::new(),
            recipe: None,
            entry: None,
            compared: None,
            origins: Vec::new(),
            expands_to_at_most: None,
        }
    }

    #[test]
    fn a_job_goes_by_itself_then_by_its_stage_then_by_its_kind() {
        let known = Experience {
            pipeline: "p".to_owned(),
            jobs: [("tune[a]".to_owned(), (String::new(), Taken { seconds: 8.0, bytes: 3 }))].into(),
            stages: [(("tune".to_owned(), "tune".to_owned()), taken(&[100.0, 2.0, 8.0]))].into(),
            kinds: [("tune".to_owned(), taken(&[1.0])), ("ingest".to_owned(), taken(&[0.5]))].into(),
            pace: Some(2.0),
        };
        assert_eq!(known.of("tune[a]", "tune"), Some(Expected { seconds: 8.0, bytes: 3, basis: Basis::Job }));
        assert_eq!(known.of("tune[b]", "tune"), Some(Expected { seconds: 8.0, bytes: 10, basis: Basis::Stage }));
        assert_eq!(known.of("other/x", "ingest"), Some(Expected { seconds: 0.5, bytes: 10, basis: Basis::Kind }));
        assert_eq!(known.of("rank", "rank"), None);
        let jobs = [
            state("tune[a]", "tune", State::Stale),
            state("tune[b]", "tune", State::MayRun),
            state("data", "ingest", State::Cached),
            state("rank", "rank", State::Stale),
            state("z", "tune", State::Blocked),
        ];
        let forecast = known.forecast(&jobs);
        let expected = Forecast { job_seconds: 16.0, seconds: Some(8.0), bytes: 13, by: [1, 1, 0], unknown: 1 };
        assert_eq!(forecast, expected);
    }
}
