//! What jobs will take, by what jobs like them took before: themselves, others of their stage, others of their kind; and where none of
//! these was of their size, by their size and the speed of those that were measured.

use super::state::{JobState, State};
use crate::engine::store::Store;
use crate::engine::store::entry::Entry;
use crate::engine::store::journal;
use crate::engine::store::provenance::Provenance;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Runs of a pipeline whose pace counts.
const RECENT: usize = 5;

/// Devices on which a job of one size takes equally long, as far as entries tell: so many GPUs, or a CPU with so many threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClass {
    /// Without the numbers of devices.
    name: String,
    devices: usize,
    /// That a job of a CPU may have had: those of all jobs, if it shares a model, or its part of them.
    threads: Vec<usize>,
}

impl DeviceClass {
    /// That of a device as people name it, on which so many jobs run side by side and have so many threads together.
    pub fn of(device: &str, threads: usize, jobs: usize) -> Self {
        match device.split_once(':') {
            // `cuda:3,0` is two GPUs, whichever they are.
            Some((name, numbers)) => {
                Self { name: name.to_owned(), devices: numbers.split(',').count(), threads: Vec::new() }
            }
            None => {
                let of_a_job = (threads / jobs.max(1)).max(1);
                Self { name: device.to_owned(), devices: 1, threads: vec![threads, of_a_job] }
            }
        }
    }

    /// Whether a job ran on one of it.
    fn has(&self, made: &Provenance) -> bool {
        let other = Self::of(&made.device, made.threads, 1);
        let threads = self.threads.is_empty() || self.threads.contains(&made.threads);
        self.name == other.name && self.devices == other.devices && threads
    }
}

/// What jobs took.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    pipeline: String,
    /// Where the jobs will run.
    device: DeviceClass,
    /// The last time of each job, and when that was.
    jobs: BTreeMap<String, (String, Past)>,
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

/// A job that ran.
#[derive(Clone, Debug, Default, PartialEq)]
struct Past {
    taken: Taken,
    /// Floating-point operations, if they are known.
    operations: Option<f64>,
    /// Seconds of an operation, if all of it ran at once and on the device of the jobs that are to run.
    pace: Option<f64>,
}

/// What several jobs took, in order, so that a median costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    all: Times,
    /// Those of whose operations nothing is known.
    unsized_jobs: Times,
    /// Those whose operations are known, by the bits of their number.
    of_size: HashMap<u64, Times>,
    /// Seconds of an operation.
    paces: Vec<f64>,
}

/// Seconds and bytes, in order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Times {
    seconds: Vec<f64>,
    bytes: Vec<u64>,
}

impl Times {
    fn add(&mut self, taken: Taken) {
        insert(&mut self.seconds, taken.seconds);
        let at = self.bytes.partition_point(|bytes| *bytes < taken.bytes);
        self.bytes.insert(at, taken.bytes);
    }

    /// The medians of both; of an even number the upper of the middle ones.
    fn median(&self) -> Option<Taken> {
        let seconds = *self.seconds.get(self.seconds.len() / 2)?;
        Some(Taken { seconds, bytes: self.bytes.get(self.bytes.len() / 2).copied().unwrap_or(0) })
    }
}

fn insert(sorted: &mut Vec<f64>, value: f64) {
    let at = sorted.partition_point(|known| *known < value);
    sorted.insert(at, value);
}

impl Sample {
    fn add(&mut self, past: &Past) {
        self.all.add(past.taken);
        match past.operations {
            Some(operations) => self.of_size.entry(operations.to_bits()).or_default().add(past.taken),
            None => self.unsized_jobs.add(past.taken),
        }
        if let Some(pace) = past.pace {
            insert(&mut self.paces, pace);
        }
    }

    /// Adds a job of which only the time is known.
    fn took(&mut self, seconds: f64) {
        insert(&mut self.all.seconds, seconds);
    }

    /// The medians of those that had as many operations.
    fn of_size(&self, operations: f64) -> Option<Taken> {
        self.of_size.get(&operations.to_bits())?.median()
    }

