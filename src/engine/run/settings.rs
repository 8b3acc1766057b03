//! How to run: what the command line decides.

use crate::engine::signing::Signer;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many jobs run side by side, beside those that share a model.
    pub jobs: usize,
    /// How many jobs that share a model run side by side.
    pub together: usize,
    /// Threads for all of them together.
    pub threads: usize,
    /// Bytes that the activations of all models at work may take together.
    pub memory: usize,
    /// The device that the user chose: `cpu`, `cuda:0`.
    pub device: String,
    /// Go on after a failure with what does not depend on it.
    pub keep_going: bool,
    /// Run these jobs and what they need; all if `None`.
    pub only: Option<BTreeSet<String>>,
    /// Start the programs that the manifest names; without, jobs that need one fail.
    pub programs: bool,
    /// Fetch what is kept elsewhere; without, jobs that need it and do not find it here fail.
    pub fetch: bool,
    /// Execute these jobs though they are cached.
    pub forced: BTreeSet<String>,
    /// Who signs what is made, and the run.
    pub signer: Option<Arc<Signer>>,
    /// For the journal and provenance.
    pub command_line: Vec<String>,
}
