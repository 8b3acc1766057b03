//! Lines of journals and of `run --format json`.

use super::outcome::{Outcome, Summary};
use super::reason::Reason;
use super::settings::Settings;
use crate::engine::plan::Plan;
use crate::engine::sharing::Tally;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::provenance::{self, Manifest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A line of a journal, and of `run --format json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// The first line of a journal.
    Start {
        /// Name of the pipeline.
        pipeline: &'a str,
        /// Its manifest.
        manifest: &'a Path,
        /// The files that it was read from: itself, then what it extends.
        manifests: &'a [Manifest],
        /// The profile in force.
        profile: Option<&'a str>,
        /// UTC.
        time: String,
        /// Version of the program.
        program: String,
        /// Revision that the program was built from.
        revision: Option<String>,
        /// The device that the user chose.
        device: &'a str,
        /// The command line.
        command_line: &'a [String],
    },
    /// A job ended.
    Job {
        /// Its name.
        job: &'a str,
        /// The stage that it comes from.
        stage: &'a str,
        /// Its kind.
        kind: &'a str,
        /// How it ended.
        state: String,
        /// Its key, if it got as far.
        key: Option<Key>,
        /// Why it ran; for hits, where the entry comes from.
        reasons: &'a [Reason],
        /// How long it took.
        seconds: f64,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
        /// If it ran, the digests of its outputs by name, which `audit` compares with the entry's.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<&'a str, Digest>,
    },
    /// The last line. Scripts rely on its fields.
    Summary {
        /// Jobs that belong to the run.
        jobs: usize,
        /// Jobs that ran.
        executed: usize,
        /// Jobs whose result was there.
        cached: usize,
        /// Jobs that failed.
        failed: usize,
        /// Jobs that a worker left to others, who work on them.
        #[serde(skip_serializing_if = "is_zero")]
        elsewhere: usize,
        /// Of these, jobs that need more than the worker has.
        #[serde(skip_serializing_if = "is_zero")]
        beyond: usize,
        /// How long the run took.
        seconds: f64,
        /// What the shared place did, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        store: Option<Tally>,
    },
}

/// As `serde` asks for it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`serde` gives a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl<'a> Event<'a> {
    /// The first event of a run.
    pub(super) fn start(plan: &'a Plan, settings: &'a Settings) -> Self {
        Self::Start {
            pipeline: &plan.name,
            manifest: &plan.path,
            manifests: &plan.manifests,
            profile: plan.profile.as_deref(),
            time: provenance::now(),
            program: provenance::program(),
            revision: provenance::revision(),
            device: &settings.device,
            command_line: &settings.command_line,
        }
    }
}

impl Summary {
    /// The last event of a run.
    pub fn event(&self) -> Event<'static> {
        let Self { jobs, executed, cached, failed, elsewhere, seconds, store, .. } = *self;
        Event::Summary { jobs, executed, cached, failed, elsewhere, beyond: self.beyond.len(), seconds, store }
    }
}

impl Outcome {
    /// The event of a job's end.
    pub fn event(&self) -> Event<'_> {
        Event::Job {
            job: &self.job,
            stage: &self.stage,
            kind: self.kind,
            state: self.ending.to_string(),
            key: self.key,
            reasons: &self.reasons,
            seconds: self.seconds,
            error: self.error.as_deref(),
            outputs: self.outputs.iter().map(|(name, digest)| (name.as_str(), *digest)).collect(),
        }
    }
}