    /// What a job of so many operations takes at the median pace.
    fn scaled(&self, operations: f64) -> Option<Taken> {
        let pace = *self.paces.get(self.paces.len() / 2)?;
        Some(Taken { seconds: pace * operations, bytes: self.all.median()?.bytes })
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
    /// Its floating-point operations, by the sizes of model and data, at the speed of jobs of its stage or its kind that had more or fewer.
    Size,
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
    /// Seconds of all jobs added up, each as long as it took beside others.
    pub job_seconds: f64,
    /// Seconds of a run, at the pace of earlier runs; `None` without one.
    pub seconds: Option<f64>,
    /// Bytes that they will write, as if none were there already.
    pub bytes: u64,
    /// Jobs whose own last time counts, those that go by their stage, those by their kind, those by their size.
    pub by: [usize; 4],
    /// Jobs of which nothing like them ever ran; they are in none of the sums.
    pub unknown: usize,
}

impl Experience {
    /// What jobs took in a store, for those of one pipeline that are to run on a device.
    ///
    /// # Errors
    /// If its folders cannot be read; entries that cannot be read are left out.
    pub fn read(store: &Store, pipeline: &str, device: DeviceClass) -> io::Result<Self> {
        let mut known = Self { pipeline: pipeline.to_owned(), device, ..Self::default() };
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
        let past = self.past(made, entry.blobs().map(|(_, _, size)| size).sum());
        let (stage, kind) = (stage_of(&made.job).to_owned(), entry.recipe.kind.clone());
        if made.pipeline == self.pipeline {
            self.stages.entry((stage, kind.clone())).or_default().add(&past);
        }
        self.kinds.entry(kind).or_default().add(&past);
        let is_newer = self.jobs.get(&made.job).is_none_or(|(end, _)| *end < made.end);
        if made.pipeline == self.pipeline && is_newer {
            self.jobs.insert(made.job.clone(), (made.end.clone(), past));
        }
    }

    fn past(&self, made: &Provenance, bytes: u64) -> Past {
        let operations = made.operations.filter(|operations| operations.is_finite() && *operations > 0.0);
        // The time of what went on after an interruption is that of its rest.
        let is_whole = made.resumed_at.is_none() && self.device.has(made);
        let pace = operations.filter(|_| is_whole).map(|operations| made.seconds / operations);
        Past { taken: Taken { seconds: made.seconds, bytes }, operations, pace }
    }

    /// Notes what a job took just now.
    pub fn took(&mut self, job: &str, kind: &str, seconds: f64) {
        self.stages.entry((stage_of(job).to_owned(), kind.to_owned())).or_default().took(seconds);
    }

    /// What a job will take, if anything like it ever ran; `operations` is its size, if that is known. What is known to have another size tells
    /// the speed of the device, if it ran there, and nothing else.
    pub fn of(&self, job: &str, kind: &str, operations: Option<f64>) -> Option<Expected> {
        let own = self.jobs.get(job).map(|(_, past)| past);
        let stage = self.stages.get(&(stage_of(job).to_owned(), kind.to_owned()));
        let kind = self.kinds.get(kind);
        // The job itself, its stage, its kind: the first that has something to say.
        let nearest = |of_own: &dyn Fn(&Past) -> bool, of_others: &dyn Fn(&Sample) -> Option<Taken>| {
            let own = own.filter(|past| of_own(past)).map(|past| (past.taken, Basis::Job));
            let own = own.or_else(|| Some((of_others(stage?)?, Basis::Stage)));
            own.or_else(|| Some((of_others(kind?)?, Basis::Kind)))
        };
        let found = match operations {
            None => nearest(&|_| true, &|sample| sample.all.median()),
            Some(size) => {
                let alike = nearest(&|past| past.operations == Some(size), &|sample| sample.of_size(size));
                let scaled = nearest(&|_| false, &|sample| sample.scaled(size));
                let scaled = scaled.map(|(taken, _)| (taken, Basis::Size));
                let unsized_jobs =
                    || nearest(&|past| past.operations.is_none(), &|sample| sample.unsized_jobs.median());
                alike.or(scaled).or_else(unsized_jobs)
            }
        };
        found.map(|(Taken { seconds, bytes }, basis)| Expected { seconds, bytes, basis })
    }

    /// What the jobs of a survey will take that are not cached. A job that may run counts as one that will.
    pub fn forecast(&self, jobs: &[JobState]) -> Forecast {
        let mut forecast = Forecast::default();
        for job in jobs.iter().filter(|job| !job.state.is_done() && job.state != State::Blocked) {
            match self.of(&job.job, job.kind, job.operations) {
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

    fn past(seconds: f64, operations: Option<f64>, is_here: bool) -> Past {
        let pace = operations.filter(|_| is_here).map(|operations| seconds / operations);
        Past { taken: Taken { seconds, bytes: 10 }, operations, pace }
    }

    fn taken(seconds: &[f64]) -> Sample {
        sample(&seconds.iter().map(|seconds| past(*seconds, None, true)).collect::<Vec<_>>())
    }

    fn sample(all: &[Past]) -> Sample {
        let mut sample = Sample::default();
        all.iter().for_each(|past| sample.add(past));
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
            operations: None,
            expands_to_at_most: None,
        }
    }

    #[test]
    fn a_job_goes_by_itself_then_by_its_stage_then_by_its_kind() {
        let own = Past { taken: Taken { seconds: 8.0, bytes: 3 }, ..Past::default() };
        let known = Experience {
            pipeline: "p".to_owned(),
            device: DeviceClass::default(),
            jobs: [("tune[a]".to_owned(), (String::new(), own))].into(),
            stages: [(("tune".to_owned(), "tune".to_owned()), taken(&[100.0, 2.0, 8.0]))].into(),
            kinds: [("tune".to_owned(), taken(&[1.0])), ("ingest".to_owned(), taken(&[0.5]))].into(),
            pace: Some(2.0),
        };
        assert_eq!(known.of("tune[a]", "tune", None), Some(Expected { seconds: 8.0, bytes: 3, basis: Basis::Job }));
        assert_eq!(known.of("tune[b]", "tune", None), Some(Expected { seconds: 8.0, bytes: 10, basis: Basis::Stage }));
        assert_eq!(known.of("other/x", "ingest", None), Some(Expected { seconds: 0.5, bytes: 10, basis: Basis::Kind }));
        assert_eq!(known.of("rank", "rank", None), None);
        let jobs = [
            state("tune[a]", "tune", State::Stale),
            state("tune[b]", "tune", State::MayRun),
            state("data", "ingest", State::Cached),
            state("rank", "rank", State::Stale),
            state("z", "tune", State::Blocked),
        ];
        let forecast = known.forecast(&jobs);
        let expected = Forecast { job_seconds: 16.0, seconds: Some(8.0), bytes: 13, by: [1, 1, 0, 0], unknown: 1 };
        assert_eq!(forecast, expected);
    }
    #[test]
    fn what_had_another_size_tells_the_speed_and_nothing_else() {
        let kind =
            |all: &[Past]| Experience { kinds: [("tune".to_owned(), sample(all))].into(), ..Experience::default() };
        let known = kind(&[past(8.0, Some(200.0), true), past(2.0, Some(100.0), true), past(9.0, Some(100.0), true)]);
        let of = |known: &Experience, operations| {
            known.of("t", "tune", operations).map(|expected| (expected.seconds, expected.basis))
        };
        // Paces are 0.02, 0.04 and 0.09.
        assert_eq!(of(&known, Some(1000.0)), Some((40.0, Basis::Size)));
        assert_eq!(of(&known, Some(200.0)), Some((8.0, Basis::Kind)));
        assert_eq!(of(&known, None), Some((8.0, Basis::Kind)), "nothing is known of its size");
        // No speed was measured on this device.
        let elsewhere = kind(&[past(8.0, Some(200.0), false)]);
        assert_eq!(of(&elsewhere, Some(1000.0)), None);
        let unknown = kind(&[past(8.0, Some(200.0), false), past(3.0, None, false)]);
        assert_eq!(of(&unknown, Some(1000.0)), Some((3.0, Basis::Kind)), "it may be as large");
        assert_eq!(of(&kind(&[]), Some(1000.0)), None);
        // A job that had another size is no measure of itself, and those of its stage are nearer than those of its kind.
        let mut own = known.clone();
        own.jobs.insert("t".to_owned(), (String::new(), past(2.0, Some(100.0), true)));
        own.stages.insert(("t".to_owned(), "tune".to_owned()), sample(&[past(2.0, Some(100.0), true)]));
        assert_eq!(of(&own, Some(1000.0)), Some((20.0, Basis::Size)));
        assert_eq!(of(&own, Some(100.0)), Some((2.0, Basis::Job)));
        assert_eq!(of(&own, Some(200.0)), Some((8.0, Basis::Kind)));
    }

    #[test]
    fn a_pace_is_that_of_a_whole_job_on_this_device() {
        let here = Experience { device: DeviceClass::of("cpu", 2, 2), ..Experience::default() };
        let made = |threads: usize, resumed_at| Provenance {
            device: "cpu".to_owned(),
            threads,
            resumed_at,
            seconds: 3.0,
            operations: Some(6.0),
            ..Provenance::default()
        };
        assert_eq!(here.past(&made(2, None), 0).pace, Some(0.5));
        assert_eq!(
            here.past(&made(1, None), 0).pace,
            Some(0.5),
            "a job that shares no model has its part of the threads"
        );
        assert_eq!(here.past(&made(4, None), 0).pace, None);
        assert_eq!(here.past(&made(2, Some(5)), 0).pace, None);
        assert_eq!(DeviceClass::of("cuda:0", 2, 1), DeviceClass::of("cuda:3", 16, 1));
        assert_ne!(DeviceClass::of("cuda:0", 2, 1), DeviceClass::of("cuda:0,1", 2, 1));
        assert!(!DeviceClass::default().has(&made(2, None)));
    }
}
